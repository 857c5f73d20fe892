// Piecewise cubic functions of t in (0, 1], with rows that follow the leading bits of t: each binade [2^-n, 2^(1-n)) is cut
// into 2^BITS equal intervals. So rows are dense where a pair is close, and the many distant pairs meet few rows, which
// stay in the innermost cache. Row k of a table holds c_0 ... c_3 of the interval from t_k on,
//
//   f = c_0 + x (c_1 + x (c_2 + x c_3)),   df/dt = c_1 + x (2 c_2 + 3 c_3 x),   x = t - t_k
//
// and the last row, for t = 1, is zero. On the CPU rows are loaded as vectors and turned into columns by transposes.
#pragma once
#include "portable.h"

#define CUBIC_ROW 4
#define BINADES 11  // cubic_tables.BINADES; smaller t count as 2^-BINADES

struct Cubic {
    lanes c[CUBIC_ROW];
    MEMBER lanes value(lanes x) const { return c[0] + x * (c[1] + x * (c[2] + x * c[3])); }
    MEMBER lanes slope(lanes x) const { return c[1] + x * ((REAL)2 * c[2] + (REAL)3 * x * c[3]); }
};

DEVICE int cubic_rows(int bits) { return (BINADES << bits) + 1; }

// where t lies in tables of 2^bits rows by binade
#if HPCTHERMO_GPU
template <class R> struct BitsOf;
template <> struct BitsOf<float> { typedef int32_t type; };
template <> struct BitsOf<double> { typedef int64_t type; };
typedef BitsOf<REAL>::type Bits;
DEVICE Bits bits_of(REAL t)
{
    Bits bits;
    memcpy(&bits, &t, sizeof bits);
    return bits;
}
DEVICE REAL with_bits(Bits bits)
{
    REAL t;
    memcpy(&t, &bits, sizeof t);
    return t;
}
struct TablePlace { lanes x; int row; };
DEVICE TablePlace table_place(lanes t, int bits)
{
    const REAL smallest = (REAL)1 / (1 << BINADES);
    t = t < (REAL)1 ? (t > smallest ? t : smallest) : (REAL)1;
    const int dropped = (sizeof(REAL) == 4 ? 23 : 52) - bits;
    const Bits leading = bits_of(t) >> dropped;
    return {t - with_bits(leading << dropped), (int)(leading - (bits_of(smallest) >> dropped))};
}
// what a thread loads at once
#define TOGETHER ((int)(16 / sizeof(REAL)))
struct alignas(16) RowPart { REAL value[16 / sizeof(REAL)]; };
DEVICE Cubic cubic_of(const REAL* table, const TablePlace& place)
{
    Cubic f;
    const RowPart* row = (const RowPart*)(table + CUBIC_ROW * (size_t)place.row);
    UNROLL for (int first = 0; first < CUBIC_ROW; first += TOGETHER) {
        const RowPart part = row[first / TOGETHER];
        UNROLL for (int k = 0; k < TOGETHER; ++k) f.c[first + k] = part.value[k];
    }
    return f;
}
#else
// at: first number of the row, in memory: loads of addresses are cheaper than picking them out of a register
template <class R> struct TableOffsetOf { typedef uint32_t type; };
template <> struct TableOffsetOf<double> { typedef uint64_t type; };
typedef TableOffsetOf<REAL>::type TableOffset;
struct TablePlace { lanes x; alignas(64) TableOffset at[LANES]; };
DEVICE TablePlace table_place(lanes t, int bits)
{
    const lanes smallest = broadcast((REAL)1 / (1 << BINADES)), one = broadcast(1);
    t = select(t > smallest, t, smallest);
    t = select(t < one, t, one);
    const int dropped = (sizeof(REAL) == 4 ? 23 : 52) - bits;
    const lane_mask leading = (lane_mask)t >> dropped;
    const lane_mask at = (leading - ((lane_mask)smallest >> dropped)) * CUBIC_ROW;
    TablePlace place;
    place.x = t - (lanes)(leading << dropped);
    memcpy(place.at, &at, sizeof at);
    return place;
}
// what load_columns fills
template <class R> struct ColumnOf;
#if defined(__AVX512F__)
template <> struct ColumnOf<float> { typedef __m512 type; };
template <> struct ColumnOf<double> { typedef __m512d type; };
#elif defined(__AVX2__)
template <> struct ColumnOf<float> { typedef __m256 type; };
template <> struct ColumnOf<double> { typedef __m256d type; };
#endif
DEVICE Cubic cubic_of(const REAL* table, const TablePlace& place)
{
    Cubic f;
#if defined(__AVX512F__) || defined(__AVX2__)
    ColumnOf<REAL>::type c[CUBIC_ROW];
    load_columns([&](int l) { return table + place.at[l]; }, c[0], c[1], c[2], c[3]);
    for (int k = 0; k < CUBIC_ROW; ++k) f.c[k] = (lanes)c[k];
#else
    for (int k = 0; k < CUBIC_ROW; ++k)
        for (int l = 0; l < LANES; ++l) f.c[k][l] = table[place.at[l] + k];
#endif
    return f;
}
#endif
