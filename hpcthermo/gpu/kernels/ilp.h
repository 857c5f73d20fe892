// Registry-dependent interlayer potential of graphene and h-BN (Ouyang, Mandelli, Urbakh, Hod, Nano Lett. 18, 6009 (2018)).
//
//   U_i = sum_j [ 1/2 phi(r_ij) + g(r_ij, n_i) ],   r_ij = r_j - r_i,   j in other layers than i,   r_ij < R
//   phi(r)  = T(r) [ epsilon e^(alpha (1 - r/beta)) - C6 / r^6 / (1 + e^(-d (r/r_0 - 1))) ]
//   g(r, n) = T(r) C e^t,   t = alpha (1 - r/beta) - (r^2 - p^2)/gamma^2,   p = n . r
//   T(r)    = 20 x^7 - 70 x^6 + 84 x^5 - 35 x^4 + 1 = (1 - x)^4 (1 + 4 x + 10 x^2 + 20 x^3),   x = r/R
//
//   n_i  unit vector along m_i = (v_2 - v_1) x (v_3 - v_1), the normal of the plane through the three neighbours v_k of i
//        within its layer; m_i = v_1 x v_2 with two neighbours, the z axis with fewer (edges)
//
// g goes out as p^2 does, so the sign of n_i is free. phi is a pair energy, seen from both sides (tile_pairs.h). g belongs
// to one side: its force on j is scattered, and G_i = sum_j dg/dn_i goes to the neighbours that make n_i. Pairs with a g
// that matters are few (t decays with the sideways distance): they are put together first and computed after.
//
// What is below the tolerance of potentials/ilp.py is left out: damping and repulsion where no lane is closer than a
// distance of its own, g where t is small. Slots that stand first in each segment of a list (inner) may be near. For the
// others, most of all, phi is a polynomial in r^2 that equals it to that tolerance; pairs with a g are found by the
// sideways distance.
#include "tile_pairs.h"

#define BONDS 3                                   // neighbours that make a normal
#define FAR_DEGREE (sizeof(REAL) == 4 ? 10 : 18)  // of the polynomial, an even number

// one row of parameters by pair of types (potentials/ilp.py, parameter_rows)
enum InterlayerParameter {
    CUTOFF_SQUARED, INVERSE_CUTOFF,
    ALPHA, ALPHA_OVER_BETA, EPSILON, C, INVERSE_GAMMA_SQUARED, LEAST_T,  // g is left out where t <= LEAST_T
    D, D_OVER_R0, C6,
    DAMPED_SQUARED, REPELLED_SQUARED,  // beyond these the damping is 1, the repulsion 0
    FAR_SIDEWAYS_SQUARED,              // beyond this sideways distance far pairs have no g
    FAR_SCALE, FAR_SHIFT,              // phi = sum_k coefficient_k u^k, u = FAR_SCALE r^2 + FAR_SHIFT, -1 <= u <= 1
    INTERLAYER_ROW
};

// ---- normals ----------------------------------------------------------------------------------------
DEVICE void cross(const REAL* a, const REAL* b, REAL* c)
{
    c[0] = a[1] * b[2] - a[2] * b[1];
    c[1] = a[2] * b[0] - a[0] * b[2];
    c[2] = a[0] * b[1] - a[1] * b[0];
}
DEVICE REAL dot(const REAL* a, const REAL* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

// The neighbours of i that make its normal: the nearest, up to BONDS, of its layer and within reach.
struct Bonds {
    int n, index[BONDS];
    REAL v[BONDS][3], square[BONDS];
};
DEVICE Bonds bonds_of(int i, const Position* packed, double scale, const int* layers, const int* row, const int* segments,
                      int n_types, const REAL* reach_squared)
{
    const Position centre = packed[i];
    Bonds bonds;
    bonds.n = 0;
    for (int tj = 0; tj < n_types; ++tj) {
        const REAL limit = reach_squared[type_of(centre) * n_types + tj];
        for (int slot = segments[tj]; slot < segments[tj + 1]; ++slot) {
            const int j = row[slot];
            REAL r[3];
            displacement(centre, packed[j], scale, r);
            const REAL square = dot(r, r);
            if (!(square < limit) || layers[j] != layers[i]) continue;
            int at = bonds.n < BONDS ? bonds.n++ : BONDS;
            for (; at > 0 && bonds.square[at - 1] > square; --at)
                if (at < BONDS) {
                    bonds.index[at] = bonds.index[at - 1];
                    bonds.square[at] = bonds.square[at - 1];
                    for (int a = 0; a < 3; ++a) bonds.v[at][a] = bonds.v[at - 1][a];
                }
            if (at == BONDS) continue;
            bonds.index[at] = j;
            bonds.square[at] = square;
            for (int a = 0; a < 3; ++a) bonds.v[at][a] = r[a];
        }
    }
    return bonds;
}

// m and the two vectors whose product it is, a x b; false if the normal is the z axis
DEVICE bool plane_of(const Bonds& bonds, REAL* a, REAL* b, REAL* m)
{
    if (bonds.n < 2) return false;
    for (int k = 0; k < 3; ++k) {
        a[k] = bonds.n == 3 ? bonds.v[1][k] - bonds.v[0][k] : bonds.v[0][k];
        b[k] = bonds.n == 3 ? bonds.v[2][k] - bonds.v[0][k] : bonds.v[1][k];
    }
    cross(a, b, m);
    return dot(m, m) > (REAL)1e-12;
}

// most: the largest number of neighbours within reach, of one layer, that any atom has
KERNEL(ilp_most_bonds)(int begin, int end, const double* positions, const int* types, const int* layers, const int* neighbors,
                       int stride, const int* segments, int padding_index, int n_types, const REAL* reach_squared, int* most)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        int n = 0;
        for (int tj = 0; tj < n_types; ++tj)
            for (int slot = segments[(size_t)i * (n_types + 1) + tj]; slot < segments[(size_t)i * (n_types + 1) + tj + 1]; ++slot) {
                const int j = neighbors[(size_t)i * stride + slot];
                if (j >= padding_index || layers[j] != layers[i]) continue;
                double square = 0;
                for (int a = 0; a < 3; ++a) {
                    const double r = positions[3 * (size_t)j + a] - positions[3 * (size_t)i + a];
                    square += r * r;
                }
                n += square < reach_squared[types[i] * n_types + tj];
            }
        if (n > *most) atomic_maximum(most, n);
    }
}

// normals: rows of 4 (x, y, z, unused)
KERNEL(ilp_normals)(int begin, int end, const Position* packed, double scale, const int* layers, const int* neighbors, int stride,
                    const int* segments, int n_types, const REAL* reach_squared, REAL* normals)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        const Bonds bonds = bonds_of(i, packed, scale, layers, neighbors + (size_t)i * stride, segments + (size_t)i * (n_types + 1),
                                     n_types, reach_squared);
        REAL a[3], b[3], m[3] = {0, 0, 1};
        REAL* normal = normals + 4 * (size_t)i;
        const bool plane = plane_of(bonds, a, b, m);
        const REAL inverse = plane ? (REAL)1 / sqrt(dot(m, m)) : (REAL)1;
        for (int k = 0; k < 3; ++k) normal[k] = plane ? m[k] * inverse : (REAL)(k == 2);
    }
}

// Forces through the normals. With h = (G - n (n . G)) / |m|: dU_i = h . dm, m = a x b, so dU_i/da = b x h, dU_i/db = h x a.
// gradients: G by atom, rows of 4. f_ik = dU_i/dr_ik, F_i += f_ik, F_k -= f_ik, W_k -= r_ik (x) f_ik.
KERNEL(ilp_normal_forces)(int begin, int end, const Position* packed, double scale, const int* layers, const int* neighbors,
                          int stride, const int* segments, int n_types, const REAL* reach_squared, const REAL* normals,
                          const REAL* gradients, double* forces, double* virials)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        const Bonds bonds = bonds_of(i, packed, scale, layers, neighbors + (size_t)i * stride, segments + (size_t)i * (n_types + 1),
                                     n_types, reach_squared);
        REAL a[3], b[3], m[3], h[3], f[BONDS][3];
        if (!plane_of(bonds, a, b, m)) continue;
        const REAL *n = normals + 4 * (size_t)i, *gradient = gradients + 4 * (size_t)i;
        const REAL along = dot(n, gradient), inverse = (REAL)1 / sqrt(dot(m, m));
        for (int k = 0; k < 3; ++k) h[k] = (gradient[k] - n[k] * along) * inverse;
        const int last = bonds.n - 1;
        cross(b, h, f[last - 1]);
        cross(h, a, f[last]);
        for (int k = 0; k < 3 && bonds.n == 3; ++k) f[0][k] = -f[1][k] - f[2][k];
        for (int bond = 0; bond < bonds.n; ++bond) {
            const REAL* r = bonds.v[bond];
            const size_t j = bonds.index[bond];
            for (int k = 0; k < 3; ++k) {
                atomic_add(forces + 4 * (size_t)i + k, (double)f[bond][k]);
                if (!virials) {
                    atomic_add(forces + 4 * j + k, -(double)f[bond][k]);
                    continue;
                }
                for (int c = 0; c < 3; ++c) atomic_add(virials + 12 * j + 4 * k + c, -(double)f[bond][k] * (double)r[c]);
                atomic_add(virials + 12 * j + 4 * k + 3, -(double)f[bond][k]);
            }
        }
    }
}

// ---- pairs ------------------------------------------------------------------------------------------
// T and T'/r
DEVICE void taper(const REAL* p, lanes r, lanes& value, lanes& slope_over_r)
{
    const lanes x = r * p[INVERSE_CUTOFF], y = (REAL)1 - x, y3 = y * y * y, square = x * x;
    value = y3 * y * ((REAL)1 + x * ((REAL)4 + x * ((REAL)10 + x * (REAL)20)));
    slope_over_r = (REAL)-140 * p[INVERSE_CUTOFF] * p[INVERSE_CUTOFF] * square * y3;
}

// phi and phi'/r of near pairs
DEVICE void near_pair(const REAL* p, lanes square, lanes inverse, lanes r, lanes& energy, lanes& slope_over_r)
{
    const lanes inverse_square = inverse * inverse;
    lanes bare = -p[C6] * inverse_square * inverse_square * inverse_square, bare_slope = (REAL)-6 * inverse * bare;
    if (any_lane(square < p[DAMPED_SQUARED])) {
        const lanes decay = exp_lanes(p[D] - p[D_OVER_R0] * r), damping = (REAL)1 / ((REAL)1 + decay);
        bare *= damping;
        bare_slope = (p[D_OVER_R0] * decay * damping - (REAL)6 * inverse) * bare;
    }
    if (any_lane(square < p[REPELLED_SQUARED])) {
        const lanes repulsion = p[EPSILON] * exp_lanes(p[ALPHA] - p[ALPHA_OVER_BETA] * r);
        bare += repulsion;
        bare_slope -= p[ALPHA_OVER_BETA] * repulsion;
    }
    lanes taper_value, taper_slope;
    taper(p, r, taper_value, taper_slope);
    energy = taper_value * bare;
    slope_over_r = taper_slope * bare + taper_value * bare_slope * inverse;
}

// phi and phi'/r of far pairs: the polynomial is even(w) + u odd(w), w = u^2, which makes its chains of sums short
DEVICE void far_pair(const REAL* p, lanes square, lanes& energy, lanes& slope_over_r)
{
    const REAL* coefficient = p + INTERLAYER_ROW;
    const lanes u = p[FAR_SCALE] * square + p[FAR_SHIFT], w = u * u;
    lanes even = broadcast(coefficient[FAR_DEGREE]), odd = broadcast(coefficient[FAR_DEGREE - 1]);
    lanes even_slope = broadcast(0), odd_slope = broadcast(0);  // by w
    for (int k = FAR_DEGREE - 2; k >= 0; k -= 2) {
        even_slope = even_slope * w + even;
        even = even * w + coefficient[k];
    }
    for (int k = FAR_DEGREE - 3; k >= 0; k -= 2) {
        odd_slope = odd_slope * w + odd;
        odd = odd * w + coefficient[k];
    }
    energy = even + u * odd;
    slope_over_r = (REAL)2 * p[FAR_SCALE] * (odd + (REAL)2 * (u * even_slope + w * odd_slope));
}

// pairs of one atom whose g matters, all with neighbours of one type
struct RegistryPairs {
    REAL *x, *y, *z;
    int *index, n;
};

// phi of one atom with the slots [begin, end) of its tile's row, all of one type, and the pairs among them that may have a
// g; x, y, z: their positions from where the atom is at `from`
template <bool FAR>
DEVICE void add_pairs(PairSums& sums, RegistryPairs& found, const REAL* p, const int* row, int begin, int end,
                      const REAL* x, const REAL* y, const REAL* z, const REAL* from, const REAL* normal)
{
    for (int slot = begin; slot < end; slot += LANES) {
        const lanes r[3] = {load(x + slot) - from[0], load(y + slot) - from[1], load(z + slot) - from[2]};
        const lanes square = r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
        const lane_mask inside = square < p[CUTOFF_SQUARED];
        if (FAR && !any_lane(inside)) continue;
        const lanes along = normal[0] * r[0] + normal[1] * r[1] + normal[2] * r[2], sideways = square - along * along;
        lanes energy, slope;
        lane_mask close;
        if (FAR) {
            far_pair(p, square, energy, slope);
            close = sideways < p[FAR_SIDEWAYS_SQUARED];
        } else {
            const lanes inverse = inverse_sqrt(square), distance = square * inverse;
            near_pair(p, square, inverse, distance, energy, slope);
            close = p[ALPHA] - p[ALPHA_OVER_BETA] * distance - sideways * p[INVERSE_GAMMA_SQUARED] > p[LEAST_T];
        }
        add_pair(sums, inside, r, energy, slope);
        const lane_set kept = lane_set_of(inside & close);
        const int count = count_lanes(kept);
        if (count == 0) continue;
        append(found.x + found.n, kept, r[0]);
        append(found.y + found.n, kept, r[1]);
        append(found.z + found.n, kept, r[2]);
        append(found.index + found.n, kept, row + slot);
        found.n += count;
    }
}

// sums of one atom over its pairs with a g
struct RegistrySums { lanes energy, force[3], gradient[3]; };

DEVICE void add_registry(RegistrySums& sums, RegistryPairs& found, const REAL* p, const REAL* normal, int padding_index,
                         double* forces, double* virials)
{
    const int padded = (found.n + LANES - 1) / LANES * LANES;
    FOR_LANE_ELEMENTS(k, padded - found.n)
    {
        found.x[found.n + k] = (REAL)2 / p[INVERSE_CUTOFF];
        found.y[found.n + k] = found.z[found.n + k] = 0;
        found.index[found.n + k] = padding_index;
    }
    GROUP_SYNC();
    for (int k = 0; k < padded; k += LANES) {
        const lanes r[3] = {load(found.x + k), load(found.y + k), load(found.z + k)};
        const lanes square = r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
        const lanes inverse = inverse_sqrt(square), distance = square * inverse;
        const lanes along = normal[0] * r[0] + normal[1] * r[1] + normal[2] * r[2];
        const REAL decay = p[INVERSE_GAMMA_SQUARED];
        const lanes t = p[ALPHA] - p[ALPHA_OVER_BETA] * distance - (square - along * along) * decay;
        const lanes bare = select(square < p[CUTOFF_SQUARED], p[C] * exp_lanes(t), broadcast(0));
        lanes taper_value, taper_slope;
        taper(p, distance, taper_value, taper_slope);
        const lanes energy = taper_value * bare, across = (REAL)2 * decay * energy * along;
        const lanes slope = taper_slope * bare - energy * (p[ALPHA_OVER_BETA] * inverse + (REAL)2 * decay);
        lanes f[3];  // dg/dr_ij
        for (int a = 0; a < 3; ++a) {
            f[a] = slope * r[a] + across * normal[a];
            sums.force[a] += f[a];
            sums.gradient[a] += across * r[a];
        }
        sums.energy += energy;
        if (virials) scatter_virial(virials, found.index + k, r[0], r[1], r[2], f[0], f[1], f[2]);
        else scatter_force(forces, found.index + k, f[0], f[1], f[2]);
    }
    GROUP_SYNC();
    found.n = 0;
}

// Tiles [tile_begin, tile_end), of their atoms those in [begin, end). inner: near slots by [tile][type].
// rows: parameters and coefficients by [type of i][type of j]; scratch of a group: 6 stride numbers and stride integers.
KERNEL(ilp_pairs)(int tile_begin, int tile_end, int begin, int end, const int* members, const Position* packed, double scale,
                  const double* positions, int padding_index, const int* neighbors, int stride, const int* segments,
                  const int* inner, int n_types, const REAL* rows, const REAL* normals, REAL* gradients, REAL* real_scratch,
                  int* int_scratch, double* energies, double* forces, double* virials, double* total_virial)
{
    REAL *x = real_scratch + (size_t)GROUP_IN_GRID() * 6 * stride, *y = x + stride, *z = y + stride;
    RegistryPairs found = {z + stride, z + 2 * stride, z + 3 * stride, int_scratch + (size_t)GROUP_IN_GRID() * stride, 0};
    FOR_EACH_GROUP(tile, tile_begin, tile_end)
    {
        const int* member = members + (size_t)tile * TILE_ATOMS;
        const int* row = neighbors + (size_t)tile * stride;
        const int* segment = segments + (size_t)tile * (n_types + 1);
        if (!tile_in_range(member, begin, end)) continue;
        const Position first = packed[member[0]];
        collect_positions(packed, scale, first, row, segment[n_types], x, y, z);
        for (int m = 0; m < TILE_ATOMS; ++m) {
            if (!place_in_range(member, m, begin, end)) continue;
            const int i = member[m];
            const Position centre = packed[i];
            REAL from[3];
            displacement(first, centre, scale, from);
            const REAL* n = normals + 4 * (size_t)i;
            const REAL normal[3] = {n[0], n[1], n[2]};
            PairSums sums = no_pairs();
            RegistrySums registry;
            registry.energy = broadcast(0);
            for (int a = 0; a < 3; ++a) registry.force[a] = registry.gradient[a] = broadcast(0);
            for (int tj = 0; tj < n_types; ++tj) {
                const REAL* p = rows + (type_of(centre) * n_types + tj) * (INTERLAYER_ROW + FAR_DEGREE + 1);
                const int far = segment[tj] + inner[(size_t)tile * n_types + tj];
                add_pairs<false>(sums, found, p, row, segment[tj], far, x, y, z, from, normal);
                add_pairs<true>(sums, found, p, row, far, segment[tj + 1], x, y, z, from, normal);
                add_registry(registry, found, p, normal, padding_index, forces, virials);
            }
            put_sums(sums, i, positions + 3 * (size_t)i, energies, forces, virials, total_virial);
            const REAL energy = reduce_add(registry.energy);
            REAL force[3], gradient[3];
            for (int a = 0; a < 3; ++a) {
                force[a] = reduce_add(registry.force[a]);
                gradient[a] = reduce_add(registry.gradient[a]);
            }
            ONE_LANE
            {
                energies[i] += (double)energy;
                for (int a = 0; a < 3; ++a) {
                    atomic_add(forces + 4 * (size_t)i + a, (double)force[a]);
                    gradients[4 * (size_t)i + a] = gradient[a];
                }
            }
        }
        GROUP_SYNC();
    }
}
