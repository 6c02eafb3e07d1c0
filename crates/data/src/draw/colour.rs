//! A colour for every class.
//!
//! Input: a class. Output: a colour that differs from those of its neighbours for as many classes as there are.
//! Hues follow the golden angle, so that each new one falls into the largest gap; lightness alternates. They are
//! chosen in OKLab (Ottosson 2020), in which equal steps look equal.

use super::Colour;

/// Degrees between the hues of classes.
const GOLDEN_ANGLE: f64 = 137.507_764;
/// The hue of class 0: a blue.
const FIRST: f64 = 255.0;
/// How colourful.
const CHROMA: f64 = 0.21;
/// From dark to light.
const LIGHTNESS: [f64; 3] = [0.58, 0.67, 0.80];

/// The colour of a class.
pub fn class_colour(class: usize) -> Colour {
    let hue = (FIRST + class as f64 * GOLDEN_ANGLE).rem_euclid(360.0).to_radians();
    let lightness = LIGHTNESS[class % LIGHTNESS.len()];
    // Not every colour can be shown: the most colourful that can.
    let mut chroma = CHROMA;
    loop {
        let linear = linear_rgb(lightness, chroma * hue.cos(), chroma * hue.sin());
        if chroma < 0.02 || linear.iter().all(|v| (0.0..=1.0).contains(v)) {
            return linear.map(byte);
        }
        chroma -= 0.005;
    }
}

/// From OKLab to linear red, green, blue.
fn linear_rgb(l: f64, a: f64, b: f64) -> [f64; 3] {
    let [l, m, s] = [
        l + 0.396_337_777_4 * a + 0.215_803_757_3 * b,
        l - 0.105_561_345_8 * a - 0.063_854_172_8 * b,
        l - 0.089_484_177_5 * a - 1.291_485_548 * b,
    ]
    .map(|v| v * v * v);
    [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701 * s,
    ]
}

/// From linear light to sRGB.
fn byte(linear: f64) -> u8 {
    let v = linear.clamp(0.0, 1.0);
    let curved = if v <= 0.003_130_8 { 12.92 * v } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
    (curved * 255.0).round() as u8
}

/// Black or white, whichever can be read on a colour.
pub(super) fn ink_on(colour: Colour) -> Colour {
    let [r, g, b] = colour.map(f64::from);
    if 0.299 * r + 0.587 * g + 0.114 * b > 140.0 { [0; 3] } else { [255; 3] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_can_be_told_apart() {
        let colours: Vec<Colour> = (0..20).map(class_colour).collect();
        for (i, a) in colours.iter().enumerate() {
            for b in &colours[..i] {
                let apart: u32 = a.iter().zip(b).map(|(x, y)| u32::from(x.abs_diff(*y))).sum();
                assert!(apart > 40, "{a:?} {b:?}");
            }
        }
        assert_eq!(class_colour(1_000_000), class_colour(1_000_000));
    }

    #[test]
    fn gray_stays_gray() {
        assert_eq!(linear_rgb(1.0, 0.0, 0.0).map(byte), [255; 3]);
        assert_eq!((ink_on([255, 255, 0]), ink_on([0, 0, 128])), ([0; 3], [255; 3]));
    }
}
