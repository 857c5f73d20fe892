// What the machine can do at best: multiply-adds in registers, and a stream through memory.
#include "portable.h"

#define CHAINS 12  // independent multiply-adds in flight: more than latency times pipes, fewer than registers

// result[group] = sums of CHAINS chains x <- a x + b per lane, n_rounds long
KERNEL(multiply_add)(int begin, int end, int n_rounds, double a, double b, double* result)
{
    const lanes factor = broadcast((REAL)a), term = broadcast((REAL)b);
    FOR_EACH_GROUP(group, begin, end)
    {
        lanes x[CHAINS];
        UNROLL for (int k = 0; k < CHAINS; ++k) x[k] = lane_numbers() + (REAL)k;
        for (int round = 0; round < n_rounds; ++round)
            UNROLL for (int k = 0; k < CHAINS; ++k) x[k] = factor * x[k] + term;
        lanes sum = broadcast(0);
        UNROLL for (int k = 0; k < CHAINS; ++k) sum += x[k];
        const REAL total = reduce_add(sum);
        ONE_LANE result[group] = (double)total;
    }
}

// target = first + factor second
KERNEL(triad)(int begin, int end, double factor, const double* first, const double* second, double* target)
{
    FOR_EACH_THREAD(i, begin, end)
    {
        target[i] = first[i] + factor * second[i];
    }
}
