// Tersoff bond-order potential, any number of elements: the form of 1988 and 1989 (Tersoff, PRB 37, 6991 (1988);
// PRB 39, 5566 (1989)) and the modified one of 2007 (Kumagai et al., Comput. Mater. Sci. 39, 457 (2007)).
//
//   U_i = 1/2 sum_j f_C(r_ij) [ A e^(-lambda1 r_ij) - b_ij B e^(-lambda2 r_ij) ]
//   zeta_ij = sum_{k != i,j} f_C(r_ik) g(cos theta_ijk) exp[(lambda3 (r_ij - r_ik))^m],   x = h - cos theta
//
//            1988, 1989                                         2007
//   b_ij   = (1 + (beta zeta_ij)^n)^(-1/2n)                     (1 + zeta_ij^eta)^(-1/2n)
//   g(cos) = gamma (1 + c^2/d^2 x^2 / (d^2 + x^2))              c1 + c2 x^2/(c3 + x^2) [1 + c4 e^(-c5 x^2)]
//            (the same as 1 + c^2/d^2 - c^2/(d^2 + x^2))
//   f_C(r) = 1/2 - 1/2 s                                        1/2 - 3/4 s + 1/4 s^3  (9/16 and 1/16 of sin a and sin 3a)
//            with s = sin a, a = pi/2 (r - R)/D; 1 below R - D, 0 above R + D
//
// Row (i, j, j) of the parameters serves the bond ij; row (i, j, k) serves the term of k in zeta_ij, its cutoff included.
#include "bond_columns.h"

enum TersoffForm { TERSOFF, KUMAGAI };

// one row of parameters (potentials/tersoff.py and tersoff_mod.py, parameter_rows)
enum TersoffParameter {
    A, LAMBDA_1, B, LAMBDA_2, LOG_BETA, N, INVERSE_2N,      // N: the exponent of zeta, n or eta
    CUTOFF_START, CUTOFF_MIDDLE, CUTOFF_END, CUTOFF_SCALE,  // R - D, R, R + D, pi/2D
    H, LAMBDA_3, CUBIC,                                     // CUBIC: 1 for m = 3, 0 for m = 1
    ANGULAR, TERSOFF_ROW = ANGULAR + 5
};
enum TersoffAngular { GAMMA = ANGULAR, C_OVER_D_SQUARED, TWO_C_SQUARED, D_SQUARED };
enum KumagaiAngular { C_1 = ANGULAR, C_2, C_3, C_4, C_5 };

enum TersoffColumn { ZETA, SLOPE };  // of BondColumns.own: zeta_ij and dU_i/dzeta_ij

template <TersoffForm FORM> struct Tersoff {
    TripletTable table;
    int has_lambda_3;
    MEMBER lanes site_energies(BondColumns& batch) const
    {
        tersoff_zeta(*this, batch);
        const lanes energy = tersoff_bond_order(*this, batch);
        tersoff_angular_forces(*this, batch);
        return energy;
    }
};

// f_C and its derivative; the trigonometry is skipped while no lane is between R - D and R + D
template <TersoffForm FORM> DEVICE void cutoff(const TripletRow& p, lanes r, lanes& f, lanes& slope)
{
    const lanes start = p[CUTOFF_START], end = p[CUTOFF_END];
    f = select(r <= start, broadcast(1), broadcast(0));
    slope = broadcast(0);
    const lane_mask between = (r > start) & (r < end);
    if (!any_lane(between)) return;
    const lanes scale = p[CUTOFF_SCALE], angle = (r - p[CUTOFF_MIDDLE]) * scale, square = angle * angle;
    const int terms = sizeof(REAL) == 4 ? 7 : 11;  // |angle| <= pi/2
    lanes sine = broadcast(1), cosine = broadcast(1);
    for (int k = terms; k >= 1; --k) {
        sine = (REAL)1 - square * sine * (REAL)(1.0 / ((2 * k) * (2 * k + 1)));
        cosine = (REAL)1 - square * cosine * (REAL)(1.0 / ((2 * k - 1) * (2 * k)));
    }
    sine *= angle;
    if constexpr (FORM == TERSOFF) {
        f = select(between, (REAL)0.5 - (REAL)0.5 * sine, f);
        slope = select(between, (REAL)-0.5 * scale * cosine, slope);
    } else {
        f = select(between, (REAL)0.5 - sine * ((REAL)0.75 - (REAL)0.25 * sine * sine), f);
        slope = select(between, (REAL)-0.75 * scale * cosine * cosine * cosine, slope);
    }
}

// g and dg/dcos
template <TersoffForm FORM, bool WITH_SLOPES> DEVICE void angular(const TripletRow& p, lanes cosine, lanes& g, lanes& slope)
{
    const lanes x = p[H] - cosine, square = x * x;
    slope = broadcast(0);
    if constexpr (FORM == TERSOFF) {
        const lanes inverse = (REAL)1 / (p[D_SQUARED] + square), gamma = p[GAMMA];
        g = gamma * ((REAL)1 + p[C_OVER_D_SQUARED] * square * inverse);
        if (WITH_SLOPES) slope = -gamma * p[TWO_C_SQUARED] * x * inverse * inverse;
    } else {
        const lanes c_3 = p[C_3], c_5 = p[C_5], inverse = (REAL)1 / (c_3 + square), ratio = p[C_2] * inverse;
        const lanes bell = p[C_4] * exp_lanes(-c_5 * square);
        g = p[C_1] + ratio * square * ((REAL)1 + bell);
        if (WITH_SLOPES) slope = (REAL)-2 * x * ratio * (c_3 * inverse * ((REAL)1 + bell) - square * c_5 * bell);
    }
}

// One term t = f_C(r_k) e g of zeta_ij: e = exp[(lambda3 (r_j - r_k))^m]. q = d ln e / d r_j.
struct ZetaTerm { lanes weight, weight_slope, g, g_slope, q; };  // weight = f_C e, weight_slope = f_C' e
template <TersoffForm FORM, bool WITH_SLOPES>
DEVICE ZetaTerm zeta_term(const Tersoff<FORM>& m, const TripletRow& p, lanes r_j, lanes r_k, lanes cosine)
{
    ZetaTerm t;
    cutoff<FORM>(p, r_k, t.weight, t.weight_slope);
    t.q = broadcast(0);
    if (m.has_lambda_3) {
        const lanes lambda = p[LAMBDA_3], x = lambda * (r_j - r_k);
        const lane_mask cubic = p[CUBIC] > (REAL)0;
        lanes exponent = select(cubic, x * x * x, x);
        if (WITH_SLOPES) t.q = select(cubic, (REAL)3 * lambda * x * x, lambda);
        const REAL limit = (REAL)69.0776;  // e stays below 1e30
        exponent = select(exponent > limit, broadcast(limit), exponent);
        const lanes e = exp_lanes(exponent);
        t.weight *= e;
        t.weight_slope *= e;
    }
    angular<FORM, WITH_SLOPES>(p, cosine, t.g, t.g_slope);
    return t;
}

template <TersoffForm FORM> DEVICE void tersoff_zeta(const Tersoff<FORM>& m, BondColumns& batch)
{
    for (int at = 0; at < batch.n_slots * LANES; at += LANES) store(batch.own[ZETA] + at, broadcast(0));
    for (int slot_a = 0; slot_a < batch.n_slots; ++slot_a)
        for (int slot_b = slot_a + 1; slot_b < batch.n_slots; ++slot_b) {
            const int a = slot_a * LANES, b = slot_b * LANES;
            const lanes cosine = cosine_between(batch, a, b), r_a = load(batch.r + a), r_b = load(batch.r + b);
            const ZetaTerm ab = zeta_term<FORM, false>(m, triplet<TERSOFF_ROW>(m.table, batch, slot_a, slot_b, 0), r_a, r_b, cosine);
            const ZetaTerm ba = zeta_term<FORM, false>(m, triplet<TERSOFF_ROW>(m.table, batch, slot_b, slot_a, 1), r_b, r_a, cosine);
            store(batch.own[ZETA] + a, load(batch.own[ZETA] + a) + ab.weight * ab.g);
            store(batch.own[ZETA] + b, load(batch.own[ZETA] + b) + ba.weight * ba.g);
        }
}

// U_i, slope = dU_i/dzeta and the part of f_ij along the bond that has zeta fixed
template <TersoffForm FORM> DEVICE lanes tersoff_bond_order(const Tersoff<FORM>& m, BondColumns& batch)
{
    lanes energy = broadcast(0);
    for (int slot = 0; slot < batch.n_slots; ++slot) {
        const int at = slot * LANES;
        const TripletRow p = triplet<TERSOFF_ROW>(m.table, batch, slot, slot, 0);
        const lanes r = load(batch.r + at);
        lanes f, f_slope;
        cutoff<FORM>(p, r, f, f_slope);
        const lanes lambda_1 = p[LAMBDA_1], lambda_2 = p[LAMBDA_2];
        const lanes repulsion = (REAL)0.5 * p[A] * exp_lanes(-lambda_1 * r);
        const lanes attraction = (REAL)-0.5 * p[B] * exp_lanes(-lambda_2 * r);

        // with y = ln (beta zeta)^N: b = exp[-ln(1 + e^y)/2n], db/dzeta = -b N/2n s(y)/zeta, s = e^y/(1 + e^y)
        lanes zeta = load(batch.own[ZETA] + at);
        zeta = select(zeta > (REAL)1e-30, zeta, broadcast((REAL)1e-30));
        const lanes y = p[N] * (p[LOG_BETA] + log_lanes(zeta));
        const lane_mask positive = y > (REAL)0;
        const lanes small = exp_lanes(select(positive, -y, y)), inverse = (REAL)1 / ((REAL)1 + small);
        const lanes softplus = select(positive, y, broadcast(0)) + log_lanes((REAL)1 + small);
        const lanes share = select(positive, inverse, small * inverse);
        const lanes inverse_2n = p[INVERSE_2N], b = exp_lanes(-softplus * inverse_2n);
        const lanes power = FORM == TERSOFF ? broadcast(0.5) : p[N] * inverse_2n;

        energy += f * (repulsion + b * attraction);
        store(batch.own[SLOPE] + at, -power * f * attraction * b * share / zeta);
        const lanes radial = f_slope * (repulsion + b * attraction) - f * (lambda_1 * repulsion + lambda_2 * b * attraction);
        store(batch.fx + at, radial * load(batch.ux + at));
        store(batch.fy + at, radial * load(batch.uy + at));
        store(batch.fz + at, radial * load(batch.uz + at));
    }
    return energy;
}

// f_a += along u_a + across (u_b - cos u_a)/r_a
DEVICE void add_bond_force(BondColumns& batch, int a, int b, lanes along, lanes across, lanes cosine)
{
    const lanes on_b = across * load(batch.inverse_r + a), on_a = along - cosine * on_b;
    store(batch.fx + a, load(batch.fx + a) + on_a * load(batch.ux + a) + on_b * load(batch.ux + b));
    store(batch.fy + a, load(batch.fy + a) + on_a * load(batch.uy + a) + on_b * load(batch.uy + b));
    store(batch.fz + a, load(batch.fz + a) + on_a * load(batch.uz + a) + on_b * load(batch.uz + b));
}

// partial forces f_ij = dU_i/dr_ij from the angles and lengths in zeta
template <TersoffForm FORM> DEVICE void tersoff_angular_forces(const Tersoff<FORM>& m, BondColumns& batch)
{
    for (int slot_a = 0; slot_a < batch.n_slots; ++slot_a)
        for (int slot_b = slot_a + 1; slot_b < batch.n_slots; ++slot_b) {
            const int a = slot_a * LANES, b = slot_b * LANES;
            const lanes cosine = cosine_between(batch, a, b), r_a = load(batch.r + a), r_b = load(batch.r + b);
            const lanes slope_a = load(batch.own[SLOPE] + a), slope_b = load(batch.own[SLOPE] + b);
            const ZetaTerm ab = zeta_term<FORM, true>(m, triplet<TERSOFF_ROW>(m.table, batch, slot_a, slot_b, 0), r_a, r_b, cosine);
            const ZetaTerm ba = zeta_term<FORM, true>(m, triplet<TERSOFF_ROW>(m.table, batch, slot_b, slot_a, 1), r_b, r_a, cosine);
            const lanes term_a = slope_a * ab.g, term_b = slope_b * ba.g;
            const lanes stretch = term_a * ab.weight * ab.q - term_b * ba.weight * ba.q;
            const lanes across = slope_a * ab.weight * ab.g_slope + slope_b * ba.weight * ba.g_slope;
            add_bond_force(batch, a, b, term_b * ba.weight_slope + stretch, across, cosine);
            add_bond_force(batch, b, a, term_a * ab.weight_slope - stretch, across, cosine);
        }
}

KERNEL(tersoff)(BOND_ARGUMENTS)
{
    const Tersoff<TERSOFF> potential = {BOND_TABLE, option};
    ADD_BONDS(potential);
}

KERNEL(tersoff_mod)(BOND_ARGUMENTS)
{
    const Tersoff<KUMAGAI> potential = {BOND_TABLE, option};
    ADD_BONDS(potential);
}
