// Neuroevolution potential (Fan et al., PRB 104, 104309 (2021); J. Chem. Phys. 157, 114801 (2022)).
//
//   U_i = sum_mu w1_mu tanh(sum_d w0_mud q_d - b0_mu) - b1
//   q: radial g_n summed over neighbours; invariants of S_na = sum_j g_n(r_ij) Y_a(u_ij)
//
// Three stages for a batch of atoms of one type: descriptors of each; the network for all, so that
// its weights are read once; forces of each, from derivatives contracted once per atom.
#include "nep_angular.h"

// out_b[column] = start[column] + sum_row in_b[row] matrix[row][column], row_length columns, B atoms
template <int B, int V>
DEVICE void multiply_columns(const REAL* matrix, int n_rows, int row_length, int column, const REAL* start,
                             REAL* const (&in)[ATOMS_TOGETHER], REAL* const (&out)[ATOMS_TOGETHER])
{
    lanes sum[B][V];
    UNROLL for (int b = 0; b < B; ++b)
        UNROLL for (int v = 0; v < V; ++v) sum[b][v] = start ? load(start + column + v * LANES) : broadcast(0);
    for (int row = 0; row < n_rows; ++row) {
        lanes weights[V];
        UNROLL for (int v = 0; v < V; ++v) weights[v] = load(matrix + (size_t)row * row_length + column + v * LANES);
        UNROLL for (int b = 0; b < B; ++b)
            UNROLL for (int v = 0; v < V; ++v) sum[b][v] += in[b][row] * weights[v];
    }
    UNROLL for (int b = 0; b < B; ++b)
        UNROLL for (int v = 0; v < V; ++v) store(out[b] + column + v * LANES, sum[b][v]);
}
template <int B>
DEVICE void multiply(const REAL* matrix, int n_rows, int row_length, const REAL* start,
                     REAL* const (&in)[ATOMS_TOGETHER], REAL* const (&out)[ATOMS_TOGETHER])
{
    int column = 0;
    for (; column + 4 * LANES <= row_length; column += 4 * LANES)
        multiply_columns<B, 4>(matrix, n_rows, row_length, column, start, in, out);
    for (; column < row_length; column += LANES)
        multiply_columns<B, 1>(matrix, n_rows, row_length, column, start, in, out);
}

// energies and dU/dq of B atoms of one type
template <int B> DEVICE void network(const NepModel& m, NepAtom* atoms, double* energies)
{
    const int type = atoms[0].type;
    REAL *q[ATOMS_TOGETHER] = {}, *hidden[ATOMS_TOGETHER] = {}, *slopes[ATOMS_TOGETHER] = {};
    for (int b = 0; b < B; ++b) {
        q[b] = atoms[b].descriptors;
        hidden[b] = atoms[b].hidden;
        slopes[b] = atoms[b].descriptor_slopes;
    }
    multiply<B>(m.input_weights + (size_t)type * m.n_descriptors * m.neuron_row, m.n_descriptors, m.neuron_row,
                m.neuron_bias + type * m.neuron_row, q, hidden);
    for (int b = 0; b < B; ++b) {
        lanes energy = broadcast(0);
        for (int column = 0; column < m.neuron_row; column += LANES) {
            const lanes w1 = load(m.output_weights + type * m.neuron_row + column);
            const lanes activation = tanh_lanes(load(hidden[b] + column));
            energy += w1 * activation;
            store(hidden[b] + column, w1 * ((REAL)1 - activation * activation));
        }
        const REAL total = reduce_add(energy);
        ONE_LANE energies[atoms[b].index] += (double)total - (double)m.output_bias[type];
    }
    GROUP_SYNC();
    multiply<B>(m.input_weights_back + (size_t)type * m.n_neurons * m.descriptor_row, m.n_neurons, m.descriptor_row,
                nullptr, hidden, slopes);
    GROUP_SYNC();
}

// Cycles by stage, BoundNep.STAGES in potentials/nep.py; nothing is counted where there is no array for it.
enum Stage { COMPACTION, RADIAL_DESCRIPTOR, ANGULAR_SUMS, ANGULAR_DESCRIPTOR, NETWORK, RADIAL_FORCE, ANGULAR_FORCE, REPULSION };
struct StageClock {
    double *cycles, last;
    MEMBER void start()
    {
        if (cycles) last = CYCLES();
    }
    MEMBER void end(Stage stage)
    {
        if (!cycles) return;
        const double now = CYCLES();
        ONE_LANE atomic_add(cycles + stage, now - last);
        last = now;
    }
};

template <class S>
DEVICE void atom_forces(const NepModel& m, const NepAtom& atom, double* energies, const ForceOutput& output,
                        StageClock& clock)
{
    lanes on_centre[3] = {broadcast(0), broadcast(0), broadcast(0)};
    if (m.sorted) radial_forces<S>(m, atom, output, on_centre);
    else radial_forces_unsorted<S>(m, atom, output, on_centre);
    clock.end(RADIAL_FORCE);
    angular_sum_slopes<S>(m, atom);
    angular_forces<S>(m, atom, output, on_centre);
    clock.end(ANGULAR_FORCE);
    if (m.screening) {
        const REAL energy = repulsion(m, atom, output, on_centre);
        ONE_LANE energies[atom.index] += (double)energy;
        clock.end(REPULSION);
    }
    for (int a = 0; a < 3; ++a) {
        const REAL sum = reduce_add(on_centre[a]);
        ONE_LANE atomic_add(output.forces + 4 * (size_t)atom.index + a, (double)sum);
    }
    GROUP_SYNC();
}

// sizes: n_types, n_descriptors, descriptor_row, n_neurons, neuron_row, n_products, five_body_block or -1, sorted
template <class S>
DEVICE void nep_kernel(int begin, int end, const Position* positions, double scale, int padding_index,
                       const int* neighbors, int stride, const int* segments, const int* inner,
                       NepModel m, const int* sizes, REAL* real_scratch, int* int_scratch,
                       int radial_capacity, int angular_capacity, double* energies, ForceOutput output, double* descriptors,
                       double* stage_cycles)
{
    m.n_types = sizes[0];
    m.n_descriptors = sizes[1];
    m.descriptor_row = sizes[2];
    m.n_neurons = sizes[3];
    m.neuron_row = sizes[4];
    m.n_products = sizes[5];
    m.five_body = sizes[6] >= 0;
    m.five_body_block = sizes[6];
    m.sorted = sizes[7] != 0;
    const int reals = real_scratch_size<S>(m, radial_capacity, angular_capacity);
    const int integers = int_scratch_size(m.n_types, radial_capacity, angular_capacity);
    StageClock clock = {stage_cycles, 0};
    NepAtom atoms[ATOMS_TOGETHER];
    for (int b = 0; b < ATOMS_TOGETHER; ++b) {
        const size_t slice = (size_t)GROUP_IN_GRID() * ATOMS_TOGETHER + b;
        atoms[b] = scratch_of_atom<S>(m, real_scratch + slice * reals, int_scratch + slice * integers, radial_capacity, angular_capacity);
    }
    const int tile_size = ATOMS_PER_TILE(m.n_types), n_tiles = (end - begin + tile_size - 1) / tile_size;
    FOR_EACH_GROUP(tile, 0, n_tiles)
    {
        const int first = begin + tile * tile_size;
        const int n = end - first < tile_size ? end - first : tile_size;
        // the tile's atoms by type, in batches of one type
        int order[MOST_ATOMS_PER_TILE + 1], sorted = 0;
        for (int t = 0; t < m.n_types && sorted < n; ++t)
            for (int k = 0; k < n; ++k)
                if (type_of(positions[first + k]) == t) order[sorted++] = first + k;
        order[n] = order[n - 1] + 1 < end ? order[n - 1] + 1 : order[n - 1];
        for (int done = 0; done < n;) {
            int count = 0;
            clock.start();
            for (; count < ATOMS_TOGETHER && done < n; ++count, ++done) {
                NepAtom& atom = atoms[count];
                atom.index = order[done];
                atom.type = type_of(positions[atom.index]);
                if (atom.type != atoms[0].type) break;
                const int *row = neighbors + (size_t)atom.index * stride, *next_row = neighbors + (size_t)order[done + 1] * stride;
                const int *starts = segments + (size_t)atom.index * (m.segments() + 1), *near = inner + (size_t)atom.index * m.segments();
                if (m.sorted) compact_neighbors<true>(m, atom, positions, scale, row, starts, near, padding_index, next_row);
                else compact_neighbors<false>(m, atom, positions, scale, row, starts, near, padding_index, next_row);
                clock.end(COMPACTION);
                if (m.sorted) radial_descriptors<S>(m, atom);
                else radial_descriptors_unsorted<S>(m, atom);
                clock.end(RADIAL_DESCRIPTOR);
                angular_sums<S>(m, atom);
                clock.end(ANGULAR_SUMS);
                angular_descriptors<S>(m, atom);
                clock.end(ANGULAR_DESCRIPTOR);
                if (descriptors)
                    FOR_LANE_ELEMENTS(d, m.n_descriptors) descriptors[(size_t)atom.index * m.n_descriptors + d] = atom.descriptors[d];
            }
            int evaluated = 0;
            if (count == ATOMS_TOGETHER) {
                network<ATOMS_TOGETHER>(m, atoms, energies);
                evaluated = count;
            }
            if constexpr (ATOMS_TOGETHER > 2)
                for (; evaluated + 2 <= count; evaluated += 2) network<2>(m, atoms + evaluated, energies);
            for (; evaluated < count; ++evaluated) network<1>(m, atoms + evaluated, energies);
            clock.end(NETWORK);
            for (int b = 0; b < count; ++b) atom_forces<S>(m, atoms[b], energies, output, clock);
        }
    }
}

#define NEP_KERNEL(NR, KR, NA, KA, L)                                                                                        \
    KERNEL(nep_##NR##_##KR##_##NA##_##KA##_##L)(                                                                             \
        int begin, int end, const Position* positions, double scale, int padding_index, const int* neighbors, int stride,    \
        const int* segments, const int* inner, const int* sizes, const REAL* cutoffs, const REAL* cutoff_polynomial,         \
        const REAL* radial, const REAL* radial_series, const REAL* angular, const REAL* harmonic_weights,                    \
        const int* product_terms, const REAL* product_coefficients, const REAL* input_weights,                               \
        const REAL* input_weights_back, const REAL* neuron_bias, const REAL* output_weights, const REAL* output_bias,        \
        const REAL* screening, REAL* real_scratch, int* int_scratch, int radial_capacity, int angular_capacity,              \
        double* energies, double* forces, double* virials, double* descriptors, double* stage_cycles)                        \
    {                                                                                                                        \
        const NepModel m = {0, 0, 0, 0, 0, 0, true, false, 0, cutoffs, cutoff_polynomial, radial, radial_series, angular,          \
                            harmonic_weights, product_terms, product_coefficients, input_weights, input_weights_back,        \
                            neuron_bias, output_weights, output_bias, screening};                                            \
        nep_kernel<Shape<NR, KR, NA, KA, L>>(begin, end, positions, scale, padding_index, neighbors, stride, segments,       \
                                             inner, m, sizes, real_scratch, int_scratch, radial_capacity, angular_capacity,  \
                                             energies, {forces, virials}, descriptors, stage_cycles);                        \
    }

// Shapes of common models; the cheapest that covers a model runs it (potentials/nep_parameters.py reads this list).
NEP_KERNEL(5, 9, 5, 9, 4)
NEP_KERNEL(9, 13, 9, 13, 4)
NEP_KERNEL(11, 11, 11, 11, 4)
NEP_KERNEL(13, 17, 9, 13, 4)
NEP_KERNEL(13, 17, 13, 17, 8)
