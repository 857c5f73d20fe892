// Lennard-Jones by type pair, truncated at r_c, shifted so that phi(r_c) = 0 (or not).
//
//   U_i = 1/2 sum_j phi(r_ij),   phi(r) = 4 epsilon [(sigma/r)^12 - (sigma/r)^6] - shift,   r_ij < r_c
//   F_i = sum_j phi'(r_ij) r_ij / r_ij,   W_i = -1/2 sum_j phi'(r_ij) r_ij (x) r_ij / r_ij,   r_ij = r_j - r_i
//
// Each pair is seen from both sides, also where j is a ghost: its owner sees it too. So every atom gets its whole
// force and half of each pair virial here, and nothing is scattered. The virial of the force rows then lacks
// sum_i W_i - r_i (x) F_i, which goes to total_virial (base.py).
#include "portable.h"

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

// rows: parameters by [type of i][type of j]
KERNEL(lennard_jones)(int begin, int end, const Position* packed, double scale, const double* positions,
                      const int* neighbors, int stride, const int* segments, int n_types, const REAL* rows,
                      double* energies, double* forces, double* virials, double* total_virial)
{
    FOR_EACH_GROUP(i, begin, end)
    {
        const Position centre = packed[i];
        const int* row = neighbors + (size_t)i * stride;
        const int* segment = segments + (size_t)i * (n_types + 1);
        PairSums sums;
        sums.energy = broadcast(0);
        for (int a = 0; a < 3; ++a) sums.force[a] = broadcast(0);
        for (int ab = 0; ab < 6; ++ab) sums.virial[ab] = broadcast(0);
        for (int tj = 0; tj < n_types; ++tj) {
            const REAL* p = rows + (type_of(centre) * n_types + tj) * LENNARD_JONES_ROW;
            for (int slot = segment[tj]; slot < segment[tj + 1]; slot += LANES) {
                lanes r[3], energy, slope;
                load_displacements(packed, row + slot, centre, scale, r[0], r[1], r[2]);
                const lanes square = r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
                const lane_mask inside = square < p[CUTOFF_SQUARED];
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
        const REAL energy = reduce_add(sums.energy);
        ONE_LANE energies[i] += 0.5 * (double)energy;
        double force[3], virial[9];
        for (int a = 0; a < 3; ++a) force[a] = (double)reduce_add(sums.force[a]);
        int ab = 0;
        for (int a = 0; a < 3; ++a)
            for (int b = a; b < 3; ++b) virial[3 * a + b] = virial[3 * b + a] = -0.5 * (double)reduce_add(sums.virial[ab++]);
        ONE_LANE
        {
            double* total = total_virial + 9 * (i % TOTAL_VIRIAL_ROWS);
            for (int a = 0; a < 3; ++a) {
                atomic_add(forces + 4 * (size_t)i + a, force[a]);
                for (int b = 0; b < 3; ++b) {
                    if (total_virial) atomic_add(total + 3 * a + b, virial[3 * a + b] - positions[3 * (size_t)i + a] * force[b]);
                    if (virials) atomic_add(virials + 12 * (size_t)i + 4 * a + b, virial[3 * a + b]);
                }
            }
        }
    }
}
