// Real angular functions of unit vectors u = (x, y, z) up to degree L.
//
//   Y_{l,0} = B_{l0}(z)      Y_{l,m}^c = B_{lm}(z) c_m      Y_{l,m}^s = B_{lm}(z) s_m
//   B_{lm} = d^m P_l / dz^m        c_m + i s_m = (x + i y)^m        dB_{lm}/dz = B_{l,m+1}
//
// in the order a = l^2 - 1 + {0: m = 0; 2m - 1: cosine m; 2m: sine m}, l = 1..L. Off the unit sphere
// the same polynomials are used; only the tangential part of their gradient matters.
#pragma once
#include "portable.h"

// Weights of q_l = sum_a weight_a (sum_j g Y_a)^2: (2l + 1)/(4 pi) (l - m)!/(l + m)!, twice that for m > 0.
template <int L> struct HarmonicWeights {
    REAL of[(L + 1) * (L + 1) - 1];
    MEMBER constexpr HarmonicWeights() : of()
    {
        for (int l = 1; l <= L; ++l)
            for (int k = 0; k <= 2 * l; ++k) {
                const int m = (k + 1) / 2;
                double weight = (m > 0 ? 2.0 : 1.0) * (2 * l + 1) / (4.0 * 3.14159265358979323846);
                for (int factor = l - m + 1; factor <= l + m; ++factor) weight /= factor;
                of[l * l - 1 + k] = (REAL)weight;
            }
    }
};

template <int L> struct Harmonics {
    static constexpr int count = (L + 1) * (L + 1) - 1;
    lanes b[L + 1][L + 2];      // B_lm(z), zero for m > l
    lanes c[L + 1], s[L + 1];   // (x + i y)^m

    MEMBER static Harmonics at(lanes x, lanes y, lanes z)
    {
        Harmonics h;
        h.c[0] = broadcast(1);
        h.s[0] = broadcast(0);
        h.c[1] = x;
        h.s[1] = y;
        UNROLL for (int m = 2; m <= L; ++m) {
            h.c[m] = x * h.c[m - 1] - y * h.s[m - 1];
            h.s[m] = x * h.s[m - 1] + y * h.c[m - 1];
        }
        REAL double_factorial = 1;
        UNROLL for (int m = 0; m <= L + 1; ++m) {
            UNROLL for (int l = 0; l <= L; ++l) {
                if (l < m) h.b[l][m] = broadcast(0);
                else if (l == m) h.b[l][m] = broadcast(double_factorial);
                else if (l == m + 1) h.b[l][m] = (REAL)(2 * m + 1) * double_factorial * z;
                else
                    h.b[l][m] = ((REAL)(2 * l - 1) / (REAL)(l - m)) * z * h.b[l - 1][m]
                                - ((REAL)(l + m - 1) / (REAL)(l - m)) * h.b[l - 2][m];
            }
            double_factorial *= 2 * m + 1;
        }
        return h;
    }

    // Y_a, a = l^2 - 1 + k
    MEMBER lanes value(int l, int k) const
    {
        const int m = (k + 1) / 2;
        return m == 0 ? b[l][0] : b[l][m] * (k % 2 ? c[m] : s[m]);
    }

    // values[a row_length] for all a
    MEMBER void store_values(REAL* values, int row_length) const
    {
        UNROLL for (int l = 1; l <= L; ++l) {
            REAL* of_degree = values + (size_t)(l * l - 1) * row_length;
            store(of_degree, b[l][0]);
            UNROLL for (int m = 1; m <= l; ++m) {
                store(of_degree + (size_t)(2 * m - 1) * row_length, b[l][m] * c[m]);
                store(of_degree + (size_t)(2 * m) * row_length, b[l][m] * s[m]);
            }
        }
    }

    // v = sum_a weight_a grad Y_a
    MEMBER void gradient(const lanes (&weight)[count], lanes& vx, lanes& vy, lanes& vz) const
    {
        vx = vy = vz = broadcast(0);
        UNROLL for (int m = 0; m <= L; ++m) {
            // sums over l of weight B_lm and weight dB_lm/dz, cosine and sine
            lanes cosine = broadcast(0), sine = broadcast(0), cosine_z = broadcast(0), sine_z = broadcast(0);
            UNROLL for (int l = m > 1 ? m : 1; l <= L; ++l) {
                const lanes wc = weight[l * l - 1 + (m > 0 ? 2 * m - 1 : 0)];
                if (m > 0) cosine += wc * b[l][m];
                if (l > m) cosine_z += wc * b[l][m + 1];
                if (m > 0) {
                    const lanes ws = weight[l * l - 1 + 2 * m];
                    sine += ws * b[l][m];
                    if (l > m) sine_z += ws * b[l][m + 1];
                }
            }
            if (m > 0) {
                vx += (REAL)m * (cosine * c[m - 1] + sine * s[m - 1]);
                vy += (REAL)m * (sine * c[m - 1] - cosine * s[m - 1]);
                vz += cosine_z * c[m] + sine_z * s[m];
            } else {
                vz += cosine_z;
            }
        }
    }
};
