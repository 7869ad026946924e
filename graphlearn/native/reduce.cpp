// Gather and reduce over CSR lists, for float32, float64, float16 and bfloat16, and its gradients, for the first two.
// Torch twins: graphlearn/ops/csr_torch.py.
//
// Every number of a result is computed by one thread, in the order of the entries, so the bits do not depend on the
// number of threads. An index is compared with its bound before it is used: a wrong one gives `false`, and the caller
// then finds out what is wrong; it never reads or writes outside of an array.
#include <nanobind/nanobind.h>

#include <cstring>
#include <type_traits>

#include "parallel.h"
#include "reduce_rows.h"
#include "rows.h"

namespace nb = nanobind;
using namespace reduce;

namespace {

void limit_instruction_set(int level) { widest = level; }

Run best(const Job& job) {
#if defined(GL_X86)
    static const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
    static const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx512 && widest >= 2) return run_avx512(job);
    if (avx2 && widest >= 1) return run_avx2(job);
#endif
    return run_plain(job);
}

// `kind` is one of Kind, `type` of Type; `beside` is what that kind reads besides x: kDot the gradient, kPicked the picked places.
// Returns false if an index is out of its range.
bool reduce_rows(int type, uintptr_t x, int64_t x_stride, int64_t num_src, int64_t num_channels, uintptr_t rowptr, int64_t num_rows,
                 uintptr_t col, int col_bytes, int64_t num_entries, uintptr_t weight, uintptr_t beside, uintptr_t place,
                 uintptr_t out, uintptr_t arg, int kind, int threads) {
    std::atomic<bool> bad{false};
    Job job{};
    job.type = static_cast<Type>(type);
    job.x = pointer<const void>(x), job.x_stride = x_stride;
    job.num_src = num_src, job.num_channels = num_channels;
    job.rowptr = pointer<const int64_t>(rowptr), job.num_rows = num_rows;
    job.col = pointer<const void>(col), job.col_bytes = col_bytes, job.num_entries = num_entries;
    job.weight = pointer<const void>(weight);
    job.out = pointer<void>(out), job.arg = pointer<int32_t>(arg);
    job.kind = static_cast<Kind>(kind), job.bad = &bad;
    if (job.kind == kDot) job.grad = pointer<const void>(beside);
    if (job.kind == kPicked) job.picked = pointer<const int32_t>(beside), job.place = pointer<const int32_t>(place);
    if (job.rowptr[0] != 0 || job.rowptr[num_rows] != num_entries) return false;
    const int64_t bytes = job.type == kFloat32 ? 4 : job.type == kFloat64 ? 8 : 2;
    if (job.kind != kDot) use_large_pages(job.out, num_rows * num_channels * bytes);
    if (job.arg) use_large_pages(job.arg, num_rows * num_channels * 4);
    const Run run = best(job);
    const int workers = worth(threads, (num_entries + num_rows) * num_channels);
    const int64_t chunks = workers == 1 ? 1 : workers * 16;
    parallel(workers, chunks, [&](int64_t c) {
        run(job, first_row(job.rowptr, num_rows, num_entries, c, chunks),
            first_row(job.rowptr, num_rows, num_entries, c + 1, chunks));
    });
    return !bad.load();
}

bool is_rowptr(const int64_t* rowptr, int64_t num_rows, int64_t num_entries) {
    bool valid = rowptr[0] == 0 && rowptr[num_rows] == num_entries;
    for (int64_t i = 0; i < num_rows; ++i) valid &= rowptr[i] <= rowptr[i + 1];
    return valid;
}

template <class T>
T share(const int64_t* rowptr, int64_t row, bool mean) {
    return mean ? T(1) / static_cast<T>(rowptr[row + 1] - rowptr[row]) : T(1);
}

template <class T, class Index>
int spread(const T* grad, const int32_t* arg, int64_t num_channels, const int64_t* rowptr, int64_t num_rows, const Index* col,
           int64_t num_entries, const T* weight, T* out, int64_t num_src, bool mean, int threads) {
    if (!is_rowptr(rowptr, num_rows, num_entries)) return 0;
    auto source = [col](int64_t e) { return col ? static_cast<int64_t>(col[e]) : e; };
    bool increasing = true;
    for (int64_t e = 1; col && e < num_entries; ++e) increasing &= col[e] > col[e - 1];
    if (!increasing) return 2;
    if (num_entries && (source(0) < 0 || source(num_entries - 1) >= num_src)) return 0;

    use_large_pages(out, num_src * num_channels * static_cast<int64_t>(sizeof(T)));
    const int workers = worth(threads, num_src * num_channels);
    const int64_t chunks = workers == 1 ? 1 : workers * 16;
    parallel(workers, chunks, [&](int64_t c) {
        const int64_t begin = num_entries * c / chunks, end = num_entries * (c + 1) / chunks;
        int64_t row = std::upper_bound(rowptr, rowptr + num_rows, begin) - rowptr - 1;
        int64_t next = begin == 0 ? 0 : source(begin - 1) + 1;  // the first row of `out` that is not written yet
        for (int64_t e = begin; e < end; ++e) {
            while (rowptr[row + 1] <= e) ++row;
            std::memset(out + next * num_channels, 0, (source(e) - next) * num_channels * sizeof(T));
            const T factor = share<T>(rowptr, row, mean) * (weight ? weight[e] : T(1));
            T* __restrict target = out + source(e) * num_channels;
            const T* from = grad + row * num_channels;
            for (int64_t f = 0; f < num_channels; ++f) target[f] = factor * from[f];
            if (arg) {  // a second loop, as gcc does not vectorise the two as one
                const int32_t place = static_cast<int32_t>(e - rowptr[row]);
                const int32_t* picked = arg + row * num_channels;
                for (int64_t f = 0; f < num_channels; ++f) target[f] = picked[f] == place ? target[f] : T(0);
            }
            next = source(e) + 1;
        }
        if (c + 1 == chunks) std::memset(out + next * num_channels, 0, (num_src - next) * num_channels * sizeof(T));
    });
    return 1;
}

// The gradient for x where no row is read twice: out[col[e]] = grad[row of e], all other rows 0. For a maximum only
// the channels where `arg` (else null) is the place of e. `col` must increase, or be absent (entry e read row e).
// Numbers are float64 if `wide`, else float32. Returns 0: an index is wrong, 1: done, 2: `col` does not increase.
int spread_rows(bool wide, uintptr_t grad, uintptr_t arg, int64_t num_channels, uintptr_t rowptr, int64_t num_rows, uintptr_t col, int col_bytes,
                int64_t num_entries, uintptr_t weight, uintptr_t out, int64_t num_src, bool mean, int threads) {
    auto run = [&](auto* typed_col, auto number) {
        using T = decltype(number);
        return spread(pointer<const T>(grad), pointer<const int32_t>(arg), num_channels, pointer<const int64_t>(rowptr),
                      num_rows, typed_col, num_entries, pointer<const T>(weight), pointer<T>(out), num_src, mean, threads);
    };
    auto typed = [&](auto number) {
        return col_bytes == 4 ? run(pointer<const int32_t>(col), number) : run(pointer<const int64_t>(col), number);
    };
    return wide ? typed(double{}) : typed(float{});
}

template <class T, class Index>
bool transpose_typed(const int64_t* rowptr, int64_t num_rows, const Index* col, int64_t num_entries, int64_t num_src,
                     const T* weight, bool mean, int64_t* src_rowptr, Index* row, Index* entry,
                     int32_t* place, T* factor) {
    if (!is_rowptr(rowptr, num_rows, num_entries)) return false;
    // Counting sort. Counts are kept one place on, so that filling in turns starts into ends, which are the next starts.
    std::memset(src_rowptr, 0, (num_src + 1) * sizeof(int64_t));
    for (int64_t e = 0; e < num_entries; ++e) {
        if (static_cast<uint64_t>(col[e]) >= static_cast<uint64_t>(num_src)) return false;
        const int64_t after = static_cast<int64_t>(col[e]) + 2;
        if (after <= num_src) ++src_rowptr[after];
    }
    for (int64_t j = 1; j <= num_src; ++j) src_rowptr[j] += src_rowptr[j - 1];
    for (int64_t i = 0; i < num_rows; ++i) {
        for (int64_t e = rowptr[i]; e < rowptr[i + 1]; ++e) {
            const int64_t to = src_rowptr[col[e] + 1]++;
            row[to] = static_cast<Index>(i);
            if (entry) entry[to] = static_cast<Index>(e);
            if (place) place[to] = static_cast<int32_t>(e - rowptr[i]);
            if (factor) factor[to] = share<T>(rowptr, i, mean) * (weight ? weight[e] : T(1));
        }
    }
    return true;
}

// The same entries listed by source. May be null: `entry`, `place` (of the entry in its list) and `factor` (what a sum
// or mean multiplies the entry by). `weight` and `factor` are float64 if `wide`, else float32.
bool transpose(bool wide, uintptr_t rowptr, int64_t num_rows, uintptr_t col, int col_bytes, int64_t num_entries, int64_t num_src,
               uintptr_t weight, bool mean, uintptr_t src_rowptr, uintptr_t row, uintptr_t entry, uintptr_t place,
               uintptr_t factor) {
    auto run = [&](auto* typed_col, auto number) {
        using T = decltype(number);
        using Index = std::remove_const_t<std::remove_pointer_t<decltype(typed_col)>>;
        return transpose_typed<T, Index>(pointer<const int64_t>(rowptr), num_rows, typed_col, num_entries, num_src,
                                         pointer<const T>(weight), mean, pointer<int64_t>(src_rowptr),
                                         pointer<Index>(row), pointer<Index>(entry), pointer<int32_t>(place),
                                         pointer<T>(factor));
    };
    auto typed = [&](auto number) {
        return col_bytes == 4 ? run(pointer<const int32_t>(col), number) : run(pointer<const int64_t>(col), number);
    };
    return wide ? typed(double{}) : typed(float{});
}

}  // namespace

void register_reduce(nb::module_& m) {
    using Released = nb::call_guard<nb::gil_scoped_release>;
    m.def("reduce_rows", &reduce_rows, Released());
    m.def("spread_rows", &spread_rows, Released());
    m.def("transpose", &transpose, Released());
    m.def("limit_instruction_set", &limit_instruction_set);
}
