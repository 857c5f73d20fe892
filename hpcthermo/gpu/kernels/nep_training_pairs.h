// The four passes over the cached pairs of a batch: forces and rates, radial and angular.
//
//   f_ij = dU_i/dr_ij = (sum_k G_k f'_k) u                                            G_k = sum_n F_n c_nk
//        + v/r + (D - v.u/r) u,  v = sum_a p_a grad Y_a,  D = sum_a p'_a Y_a,
//          p_a = sum_k H_ka f_k,  p'_a = sum_k H_ka f'_k                              H_ka = sum_n P_na c_nk
//
// Rates are directional derivatives along r_ij -> r_ij + v_ij, v_ij = lambda_i - lambda_j - Lambda r_ij, with lambda and
// Lambda the derivatives of the loss by forces and virial: sum_ij f_ij . v_ij is then the loss's linear form in them.
#pragma once
#include "nep_training_invariants.h"

// f_ij on both atoms and in the centre's virial -r (x) f
struct PairForces {
    double* forces;
    bool with_virial;
    lanes force[3], virial[6];  // xx, yy, zz, xy, yz, zx, symmetrised
    MEMBER PairForces(double* forces, bool with_virial) : forces(forces), with_virial(with_virial)
    {
        UNROLL for (int a = 0; a < 3; ++a) force[a] = broadcast(0);
        UNROLL for (int a = 0; a < 6; ++a) virial[a] = broadcast(0);
    }
    MEMBER void add(const int* index, lanes x, lanes y, lanes z, lanes fx, lanes fy, lanes fz)
    {
        scatter_force(forces, index, fx, fy, fz);
        force[0] += fx;
        force[1] += fy;
        force[2] += fz;
        if (!with_virial) return;
        virial[0] -= x * fx;
        virial[1] -= y * fy;
        virial[2] -= z * fz;
        virial[3] -= (REAL)0.5 * (x * fy + y * fx);
        virial[4] -= (REAL)0.5 * (y * fz + z * fy);
        virial[5] -= (REAL)0.5 * (z * fx + x * fz);
    }
};

DEVICE void radial_forces(const TrainingModel& m, const TrainingGeometry& g, int batch, const REAL* G, PairForces& out)
{
    const int row_length = (4 + m.k_radial) * LANES;
    for (int t = 0; t < m.n_types; ++t) {
        const REAL* slopes = G + t * m.k_radial * LANES;
        const int* ends = g.radial_starts + batch * m.n_types + t;
        for (int row = ends[0]; row < ends[1]; ++row) {
            const REAL* pair = g.radial_rows + (size_t)row * row_length;
            const REAL* f = pair + 4 * LANES;
            lanes force = broadcast(0);
            for (int k = 0; k < m.k_radial; ++k) force += load(slopes + k * LANES) * load(f + k * LANES);
            const lanes ux = load(pair), uy = load(pair + LANES), uz = load(pair + 2 * LANES), r = load(pair + 3 * LANES);
            out.add(g.radial_index + (size_t)row * LANES, r * ux, r * uy, r * uz, force * ux, force * uy, force * uz);
        }
    }
}

// How fast the pairs of a batch's atoms change.
struct PairRates {
    const REAL* lambda;
    bool with_virial;
    lanes own[3], strain[6];
    MEMBER void of(const int* index, lanes x, lanes y, lanes z, lanes& vx, lanes& vy, lanes& vz) const
    {
        load_vectors(lambda, index, vx, vy, vz);
        vx = own[0] - vx;
        vy = own[1] - vy;
        vz = own[2] - vz;
        if (!with_virial) return;
        vx -= strain[0] * x + strain[3] * y + strain[5] * z;
        vy -= strain[3] * x + strain[1] * y + strain[4] * z;
        vz -= strain[5] * x + strain[4] * y + strain[2] * z;
    }
};

// rates of Phi_tk = sum_j f_k(r_ij)
template <int ROWS>
DEVICE void radial_rate_rows(const TrainingModel& m, const TrainingGeometry& g, int row, const PairRates& rates, REAL* Phi_rate)
{
    const int row_length = (4 + m.k_radial) * LANES;
    lanes along[ROWS];
    const REAL* f[ROWS];
    UNROLL for (int i = 0; i < ROWS; ++i) {
        const REAL* pair = g.radial_rows + (size_t)(row + i) * row_length;
        const lanes ux = load(pair), uy = load(pair + LANES), uz = load(pair + 2 * LANES), r = load(pair + 3 * LANES);
        lanes vx, vy, vz;
        rates.of(g.radial_index + (size_t)(row + i) * LANES, r * ux, r * uy, r * uz, vx, vy, vz);
        along[i] = vx * ux + vy * uy + vz * uz;
        f[i] = pair + 4 * LANES;
    }
    for (int k = 0; k < m.k_radial; ++k) {
        lanes sum = load(Phi_rate + k * LANES);
        UNROLL for (int i = 0; i < ROWS; ++i) sum += along[i] * load(f[i] + k * LANES);
        store(Phi_rate + k * LANES, sum);
    }
}
DEVICE void radial_rates(const TrainingModel& m, const TrainingGeometry& g, int batch, const PairRates& rates, REAL* Phi_rate)
{
    for (int t = 0; t < m.n_types; ++t) {
        REAL* of_type = Phi_rate + t * m.k_radial * LANES;
        for (int k = 0; k < m.k_radial; ++k) store(of_type + k * LANES, broadcast(0));
        const int* ends = g.radial_starts + batch * m.n_types + t;
        int row = ends[0];
        for (; row + 4 <= ends[1]; row += 4) radial_rate_rows<4>(m, g, row, rates, of_type);
        for (; row < ends[1]; ++row) radial_rate_rows<1>(m, g, row, rates, of_type);
    }
}

// functions of angle that are summed together, as many as registers hold two sums of
template <int N> struct TogetherOf {
    static constexpr int value = N % 6 == 0 ? 6 : N % 5 == 0 ? 5 : 4;
};

// Y_a
template <int L> DEVICE void harmonic_values(const Harmonics<L>& h, lanes (&values)[Harmonics<L>::count])
{
    UNROLL for (int l = 1; l <= L; ++l)
        UNROLL for (int k = 0; k <= 2 * l; ++k) values[l * l - 1 + k] = h.value(l, k);
}

template <int L>
OUTLINED void angular_forces(const TrainingModel& m, const TrainingGeometry& g, int batch, const REAL* H, PairForces& out)
{
    constexpr int count = Harmonics<L>::count, together = TogetherOf<count>::value;
    const int row_length = (4 + 2 * m.k_angular) * LANES;
    for (int t = 0; t < m.n_types; ++t) {
        const REAL* weights = H + (size_t)t * m.k_angular * count * LANES;
        const int* ends = g.angular_starts + batch * m.n_types + t;
        for (int row = ends[0]; row < ends[1]; ++row) {
            const REAL* pair = g.angular_rows + (size_t)row * row_length;
            const REAL *f = pair + 4 * LANES, *slope = f + m.k_angular * LANES;
            const lanes ux = load(pair), uy = load(pair + LANES), uz = load(pair + 2 * LANES), r = load(pair + 3 * LANES);
            const Harmonics<L> harmonics = Harmonics<L>::at(ux, uy, uz);
            lanes Y[count];
            harmonic_values(harmonics, Y);
            lanes p[count], D = broadcast(0);
            for (int first = 0; first < count; first += together) {
                lanes value[together], change[together];
                UNROLL for (int a = 0; a < together; ++a) value[a] = change[a] = broadcast(0);
                for (int k = 0; k < m.k_angular; ++k) {
                    const lanes fk = load(f + k * LANES), sk = load(slope + k * LANES);
                    UNROLL for (int a = 0; a < together; ++a) {
                        const lanes h = load(weights + (k * count + first + a) * LANES);
                        value[a] += h * fk;
                        change[a] += h * sk;
                    }
                }
                UNROLL for (int a = 0; a < together; ++a) {
                    p[first + a] = value[a];
                    D += change[a] * Y[first + a];
                }
            }
            lanes vx, vy, vz;
            harmonics.gradient(p, vx, vy, vz);
            const lanes inverse = (REAL)1 / r;
            D -= (vx * ux + vy * uy + vz * uz) * inverse;
            out.add(g.angular_index + (size_t)row * LANES, r * ux, r * uy, r * uz,
                    vx * inverse + D * ux, vy * inverse + D * uy, vz * inverse + D * uz);
        }
    }
}

// Y_a times `factor`, and rates of Y_a when u changes at the rate v
template <int L>
DEVICE void harmonic_rates(const Harmonics<L>& h, lanes factor, lanes vx, lanes vy, lanes vz,
                           lanes (&values)[Harmonics<L>::count], lanes (&rates)[Harmonics<L>::count])
{
    UNROLL for (int l = 1; l <= L; ++l) {
        values[l * l - 1] = factor * h.b[l][0];
        rates[l * l - 1] = vz * h.b[l][1];
    }
    UNROLL for (int m = 1; m <= L; ++m) {
        const lanes c = h.c[m], s = h.s[m];
        const lanes c_rate = (REAL)m * (h.c[m - 1] * vx - h.s[m - 1] * vy), s_rate = (REAL)m * (h.s[m - 1] * vx + h.c[m - 1] * vy);
        UNROLL for (int l = m; l <= L; ++l) {
            const int a = l * l - 1 + 2 * m - 1;
            const lanes b = h.b[l][m], weighted = factor * b;
            values[a] = weighted * c;
            values[a + 1] = weighted * s;
            lanes cosine = b * c_rate, sine = b * s_rate;
            if (l > m) {
                const lanes b_rate = h.b[l][m + 1] * vz;
                cosine += b_rate * c;
                sine += b_rate * s;
            }
            rates[a] = cosine;
            rates[a + 1] = sine;
        }
    }
}

// rates of B_tka = sum_j f_k(r_ij) Y_a(u_ij)
template <int L, int ROWS>
OUTLINED void angular_rate_rows(const TrainingModel& m, const TrainingGeometry& g, int row, const PairRates& rates, REAL* B_rate)
{
    constexpr int count = Harmonics<L>::count, together = count % 3 == 0 ? 3 : 4;
    const int row_length = (4 + 2 * m.k_angular) * LANES;
    lanes value[ROWS][count], change[ROWS][count];
    const REAL* f[ROWS];
    UNROLL for (int i = 0; i < ROWS; ++i) {
        const REAL* pair = g.angular_rows + (size_t)(row + i) * row_length;
        const lanes ux = load(pair), uy = load(pair + LANES), uz = load(pair + 2 * LANES), r = load(pair + 3 * LANES);
        lanes vx, vy, vz;
        rates.of(g.angular_index + (size_t)(row + i) * LANES, r * ux, r * uy, r * uz, vx, vy, vz);
        const lanes along = vx * ux + vy * uy + vz * uz, inverse = (REAL)1 / r;
        // the part across the pair turns u
        vx = (vx - along * ux) * inverse;
        vy = (vy - along * uy) * inverse;
        vz = (vz - along * uz) * inverse;
        harmonic_rates<L>(Harmonics<L>::at(ux, uy, uz), along, vx, vy, vz, value[i], change[i]);
        f[i] = pair + 4 * LANES;
    }
    for (int first = 0; first < count; first += together) {
        lanes v[ROWS][together], c[ROWS][together];
        UNROLL for (int i = 0; i < ROWS; ++i)
            UNROLL for (int a = 0; a < together; ++a) {
                v[i][a] = value[i][first + a];
                c[i][a] = change[i][first + a];
            }
        for (int k = 0; k < m.k_angular; ++k) {
            REAL* target = B_rate + (k * count + first) * LANES;
            lanes sum[together];
            UNROLL for (int a = 0; a < together; ++a) sum[a] = load(target + a * LANES);
            UNROLL for (int i = 0; i < ROWS; ++i) {
                const lanes fk = load(f[i] + k * LANES), sk = load(f[i] + (m.k_angular + k) * LANES);
                UNROLL for (int a = 0; a < together; ++a) sum[a] += fk * c[i][a] + sk * v[i][a];
            }
            UNROLL for (int a = 0; a < together; ++a) store(target + a * LANES, sum[a]);
        }
    }
}
template <int L>
DEVICE void angular_rates(const TrainingModel& m, const TrainingGeometry& g, int batch, const PairRates& rates, REAL* B_rate)
{
    constexpr int count = Harmonics<L>::count;
    const TypeSpan span(g, m.n_types, batch);
    for (int t = span.first; t < span.first + span.count; ++t) {
        REAL* of_type = B_rate + (size_t)t * m.k_angular * count * LANES;
        for (int k = 0; k < m.k_angular * count; ++k) store(of_type + k * LANES, broadcast(0));
        const int* ends = g.angular_starts + batch * m.n_types + t;
        int row = ends[0];
        for (; row + 2 <= ends[1]; row += 2) angular_rate_rows<L, 2>(m, g, row, rates, of_type);
        for (; row < ends[1]; ++row) angular_rate_rows<L, 1>(m, g, row, rates, of_type);
    }
}

// B of a batch
template <int L> OUTLINED void sum_angular_functions(const TrainingModel& m, const TrainingGeometry& g, int batch, REAL* B)
{
    constexpr int count = Harmonics<L>::count;
    const int row_length = (4 + 2 * m.k_angular) * LANES;
    for (int k = 0; k < m.angular_columns() * count; ++k) store(B + k * LANES, broadcast(0));
    for (int t = 0; t < m.n_types; ++t) {
        REAL* of_type = B + (size_t)t * m.k_angular * count * LANES;
        const int* ends = g.angular_starts + batch * m.n_types + t;
        for (int row = ends[0]; row < ends[1]; ++row) {
            const REAL* pair = g.angular_rows + (size_t)row * row_length;
            lanes Y[count];
            harmonic_values(Harmonics<L>::at(load(pair), load(pair + LANES), load(pair + 2 * LANES)), Y);
            for (int k = 0; k < m.k_angular; ++k) {
                const lanes f = load(pair + (4 + k) * LANES);
                for (int a = 0; a < count; ++a) {
                    REAL* target = of_type + (k * count + a) * LANES;
                    store(target, load(target) + f * Y[a]);
                }
            }
        }
    }
}
