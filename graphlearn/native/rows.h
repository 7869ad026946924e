// What the kernels that reduce rows share: addresses, large pages, equal shares, and which instruction set runs.
#pragma once

#include <atomic>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

template <class T>
T* pointer(uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

// A fresh large tensor costs a page fault for each 4 KiB written, often more than the reduction itself; with pages of
// 2 MiB it costs 512 times fewer. Only a hint: where the system has no such pages nothing changes.
inline void use_large_pages(void* start, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr uintptr_t page = 2 << 20;
    const uintptr_t lo = (reinterpret_cast<uintptr_t>(start) + page - 1) / page * page;
    const uintptr_t hi = (reinterpret_cast<uintptr_t>(start) + bytes) / page * page;
    if (hi > lo) madvise(reinterpret_cast<void*>(lo), hi - lo, MADV_HUGEPAGE);
#else
    (void)start, (void)bytes;
#endif
}

// The widest instruction set that is used where the processor has it: 0 plain, 1 avx2, 2 avx512.
inline std::atomic<int> widest{2};

// First row of chunk c: equal shares of entries plus rows, as a row without entries is written too.
inline int64_t first_row(const int64_t* rowptr, int64_t num_rows, int64_t num_entries, int64_t chunk, int64_t chunks) {
    if (chunk == 0) return 0;
    if (chunk == chunks) return num_rows;
    const int64_t share = (num_entries + num_rows) / chunks * chunk;
    int64_t lo = 0, hi = num_rows;
    while (lo < hi) {
        const int64_t middle = (lo + hi) / 2;
        if (rowptr[middle] + middle < share) lo = middle + 1;
        else hi = middle;
    }
    return lo;
}
