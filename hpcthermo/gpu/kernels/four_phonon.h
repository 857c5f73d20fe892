// Energy conservation of processes of four phonons, with their strengths (transport/bte/four_phonon.py).
//
//   A_c = S sum_{signs of channel c} d(f0 + s1 f1 + s2 f2 + s3 f3; w)        d(x; w) = norm exp(-x^2 / 2 w) / sqrt(w)
//
//   symbol   is
//   S        strength of bands 2, 3 and of the own pair (bands 1, 0)
//   w        variance of the process, the sum of those of its modes; d = 0 where x^2 >= reach^2 w
//   c        0: all partners made, 1: one absorbed (three ways), 2: two absorbed (three ways)
//
// A row is one pair (q2, q3) with bands 2 and 3; lanes are own pairs (f0 + f1, f0 - f1, w0 + w1), of which each q1 has a
// table. Tables and strengths are padded to whole lanes; frequencies of padding are out of reach.
#include "portable.h"

DEVICE lanes bell(lanes offset, lanes reach_square, lanes exponent)
{
    const lanes square = offset * offset;
    const lane_mask near = square < reach_square;
    if (!any_lane(near)) return broadcast(0);
    return select(near, exp_lanes(square * exponent), broadcast(0));
}

KERNEL(conserve)(int begin, int end, int n_bands, const int* first, const int* second, const int* third,
                 const REAL* frequencies, const REAL* variances, int n_own, const REAL* own, double reach, double norm,
                 const REAL* strengths, int n_rows, REAL* amounts)
{
    FOR_EACH_GROUP(row, begin, end)
    {
        const int pair = row / (n_bands * n_bands), bands = row - pair * n_bands * n_bands;
        const int64_t mode2 = (int64_t)second[pair] * n_bands + bands / n_bands;
        const int64_t mode3 = (int64_t)third[pair] * n_bands + bands % n_bands;
        const REAL sum = frequencies[mode2] + frequencies[mode3], difference = frequencies[mode2] - frequencies[mode3];
        const REAL variance = variances[mode2] + variances[mode3];
        const REAL* table = own + (int64_t)first[pair] * 3 * n_own;
        const int64_t place = (int64_t)row * n_own, channel = (int64_t)n_rows * n_own;
        for (int k = 0; k < n_own; k += LANES) {
            const lanes plus = load(table + k), minus = load(table + n_own + k);
            const lanes w = variance + load(table + 2 * n_own + k);
            const lanes reach_square = (REAL)(reach * reach) * w, exponent = (REAL)-0.5 / w;
            const lanes scale = load(strengths + place + k) * ((REAL)norm / sqrt_lanes(w));
            const lanes split = bell(minus - sum, reach_square, exponent);
            const lanes redistribute = bell(plus - sum, reach_square, exponent)
                + bell(minus + difference, reach_square, exponent) + bell(minus - difference, reach_square, exponent);
            const lanes combine = bell(plus + difference, reach_square, exponent)
                + bell(plus - difference, reach_square, exponent) + bell(minus + sum, reach_square, exponent);
            store(amounts + place + k, scale * split);
            store(amounts + channel + place + k, scale * redistribute);
            store(amounts + 2 * channel + place + k, scale * combine);
        }
    }
}
