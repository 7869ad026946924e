// Compiled with GL_ISA plain, avx2 or avx512 and the compiler's flags for it. Everything but the last function has
// internal linkage, so that the linker cannot take one instruction set's code for another's.
#include "reduce_rows.h"

#include <cstring>

#define GL_INLINE __attribute__((always_inline)) inline
#define GL_JOIN(a, b) a##b
#define GL_NAME(isa) GL_JOIN(run_, isa)

namespace reduce {
namespace {

#if defined(__AVX512F__)
constexpr int kVector = 64;
#elif defined(__AVX2__)
constexpr int kVector = 32;
#else
constexpr int kVector = 16;
#endif

// Rows fetched ahead of the one being added. Chosen by measurement: 4 to 16 differ by less than 5 %.
constexpr int64_t kAhead = 8;
constexpr int64_t kLine = 64;

// Spelled out for each width: gcc drops the attribute where the width is a template argument.
template <int V>
struct Lanes;
template <>
struct Lanes<4> {
    typedef float f32 __attribute__((vector_size(4)));
    typedef int32_t i32 __attribute__((vector_size(4)));
};
template <>
struct Lanes<16> {
    typedef float f32 __attribute__((vector_size(16)));
    typedef int32_t i32 __attribute__((vector_size(16)));
};
template <>
struct Lanes<32> {
    typedef float f32 __attribute__((vector_size(32)));
    typedef int32_t i32 __attribute__((vector_size(32)));
};
template <>
struct Lanes<64> {
    typedef float f32 __attribute__((vector_size(64)));
    typedef int32_t i32 __attribute__((vector_size(64)));
};

template <int V>
GL_INLINE void load(typename Lanes<V>::f32& v, const float* p) {
    std::memcpy(&v, p, V);
}
template <int V>
GL_INLINE void store(float* p, const typename Lanes<V>::f32& v) {
    std::memcpy(p, &v, V);
}

// Source row of an entry; Index is int32_t, int64_t, or void for no `col`.
template <class Index>
struct Source {
    const Index* col;
    explicit Source(const Job& job) : col(static_cast<const Index*>(job.col)) {}
    GL_INLINE int64_t operator()(int64_t entry) const { return static_cast<int64_t>(col[entry]); }
};
template <>
struct Source<void> {
    explicit Source(const Job&) {}
    GL_INLINE int64_t operator()(int64_t entry) const { return entry; }
};

// True if a list lies within the entries and each of them names a source.
template <class Index>
GL_INLINE bool is_valid(const Job& job, const Source<Index>& source, int64_t begin, int64_t end) {
    if (begin < 0 || begin > end || end > job.num_entries) return false;
    bool valid = true;
    for (int64_t e = begin; e < end; ++e)
        valid &= static_cast<uint64_t>(source(e)) < static_cast<uint64_t>(job.num_src);
    return valid;
}

template <class Index>
GL_INLINE void fetch(const Job& job, const Source<Index>& source, int64_t entry) {
    if (entry >= job.num_entries) return;
    // In integers, as this entry is not checked yet; fetching from a wrong address does nothing.
    const uint64_t offset = static_cast<uint64_t>(source(entry)) * static_cast<uint64_t>(job.x_stride) * 4;
    const uint64_t row = reinterpret_cast<uintptr_t>(job.x) + offset;
    for (int64_t b = 0; b < job.num_channels * 4; b += kLine) __builtin_prefetch(reinterpret_cast<const void*>(row + b));
    if (!job.picked) return;
    const uint64_t picked = reinterpret_cast<uintptr_t>(job.picked) + offset;
    for (int64_t b = 0; b < job.num_channels * 4; b += kLine) __builtin_prefetch(reinterpret_cast<const void*>(picked + b));
}

// Calls body.run<V bytes, R registers>(first channel, is it the first call) until all channels are covered.
template <int V, int R, class Body>
GL_INLINE int64_t blocks(int64_t channel, int64_t num_channels, const Body& body) {
    constexpr int64_t step = R * V / 4;
    for (; channel + step <= num_channels; channel += step) body.template run<V, R>(channel, channel == 0);
    return channel;
}

template <class Body>
GL_INLINE void all_channels(int64_t num_channels, const Body& body) {
    constexpr int V = kVector;
    int64_t channel = blocks<V, 8>(0, num_channels, body);
    channel = blocks<V, 4>(channel, num_channels, body);
    channel = blocks<V, 2>(channel, num_channels, body);
    channel = blocks<V, 1>(channel, num_channels, body);
    if (channel == num_channels) return;
    // The last block may overlap the one before it where that only computes the same numbers again.
    if (Body::kMayOverlap && num_channels >= V / 4) return body.template run<V, 1>(num_channels - V / 4, false);
    channel = blocks<16, 1>(channel, num_channels, body);
    blocks<4, 1>(channel, num_channels, body);
}

template <class Index, bool Weighted>
struct SumRows {
    static constexpr bool kMayOverlap = true;
    const Job& job;
    const Source<Index>& source;
    int64_t row, begin, end;

    template <int V, int R>
    GL_INLINE void run(int64_t channel, bool first) const {
        typename Lanes<V>::f32 sum[R] = {};
        for (int64_t e = begin; e < end; ++e) {
            if (first) fetch(job, source, e + kAhead);
            const float* x = job.x + source(e) * job.x_stride + channel;
            for (int r = 0; r < R; ++r) {
                typename Lanes<V>::f32 v;
                load<V>(v, x + r * (V / 4));
                if (Weighted) v *= job.weight[e];
                sum[r] += v;
            }
        }
        float* out = job.out + row * job.num_channels + channel;
        const float length = job.kind == kMean && end > begin ? static_cast<float>(end - begin) : 1.0f;
        for (int r = 0; r < R; ++r) {
            sum[r] /= length;
            store<V>(out + r * (V / 4), sum[r]);
        }
    }
};

template <class Index, bool Weighted, bool WithArg>
struct MaxRows {
    static constexpr bool kMayOverlap = true;
    const Job& job;
    const Source<Index>& source;
    int64_t row, begin, end;

    template <int V>
    GL_INLINE void message(typename Lanes<V>::f32& v, int64_t entry, int64_t channel) const {
        load<V>(v, job.x + source(entry) * job.x_stride + channel);
        if (Weighted) v *= job.weight[entry];
    }

    template <int V, int R>
    GL_INLINE void run(int64_t channel, bool first) const {
        using Floats = typename Lanes<V>::f32;
        using Ints = typename Lanes<V>::i32;
        Floats largest[R] = {};
        Ints place[R];
        for (int r = 0; r < R; ++r) place[r] = Ints{} - (begin == end ? 1 : 0);
        if (first) fetch(job, source, begin + kAhead);
        for (int r = 0; r < R && begin < end; ++r) message<V>(largest[r], begin, channel + r * (V / 4));
        for (int64_t e = begin + 1; e < end; ++e) {
            if (first) fetch(job, source, e + kAhead);
            const Ints here = Ints{} + static_cast<int32_t>(e - begin);
            for (int r = 0; r < R; ++r) {
                Floats v;
                message<V>(v, e, channel + r * (V / 4));
                // A NaN is kept: what is not finite must show in the loss.
                const Ints take = ~(v <= largest[r]) & (largest[r] == largest[r]);
                largest[r] = take ? v : largest[r];
                if (WithArg) place[r] = take ? here : place[r];
            }
        }
        for (int r = 0; r < R; ++r) {
            store<V>(job.out + row * job.num_channels + channel + r * (V / 4), largest[r]);
            if (WithArg) std::memcpy(job.arg + row * job.num_channels + channel + r * (V / 4), &place[r], V);
        }
    }
};

// The gradient of a maximum for its sources, with the lists turned around: row `row` was read by each of its entries,
// and gets the gradient `x` of a channel where that entry was the largest.
template <class Index, bool Weighted>
struct PickedRows {
    static constexpr bool kMayOverlap = true;
    const Job& job;
    const Source<Index>& source;
    int64_t row, begin, end;

    template <int V, int R>
    GL_INLINE void run(int64_t channel, bool first) const {
        using Floats = typename Lanes<V>::f32;
        using Ints = typename Lanes<V>::i32;
        Floats sum[R] = {};
        for (int64_t e = begin; e < end; ++e) {
            if (first) fetch(job, source, e + kAhead);
            const int64_t at = source(e) * job.num_channels + channel;
            for (int r = 0; r < R; ++r) {
                Floats v;
                Ints picked;
                load<V>(v, job.x + at + r * (V / 4));
                std::memcpy(&picked, job.picked + at + r * (V / 4), V);
                if (Weighted) v *= job.weight[e];
                sum[r] += picked == Ints{} + job.place[e] ? v : Floats{};
            }
        }
        for (int r = 0; r < R; ++r) store<V>(job.out + row * job.num_channels + channel + r * (V / 4), sum[r]);
    }
};

// The gradient of a weighted sum for its weights: <x[col[e]], grad[row of e]>.
template <class Index>
struct EntryDots {
    static constexpr bool kMayOverlap = false;
    const Job& job;
    const Source<Index>& source;
    int64_t row, begin, end;

    template <int V, int R>
    GL_INLINE void run(int64_t channel, bool first) const {
        for (int64_t e = begin; e < end; ++e) {
            if (first) fetch(job, source, e + kAhead);
            const float* x = job.x + source(e) * job.x_stride + channel;
            const float* grad = job.grad + row * job.num_channels + channel;
            typename Lanes<V>::f32 sum = {}, a, b;
            for (int r = 0; r < R; ++r) {
                load<V>(a, x + r * (V / 4));
                load<V>(b, grad + r * (V / 4));
                sum += a * b;
            }
            float total = 0.0f;
            for (int i = 0; i < V / 4; ++i) total += sum[i];
            job.out[e] = first ? total : job.out[e] + total;
        }
    }
};

template <class Index, class Body>
void each_row(const Job& job, int64_t lo, int64_t hi) {
    const Source<Index> source(job);
    for (int64_t row = lo; row < hi; ++row) {
        const int64_t begin = job.rowptr[row], end = job.rowptr[row + 1];
        if (!is_valid(job, source, begin, end)) {
            job.bad->store(true, std::memory_order_relaxed);
            return;
        }
        all_channels(job.num_channels, Body{job, source, row, begin, end});
    }
}

template <class Index>
Run pick(const Job& job) {
    const bool weighted = job.weight != nullptr;
    switch (job.kind) {
        case kDot:
            return each_row<Index, EntryDots<Index>>;
        case kPicked:
            return weighted ? each_row<Index, PickedRows<Index, true>> : each_row<Index, PickedRows<Index, false>>;
        case kMax:
            if (job.arg)
                return weighted ? each_row<Index, MaxRows<Index, true, true>> : each_row<Index, MaxRows<Index, false, true>>;
            return weighted ? each_row<Index, MaxRows<Index, true, false>> : each_row<Index, MaxRows<Index, false, false>>;
        default:
            return weighted ? each_row<Index, SumRows<Index, true>> : each_row<Index, SumRows<Index, false>>;
    }
}

}  // namespace

Run GL_NAME(GL_ISA)(const Job& job) {
    return job.col_bytes == 4 ? pick<int32_t>(job) : job.col_bytes == 8 ? pick<int64_t>(job) : pick<void>(job);
}

}  // namespace reduce
