//! Changing colours: hue, saturation, value.
//!
//! Input: RGB bytes and by how much each is changed. Output: the same bytes, changed. Invariant: gray stays without
//! hue; no change leaves every byte as it was.

/// How colours are changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Jitter {
    /// Added to the hue, in turns of the colour circle.
    pub(super) hue: f32,
    /// What the saturation is multiplied by.
    pub(super) saturation: f32,
    /// What the value is multiplied by.
    pub(super) value: f32,
}

impl Jitter {
    /// Changes pixels.
    pub(super) fn apply(self, pixels: &mut [u8]) {
        if self == (Jitter { hue: 0.0, saturation: 1.0, value: 1.0 }) {
            return;
        }
        // The circle has six sectors.
        let turn = self.hue.rem_euclid(1.0) * 6.0;
        for pixel in pixels.chunks_exact_mut(3) {
            let [r, g, b] = [f32::from(pixel[0]), f32::from(pixel[1]), f32::from(pixel[2])];
            let most = r.max(g).max(b);
            let range = most - r.min(g).min(b);
            let per_range = if range > 0.0 { 1.0 / range } else { 0.0 };
            let sector = if most == r {
                (g - b) * per_range
            } else if most == g {
                (b - r) * per_range + 2.0
            } else {
                (r - g) * per_range + 4.0
            };
            let hue = sector + turn + if sector < 0.0 { 6.0 } else { 0.0 };
            let hue = if hue >= 6.0 { hue - 6.0 } else { hue };
            let value = (most * self.value).min(255.0);
            let saturation = if most > 0.0 { (range / most * self.saturation).min(1.0) } else { 0.0 };
            // How far each channel is from the most, by the hue alone.
            let full = [(hue - 3.0).abs() - 1.0, 2.0 - (hue - 2.0).abs(), 2.0 - (hue - 4.0).abs()];
            for (byte, full) in pixel.iter_mut().zip(full) {
                *byte = (value * (1.0 - saturation * (1.0 - full.clamp(0.0, 1.0))) + 0.5) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(pixel: [u8; 3], hue: f32, saturation: f32, value: f32) -> [u8; 3] {
        let mut out = pixel;
        Jitter { hue, saturation, value }.apply(&mut out);
        out
    }

    #[test]
    fn a_third_of_a_turn_moves_channels_on() {
        assert_eq!(changed([200, 50, 80], 1.0 / 3.0, 1.0, 1.0), [80, 200, 50]);
        assert_eq!(changed([200, 50, 80], -1.0 / 3.0, 1.0, 1.0), [50, 80, 200]);
    }

    #[test]
    fn value_and_saturation() {
        assert_eq!(changed([200, 100, 50], 0.0, 1.0, 0.5), [100, 50, 25]);
        assert_eq!(changed([200, 100, 50], 0.0, 1.0, 9.0), [255, 128, 64]);
        assert_eq!(changed([200, 100, 50], 0.0, 0.0, 1.0), [200, 200, 200]);
        assert_eq!(changed([90, 90, 90], 0.4, 2.0, 1.0), [90, 90, 90]);
        assert_eq!(changed([0, 0, 0], 0.4, 2.0, 2.0), [0, 0, 0]);
    }

    /// A full turn goes through all of the arithmetic and changes nothing.
    #[test]
    fn every_colour_survives_a_turn() {
        for i in 0..64u32.pow(3) {
            let pixel = [i % 64 * 4, i / 64 % 64 * 4, i / 4096 * 4].map(|v| v as u8);
            let same = changed(pixel, 1.0, 1.0, 1.0);
            let apart = pixel.iter().zip(same).map(|(a, b)| a.abs_diff(b)).max();
            assert!(apart <= Some(1), "{pixel:?} {same:?}");
        }
    }
}
