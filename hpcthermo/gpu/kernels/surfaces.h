// Integrals over surfaces of constant frequency in linear tetrahedra (transport/bte/surfaces.py).
//
//   symbol   is
//   f        frequencies at the corners of a tetrahedron, ascending
//   phi_ij   (at - f_j)/(f_i - f_j), the fraction of corner i where the surface cuts edge ij
#include "portable.h"

struct Edge
{
    int i, j;
};

DEVICE double cut_fraction(const double* f, int i, int j, double at) { return (at - f[j]) / (f[i] - f[j]); }

// A triangle of weight g with its corners on three edges.
DEVICE void add_triangle(const double* f, double at, double g, Edge one, Edge two, Edge three, double* weights)
{
    const Edge edges[3] = {one, two, three};
    UNROLL for (int k = 0; k < 3; ++k) {
        const int i = edges[k].i, j = edges[k].j;
        const double at_i = cut_fraction(f, i, j, at);
        weights[i] += g * at_i / 3;
        weights[j] += g * (1 - at_i) / 3;
    }
}

// Weights of the corners in the surface at a frequency; f_1 <= at < f_4 or nothing.
DEVICE void add_surface(const double* f, double at, double share, double* weights)
{
    if (!(at >= f[0] && at < f[3])) return;
    if (at < f[1]) {
        const double g = 3 * share * cut_fraction(f, 1, 0, at) * cut_fraction(f, 2, 0, at) / (f[3] - f[0]);
        add_triangle(f, at, g, {0, 1}, {0, 2}, {0, 3}, weights);
    } else if (at < f[2]) {
        const double base = 3 * share / (f[2] - f[0]);
        add_triangle(f, at, base * cut_fraction(f, 3, 0, at) * cut_fraction(f, 1, 3, at), {0, 2}, {0, 3}, {1, 3}, weights);
        add_triangle(f, at, base * cut_fraction(f, 3, 1, at) * cut_fraction(f, 1, 2, at), {0, 2}, {1, 3}, {1, 2}, weights);
    } else {
        const double g = 3 * share * cut_fraction(f, 1, 3, at) * cut_fraction(f, 2, 3, at) / (f[3] - f[0]);
        add_triangle(f, at, g, {0, 3}, {1, 3}, {2, 3}, weights);
    }
}

// Tetrahedra [begin, end): result (targets, K) += surfaces at ascending targets. Where a target is within `side` of a
// corner, the mean over both sides is taken.
KERNEL(integrate)(int begin, int end, const int* corners, int n_bands, const double* frequencies, int n_values,
                  const double* values, int n_targets, const double* targets, double side, double* result)
{
    FOR_EACH_THREAD(tetrahedron, begin, end)
    {
        for (int band = 0; band < n_bands; ++band) {
            double f[4];
            int64_t mode[4];
            for (int c = 0; c < 4; ++c) {
                const int64_t next = (int64_t)corners[4 * (int64_t)tetrahedron + c] * n_bands + band;
                const double value = frequencies[next];
                int place = c;
                for (; place > 0 && f[place - 1] > value; --place) {
                    f[place] = f[place - 1];
                    mode[place] = mode[place - 1];
                }
                f[place] = value;
                mode[place] = next;
            }
            // the first target that the tetrahedron may reach
            int first = 0, past = n_targets;
            while (first < past) {
                const int middle = first + (past - first) / 2;
                if (targets[middle] < f[0] - side) first = middle + 1;
                else past = middle;
            }
            for (int t = first; t < n_targets && targets[t] < f[3] + side; ++t) {
                const double at = targets[t];
                double weights[4] = {0, 0, 0, 0};
                bool near = false;
                for (int c = 0; c < 4; ++c) near |= fabs(at - f[c]) <= 2 * side;
                if (near) {
                    add_surface(f, at - side, 0.5, weights);
                    add_surface(f, at + side, 0.5, weights);
                } else {
                    add_surface(f, at, 1, weights);
                }
                const double *v0 = values + mode[0] * n_values, *v1 = values + mode[1] * n_values;
                const double *v2 = values + mode[2] * n_values, *v3 = values + mode[3] * n_values;
                double* out = result + (int64_t)t * n_values;
                for (int k = 0; k < n_values; ++k) {
                    const double sum = weights[0] * v0[k] + weights[1] * v1[k] + weights[2] * v2[k] + weights[3] * v3[k];
                    atomic_add(out + k, sum);
                }
            }
        }
    }
}
