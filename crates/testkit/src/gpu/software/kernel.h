// What CUDA C has and C++ has not. No header is included, as kernels are many and are compiled one by one.
#include "machine.h"

extern "C" {
float expf(float);
float logf(float);
float cosf(float);
float tanhf(float);
float erff(float);
float powf(float, float);
float fmaf(float, float, float);
float sqrtf(float);
float floorf(float);
}
static inline float fabsf(float x) { return __builtin_fabsf(x); }

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static
#define __CUDA_ARCH__ 0

static Index threadIdx, blockIdx;
static void (*barrier)();
static inline void __syncthreads() { barrier(); }

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

template <class To, class From> static inline To same_bits(From from) {
    To to;
    __builtin_memcpy(&to, &from, sizeof to);
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
