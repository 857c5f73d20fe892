// The CPU side of portable.h: a group is one core, a lane one element of a GCC/Clang vector.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#define DEVICE static inline __attribute__((always_inline))
#define MEMBER inline __attribute__((always_inline))
#define KERNEL(name) extern "C" __attribute__((visibility("default"))) void name
#define LANES ((int)(VECTOR_BYTES / sizeof(REAL)))

template <class R> struct IntegerOf;
template <> struct IntegerOf<float> { typedef int32_t type; };
template <> struct IntegerOf<double> { typedef int64_t type; };
typedef REAL lanes __attribute__((vector_size(VECTOR_BYTES)));
typedef IntegerOf<REAL>::type lane_mask __attribute__((vector_size(VECTOR_BYTES)));

// ---- who works on what --------------------------------------------------------------------------
#define FOR_EACH_GROUP(item, begin, end) for (int item = (begin); item < (end); ++item)
#define FOR_EACH_THREAD(item, begin, end) for (int item = (begin); item < (end); ++item)
// elements of a scratch array shared out over the lanes of the group, one at a time
#define FOR_LANE_ELEMENTS(k, n) for (int k = 0; k < (n); ++k)
#define GROUP_SYNC() ((void)0)
#define ONE_LANE if (true)
// number of this group among all that run at once (slices of scratch memory), and atoms a group takes together
#define GROUP_IN_GRID() 0
#define ATOMS_TOGETHER 4
// atoms among which those of one type are brought together: near each other, but enough of every type
#define ATOMS_PER_TILE(n_types) ((n_types) > 4 ? 128 : 32)
#define MOST_ATOMS_PER_TILE 128
#define UNROLL _Pragma("GCC unroll 64")
// whether a vector register file holds 16 or 32; whether lanes of one type gain by a common coefficient
#define FEW_REGISTERS (VECTOR_BYTES < 64)
#define SAME_TYPE_PAYS true
// a counter that runs evenly, for shares of time
#if defined(__x86_64__)
#define CYCLES() ((double)__builtin_ia32_rdtsc())
#else
#define CYCLES() 0.0
#endif

// bring a cache line that will be read soon
DEVICE void prefetch(const void* address) { __builtin_prefetch(address); }

// ---- lanes --------------------------------------------------------------------------------------
DEVICE lanes broadcast(REAL value) { return value - (lanes){}; }
DEVICE lanes load(const REAL* p) { lanes v; memcpy(&v, p, sizeof v); return v; }
DEVICE void store(REAL* p, lanes v) { memcpy(p, &v, sizeof v); }
DEVICE lanes select(lane_mask m, lanes a, lanes b) { return m ? a : b; }
DEVICE lanes minimum(lanes a, lanes b)
{
#if defined(__AVX512F__)
    if constexpr (sizeof(REAL) == 4) return (lanes)_mm512_min_ps((__m512)a, (__m512)b);
    else return (lanes)_mm512_min_pd((__m512d)a, (__m512d)b);
#elif defined(__AVX2__)
    if constexpr (sizeof(REAL) == 4) return (lanes)_mm256_min_ps((__m256)a, (__m256)b);
    else return (lanes)_mm256_min_pd((__m256d)a, (__m256d)b);
#else
    return a < b ? a : b;
#endif
}
DEVICE lanes maximum(lanes a, lanes b)
{
#if defined(__AVX512F__)
    if constexpr (sizeof(REAL) == 4) return (lanes)_mm512_max_ps((__m512)a, (__m512)b);
    else return (lanes)_mm512_max_pd((__m512d)a, (__m512d)b);
#elif defined(__AVX2__)
    if constexpr (sizeof(REAL) == 4) return (lanes)_mm256_max_ps((__m256)a, (__m256)b);
    else return (lanes)_mm256_max_pd((__m256d)a, (__m256d)b);
#else
    return a > b ? a : b;
#endif
}
// 0, 1, ..., LANES - 1
DEVICE lanes lane_numbers()
{
    lanes v;
    for (int l = 0; l < LANES; ++l) v[l] = (REAL)l;
    return v;
}
DEVICE bool any_lane(lane_mask m)
{
#if defined(__AVX512F__)
    if constexpr (sizeof(REAL) == 4) return _mm512_movepi32_mask((__m512i)m) != 0;
    else return _mm512_movepi64_mask((__m512i)m) != 0;
#elif defined(__AVX2__)
    return !_mm256_testz_si256((__m256i)m, (__m256i)m);
#else
    IntegerOf<REAL>::type seen = 0;
    for (int l = 0; l < LANES; ++l) seen |= m[l];
    return seen != 0;
#endif
}
DEVICE REAL reduce_add(lanes v)
{
#if defined(__AVX512F__)
    if constexpr (sizeof(REAL) == 4) return _mm512_reduce_add_ps((__m512)v);
    else return _mm512_reduce_add_pd((__m512d)v);
#else
    REAL sum = 0;
    for (int l = 0; l < LANES; ++l) sum += v[l];
    return sum;
#endif
}
DEVICE lanes sqrt_lanes(lanes v)
{
#if defined(__AVX512F__)
    if constexpr (sizeof(REAL) == 4) return (lanes)_mm512_sqrt_ps((__m512)v);
    else return (lanes)_mm512_sqrt_pd((__m512d)v);
#elif defined(__AVX2__)
    if constexpr (sizeof(REAL) == 4) return (lanes)_mm256_sqrt_ps((__m256)v);
    else return (lanes)_mm256_sqrt_pd((__m256d)v);
#else
    for (int l = 0; l < LANES; ++l) v[l] = std::sqrt(v[l]);
    return v;
#endif
}
// 1 / sqrt(v), accurate to rounding errors of a few units in the last place
DEVICE lanes inverse_sqrt(lanes v)
{
#if defined(__AVX512F__)
    // 14-bit estimate and Newton steps y <- y (3 - v y^2) / 2
    if constexpr (sizeof(REAL) == 4) {
        const lanes y = (lanes)_mm512_rsqrt14_ps((__m512)v);
        return y * ((REAL)1.5 - (REAL)0.5 * v * y * y);
    } else {
        lanes y = (lanes)_mm512_rsqrt14_pd((__m512d)v);
        y = y * ((REAL)1.5 - (REAL)0.5 * v * y * y);
        return y * ((REAL)1.5 - (REAL)0.5 * v * y * y);
    }
#else
    return (REAL)1 / sqrt_lanes(v);
#endif
}
DEVICE lanes round_lanes(lanes v)
{
    // adding and taking away 1.5 * 2^(mantissa bits) rounds to nearest; the barrier keeps it
    const REAL big = sizeof(REAL) == 4 ? (REAL)12582912.0 : (REAL)6755399441055744.0;
    lanes shifted = v + big;
    asm volatile("" : "+m"(shifted));
    return shifted - big;
}
DEVICE lanes scale_by_power_of_two(lanes v, lanes n)
{
    lane_mask e = __builtin_convertvector(n, lane_mask);
    const int bias = sizeof(REAL) == 4 ? 127 : 1023, shift = sizeof(REAL) == 4 ? 23 : 52;
    lane_mask bits = (e + bias) << shift;
    lanes two_n;
    memcpy(&two_n, &bits, sizeof bits);
    return v * two_n;
}
// v = m 2^exponent with 1 <= m < 2, for positive normal v
DEVICE lanes split_mantissa(lanes v, lanes& exponent)
{
    const int bias = sizeof(REAL) == 4 ? 127 : 1023, shift = sizeof(REAL) == 4 ? 23 : 52;
    const lane_mask one = (lane_mask{} + bias) << shift, low_bits = (lane_mask{} + 1 << shift) - 1;
    lane_mask bits = (lane_mask)v;
    exponent = __builtin_convertvector((bits >> shift) - bias, lanes);
    return (lanes)((bits & low_bits) | one);
}

// ---- integers by lane, in memory ------------------------------------------------------------------
// table[index[l]]
DEVICE lanes gather(const REAL* table, const int* index)
{
    lanes v;
    for (int l = 0; l < LANES; ++l) v[l] = table[index[l]];
    return v;
}
// out[v], v < 16, is table[start[l] + v] by lane
DEVICE void gather_rows(const REAL* table, const int* start, lanes (&out)[16])
{
#if defined(__AVX512F__)
    if constexpr (sizeof(REAL) == 4) {
        const __m512i rows = _mm512_loadu_si512(start);
        for (int v = 0; v < 16; ++v) out[v] = (lanes)_mm512_i32gather_ps(rows, table + v, 4);
    } else {
        const __m256i rows = _mm256_loadu_si256((const __m256i*)start);
        for (int v = 0; v < 16; ++v) out[v] = (lanes)_mm512_i32gather_pd(rows, table + v, 8);
    }
#elif defined(__AVX2__)
    // blocks of rows are loaded and transposed
    if constexpr (sizeof(REAL) == 4) {
        for (int v = 0; v < 16; v += 8) {
            __m256 r[8], s[8];
            for (int l = 0; l < 8; ++l) r[l] = _mm256_loadu_ps((const float*)table + start[l] + v);
            for (int l = 0; l < 8; l += 2) {
                s[l] = _mm256_unpacklo_ps(r[l], r[l + 1]);
                s[l + 1] = _mm256_unpackhi_ps(r[l], r[l + 1]);
            }
            for (int l = 0; l < 8; l += 4)
                for (int k = 0; k < 2; ++k) {
                    r[l + 2 * k] = _mm256_shuffle_ps(s[l + k], s[l + 2 + k], 0x44);
                    r[l + 2 * k + 1] = _mm256_shuffle_ps(s[l + k], s[l + 2 + k], 0xee);
                }
            for (int k = 0; k < 4; ++k) {
                out[v + k] = (lanes)_mm256_permute2f128_ps(r[k], r[k + 4], 0x20);
                out[v + 4 + k] = (lanes)_mm256_permute2f128_ps(r[k], r[k + 4], 0x31);
            }
        }
    } else {
        for (int v = 0; v < 16; v += 4) {
            __m256d r[4], s[4];
            for (int l = 0; l < 4; ++l) r[l] = _mm256_loadu_pd((const double*)table + start[l] + v);
            for (int l = 0; l < 4; l += 2) {
                s[l] = _mm256_unpacklo_pd(r[l], r[l + 1]);
                s[l + 1] = _mm256_unpackhi_pd(r[l], r[l + 1]);
            }
            for (int k = 0; k < 2; ++k) {
                out[v + k] = (lanes)_mm256_permute2f128_pd(s[k], s[k + 2], 0x20);
                out[v + 2 + k] = (lanes)_mm256_permute2f128_pd(s[k], s[k + 2], 0x31);
            }
        }
    }
#else
    for (int v = 0; v < 16; ++v) out[v] = gather(table + v, start);
#endif
}
// whether index[0..LANES) are known to be one number; a machine on which that saves nothing says no
DEVICE bool all_equal(const int* index)
{
    int difference = 0;
    for (int l = 1; l < LANES; ++l) difference |= index[l] ^ index[0];
    return difference == 0;
}
// index[l] != value
DEVICE lane_mask differs(const int* index, int value)
{
    lane_mask m;
    for (int l = 0; l < LANES; ++l) m[l] = -(index[l] != value);
    return m;
}
