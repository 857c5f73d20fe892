// Lennard-Jones by type pair, truncated at r_c, shifted so that phi(r_c) = 0 (or not).
//
//   U_i = 1/2 sum_j phi(r_ij),   phi(r) = 4 epsilon [(sigma/r)^12 - (sigma/r)^6] - shift,   r_ij < r_c
//   F_i = sum_j phi'(r_ij) r_ij / r_ij,   W_i = -1/2 sum_j phi'(r_ij) r_ij (x) r_ij / r_ij,   r_ij = r_j - r_i
//
// Each pair is seen from both sides, also where j is a ghost: its owner sees it too. So every atom gets its whole
// force and half of each pair virial here, and nothing is scattered. The virial of the force rows then lacks
// sum_i W_i - r_i (x) F_i, which goes to total_virial (base.py).
//
// Atoms work in tiles of close ones that share a list: the positions of their neighbours are collected once.
#include "portable.h"

#define TILE_ATOMS 4          // neighbors.TILE_ATOMS
#define TOTAL_VIRIAL_ROWS 32  // of ForceArrays.total_virial

enum LennardJonesParameter { SIGMA_SQUARED, FOUR_EPSILON, SHIFT, CUTOFF_SQUARED, LENNARD_JONES_ROW };

// virial: xx, xy, xz, yy, yz, zz
struct PairSums { lanes energy, force[3], virial[6]; };

// phi and phi'/r
DEVICE void lennard_jones_pair(const REAL* p, lanes square, lanes& energy, lanes& slope_over_r)
{
    const lanes inverse = (REAL)1 / square, s2 = p[SIGMA_SQUARED] * inverse, s6 = s2 * s2 * s2, e6 = p[FOUR_EPSILON] * s6;
    energy = e6 * (s6 - (REAL)1) - p[SHIFT];
    slope_over_r = e6 * ((REAL)6 - (REAL)12 * s6) * inverse;
}

DEVICE PairSums no_pairs()
{
    PairSums sums;
    sums.energy = broadcast(0);
    for (int a = 0; a < 3; ++a) sums.force[a] = broadcast(0);
    for (int ab = 0; ab < 6; ++ab) sums.virial[ab] = broadcast(0);
    return sums;
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
        sums.energy += select(inside, energy, broadcast(0));
        slope = select(inside, slope, broadcast(0));
        int ab = 0;
        for (int a = 0; a < 3; ++a) {
            const lanes force = slope * r[a];
            sums.force[a] += force;
            for (int b = a; b < 3; ++b) sums.virial[ab++] += force * r[b];
        }
    }
}

DEVICE void put_sums(const PairSums& sums, int i, const double* position, double* energies, double* forces, double* virials,
                     double* total_virial)
{
    const REAL energy = reduce_add(sums.energy);
    double force[3], virial[9];
    for (int a = 0; a < 3; ++a) force[a] = (double)reduce_add(sums.force[a]);
    int ab = 0;
    for (int a = 0; a < 3; ++a)
        for (int b = a; b < 3; ++b) virial[3 * a + b] = virial[3 * b + a] = -0.5 * (double)reduce_add(sums.virial[ab++]);
    ONE_LANE
    {
        energies[i] += 0.5 * (double)energy;
        double* total = total_virial + 9 * (i % TOTAL_VIRIAL_ROWS);
        for (int a = 0; a < 3; ++a) {
            atomic_add(forces + 4 * (size_t)i + a, force[a]);
            for (int b = 0; b < 3; ++b) {
                if (total_virial) atomic_add(total + 3 * a + b, virial[3 * a + b] - position[a] * force[b]);
                if (virials) atomic_add(virials + 12 * (size_t)i + 4 * a + b, virial[3 * a + b]);
            }
        }
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
        bool wanted = false;
        for (int m = 0; m < TILE_ATOMS; ++m) wanted = wanted || (member[m] >= begin && member[m] < end);
        if (!wanted) continue;
        for (int slot = 0; slot < segment[n_types]; slot += LANES) {
            lanes r[3];
            load_displacements(packed, row + slot, first, scale, r[0], r[1], r[2]);
            store(x + slot, r[0]);
            store(y + slot, r[1]);
            store(z + slot, r[2]);
        }
        GROUP_SYNC();
        for (int m = 0; m < TILE_ATOMS; ++m) {
            const int i = member[m];
            if (i < begin || i >= end || (m > 0 && i == member[0])) continue;
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
