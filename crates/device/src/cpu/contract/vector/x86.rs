//! The registers of AVX-512 and AVX2.

use super::Vector;
use std::arch::x86_64::*;

/// 16 lanes, 32 registers.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx512(__m512);

impl Vector for Avx512 {
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    /// Permutations by these: of constants the compiler would make two shuffles each.
    #[inline(always)]
    unsafe fn places<const N: usize>() -> [Self; N] {
        // SAFETY: the caller vouches for the features.
        unsafe {
            let mut all = [Self::zero(); N];
            for (i, place) in all.iter_mut().enumerate() {
                *place = Avx512(_mm512_castsi512_ps(_mm512_set1_epi32(i as i32)));
            }
            std::hint::black_box(all)
        }
    }
    /// One load instead of one for each.
    #[inline(always)]
    unsafe fn spread<const N: usize>(from: *const f32, places: &[Self; N]) -> [Self; N] {
        // SAFETY: the caller vouches for the features and the values.
        unsafe {
            let v = _mm512_maskz_loadu_ps(((1u32 << N) - 1) as u16, from);
            let mut all = *places;
            for to in &mut all {
                *to = Avx512(_mm512_permutexvar_ps(_mm512_castps_si512(to.0), v));
            }
            all
        }
    }
    methods! {
        fn zero() -> Self { Avx512(_mm512_setzero_ps()) }
        fn splat(x: f32) -> Self { Avx512(_mm512_set1_ps(x)) }
        fn load(from: *const f32) -> Self { Avx512(_mm512_loadu_ps(from)) }
        fn load_part(from: *const f32, n: usize) -> Self {
            Avx512(_mm512_maskz_loadu_ps(((1u32 << n) - 1) as u16, from))
        }
        fn store(v: Self, to: *mut f32) { _mm512_storeu_ps(to, v.0) }
        fn store_part(v: Self, to: *mut f32, n: usize) {
            _mm512_mask_storeu_ps(to, ((1u32 << n) - 1) as u16, v.0)
        }
        fn fma(a: Self, b: Self, c: Self) -> Self { Avx512(_mm512_fmadd_ps(a.0, b.0, c.0)) }
        fn add(a: Self, b: Self) -> Self { Avx512(_mm512_add_ps(a.0, b.0)) }
        fn sub(a: Self, b: Self) -> Self { Avx512(_mm512_sub_ps(a.0, b.0)) }
        // The second operand is what maxps and minps return if one is NaN.
        fn cap(v: Self, high: Self) -> Self { Avx512(_mm512_min_ps(high.0, v.0)) }
        fn relu(v: Self) -> Self { Avx512(_mm512_max_ps(_mm512_setzero_ps(), v.0)) }
        fn better(best: Self, at: Self, v: Self, pos: Self) -> (Self, Self) {
            let m = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(v.0, best.0)
                | _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v.0, v.0);
            (
                Avx512(_mm512_mask_blend_ps(m, best.0, v.0)),
                Avx512(_mm512_mask_blend_ps(m, at.0, pos.0)),
            )
        }
        fn greatest(of: [Self; 4]) -> Self {
            let [a, b, c, d] = of;
            let best = _mm512_max_ps(_mm512_max_ps(a.0, b.0), _mm512_max_ps(c.0, d.0));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a.0, b.0)
                | _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(c.0, d.0);
            Avx512(_mm512_mask_mov_ps(best, nan, _mm512_set1_ps(f32::NAN)))
        }
        fn first_greatest(of: [Self; 4]) -> (Self, Self) {
            let [a, b, c, d] = of;
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a.0, b.0)
                | _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(c.0, d.0);
            if nan != 0 {
                return super::one_by_one(of);
            }
            // Pairs first: one does not wait for the other. Of zeros maxps returns the second operand.
            let (upper, lower) = (_mm512_max_ps(b.0, a.0), _mm512_max_ps(d.0, c.0));
            let second = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(b.0, a.0);
            let fourth = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(d.0, c.0);
            let below = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(lower, upper);
            let at = _mm512_maskz_mov_ps(second, _mm512_set1_ps(1.0));
            let at_lower = _mm512_mask_mov_ps(_mm512_set1_ps(2.0), fourth, _mm512_set1_ps(3.0));
            (Avx512(_mm512_max_ps(lower, upper)), Avx512(_mm512_mask_mov_ps(at, below, at_lower)))
        }
        fn transpose(from: *const f32, pitch: usize, to: *mut f32, to_pitch: usize) {
            // 4 x 4 blocks within 128-bit lanes, then the lanes.
            let mut q = [_mm512_setzero_ps(); 16];
            for i in 0..4 {
                // No closure: it would be a function without the features, called with registers in memory.
                let r0 = _mm512_loadu_ps(from.add(4 * i * pitch));
                let r1 = _mm512_loadu_ps(from.add((4 * i + 1) * pitch));
                let r2 = _mm512_loadu_ps(from.add((4 * i + 2) * pitch));
                let r3 = _mm512_loadu_ps(from.add((4 * i + 3) * pitch));
                let (a, b) = (_mm512_unpacklo_ps(r0, r1), _mm512_unpackhi_ps(r0, r1));
                let (c, d) = (_mm512_unpacklo_ps(r2, r3), _mm512_unpackhi_ps(r2, r3));
                q[i] = _mm512_shuffle_ps::<0x44>(a, c);
                q[4 + i] = _mm512_shuffle_ps::<0xee>(a, c);
                q[8 + i] = _mm512_shuffle_ps::<0x44>(b, d);
                q[12 + i] = _mm512_shuffle_ps::<0xee>(b, d);
            }
            for k in 0..4 {
                let (a, b) = (
                    _mm512_shuffle_f32x4::<0x88>(q[4 * k], q[4 * k + 1]),
                    _mm512_shuffle_f32x4::<0x88>(q[4 * k + 2], q[4 * k + 3]),
                );
                let (c, d) = (
                    _mm512_shuffle_f32x4::<0xdd>(q[4 * k], q[4 * k + 1]),
                    _mm512_shuffle_f32x4::<0xdd>(q[4 * k + 2], q[4 * k + 3]),
                );
                _mm512_storeu_ps(to.add(k * to_pitch), _mm512_shuffle_f32x4::<0x88>(a, b));
                _mm512_storeu_ps(to.add((4 + k) * to_pitch), _mm512_shuffle_f32x4::<0x88>(c, d));
                _mm512_storeu_ps(to.add((8 + k) * to_pitch), _mm512_shuffle_f32x4::<0xdd>(a, b));
                _mm512_storeu_ps(to.add((12 + k) * to_pitch), _mm512_shuffle_f32x4::<0xdd>(c, d));
            }
        }
        fn compact(values: *const f32, at: *const u32, to_at: *mut u32, to_values: *mut f32) -> usize {
            let v = _mm512_loadu_ps(values);
            let m = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(v, _mm512_setzero_ps());
            let at = _mm512_loadu_si512(at.cast());
            _mm512_storeu_si512(to_at.cast(), _mm512_maskz_compress_epi32(m, at));
            _mm512_storeu_ps(to_values, _mm512_maskz_compress_ps(m, v));
            m.count_ones() as usize
        }
        fn live(values: *const f32, n: usize) -> u64 {
            let v = _mm512_maskz_loadu_ps(((1u32 << n) - 1) as u16, values);
            u64::from(_mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(v, _mm512_setzero_ps()))
        }
        fn equal(bytes: *const u8, n: usize, byte: u8) -> u64 {
            let these = u64::MAX >> (64 - n);
            let bytes = _mm512_maskz_loadu_epi8(these, bytes.cast());
            _mm512_mask_cmpeq_epi8_mask(these, bytes, _mm512_set1_epi8(byte.cast_signed()))
        }
        fn look_up(from: *const u8, table: &[u32; 16], base: u32, to: *mut u32) {
            let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
            let table = _mm512_loadu_si512(table.as_ptr().cast());
            // A permutation takes the last four bits of each index.
            let found = _mm512_permutexvar_epi32(bytes, table);
            _mm512_storeu_si512(to.cast(), _mm512_add_epi32(found, _mm512_set1_epi32(base as i32)))
        }
        fn load_some(old: Self, from: *const f32, bits: u32) -> Self {
            Avx512(_mm512_mask_loadu_ps(old.0, bits as u16, from))
        }
        fn look_up_short(from: *const u8, table: &[u16; 16], base: u16, to: *mut u16) {
            let bytes = _mm256_cvtepu8_epi16(_mm_loadu_si128(from.cast()));
            let table = _mm256_loadu_si256(table.as_ptr().cast());
            // A permutation takes the last four bits of each index.
            let found = _mm256_permutexvar_epi16(bytes, table);
            _mm256_storeu_si256(to.cast(), _mm256_add_epi16(found, _mm256_set1_epi16(base.cast_signed())))
        }
        fn store_bytes(v: Self, to: *mut u8, n: usize) {
            let bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v.0));
            if n == 16 {
                _mm_storeu_si128(to.cast(), bytes)
            } else {
                let mut lanes = [0u8; 16];
                _mm_storeu_si128(lanes.as_mut_ptr().cast(), bytes);
                std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, n)
            }
        }
    }
}

/// 8 lanes, 16 registers.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx2(__m256);

/// Per mask of 8 lanes: the lanes that it has, in order.
static KEPT: [[u8; 8]; 256] = kept();

const fn kept() -> [[u8; 8]; 256] {
    let mut table = [[0; 8]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut lane, mut count) = (0, 0);
        while lane < 8 {
            if mask >> lane & 1 == 1 {
                table[mask][count] = lane as u8;
                count += 1;
            }
            lane += 1;
        }
        mask += 1;
    }
    table
}

/// Eight ones, then eight zeros: a window of it is a mask of the first lanes.
static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

impl Vector for Avx2 {
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    methods! {
        fn load_some(old: Self, from: *const f32, bits: u32) -> Self {
            let each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let mask = _mm256_and_si256(_mm256_set1_epi32(bits.cast_signed()), each);
            let mask = _mm256_cmpeq_epi32(mask, each);
            let loaded = _mm256_maskload_ps(from, mask);
            Avx2(_mm256_blendv_ps(old.0, loaded, _mm256_castsi256_ps(mask)))
        }
        fn zero() -> Self { Avx2(_mm256_setzero_ps()) }
        fn splat(x: f32) -> Self { Avx2(_mm256_set1_ps(x)) }
        fn load(from: *const f32) -> Self { Avx2(_mm256_loadu_ps(from)) }
        fn load_part(from: *const f32, n: usize) -> Self {
            let mask = _mm256_loadu_si256(MASKS.as_ptr().add(8 - n).cast());
            Avx2(_mm256_maskload_ps(from, mask))
        }
        fn store(v: Self, to: *mut f32) { _mm256_storeu_ps(to, v.0) }
        fn store_part(v: Self, to: *mut f32, n: usize) {
            let mask = _mm256_loadu_si256(MASKS.as_ptr().add(8 - n).cast());
            _mm256_maskstore_ps(to, mask, v.0)
        }
        fn fma(a: Self, b: Self, c: Self) -> Self { Avx2(_mm256_fmadd_ps(a.0, b.0, c.0)) }
        fn add(a: Self, b: Self) -> Self { Avx2(_mm256_add_ps(a.0, b.0)) }
        fn sub(a: Self, b: Self) -> Self { Avx2(_mm256_sub_ps(a.0, b.0)) }
        fn cap(v: Self, high: Self) -> Self { Avx2(_mm256_min_ps(high.0, v.0)) }
        fn relu(v: Self) -> Self { Avx2(_mm256_max_ps(_mm256_setzero_ps(), v.0)) }
        fn better(best: Self, at: Self, v: Self, pos: Self) -> (Self, Self) {
            let m = _mm256_or_ps(
                _mm256_cmp_ps::<_CMP_GT_OQ>(v.0, best.0),
                _mm256_cmp_ps::<_CMP_UNORD_Q>(v.0, v.0),
            );
            (Avx2(_mm256_blendv_ps(best.0, v.0, m)), Avx2(_mm256_blendv_ps(at.0, pos.0, m)))
        }
        fn compact(values: *const f32, at: *const u32, to_at: *mut u32, to_values: *mut f32) -> usize {
            let v = _mm256_loadu_ps(values);
            let bits = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NEQ_UQ>(v, _mm256_setzero_ps()));
            let order = _mm256_cvtepu8_epi32(_mm_loadl_epi64(KEPT[bits as usize].as_ptr().cast()));
            let at = _mm256_loadu_si256(at.cast());
            _mm256_storeu_si256(to_at.cast(), _mm256_permutevar8x32_epi32(at, order));
            _mm256_storeu_ps(to_values, _mm256_permutevar8x32_ps(v, order));
            bits.count_ones() as usize
        }
        fn live(values: *const f32, n: usize) -> u64 {
            let v = Self::load_part(values, n).0;
            _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NEQ_UQ>(v, _mm256_setzero_ps())) as u64
        }
        fn equal(bytes: *const u8, n: usize, byte: u8) -> u64 {
            let mut all = [0; 64];
            let mut from = bytes;
            if n < 64 {
                std::ptr::copy_nonoverlapping(bytes, all.as_mut_ptr(), n);
                from = all.as_ptr();
            }
            let byte = _mm256_set1_epi8(byte.cast_signed());
            let low = _mm256_cmpeq_epi8(_mm256_loadu_si256(from.cast()), byte);
            let high = _mm256_cmpeq_epi8(_mm256_loadu_si256(from.add(32).cast()), byte);
            let bits = |m| u64::from(_mm256_movemask_epi8(m).cast_unsigned());
            (bits(low) | bits(high) << 32) & (u64::MAX >> (64 - n))
        }
        fn greatest(of: [Self; 4]) -> Self {
            let [a, b, c, d] = of;
            let best = _mm256_max_ps(_mm256_max_ps(a.0, b.0), _mm256_max_ps(c.0, d.0));
            let nan = _mm256_or_ps(
                _mm256_cmp_ps::<_CMP_UNORD_Q>(a.0, b.0),
                _mm256_cmp_ps::<_CMP_UNORD_Q>(c.0, d.0),
            );
            // All bits are a NaN's.
            Avx2(_mm256_or_ps(best, nan))
        }
        fn store_bytes(v: Self, to: *mut u8, n: usize) {
            let whole = _mm256_cvtps_epi32(v.0);
            let (low, high) = (_mm256_castsi256_si128(whole), _mm256_extracti128_si256::<1>(whole));
            let words = _mm_packs_epi32(low, high);
            let bytes = _mm_packus_epi16(words, words);
            if n == 8 {
                _mm_storel_epi64(to.cast(), bytes)
            } else {
                let mut lanes = [0u8; 16];
                _mm_storeu_si128(lanes.as_mut_ptr().cast(), bytes);
                std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, n)
            }
        }
        fn transpose(from: *const f32, pitch: usize, to: *mut f32, to_pitch: usize) {
            let mut q = [_mm256_setzero_ps(); 8];
            for i in 0..2 {
                let r0 = _mm256_loadu_ps(from.add(4 * i * pitch));
                let r1 = _mm256_loadu_ps(from.add((4 * i + 1) * pitch));
                let r2 = _mm256_loadu_ps(from.add((4 * i + 2) * pitch));
                let r3 = _mm256_loadu_ps(from.add((4 * i + 3) * pitch));
                let (a, b) = (_mm256_unpacklo_ps(r0, r1), _mm256_unpackhi_ps(r0, r1));
                let (c, d) = (_mm256_unpacklo_ps(r2, r3), _mm256_unpackhi_ps(r2, r3));
                q[i] = _mm256_shuffle_ps::<0x44>(a, c);
                q[2 + i] = _mm256_shuffle_ps::<0xee>(a, c);
                q[4 + i] = _mm256_shuffle_ps::<0x44>(b, d);
                q[6 + i] = _mm256_shuffle_ps::<0xee>(b, d);
            }
            for k in 0..4 {
                let (a, b) = (q[2 * k], q[2 * k + 1]);
                _mm256_storeu_ps(to.add(k * to_pitch), _mm256_permute2f128_ps::<0x20>(a, b));
                _mm256_storeu_ps(to.add((4 + k) * to_pitch), _mm256_permute2f128_ps::<0x31>(a, b));
            }
        }
    }
}
