"""The warp emulator itself: right answers of the primitives, and each kind of fault is found."""

import numpy as np
import pytest
from emulated_gpu import EmulationError, compiled, run_grid

from hpcthermo.gpu.compile import inline_headers

KERNELS = inline_headers(r"""
#include "portable.h"
// out[lane] = in[31 - lane] through memory
KERNEL(reverse)(int synchronised, const double* in, double* scratch, double* out)
{
    const int lane = lane_index();
    scratch[lane] = in[lane];
    if (synchronised) GROUP_SYNC();
    out[lane] = scratch[31 - lane];
}
KERNEL(primitives)(const double* in, double* out)
{
    const int lane = lane_index();
    const double v = in[lane];
    out[lane] = reduce_add(v);
    out[32 + lane] = __ballot_sync(0xffffffffu, v > 0);
    out[64 + lane] = any_lane(v > 100);
    out[96 + lane] = __shfl_sync(0xffffffffu, v, 3);
    out[128 + lane] = __shfl_down_sync(0xffffffffu, v, 1, 8);
    out[160 + lane] = __shfl_up_sync(0xffffffffu, v, 1);
    // half warps on their own, the upper one more often
    const unsigned half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
    float sum = (float)lane;
    for (int step = 8; step > 0; step >>= 1) sum += __shfl_xor_sync(half, sum, step);
    if (lane >= 16) sum += __shfl_sync(half, sum, 16);
    out[192 + lane] = sum;
    out[224 + lane] = __match_any_sync(0xffffffffu, lane % 4);
}
KERNEL(absent)(int how, double* out)
{
    const int lane = lane_index();
    if (how == 0 && lane == 5) return;
    if (how == 1 && lane < 3) GROUP_SYNC();
    if (how == 2) __shfl_xor_sync(0x0000ffffu, 1.0, 1);
    if (how == 3 && lane < 16) out[lane] = __shfl_sync(0x0000ffffu, 1.0, 20);
    GROUP_SYNC();
}
// sums of each block's threads, through shared memory
KERNEL(block_sums)(const int* in, int* out)
{
    __shared__ int parts[64];
    parts[threadIdx.x] = in[blockIdx.x * blockDim.x + threadIdx.x];
    __syncthreads();
    for (int step = 32; step > 0; step >>= 1) {
        if ((int)threadIdx.x < step) parts[threadIdx.x] += parts[threadIdx.x + step];
        __syncthreads();
    }
    if (threadIdx.x == 0) atomicAdd(out + blockIdx.x, parts[0]);
}
KERNEL(half_block)(int* out)
{
    if (threadIdx.x < 32) __syncthreads();
    GROUP_SYNC();
}
""")


@pytest.fixture(scope="module")
def run():
    of_library = compiled("self_test", KERNELS)

    def launch(kernel, *arguments, blocks=1, threads=32, from_last=False):
        run_grid(of_library, KERNELS, kernel, blocks, threads, arguments, from_last)

    return launch


@pytest.mark.parametrize("from_last", [False, True])
def test_primitives(run, from_last):
    v = np.random.default_rng(1).normal(size=32)
    out = np.empty((8, 32))
    run("primitives", v, out, from_last=from_last)
    lane = np.arange(32)
    assert out[0] == pytest.approx(np.full(32, v.sum()))
    assert np.all(out[0] == out[0, 0])
    assert np.all(out[1] == np.sum((v > 0) * 2.0**lane))
    assert np.all(out[2] == 0)
    assert np.all(out[3] == v[3])
    assert np.all(out[4] == np.where(lane % 8 == 7, v, np.roll(v, -1)))
    assert np.all(out[5] == np.where(lane == 0, v, np.roll(v, 1)))
    assert np.all(out[6] == np.where(lane < 16, 120, 2 * 376))
    assert np.all(out[7] == 0x11111111 * 2.0**(lane % 4))


def test_a_missing_synchronisation_shows(run):
    v = np.arange(32.0)
    for from_last in (False, True):
        out = np.empty(32)
        run("reverse", 1, v, np.zeros(32), out, from_last=from_last)
        assert np.array_equal(out, v[::-1])
    first, last = np.empty(32), np.empty(32)
    run("reverse", 0, v, np.full(32, -1.0), first)
    run("reverse", 0, v, np.full(32, -1.0), last, from_last=True)
    assert not np.array_equal(first, last)


@pytest.mark.parametrize(("how", "words"), [
    (0, ["do not come", "00000020: have left", "ffffffdf: at __syncwarp"]),
    (1, ["do not come", "00000007: at __syncwarp", "fffffff8: at __syncwarp", "how == 1"]),
    (2, ["does not name it"]),
    (3, ["not in its mask"]),
])
def test_lanes_that_do_not_arrive_are_named(run, how, words):
    with pytest.raises(EmulationError) as error:
        run("absent", how, np.empty(32))
    assert all(word in str(error.value) for word in words), str(error.value)
    # and the next launch is not disturbed
    run("reverse", 1, np.arange(32.0), np.empty(32), np.empty(32))


@pytest.mark.parametrize("from_last", [False, True])
def test_blocks_and_shared_memory(run, from_last):
    v = np.arange(192, dtype=np.int32)
    out = np.zeros(3, np.int32)
    run("block_sums", v, out, blocks=3, threads=64, from_last=from_last)
    assert np.array_equal(out, v.reshape(3, 64).sum(axis=1))


def test_part_of_a_block_at_a_block_barrier(run):
    # threads that have left do not count at a block barrier, as on a GPU
    run("half_block", np.zeros(1, np.int32), threads=64)
    with pytest.raises(EmulationError, match="takes 1 arguments, not 2"):
        run("half_block", np.zeros(1, np.int32), 1)


def test_argument_types_are_checked(run):
    v = np.zeros(32)
    for arguments in ((1, np.zeros(32, np.float32), v, v), (1.0, v, v, v), (1, v, v, 3)):
        with pytest.raises(EmulationError, match="of another type"):
            run("reverse", *arguments)
