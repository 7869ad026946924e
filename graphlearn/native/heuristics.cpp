// Sums over the neighbours that two nodes share. Twin: the torch branch of graphlearn/ops/heuristics.py.
#include <nanobind/nanobind.h>

#include <algorithm>

#include "parallel.h"

namespace nb = nanobind;

namespace {

constexpr int64_t kChunk = 1024;  // pairs
constexpr int64_t kAhead = 8;     // pairs; lists are asked for so early that they have come when they are read
constexpr int64_t kGallop = 16;   // a list so many times longer is searched, not read

struct Lists {
    const int64_t* rowptr;
    const int32_t* col;  // increasing in each list
};

// The first place in [place, end) that is not below `value`, in steps that double.
const int32_t* gallop(const int32_t* place, const int32_t* end, int32_t value) {
    int64_t step = 1;
    while (step < end - place && place[step] < value) {
        place += step;
        step *= 2;
    }
    return std::lower_bound(place, std::min(place + step + 1, end), value);
}

// The sum of weight[w], or the number, of the w that are in both lists. Added up in increasing order of w.
template <bool weighted>
double shared(const int32_t* a, const int32_t* a_end, const int32_t* b, const int32_t* b_end, const double* weight) {
    if (a_end - a > b_end - b) {
        std::swap(a, b);
        std::swap(a_end, b_end);
    }
    double sum = 0;
    int64_t count = 0;
    if ((a_end - a) * kGallop < b_end - b) {
        for (; a < a_end; ++a) {
            b = gallop(b, b_end, *a);
            if (b == b_end) break;
            if (*b != *a) continue;
            if constexpr (weighted) sum += weight[*a];
            else ++count;
        }
    } else {
        while (a < a_end && b < b_end) {
            const int32_t x = *a, y = *b;
            if constexpr (weighted) {
                if (x == y) sum += weight[x];
            } else {
                count += x == y;
            }
            a += x <= y;
            b += y <= x;
        }
    }
    return weighted ? sum : static_cast<double>(count);
}

template <bool weighted>
void run(const Lists& lists, const int64_t* src, const int64_t* dst, int64_t num_pairs, const double* weight, double* out,
         int threads) {
    const int64_t chunks = (num_pairs + kChunk - 1) / kChunk;
    parallel(threads, chunks, [&](int64_t c) {
        const int64_t end = std::min(num_pairs, (c + 1) * kChunk);
        for (int64_t p = c * kChunk; p < end; ++p) {
            if (p + 2 * kAhead < end) {
                __builtin_prefetch(lists.rowptr + src[p + 2 * kAhead]);
                __builtin_prefetch(lists.rowptr + dst[p + 2 * kAhead]);
            }
            if (p + kAhead < end) {
                for (const int64_t node : {src[p + kAhead], dst[p + kAhead]}) {
                    const int64_t first = lists.rowptr[node], last = std::min(lists.rowptr[node + 1], first + 64);
                    for (int64_t e = first; e < last; e += 16) __builtin_prefetch(lists.col + e);  // a cache line each
                }
            }
            const int64_t u = src[p], v = dst[p];
            out[p] = shared<weighted>(lists.col + lists.rowptr[u], lists.col + lists.rowptr[u + 1],
                                      lists.col + lists.rowptr[v], lists.col + lists.rowptr[v + 1], weight);
        }
    });
}

// out[p] = sum of weight[w] (the number of them if `weight` is null) over the w listed for both ends of pair p. The
// caller has checked the lists and the pairs.
void shared_neighbors(uintptr_t rowptr, uintptr_t col, uintptr_t pairs, int64_t num_pairs, uintptr_t weight, uintptr_t out,
                      int threads) {
    const Lists lists{reinterpret_cast<const int64_t*>(rowptr), reinterpret_cast<const int32_t*>(col)};
    const auto* src = reinterpret_cast<const int64_t*>(pairs);
    const auto* table = reinterpret_cast<const double*>(weight);
    auto* to = reinterpret_cast<double*>(out);
    threads = worth(threads, 64 * num_pairs);
    if (table) run<true>(lists, src, src + num_pairs, num_pairs, table, to, threads);
    else run<false>(lists, src, src + num_pairs, num_pairs, table, to, threads);
}

}  // namespace

void register_heuristics(nb::module_& m) {
    m.def("shared_neighbors", &shared_neighbors, nb::call_guard<nb::gil_scoped_release>());
}
