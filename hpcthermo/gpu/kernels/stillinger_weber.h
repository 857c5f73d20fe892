// Stillinger-Weber potential, any number of elements (Stillinger and Weber, PRB 31, 5262 (1985)).
//
//   U_i = 1/2 sum_j phi_2(r_ij) + sum_{j < k} lambda epsilon_ijk (cos theta_jik - cos theta_0)^2 w(r_ij) w(r_ik)
//   phi_2(r) = A epsilon [B (sigma/r)^p - (sigma/r)^q] exp[sigma / (r - a sigma)],   w(r) = exp[gamma sigma / (r - a sigma)]
//
// The sum over j < k runs over the pairs of bonds of i: a three-body term belongs to the site energy of its centre, a
// two-body term by halves to both ends. Row (i, j, j) of the parameters serves the bond ij, row (i, j, k) the strength
// lambda epsilon and the angle of a pair of bonds. Bonds reach to where the exponentials are rounding errors
// (potentials/stillinger_weber.py), a little less than a sigma.
#include "bond_columns.h"

// one row of parameters (potentials/stillinger_weber.py, parameter_rows)
enum StillingerWeberParameter {
    HALF_DEPTH, B, P, Q, SIGMA, GAMMA_SIGMA,  // A epsilon / 2
    END, REACH,                               // a sigma, and where bonds end before it
    STRENGTH, COSINE,                         // lambda epsilon, cos theta_0
    STILLINGER_WEBER_ROW
};

enum StillingerWeberColumn { WEIGHT, WEIGHT_SLOPE };  // of BondColumns.own: w and dw/dr

DEVICE lanes power(lanes base, lanes exponent) { return exp_lanes(exponent * log_lanes(base)); }

struct StillingerWeber {
    TripletTable table;
    int usual_powers;  // p = 4 and q = 0 everywhere

    // two-body terms: energy and forces; w and dw/dr
    MEMBER lanes add_pairs(BondColumns& batch) const
    {
        lanes energy = broadcast(0);
        for (int slot = 0; slot < batch.n_slots; ++slot) {
            const int at = slot * LANES;
            const TripletRow p = triplet<STILLINGER_WEBER_ROW>(table, batch, slot, slot, 0);
            const lanes r = load(batch.r + at), inverse_r = load(batch.inverse_r + at), sigma = p[SIGMA];
            const lane_mask inside = r < p[REACH];
            const lanes inverse_gap = (REAL)1 / select(inside, r - p[END], broadcast(-1));
            const lanes decay = select(inside, exp_lanes(sigma * inverse_gap), broadcast(0));
            const lanes s = sigma * inverse_r;
            lanes repulsion, attraction, repulsion_slope, attraction_slope;  // of the bracket; slopes are -r d/dr
            if (usual_powers) {
                const lanes square = s * s;
                repulsion = p[B] * square * square;
                repulsion_slope = (REAL)4 * repulsion;
                attraction = broadcast(1);
                attraction_slope = broadcast(0);
            } else {
                const lanes exponent = p[P], second = p[Q];
                repulsion = p[B] * power(s, exponent);
                repulsion_slope = exponent * repulsion;
                attraction = power(s, second);
                attraction_slope = second * attraction;
            }
            const lanes depth = p[HALF_DEPTH] * decay, value = depth * (repulsion - attraction), rate = inverse_gap * inverse_gap;
            const lanes radial = -depth * (repulsion_slope - attraction_slope) * inverse_r - value * sigma * rate;
            energy += value;
            store(batch.fx + at, radial * load(batch.ux + at));
            store(batch.fy + at, radial * load(batch.uy + at));
            store(batch.fz + at, radial * load(batch.uz + at));

            const lanes gamma_sigma = p[GAMMA_SIGMA];
            const lanes weight = select(inside, exp_lanes(gamma_sigma * inverse_gap), broadcast(0));
            store(batch.own[WEIGHT] + at, weight);
            store(batch.own[WEIGHT_SLOPE] + at, -gamma_sigma * rate * weight);
        }
        return energy;
    }

    // three-body terms; what belongs to the first bond of a pair stays in registers
    MEMBER lanes add_angles(BondColumns& batch) const
    {
        lanes energy = broadcast(0);
        for (int slot_a = 0; slot_a < batch.n_slots; ++slot_a) {
            const int a = slot_a * LANES;
            const lanes ax = load(batch.ux + a), ay = load(batch.uy + a), az = load(batch.uz + a), inverse_a = load(batch.inverse_r + a);
            const lanes weight_a = load(batch.own[WEIGHT] + a), slope_a = load(batch.own[WEIGHT_SLOPE] + a);
            lanes fx = load(batch.fx + a), fy = load(batch.fy + a), fz = load(batch.fz + a);
            for (int slot_b = slot_a + 1; slot_b < batch.n_slots; ++slot_b) {
                const int b = slot_b * LANES;
                const TripletRow p = triplet<STILLINGER_WEBER_ROW>(table, batch, slot_a, slot_b, 0);
                const lanes bx = load(batch.ux + b), by = load(batch.uy + b), bz = load(batch.uz + b);
                const lanes weight_b = load(batch.own[WEIGHT] + b), slope_b = load(batch.own[WEIGHT_SLOPE] + b);
                const lanes cosine = ax * bx + ay * by + az * bz, x = cosine - p[COSINE], strength = p[STRENGTH] * x;
                const lanes square = strength * x, both = weight_a * weight_b;
                energy += square * both;
                // d/dcos, and along each bond what remains once the turn of the other is taken out
                const lanes across = (REAL)2 * strength * both;
                const lanes turn_a = across * inverse_a, turn_b = across * load(batch.inverse_r + b);
                const lanes along_a = square * slope_a * weight_b - cosine * turn_a, along_b = square * weight_a * slope_b - cosine * turn_b;
                fx += along_a * ax + turn_a * bx;
                fy += along_a * ay + turn_a * by;
                fz += along_a * az + turn_a * bz;
                store(batch.fx + b, load(batch.fx + b) + along_b * bx + turn_b * ax);
                store(batch.fy + b, load(batch.fy + b) + along_b * by + turn_b * ay);
                store(batch.fz + b, load(batch.fz + b) + along_b * bz + turn_b * az);
            }
            store(batch.fx + a, fx);
            store(batch.fy + a, fy);
            store(batch.fz + a, fz);
        }
        return energy;
    }

    MEMBER lanes site_energies(BondColumns& batch) const
    {
        const lanes pairs = add_pairs(batch);
        return pairs + add_angles(batch);
    }
};

KERNEL(stillinger_weber)(BOND_ARGUMENTS)
{
    const StillingerWeber potential = {BOND_TABLE, option};
    ADD_BONDS(potential);
}
