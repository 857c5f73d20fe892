// Gather, compaction and scatter on the GPU.
#pragma once

// r_j - r_i and the types of LANES neighbours j = index[0..LANES)
DEVICE void load_neighbors(const Position* positions, const int* index, const Position& centre,
                           double scale, lanes& x, lanes& y, lanes& z, lanes& type)
{
    REAL d[3];
    const Position neighbour = positions[index[lane_index()]];
    displacement(centre, neighbour, scale, d);
    x = d[0];
    y = d[1];
    z = d[2];
    type = (REAL)type_of(neighbour);
}

// a set of lanes in the form that append and count_lanes use
typedef lane_mask lane_set;
DEVICE lane_set lane_set_of(lane_mask m) { return m; }
DEVICE int count_lanes(lane_set m) { return __popc(__ballot_sync(0xffffffffu, m)); }
DEVICE int lanes_before(lane_mask m)
{
    return __popc(__ballot_sync(0xffffffffu, m) & ((1u << lane_index()) - 1u));
}
// write the lanes of v whose mask is set to buffer[0..count_lanes(m)); buffer has LANES of slack
DEVICE void append(REAL* buffer, lane_mask m, lanes v)
{
    const int slot = lanes_before(m);
    if (m) buffer[slot] = v;
}
DEVICE void append(int* buffer, lane_mask m, const int* index)
{
    const int slot = lanes_before(m);
    if (m) buffer[slot] = index[lane_index()];
}

// forces[index] -= f: rows of 4 float64 (x, y, z, unused)
DEVICE void scatter_force(double* forces, const int* index, lanes fx, lanes fy, lanes fz)
{
    double* row = forces + 4 * (size_t)index[lane_index()];
    atomicAdd(row + 0, -(double)fx);
    atomicAdd(row + 1, -(double)fy);
    atomicAdd(row + 2, -(double)fz);
}
// virials[index] -= f (x) (r, 1): rows of 12 float64, (W_xb, W_yb, W_zb, F_b) at 4 b
DEVICE void scatter_virial(double* virials, const int* index, lanes x, lanes y, lanes z, lanes fx, lanes fy, lanes fz)
{
    double* row = virials + 12 * (size_t)index[lane_index()];
    const double r[4] = {x, y, z, 1.0}, f[3] = {fx, fy, fz};
    for (int b = 0; b < 3; ++b)
        for (int a = 0; a < 4; ++a) atomicAdd(row + 4 * b + a, -f[b] * r[a]);
}
// Sum over lanes of v[k] in lane k (mod M), for M = 2^p <= LANES values: at each of p steps a lane keeps half of its
// values and sends the other half to the lane that keeps those.
template <int M> DEVICE REAL reduce_transposed(const lanes (&v)[M])
{
    if constexpr (M == 1) return v[0];
    else {
        constexpr int half = M / 2;
        const bool upper = lane_index() & half;
        lanes kept[half];
        UNROLL for (int k = 0; k < half; ++k)
            kept[k] = (upper ? v[k + half] : v[k]) + __shfl_xor_sync(0xffffffffu, upper ? v[k] : v[k + half], half);
        return reduce_transposed(kept);
    }
}
// out[k] = sum over lanes of v[k]
template <int N> DEVICE void reduce_add_many(const lanes (&v)[N], REAL* out)
{
    constexpr int together = N > 16 ? 32 : N > 8 ? 16 : 8;
    UNROLL for (int first = 0; first < N; first += together) {
        lanes part[together];
        UNROLL for (int k = 0; k < together; ++k) part[k] = first + k < N ? v[first + k < N ? first + k : 0] : (REAL)0;
        REAL sum = reduce_transposed(part);
        UNROLL for (int step = together; step < LANES; step *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
        if (lane_index() < together && first + lane_index() < N) out[first + lane_index()] = sum;
    }
}

// plain and atomic adds of one value to one address
DEVICE void atomic_add(double* address, double value) { atomicAdd(address, value); }
DEVICE void atomic_add(int64_t* address, int64_t value)
{
    atomicAdd((unsigned long long*)address, (unsigned long long)value);
}
DEVICE void atomic_maximum(int* address, int value) { atomicMax(address, value); }
// of values above or at 0, whose bits are in the order of the values; most threads see that theirs is not the largest
DEVICE void atomic_maximum(double* address, double value)
{
    if (value > *(volatile double*)address) atomicMax((long long*)address, __double_as_longlong(value));
}
// the value before
DEVICE int atomic_increment(int* address) { return atomicAdd(address, 1); }
