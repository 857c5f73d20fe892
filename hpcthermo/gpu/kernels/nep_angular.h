// NEP, stage 1 and 3: angular descriptors, angular forces, short-range repulsion.
#pragma once
#include "nep_radial.h"

// g_n(r_ij), Y_a(u_ij) of all angular neighbours, then S_na = sum_j g_n Y_a
template <class S> DEVICE void angular_sums(const NepModel& m, const NepAtom& atom)
{
    for (int t = 0; t < m.n_types; ++t) {
        const REAL inverse_cutoff = 1 / m.cutoffs[4 * (atom.type * m.n_types + t) + 1];
        const REAL* c = m.angular + (size_t)(atom.type * m.n_types + t) * S::k_angular * S::n_angular;
        for (int slot = atom.angular_segments[t]; slot < atom.angular_segments[t + 1]; slot += LANES) {
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
            Harmonics<S::degree>::at(x, y, z).store_values(atom.harmonics + slot, atom.angular_capacity);

            const lanes outside = (REAL)1 - r * inverse_cutoff;
            const lanes s = select(outside > (REAL)0, outside, broadcast(0)), s2 = s * s;
            lanes cutoff_slope;
            const lanes cutoff = cutoff_function(m.cutoff_polynomial, s2, cutoff_slope);
            const lanes argument = (REAL)2 * s2 - (REAL)1, dx_dr = (REAL)-4 * s * inverse_cutoff;
            store(atom.angular_argument + slot, argument);
            store(atom.value_factor + slot, cutoff * dx_dr);
            store(atom.slope_factor + slot, (REAL)0.5 * cutoff_slope * dx_dr);  // dy/dx = 1/2

            lanes g[S::n_angular], previous = cutoff, present = cutoff * argument;  // f_c T_0, f_c T_1
            UNROLL for (int n = 0; n < S::n_angular; ++n) g[n] = c[n] * previous + c[S::n_angular + n] * present;
            for (int k = 2; k < S::k_angular; ++k) {
                const lanes next = (REAL)2 * argument * present - previous;
                previous = present;
                present = next;
                UNROLL for (int n = 0; n < S::n_angular; ++n) g[n] += c[k * S::n_angular + n] * present;
            }
            UNROLL for (int n = 0; n < S::n_angular; ++n) store(atom.g + n * atom.angular_capacity + slot, g[n]);
        }
    }
    GROUP_SYNC();
    contract_slots<S::harmonics, S::n_angular, S::angular_row>(
        atom.harmonics, atom.g, atom.angular_capacity, atom.angular_segments[m.n_types], atom.sums);
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
    for (int t = 0; t < m.n_types; ++t) {
        const REAL* c = m.angular + (size_t)(atom.type * m.n_types + t) * S::k_angular * S::n_angular;
        for (int slot = atom.angular_segments[t]; slot < atom.angular_segments[t + 1]; slot += LANES) {
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
            // D from W_k = sum_n V_n c_nk:  dx/dr sum_k W_k (f_c T_k' + T_k df_c/dx)
            const lanes x2 = (REAL)2 * load(atom.angular_argument + slot);
            lanes T0 = broadcast(1), T1 = (REAL)0.5 * x2, dT0 = broadcast(0), dT1 = broadcast(1);
            lanes values = broadcast(0), slopes = broadcast(0);
            for (int k = 0; k < S::k_angular; ++k) {
                lanes W = broadcast(0);
                UNROLL for (int n = 0; n < S::n_angular; ++n) W += c[k * S::n_angular + n] * V[n];
                values += W * T0;
                slopes += W * dT0;
                const lanes T2 = x2 * T1 - T0, dT2 = (REAL)2 * T1 + x2 * dT1 - dT0;
                T0 = T1;
                T1 = T2;
                dT0 = dT1;
                dT1 = dT2;
            }
            lanes D = slopes * load(atom.value_factor + slot) + values * load(atom.slope_factor + slot);

            const lanes x = load(atom.ux + slot), y = load(atom.uy + slot), z = load(atom.uz + slot);
            const lanes inverse = load(atom.inverse + slot), r = load(atom.distance + slot);
            lanes vx, vy, vz;
            Harmonics<S::degree>::at(x, y, z).gradient(weight, vx, vy, vz);
            D -= (vx * x + vy * y + vz * z) * inverse;
            add_pair_forces(output, atom.angular_neighbors + slot, r * x, r * y, r * z,
                            vx * inverse + D * x, vy * inverse + D * y, vz * inverse + D * z, on_centre);
        }
    }
}

// Half of E(r) = (k Zi Zj / r) phi(r/a) w(r) to the centre; w falls from 1 at r1 to 0 at r2 like f_c.
// screening: k Zi Zj, 1/a, r1, r2, then four (amplitude, exponent) of phi. Returns the energy.
DEVICE REAL repulsion(const NepModel& m, const NepAtom& atom, const ForceOutput& output, lanes (&on_centre)[3])
{
    lanes energy = broadcast(0);
    for (int t = 0; t < m.n_types; ++t) {
        const REAL* p = m.screening + 12 * (atom.type * m.n_types + t);
        for (int slot = atom.angular_segments[t]; slot < atom.angular_segments[t + 1]; slot += LANES) {
            const lanes r = load(atom.distance + slot), inverse = load(atom.inverse + slot);
            if (!any_lane(r < p[3])) continue;
            lanes phi = broadcast(0), phi_slope = broadcast(0);
            UNROLL for (int k = 0; k < 4; ++k) {
                const lanes term = p[4 + 2 * k] * exp_lanes(-p[5 + 2 * k] * p[1] * r);
                phi += term;
                phi_slope -= p[5 + 2 * k] * p[1] * term;
            }
            lanes s = (p[3] - r) * ((REAL)1 / (p[3] - p[2]));
            s = select(s > (REAL)0, s, broadcast(0));
            s = select(s < (REAL)1, s, broadcast(1));
            lanes w_slope;
            const lanes w = cutoff_function(m.cutoff_polynomial, s * s, w_slope);
            const lanes inside = select(s < (REAL)1, broadcast(1), broadcast(0));
            const lanes w_dr = (REAL)-2 * s * w_slope * inside * ((REAL)1 / (p[3] - p[2]));
            const lanes bare = (REAL)0.5 * p[0] * inverse * phi;
            const lanes bare_dr = (REAL)0.5 * p[0] * inverse * phi_slope - bare * inverse;
            energy += bare * w;
            const lanes f = bare_dr * w + bare * w_dr;
            const lanes x = load(atom.ux + slot), y = load(atom.uy + slot), z = load(atom.uz + slot);
            add_pair_forces(output, atom.angular_neighbors + slot, r * x, r * y, r * z, f * x, f * y, f * z, on_centre);
        }
    }
    return reduce_add(energy);
}
