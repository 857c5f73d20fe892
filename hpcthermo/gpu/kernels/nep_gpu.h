// NEP on a GPU: the equations of nep.h and its functions of r and u, arranged for one warp per atom.
//
// Its own text, because a warp has other means than a vector (warp instructions by atom: benchmarks/results/
// gpu_prediction.txt):
//
//   - f_c vanishes beyond the cutoff, so the radial sums run over the list as it is, in registers;
//   - lanes of one vector have neighbours of several types: each lane reads its own coefficients;
//   - S_na = sum_j g_n Y_a is a small matrix product: each lane holds a 4 x 2 tile of it in registers;
//   - what is left of scratch, about 1,400 numbers, is in shared memory.
//
// Radial pair forces: by GATHER. nep_sites leaves the Chebyshev series of dU_i/dr for each type of
// neighbour in memory; nep_gather adds the series of both atoms of a pair, evaluates it once and sums
// f_ij - f_ji in registers. Without GATHER, and where j is a ghost, whose series is not known here,
// nep_sites scatters -f_ij to the row of j. FIXED_POINT: what is scattered is summed in 64-bit integers,
// whose sums do not depend on their order; nep_settle adds them to the float64 rows.
//
// The module is compiled for one model (potentials/nep_gpu.py): N_TYPES, N_RADIAL, K_RADIAL, N_ANGULAR, K_ANGULAR,
// DEGREE, N_DESCRIPTORS, N_NEURONS, N_PRODUCTS, FIVE_BODY (its angular block or -1), REPULSION, ANGULAR_SLOTS (room for angular
// neighbours), LIST_SLOTS (length of a list row), GATHER, FIXED_POINT, SHARED_SCRATCH, STAGE_CLOCK.
#include "chebyshev.h"
#include "nep_repulsion.h"
#include "solid_harmonics.h"

#define ROUND_UP(n, to) (((n) + (to) - 1) / (to) * (to))
#define LARGER(a, b) ((a) > (b) ? (a) : (b))

// blocks on a multiprocessor at once, which sets the registers of a thread: 20 and 24 warps with 96 and 80 of them
// (mixed), 12 and 16 warps with 168 and 128 (double)
#define SITE_BLOCKS ((sizeof(REAL) == 4 ? 20 : 12) / GROUPS_PER_BLOCK)
#define GATHER_BLOCKS ((sizeof(REAL) == 4 ? 24 : 16) / GROUPS_PER_BLOCK)

constexpr int QUAD = 16 / (int)sizeof(REAL);  // numbers of one 16-byte load
constexpr int N_HARMONICS = (DEGREE + 1) * (DEGREE + 1) - 1;
constexpr int ANGULAR_ROW = ROUND_UP(N_ANGULAR, QUAD);
constexpr int HARMONIC_ROW = ROUND_UP(N_HARMONICS, 4) + 4;  // lanes that write one row each meet different banks
constexpr int RADIAL_ROW = ROUND_UP(N_RADIAL, QUAD);
constexpr int SERIES = K_RADIAL - 1 + CUTOFF_DEGREE, SERIES_ROW = ROUND_UP(SERIES, QUAD);
constexpr int MASK_WORDS = ROUND_UP(LIST_SLOTS, LANES * LANES) / (LANES * LANES);
constexpr int NEURON_COLUMNS = ROUND_UP(N_NEURONS, LANES) / LANES;  // columns of the matrices that one lane owns
constexpr int DESCRIPTOR_COLUMNS = ROUND_UP(N_DESCRIPTORS, LANES) / LANES;
constexpr int NEURON_ROW = NEURON_COLUMNS * LANES, DESCRIPTOR_ROW = DESCRIPTOR_COLUMNS * LANES;

struct alignas(16) Quad { REAL value[QUAD]; };

// the first N numbers of a row that starts on a 16-byte boundary
template <int N> DEVICE void load_row(const REAL* row, REAL (&values)[N])
{
    UNROLL for (int q = 0; q < N; q += QUAD) {
        const Quad quad = *(const Quad*)(row + q);
        UNROLL for (int k = 0; k < QUAD; ++k)
            if (q + k < N) values[q + k < N ? q + k : 0] = quad.value[k];
    }
}

template <int N> DEVICE void store_row(REAL* row, const REAL (&values)[N])
{
    UNROLL for (int q = 0; q < N; q += QUAD) {
        Quad quad;
        UNROLL for (int k = 0; k < QUAD; ++k) quad.value[k] = q + k < N ? values[q + k < N ? q + k : 0] : (REAL)0;
        *(Quad*)(row + q) = quad;
    }
}

struct NepTables {
    const REAL* cutoffs;             // [ti][tj][4]: 1/radial cutoff, 1/angular cutoff, radial cutoff^2, angular reach^2
    const REAL* cutoff_polynomial;   // P(y)
    const REAL* radial;              // [ti][tj][k][RADIAL_ROW]
    const REAL* radial_series;       // [ti][tj][n][SERIES_ROW], d/dx of g_n times -4/rc
    const REAL* angular;             // [ti][tj][k][ANGULAR_ROW]
    const int* product_terms;        // [n_products][4]: a, b, c, block: q_block += coefficient S_a S_b S_c
    const REAL* product_coefficients;
    const REAL* input_weights;       // [t][descriptor][NEURON_ROW], scaler included
    const REAL* input_weights_back;  // [t][neuron][DESCRIPTOR_ROW]
    const REAL* neuron_bias;         // [t][NEURON_ROW], minus b0
    const REAL* output_weights;      // [t][NEURON_ROW]
    const REAL* output_bias;         // [t]
    const REAL* screening;           // [ti][tj][12] of the short-range repulsion, if REPULSION
};

// Scratch of one warp, in shared memory if a block's fits (SHARED_SCRATCH). Y_a of 32 neighbours, one row each, lie where later S_na and dU/dS_na lie.
constexpr int SUM_SIZE = N_HARMONICS * ANGULAR_ROW;
struct alignas(16) NepScratch {
    REAL rows[LARGER(LANES * HARMONIC_ROW, 2 * SUM_SIZE)];
    REAL g[LANES * ANGULAR_ROW];             // g_n of the same neighbours
    REAL descriptors[DESCRIPTOR_ROW], slopes[DESCRIPTOR_ROW], hidden[LARGER(NEURON_ROW, ROUND_UP(K_RADIAL, LANES))];
    int neighbors[ANGULAR_SLOTS];            // rows of the angular neighbours
    MEMBER REAL* sums() { return rows; }
    MEMBER REAL* sum_slopes() { return rows + SUM_SIZE; }
};

// ---- where pair forces go -------------------------------------------------------------------------
// Integer steps of 2^-40 eV/A (eV for virials), 9e-13. Sums stay in range up to 2^23 = 8.4e6, so with 512 pairs of
// LARGEST_PAIR_FORCE eV/A on one atom; only atoms far closer than 1 A come near it, so virials are smaller still.
constexpr REAL FIXED_STEPS = (REAL)1099511627776.0, LARGEST_PAIR_FORCE = (REAL)16384;
#if FIXED_POINT
typedef int64_t RowSum;
DEVICE void add_to_sum(RowSum* sum, REAL value) { atomic_add(sum, nearest_integer(value * FIXED_STEPS)); }
#else
typedef double RowSum;
DEVICE void add_to_sum(RowSum* sum, REAL value) { atomic_add(sum, (double)value); }
#endif

struct ScatterRows { RowSum *forces, *virials; };  // rows of 4 and 12; virials may be null, else they hold the forces

// F_i += f, F_j -= f, W_j -= r (x) f for the lanes with a neighbour. Where integers cannot hold f, F_i is made no number,
// which ends the run with a message.
DEVICE void add_pair_force(const ScatterRows& rows, lane_mask present, int neighbor, const REAL (&r)[3], const REAL (&f)[3],
                           REAL (&on_centre)[3])
{
    if (!present) return;
    UNROLL for (int b = 0; b < 3; ++b) {
        on_centre[b] += f[b];
        if (FIXED_POINT && !(fabs(f[b]) < LARGEST_PAIR_FORCE)) on_centre[b] = (REAL)nan("");
        if (!rows.virials) {
            add_to_sum(rows.forces + 4 * (size_t)neighbor + b, -f[b]);
            continue;
        }
        RowSum* row = rows.virials + 12 * (size_t)neighbor + 4 * b;  // (W_xb, W_yb, W_zb, F_b)
        UNROLL for (int a = 0; a < 3; ++a) add_to_sum(row + a, -r[a] * f[b]);
        add_to_sum(row + 3, -f[b]);
    }
}

// ---- radial part ----------------------------------------------------------------------------------
struct RadialArgument { REAL s, x; };  // s = 1 - r/rc (0 beyond), x = 2 s^2 - 1
DEVICE RadialArgument radial_argument(REAL r, REAL inverse_cutoff)
{
    const REAL outside = (REAL)1 - r * inverse_cutoff, s = outside > (REAL)0 ? outside : (REAL)0;
    return {s, (REAL)2 * s * s - (REAL)1};
}

// sum_k c_k T_k(x) of one lane's coefficients
DEVICE REAL series_at(const REAL (&c)[SERIES], REAL x)
{
    const lanes at[1] = {x};
    lanes sum[1];
    chebyshev_series<SERIES, 1>(c, at, sum);
    return sum[0];
}

struct ListRow { const int *neighbors, *segments, *inner; };

// q_n = sum_t sum_k c_nk^t Phi_kt into scratch.descriptors; angular neighbours into scratch.neighbors; masks: for each vector
// of the list the lanes whose neighbour is owned and within the radial cutoff. Returns the angular neighbours;
// ghost_seen: a ghost is within the radial cutoff.
DEVICE int radial_descriptors(const NepTables& m, NepScratch& scratch, const Position* positions, double scale, const Position& centre,
                              const ListRow& row, int n_owned, int* masks, bool& ghost_seen)
{
    const int ti = type_of(centre), lane = lane_index(), end = row.segments[N_TYPES];
    int angular = 0;
    int ghost = 0;
    REAL q = 0;
    unsigned kept_here[MASK_WORDS] = {};  // lane k keeps the masks of vectors k, k + 32, ...
    REAL polynomial[CUTOFF_TERMS];  // in registers, not to be read again after each store
    UNROLL for (int k = 0; k < (int)CUTOFF_TERMS; ++k) polynomial[k] = m.cutoff_polynomial[k];
    int next_neighbor = end > 0 ? row.neighbors[lane] : 0;
    Position next = end > 0 ? positions[next_neighbor] : centre;
#pragma unroll 1
    for (int t = 0; t < N_TYPES; ++t) {
        const int first = row.segments[t], last = row.segments[t + 1], last_inner = first + row.inner[t];
        if (first == last) continue;
        const REAL* cutoff = m.cutoffs + 4 * (ti * N_TYPES + t);
        const REAL inverse_cutoff = cutoff[0], radial2 = cutoff[2], angular2 = cutoff[3];
        lanes phi[K_RADIAL];
        UNROLL for (int k = 0; k < K_RADIAL; ++k) phi[k] = 0;
        for (int slot = first; slot < last; slot += LANES) {
            // one vector ahead, because a row of positions is far away
            const int neighbor = next_neighbor;
            const Position present = next;
            next_neighbor = row.neighbors[(slot + LANES < end ? slot + LANES : slot) + lane];
            next = positions[next_neighbor];
            REAL r[3];
            displacement(centre, present, scale, r);
            const REAL r2 = r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
            const bool inside = r2 < radial2, owned = neighbor < n_owned;
            if (inside & !owned) ghost = 1;
            const unsigned kept = lane_bits(inside & owned);
            UNROLL for (int w = 0; w < MASK_WORDS; ++w)
                if (slot == (lane + w * LANES) * LANES) kept_here[w] = kept;
            if (slot < last_inner) {
                const unsigned near = lane_bits(r2 < angular2);
                if (r2 < angular2) scratch.neighbors[angular + bits_before(near)] = neighbor;
                angular += count_bits(near);
            }
            const RadialArgument at = radial_argument(r2 * inverse_sqrt(r2), inverse_cutoff);
            const lanes f_c[1] = {cutoff_function(polynomial, at.s * at.s)}, x[1] = {at.x};
            add_chebyshev_terms<K_RADIAL, 1>(f_c, x, phi);
        }
        REAL* sums = scratch.hidden;  // not yet in use
        reduce_add_many(phi, sums);
        GROUP_SYNC();
        const REAL* c = m.radial + (size_t)(ti * N_TYPES + t) * K_RADIAL * RADIAL_ROW;
        if (lane < N_RADIAL)
            UNROLL for (int k = 0; k < K_RADIAL; ++k) q += sums[k] * c[k * RADIAL_ROW + lane];
        GROUP_SYNC();
    }
    if (lane < N_RADIAL) scratch.descriptors[lane] = q;
    UNROLL for (int w = 0; w < MASK_WORDS; ++w)
        if ((lane + w * LANES) * LANES < end) masks[lane + w * LANES] = (int)kept_here[w];
    ghost_seen = any_lane(ghost != 0);
    return angular;
}

// series of dU_i/dr for each type of neighbour: series[t][i][SERIES_ROW]
DEVICE void contract_series(const NepTables& m, const NepScratch& scratch, int ti, int i, int n_owned, REAL* series)
{
    for (int element = lane_index(); element < N_TYPES * SERIES_ROW; element += LANES) {
        const int t = element / SERIES_ROW, k = element % SERIES_ROW;
        const REAL* table = m.radial_series + (size_t)(ti * N_TYPES + t) * N_RADIAL * SERIES_ROW + k;
        REAL sum = 0;
        UNROLL for (int n = 0; n < N_RADIAL; ++n) sum += scratch.slopes[n] * table[n * SERIES_ROW];
        series[((size_t)t * n_owned + i) * SERIES_ROW + k] = sum;
    }
    GROUP_SYNC();
}

// f_ij = dU_i/dr u of the radial part to both atoms, for ghosts j or for all
DEVICE void scatter_radial_forces(const NepTables& m, const Position* positions, double scale, const Position& centre, const ListRow& row,
                                  int i, int n_owned, int least_neighbor, const REAL* series, const ScatterRows& rows,
                                  REAL (&on_centre)[3])
{
    const int ti = type_of(centre), end = row.segments[N_TYPES];
    for (int slot = 0; slot < end; slot += LANES) {
        const int neighbor = row.neighbors[slot + lane_index()];
        const Position other = positions[neighbor];
        const int tj = type_of(other);
        REAL r[3], c[SERIES], f[3];
        displacement(centre, other, scale, r);
        const REAL r2 = r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
        const REAL* cutoff = m.cutoffs + 4 * (ti * N_TYPES + tj);
        const bool inside = (r2 < cutoff[2]) & (neighbor >= least_neighbor);
        if (!any_lane(inside)) continue;
        load_row(series + ((size_t)tj * n_owned + i) * SERIES_ROW, c);
        const REAL inverse = inverse_sqrt(r2);
        const RadialArgument at = radial_argument(r2 * inverse, cutoff[0]);
        const REAL slope = series_at(c, at.x) * at.s * inverse;
        UNROLL for (int a = 0; a < 3; ++a) f[a] = slope * r[a];
        add_pair_force(rows, inside, neighbor, r, f, on_centre);
    }
}

// ---- angular part ---------------------------------------------------------------------------------
// this lane's angular neighbour: r_ij, 1/r, type, row; beyond the list a neighbour at the padding row, where g = 0
struct AngularNeighbor {
    REAL r[3], inverse, distance;
    int row, type;
    bool present;
};
DEVICE AngularNeighbor angular_neighbor(const NepScratch& scratch, const Position* positions, double scale, const Position& centre,
                                        int slot, int n_angular, int padding_index)
{
    AngularNeighbor j;
    j.present = slot < n_angular;
    j.row = j.present ? scratch.neighbors[slot] : padding_index;
    const Position other = positions[j.row];
    j.type = type_of(other);
    displacement(centre, other, scale, j.r);
    const REAL r2 = j.r[0] * j.r[0] + j.r[1] * j.r[1] + j.r[2] * j.r[2];
    j.inverse = inverse_sqrt(r2);
    j.distance = r2 * j.inverse;
    return j;
}
DEVICE Harmonics<DEGREE> harmonics_at(const AngularNeighbor& j)
{
    return Harmonics<DEGREE>::at(j.r[0] * j.inverse, j.r[1] * j.inverse, j.r[2] * j.inverse);
}

// g_n(r) = f_c sum_k c_nk T_k(x)
DEVICE void angular_functions(const NepTables& m, int ti, const AngularNeighbor& j, REAL (&g)[N_ANGULAR])
{
    const RadialArgument at = radial_argument(j.distance, m.cutoffs[4 * (ti * N_TYPES + j.type) + 1]);
    const REAL* c = m.angular + (size_t)(ti * N_TYPES + j.type) * K_ANGULAR * ANGULAR_ROW;
    REAL previous = cutoff_function(m.cutoff_polynomial, at.s * at.s), present = previous * at.x;
    UNROLL for (int n = 0; n < N_ANGULAR; ++n) g[n] = 0;
#pragma unroll 2  // more would ask for more registers than there are
    for (int k = 0; k < K_ANGULAR; ++k) {
        REAL row[N_ANGULAR];
        load_row(c + k * ANGULAR_ROW, row);
        UNROLL for (int n = 0; n < N_ANGULAR; ++n) g[n] += row[n] * previous;
        const REAL next = (REAL)2 * at.x * present - previous;
        previous = present;
        present = next;
    }
}

// sum_n V_n dg_n/dr from W_k = sum_n V_n c_nk:  dx/dr sum_k W_k (f_c T_k' + T_k df_c/dx)
DEVICE REAL angular_slope(const NepTables& m, int ti, const AngularNeighbor& j, const REAL (&V)[N_ANGULAR])
{
    const REAL inverse_cutoff = m.cutoffs[4 * (ti * N_TYPES + j.type) + 1];
    const RadialArgument at = radial_argument(j.distance, inverse_cutoff);
    const REAL* c = m.angular + (size_t)(ti * N_TYPES + j.type) * K_ANGULAR * ANGULAR_ROW;
    REAL T0 = 1, T1 = at.x, dT0 = 0, dT1 = 1, values = 0, slopes = 0;
#pragma unroll 2
    for (int k = 0; k < K_ANGULAR; ++k) {
        REAL row[N_ANGULAR], W = 0;
        load_row(c + k * ANGULAR_ROW, row);
        UNROLL for (int n = 0; n < N_ANGULAR; ++n) W += row[n] * V[n];
        values += W * T0;
        slopes += W * dT0;
        const REAL T2 = (REAL)2 * at.x * T1 - T0, dT2 = (REAL)2 * (T1 + at.x * dT1) - dT0;
        T0 = T1;
        T1 = T2;
        dT0 = dT1;
        dT1 = dT2;
    }
    lanes cutoff_slope;  // df_c/dy, y = (x + 1)/2
    const REAL cutoff = cutoff_function(m.cutoff_polynomial, at.s * at.s, cutoff_slope);
    return (REAL)-4 * at.s * inverse_cutoff * (slopes * cutoff + values * (REAL)0.5 * cutoff_slope);
}

// The matrix S_na as tiles of 4 angular functions by 2 radial ones, dealt out to the lanes.
constexpr int A_TILE = 4, N_TILE = 2, A_TILES = ROUND_UP(N_HARMONICS, A_TILE) / A_TILE, N_TILES = (N_ANGULAR + 1) / N_TILE;
constexpr int TILES_BY_LANE = ROUND_UP(A_TILES * N_TILES, LANES) / LANES;

DEVICE void angular_sums(const NepTables& m, NepScratch& scratch, const Position* positions, double scale, const Position& centre,
                         int n_angular, int padding_index)
{
    REAL tile[TILES_BY_LANE][A_TILE][N_TILE];
    UNROLL for (int k = 0; k < TILES_BY_LANE; ++k)
        UNROLL for (int a = 0; a < A_TILE; ++a)
            UNROLL for (int n = 0; n < N_TILE; ++n) tile[k][a][n] = 0;
    for (int first = 0; first < n_angular; first += LANES) {
        const AngularNeighbor j = angular_neighbor(scratch, positions, scale, centre, first + lane_index(), n_angular, padding_index);
        REAL g[N_ANGULAR];
        angular_functions(m, type_of(centre), j, g);
        store_row(scratch.g + lane_index() * ANGULAR_ROW, g);
        const Harmonics<DEGREE> harmonics = harmonics_at(j);
        REAL Y[N_HARMONICS];
        UNROLL for (int l = 1; l <= DEGREE; ++l)
            UNROLL for (int k = 0; k <= 2 * l; ++k) Y[l * l - 1 + k] = harmonics.value(l, k);
        store_row(scratch.rows + lane_index() * HARMONIC_ROW, Y);
        GROUP_SYNC();
        const int filled = n_angular - first < LANES ? n_angular - first : LANES;
        UNROLL for (int k = 0; k < TILES_BY_LANE; ++k) {
            const int number = lane_index() + k * LANES;
            if (number >= A_TILES * N_TILES) continue;
            const REAL* left = scratch.rows + number / N_TILES * A_TILE;
            const REAL* right = scratch.g + number % N_TILES * N_TILE;
            for (int slot = 0; slot < filled; ++slot) {
                REAL Y[A_TILE];
                load_row(left + slot * HARMONIC_ROW, Y);
                UNROLL for (int n = 0; n < N_TILE; ++n) {
                    const REAL value = right[slot * ANGULAR_ROW + n];
                    UNROLL for (int a = 0; a < A_TILE; ++a) tile[k][a][n] += Y[a] * value;
                }
            }
        }
        GROUP_SYNC();
    }
    UNROLL for (int k = 0; k < TILES_BY_LANE; ++k) {
        const int number = lane_index() + k * LANES;
        if (number >= A_TILES * N_TILES) continue;
        // tiles at the edge fill the padding of a row, and rows that are not yet in use
        REAL* sums = scratch.sums() + number / N_TILES * A_TILE * ANGULAR_ROW + number % N_TILES * N_TILE;
        UNROLL for (int a = 0; a < A_TILE; ++a)
            UNROLL for (int n = 0; n < N_TILE; ++n) sums[a * ANGULAR_ROW + n] = tile[k][a][n];
    }
    GROUP_SYNC();
}

// Invariants of S and their slopes: lane n has column n.
DEVICE void angular_descriptors(const NepTables& m, NepScratch& scratch)
{
    constexpr HarmonicWeights<DEGREE> weights;
    const int n = lane_index();
    if (n < N_ANGULAR) {
        const REAL* S = scratch.sums() + n;
        REAL* blocks = scratch.descriptors + N_RADIAL + n;
        UNROLL for (int l = 1; l <= DEGREE; ++l) {
            REAL q = 0;
            UNROLL for (int k = 0; k <= 2 * l; ++k) {
                const int a = l * l - 1 + k;
                q += weights.of[a] * S[a * ANGULAR_ROW] * S[a * ANGULAR_ROW];
            }
            blocks[(l - 1) * N_ANGULAR] = q;
            if (l == 1 && FIVE_BODY >= 0) blocks[FIVE_BODY * N_ANGULAR] = (REAL)(7.0 / 15.0) * q * q;
        }
        for (int k = 0; k < N_PRODUCTS;) {
            const int block = m.product_terms[4 * k + 3];
            REAL q = 0;
            for (; k < N_PRODUCTS && m.product_terms[4 * k + 3] == block; ++k) {
                const int* term = m.product_terms + 4 * k;
                q += m.product_coefficients[k] * S[term[0] * ANGULAR_ROW] * S[term[1] * ANGULAR_ROW] * S[term[2] * ANGULAR_ROW];
            }
            blocks[block * N_ANGULAR] = q;
        }
    }
    GROUP_SYNC();
}
// P_na = dU/dS_na from dU/dq
DEVICE void angular_sum_slopes(const NepTables& m, NepScratch& scratch)
{
    constexpr HarmonicWeights<DEGREE> weights;
    const int n = lane_index();
    if (n < N_ANGULAR) {
        const REAL *S = scratch.sums() + n, *slopes = scratch.slopes + N_RADIAL + n;
        REAL* P = scratch.sum_slopes() + n;
        UNROLL for (int l = 1; l <= DEGREE; ++l) {
            REAL slope = (REAL)2 * slopes[(l - 1) * N_ANGULAR];
            if (l == 1 && FIVE_BODY >= 0)
                slope += (REAL)(28.0 / 15.0) * scratch.descriptors[N_RADIAL + n] * slopes[FIVE_BODY * N_ANGULAR];
            UNROLL for (int k = 0; k <= 2 * l; ++k) {
                const int a = l * l - 1 + k;
                P[a * ANGULAR_ROW] = slope * weights.of[a] * S[a * ANGULAR_ROW];
            }
        }
        for (int k = 0; k < N_PRODUCTS; ++k) {
            const int* term = m.product_terms + 4 * k;
            const int a = term[0] * ANGULAR_ROW, b = term[1] * ANGULAR_ROW, c = term[2] * ANGULAR_ROW;
            const REAL slope = m.product_coefficients[k] * slopes[term[3] * N_ANGULAR];
            P[a] += slope * S[b] * S[c];
            P[b] += slope * S[c] * S[a];
            P[c] += slope * S[a] * S[b];
        }
    }
    GROUP_SYNC();
}

// f_ij = grad_r sum_na P_na g_n(r) Y_a(u):
//   D = sum_n V_n dg_n/dr, V_n = sum_a P_na Y_a;   v = sum_a (sum_n P_na g_n) grad Y_a;   f = v/r + (D - v.u/r) u
DEVICE void angular_force(const NepTables& m, NepScratch& scratch, int ti, const AngularNeighbor& j, const REAL (&g)[N_ANGULAR],
                          REAL (&f)[3])
{
    const Harmonics<DEGREE> harmonics = harmonics_at(j);
    REAL V[N_ANGULAR], weight[N_HARMONICS], v[3];
    UNROLL for (int n = 0; n < N_ANGULAR; ++n) V[n] = 0;
    UNROLL for (int l = 1; l <= DEGREE; ++l)
        UNROLL for (int k = 0; k <= 2 * l; ++k) {
            const int a = l * l - 1 + k;
            REAL P[N_ANGULAR], h = 0;
            load_row(scratch.sum_slopes() + a * ANGULAR_ROW, P);
            const REAL Y = harmonics.value(l, k);
            UNROLL for (int n = 0; n < N_ANGULAR; ++n) {
                h += P[n] * g[n];
                V[n] += P[n] * Y;
            }
            weight[a] = h;
        }
    harmonics.gradient(weight, v[0], v[1], v[2]);
    const REAL along = (v[0] * j.r[0] + v[1] * j.r[1] + v[2] * j.r[2]) * j.inverse;
    const REAL D = angular_slope(m, ti, j, V) - along * j.inverse;
    UNROLL for (int a = 0; a < 3; ++a) f[a] = (v[a] + D * j.r[a]) * j.inverse;
}

// forces of the angular part and of the repulsion, which is over the same neighbours; returns this lane's repulsion energy
DEVICE REAL angular_forces(const NepTables& m, NepScratch& scratch, const Position* positions, double scale, const Position& centre,
                           int n_angular, int padding_index, const ScatterRows& rows, REAL (&on_centre)[3])
{
    const int ti = type_of(centre);
    REAL energy = 0;
    for (int first = 0; first < n_angular; first += LANES) {
        GROUP_SYNC();  // keeps the compiler from loading all P before the loop
        const AngularNeighbor j = angular_neighbor(scratch, positions, scale, centre, first + lane_index(), n_angular, padding_index);
        REAL g[N_ANGULAR], f[3];
        if (n_angular <= LANES) load_row(scratch.g + lane_index() * ANGULAR_ROW, g);  // still those of the one vector
        else angular_functions(m, ti, j, g);
        angular_force(m, scratch, ti, j, g, f);
        if (REPULSION) {
            lanes slope;
            const lanes pair = repulsion_pair(m.screening + 12 * (ti * N_TYPES + j.type), m.cutoff_polynomial, j.distance, j.inverse, slope);
            energy += j.present ? pair : (REAL)0;
            UNROLL for (int a = 0; a < 3; ++a) f[a] += slope * j.r[a] * j.inverse;
        }
        add_pair_force(rows, j.present, j.row, j.r, f, on_centre);
    }
    return energy;
}

// ---- network --------------------------------------------------------------------------------------
// V neighbouring numbers, in one load where there is one
template <int V> struct alignas(V == 2 || V == 4 ? V * sizeof(REAL) : sizeof(REAL)) Columns { REAL of[V]; };

// sum[v] += sum_row in[row] matrix[row][V lane + v]; the lane owns V neighbouring columns
template <int ROWS, int V> DEVICE void multiply(const REAL* matrix, const REAL* in, REAL (&sum)[V])
{
    const Columns<V>* columns = (const Columns<V>*)matrix + lane_index();
#pragma unroll 8
    for (int row = 0; row < ROWS; ++row) {
        const Columns<V> weights = columns[row * LANES];
        UNROLL for (int v = 0; v < V; ++v) sum[v] += in[row] * weights.of[v];
    }
}

// U_i of this atom; dU/dq into scratch.slopes
DEVICE REAL network(const NepTables& m, NepScratch& scratch, int type)
{
    const int neuron = NEURON_COLUMNS * lane_index(), descriptor = DESCRIPTOR_COLUMNS * lane_index();
    REAL sum[NEURON_COLUMNS], energy = 0;
    UNROLL for (int v = 0; v < NEURON_COLUMNS; ++v) sum[v] = m.neuron_bias[type * NEURON_ROW + neuron + v];
    multiply<N_DESCRIPTORS>(m.input_weights + (size_t)type * N_DESCRIPTORS * NEURON_ROW, scratch.descriptors, sum);
    UNROLL for (int v = 0; v < NEURON_COLUMNS; ++v) {
        const REAL weight = m.output_weights[type * NEURON_ROW + neuron + v], activation = tanh_lanes(sum[v]);
        energy += weight * activation;
        scratch.hidden[neuron + v] = weight * ((REAL)1 - activation * activation);
    }
    GROUP_SYNC();
    REAL slope[DESCRIPTOR_COLUMNS];
    UNROLL for (int v = 0; v < DESCRIPTOR_COLUMNS; ++v) slope[v] = 0;
    multiply<N_NEURONS>(m.input_weights_back + (size_t)type * N_NEURONS * DESCRIPTOR_ROW, scratch.hidden, slope);
    UNROLL for (int v = 0; v < DESCRIPTOR_COLUMNS; ++v) scratch.slopes[descriptor + v] = slope[v];
    GROUP_SYNC();
    return energy;
}

// ---- kernels --------------------------------------------------------------------------------------
// Cycles of one warp by stage, BoundNepOnGpu.STAGES in potentials/nep_gpu.py.
enum Stage { RADIAL_DESCRIPTOR, ANGULAR_SUMS, ANGULAR_DESCRIPTOR, NETWORK, RADIAL_FORCE, ANGULAR_FORCE };
struct StageClock {
    double *cycles, last;
    MEMBER void start()
    {
        if (STAGE_CLOCK) last = CYCLES();
    }
    MEMBER void end(Stage stage)
    {
        if (!STAGE_CLOCK) return;
        const double now = CYCLES();
        ONE_LANE atomic_add(cycles + stage, now - last);
        last = now;
    }
};

// Site energies, the series of the radial forces, and all forces but those the gather adds.
KERNEL_RESIDENT(nep_sites, SITE_BLOCKS)(
    int begin, int end, const Position* positions, double scale, int n_owned, int padding_index, const int* neighbors, int stride,
    const int* segments, const int* inner, const REAL* cutoffs, const REAL* cutoff_polynomial, const REAL* radial,
    const REAL* radial_series, const REAL* angular, const int* product_terms, const REAL* product_coefficients,
    const REAL* input_weights, const REAL* input_weights_back, const REAL* neuron_bias, const REAL* output_weights,
    const REAL* output_bias, const REAL* screening, REAL* global_scratch, REAL* series, int* masks, double* energies, double* forces,
    RowSum* scattered_forces, RowSum* scattered_virials, double* descriptors, double* stage_cycles)
{
#if SHARED_SCRATCH
    __shared__ NepScratch all[GROUPS_PER_BLOCK];
    NepScratch& scratch = all[group_in_block()];
#else
    NepScratch& scratch = ((NepScratch*)global_scratch)[GROUP_IN_GRID()];
#endif
    const NepTables m = {cutoffs, cutoff_polynomial, radial, radial_series, angular, product_terms, product_coefficients,
                         input_weights, input_weights_back, neuron_bias, output_weights, output_bias, screening};
    const ScatterRows rows = {scattered_forces, scattered_virials};
    StageClock clock = {stage_cycles, 0};
    FOR_EACH_NEARBY_GROUP(i, begin, end)
    {
        const Position centre = positions[i];
        const ListRow row = {neighbors + (size_t)i * stride, segments + (size_t)i * (N_TYPES + 1), inner + (size_t)i * N_TYPES};
        bool ghost_seen;
        clock.start();
        const int n_angular = radial_descriptors(m, scratch, positions, scale, centre, row, n_owned,
                                                 masks + (size_t)i * (stride / LANES), ghost_seen);
        GROUP_SYNC();
        clock.end(RADIAL_DESCRIPTOR);
        angular_sums(m, scratch, positions, scale, centre, n_angular, padding_index);
        clock.end(ANGULAR_SUMS);
        angular_descriptors(m, scratch);
        clock.end(ANGULAR_DESCRIPTOR);
        if (descriptors) {
            FOR_LANE_ELEMENTS(d, N_DESCRIPTORS) descriptors[(size_t)i * N_DESCRIPTORS + d] = scratch.descriptors[d];
            GROUP_SYNC();
            continue;
        }
        // the centre is read again rather than kept in registers
        REAL energy = network(m, scratch, type_of(positions[i])), on_centre[3] = {0, 0, 0};
        clock.end(NETWORK);
        contract_series(m, scratch, type_of(positions[i]), i, n_owned, series);
        clock.end(RADIAL_FORCE);
        angular_sum_slopes(m, scratch);
        energy += angular_forces(m, scratch, positions, scale, positions[i], n_angular, padding_index, rows, on_centre);
        clock.end(ANGULAR_FORCE);
        if (!GATHER || ghost_seen)
            scatter_radial_forces(m, positions, scale, positions[i], row, i, n_owned, GATHER ? n_owned : 0, series, rows, on_centre);
        clock.end(RADIAL_FORCE);
        energy = reduce_add(energy);
        ONE_LANE energies[i] += (double)energy - (double)output_bias[type_of(positions[i])];
        UNROLL for (int a = 0; a < 3; ++a) {
            const REAL sum = reduce_add(on_centre[a]);
            ONE_LANE atomic_add(forces + 4 * (size_t)i + a, (double)sum);
        }
        GROUP_SYNC();
    }
}

// Radial forces between owned atoms, each from the series of both: F_i += f_ij - f_ji, W_i -= r_ji (x) f_ji.
template <bool VIRIALS>
DEVICE void gather_forces(const REAL* cutoffs, const Position* positions, double scale, const Position& centre, const int* found, int count,
                          int i, int n_owned, const REAL* series, double* force_row, double* virial_row)
{
    const int ti = type_of(centre);
    REAL force[3] = {0, 0, 0}, virial[6] = {0, 0, 0, 0, 0, 0};
    for (int first = 0; first < count; first += LANES) {
        const bool present = first + lane_index() < count;
        const int j = found[present ? first + lane_index() : 0];
        const Position other = positions[j];
        const int tj = type_of(other);
        REAL r[3], own[SERIES], others[SERIES];
        load_row(series + ((size_t)tj * n_owned + i) * SERIES_ROW, own);
        load_row(series + ((size_t)ti * n_owned + j) * SERIES_ROW, others);
        displacement(centre, other, scale, r);
        const REAL r2 = r[0] * r[0] + r[1] * r[1] + r[2] * r[2], inverse = inverse_sqrt(r2);
        const RadialArgument at = radial_argument(r2 * inverse, cutoffs[4 * (ti * N_TYPES + tj)]);
        const REAL factor = present ? at.s * inverse : (REAL)0;
        REAL both;
        if (VIRIALS) {
            const REAL from_other = factor * series_at(others, at.x);
            both = factor * series_at(own, at.x) + from_other;
            UNROLL for (int a = 0; a < 3; ++a)
                UNROLL for (int b = a; b < 3; ++b) virial[a == b ? a : a + b + 2] -= from_other * r[a] * r[b];
        } else {
            UNROLL for (int k = 0; k < SERIES; ++k) own[k] += others[k];
            both = factor * series_at(own, at.x);
        }
        UNROLL for (int a = 0; a < 3; ++a) force[a] += both * r[a];
    }
    UNROLL for (int a = 0; a < 3; ++a) {
        const REAL sum = reduce_add(force[a]);
        ONE_LANE force_row[a] += (double)sum;
    }
    if (!VIRIALS) return;
    UNROLL for (int a = 0; a < 3; ++a)
        UNROLL for (int b = a; b < 3; ++b) {
            const REAL sum = reduce_add(virial[a == b ? a : a + b + 2]);
            ONE_LANE
            {
                virial_row[4 * a + b] += (double)sum;
                if (a != b) virial_row[4 * b + a] += (double)sum;
            }
        }
}

// neighbours of one warp that shared memory holds at a time; most models have lists shorter than that
constexpr int GATHER_SLOTS = LIST_SLOTS < 1024 ? LIST_SLOTS : 1024;

KERNEL_RESIDENT(nep_gather, GATHER_BLOCKS)(
    int begin, int end, const Position* positions, double scale, int n_owned, const int* neighbors, int stride, const int* segments,
    const REAL* cutoffs, const REAL* series, const int* masks, double* forces, double* virials, double* stage_cycles)
{
    __shared__ int all[GROUPS_PER_BLOCK][GATHER_SLOTS];
    int* found = all[group_in_block()];
    StageClock clock = {stage_cycles, 0};
    FOR_EACH_NEARBY_GROUP(i, begin, end)
    // once, or once for each GATHER_SLOTS neighbours
    for (int slot = 0, last = segments[(size_t)i * (N_TYPES + 1) + N_TYPES]; slot < last;)
    {
        clock.start();
        const int* row = neighbors + (size_t)i * stride;
        int count = 0;
        for (; slot < last && (LIST_SLOTS == GATHER_SLOTS || count + LANES <= GATHER_SLOTS); slot += LANES) {
            const unsigned kept = (unsigned)masks[(size_t)i * (stride / LANES) + slot / LANES];
            const int j = row[slot + lane_index()];
            if (kept >> lane_index() & 1) found[count + bits_before(kept)] = j;
            count += count_bits(kept);
        }
        GROUP_SYNC();
        double* virial_row = virials + 12 * (size_t)i;
        if (virials) gather_forces<true>(cutoffs, positions, scale, positions[i], found, count, i, n_owned, series, forces + 4 * (size_t)i, virial_row);
        else gather_forces<false>(cutoffs, positions, scale, positions[i], found, count, i, n_owned, series, forces + 4 * (size_t)i, virial_row);
        GROUP_SYNC();
        clock.end(RADIAL_FORCE);
        if (LIST_SLOTS == GATHER_SLOTS) break;
    }
}

// sums[k] += scattered[k] and scattered[k] = 0 for the elements [begin, end)
KERNEL(nep_settle)(int begin, int end, int64_t* scattered, double* sums)
{
    FOR_EACH_THREAD(k, begin, end)
    {
        if (scattered[k] == 0) continue;
        sums[k] += (double)scattered[k] * (1.0 / FIXED_STEPS);
        scattered[k] = 0;
    }
}
