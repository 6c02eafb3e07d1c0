//! An axis: from values to pixels, with round numbers marked.
//!
//! Input: the values to be shown. Output: positions in [0, 1] and ticks. Invariant: every finite value lies on
//! the axis; a range of nothing is widened.

/// How values become positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    /// An axis for these values; logarithmic where they span more than two decades and `may_log`.
    pub fn fit(values: impl Iterator<Item = f64>, may_log: bool) -> Option<Axis> {
        let mut range: Option<(f64, f64)> = None;
        for v in values.filter(|v| v.is_finite()) {
            let (low, high) = range.unwrap_or((v, v));
            range = Some((low.min(v), high.max(v)));
        }
        let (low, high) = range?;
        if may_log && low > 0.0 && high / low > 100.0 {
            let (low, high) = (low.log10(), high.log10());
            let margin = (high - low) * 0.05;
            return Some(Axis { low: low - margin, high: high + margin, log: true });
        }
        let margin = if high > low { (high - low) * 0.06 } else { high.abs().max(1e-3) * 0.1 };
        // A quantity that is never negative does not get an axis that is.
        let bottom = if low >= 0.0 { (low - margin).max(0.0) } else { low - margin };
        Some(Axis { low: bottom, high: high + margin, log: false })
    }

    /// Position of a value, 0 at the lower end.
    pub fn at(&self, value: f64) -> f64 {
        let v = if self.log { value.log10() } else { value };
        (v - self.low) / (self.high - self.low)
    }

    /// Round values on the axis with their labels, about five.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        if self.log {
            let decades = self.low.ceil() as i32..=self.high.floor() as i32;
            return decades.map(|d| (10f64.powi(d), format!("1e{d}"))).collect();
        }
        let rough = (self.high - self.low) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough * 0.999);
        let step = step.unwrap_or(10.0 * power);
        let (first, last) = ((self.low / step).ceil() as i64, (self.high / step).floor() as i64);
        (first..=last).map(|i| i as f64 * step).map(|v| (v, label(v, step))).collect()
    }
}

/// A number as short as the step between ticks allows.
fn label(value: f64, step: f64) -> String {
    if value != 0.0 && !(1e-4..1e6).contains(&value.abs()) {
        return format!("{value:.1e}");
    }
    // As many digits as the step has: 0.25 needs two, 0.2 one.
    let whole = |d: &i32| (step * 10f64.powi(*d)).fract().min(1.0 - (step * 10f64.powi(*d)).fract()) < 1e-6;
    let digits = (0..9).find(whole).unwrap_or(9) as usize;
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], log: bool) -> Vec<String> {
        Axis::fit(values.iter().copied(), log).unwrap().ticks().into_iter().map(|t| t.1).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&[0.0, 1.0], false), ["0.00", "0.25", "0.50", "0.75", "1.00"]);
        assert_eq!(labels(&[1e-5, 1e-2], true), ["1e-5", "1e-4", "1e-3", "1e-2"]);
        assert_eq!(labels(&[3.0, 3.0], false), ["2.8", "3.0", "3.2"]);
        assert!(labels(&[0.5, 0.5 + 1e-9], false).len() < 12);
    }

    #[test]
    fn what_is_not_finite_has_no_axis() {
        assert_eq!(Axis::fit([f64::NAN, f64::INFINITY].into_iter(), true), None);
        let axis = Axis::fit([1.0, f64::NAN, 3.0].into_iter(), true).unwrap();
        assert!(axis.at(1.0) > 0.0 && axis.at(3.0) < 1.0);
    }
}
