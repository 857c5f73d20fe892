// Sums of one atom over pairs that are seen from both sides, so that nothing is scattered.
//
// The atom gets its whole force F_i and its neighbour-centred virial W_i. The virial of the force rows then lacks
// sum_i W_i - r_i (x) F_i, which goes to total_virial (base.py).
#pragma once
#include "portable.h"

#define TOTAL_VIRIAL_ROWS 32  // of ForceArrays.total_virial

// energy = 2 U_i, force = F_i, virial = -2 W_i: xx, xy, xz, yy, yz, zz
struct PairSums { lanes energy, force[3], virial[6]; };

DEVICE PairSums no_pairs()
{
    PairSums sums;
    sums.energy = broadcast(0);
    for (int a = 0; a < 3; ++a) sums.force[a] = broadcast(0);
    for (int ab = 0; ab < 6; ++ab) sums.virial[ab] = broadcast(0);
    return sums;
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
