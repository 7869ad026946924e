// Vectors of numbers, and how each type of number in memory becomes one. Included by reduce_rows.cpp and
// quantized_rows.cpp only, which are compiled once per instruction set; all of it has internal linkage.
#pragma once

#include <cstring>

#include "reduce_rows.h"

#define GL_INLINE __attribute__((always_inline)) inline

namespace reduce {
namespace {

#if defined(__AVX512F__)
constexpr int kVector = 64;
#elif defined(__AVX2__)
constexpr int kVector = 32;
#else
constexpr int kVector = 16;
#endif

// Spelled out for each width: gcc drops the attribute where the width is a template argument.
template <int V, class Sum>
struct Lanes;
#define GL_LANES(V, SUM, INT, COUNT)                                 \
    template <>                                                      \
    struct Lanes<V, SUM> {                                           \
        typedef SUM Num __attribute__((vector_size(V)));             \
        typedef INT Int __attribute__((vector_size(V)));             \
        typedef int32_t Place __attribute__((vector_size(4 * COUNT))); \
        typedef uint32_t Bits __attribute__((vector_size(4 * COUNT))); \
        typedef uint16_t Short __attribute__((vector_size(2 * COUNT))); \
    }
GL_LANES(4, float, int32_t, 1);
GL_LANES(16, float, int32_t, 4);
GL_LANES(32, float, int32_t, 8);
GL_LANES(64, float, int32_t, 16);
GL_LANES(8, double, int64_t, 1);
GL_LANES(16, double, int64_t, 2);
GL_LANES(32, double, int64_t, 4);
GL_LANES(64, double, int64_t, 8);

template <int V>
GL_INLINE void load(typename Lanes<V, float>::Num& v, const float* p) {
    std::memcpy(&v, p, V);
}
template <int V>
GL_INLINE void load(typename Lanes<V, double>::Num& v, const double* p) {
    std::memcpy(&v, p, V);
}
template <int V>
GL_INLINE void load(typename Lanes<V, float>::Num& v, const BFloat* p) {
    typename Lanes<V, float>::Short bits;
    std::memcpy(&bits, p, V / 2);
    const auto wide = __builtin_convertvector(bits, typename Lanes<V, float>::Bits) << 16;
    std::memcpy(&v, &wide, V);
}
template <int V>
GL_INLINE void load(typename Lanes<V, float>::Num& v, const Half* p) {
    using Bits = typename Lanes<V, float>::Bits;
    typename Lanes<V, float>::Short bits;
    std::memcpy(&bits, p, V / 2);
    const Bits wide = __builtin_convertvector(bits, Bits);
    // The exponent counts from 15, not 127: a product with 2^112 puts that right, for the numbers below 2^-14 too.
    Bits size = (wide & 0x7fffu) << 13;
    typename Lanes<V, float>::Num scaled;
    std::memcpy(&scaled, &size, V);
    scaled *= 0x1p112f;
    Bits number;
    std::memcpy(&number, &scaled, V);
    number = (wide & 0x7c00u) == 0x7c00u ? (size | 0x7f800000u) : number;  // infinite, or no number
    number |= (wide & 0x8000u) << 16;
    std::memcpy(&v, &number, V);
}

template <int V>
GL_INLINE void store(float* p, const typename Lanes<V, float>::Num& v) {
    std::memcpy(p, &v, V);
}
template <int V>
GL_INLINE void store(double* p, const typename Lanes<V, double>::Num& v) {
    std::memcpy(p, &v, V);
}
// Both round to the nearest, to the even one of two.
template <int V>
GL_INLINE void store(BFloat* p, const typename Lanes<V, float>::Num& v) {
    using Bits = typename Lanes<V, float>::Bits;
    Bits bits;
    std::memcpy(&bits, &v, V);
    const Bits rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
    const Bits upper = ((bits & 0x7fffffffu) > 0x7f800000u ? (bits | 0x400000u) : rounded) >> 16;
    const auto narrow = __builtin_convertvector(upper, typename Lanes<V, float>::Short);
    std::memcpy(p, &narrow, V / 2);
}
template <int V>
GL_INLINE void store(Half* p, const typename Lanes<V, float>::Num& v) {
    using Bits = typename Lanes<V, float>::Bits;
    Bits bits;
    std::memcpy(&bits, &v, V);
    const Bits size = bits & 0x7fffffffu;
    const Bits usual = (size + 0xfffu + ((size >> 13) & 1u) - (112u << 23)) >> 13;
    // Below 2^-14 there are equal steps of 2^-24, the step of a float32 between 1/2 and 1: the addition rounds.
    typename Lanes<V, float>::Num small;
    std::memcpy(&small, &size, V);
    small += 0.5f;
    Bits steps;
    std::memcpy(&steps, &small, V);
    steps -= 0x3f000000u;
    Bits number = size < 0x38800000u ? steps : usual;
    number = size >= 0x477ff000u ? Bits{} + 0x7c00u : number;  // 65520 and above round to infinity
    number = size > 0x7f800000u ? Bits{} + 0x7e00u : number;
    number |= (bits >> 16) & 0x8000u;
    const auto narrow = __builtin_convertvector(number, typename Lanes<V, float>::Short);
    std::memcpy(p, &narrow, V / 2);
}

// Calls body.run<V bytes of sums, R registers>(first channel, is it the first call) until all channels are covered.
template <int V, int R, class Body>
GL_INLINE int64_t blocks(int64_t channel, int64_t num_channels, const Body& body) {
    constexpr int64_t step = R * V / static_cast<int64_t>(sizeof(typename Body::Sum));
    for (; channel + step <= num_channels; channel += step) body.template run<V, R>(channel, channel == 0);
    return channel;
}

template <class Body>
GL_INLINE void all_channels(int64_t num_channels, const Body& body) {
    constexpr int V = kVector;
    constexpr int64_t width = V / static_cast<int64_t>(sizeof(typename Body::Sum));
    int64_t channel = blocks<V, Body::kMost>(0, num_channels, body);
    if constexpr (Body::kMost > 4) channel = blocks<V, 4>(channel, num_channels, body);
    if constexpr (Body::kMost > 4) channel = blocks<V, 2>(channel, num_channels, body);
    channel = blocks<V, 1>(channel, num_channels, body);
    if (channel == num_channels) return;
    // The last block may overlap the one before it where that only computes the same numbers again.
    if (Body::kMayOverlap && num_channels >= width) return body.template run<V, 1>(num_channels - width, false);
    channel = blocks<16, 1>(channel, num_channels, body);
    blocks<sizeof(typename Body::Sum), 1>(channel, num_channels, body);
}

}  // namespace
}  // namespace reduce
