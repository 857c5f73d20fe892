// Tersoff bond-order potential, any number of elements (Tersoff, PRB 37, 6991 (1988); PRB 39, 5566 (1989)).
//
//   U_i = 1/2 sum_j f_C(r_ij) [ A e^(-lambda1 r_ij) - b_ij B e^(-lambda2 r_ij) ]
//   b_ij = (1 + (beta zeta_ij)^n)^(-1/2n)
//   zeta_ij = sum_{k != i,j} f_C(r_ik) g(cos theta_ijk) exp[(lambda3 (r_ij - r_ik))^m]
//   g(cos) = gamma (1 + c^2/d^2 x^2 / (d^2 + x^2)),  x = h - cos            (the same as 1 + c^2/d^2 - c^2/(d^2 + x^2))
//   f_C(r) = 1 below R - D, 1/2 - 1/2 sin(pi/2 (r - R)/D), 0 above R + D
//
// Parameters stand in one row per triplet (i, j, k). Row (i, j, j) serves the bond ij; row (i, j, k) serves
// the term of k in zeta_ij, its cutoff included.
//
// Lanes are atoms: a batch of LANES atoms has its bonds in columns, bond `slot` of atom `lane` at
// [slot LANES + lane], so that all work after the compaction runs on full vectors.
#include "portable.h"

#define ROWS_AHEAD 16  // list rows between asking for one and reading it

// one row of parameters (potentials/tersoff.py, parameter_rows)
enum TersoffParameter {
    A, LAMBDA_1, B, LAMBDA_2, LOG_BETA, N, INVERSE_2N,
    CUTOFF_START, CUTOFF_MIDDLE, CUTOFF_END, CUTOFF_SCALE,  // R - D, R, R + D, pi/2D
    GAMMA, C_OVER_D_SQUARED, TWO_C_SQUARED, D_SQUARED, H, LAMBDA_3, CUBIC,  // CUBIC: 1 for m = 3, 0 for m = 1
    TERSOFF_ROW
};

struct TersoffModel {
    int n_types, has_lambda_3;
    REAL outside;  // a distance beyond all cutoffs
    const REAL* rows;
    const REAL* reach_squared;  // [type of i][type of j]
};

// columns of one batch; each array has `capacity` slots
struct TersoffBatch {
    int n_atoms, n_slots;
    REAL *ux, *uy, *uz, *r, *inverse_r, *zeta, *slope, *fx, *fy, *fz;
    REAL *near_x, *near_y, *near_z;  // bonds of one atom, compacted
    REAL* lane_sums;
    int *index, *type, *same_type;   // neighbour's row and type; whether a slot has one type in all lanes
    int *near_index, *centre, *centre_type, *n_bonds, *offsets;
    bool same_centre;
};

DEVICE int tersoff_reals(int capacity) { return 10 * capacity * LANES + 3 * (capacity + LANES) + LANES; }
DEVICE int tersoff_integers(int capacity) { return 2 * capacity * LANES + (capacity + LANES) + capacity + 5 * LANES; }

DEVICE TersoffBatch tersoff_batch(REAL* reals, int* integers, int capacity)
{
    TersoffBatch b;
    const size_t column = (size_t)capacity * LANES;
    REAL** const columns[10] = {&b.ux, &b.uy, &b.uz, &b.r, &b.inverse_r, &b.zeta, &b.slope, &b.fx, &b.fy, &b.fz};
    for (int k = 0; k < 10; ++k) *columns[k] = reals + k * column;
    b.near_x = reals + 10 * column;
    b.near_y = b.near_x + capacity + LANES;
    b.near_z = b.near_y + capacity + LANES;
    b.lane_sums = b.near_z + capacity + LANES;
    b.index = integers;
    b.type = b.index + column;
    b.near_index = b.type + column;
    b.same_type = b.near_index + capacity + LANES;
    b.centre = b.same_type + capacity;
    b.centre_type = b.centre + LANES;
    b.n_bonds = b.centre_type + LANES;
    b.offsets = b.n_bonds + LANES;
    b.n_atoms = b.n_slots = 0;
    b.same_centre = false;
    return b;
}

// parameters of a triplet, one value for all lanes or one per lane
struct TersoffRow {
    const REAL* first;
    const int* offsets;
    MEMBER lanes operator[](int k) const { return offsets ? gather(first + k, offsets) : broadcast(first[k]); }
};
// row of (i, bond a, bond b); buffer 0 or 1 holds its offsets
DEVICE TersoffRow triplet(const TersoffModel& m, const TersoffBatch& batch, int a, int b, int buffer)
{
    const int *ta = batch.type + a * LANES, *tb = batch.type + b * LANES, *ti = batch.centre_type;
    if (batch.same_centre && batch.same_type[a] && batch.same_type[b])
        return {m.rows + ((ti[0] * m.n_types + ta[0]) * m.n_types + tb[0]) * TERSOFF_ROW, nullptr};
    int* offsets = batch.offsets + buffer * LANES;
    FOR_LANE_ELEMENTS(l, LANES) offsets[l] = ((ti[l] * m.n_types + ta[l]) * m.n_types + tb[l]) * TERSOFF_ROW;
    return {m.rows, offsets};
}

// f_C and its derivative; the trigonometry is skipped while no lane is between R - D and R + D
DEVICE void cutoff(const TersoffRow& p, lanes r, lanes& f, lanes& slope)
{
    const lanes start = p[CUTOFF_START], end = p[CUTOFF_END];
    f = select(r <= start, broadcast(1), broadcast(0));
    slope = broadcast(0);
    const lane_mask between = (r > start) & (r < end);
    if (!any_lane(between)) return;
    const lanes scale = p[CUTOFF_SCALE], angle = (r - p[CUTOFF_MIDDLE]) * scale, square = angle * angle;
    const int terms = sizeof(REAL) == 4 ? 7 : 11;  // |angle| <= pi/2
    lanes sine = broadcast(1), cosine = broadcast(1);
    for (int k = terms; k >= 1; --k) {
        sine = (REAL)1 - square * sine * (REAL)(1.0 / ((2 * k) * (2 * k + 1)));
        cosine = (REAL)1 - square * cosine * (REAL)(1.0 / ((2 * k - 1) * (2 * k)));
    }
    f = select(between, (REAL)0.5 - (REAL)0.5 * angle * sine, f);
    slope = select(between, (REAL)-0.5 * scale * cosine, slope);
}

// One term t = f_C(r_k) e g of zeta_ij: e = exp[(lambda3 (r_j - r_k))^m]. q = d ln e / d r_j.
struct ZetaTerm { lanes weight, weight_slope, g, g_slope, q; };  // weight = f_C e, weight_slope = f_C' e
template <bool WITH_SLOPES>
DEVICE ZetaTerm zeta_term(const TersoffModel& m, const TersoffRow& p, lanes r_j, lanes r_k, lanes cosine)
{
    ZetaTerm t;
    cutoff(p, r_k, t.weight, t.weight_slope);
    t.q = broadcast(0);
    if (m.has_lambda_3) {
        const lanes lambda = p[LAMBDA_3], x = lambda * (r_j - r_k);
        const lane_mask cubic = p[CUBIC] > (REAL)0;
        lanes exponent = select(cubic, x * x * x, x);
        if (WITH_SLOPES) t.q = select(cubic, (REAL)3 * lambda * x * x, lambda);
        const REAL limit = (REAL)69.0776;  // e stays below 1e30
        exponent = select(exponent > limit, broadcast(limit), exponent);
        const lanes e = exp_lanes(exponent);
        t.weight *= e;
        t.weight_slope *= e;
    }
    const lanes x = p[H] - cosine, inverse = (REAL)1 / (p[D_SQUARED] + x * x), gamma = p[GAMMA];
    t.g = gamma * ((REAL)1 + p[C_OVER_D_SQUARED] * x * x * inverse);
    t.g_slope = WITH_SLOPES ? -gamma * p[TWO_C_SQUARED] * x * inverse * inverse : broadcast(0);
    return t;
}

// put the neighbours of one atom that are within reach into its column
DEVICE void tersoff_bonds(const TersoffModel& m, TersoffBatch& batch, int lane, const Position* positions, double scale,
                          const int* row, const int* segments)
{
    const Position centre = positions[batch.centre[lane]];
    const int ti = type_of(centre);
    int n = 0;
    for (int tj = 0; tj < m.n_types; ++tj) {
        const REAL limit = m.reach_squared[ti * m.n_types + tj];
        const int before = n;
        for (int slot = segments[tj]; slot < segments[tj + 1]; slot += LANES) {
            lanes x, y, z;
            load_displacements(positions, row + slot, centre, scale, x, y, z);
            const lane_set kept = lane_set_of(x * x + y * y + z * z < limit);
            const int count = count_lanes(kept);
            if (count == 0) continue;
            append(batch.near_x + n, kept, x);
            append(batch.near_y + n, kept, y);
            append(batch.near_z + n, kept, z);
            append(batch.near_index + n, kept, row + slot);
            n += count;
        }
        FOR_LANE_ELEMENTS(k, n - before) batch.type[(before + k) * LANES + lane] = tj;
    }
    GROUP_SYNC();
    FOR_LANE_ELEMENTS(k, n)
    {
        const int at = k * LANES + lane;
        batch.ux[at] = batch.near_x[k];
        batch.uy[at] = batch.near_y[k];
        batch.uz[at] = batch.near_z[k];
        batch.index[at] = batch.near_index[k];
    }
    ONE_LANE
    {
        batch.n_bonds[lane] = n;
        batch.centre_type[lane] = ti;
    }
    if (n > batch.n_slots) batch.n_slots = n;
    GROUP_SYNC();
}

// fill the rest of the columns with bonds that are too long to matter, of types that keep a slot uniform
DEVICE void tersoff_padding(const TersoffModel& m, TersoffBatch& batch, int padding_index)
{
    FOR_LANE_ELEMENTS(l, LANES)
        if (l >= batch.n_atoms) {
            batch.centre[l] = padding_index;
            batch.centre_type[l] = batch.centre_type[0];
            batch.n_bonds[l] = 0;
        }
    GROUP_SYNC();
    batch.same_centre = all_equal(batch.centre_type);
    for (int slot = 0; slot < batch.n_slots; ++slot) {
        int donor = 0;
        while (batch.n_bonds[donor] <= slot) ++donor;
        const int type = batch.type[slot * LANES + donor];
        GROUP_SYNC();
        FOR_LANE_ELEMENTS(l, LANES)
        {
            if (slot < batch.n_bonds[l]) continue;
            const int at = slot * LANES + l;
            batch.ux[at] = m.outside;
            batch.uy[at] = batch.uz[at] = 0;
            batch.index[at] = padding_index;
            batch.type[at] = type;
        }
        const bool same = all_equal(batch.type + slot * LANES);
        ONE_LANE batch.same_type[slot] = same;
    }
    GROUP_SYNC();
}

DEVICE void tersoff_directions(TersoffBatch& batch)
{
    for (int at = 0; at < batch.n_slots * LANES; at += LANES) {
        const lanes x = load(batch.ux + at), y = load(batch.uy + at), z = load(batch.uz + at);
        const lanes square = x * x + y * y + z * z, inverse = inverse_sqrt(square);
        store(batch.r + at, square * inverse);
        store(batch.inverse_r + at, inverse);
        store(batch.ux + at, x * inverse);
        store(batch.uy + at, y * inverse);
        store(batch.uz + at, z * inverse);
        store(batch.zeta + at, broadcast(0));
    }
}

DEVICE lanes cosine_between(const TersoffBatch& batch, int a, int b)
{
    return load(batch.ux + a) * load(batch.ux + b) + load(batch.uy + a) * load(batch.uy + b) + load(batch.uz + a) * load(batch.uz + b);
}

DEVICE void tersoff_zeta(const TersoffModel& m, TersoffBatch& batch)
{
    for (int slot_a = 0; slot_a < batch.n_slots; ++slot_a)
        for (int slot_b = slot_a + 1; slot_b < batch.n_slots; ++slot_b) {
            const int a = slot_a * LANES, b = slot_b * LANES;
            const lanes cosine = cosine_between(batch, a, b), r_a = load(batch.r + a), r_b = load(batch.r + b);
            const ZetaTerm ab = zeta_term<false>(m, triplet(m, batch, slot_a, slot_b, 0), r_a, r_b, cosine);
            const ZetaTerm ba = zeta_term<false>(m, triplet(m, batch, slot_b, slot_a, 1), r_b, r_a, cosine);
            store(batch.zeta + a, load(batch.zeta + a) + ab.weight * ab.g);
            store(batch.zeta + b, load(batch.zeta + b) + ba.weight * ba.g);
        }
}

// U_i, slope = dU_i/dzeta and the part of f_ij along the bond that has zeta fixed
DEVICE lanes tersoff_bond_order(const TersoffModel& m, TersoffBatch& batch)
{
    lanes energy = broadcast(0);
    for (int slot = 0; slot < batch.n_slots; ++slot) {
        const int at = slot * LANES;
        const TersoffRow p = triplet(m, batch, slot, slot, 0);
        const lanes r = load(batch.r + at);
        lanes f, f_slope;
        cutoff(p, r, f, f_slope);
        const lanes lambda_1 = p[LAMBDA_1], lambda_2 = p[LAMBDA_2];
        const lanes repulsion = (REAL)0.5 * p[A] * exp_lanes(-lambda_1 * r);
        const lanes attraction = (REAL)-0.5 * p[B] * exp_lanes(-lambda_2 * r);

        // with y = ln (beta zeta)^n: b = exp[-ln(1 + e^y)/2n], db/dzeta = -b s(y)/(2 zeta), s = e^y/(1 + e^y)
        lanes zeta = load(batch.zeta + at);
        zeta = select(zeta > (REAL)1e-30, zeta, broadcast((REAL)1e-30));
        const lanes y = p[N] * (p[LOG_BETA] + log_lanes(zeta));
        const lane_mask positive = y > (REAL)0;
        const lanes small = exp_lanes(select(positive, -y, y)), inverse = (REAL)1 / ((REAL)1 + small);
        const lanes softplus = select(positive, y, broadcast(0)) + log_lanes((REAL)1 + small);
        const lanes share = select(positive, inverse, small * inverse);
        const lanes b = exp_lanes(-softplus * p[INVERSE_2N]);

        energy += f * (repulsion + b * attraction);
        store(batch.slope + at, (REAL)-0.5 * f * attraction * b * share / zeta);
        const lanes radial = f_slope * (repulsion + b * attraction) - f * (lambda_1 * repulsion + lambda_2 * b * attraction);
        store(batch.fx + at, radial * load(batch.ux + at));
        store(batch.fy + at, radial * load(batch.uy + at));
        store(batch.fz + at, radial * load(batch.uz + at));
    }
    return energy;
}

// f_a += along u_a + across (u_b - cos u_a)/r_a
DEVICE void add_bond_force(TersoffBatch& batch, int a, int b, lanes along, lanes across, lanes cosine)
{
    const lanes on_b = across * load(batch.inverse_r + a), on_a = along - cosine * on_b;
    store(batch.fx + a, load(batch.fx + a) + on_a * load(batch.ux + a) + on_b * load(batch.ux + b));
    store(batch.fy + a, load(batch.fy + a) + on_a * load(batch.uy + a) + on_b * load(batch.uy + b));
    store(batch.fz + a, load(batch.fz + a) + on_a * load(batch.uz + a) + on_b * load(batch.uz + b));
}

// partial forces f_ij = dU_i/dr_ij from the angles and lengths in zeta
DEVICE void tersoff_angular_forces(const TersoffModel& m, TersoffBatch& batch)
{
    for (int slot_a = 0; slot_a < batch.n_slots; ++slot_a)
        for (int slot_b = slot_a + 1; slot_b < batch.n_slots; ++slot_b) {
            const int a = slot_a * LANES, b = slot_b * LANES;
            const lanes cosine = cosine_between(batch, a, b), r_a = load(batch.r + a), r_b = load(batch.r + b);
            const lanes slope_a = load(batch.slope + a), slope_b = load(batch.slope + b);
            const ZetaTerm ab = zeta_term<true>(m, triplet(m, batch, slot_a, slot_b, 0), r_a, r_b, cosine);
            const ZetaTerm ba = zeta_term<true>(m, triplet(m, batch, slot_b, slot_a, 1), r_b, r_a, cosine);
            const lanes term_a = slope_a * ab.g, term_b = slope_b * ba.g;
            const lanes stretch = term_a * ab.weight * ab.q - term_b * ba.weight * ba.q;
            const lanes across = slope_a * ab.weight * ab.g_slope + slope_b * ba.weight * ba.g_slope;
            add_bond_force(batch, a, b, term_b * ba.weight_slope + stretch, across, cosine);
            add_bond_force(batch, b, a, term_a * ab.weight_slope - stretch, across, cosine);
        }
}

DEVICE void tersoff_scatter(const TersoffBatch& batch, lanes energy, double* energies, double* forces, double* virials)
{
    lanes x = broadcast(0), y = broadcast(0), z = broadcast(0);
    for (int slot = 0; slot < batch.n_slots; ++slot) {
        const int at = slot * LANES;
        const lanes fx = load(batch.fx + at), fy = load(batch.fy + at), fz = load(batch.fz + at);
        if (virials) {
            const lanes r = load(batch.r + at);
            scatter_virial(virials, batch.index + at, r * load(batch.ux + at), r * load(batch.uy + at), r * load(batch.uz + at), fx, fy, fz);
        } else {
            scatter_force(forces, batch.index + at, fx, fy, fz);
        }
        x += fx;
        y += fy;
        z += fz;
    }
    scatter_force(forces, batch.centre, -x, -y, -z);
    store(batch.lane_sums, energy);
    GROUP_SYNC();
    FOR_LANE_ELEMENTS(l, batch.n_atoms) energies[batch.centre[l]] += (double)batch.lane_sums[l];
    GROUP_SYNC();
}

// Rows [begin, end) in tiles: order[t tile_size ...] lists the rows [t tile_size, (t+1) tile_size) sorted by type.
KERNEL(tersoff)(int tile_begin, int tile_end, int begin, int end, int tile_size, int n_owned, const int* order,
                const Position* positions, double scale, int padding_index, const int* neighbors, int stride, const int* segments,
                int n_types, int has_lambda_3, double outside, const REAL* rows, const REAL* reach_squared,
                REAL* real_scratch, int* int_scratch, int capacity, double* energies, double* forces, double* virials)
{
    const TersoffModel m = {n_types, has_lambda_3, (REAL)outside, rows, reach_squared};
    TersoffBatch batch = tersoff_batch(real_scratch + (size_t)GROUP_IN_GRID() * tersoff_reals(capacity),
                                       int_scratch + (size_t)GROUP_IN_GRID() * tersoff_integers(capacity), capacity);
    FOR_EACH_GROUP(tile, tile_begin, tile_end)
    {
        const int first = tile * tile_size, last = first + tile_size < n_owned ? first + tile_size : n_owned;
        int next = first;
        while (next < last) {
            batch.n_atoms = batch.n_slots = 0;
            for (; next < last && batch.n_atoms < LANES; ++next) {
                const int i = order[next];
                // rows come in the order of types: tell the memory ahead
                const size_t ahead = order[next + ROWS_AHEAD < last ? next + ROWS_AHEAD : last - 1];
                prefetch(neighbors + ahead * stride);
                prefetch(neighbors + ahead * stride + 16);
                prefetch(segments + ahead * (n_types + 1));
                if (i < begin || i >= end) continue;
                ONE_LANE batch.centre[batch.n_atoms] = i;
                GROUP_SYNC();
                tersoff_bonds(m, batch, batch.n_atoms, positions, scale, neighbors + (size_t)i * stride, segments + (size_t)i * (n_types + 1));
                ++batch.n_atoms;
            }
            if (batch.n_slots == 0) continue;
            tersoff_padding(m, batch, padding_index);
            tersoff_directions(batch);
            tersoff_zeta(m, batch);
            const lanes energy = tersoff_bond_order(m, batch);
            tersoff_angular_forces(m, batch);
            tersoff_scatter(batch, energy, energies, forces, virials);
        }
    }
}
