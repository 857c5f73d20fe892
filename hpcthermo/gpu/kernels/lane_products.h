// Dense products whose elements are lanes: each lane has its own matrix on the right, all share the numbers on the left.
//
//   multiply    Y[m][c]  = sum_k A[m][k] X[k][c]                              A numbers; X, Y lanes
//   add_outer   G[m][k] += sum_c L[m][c] R[k][c] + L'[m][c] R'[k][c]          all lanes
//
// Blocks of 4 by 3 elements stay in registers: 12 sums, 3 columns and a number are the 16 of AVX2.
#pragma once
#include "portable.h"

#if HPCTHERMO_GPU
#define OUTLINED static __device__ __attribute__((noinline))
#else
#define OUTLINED static __attribute__((noinline))
#endif

// element (i, c) at start + (i row + c column) LANES
template <class Number> struct LaneMatrix {
    Number* start;
    int row, column;
    MEMBER Number* at(int i, int c) const { return start + ((size_t)i * row + (size_t)c * column) * LANES; }
};
typedef LaneMatrix<const REAL> LaneInput;
typedef LaneMatrix<REAL> LaneOutput;
// element (m, k) at start[m row + k column]
struct NumberMatrix {
    const REAL* start;
    int row, column;
};

template <int M, int C> OUTLINED void multiply_block(NumberMatrix a, int n_k, LaneInput x, LaneOutput y)
{
    lanes sum[M][C];
    UNROLL for (int m = 0; m < M; ++m)
        UNROLL for (int c = 0; c < C; ++c) sum[m][c] = broadcast(0);
    const REAL *number = a.start, *column = x.start;
    const size_t x_step = (size_t)x.column * LANES;
    for (int k = 0; k < n_k; ++k) {
        lanes in[C];
        UNROLL for (int c = 0; c < C; ++c) in[c] = load(column + c * x_step);
        UNROLL for (int m = 0; m < M; ++m) {
            const REAL weight = number[(size_t)m * a.row];
            UNROLL for (int c = 0; c < C; ++c) sum[m][c] += weight * in[c];
        }
        number += a.column;
        column += (size_t)x.row * LANES;
    }
    UNROLL for (int m = 0; m < M; ++m)
        UNROLL for (int c = 0; c < C; ++c) store(y.at(m, c), sum[m][c]);
}
template <int C> DEVICE void multiply_columns(NumberMatrix a, int n_m, int n_k, LaneInput x, LaneOutput y)
{
    int m = 0;
    for (; m + 4 <= n_m; m += 4)
        multiply_block<4, C>({a.start + (size_t)m * a.row, a.row, a.column}, n_k, x, {y.at(m, 0), y.row, y.column});
    const NumberMatrix rest = {a.start + (size_t)m * a.row, a.row, a.column};
    const LaneOutput out = {y.at(m, 0), y.row, y.column};
    if (n_m - m == 3) multiply_block<3, C>(rest, n_k, x, out);
    else if (n_m - m == 2) multiply_block<2, C>(rest, n_k, x, out);
    else if (n_m - m == 1) multiply_block<1, C>(rest, n_k, x, out);
}
OUTLINED void multiply(NumberMatrix a, int n_m, int n_k, LaneInput x, int n_c, LaneOutput y)
{
    int c = 0;
    for (; c + 3 <= n_c; c += 3)
        multiply_columns<3>(a, n_m, n_k, {x.at(0, c), x.row, x.column}, {y.at(0, c), y.row, y.column});
    const LaneInput in = {x.at(0, c), x.row, x.column};
    const LaneOutput out = {y.at(0, c), y.row, y.column};
    if (n_c - c == 2) multiply_columns<2>(a, n_m, n_k, in, out);
    else if (n_c - c == 1) multiply_columns<1>(a, n_m, n_k, in, out);
}

template <int M, int K>
OUTLINED void add_outer_block(LaneOutput g, int n_c, LaneInput left1, LaneInput right1, LaneInput left2, LaneInput right2)
{
    lanes sum[M][K];
    UNROLL for (int m = 0; m < M; ++m)
        UNROLL for (int k = 0; k < K; ++k) sum[m][k] = load(g.at(m, k));
    for (int c = 0; c < n_c; ++c) {
        lanes in[K];
        UNROLL for (int k = 0; k < K; ++k) in[k] = load(right1.at(k, c));
        UNROLL for (int m = 0; m < M; ++m) {
            const lanes factor = load(left1.at(m, c));
            UNROLL for (int k = 0; k < K; ++k) sum[m][k] += factor * in[k];
        }
        UNROLL for (int k = 0; k < K; ++k) in[k] = load(right2.at(k, c));
        UNROLL for (int m = 0; m < M; ++m) {
            const lanes factor = load(left2.at(m, c));
            UNROLL for (int k = 0; k < K; ++k) sum[m][k] += factor * in[k];
        }
    }
    UNROLL for (int m = 0; m < M; ++m)
        UNROLL for (int k = 0; k < K; ++k) store(g.at(m, k), sum[m][k]);
}
template <int M>
DEVICE void add_outer_rows(LaneOutput g, int n_k, int n_c, LaneInput left1, LaneInput right1, LaneInput left2, LaneInput right2)
{
    int k = 0;
    for (; k + 3 <= n_k; k += 3)
        add_outer_block<M, 3>({g.at(0, k), g.row, g.column}, n_c, left1, {right1.at(k, 0), right1.row, right1.column},
                              left2, {right2.at(k, 0), right2.row, right2.column});
    const LaneOutput rest = {g.at(0, k), g.row, g.column};
    const LaneInput in1 = {right1.at(k, 0), right1.row, right1.column}, in2 = {right2.at(k, 0), right2.row, right2.column};
    if (n_k - k == 2) add_outer_block<M, 2>(rest, n_c, left1, in1, left2, in2);
    else if (n_k - k == 1) add_outer_block<M, 1>(rest, n_c, left1, in1, left2, in2);
}
OUTLINED void add_outer(LaneOutput g, int n_m, int n_k, int n_c, LaneInput left1, LaneInput right1, LaneInput left2,
                        LaneInput right2)
{
    int m = 0;
    for (; m + 4 <= n_m; m += 4)
        add_outer_rows<4>({g.at(m, 0), g.row, g.column}, n_k, n_c, {left1.at(m, 0), left1.row, left1.column}, right1,
                          {left2.at(m, 0), left2.row, left2.column}, right2);
    const LaneOutput rest = {g.at(m, 0), g.row, g.column};
    const LaneInput in1 = {left1.at(m, 0), left1.row, left1.column}, in2 = {left2.at(m, 0), left2.row, left2.column};
    if (n_m - m == 3) add_outer_rows<3>(rest, n_k, n_c, in1, right1, in2, right2);
    else if (n_m - m == 2) add_outer_rows<2>(rest, n_k, n_c, in1, right1, in2, right2);
    else if (n_m - m == 1) add_outer_rows<1>(rest, n_k, n_c, in1, right1, in2, right2);
}
