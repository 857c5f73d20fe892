// Angular invariants of the sums S_na and their first and second derivatives, for a batch.
//
//   q_nl = sum_a weight_a S_a^2      cubic: coefficient S_a S_b S_c      1111: (7/15) q_n1^2
#pragma once
#include "nep_training_model.h"

// coefficient S_a S_b S_c in a block of extra invariants; a, b and c as places in memory
struct Term {
    int a, b, c, block;
    REAL coefficient;
    MEMBER Term(const TrainingModel& m, int k)
        : a(m.terms[4 * k] * LANES), b(m.terms[4 * k + 1] * LANES), c(m.terms[4 * k + 2] * LANES), block(m.terms[4 * k + 3]),
          coefficient(m.term_coefficients[k])
    {
    }
};

template <int L> struct Invariants {
    static constexpr int harmonics = Harmonics<L>::count;
    const TrainingModel& m;

    MEMBER int block(int l, int n) const { return (m.n_radial + (l - 1) * m.n_angular + n) * LANES; }
    MEMBER int extra(int e, int n) const { return (m.n_radial + (m.l_max + e) * m.n_angular + n) * LANES; }

    // q of S
    MEMBER void values(const REAL* S, REAL* q) const
    {
        for (int n = 0; n < m.n_angular; ++n) {
            const REAL* s = S + n * harmonics * LANES;
            for (int l = 1; l <= m.l_max; ++l) {
                lanes sum = broadcast(0);
                for (int a = l * l - 1; a < l * l + 2 * l; ++a) {
                    const lanes value = load(s + a * LANES);
                    sum += m.harmonic_weights[a] * value * value;
                }
                store(q + block(l, n), sum);
            }
            for (int e = 0; e < m.n_extras; ++e) store(q + extra(e, n), broadcast(0));
            if (m.five_body >= 0) {
                const lanes q1 = load(q + block(1, n));
                store(q + extra(m.five_body, n), (REAL)(7.0 / 15.0) * q1 * q1);
            }
        }
        for (int k = 0; k < m.n_terms; ++k) {
            const Term term(m, k);
            for (int n = 0; n < m.n_angular; ++n) {
                const REAL* s = S + n * harmonics * LANES;
                REAL* target = q + extra(term.block, n);
                store(target, load(target) + term.coefficient * load(s + term.a) * load(s + term.b) * load(s + term.c));
            }
        }
    }

    // P = dU/dS from F = dU/dq
    MEMBER void slopes(const REAL* S, const REAL* q, const REAL* F, REAL* P) const
    {
        for (int n = 0; n < m.n_angular; ++n) {
            const REAL* s = S + n * harmonics * LANES;
            REAL* p = P + n * harmonics * LANES;
            for (int l = 1; l <= L; ++l) {
                lanes slope = l <= m.l_max ? load(F + block(l, n)) : broadcast(0);
                if (l == 1 && m.five_body >= 0) slope += (REAL)(14.0 / 15.0) * load(q + block(1, n)) * load(F + extra(m.five_body, n));
                slope *= (REAL)2;
                for (int a = l * l - 1; a < l * l + 2 * l; ++a)
                    store(p + a * LANES, slope * m.harmonic_weights[a] * load(s + a * LANES));
            }
        }
        for (int k = 0; k < m.n_terms; ++k) {
            const Term term(m, k);
            for (int n = 0; n < m.n_angular; ++n) {
                const REAL* s = S + n * harmonics * LANES;
                REAL* p = P + n * harmonics * LANES;
                const lanes slope = term.coefficient * load(F + extra(term.block, n));
                const lanes sa = load(s + term.a), sb = load(s + term.b), sc = load(s + term.c);
                // one after the other, for two of a, b, c may be the same
                store(p + term.a, load(p + term.a) + slope * sb * sc);
                store(p + term.b, load(p + term.b) + slope * sa * sc);
                store(p + term.c, load(p + term.c) + slope * sa * sb);
            }
        }
    }

    // rate of q when S changes at the rate `rate`
    MEMBER void rates(const REAL* S, const REAL* q, const REAL* rate, REAL* q_rate) const
    {
        for (int n = 0; n < m.n_angular; ++n) {
            const REAL *s = S + n * harmonics * LANES, *d = rate + n * harmonics * LANES;
            for (int l = 1; l <= m.l_max; ++l) {
                lanes sum = broadcast(0);
                for (int a = l * l - 1; a < l * l + 2 * l; ++a)
                    sum += m.harmonic_weights[a] * load(s + a * LANES) * load(d + a * LANES);
                store(q_rate + block(l, n), (REAL)2 * sum);
            }
            for (int e = 0; e < m.n_extras; ++e) store(q_rate + extra(e, n), broadcast(0));
            if (m.five_body >= 0)
                store(q_rate + extra(m.five_body, n), (REAL)(14.0 / 15.0) * load(q + block(1, n)) * load(q_rate + block(1, n)));
        }
        for (int k = 0; k < m.n_terms; ++k) {
            const Term term(m, k);
            for (int n = 0; n < m.n_angular; ++n) {
                const REAL *s = S + n * harmonics * LANES, *d = rate + n * harmonics * LANES;
                const lanes sa = load(s + term.a), sb = load(s + term.b), sc = load(s + term.c);
                REAL* target = q_rate + extra(term.block, n);
                store(target, load(target) + term.coefficient * (load(d + term.a) * sb * sc + sa * (load(d + term.b) * sc + sb * load(d + term.c))));
            }
        }
    }

    // adjoint of S: that of q through dq/dS, and the rate of P = dU/dS at constant F when S changes at the rate `rate`
    MEMBER void adjoints(const REAL* S, const REAL* q, const REAL* F, const REAL* rate, const REAL* q_rate,
                         const REAL* q_adjoint, REAL* adjoint) const
    {
        for (int n = 0; n < m.n_angular; ++n) {
            const REAL *s = S + n * harmonics * LANES, *d = rate + n * harmonics * LANES;
            REAL* out = adjoint + n * harmonics * LANES;
            for (int l = 1; l <= L; ++l) {
                lanes first = broadcast(0), second = broadcast(0);
                if (l <= m.l_max) {
                    first = load(q_adjoint + block(l, n));
                    second = load(F + block(l, n));
                }
                if (l == 1 && m.five_body >= 0) {
                    const lanes q1 = load(q + block(1, n)), outer = load(F + extra(m.five_body, n));
                    first += (REAL)(14.0 / 15.0) * (q1 * load(q_adjoint + extra(m.five_body, n)) + outer * load(q_rate + block(1, n)));
                    second += (REAL)(14.0 / 15.0) * q1 * outer;
                }
                first *= (REAL)2;
                second *= (REAL)2;
                for (int a = l * l - 1; a < l * l + 2 * l; ++a)
                    store(out + a * LANES, m.harmonic_weights[a] * (first * load(s + a * LANES) + second * load(d + a * LANES)));
            }
        }
        for (int k = 0; k < m.n_terms; ++k) {
            const Term term(m, k);
            for (int n = 0; n < m.n_angular; ++n) {
                const REAL *s = S + n * harmonics * LANES, *d = rate + n * harmonics * LANES;
                REAL* out = adjoint + n * harmonics * LANES;
                const lanes first = term.coefficient * load(q_adjoint + extra(term.block, n));
                const lanes second = term.coefficient * load(F + extra(term.block, n));
                const lanes sa = load(s + term.a), sb = load(s + term.b), sc = load(s + term.c);
                // second derivatives times rates
                const lanes da = second * load(d + term.a), db = second * load(d + term.b), dc = second * load(d + term.c);
                store(out + term.a, load(out + term.a) + first * sb * sc + db * sc + sb * dc);
                store(out + term.b, load(out + term.b) + first * sa * sc + da * sc + sa * dc);
                store(out + term.c, load(out + term.c) + first * sa * sb + da * sb + sa * db);
            }
        }
    }
};
