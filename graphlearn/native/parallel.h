// Threads without OpenMP: its barriers wait for a worker that lost its core to another program, and its pool competes
// with torch's.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

// Runs body(0) ... body(chunks - 1), handing out one chunk at a time, so that a thread that loses its core keeps the
// others waiting for one chunk only.
inline void parallel(int threads, int64_t chunks, const std::function<void(int64_t)>& body) {
    std::atomic<int64_t> next{0};
    auto work = [&] {
        for (int64_t c; (c = next.fetch_add(1, std::memory_order_relaxed)) < chunks;) body(c);
    };
    std::vector<std::thread> others;
    for (int t = 1; t < std::min<int64_t>(threads, chunks); ++t) others.emplace_back(work);
    work();
    for (auto& other : others) other.join();
}

// How many of `threads` are worth starting for so many numbers: starting one costs as much as some 100,000 of them.
inline int worth(int threads, int64_t numbers) {
    return static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, numbers >> 17)));
}
