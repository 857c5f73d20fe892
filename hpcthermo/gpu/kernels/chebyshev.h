// Radial functions of NEP: Chebyshev polynomials times a smooth cutoff.
//
//   s = 1 - r/rc          x = 2 s^2 - 1          f_c = (1 + cos(pi r/rc))/2 = sin^2(pi s/2)
//
// f_c is even in s, so with y = s^2 = (x + 1)/2 it is a polynomial y P(y) to machine precision: no
// cosine or sine is evaluated. Every radial function is g(r) = f_c sum_k c_k T_k(x), and dg/dr, a
// polynomial in x times dx/dr = -4 s/rc, is one Chebyshev series.
#pragma once
#include "portable.h"

#define CUTOFF_TERMS (sizeof(REAL) == 4 ? 7 : 14)   // terms of P
#define CUTOFF_DEGREE (sizeof(REAL) == 4 ? 7 : 12)  // Chebyshev degree of f_c(x) kept in derivative series

// f_c = y P(y); even and odd terms apart, to shorten the chain of dependent operations
DEVICE lanes cutoff_function(const REAL* coefficients, lanes y)
{
    constexpr int n = CUTOFF_TERMS;
    const lanes y2 = y * y;
    constexpr int last_even = (n - 1) / 2 * 2, last_odd = (n - 2) / 2 * 2 + 1;
    lanes even = broadcast(coefficients[last_even]), odd = broadcast(coefficients[last_odd]);
    UNROLL for (int i = last_even - 2; i >= 0; i -= 2) even = even * y2 + coefficients[i];
    UNROLL for (int i = last_odd - 2; i >= 1; i -= 2) odd = odd * y2 + coefficients[i];
    return (even + odd * y) * y;
}
// also df_c/dy
DEVICE lanes cutoff_function(const REAL* coefficients, lanes y, lanes& slope)
{
    constexpr int n = CUTOFF_TERMS;
    lanes p = broadcast(coefficients[n - 1]), dp = broadcast(0);
    UNROLL for (int i = n - 2; i >= 0; --i) {
        dp = dp * y + p;
        p = p * y + coefficients[i];
    }
    slope = p + y * dp;
    return y * p;
}

// f_c T_k(x) and its derivative by r, k < K, from f_c, df_c/dr and dx/dr
template <int K> struct ChebyshevBasis {
    lanes value[K], slope[K];
    MEMBER ChebyshevBasis(lanes x, lanes cutoff, lanes cutoff_slope, lanes dx_dr)
    {
        const lanes twice_x = (REAL)2 * x, twice_dx_dr = (REAL)2 * dx_dr;
        value[0] = cutoff;
        slope[0] = cutoff_slope;
        if (K > 1) {
            value[K > 1 ? 1 : 0] = x * cutoff;
            slope[K > 1 ? 1 : 0] = x * cutoff_slope + dx_dr * cutoff;
        }
        UNROLL for (int k = 2; k < K; ++k) {
            value[k] = twice_x * value[k - 1] - value[k - 2];
            slope[k] = twice_x * slope[k - 1] + (twice_dx_dr * value[k - 1] - slope[k - 2]);
        }
    }
};

// sums[k] += f_c T_k(x) for U vectors at once. With T_{k+2} = 2 T_2 T_k - T_{k-2} the even and the odd
// polynomials are two independent recurrences.
template <int K, int U> DEVICE void add_chebyshev_terms(const lanes (&cutoff)[U], const lanes (&argument)[U], lanes (&sums)[K])
{
    lanes a[U], b[U], c[U], d[U], twice_t2[U];
    UNROLL for (int u = 0; u < U; ++u) {
        const lanes x = argument[u];
        a[u] = cutoff[u];                                    // T_0
        b[u] = x * a[u];                                     // T_1
        twice_t2[u] = (REAL)4 * x * x - (REAL)2;
        c[u] = (REAL)0.5 * twice_t2[u] * a[u];               // T_2
        d[u] = (twice_t2[u] - (REAL)1) * b[u];               // T_3
        sums[0] += a[u];
        if (K > 1) sums[K > 1 ? 1 : 0] += b[u];
        if (K > 2) sums[K > 2 ? 2 : 0] += c[u];
        if (K > 3) sums[K > 3 ? 3 : 0] += d[u];
    }
    UNROLL for (int k = 4; k < K; k += 2)
        UNROLL for (int u = 0; u < U; ++u) {
            const lanes even = twice_t2[u] * c[u] - a[u];
            a[u] = c[u];
            c[u] = even;
            sums[k] += even;
            if (k + 1 < K) {
                const lanes odd = twice_t2[u] * d[u] - b[u];
                b[u] = d[u];
                d[u] = odd;
                sums[k + 1 < K ? k + 1 : 0] += odd;
            }
        }
}
// the same with f_c and x from memory
template <int K, int U> DEVICE void add_chebyshev(const REAL* cutoff, const REAL* argument, lanes (&sums)[K])
{
    lanes f_c[U], x[U];
    UNROLL for (int u = 0; u < U; ++u) {
        f_c[u] = load(cutoff + u * LANES);
        x[u] = load(argument + u * LANES);
    }
    add_chebyshev_terms<K, U>(f_c, x, sums);
}

// sum[u] = sum_m c_m T_m(x[u]), Clenshaw on even and odd terms apart
template <int M, int U> DEVICE void chebyshev_series(const REAL* c, const lanes (&x)[U], lanes (&sum)[U])
{
    constexpr int n_even = (M + 1) / 2, n_odd = M / 2;
    lanes twice_t2[U], e1[U], e2[U], o1[U], o2[U];
    UNROLL for (int u = 0; u < U; ++u) {
        twice_t2[u] = (REAL)4 * x[u] * x[u] - (REAL)2;
        e1[u] = e2[u] = o1[u] = o2[u] = broadcast(0);
    }
    UNROLL for (int m = n_even - 1; m >= 1; --m)
        UNROLL for (int u = 0; u < U; ++u) {
            const lanes e = twice_t2[u] * e1[u] + (c[2 * m] - e2[u]);
            e2[u] = e1[u];
            e1[u] = e;
            if (m < n_odd) {
                const lanes o = twice_t2[u] * o1[u] + (c[2 * m + 1] - o2[u]);
                o2[u] = o1[u];
                o1[u] = o;
            }
        }
    UNROLL for (int u = 0; u < U; ++u) {
        const lanes even = (REAL)0.5 * twice_t2[u] * e1[u] + (c[0] - e2[u]);
        const lanes o = twice_t2[u] * o1[u] + (c[1] - o2[u]);
        sum[u] = even + x[u] * (o - o1[u]);
    }
}
