//! Functions that rendered kernels call, written once in CUDA C. A kernel gets only those it calls.

/// Name and definition.
const FUNCTIONS: [(&str, &str); 6] = [
    ("thalweg_max", MAX),
    ("thalweg_min", MIN),
    ("thalweg_random", RANDOM),
    ("thalweg_to_f16", TO_F16),
    ("thalweg_from_f16", FROM_F16),
    ("thalweg_to_bf16", TO_BF16),
];

/// Half precision by integers: one way, the one that is tested without a GPU. Choices, not branches: of many branches the
/// compiler keeps marks in memory.
const TO_F16: &str = "\
static __device__ __forceinline__ unsigned short thalweg_to_f16(float x) {
    const unsigned bits = __float_as_uint(x), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    const unsigned normal = (size + 0xfffu + (size >> 13 & 1u) - 0x38000000u) >> 13;
    const unsigned small = __float_as_uint(__uint_as_float(size) + 0.5f) - 0x3f000000u;
    const unsigned finite = min(size < 0x38800000u ? small : normal, 0x7c00u);
    return (unsigned short)(sign | (size > 0x7f800000u ? 0x7e00u : finite));
}
";

const FROM_F16: &str = "\
static __device__ __forceinline__ float thalweg_from_f16(unsigned short x) {
    const unsigned sign = (x & 0x8000u) << 16, size = x & 0x7fffu;
    const unsigned small = __float_as_uint((float)size * 5.9604644775390625e-08f);
    const unsigned wide = (size << 13) + (size >= 0x7c00u ? 0x70000000u : 0x38000000u);
    return __uint_as_float(sign | (size < 0x400u ? small : wide));
}
";

/// The upper half of an f32, rounded as integers are.
const TO_BF16: &str = "\
static __device__ __forceinline__ unsigned short thalweg_to_bf16(float x) {
    const unsigned bits = __float_as_uint(x);
    const unsigned rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return (unsigned short)((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16 | 0x40u) : rounded);
}
";

/// The definitions of what a text calls.
pub fn used_by(text: &str) -> String {
    FUNCTIONS.iter().filter(|(name, _)| text.contains(name)).map(|(_, definition)| *definition).collect()
}

/// The larger; NaN if either is. One instruction since Ampere.
const MAX: &str = "\
static __device__ __forceinline__ float thalweg_max(float a, float b) {
    return a > b || a != a ? a : b;
}
";

/// The smaller; NaN if either is.
const MIN: &str = "\
static __device__ __forceinline__ float thalweg_min(float a, float b) {
    return a < b || a != a ? a : b;
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
