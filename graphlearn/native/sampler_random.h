// Random numbers as a function of where they are used; the definition is in graphlearn/sampling/random.py.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "sampler_memory.h"

namespace graphlearn {

inline uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return x ^ (x >> 31);
}

inline uint64_t stream(uint64_t key, int64_t counter) {
    return mix(key + (static_cast<uint64_t>(counter) + 1) * 0x9E3779B97F4A7C15);
}

inline uint64_t child_key(uint64_t list_key, int64_t rank) { return stream(list_key ^ 0x5851F42D4C957F2D, rank); }

// Draws k of n > k ranks, increasing: the first m = min(k, n - k) different values of the stream are kept, or left out
// where that is fewer. O(k) expected. Each value stands in `table_` at or after a cell in proportion to its size, in
// increasing order (a hash table whose hash keeps the order), which finds repeats and sorts at once; with eight cells a
// value the first cell is nearly always free, and `taken_` says so without a guess for the processor to get wrong.
class Draw {
  public:
    // The k ranks, valid until the next call. The entries that they point to in `entries` are fetched ahead.
    template <class Entry>
    const int64_t* ranks(uint64_t list_key, int64_t n, int64_t k, const Entry* entries) {
        const int64_t m = std::min(k, n - k), cells = 9 * m + 1;
        table_.clear();
        table_.grow(cells);
        taken_.clear();
        std::fill_n(taken_.grow(cells / 64 + 1), cells / 64 + 1, uint64_t{0});
        const double to_rank = static_cast<double>(n), to_cell = static_cast<double>(8 * m) / to_rank;
        for (int64_t counter = 0, found = 0; found < m; ++counter) {
            const double uniform = static_cast<double>(static_cast<int64_t>(stream(list_key, counter) >> 11)) * 0x1p-53;
            const int64_t value = std::min(static_cast<int64_t>(uniform * to_rank), n - 1);
            __builtin_prefetch(entries + value);
            found += insert(value, static_cast<int64_t>(static_cast<double>(value) * to_cell));
        }

        ranks_.clear();
        int64_t *out = ranks_.grow(k), next = 0;
        for (int64_t word = 0; word < taken_.size(); ++word) {
            for (uint64_t bits = taken_.data()[word]; bits != 0; bits &= bits - 1) {
                const int64_t value = table_.data()[word * 64 + __builtin_ctzll(bits)];
                if (m == k) {
                    *out++ = value;
                } else {
                    while (next < value) *out++ = next++;
                    next = value + 1;
                }
            }
        }
        if (m < k)
            while (next < n) *out++ = next++;
        return ranks_.data();
    }

  private:
    bool is_taken(int64_t cell) const { return taken_.data()[cell >> 6] >> (cell & 63) & 1; }

    // Whether `value` is new. `cell`: where it belongs; what is larger moves up.
    bool insert(int64_t value, int64_t cell) {
        int64_t* table = table_.data();
        if (is_taken(cell)) {
            while (is_taken(cell) && table[cell] < value) ++cell;
            if (is_taken(cell) && table[cell] == value) return false;
            for (; is_taken(cell); ++cell) std::swap(table[cell], value);
        }
        table[cell] = value;
        taken_.data()[cell >> 6] |= uint64_t{1} << (cell & 63);
        return true;
    }

    Array<int64_t> table_, ranks_;
    Array<uint64_t> taken_;
};

}  // namespace graphlearn
