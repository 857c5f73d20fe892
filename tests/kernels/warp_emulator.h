// Runs the GPU branch of the kernels on a CPU, for tests: g++ compiles this header and a kernel module's text.
//
// Every thread of a block is a fibre. It runs until its next warp- or block-wide primitive (__syncwarp, __shfl_*,
// __ballot_sync, __syncthreads ...), then the next lane runs; when all lanes of the mask have arrived at the same
// primitive on the same line, the exchange is made and they go on, after the other warps of the block have had
// their turn. Lanes run in ascending or in descending order: code that lacks a GROUP_SYNC gives another result in
// one of them. A lane that never arrives is an error with the lines where the others wait.
//
// Blocks run one after the other. Atomics are plain: only one lane runs at a time. So two groups that add to one
// address without an atomic are not caught here, nor are lanes that rely on a shuffle or a vote to make memory
// visible, which on a GPU only __syncwarp does.
#pragma once
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <utility>

#if !defined(__x86_64__)
#error "the warp emulator switches fibres in x86-64 assembly"
#endif

#define __CUDACC_RTC__ 1
#define __device__
#define __host__
#define __global__ __attribute__((visibility("default")))
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static  // one block at a time
#define __align__(n) alignas(n)

struct uint3 { unsigned x, y, z; };
typedef uint3 dim3;
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
struct alignas(16) double4 { double x, y, z, w; };
static inline int2 make_int2(int x, int y) { return {x, y}; }
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline double2 make_double2(double x, double y) { return {x, y}; }
static inline double4 make_double4(double x, double y, double z, double w) { return {x, y, z, w}; }

// ---- fibres ---------------------------------------------------------------------------------------
extern "C" void emulator_switch(void** save, void* resume);
asm(R"(
.text
.local emulator_switch
.type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulator_switch, . - emulator_switch
)");

namespace emulator {

enum Primitive { SYNC_WARP, BALLOT, ANY, ALL, SHUFFLE, SHUFFLE_XOR, SHUFFLE_UP, SHUFFLE_DOWN, MATCH_ANY, REDUCE_ADD, SYNC_BLOCK };
static const char* const NAMES[] = {"__syncwarp", "__ballot_sync", "__any_sync", "__all_sync", "__shfl_sync", "__shfl_xor_sync",
                                    "__shfl_up_sync", "__shfl_down_sync", "__match_any_sync", "__reduce_add_sync", "__syncthreads"};
static const int MOST_WARPS = 32;
static const size_t STACK_BYTES = 256 * 1024;
static const unsigned long long STACK_END = 0x5eafed0057ac4e9dull;  // stands at the lowest address of each stack

struct Lane {
    void* stack_pointer;
    uint3 thread;
    int warp, number;             // number: lane of its warp
    Primitive primitive;          // where it waits
    unsigned mask;
    int line, width, argument;
    unsigned long long value, result;
};
struct Warp { unsigned members, runnable, waiting; };  // members: those that have not left

static Lane lanes_of_block[32 * MOST_WARPS];
static Warp warps[MOST_WARPS];
static Lane* current;
static void* launcher;             // stack pointer of the caller
static uint3 block, block_size, grid_size;
static int n_warps, turn;          // turn: the warp that runs
static bool descending;
static char message[4096];
static char* stacks;
struct Call { void (*invoke)(void**); void** arguments; };
static Call call;

static int first_of(unsigned set) { return descending ? 31 - __builtin_clz(set) : __builtin_ctz(set); }

static void describe(const char* what)
{
    if (message[0]) return;
    int used = snprintf(message, sizeof message, "block %u: %s", block.x, what);
    for (int w = 0; w < n_warps; ++w)
        for (unsigned told = 0; told != (1ull << 32) - 1;) {
            // lanes that wait at one place, or have left
            unsigned same = 0;
            const Lane* first = nullptr;
            for (int l = 0; l < 32; ++l) {
                if (told >> l & 1) continue;
                const Lane& lane = lanes_of_block[32 * w + l];
                const bool waits = warps[w].waiting >> l & 1, left = !(warps[w].members >> l & 1);
                if (!first) first = &lane;
                const bool first_waits = warps[w].waiting >> first->number & 1, first_left = !(warps[w].members >> first->number & 1);
                if (waits != first_waits || left != first_left) continue;
                if (waits && (lane.primitive != first->primitive || lane.line != first->line || lane.mask != first->mask)) continue;
                same |= 1u << l;
            }
            told |= same;
            if (used > (int)sizeof message - 200) return;
            const bool waits = warps[w].waiting >> first->number & 1, left = !(warps[w].members >> first->number & 1);
            if (waits)
                used += snprintf(message + used, sizeof message - used, "\n  warp %d lanes %08x: at %s(mask %08x), line %d", w, same,
                                 NAMES[first->primitive], first->mask, first->line);
            else
                used += snprintf(message + used, sizeof message - used, "\n  warp %d lanes %08x: %s", w, same, left ? "have left the kernel" : "running");
        }
}

__attribute__((noinline)) static void resume(void** save, Lane* next)
{
    current = next;
    turn = next->warp;
    emulator_switch(save, next->stack_pointer);
}

// Run whoever is next; comes back when `save` is resumed. Without anyone left, or after an error, the launcher runs.
__attribute__((noinline)) static void run_next(void** save)
{
    if (!message[0]) {
        for (int k = 0; k < n_warps; ++k) {
            const int w = descending ? (turn - k + n_warps) % n_warps : (turn + k) % n_warps;
            if (warps[w].runnable) return resume(save, &lanes_of_block[32 * w + first_of(warps[w].runnable)]);
        }
        unsigned members = 0;
        bool together = true;
        const Lane* first = nullptr;
        for (int i = 0; i < 32 * n_warps; ++i) {
            if (!(warps[i / 32].members >> i % 32 & 1)) continue;
            members |= 1;
            const Lane& lane = lanes_of_block[i];
            if (!first) first = &lane;
            together = together && lane.primitive == SYNC_BLOCK && lane.line == first->line;
        }
        if (members && together) {
            for (int w = 0; w < n_warps; ++w) {
                warps[w].runnable = warps[w].members;
                warps[w].waiting = 0;
            }
            return run_next(save);
        }
        if (members) describe("lanes wait for lanes that do not come");
    }
    current = nullptr;
    emulator_switch(save, launcher);
}

static void fibre()
{
    call.invoke(call.arguments);
    Lane& lane = *current;
    const unsigned bit = 1u << lane.number;
    warps[lane.warp].members &= ~bit;
    warps[lane.warp].runnable &= ~bit;
    run_next(&lane.stack_pointer);
}

// what each lane of the mask gets
static void exchange(Warp& warp, Lane* lanes, unsigned mask)
{
    unsigned votes = 0;
    unsigned long long sum = 0;
    for (int l = 0; l < 32; ++l)
        if (mask >> l & 1) {
            votes |= lanes[l].value ? 1u << l : 0;
            sum += lanes[l].value;
        }
    for (int l = 0; l < 32; ++l) {
        if (!(mask >> l & 1)) continue;
        Lane& lane = lanes[l];
        const int first = l & ~(lane.width - 1), argument = lane.argument;
        int source = l;
        switch (lane.primitive) {
        case BALLOT: lane.result = votes; break;
        case ANY: lane.result = votes != 0; break;
        case ALL: lane.result = votes == mask; break;
        case REDUCE_ADD: lane.result = sum; break;
        case MATCH_ANY:
            lane.result = 0;
            for (int k = 0; k < 32; ++k)
                if ((mask >> k & 1) && lanes[k].value == lane.value) lane.result |= 1u << k;
            break;
        case SHUFFLE: source = first + (argument & (lane.width - 1)); break;
        case SHUFFLE_XOR: source = (l ^ argument) < first + lane.width ? l ^ argument : l; break;
        case SHUFFLE_UP: source = l - argument >= first ? l - argument : l; break;
        case SHUFFLE_DOWN: source = l + argument < first + lane.width ? l + argument : l; break;
        default: break;
        }
        if (lane.primitive >= SHUFFLE && lane.primitive <= SHUFFLE_DOWN) {
            if (!(mask >> source & 1)) describe("a shuffle reads a lane that is not in its mask");
            lane.result = lanes[source].value;
        }
    }
    warp.waiting &= ~mask;
    warp.runnable |= mask;
}

__attribute__((noinline)) static unsigned long long meet(Primitive primitive, unsigned mask, unsigned long long value, int argument,
                                                         int width, int line)
{
    Lane& lane = *current;
    Warp& warp = warps[lane.warp];
    const unsigned bit = 1u << lane.number;
    lane.primitive = primitive;
    lane.mask = mask;
    lane.value = value;
    lane.argument = argument;
    lane.width = width;
    lane.line = line;
    warp.runnable &= ~bit;
    warp.waiting |= bit;
    if (!(mask & bit)) describe("a lane calls a primitive whose mask does not name it");
    if (primitive != SYNC_BLOCK && (warp.waiting & mask) == mask) {
        Lane* lanes = lanes_of_block + 32 * lane.warp;
        bool same = true;
        for (int l = 0; l < 32; ++l)
            if (mask >> l & 1)
                same = same && lanes[l].primitive == primitive && lanes[l].mask == mask && lanes[l].line == line;
        if (same) {
            exchange(warp, lanes, mask);
            turn = descending ? (lane.warp + n_warps - 1) % n_warps : (lane.warp + 1) % n_warps;
        }
    }
    run_next(&lane.stack_pointer);
    return lane.result;
}

template <class T> static unsigned long long bits_of(T value)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
    unsigned long long bits = 0;
    memcpy(&bits, &value, sizeof value);
    return bits;
}
template <class T> static T value_of(unsigned long long bits)
{
    T value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// ---- launch ---------------------------------------------------------------------------------------
// one letter per argument: I int, D double, 0 null pointer, and for arrays f d i u l of the element type
template <class T> struct Code { static bool fits(char) { return false; } };
template <> struct Code<int> { static bool fits(char c) { return c == 'I'; } };
template <> struct Code<double> { static bool fits(char c) { return c == 'D'; } };
template <class T> struct Code<T*> { static bool fits(char c) { return c >= 'a' || c == '0'; } };  // structs: any array
template <class T> struct Code<const T*> : Code<T*> {};
template <> struct Code<float*> { static bool fits(char c) { return c == 'f' || c == '0'; } };
template <> struct Code<double*> { static bool fits(char c) { return c == 'd' || c == '0'; } };
template <> struct Code<int*> { static bool fits(char c) { return c == 'i' || c == '0'; } };
template <> struct Code<unsigned*> { static bool fits(char c) { return c == 'u' || c == '0'; } };
template <> struct Code<long long*> { static bool fits(char c) { return c == 'l' || c == '0'; } };
template <> struct Code<unsigned long long*> { static bool fits(char c) { return c == 'l' || c == '0'; } };

template <auto kernel> struct Launch;
template <class... A, void (*kernel)(A...)> struct Launch<kernel> {
    template <size_t... K> static void unpack(void** arguments, std::index_sequence<K...>) { kernel(*(A*)arguments[K]...); }
    static void invoke(void** arguments) { unpack(arguments, std::index_sequence_for<A...>()); }
    static bool fits(const char* codes)
    {
        int k = 0;
        if (strlen(codes) != sizeof...(A)) snprintf(message, sizeof message, "the kernel takes %d arguments, not %d", (int)sizeof...(A), (int)strlen(codes));
        else
            ((Code<A>::fits(codes[k]) ? 0 : snprintf(message, sizeof message, "argument %d is of another type than the kernel's", k), ++k), ...);
        return message[0] == 0;
    }
};

static void run_block(int threads)
{
    n_warps = (threads + 31) / 32;
    for (int i = 0; i < threads; ++i) {
        Lane& lane = lanes_of_block[i];
        lane.thread = {(unsigned)i, 0, 0};
        lane.warp = i / 32;
        lane.number = i % 32;
        // what emulator_switch pops: six registers, where to go, and where fibre() would return to
        void** top = (void**)(stacks + (size_t)(i + 1) * STACK_BYTES);
        memset(top - 8, 0, 8 * sizeof(void*));
        top[-2] = (void*)&fibre;
        *(unsigned long long*)(stacks + (size_t)i * STACK_BYTES) = STACK_END;
        lane.stack_pointer = top - 8;
    }
    for (int w = 0; w < n_warps; ++w) {
        const int left = threads - 32 * w;
        warps[w].members = warps[w].runnable = left >= 32 ? 0xffffffffu : (1u << left) - 1u;
        warps[w].waiting = 0;
    }
    turn = descending ? n_warps - 1 : 0;
    run_next(&launcher);
    for (int i = 0; i < threads; ++i)
        if (*(unsigned long long*)(stacks + (size_t)i * STACK_BYTES) != STACK_END) describe("a lane has run over its stack");
}

template <auto kernel> static const char* launch(void** arguments, const char* codes, int blocks, int threads, int from_last)
{
    message[0] = 0;
    if (!Launch<kernel>::fits(codes)) return message;
    if (!stacks) {
        const size_t bytes = STACK_BYTES * 32 * MOST_WARPS;
        // one mapping for all, because a process may hold many libraries and few mappings
        void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) return "no memory for the stacks of the lanes";
        stacks = (char*)memory;
    }
    call = {&Launch<kernel>::invoke, arguments};
    descending = from_last != 0;
    block_size = {(unsigned)threads, 1, 1};
    grid_size = {(unsigned)blocks, 1, 1};
    for (int b = 0; b < blocks && !message[0]; ++b) {
        block = {(unsigned)(descending ? blocks - 1 - b : b), 0, 0};
        run_block(threads);
    }
    return message[0] ? message : nullptr;
}

}  // namespace emulator

// emulate_NAME(arguments, codes, blocks, threads, from_last): null, or what went wrong
#define EMULATED_LAUNCH(name) \
    extern "C" __attribute__((visibility("default"))) const char* emulate_##name(void** arguments, const char* codes, int blocks, \
                                                                                 int threads, int from_last) \
    { return emulator::launch<&name>(arguments, codes, blocks, threads, from_last); }

// ---- CUDA's names ---------------------------------------------------------------------------------
#define threadIdx (emulator::current->thread)
#define blockIdx (emulator::block)
#define blockDim (emulator::block_size)
#define gridDim (emulator::grid_size)
#define warpSize 32

#define EMULATED_LINE int line = __builtin_LINE()
static inline void __syncwarp(unsigned mask = 0xffffffffu, EMULATED_LINE) { emulator::meet(emulator::SYNC_WARP, mask, 0, 0, 32, line); }
static inline void __syncthreads(EMULATED_LINE) { emulator::meet(emulator::SYNC_BLOCK, 0xffffffffu, 0, 0, 32, line); }
static inline unsigned __ballot_sync(unsigned mask, int vote, EMULATED_LINE) { return (unsigned)emulator::meet(emulator::BALLOT, mask, vote != 0, 0, 32, line); }
static inline int __any_sync(unsigned mask, int vote, EMULATED_LINE) { return (int)emulator::meet(emulator::ANY, mask, vote != 0, 0, 32, line); }
static inline int __all_sync(unsigned mask, int vote, EMULATED_LINE) { return (int)emulator::meet(emulator::ALL, mask, vote != 0, 0, 32, line); }
static inline unsigned __reduce_add_sync(unsigned mask, unsigned value, EMULATED_LINE) { return (unsigned)emulator::meet(emulator::REDUCE_ADD, mask, value, 0, 32, line); }
#define EMULATED_SHUFFLE(name, primitive)                                                                              \
    template <class T> static inline T name(unsigned mask, T value, int argument, int width = 32, EMULATED_LINE)      \
    { return emulator::value_of<T>(emulator::meet(emulator::primitive, mask, emulator::bits_of(value), argument, width, line)); }
EMULATED_SHUFFLE(__shfl_sync, SHUFFLE)
EMULATED_SHUFFLE(__shfl_xor_sync, SHUFFLE_XOR)
EMULATED_SHUFFLE(__shfl_up_sync, SHUFFLE_UP)
EMULATED_SHUFFLE(__shfl_down_sync, SHUFFLE_DOWN)
template <class T> static inline unsigned __match_any_sync(unsigned mask, T value, EMULATED_LINE)
{ return (unsigned)emulator::meet(emulator::MATCH_ANY, mask, emulator::bits_of(value), 0, 32, line); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}

// the types for which CUDA has them
#define EMULATED_ATOMIC(name, T, result)                                                        \
    static inline T name(T* address, T value) { const T old = *address; *address = result; return old; }
EMULATED_ATOMIC(atomicAdd, int, old + value)
EMULATED_ATOMIC(atomicAdd, unsigned, old + value)
EMULATED_ATOMIC(atomicAdd, unsigned long long, old + value)
EMULATED_ATOMIC(atomicAdd, float, old + value)
EMULATED_ATOMIC(atomicAdd, double, old + value)
EMULATED_ATOMIC(atomicMax, int, old > value ? old : value)
EMULATED_ATOMIC(atomicMax, unsigned, old > value ? old : value)
EMULATED_ATOMIC(atomicMax, long long, old > value ? old : value)
EMULATED_ATOMIC(atomicMax, unsigned long long, old > value ? old : value)
EMULATED_ATOMIC(atomicMin, int, old < value ? old : value)
EMULATED_ATOMIC(atomicOr, unsigned, old | value)
EMULATED_ATOMIC(atomicExch, int, value)

static inline long long __double_as_longlong(double v) { long long bits; __builtin_memcpy(&bits, &v, sizeof bits); return bits; }
static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
static inline int __ffs(int v) { return __builtin_ffs(v); }
static inline int __clz(int v) { return v ? __builtin_clz((unsigned)v) : 32; }
static inline long long clock64() { return (long long)__builtin_ia32_rdtsc(); }
template <class T> static inline T __ldg(const T* p) { return *p; }
template <class T> static inline T __ldcs(const T* p) { return *p; }

#define EMULATED_FUNCTION(name)                                                     \
    static inline float name(float v) { return __builtin_##name##f(v); }            \
    static inline double name(double v) { return __builtin_##name(v); }
EMULATED_FUNCTION(sqrt)
EMULATED_FUNCTION(rint)
EMULATED_FUNCTION(floor)
EMULATED_FUNCTION(ceil)
EMULATED_FUNCTION(fabs)
EMULATED_FUNCTION(exp)
EMULATED_FUNCTION(log)
EMULATED_FUNCTION(sin)
EMULATED_FUNCTION(cos)
EMULATED_FUNCTION(tanh)
static inline float rsqrt(float v) { return 1.0f / __builtin_sqrtf(v); }
static inline double rsqrt(double v) { return 1.0 / __builtin_sqrt(v); }
static inline long long llrintf(float v) { return __builtin_llrintf(v); }
static inline long long llrint(double v) { return __builtin_llrint(v); }
static inline double nan(const char*) { return __builtin_nan(""); }
static inline float ldexp(float v, int n) { return __builtin_ldexpf(v, n); }
static inline double ldexp(double v, int n) { return __builtin_ldexp(v, n); }
static inline float frexp(float v, int* n) { return __builtin_frexpf(v, n); }
static inline double frexp(double v, int* n) { return __builtin_frexp(v, n); }
static inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
static inline float fmin(float a, float b) { return __builtin_fminf(a, b); }
static inline double fmin(double a, double b) { return __builtin_fmin(a, b); }
static inline float fmax(float a, float b) { return __builtin_fmaxf(a, b); }
static inline double fmax(double a, double b) { return __builtin_fmax(a, b); }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline float __expf(float v) { return __builtin_expf(v); }
static inline float __fdividef(float a, float b) { return a / b; }
