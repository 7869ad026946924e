// The distinct values of a list of row ids in increasing order, and the place of each id among them, without sorting:
// a bit per row of the table, a bit per word of those, and the number of bits before each word.
#pragma once

#include <cstdint>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__)
#define GRAPHLEARN_POPCNT
#endif

namespace graphlearn {

class Distinct {
  public:
    static constexpr int64_t kSlack = 4;

    // Makes room for ids below `num_rows`. Costs nothing once the largest table was seen.
    void reserve(int64_t num_rows) {
        const size_t words = static_cast<size_t>(num_rows / 64 + 1);
        if (words <= bits_.size()) return;
        bits_.resize(words, 0);
        before_.resize(words);
        used_.resize(words / 64 + 1, 0);
    }

    void mark(const int64_t* ids, int64_t count) {
        for (int64_t i = 0; i < count; ++i) {
            const uint64_t word = static_cast<uint64_t>(ids[i]) >> 6;
            const uint64_t old = bits_[word];
            bits_[word] = old | uint64_t{1} << (ids[i] & 63);
            used_[word >> 6] |= static_cast<uint64_t>(old == 0) << (word & 63);
        }
    }

    // Writes the marked ids to `rows`, which has room for kSlack more, returns their number, and prepares `places`.
    int64_t emit(int64_t* rows) {
        int64_t count = 0;
        for (size_t u = 0; u < used_.size(); ++u) {
            for (uint64_t words = used_[u]; words != 0; words &= words - 1) {
                const size_t word = u * 64 + static_cast<size_t>(__builtin_ctzll(words));
                before_[word] = static_cast<uint32_t>(count);
                // Always kSlack at a time: most words hold fewer ids, and how many is not for the processor to guess.
                uint64_t bits = bits_[word];
                int64_t* out = rows + count;
                count += count_bits(bits);
                do {
                    for (int64_t i = 0; i < kSlack; ++i, bits &= bits - 1)
                        *out++ = static_cast<int64_t>(word * 64) + __builtin_ctzll(bits | uint64_t{1} << 63);
                } while (bits != 0);
            }
        }
        return count;
    }

    // out[i] = offset + the place of ids[i] among the marked ids.
    void places(const int64_t* ids, int64_t count, int64_t offset, int64_t* out) const {
#ifdef GRAPHLEARN_POPCNT
        if (__builtin_cpu_supports("popcnt")) {
            places_popcnt(ids, count, offset, out);
            return;
        }
#endif
        for (int64_t i = 0; i < count; ++i) out[i] = offset + before(ids[i]) + count_bits(bits_before(ids[i]));
    }

    void clear() {
        for (size_t u = 0; u < used_.size(); ++u) {
            for (uint64_t words = used_[u]; words != 0; words &= words - 1)
                bits_[u * 64 + static_cast<size_t>(__builtin_ctzll(words))] = 0;
            used_[u] = 0;
        }
    }

  private:
#ifdef GRAPHLEARN_POPCNT
    // The baseline of x86-64 that the build aims at lacks this instruction; machines since about 2010 have it.
    __attribute__((target("popcnt"))) void places_popcnt(const int64_t* ids, int64_t count, int64_t offset,
                                                         int64_t* out) const {
        for (int64_t i = 0; i < count; ++i)
            out[i] = offset + before(ids[i]) + __builtin_popcountll(bits_before(ids[i]));
    }
#endif

    int64_t before(int64_t id) const { return before_[static_cast<uint64_t>(id) >> 6]; }

    // The bits of the rows before `id` in its word.
    uint64_t bits_before(int64_t id) const {
        return bits_[static_cast<uint64_t>(id) >> 6] & ((uint64_t{1} << (id & 63)) - 1);
    }

    static int64_t count_bits(uint64_t x) {
        x -= (x >> 1) & 0x5555555555555555;
        x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333);
        x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F;
        return static_cast<int64_t>((x * 0x0101010101010101) >> 56);
    }

    std::vector<uint64_t> bits_, used_;
    std::vector<uint32_t> before_;
};

}  // namespace graphlearn
