// pairs_cpu.h in plain C++: the statement of what the register versions do, and the fallback.
#pragma once

// r_j - r_i and the types of LANES neighbours j = index[0..LANES)
DEVICE void load_neighbors(const Position* positions, const int* index, const Position& centre,
                           double scale, lanes& x, lanes& y, lanes& z, lanes& type)
{
    for (int l = 0; l < LANES; ++l) {
        REAL d[3];
        displacement(centre, positions[index[l]], scale, d);
        x[l] = d[0];
        y[l] = d[1];
        z[l] = d[2];
        type[l] = (REAL)type_of(positions[index[l]]);
    }
}

constexpr int MOST_ROW_TYPES = 0;
typedef MemoryPick RowPick;

// a set of lanes in the form that append and count_lanes use
struct lane_set { lane_mask members; };
DEVICE lane_set lane_set_of(lane_mask m) { return {m}; }
DEVICE int count_lanes(lane_set set)
{
    int n = 0;
    for (int l = 0; l < LANES; ++l) n -= (int)set.members[l];
    return n;
}
// write the lanes of v that are in the set to buffer[0..count_lanes(set)); buffer has LANES of slack
DEVICE void append(REAL* buffer, lane_set set, lanes v)
{
    int n = 0;
    for (int l = 0; l < LANES; ++l) {
        buffer[n] = v[l];
        n -= (int)set.members[l];
    }
}
DEVICE void append(int* buffer, lane_set set, const int* index)
{
    int n = 0;
    for (int l = 0; l < LANES; ++l) {
        buffer[n] = index[l];
        n -= (int)set.members[l];
    }
}

// forces[index] -= f: rows of 4 float64 (x, y, z, unused)
DEVICE void scatter_force(double* forces, const int* index, lanes fx, lanes fy, lanes fz)
{
    for (int l = 0; l < LANES; ++l) {
        double* row = forces + 4 * (size_t)index[l];
        row[0] -= fx[l];
        row[1] -= fy[l];
        row[2] -= fz[l];
    }
}
// virials[index] -= f (x) (r, 1): rows of 12 float64, (W_xb, W_yb, W_zb, F_b) at 4 b
DEVICE void scatter_virial(double* virials, const int* index, lanes x, lanes y, lanes z, lanes fx, lanes fy, lanes fz)
{
    for (int l = 0; l < LANES; ++l) {
        double* row = virials + 12 * (size_t)index[l];
        const double r[4] = {x[l], y[l], z[l], 1.0}, f[3] = {fx[l], fy[l], fz[l]};
        for (int b = 0; b < 3; ++b)
            for (int a = 0; a < 4; ++a) row[4 * b + a] -= f[b] * r[a];
    }
}

// lane k of the result is the sum over lanes of v[k], k < LANES
DEVICE lanes reduce_block(const lanes* v)
{
    lanes sums;
    for (int k = 0; k < LANES; ++k) sums[k] = reduce_add(v[k]);
    return sums;
}
// rows[l LANES + n] = columns[n row_length + l] for n < N, 0 above; l < LANES
typedef lanes half_lanes;
template <int N> DEVICE void transpose_slots(const REAL* columns, int row_length, REAL* rows)
{
    UNROLL for (int n = 0; n < LANES; ++n) {
        const lanes column = n < N ? load(columns + (size_t)n * row_length) : broadcast(0);
        UNROLL for (int l = 0; l < LANES; ++l) rows[l * LANES + n] = column[l];
    }
}
