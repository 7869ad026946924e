// Compiled with GL_ISA plain, avx2 or avx512 and the compiler's flags for it. Everything but the last function has
// internal linkage, so that the linker cannot take one instruction set's code for another's.
#include "reduce_rows.h"

#include <type_traits>

#include "lanes.h"

#define GL_JOIN(a, b) a##b
#define GL_NAME(isa) GL_JOIN(run_, isa)

namespace reduce {
namespace {

// Rows fetched ahead of the one being added. Chosen by measurement: 4 to 16 differ by less than 5 %.
constexpr int64_t kAhead = 8;
constexpr int64_t kLine = 64;

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

// What every body knows: one list, and where its numbers lie.
template <class T, class Index>
struct List {
    using Sum = typename SumOf<T>::type;
    static constexpr int kMost = std::is_same_v<T, float> ? 8 : 4;  // registers in one go
    const Job& job;
    const Source<Index>& source;
    int64_t row, begin, end;

    GL_INLINE const T* x(int64_t entry) const { return static_cast<const T*>(job.x) + source(entry) * job.x_stride; }
    GL_INLINE Sum weight(int64_t entry) const { return static_cast<const Sum*>(job.weight)[entry]; }
    GL_INLINE T* out() const { return static_cast<T*>(job.out) + row * job.num_channels; }

    GL_INLINE void fetch(int64_t entry) const {
        if (entry >= job.num_entries) return;
        // In integers, as this entry is not checked yet; fetching from a wrong address does nothing.
        const uint64_t at = static_cast<uint64_t>(source(entry));
        const uint64_t x = reinterpret_cast<uintptr_t>(job.x) + at * static_cast<uint64_t>(job.x_stride) * sizeof(T);
        const int64_t bytes = job.num_channels * static_cast<int64_t>(sizeof(T));
        for (int64_t b = 0; b < bytes; b += kLine) __builtin_prefetch(reinterpret_cast<const void*>(x + b));
        if (!job.picked) return;
        const uint64_t picked = reinterpret_cast<uintptr_t>(job.picked) + at * static_cast<uint64_t>(job.num_channels) * 4;
        for (int64_t b = 0; b < job.num_channels * 4; b += kLine)
            __builtin_prefetch(reinterpret_cast<const void*>(picked + b));
    }
};

template <class T, class Index, bool Weighted>
struct SumRows : List<T, Index> {
    using typename List<T, Index>::Sum;
    static constexpr bool kMayOverlap = true;

    template <int V, int R>
    GL_INLINE void run(int64_t channel, bool first) const {
        using L = Lanes<V, Sum>;
        constexpr int width = V / sizeof(Sum);
        typename L::Num sum[R] = {};
        for (int64_t e = this->begin; e < this->end; ++e) {
            if (first) this->fetch(e + kAhead);
            const T* x = this->x(e) + channel;
            for (int r = 0; r < R; ++r) {
                typename L::Num v;
                load<V>(v, x + r * width);
                if (Weighted) v *= this->weight(e);
                sum[r] += v;
            }
        }
        const int64_t length = this->end - this->begin;
        const Sum share = this->job.kind == kMean && length > 0 ? static_cast<Sum>(length) : Sum(1);
        for (int r = 0; r < R; ++r) {
            sum[r] /= share;
            store<V>(this->out() + channel + r * width, sum[r]);
        }
    }
};

// The largest, or with Min the smallest, of each channel.
template <class T, class Index, bool Weighted, bool Min, bool WithArg>
struct BestRows : List<T, Index> {
    using typename List<T, Index>::Sum;
    static constexpr bool kMayOverlap = true;

    template <int V>
    GL_INLINE void message(typename Lanes<V, Sum>::Num& v, int64_t entry, int64_t channel) const {
        load<V>(v, this->x(entry) + channel);
        if (Weighted) v *= this->weight(entry);
    }

    template <int V, int R>
    GL_INLINE void run(int64_t channel, bool first) const {
        using Num = typename Lanes<V, Sum>::Num;
        using Int = typename Lanes<V, Sum>::Int;
        constexpr int width = V / sizeof(Sum);
        const int64_t begin = this->begin, end = this->end;
        Num best[R] = {};
        Int place[R];
        for (int r = 0; r < R; ++r) place[r] = Int{} - (begin == end ? 1 : 0);
        if (first) this->fetch(begin + kAhead);
        for (int r = 0; r < R && begin < end; ++r) message<V>(best[r], begin, channel + r * width);
        for (int64_t e = begin + 1; e < end; ++e) {
            if (first) this->fetch(e + kAhead);
            const Int here = Int{} + static_cast<int32_t>(e - begin);
            for (int r = 0; r < R; ++r) {
                Num v;
                message<V>(v, e, channel + r * width);
                // A NaN is kept: what is not finite must show in the loss.
                const Int worse = Min ? v >= best[r] : v <= best[r];
                const Int take = ~worse & (best[r] == best[r]);
                best[r] = take ? v : best[r];
                if (WithArg) place[r] = take ? here : place[r];
            }
        }
        for (int r = 0; r < R; ++r) {
            store<V>(this->out() + channel + r * width, best[r]);
            if (!WithArg || !this->job.arg) continue;
            const auto narrow = __builtin_convertvector(place[r], typename Lanes<V, Sum>::Place);
            std::memcpy(this->job.arg + this->row * this->job.num_channels + channel + r * width, &narrow, 4 * width);
        }
    }
};

// The gradient of a maximum for its sources, with the lists turned around: row `row` was read by each of its entries,
// and gets the gradient `x` of a channel where that entry was the largest.
template <class T, class Index, bool Weighted>
struct PickedRows : List<T, Index> {
    using typename List<T, Index>::Sum;
    static constexpr bool kMayOverlap = true;

    template <int V, int R>
    GL_INLINE void run(int64_t channel, bool first) const {
        using L = Lanes<V, Sum>;
        constexpr int width = V / sizeof(Sum);
        typename L::Num sum[R] = {};
        for (int64_t e = this->begin; e < this->end; ++e) {
            if (first) this->fetch(e + kAhead);
            const int32_t* chosen = this->job.picked + this->source(e) * this->job.num_channels + channel;
            for (int r = 0; r < R; ++r) {
                typename L::Num v;
                typename L::Place picked;
                load<V>(v, this->x(e) + channel + r * width);
                std::memcpy(&picked, chosen + r * width, 4 * width);
                if (Weighted) v *= this->weight(e);
                const auto wide = __builtin_convertvector(picked, typename L::Int);
                sum[r] += wide == typename L::Int{} + this->job.place[e] ? v : typename L::Num{};
            }
        }
        for (int r = 0; r < R; ++r) store<V>(this->out() + channel + r * width, sum[r]);
    }
};

// The gradient of a weighted sum for its weights: <x[col[e]], grad[row of e]>.
template <class T, class Index>
struct EntryDots : List<T, Index> {
    using typename List<T, Index>::Sum;
    static constexpr bool kMayOverlap = false;

    template <int V, int R>
    GL_INLINE void run(int64_t channel, bool first) const {
        constexpr int width = V / sizeof(Sum);
        T* out = static_cast<T*>(this->job.out);
        const T* grad = static_cast<const T*>(this->job.grad) + this->row * this->job.num_channels + channel;
        for (int64_t e = this->begin; e < this->end; ++e) {
            if (first) this->fetch(e + kAhead);
            typename Lanes<V, Sum>::Num sum = {}, a, b;
            for (int r = 0; r < R; ++r) {
                load<V>(a, this->x(e) + channel + r * width);
                load<V>(b, grad + r * width);
                sum += a * b;
            }
            Sum total = 0;
            for (int i = 0; i < width; ++i) total += sum[i];
            out[e] = first ? total : out[e] + total;
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
        all_channels(job.num_channels, Body{{job, source, row, begin, end}});
    }
}

template <class T, class Index, bool Weighted, bool Min>
Run pick_best(const Job& job) {
    if constexpr (std::is_same_v<T, float>) {  // the other types are rarer, and each variant takes time to compile
        if (!job.arg) return each_row<Index, BestRows<T, Index, Weighted, Min, false>>;
    }
    return each_row<Index, BestRows<T, Index, Weighted, Min, true>>;
}

template <class T, class Index, bool Weighted>
Run pick(const Job& job) {
    if constexpr (sizeof(T) > 2) {
        if (job.kind == kDot) return each_row<Index, EntryDots<T, Index>>;
        if (job.kind == kPicked) return each_row<Index, PickedRows<T, Index, Weighted>>;
    }
    if (job.kind == kMax) return pick_best<T, Index, Weighted, false>(job);
    if (job.kind == kMin) return pick_best<T, Index, Weighted, true>(job);
    return each_row<Index, SumRows<T, Index, Weighted>>;
}

template <class T, class Index>
Run pick_weighted(const Job& job) {
    return job.weight ? pick<T, Index, true>(job) : pick<T, Index, false>(job);
}

template <class T>
Run pick_index(const Job& job) {
    if (job.col_bytes == 4) return pick_weighted<T, int32_t>(job);
    return job.col_bytes == 8 ? pick_weighted<T, int64_t>(job) : pick_weighted<T, void>(job);
}

}  // namespace

Run GL_NAME(GL_ISA)(const Job& job) {
    switch (job.type) {
        case kFloat64:
            return pick_index<double>(job);
        case kFloat16:
            return pick_index<Half>(job);
        case kBFloat16:
            return pick_index<BFloat>(job);
        default:
            return pick_index<float>(job);
    }
}

}  // namespace reduce
