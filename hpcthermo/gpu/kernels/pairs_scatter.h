// Adding to rows of float64, with AVX2 and AVX-512 alike: a row of four numbers is one 256-bit register.
// Comes after store_quads, quad_of_lane and store_doubles, which turn columns by lane into rows.
#pragma once

// row of lane l as float64
DEVICE __m256d quad(const REAL* quads, int l)
{
    const REAL* p = quads + 4 * quad_of_lane(l);
    if constexpr (sizeof(REAL) == 4) return _mm256_cvtps_pd(_mm_load_ps((const float*)p));
    else return _mm256_load_pd((const double*)p);
}
// forces[index] -= f: rows of 4 float64 (x, y, z, unused)
DEVICE void scatter_force(double* forces, const int* index, lanes fx, lanes fy, lanes fz)
{
    alignas(64) REAL f[4 * LANES];
    store_quads(f, fx, fy, fz, broadcast(0));
    UNROLL for (int l = 0; l < LANES; ++l) {
        double* row = forces + 4 * (size_t)index[l];
        _mm256_storeu_pd(row, _mm256_sub_pd(_mm256_loadu_pd(row), quad(f, l)));
    }
}
// virials[index] -= f (x) (r, 1): rows of 12 float64, (W_xb, W_yb, W_zb, F_b) at 4 b
DEVICE void scatter_virial(double* virials, const int* index, lanes x, lanes y, lanes z, lanes fx, lanes fy, lanes fz)
{
    alignas(64) REAL r[4 * LANES];
    alignas(64) double f[3][LANES];
    store_quads(r, x, y, z, broadcast(1));
    store_doubles(f[0], fx);
    store_doubles(f[1], fy);
    store_doubles(f[2], fz);
    UNROLL for (int l = 0; l < LANES; ++l) {
        double* row = virials + 12 * (size_t)index[l];
        const __m256d rl = quad(r, l);
        UNROLL for (int b = 0; b < 3; ++b)
            _mm256_storeu_pd(row + 4 * b, _mm256_fnmadd_pd(_mm256_broadcast_sd(f[b] + l), rl, _mm256_loadu_pd(row + 4 * b)));
    }
}
