// What a seed sees: bounds on the row ids of each type, and the visible part of each list of neighbours.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "sampler_memory.h"

namespace graphlearn {

struct NodeTable {
    const int64_t* time;  // null: every row is undated
    int64_t num_nodes, num_undated;
};

struct Relation {
    size_t src, dst;
    const int64_t* rowptr;  // null: `neighbor` holds the one source of each destination, or -1
    const void* neighbor;
    bool wide;  // `neighbor` is int64, else int32
};

// Per seed, the rows of one type that it sees: those below num_undated, and those in [lower, upper).
struct Bounds {
    Array<int64_t> lower, upper;
};

// The visible entries of one list: entry j lies at head_start + j while j < head_size, else at start + j.
struct List {
    int64_t start, size, head_start, head_size;
};

struct Seeds {
    size_t type;
    const int64_t *index, *input_time, *after;  // after: null without a window
    int64_t count;
    uint64_t base;
};

constexpr int64_t kBlock = 64;

// Moves first[i] to the first of its size[i] entries that is not below limit[i] (`Past`: that is above it). The
// searches of a block take their steps in turn, so that their cache misses overlap; done ones leave the round.
template <bool Past, class Entry>
void search(const Entry* entries, int64_t* first, int64_t* size, const int64_t* limit, int64_t count) {
    int64_t open[kBlock], num_open = 0;
    for (int64_t i = 0; i < count; ++i) {
        open[num_open] = i;
        num_open += size[i] > 0;
    }
    while (num_open > 0) {
        int64_t kept = 0;
        for (int64_t j = 0; j < num_open; ++j) {
            const int64_t i = open[j], half = size[i] / 2, entry = entries[first[i] + half];
            const bool before = Past ? entry <= limit[i] : entry < limit[i];
            first[i] += before ? half + 1 : 0;
            size[i] = before ? size[i] - half - 1 : half;
            open[kept] = i;
            kept += size[i] > 0;
        }
        num_open = kept;
    }
}

// The number of rows without a time or with one up to `time`, per seed.
inline void past(const NodeTable& table, const int64_t* time, int64_t count, int64_t* rows) {
    int64_t size[kBlock];
    for (int64_t begin = 0; begin < count; begin += kBlock) {
        const int64_t block = std::min(kBlock, count - begin);
        std::fill_n(rows + begin, block, table.num_undated);
        // Equal times in a row, as when all seeds have one time, are looked up once.
        for (int64_t i = 0; i < block; ++i)
            size[i] = i > 0 && time[begin + i] == time[begin + i - 1] ? 0 : table.num_nodes - table.num_undated;
        search<true>(table.time, rows + begin, size, time + begin, block);
        for (int64_t i = 1; i < block; ++i)
            if (time[begin + i] == time[begin + i - 1]) rows[begin + i] = rows[begin + i - 1];
    }
}

inline void find_bounds(const NodeTable& table, Bounds& bounds, const Seeds& seeds) {
    bounds.lower.clear();
    bounds.upper.clear();
    int64_t* lower = bounds.lower.grow(seeds.count);
    int64_t* upper = bounds.upper.grow(seeds.count);
    std::fill(lower, lower + seeds.count, table.num_undated);
    std::fill(upper, upper + seeds.count, table.num_nodes);
    if (table.time == nullptr) return;
    past(table, seeds.input_time, seeds.count, upper);
    if (seeds.after != nullptr) past(table, seeds.after, seeds.count, lower);
}

// Leaves out what lies between the undated rows and the start of the window.
template <class Id>
void cut(const Id* entries, const int64_t* lower, const int64_t* seed, int64_t num_undated, int64_t begin,
         int64_t block, List* lists) {
    int64_t undated[kBlock], inside[kBlock], size[kBlock], limit[kBlock];
    for (int64_t i = 0; i < block; ++i) {
        undated[i] = inside[i] = lists[begin + i].start;
        limit[i] = num_undated;
        size[i] = lists[begin + i].size;
    }
    search<false>(entries, undated, size, limit, block);
    for (int64_t i = 0; i < block; ++i) {
        limit[i] = lower[seed[begin + i]];
        size[i] = lists[begin + i].size;
    }
    search<false>(entries, inside, size, limit, block);
    for (int64_t i = 0; i < block; ++i) {
        List& list = lists[begin + i];
        const int64_t head = undated[i] - list.start, tail = list.start + list.size - inside[i];
        list = {inside[i] - head, head + tail, list.start, head};
    }
}

// Finds the visible entries of each node's list; source rows are of `table`.
template <class Id>
void visible(const NodeTable& table, const Relation& relation, const Bounds& bounds, bool window, const int64_t* id,
             const int64_t* seed, int64_t count, List* lists) {
    const Id* entries = static_cast<const Id*>(relation.neighbor);
    const int64_t *lower = bounds.lower.data(), *upper = bounds.upper.data();
    if (relation.rowptr == nullptr) {
        for (int64_t i = 0; i < count; ++i) {
            const int64_t row = entries[id[i]], b = seed[i];
            const bool seen = row >= 0 && row < upper[b] && (row >= lower[b] || row < table.num_undated);
            lists[i] = {id[i], seen, 0, 0};
        }
        return;
    }

    int64_t first[kBlock], end[kBlock], size[kBlock], limit[kBlock];
    for (int64_t begin = 0; begin < count; begin += kBlock) {
        const int64_t block = std::min(kBlock, count - begin);
        for (int64_t i = 0; i < block; ++i) {
            first[i] = relation.rowptr[id[begin + i]];
            end[i] = relation.rowptr[id[begin + i] + 1];
        }
        if (table.time != nullptr) {
            for (int64_t i = 0; i < block; ++i) {
                limit[i] = upper[seed[begin + i]];
                size[i] = limit[i] < table.num_nodes ? end[i] - first[i] : 0;
                if (size[i] > 0) end[i] = first[i];
            }
            search<false>(entries, end, size, limit, block);
        }
        for (int64_t i = 0; i < block; ++i) lists[begin + i] = {first[i], end[i] - first[i], 0, 0};
        if (window && table.time != nullptr) cut(entries, lower, seed, table.num_undated, begin, block, lists);
    }
}

}  // namespace graphlearn
