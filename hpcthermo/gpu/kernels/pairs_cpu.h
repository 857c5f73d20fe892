// Gather, compaction, scatter and small dense products on the CPU.
//
// Plain loops say what is meant; AVX-512 and AVX2 versions of the four that matter for speed follow
// the same statement in registers (4 x 4 transposes instead of gathers, permutes for compaction).
#pragma once

#if defined(__AVX512F__)
#include "pairs_avx512.h"
#elif defined(__AVX2__)
#include "pairs_avx2.h"
#else
#include "pairs_plain.h"
#endif

// lane masks to the compact sets that append and count_lanes take
DEVICE int count_lanes(lane_mask m) { return count_lanes(lane_set_of(m)); }
DEVICE void append(REAL* buffer, lane_mask m, lanes v) { append(buffer, lane_set_of(m), v); }
DEVICE void append(int* buffer, lane_mask m, const int* index) { append(buffer, lane_set_of(m), index); }

// out[k] = sum over lanes of v[k]
template <int N> DEVICE void reduce_add_many(const lanes (&v)[N], REAL* out)
{
    int k = 0;
    for (; k + LANES <= N; k += LANES) store(out + k, reduce_block(v + k));
    for (; k < N; ++k) out[k] = reduce_add(v[k]);
}

// sums[a PADDED + n] = sum over slots of left[a row_length + slot] right[n row_length + slot];
// columns n in [N, PADDED) become 0. slots is a multiple of LANES.
template <int A, int N, int PADDED>
DEVICE void contract_slots(const REAL* left, const REAL* right, int row_length, int slots, REAL* sums)
{
    constexpr int rows_together = sizeof(lanes) == 64 ? 24 : 8;
    for (int first = 0; first < A; first += rows_together)
        for (int column = 0; column < PADDED; column += LANES) {
            lanes total[rows_together];
            UNROLL for (int a = 0; a < rows_together; ++a) total[a] = broadcast(0);
            for (int slot = 0; slot < slots; slot += LANES) {
                alignas(64) REAL rows[LANES * LANES];
                transpose_slots(right + (size_t)column * row_length + slot, row_length, N - column, rows);
                for (int l = 0; l < LANES; ++l) {
                    const lanes row = load(rows + l * LANES);
                    const REAL* value = left + (size_t)first * row_length + slot + l;
                    UNROLL for (int a = 0; a < rows_together; ++a)
                        if (A % rows_together == 0 || first + a < A) total[a] += row * value[(size_t)a * row_length];
                }
            }
            UNROLL for (int a = 0; a < rows_together; ++a)
                if (A % rows_together == 0 || first + a < A) store(sums + (first + a) * PADDED + column, total[a]);
        }
}

// plain and atomic adds of one value to one address
DEVICE void atomic_add(double* address, double value) { *address += value; }
DEVICE int atomic_increment(int* address) { return (*address)++; }
DEVICE void atomic_maximum(int* address, int value) { if (value > *address) *address = value; }
