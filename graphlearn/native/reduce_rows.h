// The inner loops of reduce.cpp, compiled once per instruction set (see CMakeLists.txt).
#pragma once

#include <atomic>
#include <cstdint>

namespace reduce {

enum Kind { kSum = 0, kMean = 1, kMax = 2, kDot = 3, kPicked = 4, kMin = 5 };
enum Type { kFloat32 = 0, kFloat64 = 1, kFloat16 = 2, kBFloat16 = 3 };

// float16 and bfloat16 as they lie in memory; they are added up as float32.
struct Half {
    using Sum = float;
    uint16_t bits;
};
struct BFloat {
    using Sum = float;
    uint16_t bits;
};
template <class T>
struct SumOf {
    using type = typename T::Sum;
};
template <>
struct SumOf<float> {
    using type = float;
};
template <>
struct SumOf<double> {
    using type = double;
};

// `type` is that of x and out; weight is of the type that sums have. kDot and kPicked are for float32 and float64 only.
struct Job {
    Type type;
    const void* x;  // [num_src, num_channels], rows x_stride apart
    int64_t x_stride, num_src, num_channels;
    const int64_t* rowptr;  // [num_rows + 1]
    int64_t num_rows;
    const void* col;  // [num_entries] of col_bytes (4 or 8) each; col_bytes is 0 where entry e reads row e
    int col_bytes;
    int64_t num_entries;
    const void* weight;      // [num_entries], or null for ones
    const void* grad;        // [num_rows, num_channels]; kDot only
    void* out;               // [num_rows, num_channels]; kDot: [num_entries]
    int32_t* arg;            // kMax, kMin: [num_rows, num_channels] or null: place in the list of the largest or
                             // smallest, -1 for none
    const int32_t* picked;   // kPicked: [num_src, num_channels], beside x: adds x where this equals the entry's place
    const int32_t* place;    // kPicked: [num_entries]
    std::atomic<bool>* bad;  // set when an index is out of its range
    Kind kind;
};

// Computes rows [lo, hi) of a result.
using Run = void (*)(const Job&, int64_t lo, int64_t hi);

Run run_plain(const Job& job);
Run run_avx2(const Job& job);
Run run_avx512(const Job& job);

}  // namespace reduce
