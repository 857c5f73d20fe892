// Rows of four REAL (x, y, z, unused) of arbitrary atoms as columns by lane: what scatter_force gives, read back.
#pragma once
#include "portable.h"

#if !HPCTHERMO_GPU && defined(__AVX2__)
template <class R> struct RegisterOf;
#if defined(__AVX512F__)
template <> struct RegisterOf<float> { typedef __m512 type; };
template <> struct RegisterOf<double> { typedef __m512d type; };
#else
template <> struct RegisterOf<float> { typedef __m256 type; };
template <> struct RegisterOf<double> { typedef __m256d type; };
#endif
#endif

// x[l], y[l], z[l] = rows[4 index[l] + 0, 1, 2]
DEVICE void load_vectors(const REAL* rows, const int* index, lanes& x, lanes& y, lanes& z)
{
#if HPCTHERMO_GPU
    const REAL* row = rows + 4 * (size_t)index[lane_index()];
    x = row[0];
    y = row[1];
    z = row[2];
#elif defined(__AVX2__)
    const auto row = [&](int l) { return rows + 4 * (size_t)index[l]; };
    RegisterOf<REAL>::type cx, cy, cz, cw;
    load_columns(row, cx, cy, cz, cw);
    x = (lanes)cx;
    y = (lanes)cy;
    z = (lanes)cz;
#else
    for (int l = 0; l < LANES; ++l) {
        const REAL* row = rows + 4 * (size_t)index[l];
        x[l] = row[0];
        y[l] = row[1];
        z[l] = row[2];
    }
#endif
}
