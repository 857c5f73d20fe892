// What the kernels of NEP training share: the model's sizes and numbers, the cached geometry, the memory of a batch.
//
// A batch is LANES atoms of one type, a lane an atom; a bundle is a few batches of one type, so that weights are read once
// for all. A chunk is a run of structures that one core takes at a time, so that what belongs to it stays in its cache.
#pragma once
#include "lane_products.h"
#include "solid_harmonics.h"
#include "vector_rows.h"

// batches of a bundle at most
#if HPCTHERMO_GPU
#define BATCHES_TOGETHER 1
#else
#define BATCHES_TOGETHER 3
#endif

struct TrainingModel {
    int n_types, n_radial, k_radial, n_angular, k_angular, l_max, n_descriptors, n_neurons;
    int n_terms, n_extras, five_body;  // cubic terms; blocks beyond the three-body ones; which of them is 1111, or -1
    bool with_virial;
    // by type: w0 (neurons, descriptors), b0, w1, then c (n, neighbour type, k) radial and angular
    const REAL* numbers;
    const REAL* harmonic_weights;
    const int* terms;  // rows (a, b, c, block)
    const REAL* term_coefficients;

    MEMBER int radial_columns() const { return n_types * k_radial; }
    MEMBER int angular_columns() const { return n_types * k_angular; }
    MEMBER int bias_place() const { return n_neurons * n_descriptors; }
    MEMBER int output_place() const { return bias_place() + n_neurons; }
    MEMBER int radial_place() const { return output_place() + n_neurons; }
    MEMBER int angular_place() const { return radial_place() + n_radial * radial_columns(); }
    MEMBER int per_type() const { return angular_place() + n_angular * angular_columns(); }
    MEMBER int count() const { return n_types * per_type(); }
    MEMBER const REAL* of_type(int type) const { return numbers + (size_t)type * per_type(); }
};

struct TrainingGeometry {
    const int *types, *bundles;            // of each batch; first batch and number of batches of each bundle
    const int *atoms, *structures;         // (batches, LANES); lanes without an atom repeat the last
    const REAL* occupied;                  // (batches, LANES), 1 or 0
    const int* radial_starts;              // (batches types + 1): rows of pairs of a batch by type of neighbour
    const REAL* radial_rows;               // (rows, 4 + k_radial, LANES): u, r, f'_k
    const int* radial_index;               // (rows, LANES): neighbour
    const int* angular_starts;
    const REAL* angular_rows;              // (rows, 4 + 2 k_angular, LANES): u, r, f_k, f'_k
    const int* angular_index;
    const REAL *radial_sums, *angular_sums;  // Phi (batches, types k_radial, LANES), B (batches, types k_angular, harmonics, LANES)
    const int *first_atoms, *chunks;       // (structures + 1); (chunks + 1, 3): first bundle, batch and structure
};

// Types of the neighbours that a batch's atoms have within the angular cutoff, from the first to the last.
struct TypeSpan {
    int first, count;
    MEMBER TypeSpan(const TrainingGeometry& g, int n_types, int batch)
    {
        const int* starts = g.angular_starts + batch * n_types;
        first = 0;
        while (first < n_types - 1 && starts[first + 1] == starts[first]) ++first;
        int last = n_types - 1;
        while (last > first && starts[last + 1] == starts[last]) --last;
        count = last + 1 - first;
    }
};

// Lane rows of a batch that its backward pass needs again.
template <int L> struct BatchMemory {
    static constexpr int harmonics = Harmonics<L>::count;
    REAL *sums, *descriptors, *hidden, *descriptor_slopes, *sum_slopes;
    MEMBER static int rows(const TrainingModel& m) { return 2 * (m.n_angular * harmonics + m.n_descriptors) + m.n_neurons; }
    MEMBER BatchMemory(const TrainingModel& m, REAL* start)
    {
        sums = start;
        descriptors = sums + m.n_angular * harmonics * LANES;
        hidden = descriptors + m.n_descriptors * LANES;
        descriptor_slopes = hidden + m.n_neurons * LANES;
        sum_slopes = descriptor_slopes + m.n_descriptors * LANES;
    }
};
// Lane rows of a batch while its bundle is worked on.
template <int L> struct BatchScratch {
    static constexpr int harmonics = Harmonics<L>::count;
    REAL *neurons, *neuron_curvature, *descriptor_rates, *descriptor_adjoints, *sum_rates, *sum_adjoints, *radial, *angular;
    MEMBER static int rows(const TrainingModel& m)
    {
        return 2 * (m.n_neurons + m.n_descriptors + m.n_angular * harmonics) + m.radial_columns()
               + m.angular_columns() * harmonics;
    }
    MEMBER BatchScratch(const TrainingModel& m, REAL* start)
    {
        neurons = start;
        neuron_curvature = neurons + m.n_neurons * LANES;
        descriptor_rates = neuron_curvature + m.n_neurons * LANES;
        descriptor_adjoints = descriptor_rates + m.n_descriptors * LANES;
        sum_rates = descriptor_adjoints + m.n_descriptors * LANES;
        sum_adjoints = sum_rates + m.n_angular * harmonics * LANES;
        radial = sum_adjoints + m.n_angular * harmonics * LANES;
        angular = radial + m.radial_columns() * LANES;
    }
};
