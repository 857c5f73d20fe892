// NEP, stage 1 and 3: angular descriptors, angular forces, short-range repulsion.
#pragma once
#include "nep_radial.h"
#include "nep_repulsion.h"

// The types that occur in the vector at `slot` of a list sorted by type: [first, last]; `first` only grows.
struct TypeRange {
    int first, last;
    MEMBER void advance(const int* segments, int n_types, int slot)
    {
        while (first < n_types - 1 && segments[first + 1] <= slot) ++first;
        last = first;
        while (last < n_types - 1 && segments[last + 1] < slot + LANES) ++last;
    }
};
// the one type of all neighbours in the vector at `slot`, or -1
DEVICE int one_type(const NepModel& m, const NepAtom& atom, TypeRange& types, int slot)
{
    if (!m.sorted || !SAME_TYPE_PAYS) return -1;
    types.advance(atom.angular_segments, m.n_types, slot);
    return types.first == types.last ? types.first : -1;
}

// the coefficient of one type, or by lane those of types of their own, out of a row over types
struct OneTypePick {
    int type;
    MEMBER REAL operator()(const REAL* row) const { return row[type]; }
};

// g_n and dg_n/dr of LANES neighbours at distance r
template <class S, class Pick>
DEVICE void angular_functions(const NepModel& m, const NepAtom& atom, int slot, lanes r, const Pick& pick)
{
    const int length = atom.angular_capacity, row = m.n_types;
    const REAL* c = m.angular + (size_t)atom.type * S::k_angular * S::n_angular * row;
    const auto inverse_cutoff = pick(m.cutoff_rows(atom.type) + INVERSE_ANGULAR_CUTOFF * row);
    const lanes outside = (REAL)1 - r * inverse_cutoff;
    const lanes s = select(outside > (REAL)0, outside, broadcast(0)), s2 = s * s, dx_dr = (REAL)-4 * s * inverse_cutoff;
    lanes cutoff_slope;
    const lanes cutoff = cutoff_function(m.cutoff_polynomial, s2, cutoff_slope);
    // df_c/dx = (1/2) df_c/dy
    const ChebyshevBasis<S::k_angular> basis((REAL)2 * s2 - (REAL)1, cutoff, (REAL)0.5 * cutoff_slope * dx_dr, dx_dr);
    constexpr int together = FEW_REGISTERS ? 5 : S::n_angular;
    UNROLL for (int first = 0; first < S::n_angular; first += together) {
        lanes value[together], slope[together];
        UNROLL for (int n = 0; n < together; ++n) value[n] = slope[n] = broadcast(0);
        for (int k = 0; k < S::k_angular; ++k) {
            const lanes term = basis.value[k], term_slope = basis.slope[k];
            UNROLL for (int n = 0; n < together; ++n)
                if (first + n < S::n_angular) {
                    const auto weight = pick(c + (k * S::n_angular + first + n) * row);
                    value[n] += weight * term;
                    slope[n] += weight * term_slope;
                }
        }
        UNROLL for (int n = 0; n < together; ++n)
            if (first + n < S::n_angular) {
                store(atom.g + (first + n) * length + slot, value[n]);
                store(atom.g_slopes + (first + n) * length + slot, slope[n]);
            }
    }
}

// g_n(r_ij), dg_n/dr, Y_a(u_ij) of all angular neighbours, then S_na = sum_j g_n Y_a
template <class S> DEVICE void angular_sums(const NepModel& m, const NepAtom& atom)
{
    const int length = atom.angular_capacity;
    TypeRange types = {0, 0};
    for (int slot = 0; slot < atom.n_angular; slot += LANES) {
        lanes x = load(atom.ux + slot), y = load(atom.uy + slot), z = load(atom.uz + slot);
        const lanes r2 = x * x + y * y + z * z, inverse = inverse_sqrt(r2), r = r2 * inverse;
        x *= inverse;
        y *= inverse;
        z *= inverse;
        store(atom.ux + slot, x);
        store(atom.uy + slot, y);
        store(atom.uz + slot, z);
        store(atom.distance + slot, r);
        store(atom.inverse + slot, inverse);
        Harmonics<S::degree>::at(x, y, z).store_values(atom.harmonics + slot, length);

        const int type = one_type(m, atom, types, slot);
        if (type >= 0) angular_functions<S>(m, atom, slot, r, OneTypePick{type});
        else WITH_PICK(atom.angular_types + slot, m.n_types, angular_functions<S>(m, atom, slot, r, pick))
    }
    GROUP_SYNC();
    contract_slots<S::harmonics, S::n_angular, S::angular_row>(atom.harmonics, atom.g, length, atom.n_angular, atom.sums);
    GROUP_SYNC();
}

// blocks of the descriptor vector over n: q_l = sum_a weight_a S_a^2; cubic invariants; (7/15) q_1^2
template <class S> DEVICE void angular_descriptors(const NepModel& m, const NepAtom& atom)
{
    REAL* blocks = atom.descriptors + S::n_radial;
    // rows of n are padded, so a row is stored over the padding of the one before
    for (int l = 1; l <= S::degree; ++l)
        for (int v = 0; v < S::angular_row; v += LANES) {
            lanes q = broadcast(0);
            for (int a = l * l - 1; a < (l + 1) * (l + 1) - 1; ++a) {
                const lanes sum = load(atom.sums + a * S::angular_row + v);
                q += m.harmonic_weights[a] * sum * sum;
            }
            store(blocks + (l - 1) * S::n_angular + v, q);
            GROUP_SYNC();
        }
    for (int k = 0; k < m.n_products;) {
        const int block = m.product_terms[4 * k + 3];
        int next = k;
        for (int v = 0; v < S::angular_row; v += LANES) {
            lanes q = broadcast(0);
            for (next = k; next < m.n_products && m.product_terms[4 * next + 3] == block; ++next) {
                const int* term = m.product_terms + 4 * next;
                q += m.product_coefficients[next] * load(atom.sums + term[0] * S::angular_row + v)
                     * load(atom.sums + term[1] * S::angular_row + v) * load(atom.sums + term[2] * S::angular_row + v);
            }
            store(blocks + block * S::n_angular + v, q);
            GROUP_SYNC();
        }
        k = next;
    }
    if (m.five_body) {
        FOR_LANE_ELEMENTS(n, S::n_angular)
            blocks[m.five_body_block * S::n_angular + n] = (REAL)(7.0 / 15.0) * blocks[n] * blocks[n];
        GROUP_SYNC();
    }
}

// dU/dS_na from dU/dq
template <class S> DEVICE void angular_sum_slopes(const NepModel& m, const NepAtom& atom)
{
    REAL* slopes = atom.descriptor_slopes + S::n_radial;
    const REAL* q = atom.descriptors + S::n_radial;
    if (m.five_body) {
        FOR_LANE_ELEMENTS(n, S::n_angular)
            slopes[n] += (REAL)(14.0 / 15.0) * q[n] * slopes[m.five_body_block * S::n_angular + n];
        GROUP_SYNC();
    }
    for (int v = 0; v < S::angular_row; v += LANES) {
        for (int l = 1; l <= S::degree; ++l) {
            const lanes slope = (REAL)2 * load(slopes + (l - 1) * S::n_angular + v);
            for (int a = l * l - 1; a < (l + 1) * (l + 1) - 1; ++a)
                store(atom.sum_slopes + a * S::angular_row + v,
                      slope * m.harmonic_weights[a] * load(atom.sums + a * S::angular_row + v));
        }
        for (int k = 0; k < m.n_products; ++k) {
            const int* term = m.product_terms + 4 * k;
            const lanes slope = m.product_coefficients[k] * load(slopes + term[3] * S::n_angular + v);
            for (int factor = 0; factor < 3; ++factor) {
                REAL* target = atom.sum_slopes + term[factor] * S::angular_row + v;
                const REAL* b = atom.sums + term[(factor + 1) % 3] * S::angular_row + v;
                const REAL* c = atom.sums + term[(factor + 2) % 3] * S::angular_row + v;
                store(target, load(target) + slope * load(b) * load(c));
            }
        }
    }
    GROUP_SYNC();
}

// f_ij = grad_r sum_na P_na g_n(r) Y_a(u), P = dU/dS:
//   D = sum_n V_n dg_n/dr, V_n = sum_a P_na Y_a;   v = sum_a (sum_n P_na g_n) grad Y_a;   f = v/r + (D - v.u/r) u
template <class S>
DEVICE void angular_forces(const NepModel& m, const NepAtom& atom, const ForceOutput& output, lanes (&on_centre)[3])
{
    const int length = atom.angular_capacity;
    for (int slot = 0; slot < atom.n_angular; slot += LANES) {
        lanes g[S::n_angular], V[S::n_angular], weight[S::harmonics];
        UNROLL for (int n = 0; n < S::n_angular; ++n) {
            g[n] = load(atom.g + n * length + slot);
            V[n] = broadcast(0);
        }
        for (int a = 0; a < S::harmonics; ++a) {
            const REAL* P = atom.sum_slopes + a * S::angular_row;
            const lanes Y = load(atom.harmonics + a * length + slot);
            lanes h = broadcast(0);
            UNROLL for (int n = 0; n < S::n_angular; ++n) {
                h += P[n] * g[n];
                V[n] += P[n] * Y;
            }
            weight[a] = h;
        }
        lanes D = broadcast(0);
        UNROLL for (int n = 0; n < S::n_angular; ++n) D += V[n] * load(atom.g_slopes + n * length + slot);
        const lanes x = load(atom.ux + slot), y = load(atom.uy + slot), z = load(atom.uz + slot);
        const lanes inverse = load(atom.inverse + slot), r = load(atom.distance + slot);
        lanes vx, vy, vz;
        Harmonics<S::degree>::at(x, y, z).gradient(weight, vx, vy, vz);
        D -= (vx * x + vy * y + vz * z) * inverse;
        add_pair_forces(output, atom.angular_neighbors + slot, r * x, r * y, r * z,
                        vx * inverse + D * x, vy * inverse + D * y, vz * inverse + D * z, on_centre);
    }
}

// The repulsion over the angular neighbours; returns the energy.
DEVICE REAL repulsion(const NepModel& m, const NepAtom& atom, const ForceOutput& output, lanes (&on_centre)[3])
{
    lanes energy = broadcast(0);
    REAL longest = 0;
    for (int t = 0; t < m.n_types; ++t) {
        const REAL outer = m.screening[12 * (atom.type * m.n_types + t) + 3];
        longest = outer > longest ? outer : longest;
    }
    for (int slot = 0; slot < atom.n_angular; slot += LANES) {
        if (!any_lane(load(atom.distance + slot) < longest)) continue;
        for (int t = 0; t < m.n_types; ++t) {
            const REAL* p = m.screening + 12 * (atom.type * m.n_types + t);
            const lanes r = load(atom.distance + slot), inverse = load(atom.inverse + slot);
            const lane_mask within = (r < p[3]) & (load(atom.angular_types + slot) == (REAL)t);
            if (!any_lane(within)) continue;
            lanes slope;
            energy += select(within, repulsion_pair(p, m.cutoff_polynomial, r, inverse, slope), broadcast(0));
            const lanes f = select(within, slope, broadcast(0));
            const lanes x = load(atom.ux + slot), y = load(atom.uy + slot), z = load(atom.uz + slot);
            add_pair_forces(output, atom.angular_neighbors + slot, r * x, r * y, r * z, f * x, f * y, f * z, on_centre);
        }
    }
    return reduce_add(energy);
}
