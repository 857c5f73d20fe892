// pairs_cpu.h with AVX2: what pairs_plain.h states, in registers.
#pragma once

// ---- four columns out of rows of four -------------------------------------------------------------
template <class Row> DEVICE void load_columns(Row row, __m256& x, __m256& y, __m256& z, __m256& w)
{
    const auto two_rows = [&](int i) {
        return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps((const float*)row(i))),
                                    _mm_loadu_ps((const float*)row(4 + i)), 1);
    };
    const __m256 a = two_rows(0), b = two_rows(1), c = two_rows(2), d = two_rows(3);
    const __m256d xy_low = (__m256d)_mm256_unpacklo_ps(a, b), zw_low = (__m256d)_mm256_unpackhi_ps(a, b);
    const __m256d xy_high = (__m256d)_mm256_unpacklo_ps(c, d), zw_high = (__m256d)_mm256_unpackhi_ps(c, d);
    x = (__m256)_mm256_unpacklo_pd(xy_low, xy_high);
    y = (__m256)_mm256_unpackhi_pd(xy_low, xy_high);
    z = (__m256)_mm256_unpacklo_pd(zw_low, zw_high);
    w = (__m256)_mm256_unpackhi_pd(zw_low, zw_high);
}
template <class Row> DEVICE void load_columns(Row row, __m256d& x, __m256d& y, __m256d& z, __m256d& w)
{
    const auto one_row = [&](int i) { return _mm256_loadu_pd((const double*)row(i)); };
    const __m256d a = one_row(0), b = one_row(1), c = one_row(2), d = one_row(3);
    const __m256d xz_low = _mm256_unpacklo_pd(a, b), yw_low = _mm256_unpackhi_pd(a, b);
    const __m256d xz_high = _mm256_unpacklo_pd(c, d), yw_high = _mm256_unpackhi_pd(c, d);
    x = _mm256_permute2f128_pd(xz_low, xz_high, 0x20);
    y = _mm256_permute2f128_pd(yw_low, yw_high, 0x20);
    z = _mm256_permute2f128_pd(xz_low, xz_high, 0x31);
    w = _mm256_permute2f128_pd(yw_low, yw_high, 0x31);
}

// r_j - r_i and the types of LANES neighbours j = index[0..LANES)
DEVICE void load_neighbors(const Position* positions, const int* index, const Position& centre,
                           double scale, lanes& x, lanes& y, lanes& z, lanes& type)
{
    const auto row = [&](int l) { return positions + index[l]; };
    if constexpr (sizeof(REAL) == 4) {
        __m256 jx, jy, jz, jw;
        load_columns(row, jx, jy, jz, jw);
        const auto difference = [&](__m256 j, int i) {
            return (lanes)_mm256_cvtepi32_ps(_mm256_sub_epi32((__m256i)j, _mm256_set1_epi32(i))) * (REAL)scale;
        };
        x = difference(jx, (int)centre.x);
        y = difference(jy, (int)centre.y);
        z = difference(jz, (int)centre.z);
        type = (lanes)_mm256_cvtepi32_ps((__m256i)jw);
    } else {
        __m256d jx, jy, jz, jw;
        load_columns(row, jx, jy, jz, jw);
        type = (lanes)jw;
        x = (lanes)jx - (REAL)centre.x;
        y = (lanes)jy - (REAL)centre.y;
        z = (lanes)jz - (REAL)centre.z;
    }
}

// ---- entries of a row over types --------------------------------------------------------------------
// row[type] by lane, from up to MOST_ROW_TYPES types; that many entries are readable
constexpr int MOST_ROW_TYPES = sizeof(REAL) == 4 ? 16 : 0;
template <class R> struct RowPickOf { typedef MemoryPick type; };
struct FloatRowPick {
    __m256i type;
    __m256 upper;
    MEMBER explicit FloatRowPick(const REAL* types)
    {
        type = _mm256_cvtps_epi32(_mm256_loadu_ps((const float*)types));
        upper = (__m256)_mm256_cmpgt_epi32(type, _mm256_set1_epi32(7));
    }
    MEMBER lanes operator()(const REAL* row) const
    {
        const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps((const float*)row), type);
        const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps((const float*)row + 8), type);
        return (lanes)_mm256_blendv_ps(low, high, upper);
    }
};
template <> struct RowPickOf<float> { typedef FloatRowPick type; };
typedef RowPickOf<REAL>::type RowPick;

// ---- compaction ---------------------------------------------------------------------------------
struct lane_set { unsigned bits; };
DEVICE lane_set lane_set_of(lane_mask m)
{
    if constexpr (sizeof(REAL) == 4) return {(unsigned)_mm256_movemask_ps((__m256)m)};
    else return {(unsigned)_mm256_movemask_pd((__m256d)m)};
}
DEVICE int count_lanes(lane_set set) { return __builtin_popcount(set.bits); }
// for each of 8 (4) lanes a byte (two bytes): the numbers of the 32-bit parts to keep, moved to the front
DEVICE __m256i kept_parts(unsigned bits, int parts_per_lane)
{
    const uint64_t every_part = parts_per_lane == 1 ? 0x0101010101010101ull : 0x0001000100010001ull;
    const uint64_t keep = _pdep_u64(bits, every_part) * (parts_per_lane == 1 ? 0xffull : 0xffffull);
    return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)_pext_u64(0x0706050403020100ull, keep)));
}
// write the lanes of v that are in the set to buffer[0..count_lanes(set)); buffer has LANES of slack
DEVICE void append(REAL* buffer, lane_set set, lanes v)
{
    const __m256i order = kept_parts(set.bits, sizeof(REAL) / 4);
    _mm256_storeu_ps((float*)buffer, _mm256_permutevar8x32_ps((__m256)v, order));
}
DEVICE void append(int* buffer, lane_set set, const int* index)
{
    const __m256i order = kept_parts(set.bits, 1);
    if constexpr (sizeof(REAL) == 4) {
        _mm256_storeu_si256((__m256i*)buffer, _mm256_permutevar8x32_epi32(_mm256_loadu_si256((const __m256i*)index), order));
    } else {
        const __m256i four = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)index));
        _mm_storeu_si128((__m128i*)buffer, _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(four, order)));
    }
}

// ---- scatter --------------------------------------------------------------------------------------
// rows (x, y, z, w) of lane l at quads + 4 quad_of_lane(l)
DEVICE int quad_of_lane(int l) { return sizeof(REAL) == 4 ? (l & 3) * 2 + (l >> 2) : l; }
DEVICE void store_quads(REAL* quads, lanes x, lanes y, lanes z, lanes w)
{
    if constexpr (sizeof(REAL) == 4) {
        const __m256d xy_low = (__m256d)_mm256_unpacklo_ps((__m256)x, (__m256)y), xy_high = (__m256d)_mm256_unpackhi_ps((__m256)x, (__m256)y);
        const __m256d zw_low = (__m256d)_mm256_unpacklo_ps((__m256)z, (__m256)w), zw_high = (__m256d)_mm256_unpackhi_ps((__m256)z, (__m256)w);
        _mm256_store_pd((double*)quads, _mm256_unpacklo_pd(xy_low, zw_low));
        _mm256_store_pd((double*)(quads + 8), _mm256_unpackhi_pd(xy_low, zw_low));
        _mm256_store_pd((double*)(quads + 16), _mm256_unpacklo_pd(xy_high, zw_high));
        _mm256_store_pd((double*)(quads + 24), _mm256_unpackhi_pd(xy_high, zw_high));
    } else {
        const __m256d xy_even = _mm256_unpacklo_pd((__m256d)x, (__m256d)y), xy_odd = _mm256_unpackhi_pd((__m256d)x, (__m256d)y);
        const __m256d zw_even = _mm256_unpacklo_pd((__m256d)z, (__m256d)w), zw_odd = _mm256_unpackhi_pd((__m256d)z, (__m256d)w);
        _mm256_store_pd((double*)quads, _mm256_permute2f128_pd(xy_even, zw_even, 0x20));
        _mm256_store_pd((double*)quads + 4, _mm256_permute2f128_pd(xy_odd, zw_odd, 0x20));
        _mm256_store_pd((double*)quads + 8, _mm256_permute2f128_pd(xy_even, zw_even, 0x31));
        _mm256_store_pd((double*)quads + 12, _mm256_permute2f128_pd(xy_odd, zw_odd, 0x31));
    }
}
// the lanes as float64, in order
DEVICE void store_doubles(double* out, lanes v)
{
    if constexpr (sizeof(REAL) == 4) {
        _mm256_store_pd(out, _mm256_cvtps_pd(_mm256_castps256_ps128((__m256)v)));
        _mm256_store_pd(out + 4, _mm256_cvtps_pd(_mm256_extractf128_ps((__m256)v, 1)));
    } else {
        _mm256_store_pd(out, (__m256d)v);
    }
}

// lane k of the result is the sum over lanes of v[k], k < LANES
DEVICE lanes reduce_block(const lanes* v)
{
    if constexpr (sizeof(REAL) == 4) {
        __m256 four[2];
        UNROLL for (int i = 0; i < 2; ++i)
            four[i] = _mm256_hadd_ps(_mm256_hadd_ps((__m256)v[4 * i], (__m256)v[4 * i + 1]),
                                     _mm256_hadd_ps((__m256)v[4 * i + 2], (__m256)v[4 * i + 3]));
        return (lanes)_mm256_add_ps(_mm256_permute2f128_ps(four[0], four[1], 0x20), _mm256_permute2f128_ps(four[0], four[1], 0x31));
    } else {
        const __m256d ab = _mm256_hadd_pd((__m256d)v[0], (__m256d)v[1]), cd = _mm256_hadd_pd((__m256d)v[2], (__m256d)v[3]);
        return (lanes)_mm256_add_pd(_mm256_permute2f128_pd(ab, cd, 0x20), _mm256_permute2f128_pd(ab, cd, 0x31));
    }
}
// rows[l LANES + n] = columns[n row_length + l] for n < N, 0 above; l < LANES
typedef lanes half_lanes;
template <int N> DEVICE void transpose_slots(const REAL* columns, int row_length, REAL* rows)
{
    const auto column = [&](int n) { return n < N ? load(columns + (size_t)n * row_length) : broadcast(0); };
    if constexpr (sizeof(REAL) == 4) {
        // pairs, then quarters, of columns by 128-bit halves; row l of the low half, l + 4 of the high half
        __m256 quarter[2][4];
        UNROLL for (int h = 0; h < 2; ++h) {
            const __m256 a = (__m256)column(4 * h), b = (__m256)column(4 * h + 1), c = (__m256)column(4 * h + 2), d = (__m256)column(4 * h + 3);
            const __m256d ab_low = (__m256d)_mm256_unpacklo_ps(a, b), ab_high = (__m256d)_mm256_unpackhi_ps(a, b);
            const __m256d cd_low = (__m256d)_mm256_unpacklo_ps(c, d), cd_high = (__m256d)_mm256_unpackhi_ps(c, d);
            quarter[h][0] = (__m256)_mm256_unpacklo_pd(ab_low, cd_low);
            quarter[h][1] = (__m256)_mm256_unpackhi_pd(ab_low, cd_low);
            quarter[h][2] = (__m256)_mm256_unpacklo_pd(ab_high, cd_high);
            quarter[h][3] = (__m256)_mm256_unpackhi_pd(ab_high, cd_high);
        }
        UNROLL for (int l = 0; l < 4; ++l) {
            _mm256_store_ps((float*)rows + l * 8, _mm256_permute2f128_ps(quarter[0][l], quarter[1][l], 0x20));
            _mm256_store_ps((float*)rows + (l + 4) * 8, _mm256_permute2f128_ps(quarter[0][l], quarter[1][l], 0x31));
        }
    } else {
        const __m256d a = (__m256d)column(0), b = (__m256d)column(1), c = (__m256d)column(2), d = (__m256d)column(3);
        const __m256d ab_even = _mm256_unpacklo_pd(a, b), ab_odd = _mm256_unpackhi_pd(a, b);
        const __m256d cd_even = _mm256_unpacklo_pd(c, d), cd_odd = _mm256_unpackhi_pd(c, d);
        _mm256_store_pd((double*)rows, _mm256_permute2f128_pd(ab_even, cd_even, 0x20));
        _mm256_store_pd((double*)rows + 4, _mm256_permute2f128_pd(ab_odd, cd_odd, 0x20));
        _mm256_store_pd((double*)rows + 8, _mm256_permute2f128_pd(ab_even, cd_even, 0x31));
        _mm256_store_pd((double*)rows + 12, _mm256_permute2f128_pd(ab_odd, cd_odd, 0x31));
    }
}
