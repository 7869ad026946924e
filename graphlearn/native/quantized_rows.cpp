// Gather and reduce over rows of int8 or packed int4, compiled with GL_ISA plain, avx2 or avx512. Everything but the last
// function has internal linkage, so that the linker cannot take one instruction set's code for another's.
#include "quantized.h"

#include <algorithm>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "lanes.h"

#define GL_JOIN(a, b) a##b
#define GL_NAME(isa) GL_JOIN(run_, isa)

namespace quantized {
namespace {

using reduce::all_channels;

// Rows fetched ahead of the one being added: they are short, so more of them than reduce_rows.cpp fetches.
constexpr int64_t kAhead = 16;
constexpr int64_t kLine = 64;
constexpr int64_t kMostChannels = 256;  // of one call of a body
constexpr int64_t kShort = 256;         // that many int8 add up within int16

// A vector of V bytes of Sum, and as many int8.
template <int V, class Sum>
struct Vec {
    static constexpr int kCount = V / static_cast<int>(sizeof(Sum));
    typedef Sum Num __attribute__((vector_size(V)));
    typedef int8_t Byte __attribute__((vector_size(kCount)));
    typedef uint8_t Bits __attribute__((vector_size(kCount)));
};

enum Part { kWhole, kLow, kHigh };  // a byte, or the lower or upper four bits of it

// Bytes as the lanes of a vector of V bytes. Spelled out where there is an instruction: gcc 12 goes byte by byte.
template <int V, class Sum>
GL_INLINE void widen(typename Vec<V, Sum>::Num& v, const int8_t* p) {
    using W = Vec<V, Sum>;
#if defined(__AVX512BW__)
    if constexpr (V == 64 && sizeof(Sum) == 4) {
        v = (typename W::Num)_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
        return;
    } else if constexpr (V == 64 && sizeof(Sum) == 2) {
        v = (typename W::Num)_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
        return;
    }
#endif
#if defined(__AVX2__)
    if constexpr (V == 32 && sizeof(Sum) == 4) {
        v = (typename W::Num)_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
        return;
    } else if constexpr (V == 32 && sizeof(Sum) == 2) {
        v = (typename W::Num)_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
        return;
    }
#endif
    typename W::Byte bytes;
    std::memcpy(&bytes, p, W::kCount);
    if constexpr (sizeof(Sum) == 4 && V == 16) {  // in two steps, of which gcc knows each
        typedef int16_t Short __attribute__((vector_size(8)));
        v = __builtin_convertvector(__builtin_convertvector(bytes, Short), typename W::Num);
    } else {
        v = __builtin_convertvector(bytes, typename W::Num);
    }
}

template <int V, class Sum, Part P>
GL_INLINE void load(typename Vec<V, Sum>::Num& v, const int8_t* p) {
    if constexpr (sizeof(Sum) == 1) {
        typename Vec<V, Sum>::Bits bits;
        std::memcpy(&bits, p, V);
        if constexpr (P == kHigh) bits >>= 4;
        if constexpr (P != kWhole) bits = ((bits & 15) ^ 8) - 8;
        std::memcpy(&v, &bits, V);
    } else {
        constexpr int above = 8 * static_cast<int>(sizeof(Sum)) - 4;
        widen<V, Sum>(v, p);
        if constexpr (P == kLow) v = (v << above) >> above;
        if constexpr (P == kHigh) v >>= 4;
    }
}

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

template <class Index>
GL_INLINE bool is_valid(const Job& job, const Source<Index>& source, int64_t begin, int64_t end) {
    if (begin < 0 || begin > end || end > job.num_entries) return false;
    bool valid = true;
    for (int64_t e = begin; e < end; ++e)
        valid &= static_cast<uint64_t>(source(e)) < static_cast<uint64_t>(job.num_src);
    return valid;
}

// What every body knows: one list, one head of it, and where its numbers lie.
template <class Index>
struct List {
    const Job& job;
    const Source<Index>& source;
    int64_t row, begin, end, head;
    int64_t read, write;  // first byte of a row, and first channel of the result, of this head or half

    GL_INLINE const int8_t* x(int64_t entry) const { return job.x + source(entry) * job.x_stride + read; }
    GL_INLINE int32_t weight(int64_t entry) const { return job.weight[entry * job.num_heads + head]; }

    GL_INLINE void fetch(int64_t entry) const {
        if (entry >= job.num_entries) return;
        // In integers, as this entry is not checked yet; fetching from a wrong address does nothing.
        const uint64_t at = static_cast<uint64_t>(source(entry));
        const uint64_t x = reinterpret_cast<uintptr_t>(job.x) + at * static_cast<uint64_t>(job.x_stride);
        const int64_t bytes = job.packed ? (job.num_channels + 1) / 2 : job.num_channels;
        for (int64_t b = 0; b < bytes; b += kLine) __builtin_prefetch(reinterpret_cast<const void*>(x + b));
        if (job.scale_per_row) {
            const uint64_t scale = reinterpret_cast<uintptr_t>(job.scale) + at * sizeof(float);
            __builtin_prefetch(reinterpret_cast<const void*>(scale));
        }
    }

    // Writes `count` channels from `channel` on: of levels that were added up, or of numbers with their scale in them.
    template <class Total>
    GL_INLINE void finish(const Total* total, int64_t channel, int64_t count) const {
        const int64_t length = end - begin;
        const bool levels = !std::is_same_v<Total, float>;
        int64_t offset = 0;
        if (levels && job.zero && length > 0) {
            int64_t times = job.kind == kMax ? 1 : length;
            if (job.weight) {
                times = 0;
                for (int64_t e = begin; e < end; ++e) times += weight(e);
            }
            offset = *job.zero * times;
        }
        const float scale = levels ? *job.scale : 1.0f;
        const float step = job.weight ? job.list_scale[row * job.num_heads + head] : 1.0f;
        const float share = job.kind == kMean && length > 0 ? static_cast<float>(length) : 1.0f;
        const int64_t first = row * job.num_channels + write + channel;
        float value[kMostChannels];
        for (int64_t c = 0; c < count; ++c)
            value[c] = static_cast<float>(total[c] - static_cast<Total>(offset)) * scale * step / share;
        if (!job.out_scale) {
            std::memcpy(static_cast<float*>(job.out) + first, value, count * sizeof(float));
            return;
        }
        const float out_scale = *job.out_scale;
        const int32_t zero = *job.out_zero;
        const float low = static_cast<float>(job.out_low - zero), high = static_cast<float>(job.out_high - zero);
        int8_t* out = static_cast<int8_t*>(job.out) + first;
        for (int64_t c = 0; c < count; ++c) {
            const float level = std::min(std::max(value[c] / out_scale, low), high);
            // Adding 1.5 * 2^23 rounds to the nearest whole number, to the even one of two.
            const float rounded = (level + 12582912.0f) - 12582912.0f;
            out[c] = static_cast<int8_t>(static_cast<int32_t>(rounded) + zero);
        }
    }

    // Adds up slices that int32 can hold, each made by slice(begin, end, total), and writes the result.
    template <int Count, class Slice>
    GL_INLINE void guarded(int64_t channel, int64_t guard, const Slice& slice) const {
        int32_t total[Count];
        slice(begin, std::min(end, begin + guard), total);
        if (end - begin <= guard) return finish(total, channel, Count);
        int64_t wide[Count];
        for (int c = 0; c < Count; ++c) wide[c] = total[c];
        for (int64_t from = begin + guard; from < end; from += guard) {
            slice(from, std::min(end, from + guard), total);
            for (int c = 0; c < Count; ++c) wide[c] += total[c];
        }
        finish(wide, channel, Count);
    }
};

// Levels alone: int16 for up to 256 rows, then int32.
template <class Index, Part P>
struct SumLevels : List<Index> {
    using Sum = int16_t;
    static constexpr int kMost = 4;
    static constexpr bool kMayOverlap = true;

    template <int V, int R>
    GL_INLINE void run(int64_t channel, bool first) const {
        using W = Vec<V, Sum>;
        constexpr int count = R * W::kCount;
        this->template guarded<count>(channel, kGuard * 128, [&](int64_t from, int64_t to, int32_t* total) {
            for (int c = 0; c < count; ++c) total[c] = 0;
            for (int64_t part = from; part < to; part += kShort) {
                typename W::Num sum[R] = {};
                for (int64_t e = part; e < std::min(to, part + kShort); ++e) {
                    if (first) this->fetch(e + kAhead);
                    const int8_t* x = this->x(e) + channel;
                    for (int r = 0; r < R; ++r) {
                        typename W::Num v;
                        load<V, Sum, P>(v, x + r * W::kCount);
                        sum[r] += v;
                    }
                }
                int16_t shorts[count];
                std::memcpy(shorts, sum, sizeof(sum));
                for (int c = 0; c < count; ++c) total[c] += shorts[c];
            }
        });
    }
};

// Levels times the levels of weights, in int32.
template <class Index, Part P>
struct SumProducts : List<Index> {
    using Sum = int32_t;
    static constexpr int kMost = 8;
    static constexpr bool kMayOverlap = true;

    template <int V, int R>
    GL_INLINE void run(int64_t channel, bool first) const {
        using W = Vec<V, Sum>;
        constexpr int count = R * W::kCount;
        this->template guarded<count>(channel, kGuard, [&](int64_t from, int64_t to, int32_t* total) {
#if defined(__AVX512VNNI__)
            if constexpr (P == kWhole && count == 64) return four_at_once(from, to, channel, first, total);
#endif
            typename W::Num sum[R] = {};
            for (int64_t e = from; e < to; ++e) {
                if (first) this->fetch(e + kAhead);
                const int8_t* x = this->x(e) + channel;
                const int32_t weight = this->weight(e);
                for (int r = 0; r < R; ++r) {
                    typename W::Num v;
                    load<V, Sum, P>(v, x + r * W::kCount);
                    sum[r] += v * weight;
                }
            }
            std::memcpy(total, sum, sizeof(sum));
        });
    }

#if defined(__AVX512VNNI__)
    // 64 channels of four rows by one dot product of four bytes each, unsigned by signed: x + 128 takes the place of x.
    GL_INLINE void four_at_once(int64_t from, int64_t to, int64_t channel, bool first, int32_t* total) const {
        const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
        __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
        int32_t weights = 0;
        for (int64_t e = from; e < to; e += 4) {
            __m512i row[4];
            int8_t w[4];
            for (int k = 0; k < 4; ++k) {
                const int64_t entry = std::min(e + k, to - 1);
                w[k] = e + k < to ? static_cast<int8_t>(this->weight(entry)) : int8_t(0);
                weights += w[k];
                if (first) this->fetch(entry + kAhead);
                row[k] = _mm512_xor_si512(_mm512_loadu_si512(this->x(entry) + channel), flip);
            }
            int32_t four;
            std::memcpy(&four, w, 4);
            const __m512i weight = _mm512_set1_epi32(four);
            const __m512i a = _mm512_unpacklo_epi8(row[0], row[1]), b = _mm512_unpackhi_epi8(row[0], row[1]);
            const __m512i c = _mm512_unpacklo_epi8(row[2], row[3]), d = _mm512_unpackhi_epi8(row[2], row[3]);
            sum[0] = _mm512_dpbusd_epi32(sum[0], _mm512_unpacklo_epi16(a, c), weight);
            sum[1] = _mm512_dpbusd_epi32(sum[1], _mm512_unpackhi_epi16(a, c), weight);
            sum[2] = _mm512_dpbusd_epi32(sum[2], _mm512_unpacklo_epi16(b, d), weight);
            sum[3] = _mm512_dpbusd_epi32(sum[3], _mm512_unpackhi_epi16(b, d), weight);
        }
        // Within each 128 bits the unpacking has put channels 4k to 4k + 3 into sum[k]. Sums wrap around, and back here.
        uint32_t parts[4][16];
        std::memcpy(parts, sum, sizeof(sum));
        const uint32_t extra = 128u * static_cast<uint32_t>(weights);
        for (int lane = 0; lane < 4; ++lane)
            for (int k = 0; k < 4; ++k)
                for (int j = 0; j < 4; ++j)
                    total[16 * lane + 4 * k + j] = static_cast<int32_t>(parts[k][4 * lane + j] - extra);
    }
#endif
};

// Rows that have a scale each: in float.
template <class Index, Part P>
struct SumScaled : List<Index> {
    using Sum = int32_t;
    static constexpr int kMost = 8;
    static constexpr bool kMayOverlap = true;

    template <int V, int R>
    GL_INLINE void run(int64_t channel, bool first) const {
        using W = Vec<V, Sum>;
        using Num = typename Vec<V, float>::Num;
        Num sum[R] = {};
        for (int64_t e = this->begin; e < this->end; ++e) {
            if (first) this->fetch(e + kAhead);
            const int8_t* x = this->x(e) + channel;
            float factor = this->job.scale[this->source(e)];
            if (this->job.weight) factor *= static_cast<float>(this->weight(e));
            for (int r = 0; r < R; ++r) {
                typename W::Num v;
                load<V, Sum, P>(v, x + r * W::kCount);
                sum[r] += __builtin_convertvector(v, Num) * factor;
            }
        }
        float total[R * W::kCount];
        std::memcpy(total, sum, sizeof(sum));
        this->finish(total, channel, R * W::kCount);
    }
};

template <class Index, Part P>
struct MaxLevels : List<Index> {
    using Sum = int8_t;
    static constexpr int kMost = 4;
    static constexpr bool kMayOverlap = true;

    template <int V, int R>
    GL_INLINE void run(int64_t channel, bool first) const {
        using W = Vec<V, Sum>;
        constexpr int count = R * W::kCount;
        typename W::Num best[R] = {};
        if (this->begin < this->end)
            for (int r = 0; r < R; ++r) load<V, Sum, P>(best[r], this->x(this->begin) + channel + r * W::kCount);
        for (int64_t e = this->begin; e < this->end; ++e) {
            if (first) this->fetch(e + kAhead);
            const int8_t* x = this->x(e) + channel;
            for (int r = 0; r < R; ++r) {
                typename W::Num v;
                load<V, Sum, P>(v, x + r * W::kCount);
                best[r] = v > best[r] ? v : best[r];
            }
        }
        int8_t bytes[count];
        int32_t total[count];
        std::memcpy(bytes, best, sizeof(best));
        for (int c = 0; c < count; ++c) total[c] = bytes[c];
        this->finish(total, channel, count);
    }
};

template <class Index, Part P>
struct MaxScaled : List<Index> {
    using Sum = int32_t;
    static constexpr int kMost = 8;
    static constexpr bool kMayOverlap = true;

    template <int V, int R>
    GL_INLINE void run(int64_t channel, bool first) const {
        using W = Vec<V, Sum>;
        using Num = typename Vec<V, float>::Num;
        Num best[R] = {};
        for (int64_t e = this->begin; e < this->end; ++e) {
            if (first) this->fetch(e + kAhead);
            const int8_t* x = this->x(e) + channel;
            const float factor = this->job.scale[this->source(e)];
            for (int r = 0; r < R; ++r) {
                typename W::Num level;
                load<V, Sum, P>(level, x + r * W::kCount);
                const Num v = __builtin_convertvector(level, Num) * factor;
                best[r] = e == this->begin || v > best[r] ? v : best[r];
            }
        }
        float total[R * W::kCount];
        std::memcpy(total, best, sizeof(best));
        this->finish(total, channel, R * W::kCount);
    }
};

template <class Index, template <class, Part> class Body>
void each_row(const Job& job, int64_t lo, int64_t hi) {
    const Source<Index> source(job);
    const int64_t width = job.num_channels / job.num_heads, half = (job.num_channels + 1) / 2;
    for (int64_t row = lo; row < hi; ++row) {
        const int64_t begin = job.rowptr[row], end = job.rowptr[row + 1];
        if (!is_valid(job, source, begin, end)) {
            job.bad->store(true, std::memory_order_relaxed);
            return;
        }
        if (job.packed) {
            all_channels(half, Body<Index, kLow>{{job, source, row, begin, end, 0, 0, 0}});
            all_channels(job.num_channels - half, Body<Index, kHigh>{{job, source, row, begin, end, 0, 0, half}});
            continue;
        }
        for (int64_t head = 0; head < job.num_heads; ++head)
            all_channels(width, Body<Index, kWhole>{{job, source, row, begin, end, head, head * width, head * width}});
    }
}

template <class Index>
Run pick(const Job& job) {
    if (job.kind == kMax) return job.scale_per_row ? each_row<Index, MaxScaled> : each_row<Index, MaxLevels>;
    if (job.scale_per_row) return each_row<Index, SumScaled>;
    return job.weight ? each_row<Index, SumProducts> : each_row<Index, SumLevels>;
}

}  // namespace

Run GL_NAME(GL_ISA)(const Job& job) {
    if (job.col_bytes == 4) return pick<int32_t>(job);
    return job.col_bytes == 8 ? pick<int64_t>(job) : pick<void>(job);
}

}  // namespace quantized
