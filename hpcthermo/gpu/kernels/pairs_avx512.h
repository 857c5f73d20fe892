// pairs_cpu.h with AVX-512: what pairs_plain.h states, in registers.
#pragma once

// ---- four columns out of rows of four -------------------------------------------------------------
// Lanes are dealt to 128-bit (float) or 256-bit (double) blocks so that one round of 4 x 4 transposes
// brings lane l of the columns from row l.
template <class Row> DEVICE void load_columns(Row row, __m512& x, __m512& y, __m512& z, __m512& w)
{
    __m512 part[4];
    UNROLL for (int i = 0; i < 4; ++i) {
        part[i] = _mm512_castps128_ps512(_mm_loadu_ps((const float*)row(i)));
        part[i] = _mm512_insertf32x4(part[i], _mm_loadu_ps((const float*)row(4 + i)), 1);
        part[i] = _mm512_insertf32x4(part[i], _mm_loadu_ps((const float*)row(8 + i)), 2);
        part[i] = _mm512_insertf32x4(part[i], _mm_loadu_ps((const float*)row(12 + i)), 3);
    }
    const __m512d xy01 = (__m512d)_mm512_unpacklo_ps(part[0], part[1]), zw01 = (__m512d)_mm512_unpackhi_ps(part[0], part[1]);
    const __m512d xy23 = (__m512d)_mm512_unpacklo_ps(part[2], part[3]), zw23 = (__m512d)_mm512_unpackhi_ps(part[2], part[3]);
    x = (__m512)_mm512_unpacklo_pd(xy01, xy23);
    y = (__m512)_mm512_unpackhi_pd(xy01, xy23);
    z = (__m512)_mm512_unpacklo_pd(zw01, zw23);
    w = (__m512)_mm512_unpackhi_pd(zw01, zw23);
}
template <class Row> DEVICE void load_columns(Row row, __m512d& x, __m512d& y, __m512d& z, __m512d& w)
{
    auto two_rows = [&](int i, int j) {
        return _mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_loadu_pd((const double*)row(i))),
                                  _mm256_loadu_pd((const double*)row(j)), 1);
    };
    const __m512d a = two_rows(0, 2), b = two_rows(1, 3), c = two_rows(4, 6), d = two_rows(5, 7);
    const __m512d xz_low = _mm512_unpacklo_pd(a, b), yw_low = _mm512_unpackhi_pd(a, b);
    const __m512d xz_high = _mm512_unpacklo_pd(c, d), yw_high = _mm512_unpackhi_pd(c, d);
    x = _mm512_shuffle_f64x2(xz_low, xz_high, 0x88);
    z = _mm512_shuffle_f64x2(xz_low, xz_high, 0xdd);
    y = _mm512_shuffle_f64x2(yw_low, yw_high, 0x88);
    w = _mm512_shuffle_f64x2(yw_low, yw_high, 0xdd);
}

// r_j - r_i and the types of LANES neighbours j = index[0..LANES)
DEVICE void load_neighbors(const Position* positions, const int* index, const Position& centre,
                           double scale, lanes& x, lanes& y, lanes& z, lanes& type)
{
    const auto row = [&](int l) { return positions + index[l]; };
    if constexpr (sizeof(REAL) == 4) {
        __m512 jx, jy, jz, jw;
        load_columns(row, jx, jy, jz, jw);
        const auto difference = [&](__m512 j, int i) {
            return (lanes)_mm512_cvtepi32_ps(_mm512_sub_epi32((__m512i)j, _mm512_set1_epi32(i))) * (REAL)scale;
        };
        x = difference(jx, (int)centre.x);
        y = difference(jy, (int)centre.y);
        z = difference(jz, (int)centre.z);
        type = (lanes)_mm512_cvtepi32_ps((__m512i)jw);
    } else {
        __m512d jx, jy, jz, jw;
        load_columns(row, jx, jy, jz, jw);
        type = (lanes)jw;
        x = (lanes)jx - (REAL)centre.x;
        y = (lanes)jy - (REAL)centre.y;
        z = (lanes)jz - (REAL)centre.z;
    }
}

// ---- entries of a row over types --------------------------------------------------------------------
// row[type] by lane, from up to MOST_ROW_TYPES types; that many entries are readable
constexpr int MOST_ROW_TYPES = 16;
struct RowPick {
    __m512i type;
    MEMBER explicit RowPick(const REAL* types)
    {
        if constexpr (sizeof(REAL) == 4) type = _mm512_cvtps_epi32((__m512)load(types));
        else type = _mm512_cvtpd_epi64((__m512d)load(types));
    }
    MEMBER lanes operator()(const REAL* row) const
    {
        if constexpr (sizeof(REAL) == 4) return (lanes)_mm512_permutexvar_ps(type, _mm512_loadu_ps(row));
        else return (lanes)_mm512_permutex2var_pd(_mm512_loadu_pd(row), type, _mm512_loadu_pd(row + 8));
    }
};

// ---- compaction ---------------------------------------------------------------------------------
struct lane_set { unsigned bits; };
DEVICE lane_set lane_set_of(lane_mask m)
{
    if constexpr (sizeof(REAL) == 4) return {(unsigned)_mm512_movepi32_mask((__m512i)m)};
    else return {(unsigned)_mm512_movepi64_mask((__m512i)m)};
}
DEVICE int count_lanes(lane_set set) { return __builtin_popcount(set.bits); }
// compress in the register, then store whole: a compressing store is far slower
DEVICE void append(REAL* buffer, lane_set set, lanes v)
{
    if constexpr (sizeof(REAL) == 4) _mm512_storeu_ps((float*)buffer, _mm512_maskz_compress_ps((__mmask16)set.bits, (__m512)v));
    else _mm512_storeu_pd((double*)buffer, _mm512_maskz_compress_pd((__mmask8)set.bits, (__m512d)v));
}
DEVICE void append(int* buffer, lane_set set, const int* index)
{
    if constexpr (sizeof(REAL) == 4)
        _mm512_storeu_si512(buffer, _mm512_maskz_compress_epi32((__mmask16)set.bits, _mm512_loadu_si512(index)));
    else
        _mm256_storeu_si256((__m256i*)buffer,
                            _mm256_maskz_compress_epi32((__mmask8)set.bits, _mm256_loadu_si256((const __m256i*)index)));
}

// ---- scatter --------------------------------------------------------------------------------------
// rows (x, y, z, w) of lane l at quads + 4 quad_of_lane(l)
DEVICE int quad_of_lane(int l)
{
    if constexpr (sizeof(REAL) == 4) return (l & 3) * 4 + (l >> 2);
    else return (l & 1) * 4 + (l >> 2) * 2 + ((l >> 1) & 1);
}
DEVICE void store_quads(REAL* quads, lanes x, lanes y, lanes z, lanes w)
{
    if constexpr (sizeof(REAL) == 4) {
        const __m512d xy_low = (__m512d)_mm512_unpacklo_ps((__m512)x, (__m512)y), xy_high = (__m512d)_mm512_unpackhi_ps((__m512)x, (__m512)y);
        const __m512d zw_low = (__m512d)_mm512_unpacklo_ps((__m512)z, (__m512)w), zw_high = (__m512d)_mm512_unpackhi_ps((__m512)z, (__m512)w);
        _mm512_store_pd((void*)quads, _mm512_unpacklo_pd(xy_low, zw_low));
        _mm512_store_pd((void*)(quads + 16), _mm512_unpackhi_pd(xy_low, zw_low));
        _mm512_store_pd((void*)(quads + 32), _mm512_unpacklo_pd(xy_high, zw_high));
        _mm512_store_pd((void*)(quads + 48), _mm512_unpackhi_pd(xy_high, zw_high));
    } else {
        const __m512d xy_even = _mm512_unpacklo_pd((__m512d)x, (__m512d)y), xy_odd = _mm512_unpackhi_pd((__m512d)x, (__m512d)y);
        const __m512d zw_even = _mm512_unpacklo_pd((__m512d)z, (__m512d)w), zw_odd = _mm512_unpackhi_pd((__m512d)z, (__m512d)w);
        const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
        _mm512_store_pd((void*)quads, _mm512_permutex2var_pd(xy_even, low, zw_even));
        _mm512_store_pd((void*)(quads + 8), _mm512_permutex2var_pd(xy_even, high, zw_even));
        _mm512_store_pd((void*)(quads + 16), _mm512_permutex2var_pd(xy_odd, low, zw_odd));
        _mm512_store_pd((void*)(quads + 24), _mm512_permutex2var_pd(xy_odd, high, zw_odd));
    }
}
// the lanes as float64, in order
DEVICE void store_doubles(double* out, lanes v)
{
    if constexpr (sizeof(REAL) == 4) {
        _mm512_store_pd(out, _mm512_cvtps_pd(_mm512_castps512_ps256((__m512)v)));
        _mm512_store_pd(out + 8, _mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)v, 1)));
    } else {
        _mm512_store_pd(out, (__m512d)v);
    }
}

// ---- transposed reductions ------------------------------------------------------------------------
// lane k of the result is the sum over lanes of v[k], k < LANES
DEVICE lanes reduce_block(const lanes* v)
{
    if constexpr (sizeof(REAL) == 4) {
        __m512 four[4];
        UNROLL for (int i = 0; i < 4; ++i) {
            const __m512 a = (__m512)v[4 * i], b = (__m512)v[4 * i + 1], c = (__m512)v[4 * i + 2], d = (__m512)v[4 * i + 3];
            const __m512d ab = (__m512d)_mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            const __m512d cd = (__m512d)_mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            four[i] = _mm512_add_ps((__m512)_mm512_unpacklo_pd(ab, cd), (__m512)_mm512_unpackhi_pd(ab, cd));
        }
        const __m512 low = _mm512_add_ps(_mm512_shuffle_f32x4(four[0], four[1], 0x44), _mm512_shuffle_f32x4(four[0], four[1], 0xee));
        const __m512 high = _mm512_add_ps(_mm512_shuffle_f32x4(four[2], four[3], 0x44), _mm512_shuffle_f32x4(four[2], four[3], 0xee));
        return (lanes)_mm512_add_ps(_mm512_shuffle_f32x4(low, high, 0x88), _mm512_shuffle_f32x4(low, high, 0xdd));
    } else {
        __m512d two[4];
        UNROLL for (int i = 0; i < 4; ++i)
            two[i] = _mm512_add_pd(_mm512_unpacklo_pd((__m512d)v[2 * i], (__m512d)v[2 * i + 1]),
                                   _mm512_unpackhi_pd((__m512d)v[2 * i], (__m512d)v[2 * i + 1]));
        const __m512d low = _mm512_add_pd(_mm512_shuffle_f64x2(two[0], two[1], 0x44), _mm512_shuffle_f64x2(two[0], two[1], 0xee));
        const __m512d high = _mm512_add_pd(_mm512_shuffle_f64x2(two[2], two[3], 0x44), _mm512_shuffle_f64x2(two[2], two[3], 0xee));
        return (lanes)_mm512_add_pd(_mm512_shuffle_f64x2(low, high, 0x88), _mm512_shuffle_f64x2(low, high, 0xdd));
    }
}
// rows[l LANES + n] = columns[n row_length + l] for n < N, 0 in the rest of the last four; l < LANES
typedef REAL half_lanes __attribute__((vector_size(32)));
template <int N> DEVICE void transpose_slots(const REAL* columns, int row_length, REAL* rows)
{
    const auto column = [&](int n) { return n < N ? load(columns + (size_t)n * row_length) : broadcast(0); };
    UNROLL for (int n = 0; n < LANES; n += 4) {
        if (n >= N && n >= LANES / 2 && N <= LANES / 2) continue;  // the half not in use
        alignas(64) REAL quads[4 * LANES];
        if (n < N) store_quads(quads, column(n), column(n + 1), column(n + 2), column(n + 3));
        else memset(quads, 0, sizeof quads);
        UNROLL for (int l = 0; l < LANES; ++l) memcpy(rows + l * LANES + n, quads + 4 * quad_of_lane(l), 4 * sizeof(REAL));
    }
}
