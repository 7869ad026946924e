// The inner loops of quantized.cpp, compiled once per instruction set (see CMakeLists.txt).
#pragma once

#include <atomic>
#include <cstdint>

namespace quantized {

enum Kind { kSum = 0, kMean = 1, kMax = 2 };

// Products of two int8 fit into int32 as often as this, and int8 alone 128 times as often: longer lists are cut, and
// their parts added up in int64.
constexpr int64_t kGuard = 131071;

struct Job {
    const int8_t* x;  // [num_src] rows, x_stride bytes apart; of packed ones a byte holds channel k and half + k
    int64_t x_stride, num_src, num_channels;
    bool packed;            // two channels of 4 bits in a byte
    const float* scale;     // [1], or [num_src] if each row has its own
    bool scale_per_row;
    const int32_t* zero;    // [1], the level of 0; null where it is 0, and with a scale per row
    const int64_t* rowptr;  // [num_rows + 1]
    int64_t num_rows;
    const void* col;  // [num_entries] of col_bytes (4 or 8) each; col_bytes is 0 where entry e reads row e
    int col_bytes;
    int64_t num_entries;
    const int8_t* weight;     // [num_entries, num_heads], or null for ones; not for kMax
    const float* list_scale;  // [num_rows, num_heads], the step of the weights; beside weight only
    int64_t num_heads;        // a head has num_channels / num_heads channels; 1 for packed rows
    void* out;                // [num_rows, num_channels], float, or int8 if out_scale is given
    const float* out_scale;   // [1] or null
    const int32_t* out_zero;  // [1], beside out_scale
    int out_low, out_high;    // the lowest and highest level of out
    std::atomic<bool>* bad;   // set when an index is out of its range
    Kind kind;
};

// Computes rows [lo, hi) of a result.
using Run = void (*)(const Job&, int64_t lo, int64_t hi);

Run run_plain(const Job& job);
Run run_avx2(const Job& job);
Run run_avx512(const Job& job);

}  // namespace quantized
