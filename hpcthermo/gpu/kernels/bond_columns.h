// Lanes are atoms, bonds stand in columns: what many-body potentials with short lists share.
//
// A batch of LANES atoms has its bonds in columns, bond `slot` of atom `lane` at [slot LANES + lane], so that all work after
// the compaction runs on full vectors. A potential fills fx, fy, fz with f_ij = dU_i/dr_ij and returns U_i by lane;
// bond_batches does the rest. Parameters stand in one row per triplet (i, j, k) of types.
#pragma once
#include "portable.h"

#define ROWS_AHEAD 16  // list rows between asking for one and reading it

// parameters of all triplets of types, and how far bonds reach
struct TripletTable {
    int n_types;
    REAL outside;  // a distance beyond all cutoffs
    const REAL* rows;
    const REAL* reach_squared;  // [type of i][type of j]
};

// columns of one batch; each array has `capacity` slots
struct BondColumns {
    int n_atoms, n_slots;
    REAL *ux, *uy, *uz, *r, *inverse_r, *fx, *fy, *fz;
    REAL* own[2];                    // two columns for the potential
    REAL *near_x, *near_y, *near_z;  // bonds of one atom, compacted
    REAL* lane_sums;
    int *index, *type, *same_type;   // neighbour's row and type; whether a slot has one type in all lanes
    int *near_index, *centre, *centre_type, *n_bonds, *offsets;
    bool same_centre;
};

DEVICE int bond_reals(int capacity) { return 10 * capacity * LANES + 3 * (capacity + LANES) + LANES; }
DEVICE int bond_integers(int capacity) { return 2 * capacity * LANES + (capacity + LANES) + capacity + 5 * LANES; }

DEVICE BondColumns bond_columns(REAL* reals, int* integers, int capacity)
{
    BondColumns b;
    const size_t column = (size_t)capacity * LANES;
    REAL** const columns[10] = {&b.ux, &b.uy, &b.uz, &b.r, &b.inverse_r, &b.fx, &b.fy, &b.fz, b.own, b.own + 1};
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
struct TripletRow {
    const REAL* first;
    const int* offsets;
    MEMBER lanes operator[](int k) const { return offsets ? gather(first + k, offsets) : broadcast(first[k]); }
};
// row of (i, bond a, bond b), LENGTH numbers; buffer 0 or 1 holds its offsets
template <int LENGTH>
DEVICE TripletRow triplet(const TripletTable& m, const BondColumns& batch, int a, int b, int buffer)
{
    const int *ta = batch.type + a * LANES, *tb = batch.type + b * LANES, *ti = batch.centre_type;
    if (batch.same_centre && batch.same_type[a] && batch.same_type[b])
        return {m.rows + ((ti[0] * m.n_types + ta[0]) * m.n_types + tb[0]) * LENGTH, nullptr};
    int* offsets = batch.offsets + buffer * LANES;
    FOR_LANE_ELEMENTS(l, LANES) offsets[l] = ((ti[l] * m.n_types + ta[l]) * m.n_types + tb[l]) * LENGTH;
    return {m.rows, offsets};
}

// put the neighbours of one atom that are within reach into its column
DEVICE void collect_bonds(const TripletTable& m, BondColumns& batch, int lane, const Position* positions, double scale,
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
DEVICE void pad_bonds(const TripletTable& m, BondColumns& batch, int padding_index)
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

DEVICE void bond_directions(BondColumns& batch)
{
    for (int at = 0; at < batch.n_slots * LANES; at += LANES) {
        const lanes x = load(batch.ux + at), y = load(batch.uy + at), z = load(batch.uz + at);
        const lanes square = x * x + y * y + z * z, inverse = inverse_sqrt(square);
        store(batch.r + at, square * inverse);
        store(batch.inverse_r + at, inverse);
        store(batch.ux + at, x * inverse);
        store(batch.uy + at, y * inverse);
        store(batch.uz + at, z * inverse);
    }
}

DEVICE lanes cosine_between(const BondColumns& batch, int a, int b)
{
    return load(batch.ux + a) * load(batch.ux + b) + load(batch.uy + a) * load(batch.uy + b) + load(batch.uz + a) * load(batch.uz + b);
}

DEVICE void scatter_bonds(const BondColumns& batch, lanes energy, double* energies, double* forces, double* virials)
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


// What kernels over bond columns are called with. Rows [begin, end) in tiles: order[t tile_size ...] lists the rows
// [t tile_size, (t+1) tile_size) sorted by type. option: what the potential needs to know of its parameters.
#define BOND_ARGUMENTS                                                                                                              \
    int tile_begin, int tile_end, int begin, int end, int tile_size, int n_owned, const int *order, const Position *positions,      \
        double scale, int padding_index, const int *neighbors, int stride, const int *segments, int n_types, int option,            \
        double outside, const REAL *rows, const REAL *reach_squared, REAL *real_scratch, int *int_scratch, int capacity,            \
        double *energies, double *forces, double *virials
#define BOND_TABLE {n_types, (REAL)outside, rows, reach_squared}
#define ADD_BONDS(potential)                                                                                                        \
    bond_batches(potential, tile_begin, tile_end, begin, end, tile_size, n_owned, order, positions, scale, padding_index,           \
                 neighbors, stride, segments, real_scratch, int_scratch, capacity, energies, forces, virials)

// All batches of the tiles. potential.table is its TripletTable; potential.site_energies(batch) fills fx, fy, fz with
// f_ij = dU_i/dr_ij and returns U_i by lane.
template <class Potential>
DEVICE void bond_batches(const Potential& potential, int tile_begin, int tile_end, int begin, int end, int tile_size, int n_owned,
                         const int* order, const Position* positions, double scale, int padding_index, const int* neighbors,
                         int stride, const int* segments, REAL* real_scratch, int* int_scratch, int capacity,
                         double* energies, double* forces, double* virials)
{
    const int n_types = potential.table.n_types;
    BondColumns batch = bond_columns(real_scratch + (size_t)GROUP_IN_GRID() * bond_reals(capacity),
                                     int_scratch + (size_t)GROUP_IN_GRID() * bond_integers(capacity), capacity);
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
                collect_bonds(potential.table, batch, batch.n_atoms, positions, scale, neighbors + (size_t)i * stride,
                              segments + (size_t)i * (n_types + 1));
                ++batch.n_atoms;
            }
            if (batch.n_slots == 0) continue;
            pad_bonds(potential.table, batch, padding_index);
            bond_directions(batch);
            scatter_bonds(batch, potential.site_energies(batch), energies, forces, virials);
        }
    }
}
