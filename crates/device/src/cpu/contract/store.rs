//! What happens to finished sums on their way from registers to memory.
//!
//! In: a tile's accumulators. Out: `min(max(0, (x - mean) * scale + bias + other), high)`, each part optional,
//! stored by the tile. Batch normalisation, a residual sum and ReLU or ReLU6 behind a product cost no pass of
//! their own. Invariant: a value depends on its own sum, column and place alone, not on the tile's size.

use super::vector::Vector;

/// What happens at the store. Null and infinity: nothing.
#[derive(Clone, Copy)]
pub(super) struct Store {
    /// Add to what is there (a later block of the reduction).
    pub accumulate: bool,
    /// Per column, subtracted before `scale`.
    pub mean: *const f32,
    /// Per column, multiplied by.
    pub scale: *const f32,
    /// Per column, added.
    pub bias: *const f32,
    /// Added: laid out as the result is.
    pub other: *const f32,
    /// max(0, x) last.
    pub relu: bool,
    /// min(x, high), after all.
    pub high: f32,
}

impl Store {
    /// Overwrite or accumulate, nothing else.
    pub fn plain(accumulate: bool) -> Self {
        let none = std::ptr::null();
        Store {
            accumulate,
            mean: none,
            scale: none,
            bias: none,
            other: none,
            relu: false,
            high: f32::INFINITY,
        }
    }

    /// The same for the result's part that starts `cols` columns on.
    pub fn from(self, cols: usize) -> Self {
        let on = |p: *const f32| if p.is_null() { p } else { p.wrapping_add(cols) };
        let (mean, scale) = (on(self.mean), on(self.scale));
        Store { mean, scale, bias: on(self.bias), other: on(self.other), ..self }
    }

    /// Whether a batch normalisation or a bias, a ReLU and a highest value are all there is.
    pub fn is_simple(&self) -> bool {
        self.other.is_null() && (self.mean.is_null() || !self.scale.is_null())
    }

    /// Whether of two sums of a column the greater one stays the greater, or becomes equal: a maximum may be taken first (if
    /// biases are finite). Of sums that become equal the greatest is the first then.
    pub fn keeps_order(&self) -> bool {
        self.scale.is_null() && self.other.is_null()
    }

    /// The same for the result's part that starts `elements` on, at the same column.
    pub fn on(self, elements: usize) -> Self {
        let other = if self.other.is_null() { self.other } else { self.other.wrapping_add(elements) };
        Store { other, ..self }
    }

    /// Finishes MR rows of NV registers, the last of `last` lanes; row `m` is at `place(m)` in the result.
    ///
    /// # Safety
    /// The registers' features are there; every vector that is not null has the columns, `other` the places.
    #[expect(clippy::needless_range_loop, reason = "constant bounds, so that all unrolls")]
    #[inline(always)]
    pub unsafe fn finish<V: Vector, const MR: usize, const NV: usize>(
        &self,
        acc: &mut [[V; NV]; MR],
        last: usize,
        place: impl Fn(usize) -> usize,
    ) {
        // SAFETY: the caller vouches for features and vectors; partial registers at the last columns.
        unsafe {
            let full = last == V::LANES;
            if !self.mean.is_null() {
                for v in 0..NV {
                    let mean = load::<V>(self.mean, v, v < NV - 1 || full, last);
                    for m in 0..MR {
                        acc[m][v] = V::sub(acc[m][v], mean);
                    }
                }
            }
            if !self.scale.is_null() {
                for v in 0..NV {
                    let scale = load::<V>(self.scale, v, v < NV - 1 || full, last);
                    let bias = if self.bias.is_null() {
                        V::zero()
                    } else {
                        load::<V>(self.bias, v, v < NV - 1 || full, last)
                    };
                    for m in 0..MR {
                        acc[m][v] = V::fma(acc[m][v], scale, bias);
                    }
                }
            } else if !self.bias.is_null() {
                for v in 0..NV {
                    let bias = load::<V>(self.bias, v, v < NV - 1 || full, last);
                    for m in 0..MR {
                        acc[m][v] = V::add(acc[m][v], bias);
                    }
                }
            }
            if !self.other.is_null() {
                for m in 0..MR {
                    let other = self.other.wrapping_add(place(m));
                    for v in 0..NV {
                        acc[m][v] = V::add(acc[m][v], load::<V>(other, v, v < NV - 1 || full, last));
                    }
                }
            }
            if self.relu {
                for m in 0..MR {
                    for v in 0..NV {
                        acc[m][v] = V::relu(acc[m][v]);
                    }
                }
            }
            if self.high < f32::INFINITY {
                let high = V::splat(self.high);
                for m in 0..MR {
                    for v in 0..NV {
                        acc[m][v] = V::cap(acc[m][v], high);
                    }
                }
            }
        }
    }
}

/// Register `v` of a row: whole, or its first `last` lanes. No closure: that would be compiled without the features
/// where it is not inlined.
#[inline(always)]
unsafe fn load<V: Vector>(from: *const f32, v: usize, whole: bool, last: usize) -> V {
    let from = from.wrapping_add(v * V::LANES);
    // SAFETY: as the caller vouches.
    unsafe { if whole { V::load(from) } else { V::load_part(from, last) } }
}
