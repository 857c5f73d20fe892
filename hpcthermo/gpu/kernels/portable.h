// One kernel source, two machines.
//
// A *group* works on one item (an atom): on the CPU it is one core with SIMD lanes, on the GPU one
// warp whose threads are the lanes. Kernels are written once in terms of
//
//   REAL          pair arithmetic: float ("mixed") or double ("double")
//   LANES         lanes of a group (CPU: vector width / sizeof REAL; GPU: 32)
//   lanes         one REAL per lane         lane_mask   one truth value per lane
//   load, store, broadcast, select, minimum, maximum, reduce_add, any_lane, sqrt_lanes, exp_lanes, log_lanes, tanh_lanes
//   Position      packed position row {x, y, z, type}, 16 bytes (mixed) or 32 (double)
//   displacement  exact difference of two packed positions, converted to REAL
//   append        compaction: keep the lanes whose mask is set, densely, in a scratch buffer
//   scatter_*     add lane values into the float64 rows of arbitrary atoms
//
// A packed list is padded to a multiple of LANES; so no loop needs a remainder.
#pragma once

#ifndef REAL
#define REAL double
#endif

#ifdef __CUDACC_RTC__
#define HPCTHERMO_GPU 1
#elif defined(__CUDACC__)
#define HPCTHERMO_GPU 1
#else
#define HPCTHERMO_GPU 0
#endif

#if HPCTHERMO_GPU
#include "portable_gpu.h"
#else
#include "portable_cpu.h"
#endif

// ---- packed positions ---------------------------------------------------------------------------
// mixed:  fixed point, coordinate = origin + scale * integer, so differences are exact;
// double: float64. The type travels in w. Padding slots point at a row too far from every atom.
struct alignas(16) PositionFixed { int x, y, z, type; };
struct alignas(32) PositionFloat { double x, y, z, type; };

template <class R> struct PositionOf;
template <> struct PositionOf<float> { typedef PositionFixed type; };
template <> struct PositionOf<double> { typedef PositionFloat type; };
typedef PositionOf<REAL>::type Position;

DEVICE int type_of(const PositionFixed& p) { return p.type; }
DEVICE int type_of(const PositionFloat& p) { return (int)p.type; }

// r_j - r_i for one pair, without lanes
DEVICE void displacement(const PositionFixed& i, const PositionFixed& j, double scale, float d[3])
{
    d[0] = (float)(j.x - i.x) * (float)scale;
    d[1] = (float)(j.y - i.y) * (float)scale;
    d[2] = (float)(j.z - i.z) * (float)scale;
}
DEVICE void displacement(const PositionFloat& i, const PositionFloat& j, double, double d[3])
{
    d[0] = j.x - i.x;
    d[1] = j.y - i.y;
    d[2] = j.z - i.z;
}

#if HPCTHERMO_GPU
#include "pairs_gpu.h"
#else
#include "pairs_cpu.h"
#endif

DEVICE void load_displacements(const Position* positions, const int* index, const Position& centre,
                               double scale, lanes& x, lanes& y, lanes& z)
{
    lanes type;
    load_neighbors(positions, index, centre, scale, x, y, z, type);
}

// ---- functions of lanes, the same text on both machines -------------------------------------------
// e^v = 2^n e^f with n = round(v / ln 2), |f| <= ln(2)/2; Taylor to the precision of REAL
DEVICE lanes exp_lanes(lanes v)
{
    const bool single = sizeof(REAL) == 4;
    const REAL limit = single ? (REAL)87 : (REAL)708;
    v = select(v < -limit, broadcast(-limit), v);
    v = select(v > limit, broadcast(limit), v);
    const lanes n = round_lanes(v * (REAL)1.4426950408889634);
    // ln 2 in two parts so that f keeps full precision
    const REAL high = single ? (REAL)0.693359375 : (REAL)0.6931471803691238;
    const REAL low = single ? (REAL)-2.12194440e-4 : (REAL)1.9082149292705877e-10;
    const lanes f = (v - n * high) - n * low;
    const int degree = single ? 7 : 13;
    REAL factorial = 1;
    for (int k = 2; k <= degree; ++k) factorial *= k;
    REAL coefficient = 1 / factorial;
    lanes p = broadcast(coefficient);
    for (int k = degree; k >= 1; --k) {
        coefficient *= k;
        p = p * f + coefficient;
    }
    return scale_by_power_of_two(p, n);
}
// ln v for positive normal v = m 2^n, sqrt(1/2) < m <= sqrt(2): ln m = 2 artanh t, t = (m - 1)/(m + 1)
DEVICE lanes log_lanes(lanes v)
{
    const bool single = sizeof(REAL) == 4;
    lanes n, m = split_mantissa(v, n);
    const lane_mask large = m > (REAL)1.4142135623730951;
    m = select(large, (REAL)0.5 * m, m);
    n = select(large, n + (REAL)1, n);
    const lanes t = (m - (REAL)1) / (m + (REAL)1), square = t * t;
    const int terms = single ? 5 : 11;
    lanes series = broadcast((REAL)(1.0 / (2 * terms + 1)));
    for (int k = terms - 1; k >= 0; --k) series = series * square + (REAL)(1.0 / (2 * k + 1));
    const REAL high = single ? (REAL)0.693359375 : (REAL)0.6931471803691238;
    const REAL low = single ? (REAL)-2.12194440e-4 : (REAL)1.9082149292705877e-10;
    return n * high + (n * low + (REAL)2 * t * series);
}
DEVICE lanes tanh_lanes(lanes v)
{
    return (REAL)1 - (REAL)2 / ((REAL)1 + exp_lanes((REAL)2 * v));
}
