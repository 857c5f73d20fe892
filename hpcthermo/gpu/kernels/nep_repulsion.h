// Short-range repulsion of NEP (Ziegler, Biersack, Littmark), one pair.
#pragma once
#include "chebyshev.h"

// Half of E(r) = (k Zi Zj / r) phi(r/a) w(r), the centre's share; w falls from 1 at r1 to 0 at r2 like f_c.
// p: k Zi Zj, 1/a, r1, r2, then four (amplitude, exponent) of phi. Returns the energy; slope = its derivative.
DEVICE lanes repulsion_pair(const REAL* p, const REAL* cutoff_polynomial, lanes r, lanes inverse, lanes& slope)
{
    lanes phi = broadcast(0), phi_slope = broadcast(0);
    UNROLL for (int k = 0; k < 4; ++k) {
        const lanes term = p[4 + 2 * k] * exp_lanes(-p[5 + 2 * k] * p[1] * r);
        phi += term;
        phi_slope -= p[5 + 2 * k] * p[1] * term;
    }
    const REAL inverse_width = (REAL)1 / (p[3] - p[2]);
    lanes s = (p[3] - r) * inverse_width;
    s = select(s > (REAL)0, s, broadcast(0));
    s = select(s < (REAL)1, s, broadcast(1));
    lanes w_slope;
    const lanes w = cutoff_function(cutoff_polynomial, s * s, w_slope);
    const lanes inside = select(s < (REAL)1, broadcast(1), broadcast(0));
    const lanes w_dr = (REAL)-2 * s * w_slope * inside * inverse_width;
    const lanes bare = (REAL)0.5 * p[0] * inverse * phi;
    const lanes bare_dr = (REAL)0.5 * p[0] * inverse * phi_slope - bare * inverse;
    slope = bare_dr * w + bare * w_dr;
    return bare * w;
}
