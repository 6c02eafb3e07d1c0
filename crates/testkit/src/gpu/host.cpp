// What CUDA C has and C++ has not, for kernels that run on the host: a group's threads are fibers that run one after
// another, each up to its next barrier.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __CUDA_ARCH__ 0

struct Index {
    unsigned x;
};
static Index threadIdx, blockIdx;

struct __align__(16) float4 {
    float x, y, z, w;
};
struct __align__(16) int4 {
    int x, y, z, w;
};
struct __align__(16) uint4 {
    unsigned x, y, z, w;
};
struct __align__(8) ushort4 {
    unsigned short x, y, z, w;
};
struct __align__(4) uchar4 {
    unsigned char x, y, z, w;
};

template <class To, class From> static To same_bits(From from) {
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline int __float_as_int(float x) { return same_bits<int>(x); }
static inline unsigned __float_as_uint(float x) { return same_bits<unsigned>(x); }
static inline float __int_as_float(int x) { return same_bits<float>(x); }
static inline float __uint_as_float(unsigned x) { return same_bits<float>(x); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __int2float_rn(int x) { return (float)x; }
static inline float __uint2float_rn(unsigned x) { return (float)x; }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((unsigned long long)a * b) >> 32); }
static inline int __float2int_rz(float x) {
    return x != x ? 0 : x >= 2147483648.0f ? 2147483647 : x <= -2147483648.0f ? -2147483647 - 1 : (int)x;
}
static inline unsigned __float2uint_rz(float x) {
    return x != x || x <= 0.0f ? 0u : x >= 4294967296.0f ? 4294967295u : (unsigned)x;
}
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }

// A parameter of whatever type the kernel takes.
struct Pointer {
    unsigned char* start;
    template <class T> operator T*() const { return reinterpret_cast<T*>(start); }
};

static const unsigned MOST_THREADS = 1024, STACK = 64 << 10;
static ucontext_t scheduler, fibers[MOST_THREADS];
static bool ended[MOST_THREADS];
static void (*kernel)();

static void fiber() {
    kernel();
    ended[threadIdx.x] = true;
}

static void __syncthreads() { swapcontext(&fibers[threadIdx.x], &scheduler); }

static void launch(unsigned groups, unsigned threads, void (*body)()) {
    static unsigned char* stacks = static_cast<unsigned char*>(malloc((size_t)MOST_THREADS * STACK));
    kernel = body;
    for (blockIdx.x = 0; blockIdx.x < groups; blockIdx.x++) {
        for (unsigned t = 0; t < threads; t++) {
            ended[t] = false;
            getcontext(&fibers[t]);
            fibers[t].uc_stack.ss_sp = stacks + (size_t)t * STACK;
            fibers[t].uc_stack.ss_size = STACK;
            fibers[t].uc_link = &scheduler;
            makecontext(&fibers[t], fiber, 0);
        }
        for (unsigned left = threads; left > 0;) {
            left = 0;
            for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++) {
                if (!ended[threadIdx.x]) {
                    swapcontext(&scheduler, &fibers[threadIdx.x]);
                    left += !ended[threadIdx.x];
                }
            }
        }
    }
}

// Memories pass through standard input and output, one after another.
static unsigned char* take(size_t bytes) {
    unsigned char* memory = static_cast<unsigned char*>(aligned_alloc(64, (bytes + 64) / 64 * 64));
    if (fread(memory, 1, bytes, stdin) != bytes) {
        exit(2);
    }
    return memory;
}
static void give(const unsigned char* memory, size_t bytes) {
    if (fwrite(memory, 1, bytes, stdout) != bytes) {
        exit(3);
    }
}
