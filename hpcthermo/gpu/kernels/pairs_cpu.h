// Gather, compaction, scatter and small dense products on the CPU.
//
// Plain loops say what is meant; AVX-512 and AVX2 versions of the four that matter for speed follow
// the same statement in registers (4 x 4 transposes instead of gathers, permutes for compaction).
#pragma once

// row[type] by lane, for any number of types
struct MemoryPick {
    int type[LANES];
    MEMBER explicit MemoryPick(const REAL* types)
    {
        for (int l = 0; l < LANES; ++l) type[l] = (int)types[l];
    }
    MEMBER lanes operator()(const REAL* row) const
    {
        lanes v;
        UNROLL for (int l = 0; l < LANES; ++l) v[l] = row[type[l]];
        return v;
    }
};

#if defined(__AVX512F__)
#include "pairs_avx512.h"
#elif defined(__AVX2__)
#include "pairs_avx2.h"
#else
#include "pairs_plain.h"
#endif
#if defined(__AVX2__)  // also with AVX-512
#include "pairs_scatter.h"
#endif

// lane masks to the compact sets that append and count_lanes take
DEVICE int count_lanes(lane_mask m) { return count_lanes(lane_set_of(m)); }
DEVICE void append(REAL* buffer, lane_mask m, lanes v) { append(buffer, lane_set_of(m), v); }
DEVICE void append(int* buffer, lane_mask m, const int* index) { append(buffer, lane_set_of(m), index); }

// the statement given last, in which pick(row) = row[type of the lane] for the types of LANES slots
#define WITH_PICK(types, n_types, ...)                       \
    if (MOST_ROW_TYPES > 0 && (n_types) <= MOST_ROW_TYPES) { \
        const RowPick pick(types);                           \
        __VA_ARGS__;                                         \
    } else {                                                 \
        const MemoryPick pick(types);                        \
        __VA_ARGS__;                                         \
    }

// out[k] = sum over lanes of v[k]
template <int N> DEVICE void reduce_add_many(const lanes (&v)[N], REAL* out)
{
    constexpr int whole = N / LANES * LANES;
    UNROLL for (int k = 0; k < whole; k += LANES) store(out + k, reduce_block(v + k));
    if constexpr (N - whole > 2) {
        lanes rest[LANES];
        UNROLL for (int k = 0; k < LANES; ++k) rest[k] = whole + k < N ? v[whole + k < N ? whole + k : 0] : broadcast(0);
        const lanes sums = reduce_block(rest);
        memcpy(out + whole, &sums, (N - whole) * sizeof(REAL));
    } else {
        for (int k = whole; k < N; ++k) out[k] = reduce_add(v[k]);
    }
}

// COLUMNS columns of contract_slots with the lanes of a Row (a whole or half vector) over columns
template <class Row, int A, int COLUMNS, int PADDED>
DEVICE void contract_lanes_over_columns(const REAL* left, const REAL* right, int row_length, int slots, REAL* sums)
{
    constexpr int rows_together = sizeof(lanes) == 64 ? 24 : 12, slots_together = 4 * LANES;
    for (int start = 0; start < slots; start += slots_together) {
        const int end = slots - start < slots_together ? slots - start : slots_together;
        alignas(64) REAL rows[slots_together * LANES];
        for (int slot = 0; slot < end; slot += LANES)
            transpose_slots<COLUMNS>(right + start + slot, row_length, rows + slot * LANES);
        for (int first = 0; first < A; first += rows_together) {
            Row total[rows_together];
            UNROLL for (int a = 0; a < rows_together; ++a)
                if (A % rows_together == 0 || first + a < A) memcpy(&total[a], sums + (first + a) * PADDED, sizeof(Row));
            for (int slot = 0; slot < end; ++slot) {
                Row row;
                memcpy(&row, rows + slot * LANES, sizeof row);
                const REAL* value = left + (size_t)first * row_length + start + slot;
                UNROLL for (int a = 0; a < rows_together; ++a)
                    if (A % rows_together == 0 || first + a < A) total[a] += row * value[(size_t)a * row_length];
            }
            UNROLL for (int a = 0; a < rows_together; ++a)
                if (A % rows_together == 0 || first + a < A) memcpy(sums + (first + a) * PADDED, &total[a], sizeof(Row));
        }
    }
}
// one column with lanes over slots
template <int A, int PADDED>
DEVICE void contract_lanes_over_slots(const REAL* left, const REAL* right, int row_length, int slots, REAL* sums)
{
    constexpr int rows_together = sizeof(lanes) == 64 ? 24 : 8;
    for (int first = 0; first < A; first += rows_together) {
        lanes total[rows_together];
        UNROLL for (int a = 0; a < rows_together; ++a) total[a] = broadcast(0);
        for (int slot = 0; slot < slots; slot += LANES) {
            const lanes column = load(right + slot);
            UNROLL for (int a = 0; a < rows_together; ++a)
                if (A % rows_together == 0 || first + a < A) total[a] += column * load(left + (size_t)(first + a) * row_length + slot);
        }
        REAL reduced[rows_together];
        reduce_add_many(total, reduced);
        for (int a = 0; a < rows_together && first + a < A; ++a) sums[(first + a) * PADDED] = reduced[a];
    }
}

// sums[a PADDED + n] = sum over slots of left[a row_length + slot] right[n row_length + slot];
// columns n in [N, PADDED) become 0. right is readable, and 0, up to a multiple of LANES slots.
// The columns fill whole vectors, then half a vector, and up to three that are left take lanes over slots.
template <int A, int N, int PADDED>
DEVICE void contract_slots(const REAL* left, const REAL* right, int row_length, int slots, REAL* sums)
{
    for (int k = 0; k < A * PADDED; k += LANES) store(sums + k, broadcast(0));
    constexpr int half = sizeof(half_lanes) < sizeof(lanes) ? LANES / 2 : 0;
    constexpr int rest = N % LANES, few = LANES < 8 ? 1 : 3;
    constexpr bool use_half = half > 0 && rest > few && rest <= half + few;
    constexpr int whole = rest > few && !use_half ? PADDED : N / LANES * LANES;
    constexpr int by_columns = use_half ? whole + half : whole;
    UNROLL for (int n = 0; n < whole; n += LANES) {
        if (n + LANES <= N)
            contract_lanes_over_columns<lanes, A, LANES, PADDED>(left, right + (size_t)n * row_length, row_length, slots, sums + n);
        else
            contract_lanes_over_columns<lanes, A, rest, PADDED>(left, right + (size_t)n * row_length, row_length, slots, sums + n);
    }
    if constexpr (use_half)
        contract_lanes_over_columns<half_lanes, A, (rest < half ? rest : half), PADDED>(
            left, right + (size_t)whole * row_length, row_length, slots, sums + whole);
    UNROLL for (int n = by_columns; n < N; ++n)
        contract_lanes_over_slots<A, PADDED>(left, right + (size_t)n * row_length, row_length, slots, sums + n);
}

// plain and atomic adds of one value to one address
DEVICE void atomic_add(double* address, double value) { *address += value; }
DEVICE void atomic_maximum(int* address, int value) { if (value > *address) *address = value; }
DEVICE void atomic_maximum(double* address, double value) { if (value > *address) *address = value; }
// the value before
DEVICE int atomic_increment(int* address) { return (*address)++; }
