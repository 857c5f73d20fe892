// The GPU side of portable.h: a group is one warp, a lane one of its threads.
#pragma once

#define DEVICE static __device__ __forceinline__
#define MEMBER __device__ __forceinline__
#define KERNEL(name) extern "C" __global__ void name
// a kernel of which at least `blocks` blocks are to run on a multiprocessor at once, which limits its registers
#define KERNEL_RESIDENT(name, blocks) extern "C" __global__ void __launch_bounds__(32 * GROUPS_PER_BLOCK, blocks) name
#define LANES 32
#ifndef GROUPS_PER_BLOCK
#define GROUPS_PER_BLOCK 4
#endif

typedef REAL lanes;
typedef bool lane_mask;
typedef int int32_t;
typedef long long int64_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;

DEVICE int lane_index() { return threadIdx.x & 31; }
DEVICE int group_in_block() { return threadIdx.x >> 5; }

// ---- who works on what --------------------------------------------------------------------------
#define FOR_EACH_GROUP(item, begin, end) \
    for (int item = (begin) + (int)(blockIdx.x * GROUPS_PER_BLOCK) + group_in_block(); item < (end); \
         item += (int)(gridDim.x * GROUPS_PER_BLOCK))
// each block takes a run of consecutive items, so that its warps meet the same neighbours in the cache
#define FOR_EACH_NEARBY_GROUP(item, begin, end)                                                                       \
    for (int run_ = (((end) - (begin)) + (int)gridDim.x - 1) / (int)gridDim.x,                                        \
             item = (begin) + (int)blockIdx.x * run_ + group_in_block(),                                              \
             last_ = (begin) + ((int)blockIdx.x + 1) * run_ < (end) ? (begin) + ((int)blockIdx.x + 1) * run_ : (end); \
         item < last_; item += GROUPS_PER_BLOCK)
#define FOR_EACH_THREAD(item, begin, end) \
    for (int item = (begin) + (int)(blockIdx.x * blockDim.x + threadIdx.x); item < (end); \
         item += (int)(gridDim.x * blockDim.x))
#define FOR_LANE_ELEMENTS(k, n) for (int k = lane_index(); k < (n); k += LANES)
#define GROUP_SYNC() __syncwarp()
#define ONE_LANE if (lane_index() == 0)
// number of this group among all that run at once (slices of scratch memory)
#define GROUP_IN_GRID() ((int)(blockIdx.x * GROUPS_PER_BLOCK) + group_in_block())
#define UNROLL _Pragma("unroll")
// a counter that runs evenly, for shares of time
#define CYCLES() ((double)clock64())

// bring a cache line that will be read soon: warps hide latency instead
DEVICE void prefetch(const void*) {}

// ---- lanes --------------------------------------------------------------------------------------
DEVICE lanes broadcast(REAL value) { return value; }
DEVICE lanes load(const REAL* p) { return p[lane_index()]; }
DEVICE void store(REAL* p, lanes v) { p[lane_index()] = v; }
DEVICE lanes select(lane_mask m, lanes a, lanes b) { return m ? a : b; }
DEVICE lanes minimum(lanes a, lanes b) { return a < b ? a : b; }
DEVICE lanes maximum(lanes a, lanes b) { return a > b ? a : b; }
// 0, 1, ..., LANES - 1
DEVICE lanes lane_numbers() { return (REAL)lane_index(); }
DEVICE bool any_lane(lane_mask m) { return __any_sync(0xffffffffu, m); }
// one bit per lane whose mask is set; how many bits, and how many of lanes before this one
DEVICE unsigned lane_bits(lane_mask m) { return __ballot_sync(0xffffffffu, m); }
DEVICE int count_bits(unsigned bits) { return __popc(bits); }
DEVICE int bits_before(unsigned bits) { return __popc(bits & ((1u << lane_index()) - 1u)); }
DEVICE REAL reduce_add(lanes v)
{
    for (int step = 16; step > 0; step >>= 1) v += __shfl_xor_sync(0xffffffffu, v, step);
    return v;
}
DEVICE lanes sqrt_lanes(lanes v) { return sqrt(v); }
DEVICE lanes inverse_sqrt(lanes v) { return rsqrt(v); }
DEVICE lanes round_lanes(lanes v) { return rint(v); }
DEVICE int64_t nearest_integer(float v) { return llrintf(v); }
DEVICE int64_t nearest_integer(double v) { return llrint(v); }
DEVICE lanes scale_by_power_of_two(lanes v, lanes n) { return ldexp(v, (int)n); }
// v = m 2^exponent with 1 <= m < 2, for positive normal v
DEVICE lanes split_mantissa(lanes v, lanes& exponent)
{
    int e;
    const lanes half = frexp(v, &e);
    exponent = (REAL)(e - 1);
    return half + half;
}

// ---- integers by lane, in memory ------------------------------------------------------------------
// table[index[l]]
DEVICE lanes gather(const REAL* table, const int* index) { return table[index[lane_index()]]; }
DEVICE void gather_rows(const REAL* table, const int* start, lanes (&out)[16])
{
    UNROLL for (int v = 0; v < 16; ++v) out[v] = table[start[lane_index()] + v];
}
// whether index[0..LANES) are known to be one number; a machine on which that saves nothing says no
DEVICE bool all_equal(const int*) { return false; }
// index[l] != value
DEVICE lane_mask differs(const int* index, int value) { return index[lane_index()] != value; }
