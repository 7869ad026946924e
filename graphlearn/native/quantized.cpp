// Gather and reduce over CSR lists of int8 and packed int4 rows. Torch twin: graphlearn/ops/quantized_torch.py.
//
// As in reduce.cpp every number is computed by one thread, and a wrong index gives `false`.
#include <nanobind/nanobind.h>

#include "parallel.h"
#include "quantized.h"
#include "rows.h"

namespace nb = nanobind;
using namespace quantized;

namespace {

// 0 plain, 1 avx2, 2 avx512 with VNNI: what this processor has, and is not told to leave alone.
int best_level() {
#if defined(GL_X86)
    static const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                               __builtin_cpu_supports("avx512vnni");
    static const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx512 && widest >= 2) return 2;
    if (avx2 && widest >= 1) return 1;
#endif
    return 0;
}

Run best(const Job& job) {
#if defined(GL_X86)
    if (best_level() == 2) return run_avx512(job);
    if (best_level() == 1) return run_avx2(job);
#endif
    return run_plain(job);
}

// See Job. Returns false if an index is out of its range.
bool reduce_quantized(uintptr_t x, int64_t x_stride, int64_t num_src, int64_t num_channels, bool packed, uintptr_t scale,
                      bool scale_per_row, uintptr_t zero, uintptr_t rowptr, int64_t num_rows, uintptr_t col, int col_bytes,
                      int64_t num_entries, uintptr_t weight, uintptr_t list_scale, int64_t num_heads, uintptr_t out,
                      uintptr_t out_scale, uintptr_t out_zero, int out_low, int out_high, int kind, int threads) {
    std::atomic<bool> bad{false};
    Job job{};
    job.x = pointer<const int8_t>(x), job.x_stride = x_stride, job.num_src = num_src, job.num_channels = num_channels;
    job.packed = packed, job.scale = pointer<const float>(scale), job.scale_per_row = scale_per_row;
    job.zero = pointer<const int32_t>(zero), job.rowptr = pointer<const int64_t>(rowptr), job.num_rows = num_rows;
    job.col = pointer<const void>(col), job.col_bytes = col_bytes, job.num_entries = num_entries;
    job.weight = pointer<const int8_t>(weight), job.list_scale = pointer<const float>(list_scale);
    job.num_heads = num_heads, job.out = pointer<void>(out), job.out_scale = pointer<const float>(out_scale);
    job.out_zero = pointer<const int32_t>(out_zero), job.out_low = out_low, job.out_high = out_high;
    job.bad = &bad, job.kind = static_cast<Kind>(kind);
    if (job.rowptr[0] != 0 || job.rowptr[num_rows] != num_entries) return false;
    use_large_pages(job.out, num_rows * num_channels * (out_scale ? 1 : 4));
    const Run run = best(job);
    const int workers = worth(threads, (num_entries + num_rows) * num_channels);
    const int64_t chunks = workers == 1 ? 1 : workers * 16;
    parallel(workers, chunks, [&](int64_t c) {
        run(job, first_row(job.rowptr, num_rows, num_entries, c, chunks),
            first_row(job.rowptr, num_rows, num_entries, c + 1, chunks));
    });
    return !bad.load();
}

}  // namespace

void register_quantized(nb::module_& m) {
    m.def("reduce_quantized", &reduce_quantized, nb::call_guard<nb::gil_scoped_release>());
    m.def("quantized_level", &best_level);
    m.attr("quantized_guard") = kGuard;
}
