// What a NEP kernel reads of the model, and the scratch memory of one atom.
#pragma once
#include "chebyshev.h"
#include "solid_harmonics.h"

#define ROUND_UP(n, to) (((n) + (to) - 1) / (to) * (to))

// Numbers of functions fixed at compile time. A smaller model runs in a larger shape with zero coefficients.
template <int NR, int KR, int NA, int KA, int L> struct Shape {
    static constexpr int n_radial = NR, k_radial = KR;      // radial functions, Chebyshev terms of each
    static constexpr int n_angular = NA, k_angular = KA;
    static constexpr int degree = L;
    static constexpr int harmonics = (L + 1) * (L + 1) - 1;
    static constexpr int radial_row = ROUND_UP(NR, LANES);  // padded lengths of rows over n
    static constexpr int angular_row = ROUND_UP(NA, LANES);
    static constexpr int series = KR - 1 + CUTOFF_DEGREE;   // terms of dg/dx
    static constexpr int series_row = ROUND_UP(series, LANES);
    static constexpr int product_row = harmonics * angular_row;
};

struct NepModel {
    int n_types, n_descriptors, descriptor_row, n_neurons, neuron_row, n_products;
    bool sorted;                     // lists are sorted by type; if not, lanes of a vector have types of their own
    bool five_body;
    int five_body_block;             // angular block of 1111 (block b starts at n_radial + b n_angular)
    const REAL* cutoffs;             // [ti][4][tj]: radial, its inverse, inverse of angular, reach of the angular list
    const REAL* cutoff_polynomial;   // P(y)
    const REAL* radial;              // sorted: [ti][tj][k][radial_row], else [ti][k][n][tj]
    const REAL* radial_series;       // sorted: [ti][tj][n][series_row], d/dx of g_n times -4/rc
    const REAL* angular;             // [ti][k][n][tj]
    const REAL* harmonic_weights;    // [a]: q_nl = sum_a weight_a S_na^2
    const int* product_terms;        // [n_products][4]: a, b, c, block: q_block += coefficient S_a S_b S_c
    const REAL* product_coefficients;
    const REAL* input_weights;       // [t][descriptor][neuron_row], scaler included
    const REAL* input_weights_back;  // [t][neuron][descriptor_row]
    const REAL* neuron_bias;         // [t][neuron_row], minus b0
    const REAL* output_weights;      // [t][neuron_row]
    const REAL* output_bias;         // [t]
    const REAL* screening;           // [ti][tj][12] of the short-range repulsion, or null

    MEMBER const REAL* cutoff_rows(int ti) const { return cutoffs + 4 * ti * n_types; }
    MEMBER int segments() const { return sorted ? n_types : 1; }
};
// rows of cutoffs
enum { RADIAL_CUTOFF, INVERSE_RADIAL_CUTOFF, INVERSE_ANGULAR_CUTOFF, ANGULAR_REACH };

// Compacted neighbours and intermediate sums of one atom; pointers into scratch memory.
struct NepAtom {
    int index, type, n_angular;                  // n_angular: angular neighbours
    int radial_capacity, angular_capacity;
    int *radial_neighbors, *radial_segments;      // segments: start of each type, end of the last
    int *angular_neighbors, *angular_segments;
    REAL *x, *y, *z, *argument, *slope, *cutoff;  // radial neighbours: r_ij, Chebyshev x, s/r, f_c
    REAL *radial_types;                           // type of each (lists not sorted)
    REAL *ux, *uy, *uz, *distance, *inverse;      // angular neighbours: unit vector, r, 1/r
    REAL *angular_types;                          // type of each, 0 for padding
    REAL *g, *g_slopes, *harmonics;               // [n][slot] g_n(r) and dg_n/dr, [a][slot] Y_a(u)
    REAL *sums, *sum_slopes;                      // [a][angular_row] S_na and dU/dS_na
    REAL *descriptors, *descriptor_slopes;        // q and dU/dq
    REAL *hidden, *series;                        // neurons; [t][series_row]
};

template <class S> DEVICE int real_scratch_size(const NepModel& m, int radial_capacity, int angular_capacity)
{
    return 7 * radial_capacity + (6 + 2 * S::n_angular + S::harmonics) * angular_capacity + 2 * S::product_row
           + 2 * (m.descriptor_row + 2 * LANES) + m.neuron_row + m.n_types * S::series_row;
}
DEVICE int int_scratch_size(int n_types, int radial_capacity, int angular_capacity)
{
    return ROUND_UP(radial_capacity + angular_capacity + 2 * (n_types + 1), 16);
}

template <class S>
DEVICE NepAtom scratch_of_atom(const NepModel& m, REAL* reals, int* integers, int radial_capacity, int angular_capacity)
{
    NepAtom atom;
    atom.radial_capacity = radial_capacity;
    atom.angular_capacity = angular_capacity;
    REAL** radial[7] = {&atom.x, &atom.y, &atom.z, &atom.argument, &atom.slope, &atom.cutoff, &atom.radial_types};
    for (int k = 0; k < 7; ++k, reals += radial_capacity) *radial[k] = reals;
    REAL** angular[6] = {&atom.ux, &atom.uy, &atom.uz, &atom.distance, &atom.inverse, &atom.angular_types};
    for (int k = 0; k < 6; ++k, reals += angular_capacity) *angular[k] = reals;
    atom.g = reals, reals += S::n_angular * angular_capacity;
    atom.g_slopes = reals, reals += S::n_angular * angular_capacity;
    atom.harmonics = reals, reals += S::harmonics * angular_capacity;
    atom.sums = reals, reals += S::product_row;
    atom.sum_slopes = reals, reals += S::product_row;
    atom.descriptors = reals, reals += m.descriptor_row + 2 * LANES;
    atom.descriptor_slopes = reals, reals += m.descriptor_row + 2 * LANES;
    atom.hidden = reals, reals += m.neuron_row;
    atom.series = reals;
    atom.radial_neighbors = integers, integers += radial_capacity;
    atom.angular_neighbors = integers, integers += angular_capacity;
    atom.radial_segments = integers, integers += m.n_types + 1;
    atom.angular_segments = integers;
    return atom;
}
