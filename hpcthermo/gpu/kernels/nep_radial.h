// NEP, stage 1 and 3: compaction of the list, radial descriptors, radial forces.
#pragma once
#include "nep_model.h"

// Neighbours within the radial cutoff and, of those listed as inner, within the reach of the angular
// list. Each radial segment is padded with atoms beyond the cutoff, where f_c = 0; the angular list is
// dense (its loops cost more) and padded only at its end, likewise.
template <bool SORTED>
DEVICE void compact_neighbors(const NepModel& m, NepAtom& atom, const Position* positions, double scale,
                              const int* row, const int* segments, const int* inner, int padding_index, const int* next_row)
{
    const Position centre = positions[atom.index];
    const REAL* cutoffs = m.cutoff_rows(atom.type);
    int radial = 0, angular = 0;
    for (int t = 0; t < (SORTED ? m.n_types : 1); ++t) {
        ONE_LANE { atom.radial_segments[t] = radial; atom.angular_segments[t] = angular; }
        const int begin = segments[t], end = segments[t + 1], end_inner = begin + inner[t];
        for (int slot = begin; slot < end; slot += LANES) {
            prefetch(next_row + slot);
            lanes x, y, z, type, cutoff = broadcast(cutoffs[RADIAL_CUTOFF * m.n_types + t]);
            lanes reach = broadcast(cutoffs[ANGULAR_REACH * m.n_types + t]);
            load_neighbors(positions, row + slot, centre, scale, x, y, z, type);
            if (SORTED) type = broadcast((REAL)t);
            else {
                store(atom.radial_types + radial, type);
                GROUP_SYNC();
                WITH_PICK(atom.radial_types + radial, m.n_types, cutoff = pick(cutoffs + RADIAL_CUTOFF * m.n_types),
                          reach = pick(cutoffs + ANGULAR_REACH * m.n_types))
            }
            const lanes r2 = x * x + y * y + z * z;
            const lane_set in = lane_set_of(r2 < cutoff * cutoff);
            append(atom.x + radial, in, x);
            append(atom.y + radial, in, y);
            append(atom.z + radial, in, z);
            append(atom.radial_neighbors + radial, in, row + slot);
            if (!SORTED) append(atom.radial_types + radial, in, type);
            radial += count_lanes(in);
            if (slot < end_inner) {
                const lane_set near = lane_set_of(r2 < reach * reach);
                append(atom.ux + angular, near, x);
                append(atom.uy + angular, near, y);
                append(atom.uz + angular, near, z);
                append(atom.angular_neighbors + angular, near, row + slot);
                append(atom.angular_types + angular, near, type);
                angular += count_lanes(near);
            }
        }
        store(atom.x + radial, broadcast((REAL)1.001 * cutoffs[RADIAL_CUTOFF * m.n_types + t]));
        store(atom.y + radial, broadcast(0));
        store(atom.z + radial, broadcast(0));
        if (!SORTED) store(atom.radial_types + radial, broadcast(0));
        FOR_LANE_ELEMENTS(l, LANES) atom.radial_neighbors[radial + l] = padding_index;
        radial = ROUND_UP(radial, LANES);
        GROUP_SYNC();
    }
    store(atom.ux + angular, broadcast((REAL)100));
    store(atom.uy + angular, broadcast(0));
    store(atom.uz + angular, broadcast(0));
    store(atom.angular_types + angular, broadcast(0));
    FOR_LANE_ELEMENTS(l, LANES) atom.angular_neighbors[angular + l] = padding_index;
    ONE_LANE { atom.radial_segments[m.segments()] = radial; atom.angular_segments[m.segments()] = angular; }
    atom.n_angular = angular;
    GROUP_SYNC();
}

// x, s/r and f_c of LANES radial neighbours
DEVICE void radial_argument(const NepModel& m, const NepAtom& atom, int slot, lanes inverse_cutoff)
{
    const lanes x = load(atom.x + slot), y = load(atom.y + slot), z = load(atom.z + slot);
    const lanes r2 = x * x + y * y + z * z, inverse = inverse_sqrt(r2);
    const lanes outside = (REAL)1 - r2 * inverse * inverse_cutoff;
    const lanes s = select(outside > (REAL)0, outside, broadcast(0)), s2 = s * s;
    store(atom.cutoff + slot, cutoff_function(m.cutoff_polynomial, s2));
    store(atom.argument + slot, (REAL)2 * s2 - (REAL)1);
    store(atom.slope + slot, s * inverse);
}

// q_n = sum_t sum_k c_nk^t Phi_kt,  Phi_kt = sum over neighbours of type t of f_c T_k(x)
template <class S> DEVICE void radial_descriptors(const NepModel& m, const NepAtom& atom)
{
    lanes q[S::radial_row / LANES];
    UNROLL for (int v = 0; v < S::radial_row / LANES; ++v) q[v] = broadcast(0);
    for (int t = 0; t < m.n_types; ++t) {
        const int begin = atom.radial_segments[t], end = atom.radial_segments[t + 1];
        if (begin == end) continue;
        const REAL inverse_cutoff = m.cutoff_rows(atom.type)[INVERSE_RADIAL_CUTOFF * m.n_types + t];
        for (int slot = begin; slot < end; slot += LANES) radial_argument(m, atom, slot, broadcast(inverse_cutoff));
        lanes phi[S::k_radial];
        UNROLL for (int k = 0; k < S::k_radial; ++k) phi[k] = broadcast(0);
        int slot = begin;
        for (; slot + 2 * LANES <= end; slot += 2 * LANES)
            add_chebyshev<S::k_radial, 2>(atom.cutoff + slot, atom.argument + slot, phi);
        if (slot < end) add_chebyshev<S::k_radial, 1>(atom.cutoff + slot, atom.argument + slot, phi);
        REAL* sums = atom.descriptor_slopes;  // not yet in use
        reduce_add_many(phi, sums);
        GROUP_SYNC();
        const REAL* c = m.radial + (size_t)(atom.type * m.n_types + t) * S::k_radial * S::radial_row;
        UNROLL for (int k = 0; k < S::k_radial; ++k)
            UNROLL for (int v = 0; v < S::radial_row / LANES; ++v)
                q[v] += sums[k] * load(c + k * S::radial_row + v * LANES);
        GROUP_SYNC();
    }
    UNROLL for (int v = 0; v < S::radial_row / LANES; ++v) store(atom.descriptors + v * LANES, q[v]);
    GROUP_SYNC();
}

// q_n += sum_k c_nk^t(j) f_c T_k(x_j) for LANES neighbours of types of their own
template <class S, class Pick>
DEVICE void add_radial_terms(const NepModel& m, const NepAtom& atom, int slot, const Pick& pick, lanes (&q)[S::n_radial])
{
    const int row = m.n_types;
    const REAL* c = m.radial + (size_t)atom.type * S::k_radial * S::n_radial * row;
    radial_argument(m, atom, slot, pick(m.cutoff_rows(atom.type) + INVERSE_RADIAL_CUTOFF * row));
    const lanes argument = load(atom.argument + slot);
    lanes term = load(atom.cutoff + slot), next = argument * term;  // f_c T_k, f_c T_k+1
    for (int k = 0; k < S::k_radial; ++k) {
        UNROLL for (int n = 0; n < S::n_radial; ++n) q[n] += pick(c + (k * S::n_radial + n) * row) * term;
        const lanes after = (REAL)2 * argument * next - term;
        term = next;
        next = after;
    }
}

// the radial descriptors for a list that is not sorted by type
template <class S> DEVICE void radial_descriptors_unsorted(const NepModel& m, const NepAtom& atom)
{
    lanes q[S::n_radial];
    UNROLL for (int n = 0; n < S::n_radial; ++n) q[n] = broadcast(0);
    for (int slot = 0; slot < atom.radial_segments[1]; slot += LANES) {
        WITH_PICK(atom.radial_types + slot, m.n_types, add_radial_terms<S>(m, atom, slot, pick, q))
    }
    reduce_add_many(q, atom.descriptors);
    GROUP_SYNC();
}

struct ForceOutput {
    double *forces, *virials;  // virials may be null; if not, they hold the forces on neighbours
};
// F_i += f, F_j -= f, W_j -= r (x) f
DEVICE void add_pair_forces(const ForceOutput& output, const int* neighbors, lanes x, lanes y, lanes z,
                            lanes fx, lanes fy, lanes fz, lanes (&on_centre)[3])
{
    on_centre[0] += fx;
    on_centre[1] += fy;
    on_centre[2] += fz;
    if (output.virials) scatter_virial(output.virials, neighbors, x, y, z, fx, fy, fz);
    else scatter_force(output.forces, neighbors, fx, fy, fz);
}

template <class S, int U>
DEVICE void radial_force_block(const NepAtom& atom, const REAL* series, int slot, const ForceOutput& output, lanes (&on_centre)[3])
{
    lanes argument[U], derivative[U];
    UNROLL for (int u = 0; u < U; ++u) argument[u] = load(atom.argument + slot + u * LANES);
    chebyshev_series<S::series, U>(series, argument, derivative);
    UNROLL for (int u = 0; u < U; ++u) {
        const int k = slot + u * LANES;
        const lanes f = derivative[u] * load(atom.slope + k);
        const lanes x = load(atom.x + k), y = load(atom.y + k), z = load(atom.z + k);
        add_pair_forces(output, atom.radial_neighbors + k, x, y, z, f * x, f * y, f * z, on_centre);
    }
}

// f_ij = (sum_n dU/dq_n dg_n/dr) u: the coefficients of the one series are contracted once per atom and type
template <class S>
DEVICE void radial_forces(const NepModel& m, const NepAtom& atom, const ForceOutput& output, lanes (&on_centre)[3])
{
    constexpr int vectors = S::series_row / LANES;
    for (int t = 0; t < m.n_types; ++t) {
        const int begin = atom.radial_segments[t], end = atom.radial_segments[t + 1];
        if (begin == end) continue;
        const REAL* table = m.radial_series + (size_t)(atom.type * m.n_types + t) * S::n_radial * S::series_row;
        REAL* series = atom.series + t * S::series_row;
        lanes sum[vectors];
        UNROLL for (int v = 0; v < vectors; ++v) sum[v] = broadcast(0);
        for (int n = 0; n < S::n_radial; ++n)
            UNROLL for (int v = 0; v < vectors; ++v)
                sum[v] += atom.descriptor_slopes[n] * load(table + n * S::series_row + v * LANES);
        UNROLL for (int v = 0; v < vectors; ++v) store(series + v * LANES, sum[v]);
        GROUP_SYNC();
        int slot = begin;
        for (; slot + 2 * LANES <= end; slot += 2 * LANES) radial_force_block<S, 2>(atom, series, slot, output, on_centre);
        if (slot < end) radial_force_block<S, 1>(atom, series, slot, output, on_centre);
    }
}

// f_ij = (sum_k W_kt(j) d(f_c T_k)/dr) u of LANES neighbours of types of their own, W in atom.series
template <class S, class Pick>
DEVICE void add_radial_forces(const NepModel& m, const NepAtom& atom, int slot, const Pick& pick, const ForceOutput& output,
                              lanes (&on_centre)[3])
{
    const lanes argument = load(atom.argument + slot), s2 = (REAL)0.5 * argument + (REAL)0.5;
    // dx/dr = -4 s/rc, here and in all that follows divided by r
    const lanes dx_dr = (REAL)-4 * load(atom.slope + slot) * pick(m.cutoff_rows(atom.type) + INVERSE_RADIAL_CUTOFF * m.n_types);
    lanes cutoff_slope;
    const lanes cutoff = cutoff_function(m.cutoff_polynomial, s2, cutoff_slope);
    const ChebyshevBasis<S::k_radial> basis(argument, cutoff, (REAL)0.5 * cutoff_slope * dx_dr, dx_dr);
    lanes f = broadcast(0);
    UNROLL for (int k = 0; k < S::k_radial; ++k) f += pick(atom.series + k * m.n_types) * basis.slope[k];
    const lanes x = load(atom.x + slot), y = load(atom.y + slot), z = load(atom.z + slot);
    add_pair_forces(output, atom.radial_neighbors + slot, x, y, z, f * x, f * y, f * z, on_centre);
}

// the radial forces for a list that is not sorted by type, with W_kt = sum_n dU/dq_n c_nk^t
template <class S>
DEVICE void radial_forces_unsorted(const NepModel& m, const NepAtom& atom, const ForceOutput& output, lanes (&on_centre)[3])
{
    const int row = m.n_types;
    const REAL* c = m.radial + (size_t)atom.type * S::k_radial * S::n_radial * row;
    for (int k = 0; k < S::k_radial; ++k)
        for (int t = 0; t < row; t += LANES) {
            lanes W = broadcast(0);
            for (int n = 0; n < S::n_radial; ++n) W += atom.descriptor_slopes[n] * load(c + (k * S::n_radial + n) * row + t);
            store(atom.series + k * row + t, W);
            GROUP_SYNC();
        }
    for (int slot = 0; slot < atom.radial_segments[1]; slot += LANES) {
        WITH_PICK(atom.radial_types + slot, m.n_types, add_radial_forces<S>(m, atom, slot, pick, output, on_centre))
    }
}
