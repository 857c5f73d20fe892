// Modified embedded-atom potential with screening (Baskes, PRB 46, 2727 (1992); Lee and Baskes, PRB 62, 8564 (2000)).
//
//   U_i = F_a(rho) + 1/2 sum_j S_ij phi_ab(r_ij)                                a, b, c: types of i, j, k
//   F(rho) = A E_c y ln y,  y = rho / rho_background,  rho = R_0 G(Gamma),  Gamma = sum_h t_h q_h / R_0^2,  h = 1, 2, 3
//
//   R_0 = sum_j S_ij d_0     q_1 = |P|^2,              P   = sum_j S_ij d_1 n
//                            q_2 = |Q|^2 - B^2/3,      Q   = sum_j S_ij d_2 n n,      B = sum_j S_ij d_2
//                            q_3 = |O|^2 - 3/5 |V|^2,  O   = sum_j S_ij d_3 n n n,    V = sum_j S_ij d_3 n
//   d_h(r) = rho0_b exp[-beta_h (r/r_e - 1)],  n = r_ij / r
//
//   S_ij = f((r_c - r)/delta_r) prod_k f((C - C_min)/(C_max - C_min)),   f(x) = [1 - (1 - x)^4]^2 from 0 at 0 to 1 at 1
//   C = 1 + 2 A (B + D - A) / (A^2 - (B - D)^2),   A, B, D = r_ij^2, r_ik^2, r_jk^2;  k screens if the denominator is > 0
//
// Means t_h over the neighbours: T_h / R_0 with T_h = sum_j S_ij d_0 t_hb; or T_h / V_h, V_h = sum_j S_ij d_0 t_hb^2, and
// then d_h has the factor t_hb; or those of a.
//
// U_i depends on the neighbours of i only, also through r_jk. So the partial forces f_ij = dU_i/dr_ij are whole when one
// atom is done, and go to the neighbours. Neighbours stand by type, each type padded to whole vectors.
#include "portable.h"
#include "tables.h"

enum MeamElement {
    RHO0, INVERSE_RE, BETA, T = BETA + 4, EMBEDDING = T + 3, INVERSE_BACKGROUND, G_FORM, MEAM_ELEMENT
};
enum MeamScreen { C_MIN, C_MAX, INVERSE_C_RANGE, MEAM_SCREEN };
enum MeanOfT { BY_DENSITY, BY_SQUARES, OWN };
#define MEAM_COLUMNS 10

struct MeamModel {
    int n_types, bits, mean_of_t, linear_if_negative;
    REAL cutoff, inverse_smoothing, reach_squared, smooth_g;
    const REAL *elements, *screens, *tables;  // by type; by [a][b][c]; phi by [a][b]
    MEMBER const REAL* element(int a) const { return elements + a * MEAM_ELEMENT; }
    MEMBER const REAL* screen(int a, int b, int c) const { return screens + ((a * n_types + b) * n_types + c) * MEAM_SCREEN; }
    MEMBER const REAL* phi(int a, int b) const { return tables + (size_t)(a * n_types + b) * cubic_rows(bits) * CUBIC_ROW; }
};

// neighbours of one atom; `first`: where each type begins, a multiple of LANES, and the end of the last
struct MeamNeighbors {
    REAL *x, *y, *z, *screening, *weight, *fx, *fy, *fz, *sums, *slack;
    int *index, *type, *first;
};

DEVICE MeamNeighbors meam_neighbors(REAL* reals, int* integers, int capacity)
{
    MeamNeighbors n;
    REAL** const columns[9] = {&n.x, &n.y, &n.z, &n.screening, &n.weight, &n.fx, &n.fy, &n.fz, &n.slack};
    for (int k = 0; k < 9; ++k) *columns[k] = reals + (size_t)k * capacity;
    n.sums = n.slack;
    n.index = integers;
    n.type = n.index + capacity;
    n.first = n.type + capacity;
    return n;
}

// f and df/dx
DEVICE void smooth_step(lanes x, lanes& f, lanes& slope)
{
    const lanes zero = broadcast(0), one = broadcast(1);
    x = select(x > zero, select(x < one, x, one), zero);
    const lanes y = (REAL)1 - x, cube = y * y * y, root = (REAL)1 - cube * y;
    f = root * root;
    slope = (REAL)8 * cube * root;
}

// the neighbours within reach, in columns
DEVICE void meam_collect(const MeamModel& m, MeamNeighbors& n, const Position* packed, const Position& centre, double scale,
                         const int* row, const int* segment, int padding_index)
{
    int count = 0;
    const REAL far = 20 * m.cutoff;
    for (int b = 0; b < m.n_types; ++b) {
        ONE_LANE n.first[b] = count;
        const int begin = count;
        for (int slot = segment[b]; slot < segment[b + 1]; slot += LANES) {
            lanes x, y, z;
            load_displacements(packed, row + slot, centre, scale, x, y, z);
            const lane_set kept = lane_set_of(x * x + y * y + z * z < m.reach_squared);
            append(n.x + count, kept, x);
            append(n.y + count, kept, y);
            append(n.z + count, kept, z);
            append(n.index + count, kept, row + slot);
            count += count_lanes(kept);
        }
        GROUP_SYNC();
        const int end = (count + LANES - 1) / LANES * LANES;
        FOR_LANE_ELEMENTS(k, end - count)
        {
            n.x[count + k] = far;
            n.y[count + k] = n.z[count + k] = 0;
            n.index[count + k] = padding_index;
        }
        FOR_LANE_ELEMENTS(k, end - begin)
        {
            n.type[begin + k] = b;
            n.fx[begin + k] = n.fy[begin + k] = n.fz[begin + k] = 0;
        }
        count = end;
        GROUP_SYNC();
    }
    ONE_LANE n.first[m.n_types] = count;
    GROUP_SYNC();
}

// C of pairs ij screened by k, and where there is screening at all; A, B, D as above
struct Ellipse {
    lanes a, b, d, numerator, denominator;
    lane_mask between;
    MEMBER Ellipse(lanes a_, lanes b_, lanes d_) : a(a_), b(b_), d(d_)
    {
        numerator = a * (b + d - a);
        denominator = a * a - (b - d) * (b - d);
        between = (denominator > (REAL)0) & (d > (REAL)1e-6);  // j does not screen itself
    }
    MEMBER lanes value() const { return (REAL)1 + (REAL)2 * numerator / select(between, denominator, broadcast(1)); }
};

DEVICE lanes squared_length(lanes x, lanes y, lanes z) { return x * x + y * y + z * z; }

// screening of each neighbour by all others, without the radial cutoff
DEVICE void meam_screening(const MeamModel& m, MeamNeighbors& n, int a)
{
    const int end = n.first[m.n_types];
    for (int b = 0; b < m.n_types; ++b)
        for (int j = n.first[b]; j < n.first[b + 1]; j += LANES) {
            const lanes x = load(n.x + j), y = load(n.y + j), z = load(n.z + j), rij = squared_length(x, y, z);
            lanes product = select(rij < m.cutoff * m.cutoff, broadcast(1), broadcast(0));
            for (int k = 0; k < end && any_lane(product > (REAL)0); ++k) {
                const REAL kx = n.x[k], ky = n.y[k], kz = n.z[k];
                const REAL* p = m.screen(a, b, n.type[k]);
                const Ellipse e(rij, broadcast(kx * kx + ky * ky + kz * kz), squared_length(x - kx, y - ky, z - kz));
                const lanes c = e.value();
                lanes f, slope;
                smooth_step((c - p[C_MIN]) * p[INVERSE_C_RANGE], f, slope);
                product = select(e.between & (c < p[C_MAX]), product * f, product);
            }
            store(n.screening + j, product);
        }
    GROUP_SYNC();
}

// one neighbour's distance, direction, densities and radial cutoff, all with slopes
struct MeamBond {
    lanes x, y, z, r, inverse_r, square, cutoff, cutoff_slope, density[4];
    REAL rate[4];  // -d ln d_h / dr
    MEMBER MeamBond(const MeamModel& m, const MeamNeighbors& n, int b, int j)
    {
        x = load(n.x + j);
        y = load(n.y + j);
        z = load(n.z + j);
        square = squared_length(x, y, z);
        inverse_r = inverse_sqrt(square);
        r = square * inverse_r;
        x *= inverse_r;
        y *= inverse_r;
        z *= inverse_r;
        smooth_step((m.cutoff - r) * m.inverse_smoothing, cutoff, cutoff_slope);
        cutoff_slope *= -m.inverse_smoothing;
        const REAL* p = m.element(b);
        for (int h = 0; h < 4; ++h) {
            rate[h] = p[BETA + h] * p[INVERSE_RE];
            const REAL factor = p[RHO0] * (h > 0 && m.mean_of_t == BY_SQUARES ? p[T + h - 1] : (REAL)1);
            density[h] = factor * exp_lanes(p[BETA + h] - rate[h] * r);
        }
    }
};

// places of the sums of one atom
enum MeamSum { R_0, P_1, Q_2 = P_1 + 3, B_2 = Q_2 + 6, O_3, V_3 = O_3 + 10, T_H = V_3 + 3, S_H = T_H + 3, MEAM_SUMS = S_H + 3 };

DEVICE void meam_sums(const MeamModel& m, MeamNeighbors& n)
{
    lanes sum[MEAM_SUMS];
    for (int s = 0; s < MEAM_SUMS; ++s) sum[s] = broadcast(0);
    for (int b = 0; b < m.n_types; ++b) {
        const REAL* p = m.element(b);
        for (int j = n.first[b]; j < n.first[b + 1]; j += LANES) {
            const lanes screening = load(n.screening + j);
            if (!any_lane(screening > (REAL)0)) continue;
            const MeamBond bond(m, n, b, j);
            const lanes s = screening * bond.cutoff, u[3] = {bond.x, bond.y, bond.z};
            const lanes d[4] = {s * bond.density[0], s * bond.density[1], s * bond.density[2], s * bond.density[3]};
            sum[R_0] += d[0];
            sum[B_2] += d[2];
            int ab = 0, abc = 0;
            for (int i = 0; i < 3; ++i) {
                sum[P_1 + i] += d[1] * u[i];
                sum[V_3 + i] += d[3] * u[i];
                for (int k = i; k < 3; ++k) {
                    sum[Q_2 + ab++] += d[2] * u[i] * u[k];
                    for (int l = k; l < 3; ++l) sum[O_3 + abc++] += d[3] * u[i] * u[k] * u[l];
                }
            }
            for (int h = 0; h < 3; ++h) {
                sum[T_H + h] += p[T + h] * d[0];
                sum[S_H + h] += p[T + h] * p[T + h] * d[0];
            }
        }
    }
    reduce_add_many(sum, n.sums);
    GROUP_SYNC();
}

// G and dG/dGamma. Form 0: sqrt(1 + Gamma), below its smooth end 1/(s + 1) (end/Gamma)^s under the root, end = -s/(s + 1)
DEVICE void meam_g(int form, double smooth, double gamma, double& g, double& slope)
{
    if (form == 1) {
        g = exp(0.5 * gamma);
        slope = 0.5 * g;
    } else if (form == 3) {
        const double e = exp(-gamma);
        g = 2 / (1 + e);
        slope = 0.5 * g * g * e;
    } else if (form == -5) {
        const double root = sqrt(gamma > -1 ? 1 + gamma : -1 - gamma);
        g = gamma > -1 ? root : -root;
        slope = 0.5 / (root > 1e-9 ? root : 1e-9);
    } else {
        const double end = -smooth / (smooth + 1);
        if (gamma > end) {
            g = sqrt(1 + gamma);
            slope = 0.5 / g;
        } else {
            g = sqrt(exp(smooth * log(end / gamma)) / (smooth + 1));
            slope = -0.5 * smooth * g / gamma;
        }
    }
}

// dU_i by the sums; numbers of the sums stand for themselves
struct MeamSlopes { REAL by[MEAM_SUMS]; };

// how often an element of Q, O stands in the full tensor: xx xy xz yy yz zz; xxx xxy xxz xyy xyz xzz yyy yyz yzz zzz
DEVICE REAL times_in_q(int k) { return k == 0 || k == 3 || k == 5 ? (REAL)1 : (REAL)2; }
DEVICE REAL times_in_o(int k) { return k == 0 || k == 6 || k == 9 ? (REAL)1 : k == 4 ? (REAL)6 : (REAL)3; }

// F(rho) and its derivatives
DEVICE double meam_embedding(const MeamModel& m, int a, const REAL* sums, MeamSlopes& slopes)
{
    for (int s = 0; s < MEAM_SUMS; ++s) slopes.by[s] = 0;
    const double r0 = sums[R_0];
    if (!(r0 > 0)) return 0;
    const REAL* p = m.element(a);
    double q[3] = {0, -(double)sums[B_2] * sums[B_2] / 3, 0}, t[3];
    for (int i = 0; i < 3; ++i) {
        q[0] += (double)sums[P_1 + i] * sums[P_1 + i];
        q[2] -= 0.6 * (double)sums[V_3 + i] * sums[V_3 + i];
    }
    for (int k = 0; k < 6; ++k) q[1] += times_in_q(k) * (double)sums[Q_2 + k] * sums[Q_2 + k];
    for (int k = 0; k < 10; ++k) q[2] += times_in_o(k) * (double)sums[O_3 + k] * sums[O_3 + k];
    double gamma = 0;
    for (int h = 0; h < 3; ++h) {
        const double squares = sums[S_H + h];
        t[h] = m.mean_of_t == OWN ? (double)p[T + h]
            : m.mean_of_t == BY_DENSITY ? sums[T_H + h] / r0 : squares > 0 ? sums[T_H + h] / squares : 0;
        gamma += t[h] * q[h] / (r0 * r0);
    }
    double g, g_slope;
    meam_g((int)p[G_FORM], m.smooth_g, gamma, g, g_slope);
    const double inverse = p[INVERSE_BACKGROUND], y = r0 * g * inverse, scale = p[EMBEDDING];
    double energy = 0, slope = 0;  // dF/drho
    if (y > 0) {
        const double logarithm = log(y);
        energy = scale * y * logarithm;
        slope = scale * (logarithm + 1) * inverse;
    } else if (m.linear_if_negative) {
        energy = -scale * y;
        slope = -scale * inverse;
    }
    const double by_gamma = slope * r0 * g_slope;
    double by_r0 = slope * g - 2 * by_gamma * gamma / r0;
    for (int h = 0; h < 3; ++h) {
        const double by_t = by_gamma * q[h] / (r0 * r0), squares = sums[S_H + h];
        if (m.mean_of_t == BY_DENSITY) {
            slopes.by[T_H + h] = (REAL)(by_t / r0);
            by_r0 -= by_t * t[h] / r0;
        } else if (m.mean_of_t == BY_SQUARES && squares > 0) {
            slopes.by[T_H + h] = (REAL)(by_t / squares);
            slopes.by[S_H + h] = (REAL)(-by_t * t[h] / squares);
        }
    }
    slopes.by[R_0] = (REAL)by_r0;
    const double by_q[3] = {by_gamma * t[0] / (r0 * r0), by_gamma * t[1] / (r0 * r0), by_gamma * t[2] / (r0 * r0)};
    for (int i = 0; i < 3; ++i) {
        slopes.by[P_1 + i] = (REAL)(2 * by_q[0] * sums[P_1 + i]);
        slopes.by[V_3 + i] = (REAL)(-1.2 * by_q[2] * sums[V_3 + i]);
    }
    for (int k = 0; k < 6; ++k) slopes.by[Q_2 + k] = (REAL)(2 * by_q[1] * times_in_q(k) * sums[Q_2 + k]);
    for (int k = 0; k < 10; ++k) slopes.by[O_3 + k] = (REAL)(2 * by_q[2] * times_in_o(k) * sums[O_3 + k]);
    slopes.by[B_2] = (REAL)(-2.0 / 3.0 * by_q[1] * sums[B_2]);
    return energy;
}

// Forces with the screening fixed, and dU_i/d(screening) to `weight`; returns the sum of S phi.
DEVICE lanes meam_direct_forces(const MeamModel& m, MeamNeighbors& n, int a, const MeamSlopes& slopes)
{
    const REAL* by = slopes.by;
    lanes energy = broadcast(0);
    const REAL per_square = (REAL)1 / (m.cutoff * m.cutoff);
    for (int b = 0; b < m.n_types; ++b) {
        const REAL *p = m.element(b), *table = m.phi(a, b);
        REAL by_d0 = by[R_0];
        for (int h = 0; h < 3; ++h) by_d0 += p[T + h] * by[T_H + h] + p[T + h] * p[T + h] * by[S_H + h];
        for (int j = n.first[b]; j < n.first[b + 1]; j += LANES) {
            const lanes screening = load(n.screening + j);
            store(n.weight + j, broadcast(0));
            if (!any_lane(screening > (REAL)0)) continue;
            const MeamBond bond(m, n, b, j);
            const lanes u[3] = {bond.x, bond.y, bond.z};
            // dU_i/dd_h along the bond, and its gradient by the direction
            lanes along[4] = {broadcast(by_d0), broadcast(0), broadcast(by[B_2]), broadcast(0)}, across[3][3];
            for (int h = 0; h < 3; ++h)
                for (int i = 0; i < 3; ++i) across[h][i] = broadcast(0);
            int ab = 0, abc = 0;
            for (int i = 0; i < 3; ++i) {
                along[1] += by[P_1 + i] * u[i];
                along[3] += by[V_3 + i] * u[i];
                across[0][i] += broadcast(by[P_1 + i]);
                across[2][i] += broadcast(by[V_3 + i]);
                for (int k = i; k < 3; ++k) {
                    const REAL q = by[Q_2 + ab++];
                    along[2] += q * u[i] * u[k];
                    across[1][i] += q * u[k];
                    across[1][k] += q * u[i];
                    for (int l = k; l < 3; ++l) {
                        const REAL o = by[O_3 + abc++];
                        along[3] += o * u[i] * u[k] * u[l];
                        across[2][i] += o * u[k] * u[l];
                        across[2][k] += o * u[i] * u[l];
                        across[2][l] += o * u[i] * u[k];
                    }
                }
            }
            const TablePlace place = table_place(bond.square * per_square, m.bits);
            const Cubic phi = cubic_of(table, place);
            const lanes value = phi.value(place.x);
            lanes total = (REAL)0.5 * value, slope = phi.slope(place.x) * per_square * bond.r;
            for (int h = 0; h < 4; ++h) {
                total += along[h] * bond.density[h];
                slope -= along[h] * bond.density[h] * bond.rate[h];
            }
            energy += screening * bond.cutoff * value;
            const lane_mask used = screening > (REAL)0;
            store(n.weight + j, select(used, bond.cutoff * total, broadcast(0)));
            const lanes radial = screening * (bond.cutoff_slope * total + bond.cutoff * slope);
            const lanes turn = screening * bond.cutoff * bond.inverse_r;
            lanes side[3];
            for (int i = 0; i < 3; ++i)
                side[i] = bond.density[1] * across[0][i] + bond.density[2] * across[1][i] + bond.density[3] * across[2][i];
            const lanes projection = side[0] * u[0] + side[1] * u[1] + side[2] * u[2];
            REAL* const f[3] = {n.fx, n.fy, n.fz};
            for (int i = 0; i < 3; ++i)
                store(f[i] + j, select(used, radial * u[i] + turn * (side[i] - projection * u[i]), broadcast(0)));
        }
    }
    GROUP_SYNC();
    return energy;
}

// forces from the dependence of the screening on r_ij, r_ik and r_jk
DEVICE void meam_screening_forces(const MeamModel& m, MeamNeighbors& n, int a)
{
    const int end = n.first[m.n_types];
    for (int j = 0; j < end; ++j) {
        const REAL strength = n.screening[j] * n.weight[j];
        if (strength == 0) continue;
        const REAL jx = n.x[j], jy = n.y[j], jz = n.z[j];
        const lanes rij = broadcast(jx * jx + jy * jy + jz * jz);
        lanes own[3] = {broadcast(0), broadcast(0), broadcast(0)};
        bool screened = false;
        for (int c = 0; c < m.n_types; ++c) {
            const REAL* p = m.screen(a, n.type[j], c);
            for (int k = n.first[c]; k < n.first[c + 1]; k += LANES) {
                const lanes x = load(n.x + k), y = load(n.y + k), z = load(n.z + k);
                const lanes dx = jx - x, dy = jy - y, dz = jz - z;
                const Ellipse e(rij, squared_length(x, y, z), squared_length(dx, dy, dz));
                const lanes part = (e.value() - p[C_MIN]) * p[INVERSE_C_RANGE];
                const lane_mask partly = e.between & (part > (REAL)1e-10) & (part < (REAL)1);
                if (!any_lane(partly)) continue;
                screened = true;
                lanes f, slope;
                smooth_step(part, f, slope);
                const lanes inverse = (REAL)1 / select(partly, e.denominator, broadcast(1)), ratio = e.numerator * inverse;
                // dU_i/dC, and dC/dA = 2 (B + D - 2 A - ratio 2 A)/denominator, ...; d(A)/dr_ij = 2 r_ij
                const lanes by_c = select(partly, strength * slope * p[INVERSE_C_RANGE] / select(partly, f, broadcast(1)), broadcast(0));
                const lanes common = (REAL)4 * by_c * inverse, skew = (REAL)2 * ratio * (e.b - e.d);
                const lanes by_a = common * (e.b + e.d - (REAL)2 * e.a * ((REAL)1 + ratio));
                const lanes by_b = common * (e.a + skew), by_d = common * (e.a - skew);
                own[0] += by_a * jx + by_d * dx;
                own[1] += by_a * jy + by_d * dy;
                own[2] += by_a * jz + by_d * dz;
                store(n.fx + k, load(n.fx + k) + by_b * x - by_d * dx);
                store(n.fy + k, load(n.fy + k) + by_b * y - by_d * dy);
                store(n.fz + k, load(n.fz + k) + by_b * z - by_d * dz);
            }
        }
        if (!screened) continue;
        const REAL ox = reduce_add(own[0]), oy = reduce_add(own[1]), oz = reduce_add(own[2]);
        GROUP_SYNC();
        ONE_LANE
        {
            n.fx[j] += ox;
            n.fy[j] += oy;
            n.fz[j] += oz;
        }
        GROUP_SYNC();
    }
}

DEVICE void meam_scatter(const MeamModel& m, const MeamNeighbors& n, int i, double* forces, double* virials)
{
    lanes x = broadcast(0), y = broadcast(0), z = broadcast(0);
    for (int j = 0; j < n.first[m.n_types]; j += LANES) {
        const lanes fx = load(n.fx + j), fy = load(n.fy + j), fz = load(n.fz + j);
        if (virials) scatter_virial(virials, n.index + j, load(n.x + j), load(n.y + j), load(n.z + j), fx, fy, fz);
        else scatter_force(forces, n.index + j, fx, fy, fz);
        x += fx;
        y += fy;
        z += fz;
    }
    const REAL sum[3] = {reduce_add(x), reduce_add(y), reduce_add(z)};
    ONE_LANE for (int k = 0; k < 3; ++k) atomic_add(forces + 4 * (size_t)i + k, (double)sum[k]);
}

// reals, integers: 9 capacity and 2 capacity + n_types + 1 numbers for each group; capacity a multiple of LANES
KERNEL(meam)(int begin, int end, const Position* packed, double scale, int padding_index, const int* neighbors, int stride,
             const int* segments, int n_types, int bits, int mean_of_t, int linear_if_negative, double cutoff,
             double smoothing, double reach, double smooth_g, const REAL* elements, const REAL* screens, const REAL* tables,
             REAL* reals, int* integers, int capacity, double* energies, double* forces, double* virials)
{
    const MeamModel m = {n_types, bits, mean_of_t, linear_if_negative, (REAL)cutoff, (REAL)(1 / smoothing),
                         (REAL)(reach * reach), (REAL)smooth_g, elements, screens, tables};
    MeamNeighbors n = meam_neighbors(reals + (size_t)GROUP_IN_GRID() * 9 * capacity,
                                     integers + (size_t)GROUP_IN_GRID() * (2 * capacity + n_types + 1), capacity);
    FOR_EACH_GROUP(i, begin, end)
    {
        const Position centre = packed[i];
        const int a = type_of(centre);
        meam_collect(m, n, packed, centre, scale, neighbors + (size_t)i * stride, segments + (size_t)i * (n_types + 1),
                     padding_index);
        meam_screening(m, n, a);
        meam_sums(m, n);
        MeamSlopes slopes;
        const double embedding = meam_embedding(m, a, n.sums, slopes);
        const REAL pairs = reduce_add(meam_direct_forces(m, n, a, slopes));
        ONE_LANE energies[i] += embedding + 0.5 * (double)pairs;
        meam_screening_forces(m, n, a);
        meam_scatter(m, n, i, forces, virials);
        GROUP_SYNC();
    }
}
