// Random numbers that depend on what they are for, not on who draws them, and the Langevin thermostat.
//
// Philox4x32-10 (Salmon et al., SC11, 2011, doi:10.1145/2063384.2063405) turns a counter and a key into four
// words. The key is the seed; the counter is (tag, tag high half | stream << 16, step, step high word), so the noise
// of an atom is the same on any number of ranks and after a restart.
//
// Normal deviates by Box and Muller in float64: r = sqrt(-2 ln u1), (r cos 2 pi u2, r sin 2 pi u2).
// Logarithm, sine and cosine are written out, without branches, so that compilers vectorise the loop over atoms
// and both machines give the same digits.
//
// Langevin half step (exact Ornstein-Uhlenbeck solution, friction 1/tau):
//   v <- c v + sqrt((1 - c^2) k T / m) xi,   c = exp(-dt / (2 tau))
#include "portable.h"

#define PHILOX_ROUNDS 10
#define SUM_ROWS 128

DEVICE void philox(uint32_t& c0, uint32_t& c1, uint32_t& c2, uint32_t& c3, uint32_t k0, uint32_t k1)
{
    UNROLL
    for (int round = 0; round < PHILOX_ROUNDS; ++round) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        const uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

// centre of one of 2^32 equal intervals of (0, 1)
DEVICE double uniform(uint32_t word) { return ((double)word + 0.5) * 2.3283064365386963e-10; }

// natural logarithm of 0 < x < 1, x = m 2^e with m near 1: ln m = 2 atanh s, s = (m - 1) / (m + 1)
DEVICE double log_uniform(double x)
{
    union { double value; uint64_t bits; } number;
    number.value = x;
    // taking the mantissa of sqrt(1/2) as zero puts m into [sqrt(1/2), sqrt(2))
    const uint64_t half = 0x3fe6a09e667f3bcdull;
    const int e = (int)(((number.bits - half) >> 52) & 0x7ff);
    const int exponent = e >= 0x400 ? e - 0x800 : e;
    number.bits -= (uint64_t)(int64_t)exponent << 52;
    const double s = (number.value - 1.0) / (number.value + 1.0), t = s * s;
    double p = 1.0 / 23.0;
    UNROLL
    for (int k = 21; k >= 1; k -= 2) p = p * t + 1.0 / k;
    return exponent * 0.6931471805599453 + 2.0 * s * p;
}

// cosine and sine of 2 pi u, 0 < u < 1, by Taylor series within an eighth of a turn
DEVICE void turn(double u, double& cosine, double& sine)
{
    const int quarter = (int)(4.0 * u + 0.5);
    const double a = (u - 0.25 * quarter) * 6.283185307179586, b = a * a;
    double s = 0.0, c = 0.0;
    UNROLL
    for (int k = 16; k >= 2; k -= 2) {
        s = 1.0 - b * (1.0 / (k * (k + 1.0))) * (k == 16 ? 1.0 : s);
        c = 1.0 - b * (1.0 / (k * (k - 1.0))) * (k == 16 ? 1.0 : c);
    }
    s *= a;
    const bool swapped = (quarter & 1) != 0;
    const double x = swapped ? s : c, y = swapped ? c : s;
    cosine = quarter == 1 || quarter == 2 ? -x : x;
    sine = quarter == 2 || quarter == 3 ? -y : y;
}

// words[4 i ...] = Philox of counters[4 i ...] under keys[2 i ...], for tests against published vectors
KERNEL(philox_words)(int begin, int end, const uint32_t* counters, const uint32_t* keys, uint32_t* words)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        uint32_t c[4];
        for (int k = 0; k < 4; ++k) c[k] = counters[4 * (size_t)i + k];
        philox(c[0], c[1], c[2], c[3], keys[2 * (size_t)i], keys[2 * (size_t)i + 1]);
        for (int k = 0; k < 4; ++k) words[4 * (size_t)i + k] = c[k];
    }
}

// normals[k count + i], k < 4: four deviates of the atom in row rows[i] (row i if rows is null)
KERNEL(draw_normals)(int begin, int end, const int* __restrict__ rows, const int64_t* __restrict__ tags, int seed_low,
                     int seed_high, int step_low, int step_high, int stream, int count, double* __restrict__ normals)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        const uint64_t tag = (uint64_t)tags[rows ? rows[i] : i];
        uint32_t c0 = (uint32_t)tag, c1 = (uint32_t)(tag >> 32) | ((uint32_t)stream << 16);
        uint32_t c2 = (uint32_t)step_low, c3 = (uint32_t)step_high;
        philox(c0, c1, c2, c3, (uint32_t)seed_low, (uint32_t)seed_high);
        double cosine, sine;
        turn(uniform(c1), cosine, sine);
        double r = sqrt(-2.0 * log_uniform(uniform(c0)));
        normals[i] = r * cosine;
        normals[(size_t)count + i] = r * sine;
        turn(uniform(c3), cosine, sine);
        r = sqrt(-2.0 * log_uniform(uniform(c2)));
        normals[2 * (size_t)count + i] = r * cosine;
        normals[3 * (size_t)count + i] = r * sine;
    }
}

// v <- keep v + noise[type] xi; partial[4 chunk ...] = sums of m dv (3) and of the change of kinetic energy
KERNEL(langevin_kick)(int begin, int end, int count, const int* rows, const int* types, const double* masses,
                      const double* noise, double keep, const double* normals, double* velocities, double* partial)
{
    FOR_EACH_THREAD(chunk, begin, end)
    {
        const int last = (chunk + 1) * SUM_ROWS < count ? (chunk + 1) * SUM_ROWS : count;
        double momentum[3] = {0, 0, 0}, energy = 0;
        for (int i = chunk * SUM_ROWS; i < last; ++i) {
            const int row = rows ? rows[i] : i;
            const double m = masses[types[row]], amplitude = noise[types[row]];
            double* v = velocities + 3 * (size_t)row;
            for (int a = 0; a < 3; ++a) {
                const double old = v[a];
                v[a] = keep * old + amplitude * normals[(size_t)a * count + i];
                momentum[a] += m * (v[a] - old);
                energy += 0.5 * m * (v[a] - old) * (v[a] + old);
            }
        }
        for (int a = 0; a < 3; ++a) partial[4 * (size_t)chunk + a] = momentum[a];
        partial[4 * (size_t)chunk + 3] = energy;
    }
}
