// Lennard-Jones by type pair, truncated at r_c, shifted so that phi(r_c) = 0 (or not).
//
//   U_i = 1/2 sum_j phi(r_ij),   phi(r) = 4 epsilon [(sigma/r)^12 - (sigma/r)^6] - shift,   r_ij < r_c
//
// The pair is seen from both sides. If both atoms are owned, each side adds the whole pair force to its own
// atom and half the pair virial, and nothing is scattered. If j is a ghost, this side adds half and sends half
// to the ghost's row, as base.py has it; the other half comes from the owner's side.
#include "portable.h"

enum LennardJonesParameter { SIGMA_SQUARED, FOUR_EPSILON, SHIFT, CUTOFF_SQUARED, LENNARD_JONES_ROW };

struct PairSums { lanes energy, force[3], virial[9]; };

// phi and phi'/r
DEVICE void lennard_jones_pair(const REAL* p, lanes square, lanes& energy, lanes& slope_over_r)
{
    const lanes inverse = (REAL)1 / square, s2 = p[SIGMA_SQUARED] * inverse, s6 = s2 * s2 * s2, e6 = p[FOUR_EPSILON] * s6;
    energy = e6 * (s6 - (REAL)1) - p[SHIFT];
    slope_over_r = e6 * ((REAL)6 - (REAL)12 * s6) * inverse;
}

// positions rows in [n_owned, padding_index] are ghosts or padding; rows: parameters by [type of i][type of j]
KERNEL(lennard_jones)(int begin, int end, const Position* positions, double scale, int n_owned, const int* neighbors, int stride,
                      const int* segments, int n_types, const REAL* rows, double* energies, double* forces, double* virials)
{
    FOR_EACH_GROUP(i, begin, end)
    {
        const Position centre = positions[i];
        const int* row = neighbors + (size_t)i * stride;
        const int* segment = segments + (size_t)i * (n_types + 1);
        PairSums sums;
        sums.energy = broadcast(0);
        for (int a = 0; a < 3; ++a) sums.force[a] = broadcast(0);
        for (int ab = 0; ab < 9; ++ab) sums.virial[ab] = broadcast(0);
        for (int tj = 0; tj < n_types; ++tj) {
            const REAL* p = rows + (type_of(centre) * n_types + tj) * LENNARD_JONES_ROW;
            for (int slot = segment[tj]; slot < segment[tj + 1]; slot += LANES) {
                lanes r[3], energy, slope;
                load_displacements(positions, row + slot, centre, scale, r[0], r[1], r[2]);
                const lanes square = r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
                const lane_mask inside = square < p[CUTOFF_SQUARED];
                if (!any_lane(inside)) continue;
                lennard_jones_pair(p, square, energy, slope);
                sums.energy += select(inside, energy, broadcast(0));
                const lanes half = select(inside, (REAL)0.5 * slope, broadcast(0));
                const lane_mask ghost = at_least(row + slot, n_owned);
                const lanes own = select(ghost, half, half + half), shared = select(ghost, half, broadcast(0));
                for (int a = 0; a < 3; ++a) sums.force[a] += own * r[a];
                if (any_lane(ghost & inside)) scatter_force(forces, row + slot, shared * r[0], shared * r[1], shared * r[2]);
                if (!virials) continue;
                // half of the pair virial belongs to each end; the ghost's half goes to its row
                if (any_lane(ghost & inside))
                    scatter_virial(virials, row + slot, r[0], r[1], r[2], shared * r[0], shared * r[1], shared * r[2]);
                const lanes mine = half - shared;
                for (int ab = 0; ab < 9; ++ab) sums.virial[ab] -= mine * r[ab / 3] * r[ab % 3];
            }
        }
        const REAL energy = reduce_add(sums.energy);
        ONE_LANE energies[i] += 0.5 * (double)energy;
        for (int a = 0; a < 3; ++a) {
            const REAL sum = reduce_add(sums.force[a]);
            ONE_LANE atomic_add(forces + 4 * (size_t)i + a, (double)sum);
        }
        if (!virials) continue;
        for (int ab = 0; ab < 9; ++ab) {
            const REAL sum = reduce_add(sums.virial[ab]);
            ONE_LANE atomic_add(virials + 12 * (size_t)i + 4 * (ab / 3) + ab % 3, (double)sum);
        }
    }
}
