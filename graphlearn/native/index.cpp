// From tables to a graph: keys to row numbers, parents to lists of children, rows into another order, texts to vectors.
// Twins: graphlearn/ops/index.py, graphlearn/graph/text.py, and the join of graphlearn/graph/nodes.py.
//
// Most of it is waiting for memory, so each function asks for what it will need some rows later. An index is compared with
// its bound before it is used: a wrong one gives `false`.
#include <nanobind/nanobind.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "parallel.h"

namespace nb = nanobind;

namespace {

constexpr int64_t kAhead = 64;  // measured: 16 is up to three times as slow

template <class T>
T* pointer(uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

struct Slot {
    int64_t key, row;  // row -1: free
};

// The finaliser of splitmix64: keys that differ in few bits, such as multiples of a power of two, spread over all slots.
inline uint64_t mixed(uint64_t key) {
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9u;
    key = (key ^ (key >> 27)) * 0x94D049BB133111EBu;
    return key ^ (key >> 31);
}

// Fills 2^bits slots, more than there are keys, so that the row of a key stands in the first free slot from its own on.
// Row i is that of the i-th key. Returns `false` if there are too few slots.
bool build_key_table(uintptr_t keys, int64_t num_keys, uintptr_t slots, int bits) {
    const auto* key = pointer<const int64_t>(keys);
    auto* table = pointer<Slot>(slots);
    const uint64_t size = uint64_t{1} << bits, mask = size - 1;
    if (static_cast<uint64_t>(num_keys) >= size) return false;
    for (uint64_t s = 0; s < size; ++s) table[s] = {0, -1};
    for (int64_t i = 0; i < num_keys; ++i) {
        if (i + kAhead < num_keys) __builtin_prefetch(&table[mixed(key[i + kAhead]) & mask], 1);
        uint64_t s = mixed(key[i]) & mask;
        while (table[s].row >= 0) s = (s + 1) & mask;
        table[s] = {key[i], i};
    }
    return true;
}

// The row of each key, or -1.
void find_keys(uintptr_t slots, int bits, uintptr_t keys, int64_t num_keys, uintptr_t out, int threads) {
    const auto* table = pointer<const Slot>(slots);
    const auto* key = pointer<const int64_t>(keys);
    auto* row = pointer<int32_t>(out);
    const uint64_t mask = (uint64_t{1} << bits) - 1;
    constexpr int64_t kChunk = 1 << 14, kBlock = 1024;
    parallel(worth(threads, num_keys), (num_keys + kChunk - 1) / kChunk, [&](int64_t chunk) {
        int64_t later[kBlock];
        const int64_t stop = std::min(num_keys, (chunk + 1) * kChunk);
        // Most keys stand in their own slot; without a branch for each, those that do not cost no guess that fails.
        for (int64_t begin = chunk * kChunk; begin < stop; begin += kBlock) {
            const int64_t end = std::min(stop, begin + kBlock);
            int64_t count = 0;
            for (int64_t i = begin; i < end; ++i) {
                if (i + kAhead < num_keys) __builtin_prefetch(&table[mixed(key[i + kAhead]) & mask]);
                const Slot slot = table[mixed(key[i]) & mask];
                row[i] = static_cast<int32_t>(slot.row);
                later[count] = i;
                count += (slot.row >= 0) & (slot.key != key[i]);
            }
            for (int64_t k = 0; k < count; ++k) {
                const int64_t i = later[k];
                uint64_t s = mixed(key[i]) & mask;
                do s = (s + 1) & mask;
                while (table[s].row >= 0 && table[s].key != key[i]);
                row[i] = static_cast<int32_t>(table[s].row);
            }
        }
    });
}

// Packs the leading bits of each key above the number of its row, ((key - least) >> drop) << bits | row, and puts what comes
// out into parts of equal width: part 0 with all below `low` + 2^shift, the last one open above. Says where each part ends.
// What was dropped goes into `rest`, one number of 16 bits per row, if that is not null.
void split_keys(uintptr_t keys, int64_t size, int64_t least, int drop, int bits, int64_t low, int shift, int64_t num_parts,
                uintptr_t out, uintptr_t ends, uintptr_t rest, int threads) {
    const auto* key = pointer<const int64_t>(keys);
    auto* dropped = pointer<uint16_t>(rest);
    auto* to = pointer<int64_t>(out);
    auto* end = pointer<int64_t>(ends);
    const int workers = worth(threads, size);
    std::vector<int64_t> next(workers * num_parts);  // first how many a worker has for a part, then where they go
    auto begin = [&](int64_t worker) { return size * worker / workers; };
    auto packed = [=](int64_t i) {
        // Without a sign the difference is right even where it does not fit a number with one.
        const uint64_t above = (static_cast<uint64_t>(key[i]) - static_cast<uint64_t>(least)) >> drop;
        return static_cast<int64_t>(above << bits | static_cast<uint64_t>(i));
    };
    auto part = [=](int64_t number) { return std::clamp<int64_t>((number - low) >> shift, 0, num_parts - 1); };
    parallel(workers, workers, [&](int64_t w) {
        int64_t* count = next.data() + w * num_parts;
        for (int64_t i = begin(w), stop = begin(w + 1); i < stop; ++i) {
            ++count[part(packed(i))];
            if (dropped) dropped[i] = static_cast<uint16_t>((key[i] - static_cast<uint64_t>(least)) & ((1u << drop) - 1));
        }
    });
    int64_t at = 0;
    for (int64_t p = 0; p < num_parts; ++p) {
        for (int w = 0; w < workers; ++w) at += std::exchange(next[w * num_parts + p], at);
        end[p] = at;
    }
    parallel(workers, workers, [&](int64_t w) {
        int64_t* place = next.data() + w * num_parts;
        for (int64_t i = begin(w), stop = begin(w + 1); i < stop; ++i) {
            const int64_t number = packed(i);
            to[place[part(number)]++] = number;
        }
    });
}

// For sorted numbers of a key above the `bits` of a row: which of them have the key of the one before or after (`places`,
// and whether their key differs from the one before), then the row alone stays of each number. Returns how many have; if
// they are more than `room`, that is all it does. If `values` is not null it gets the keys whole, from what is above the
// rows, what `split_keys` dropped, and the least key: to fetch them by row would be to wait for memory at each.
int64_t split_ties(uintptr_t numbers, int64_t size, int bits, uintptr_t places, uintptr_t starts, int64_t room,
                   uintptr_t values, uintptr_t rest, int drop, int64_t least, int threads) {
    auto* value = pointer<int64_t>(values);
    const auto* dropped = pointer<const uint16_t>(rest);
    constexpr int64_t kChunk = 1 << 16;
    auto* number = pointer<int64_t>(numbers);
    const int64_t num_chunks = (size + kChunk - 1) / kChunk, mask = (int64_t{1} << bits) - 1;
    auto end = [=](int64_t chunk) { return std::min(size, (chunk + 1) * kChunk); };
    auto differs = [=](int64_t i) { return ((number[i] ^ number[i - 1]) >> bits) != 0; };
    std::vector<int64_t> at(num_chunks + 1);
    std::vector<char> first(num_chunks + 1, 1);  // kept, as the numbers on both sides of a chunk's end lose their keys
    parallel(worth(threads, size), num_chunks, [&](int64_t c) {
        bool before = first[c] = c == 0 || differs(c * kChunk);
        const int64_t last = end(c) - 1;
        int64_t alone = 0;
        for (int64_t i = c * kChunk; i < last; ++i) {
            const bool after = differs(i + 1);
            alone += before & after;
            before = after;
        }
        alone += before & (end(c) == size || differs(end(c)));
        at[c + 1] = end(c) - c * kChunk - alone;
    });
    for (int64_t c = 0; c < num_chunks; ++c) at[c + 1] += at[c];
    if (at[num_chunks] > room) return at[num_chunks];
    parallel(worth(threads, size), num_chunks, [&](int64_t c) {
        auto* place = pointer<int64_t>(places) + at[c];
        auto* start = pointer<bool>(starts) + at[c];
        bool before = first[c];
        for (int64_t i = c * kChunk; at[c] < at[c + 1] && i < end(c); ++i) {
            const bool after = i + 1 < end(c) ? differs(i + 1) : first[c + 1];
            if (!(before & after)) {
                *place++ = i;
                *start++ = before;
            }
            before = after;
        }
        for (int64_t i = c * kChunk; i < end(c); ++i) {
            const int64_t row = number[i] & mask;
            if (value) {
                if (dropped && i + kAhead < end(c)) __builtin_prefetch(dropped + (number[i + kAhead] & mask));
                const uint64_t whole = static_cast<uint64_t>(number[i] >> bits) << drop | (dropped ? dropped[row] : 0);
                value[i] = static_cast<int64_t>(whole + static_cast<uint64_t>(least));
            }
            number[i] = row;
        }
    });
    return at[num_chunks];
}

// Two counting sorts: children are put into groups of parents whose lists fit into a core's cache, then each group into
// its lists. One sort over all parents would wait for memory at every child.
template <class Index>
struct Edge {
    Index parent, child;
};

template <class Index>
bool group_typed(const Index* parent, int64_t num_children, int64_t num_parents, int64_t* rowptr, Index* col,
                 Edge<Index>* edges, int workers) {
    int shift = 13;
    while ((num_parents >> shift) >= 512) ++shift;  // more groups than that are too many streams to write
    const int64_t num_groups = (num_parents >> shift) + 1;
    std::vector<int64_t> next(workers * num_groups);  // first how many a worker has for a group, then where they go
    std::atomic<bool> valid{true};
    auto begin = [&](int64_t worker) { return num_children * worker / workers; };
    parallel(workers, workers, [&](int64_t w) {
        int64_t* count = next.data() + w * num_groups;
        for (int64_t i = begin(w), end = begin(w + 1); i < end; ++i) {
            const int64_t p = parent[i];
            if (p < -1 || p >= num_parents) {
                valid = false;
                return;
            }
            if (p >= 0) ++count[p >> shift];
        }
    });
    if (!valid) return false;
    std::vector<int64_t> group_begin(num_groups + 1);
    for (int64_t g = 0; g < num_groups; ++g) {
        int64_t at = group_begin[g];
        for (int w = 0; w < workers; ++w) at += std::exchange(next[w * num_groups + g], at);
        group_begin[g + 1] = at;
    }
    parallel(workers, workers, [&](int64_t w) {
        int64_t* to = next.data() + w * num_groups;
        for (int64_t i = begin(w), end = begin(w + 1); i < end; ++i)
            if (parent[i] >= 0) edges[to[parent[i] >> shift]++] = {parent[i], static_cast<Index>(i)};
    });
    rowptr[num_parents] = group_begin[num_groups];
    parallel(workers, num_groups, [&](int64_t g) {
        const int64_t first = g << shift, last = std::min(num_parents, (g + 1) << shift);
        for (int64_t e = group_begin[g]; e < group_begin[g + 1]; ++e) ++rowptr[edges[e].parent];
        int64_t at = group_begin[g];
        for (int64_t p = first; p < last; ++p) at += std::exchange(rowptr[p], at);
        // Placing moves the start of each list to its end, which is the start of the next one.
        for (int64_t e = group_begin[g]; e < group_begin[g + 1]; ++e) col[rowptr[edges[e].parent]++] = edges[e].child;
        for (int64_t p = last - 1; p > first; --p) rowptr[p] = rowptr[p - 1];
        if (first < last) rowptr[first] = group_begin[g];
    });
    return true;
}

// Children by parent, each list in the order of the children. `rowptr` holds zeros, `col` has room for all children, and
// `scratch` for twice as many.
bool group_children(uintptr_t parent, int index_bytes, int64_t num_children, int64_t num_parents, uintptr_t rowptr,
                    uintptr_t col, uintptr_t scratch, int threads) {
    const int workers = worth(threads, num_children);
    auto run = [&](auto* typed) {
        using Index = std::remove_const_t<std::remove_pointer_t<decltype(typed)>>;
        return group_typed<Index>(typed, num_children, num_parents, pointer<int64_t>(rowptr), pointer<Index>(col),
                                  pointer<Edge<Index>>(scratch), workers);
    };
    return index_bytes == 4 ? run(pointer<const int32_t>(parent)) : run(pointer<const int64_t>(parent));
}

template <class Copy>
bool take(const char* values, int64_t stride, int64_t num_rows, const int64_t* order, int64_t count, int threads, Copy copy) {
    constexpr int64_t kChunk = 1 << 16;
    std::atomic<bool> valid{true};
    parallel(threads, (count + kChunk - 1) / kChunk, [&](int64_t chunk) {
        const int64_t end = std::min(count, (chunk + 1) * kChunk);
        for (int64_t i = chunk * kChunk; i < end; ++i) {
            if (i + 2 * kAhead < end) __builtin_prefetch(values + order[i + 2 * kAhead] * stride);
            if (static_cast<uint64_t>(order[i]) >= static_cast<uint64_t>(num_rows)) {
                valid = false;
                return;
            }
            copy(i, values + order[i] * stride);
        }
    });
    return valid;
}

// out[i] = values[order[i]], for rows of `row_bytes` that lie `stride` bytes apart.
bool take_rows(uintptr_t values, int64_t stride, int64_t row_bytes, int64_t num_rows, uintptr_t order, int64_t count,
               uintptr_t out, int threads) {
    const char* from = pointer<const char>(values);
    const auto* index = pointer<const int64_t>(order);
    const int workers = worth(threads, count * std::max<int64_t>(1, row_bytes / 8));
    // The size as a constant turns the copy into one move.
    auto fixed = [&](auto size) {
        char* to = pointer<char>(out);
        return take(from, stride, num_rows, index, count, workers,
                    [=](int64_t i, const char* row) { std::memcpy(to + i * size(), row, size()); });
    };
    switch (row_bytes) {
        case 4: return fixed(std::integral_constant<int64_t, 4>{});
        case 8: return fixed(std::integral_constant<int64_t, 8>{});
        default: return fixed([row_bytes] { return row_bytes; });
    }
}

// Adds +1 or -1 for each n-gram of each text to a component of its row of `out`, both chosen by the n-gram's hash.
void add_ngrams(uintptr_t data, uintptr_t ends, int64_t num_texts, uintptr_t sizes, int64_t num_sizes, uintptr_t out,
                int64_t dim, int threads) {
    constexpr uint64_t kStep = 0x9E3779B97F4A7C15u, kMix = 0xC2B2AE3D27D4EB4Fu;
    constexpr int64_t kChunk = 256;
    const auto* byte = pointer<const uint8_t>(data);
    const auto* end = pointer<const int64_t>(ends);
    const auto* size = pointer<const int64_t>(sizes);
    const uint64_t mask = (dim & (dim - 1)) == 0 ? dim - 1 : 0;  // a division costs more than the hash
    parallel(worth(threads, end[num_texts] - end[0]), (num_texts + kChunk - 1) / kChunk, [&](int64_t chunk) {
        for (int64_t i = chunk * kChunk; i < std::min(num_texts, (chunk + 1) * kChunk); ++i) {
            float* row = pointer<float>(out) + i * dim;
            for (int64_t k = 0; k < num_sizes; ++k) {
                for (int64_t start = end[i]; start + size[k] <= end[i + 1]; ++start) {
                    uint64_t code = static_cast<uint64_t>(size[k]) * kStep;
                    for (int64_t b = start; b < start + size[k]; ++b) {
                        code = (code ^ (byte[b] + kStep)) * kMix;
                        code ^= code >> 29;
                    }
                    row[mask || dim == 1 ? code & mask : code % dim] += (code >> 40 & 1) ? -1.0f : 1.0f;
                }
            }
        }
    });
}

}  // namespace

void register_index(nb::module_& m) {
    using Released = nb::call_guard<nb::gil_scoped_release>;
    m.def("build_key_table", &build_key_table, Released());
    m.def("find_keys", &find_keys, Released());
    m.def("split_keys", &split_keys, Released());
    m.def("split_ties", &split_ties, Released());
    m.def("group_children", &group_children, Released());
    m.def("take_rows", &take_rows, Released());
    m.def("add_ngrams", &add_ngrams, Released());
}
