//! Philox4x32-10, the one random generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
//! SC 2011).
//!
//! A number is a pure function of (seed, stream, step, element), so every device, thread count and resumed
//! run sees the same numbers. Key = seed (low, high); counter = (element / 4, step, stream, 0); the element's
//! lane is `element % 4`.

const MULTIPLIER_0: u32 = 0xD251_1F53;
const MULTIPLIER_1: u32 = 0xCD9E_8D57;
const WEYL_0: u32 = 0x9E37_79B9;
const WEYL_1: u32 = 0xBB67_AE85;

/// One block: four random words from a counter and a key, ten rounds.
#[inline]
pub fn block(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let p0 = u64::from(MULTIPLIER_0) * u64::from(c0);
        let p1 = u64::from(MULTIPLIER_1) * u64::from(c2);
        (c0, c1, c2, c3) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
        k0 = k0.wrapping_add(WEYL_0);
        k1 = k1.wrapping_add(WEYL_1);
    }
    [c0, c1, c2, c3]
}

/// The random word of one element.
#[inline]
pub fn word(seed: u64, stream: u32, step: u32, element: u32) -> u32 {
    block([element / 4, step, stream, 0], [seed as u32, (seed >> 32) as u32])[(element % 4) as usize]
}

/// A word as a uniform number in [0, 1): its 24 high bits, exact in f32.
#[inline]
pub fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// A host-side sequence of random numbers of one (seed, stream, step): initial weights, shuffles.
#[derive(Clone, Debug)]
pub struct Sequence {
    seed: u64,
    stream: u32,
    step: u32,
    next: u32,
}

impl Sequence {
    /// The sequence from its first element.
    pub fn new(seed: u64, stream: u32, step: u32) -> Self {
        Sequence { seed, stream, step, next: 0 }
    }

    /// The same from another element on: where each example of an epoch has elements of its own.
    pub fn starting_at(self, element: u32) -> Self {
        Sequence { next: element, ..self }
    }

    /// The next 32 random bits.
    pub fn next_word(&mut self) -> u32 {
        let w = word(self.seed, self.stream, self.step, self.next);
        self.next = self.next.wrapping_add(1);
        w
    }

    /// The next uniform number in [0, 1).
    pub fn next_unit(&mut self) -> f32 {
        unit(self.next_word())
    }

    /// The next standard normal number (Box-Muller, two words each).
    pub fn next_normal(&mut self) -> f32 {
        let u = 1.0 - f64::from(self.next_unit()); // (0, 1]
        let v = f64::from(self.next_unit());
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    }

    /// A number in 0..n, `n` at least 1 (Lemire's multiply-shift; its bias is below n / 2^32).
    pub fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.next_word()) * u64::from(n)) >> 32) as u32
    }

    /// Fisher-Yates shuffle.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers from the Random123 distribution (kat_vectors, philox4x32 10 rounds).
    #[test]
    fn known_answers() {
        assert_eq!(block([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(block([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            block([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn a_sequence_goes_on_where_another_would_be() {
        let mut whole = Sequence::new(5, 6, 7);
        for _ in 0..9 {
            whole.next_word();
        }
        let mut rest = Sequence::new(5, 6, 7).starting_at(9);
        assert_eq!([rest.next_word(), rest.next_word()], [whole.next_word(), whole.next_word()]);
    }

    #[test]
    fn moments() {
        let mut s = Sequence::new(7, 1, 0);
        let n = 20_000;
        let xs: Vec<f64> = (0..n).map(|_| f64::from(s.next_normal())).collect();
        let mean = xs.iter().sum::<f64>() / f64::from(n);
        let var = xs.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.03 && (var - 1.0).abs() < 0.05, "mean {mean}, variance {var}");
    }

    #[test]
    fn a_shuffle_is_a_permutation() {
        let mut v: Vec<u32> = (0..1000).collect();
        Sequence::new(3, 0, 5).shuffle(&mut v);
        assert_ne!(v[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
        v.sort_unstable();
        assert!(v.iter().enumerate().all(|(i, &x)| i == x as usize));
    }
}
