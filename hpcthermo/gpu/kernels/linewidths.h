// Linewidths from strengths: energy-conservation weights and deposits of three-phonon processes.
//
// A group takes one triplet (q0, q1, q2) and looks at it from each leg that has a deposit. From leg 0, say, a mode a of q0
// meets modes b of q1 and c of q2 in three kinds of processes,
//
//   kind   delta          occupation         from
//   0      f - f1 - f2    n1 + n2 + 1        decay into b and c
//   1      f + f1 - f2    n1 - n2            absorption of b
//   2      f - f1 + f2    n2 - n1            absorption of c
//
// First cheap bounds find the candidates (leg, kind, a, b, c), then a lane takes one candidate each and finds its weight g.
// Amounts p = (strength)(g) are summed without occupations,
//
//   X_ab = sum_c p (0: +, 1: +, 2: -)     Y_ac = sum_b p (0: +, 1: -, 2: +)     Z_a = sum_bc p (0: +)
//   gamma_a(T) += m (Z_a + sum_b n_b(T) X_ab + sum_c n_c(T) Y_ac)
//
// so that a further temperature costs 2 B^2 multiply-adds per leg. On request the processes themselves are listed.
//
//   symbol     is
//   row        16 frequencies round a point (transport/bte/tetrahedron.py), relative to the point's own
//   low, high  bounds of a partner's frequency round its point; low > high where a mode takes no part
//   from, to   bounds of the first mode's frequency: itself, or with the width of a Gaussian; out of reach where it takes
//              no part
#include "portable.h"

#define PLACES 16
// candidates that a group holds before it weighs them
#define CAPACITY 1024
#define WEIGH_FROM (CAPACITY - 4 * LANES)
#define CACHE_LINE 64
#define PREFETCHED_BYTES 4096
// temperatures come in whole blocks
#define TEMPERATURES_TOGETHER 4
// head of a candidate: leg, kind, a, b; up to 4096 bands
#define HEAD(leg, kind, a, b) (((leg) << 26) | ((kind) << 24) | ((a) << 12) | (b))
#define LEG_OF(head) ((head) >> 26)
#define KIND_OF(head) ((head) >> 24 & 3)
#define A_OF(head) ((head) >> 12 & 4095)
#define B_OF(head) ((head) & 4095)

struct Energies
{
    int n_bands, n_points, n_cuts, stride;  // stride: bands padded to whole lanes
    const double *frequencies, *widths;     // (N, B), THz; widths of Gaussians or null
    const REAL *rows;                       // (cuts, N, B, PLACES)
    const REAL *low, *high;                 // (N, stride)
    const REAL *from, *to;                  // (N, B)
    double reach, norm;                     // Gaussians: cutoff in widths; 1 / (sqrt(2 pi) integral)
};

// Share of the vertex with value x0 <= 0 in delta(values), for the other values u, v, w: a cubic B-spline with knots
// x0, x0, p, q, r (p <= q <= r) at 0. In each case all terms have one sign and no difference of close numbers occurs.
DEVICE lanes vertex_share(lanes x0, lanes u, lanes v, lanes w)
{
    const lanes small = minimum(u, v), large = maximum(u, v), rest = minimum(large, w);
    const lanes p = minimum(small, rest), q = maximum(small, rest), r = maximum(large, w);
    const lanes r0 = r - x0, q0 = q - x0, p0 = p - x0, rp = r - p;
    // r above: r^3 / (r0^2 rp rq)
    lanes above = r * r * r, below = r0 * r0 * rp * (r - q);
    // q and r above
    const lanes qp = q - p, q0r0 = q0 * r0, t = q * r0;
    const lane_mask two = q > (REAL)0;
    above = select(two, -(x0 * r * qp) * (t + r * q0) - p * t * t, above);
    below = select(two, rp * qp * q0r0 * q0r0, below);
    // p, q and r above
    const lane_mask three = p > (REAL)0;
    const lanes product = p0 * q0r0;
    above = select(three, x0 * x0 * ((REAL)3 * product + x0 * (q0r0 + p0 * (q0 + r0))), above);
    below = select(three, product * product, below);
    return select(r > (REAL)0, above / maximum(below, broadcast((REAL)1e-36)), broadcast(0));
}

// the other vertices of the 24 tetrahedra, as places of a row: paths 0, e_i, e_i + e_j, e_1 + e_2 + e_3 seen from each of
// their points; every path and its reverse
#define SEEN_FROM_ITS_POINTS(i, ij)                                                                    \
    share += vertex_share(centre, value[i], value[ij], value[7]);                                      \
    share += vertex_share(centre, value[8 + (i)], value[(ij) - (i)], value[7 - (i)]);                  \
    share += vertex_share(centre, value[8 + (ij)], value[8 + (ij) - (i)], value[7 - (ij)]);            \
    share += vertex_share(centre, value[15], value[8 + 7 - (i)], value[8 + 7 - (ij)]);

DEVICE lanes tetrahedron_weight(const Energies& energies, const int* row1, const int* row2, lanes sign, lanes offset)
{
    lanes weight = broadcast(0);
    for (int cut = 0; cut < energies.n_cuts; ++cut) {
        const REAL* rows = energies.rows + (int64_t)cut * energies.n_points * energies.n_bands * PLACES;
        lanes value[PLACES], other[PLACES];
        gather_rows(rows, row1, value);
        gather_rows(rows, row2, other);
        // all below or at the target, so that the point itself is below
        const lanes mirror = select(offset > (REAL)0, broadcast(-1), broadcast(1));
        const lanes centre = mirror * offset;
        // row 2 is read at negative places
        UNROLL for (int v = 0; v < PLACES; ++v) value[v] = mirror * (sign * value[v] + other[v ^ 8] + offset);
        lanes share = broadcast(0);
        SEEN_FROM_ITS_POINTS(1, 3)
        SEEN_FROM_ITS_POINTS(1, 5)
        SEEN_FROM_ITS_POINTS(2, 3)
        SEEN_FROM_ITS_POINTS(2, 6)
        SEEN_FROM_ITS_POINTS(4, 5)
        SEEN_FROM_ITS_POINTS(4, 6)
        weight += share;
    }
    return weight * (REAL)(1.0 / (6 * energies.n_cuts));
}

DEVICE lanes gaussian_weight(const Energies& energies, lanes offset, lanes width)
{
    const lanes x = offset / width;
    const lanes g = exp_lanes((REAL)-0.5 * x * x) * (REAL)energies.norm / width;
    return select(x * x < (REAL)(energies.reach * energies.reach), g, broadcast(0));
}

// What of a triplet is being summed.
struct Sums
{
    const double* strength;  // (B, B, B) of legs 0, 1, 2
    double* amounts;         // for each leg X (B, B), Y (B, B), Z (B)
    const double* multiplicity;
    int step[5];             // from band to band of a leg, in the order of the legs and on
    int triplet, room;       // room for listed processes
    int *n_listed, *listed_legs;
    unsigned* listed_modes;
    double* listed_amounts;
};

// Weigh candidates [0, count); heads and thirds have LANES of slack.
DEVICE void weigh(const Energies& energies, const Sums& sums, const int* points, int* heads, int* thirds, int count,
                  int* scratch_rows, REAL* scratch)
{
    const int n_bands = energies.n_bands;
    const double partner_sign[3] = {1, -1, -1}, own_sign[3] = {1, 1, -1};
    for (int start = 0; start < count; start += LANES) {
        GROUP_SYNC();
        int *row1 = scratch_rows, *row2 = scratch_rows + LANES, *place = scratch_rows + 2 * LANES;
        REAL *sign = scratch, *offset = scratch + LANES, *width = scratch + 2 * LANES, *weight = scratch + 3 * LANES;
        FOR_LANE_ELEMENTS(l, LANES)
        {
            // idle lanes repeat the last candidate
            const int k = start + l < count ? start + l : count - 1, head = heads[k];
            const int leg = LEG_OF(head), kind = KIND_OF(head), a = A_OF(head), b = B_OF(head);
            const int mode0 = points[leg] * n_bands + a, mode1 = points[leg + 1] * n_bands + b;
            const int mode2 = points[leg + 2] * n_bands + thirds[k];
            sign[l] = (REAL)partner_sign[kind];
            offset[l] = (REAL)(partner_sign[kind] * energies.frequencies[mode1] + energies.frequencies[mode2]
                               - own_sign[kind] * energies.frequencies[mode0]);
            row1[l] = mode1 * PLACES;
            row2[l] = mode2 * PLACES;
            place[l] = a * sums.step[leg] + b * sums.step[leg + 1] + thirds[k] * sums.step[leg + 2];
            prefetch(sums.strength + place[l]);
            if (energies.widths) {
                const double w0 = energies.widths[mode0], w1 = energies.widths[mode1], w2 = energies.widths[mode2];
                width[l] = (REAL)sqrt(w0 * w0 + w1 * w1 + w2 * w2);
            }
        }
        GROUP_SYNC();
        const lanes g = energies.widths ? gaussian_weight(energies, load(offset), load(width))
                                        : tetrahedron_weight(energies, row1, row2, load(sign), load(offset));
        store(weight, g);
        GROUP_SYNC();
        FOR_LANE_ELEMENTS(l, count - start < LANES ? count - start : LANES)
        {
            const int head = heads[start + l], c = thirds[start + l];
            const int leg = LEG_OF(head), kind = KIND_OF(head), a = A_OF(head), b = B_OF(head);
            const double amount = (double)weight[l] * sums.strength[place[l]];
            double *x = sums.amounts + leg * (2 * n_bands + 1) * n_bands, *y = x + n_bands * n_bands, *z = y + n_bands * n_bands;
            atomic_add(x + a * n_bands + b, kind == 2 ? -amount : amount);
            atomic_add(y + a * n_bands + c, kind == 1 ? -amount : amount);
            atomic_add(z + a, kind == 0 ? amount : 0);
            if (sums.room > 0 && amount != 0) {
                const int place = atomic_increment(sums.n_listed);
                if (place < sums.room) {
                    sums.listed_legs[place] = 3 * sums.triplet + leg;
                    sums.listed_modes[place] = (((unsigned)kind * n_bands + a) * n_bands + b) * n_bands + c;
                    sums.listed_amounts[place] = amount * sums.multiplicity[leg];
                }
            }
        }
    }
    GROUP_SYNC();
}

// Candidates seen from one leg; returns how many are waiting in heads and thirds.
DEVICE int find_candidates(const Energies& energies, const Sums& sums, const int* points, int leg,
                           const int* band_numbers, int waiting, int* heads, int* thirds, int* scratch_rows, REAL* scratch)
{
    const int n_bands = energies.n_bands, stride = energies.stride;
    const int p0 = points[leg], p1 = points[leg + 1], p2 = points[leg + 2];
    const REAL *from0 = energies.from + (int64_t)p0 * n_bands, *to0 = energies.to + (int64_t)p0 * n_bands;
    const REAL *low1 = energies.low + (int64_t)p1 * stride, *high1 = energies.high + (int64_t)p1 * stride;
    const REAL *low2 = energies.low + (int64_t)p2 * stride, *high2 = energies.high + (int64_t)p2 * stride;
    for (int b = 0; b < n_bands; ++b) {
        if (low1[b] > high1[b]) continue;
        for (int start = 0; start < n_bands; start += LANES) {
            const lanes low = load(low2 + start), high = load(high2 + start);
            const lanes sum_low = low + low1[b], sum_high = high + high1[b];
            const lanes difference_low = low - high1[b], difference_high = high - low1[b];
            for (int a = 0; a < n_bands; ++a) {
                const REAL from = from0[a], to = to0[a];
                const lane_mask in[3] = {(sum_low < to) & (sum_high > from), (difference_low < to) & (difference_high > from),
                                         (difference_low < -from) & (difference_high > -to)};
#if HPCTHERMO_GPU  // elsewhere a branch that is hard to foresee costs more
                if (!any_lane(in[0] | in[1] | in[2])) continue;
#endif
                UNROLL for (int kind = 0; kind < 3; ++kind) {
                    const lane_set kept = lane_set_of(in[kind]);
                    append(thirds + waiting, kept, band_numbers + start);
                    const int head = HEAD(leg, kind, a, b);
                    FOR_LANE_ELEMENTS(k, LANES) heads[waiting + k] = head;
                    waiting += count_lanes(kept);
                    GROUP_SYNC();
                }
                if (waiting > WEIGH_FROM) {
                    // whole lanes only; the rest waits for more
                    const int whole = waiting / LANES * LANES;
                    weigh(energies, sums, points, heads, thirds, whole, scratch_rows, scratch);
                    FOR_LANE_ELEMENTS(k, waiting - whole)
                    {
                        heads[k] = heads[whole + k];
                        thirds[k] = thirds[whole + k];
                    }
                    waiting -= whole;
                    GROUP_SYNC();
                }
            }
        }
    }
    return waiting;
}

// bring what is read of a triplet, if it is little enough to stay near
DEVICE void prefetch_range(const void* from, size_t bytes)
{
    for (size_t place = 0; place < bytes; place += CACHE_LINE) prefetch((const char*)from + place);
}
DEVICE void prefetch_triplet(const Energies& energies, const int* points, const double* strength)
{
    const int n_bands = energies.n_bands;
    const size_t strength_bytes = sizeof(double) * n_bands * n_bands * n_bands;
    if (strength_bytes > PREFETCHED_BYTES) return;
    prefetch_range(strength, strength_bytes);
    for (int p = 0; p < 2; ++p) {
        const size_t mode = (size_t)points[p] * n_bands, padded = (size_t)points[p] * energies.stride;
        const REAL* const bounds[4] = {energies.low + padded, energies.high + padded, energies.from + mode, energies.to + mode};
        for (int k = 0; k < 4; ++k) prefetch_range(bounds[k], sizeof(REAL) * n_bands);
        prefetch_range(energies.frequencies + mode, sizeof(double) * n_bands);
        if (!energies.widths) prefetch_range(energies.rows + mode * PLACES, sizeof(REAL) * PLACES * n_bands);
    }
}

// Triplets [begin, end) of one first point. gamma (slots, B, temperatures) += deposits, in strength times 1/THz; null: the
// processes are listed only. More than `room` processes are counted, not listed.
KERNEL(deposit)(int begin, int end, int point0, const int* point1, const int* point2, const int* slots,
                const double* multiplicities, const double* strengths, int n_bands, int n_points, int n_cuts, int stride,
                const double* frequencies, const double* widths, const REAL* rows, const REAL* low, const REAL* high,
                const REAL* from, const REAL* to, const int* band_numbers, const double* occupations, double reach,
                double norm, int n_temperatures, double* amounts_scratch, int* candidate_scratch, REAL* lane_scratch, double* gamma,
                int room, int* n_listed, int* listed_legs, unsigned* listed_modes, double* listed_amounts)
{
    const Energies energies = {n_bands, n_points, n_cuts, stride, frequencies, widths, rows, low, high, from, to, reach, norm};
    const int n_amounts = (2 * n_bands + 1) * n_bands;
    double* amounts = amounts_scratch + (int64_t)GROUP_IN_GRID() * 3 * n_amounts;
    int* heads = candidate_scratch + (int64_t)GROUP_IN_GRID() * (2 * CAPACITY + 3 * LANES);
    int *thirds = heads + CAPACITY, *scratch_rows = thirds + CAPACITY;
    REAL* scratch = lane_scratch + (int64_t)GROUP_IN_GRID() * 4 * LANES;
    FOR_EACH_GROUP(triplet, begin, end)
    {
        // leg i sees points[i], points[i + 1], points[i + 2]
        const int points[5] = {point0, point1[triplet], point2[triplet], point0, point1[triplet]};
        const Sums sums = {strengths + (int64_t)triplet * n_bands * n_bands * n_bands, amounts, multiplicities + 3 * triplet,
                           {n_bands * n_bands, n_bands, 1, n_bands * n_bands, n_bands}, triplet, room, n_listed, listed_legs, listed_modes, listed_amounts};
#if !HPCTHERMO_GPU
        if (triplet + 1 < end) {
            const int next[2] = {point1[triplet + 1], point2[triplet + 1]};
            prefetch_triplet(energies, next, sums.strength + (size_t)n_bands * n_bands * n_bands);
        }
#endif
        FOR_LANE_ELEMENTS(k, 3 * n_amounts) amounts[k] = 0;
        GROUP_SYNC();
        int waiting = 0;
        for (int leg = 0; leg < 3; ++leg) {
            if (slots[3 * triplet + leg] < 0) continue;
            waiting = find_candidates(energies, sums, points, leg, band_numbers, waiting, heads, thirds,
                                      scratch_rows, scratch);
        }
        weigh(energies, sums, points, heads, thirds, waiting, scratch_rows, scratch);
        for (int leg = 0; leg < 3; ++leg) {
            const int slot = slots[3 * triplet + leg];
            if (slot < 0 || !gamma) continue;
            const double *x = amounts + leg * n_amounts, *y = x + n_bands * n_bands, *z = y + n_bands * n_bands;
            const double* n1 = occupations + (int64_t)points[leg + 1] * n_bands * n_temperatures;
            const double* n2 = occupations + (int64_t)points[leg + 2] * n_bands * n_temperatures;
            double* out = gamma + (int64_t)slot * n_bands * n_temperatures;
            const double m = multiplicities[3 * triplet + leg];
            const int n_blocks = n_temperatures / TEMPERATURES_TOGETHER;
            FOR_LANE_ELEMENTS(k, n_bands * n_blocks)
            {
                const int a = k / n_blocks, t = k % n_blocks * TEMPERATURES_TOGETHER;
                double sum[TEMPERATURES_TOGETHER];
                UNROLL for (int u = 0; u < TEMPERATURES_TOGETHER; ++u) sum[u] = z[a];
                for (int b = 0; b < n_bands; ++b) {
                    const double xb = x[a * n_bands + b], yb = y[a * n_bands + b];
                    const double *n1b = n1 + b * n_temperatures + t, *n2b = n2 + b * n_temperatures + t;
                    UNROLL for (int u = 0; u < TEMPERATURES_TOGETHER; ++u) sum[u] += xb * n1b[u] + yb * n2b[u];
                }
                for (int u = 0; u < TEMPERATURES_TOGETHER; ++u) atomic_add(out + a * n_temperatures + t + u, m * sum[u]);
            }
        }
        GROUP_SYNC();
    }
}
