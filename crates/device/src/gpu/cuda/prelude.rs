//! Functions that rendered kernels call, written once in CUDA C. A kernel gets only those it calls.

/// Name and definition.
const FUNCTIONS: [(&str, &str); 3] = [("thalweg_max", MAX), ("thalweg_min", MIN), ("thalweg_random", RANDOM)];

/// The definitions of what a text calls.
pub fn used_by(text: &str) -> String {
    FUNCTIONS.iter().filter(|(name, _)| text.contains(name)).map(|(_, definition)| *definition).collect()
}

/// The larger; NaN if either is. One instruction since Ampere.
const MAX: &str = "\
static __device__ __forceinline__ float thalweg_max(float a, float b) {
#if __CUDA_ARCH__ >= 800
    float r;
    asm(\"max.NaN.f32 %0, %1, %2;\" : \"=f\"(r) : \"f\"(a), \"f\"(b));
    return r;
#else
    return a > b || a != a ? a : b;
#endif
}
";

/// The smaller; NaN if either is.
const MIN: &str = "\
static __device__ __forceinline__ float thalweg_min(float a, float b) {
#if __CUDA_ARCH__ >= 800
    float r;
    asm(\"min.NaN.f32 %0, %1, %2;\" : \"=f\"(r) : \"f\"(a), \"f\"(b));
    return r;
#else
    return a < b || a != a ? a : b;
#endif
}
";

/// Philox4x32-10 as in `crates/base/src/philox.rs`: counter (element / 4, step, stream, 0), lane `element % 4`, its 24 high
/// bits as a number in [0, 1).
const RANDOM: &str = "\
static __device__ __forceinline__ float thalweg_random(
    unsigned k0, unsigned k1, unsigned stream, unsigned step, unsigned element) {
    unsigned c0 = element / 4u, c1 = step, c2 = stream, c3 = 0u;
    #pragma unroll
    for (int round = 0; round < 10; round++) {
        const unsigned h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
        const unsigned h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
        c0 = h1 ^ c1 ^ k0;
        c1 = l1;
        c2 = h0 ^ c3 ^ k1;
        c3 = l0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    const unsigned lane = element & 3u;
    const unsigned word = lane < 2u ? (lane == 0u ? c0 : c1) : (lane == 2u ? c2 : c3);
    return __uint2float_rn(word >> 8) * 5.9604644775390625e-08f;
}
";
