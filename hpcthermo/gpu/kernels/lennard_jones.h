// Lennard-Jones by type pair, truncated at r_c, shifted so that phi(r_c) = 0 (or not).
//
//   U_i = 1/2 sum_j phi(r_ij),   phi(r) = 4 epsilon [(sigma/r)^12 - (sigma/r)^6] - shift,   r_ij < r_c
//
// Atoms work in tiles of close ones that share a list: the positions of their neighbours are collected once.
#include "tile_pairs.h"

enum LennardJonesParameter { SIGMA_SQUARED, FOUR_EPSILON, SHIFT, CUTOFF_SQUARED, LENNARD_JONES_ROW };

// phi and phi'/r
DEVICE void lennard_jones_pair(const REAL* p, lanes square, lanes& energy, lanes& slope_over_r)
{
    const lanes inverse = (REAL)1 / square, s2 = p[SIGMA_SQUARED] * inverse, s6 = s2 * s2 * s2, e6 = p[FOUR_EPSILON] * s6;
    energy = e6 * (s6 - (REAL)1) - p[SHIFT];
    slope_over_r = e6 * ((REAL)6 - (REAL)12 * s6) * inverse;
}

// Pairs of one atom with the slots [begin, end) of its tile's row, all of one type. x, y, z: their positions from where
// the atom is at `from`. self: the atom's number if it may be among them, or -1.
DEVICE void add_pairs(PairSums& sums, const REAL* p, const int* row, int begin, int end, const REAL* x, const REAL* y, const REAL* z,
                      const REAL* from, int self)
{
    for (int slot = begin; slot < end; slot += LANES) {
        const lanes r[3] = {load(x + slot) - from[0], load(y + slot) - from[1], load(z + slot) - from[2]};
        const lanes square = r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
        lane_mask inside = square < p[CUTOFF_SQUARED];
        if (self >= 0) inside = inside & differs(row + slot, self);
        lanes energy, slope;
        lennard_jones_pair(p, square, energy, slope);
        add_pair(sums, inside, r, energy, slope);
    }
}

// Tiles [tile_begin, tile_end), of their atoms those in [begin, end). members: TILE_ATOMS atoms by tile, places that are
// not needed repeat the first. lists_members: whether a tile's row contains its own atoms.
// rows: parameters by [type of i][type of j]; scratch: 3 stride numbers for each group.
KERNEL(lennard_jones)(int tile_begin, int tile_end, int begin, int end, const int* members, int lists_members,
                      const Position* packed, double scale, const double* positions, const int* neighbors, int stride,
                      const int* segments, int n_types, const REAL* rows, REAL* scratch,
                      double* energies, double* forces, double* virials, double* total_virial)
{
    REAL *x = scratch + (size_t)GROUP_IN_GRID() * 3 * stride, *y = x + stride, *z = y + stride;
    FOR_EACH_GROUP(tile, tile_begin, tile_end)
    {
        const int* member = members + (size_t)tile * TILE_ATOMS;
        const int* row = neighbors + (size_t)tile * stride;
        const int* segment = segments + (size_t)tile * (n_types + 1);
        const Position first = packed[member[0]];
        if (!tile_in_range(member, begin, end)) continue;
        collect_positions(packed, scale, first, row, segment[n_types], x, y, z);
        for (int m = 0; m < TILE_ATOMS; ++m) {
            if (!place_in_range(member, m, begin, end)) continue;
            const int i = member[m];
            const Position centre = packed[i];
            REAL from[3];
            displacement(first, centre, scale, from);
            PairSums sums = no_pairs();
            for (int tj = 0; tj < n_types; ++tj)
                add_pairs(sums, rows + (type_of(centre) * n_types + tj) * LENNARD_JONES_ROW, row, segment[tj], segment[tj + 1],
                          x, y, z, from, lists_members ? i : -1);
            put_sums(sums, i, positions + 3 * (size_t)i, energies, forces, virials, total_virial);
        }
        GROUP_SYNC();
    }
}
