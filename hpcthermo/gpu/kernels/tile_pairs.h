// Pairs seen from both sides, by tiles of close atoms that share a list (neighbors.Tiles).
//
// A pair energy phi(r_ij) gives U_i = 1/2 sum_j phi, F_i = sum_j phi' r_ij / r_ij, W_i = -1/2 sum_j phi' r_ij (x) r_ij / r_ij,
// r_ij = r_j - r_i. Each pair is seen from both sides, also where j is a ghost: its owner sees it too. So every atom gets
// its whole force and half of each pair virial here, and nothing is scattered (pair_sums.h).
#pragma once
#include "pair_sums.h"

#define TILE_ATOMS 4  // neighbors.TILE_ATOMS

// pairs of the lanes `inside`: phi and phi'/r
DEVICE void add_pair(PairSums& sums, lane_mask inside, const lanes (&r)[3], lanes energy, lanes slope_over_r)
{
    sums.energy += select(inside, energy, broadcast(0));
    const lanes slope = select(inside, slope_over_r, broadcast(0));
    int ab = 0;
    for (int a = 0; a < 3; ++a) {
        const lanes force = slope * r[a];
        sums.force[a] += force;
        for (int b = a; b < 3; ++b) sums.virial[ab++] += force * r[b];
    }
}

// Whether any atom of a tile is in [begin, end). Places of a tile that are not needed repeat its first atom.
DEVICE bool tile_in_range(const int* member, int begin, int end)
{
    bool wanted = false;
    for (int m = 0; m < TILE_ATOMS; ++m) wanted = wanted || (member[m] >= begin && member[m] < end);
    return wanted;
}
// whether place m of a tile is an atom of [begin, end) and no repetition
DEVICE bool place_in_range(const int* member, int m, int begin, int end)
{
    return member[m] >= begin && member[m] < end && (m == 0 || member[m] != member[0]);
}

// where the neighbours of a tile stand from its first atom
DEVICE void collect_positions(const Position* packed, double scale, const Position& first, const int* row, int slots,
                              REAL* x, REAL* y, REAL* z)
{
    for (int slot = 0; slot < slots; slot += LANES) {
        lanes r[3];
        load_displacements(packed, row + slot, first, scale, r[0], r[1], r[2]);
        store(x + slot, r[0]);
        store(y + slot, r[1]);
        store(z + slot, r[2]);
    }
    GROUP_SYNC();
}
