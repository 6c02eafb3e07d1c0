//! Comparing tensors, with a message that says how far apart and where.

use thalweg_base::DType;
use thalweg_graph::reference::Tensor;

/// How far a value may be from the expected one: `abs + rel * |expected| + scale * largest |expected|`.
///
/// `scale` is for sums with cancellation (gradients, convolutions), whose error follows their terms, not
/// their result.
#[derive(Clone, Copy, PartialEq, Debug)]
#[expect(missing_docs, reason = "said above")]
pub struct Tolerance {
    pub abs: f64,
    pub rel: f64,
    pub scale: f64,
}

impl Tolerance {
    /// Equal.
    pub const EXACT: Tolerance = Tolerance { abs: 0.0, rel: 0.0, scale: 0.0 };
    /// A single operation, or a few, in f32.
    pub const F32: Tolerance = Tolerance { abs: 1e-6, rel: 1e-5, scale: 5e-6 };
    /// A whole small graph in f32.
    pub const GRAPH: Tolerance = Tolerance { abs: 1e-4, rel: 1e-4, scale: 1e-4 };

    /// A neighbour in a type of 16 bits: what a sum that was rounded differently before it may become.
    pub fn half(dtype: DType) -> Option<Tolerance> {
        let step = match dtype {
            DType::F16 => 2f64.powi(-10),
            DType::BF16 => 2f64.powi(-7),
            DType::Bool | DType::U8 | DType::U32 | DType::I32 | DType::F32 => return None,
        };
        Some(Tolerance { abs: 1e-6, rel: step, scale: 0.0 })
    }

    /// Only an absolute part.
    pub const fn abs(abs: f64) -> Self {
        Tolerance { abs, rel: 0.0, scale: 0.0 }
    }

    /// Only relative: to each value, and to the tensor's largest.
    pub const fn rel(rel: f64) -> Self {
        Tolerance { abs: 0.0, rel, scale: rel }
    }
}

/// The largest deviation of one kind, and where.
#[derive(Default)]
struct Worst {
    error: f64,
    at: usize,
}

impl Worst {
    fn see(&mut self, error: f64, at: usize) {
        if error > self.error || error.is_nan() {
            *self = Worst { error, at };
        }
    }
}

/// Compares; the error says where and how far. Not-a-number equals itself, infinities equal themselves.
pub fn compare(what: &str, expected: &Tensor, found: &Tensor, tolerance: Tolerance) -> Result<(), String> {
    if expected.shape != found.shape {
        return Err(format!("{what}: expected shape {:?}, found {:?}", expected.shape, found.shape));
    }
    let largest = expected.data.iter().filter(|v| v.is_finite()).fold(0.0, |m: f64, v| m.max(v.abs()));
    let (mut absolute, mut relative) = (Worst::default(), Worst::default());
    let mut wrong = Vec::new();
    for (i, (&e, &f)) in expected.data.iter().zip(&found.data).enumerate() {
        if e == f || e.is_nan() && f.is_nan() {
            continue;
        }
        let error = (e - f).abs();
        absolute.see(error, i);
        relative.see(error / e.abs().max(f64::MIN_POSITIVE), i);
        let allowed = tolerance.abs + tolerance.rel * e.abs() + tolerance.scale * largest;
        if error.is_nan() || error > allowed {
            wrong.push(i);
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let show = |i: usize| {
        format!("{:?}: expected {:e}, found {:e}", index(&expected.shape, i), expected.data[i], found.data[i])
    };
    let first: Vec<String> = wrong.iter().take(5).map(|&i| format!("  {}", show(i))).collect();
    Err(format!(
        "{what}: {} of {} elements are off by more than {tolerance:?} (largest expected {largest:e})\n  \
         largest absolute error {:e} at {}\n  largest relative error {:e} at {}\nfirst:\n{}",
        wrong.len(),
        expected.data.len(),
        absolute.error,
        show(absolute.at),
        relative.error,
        show(relative.at),
        first.join("\n")
    ))
}

/// Compares; panics with the message.
#[track_caller]
pub fn assert_close(what: &str, expected: &Tensor, found: &Tensor, tolerance: Tolerance) {
    if let Err(message) = compare(what, expected, found, tolerance) {
        panic!("{message}");
    }
}

/// The multi-index of a row-major position.
fn index(shape: &[usize], mut at: usize) -> Vec<usize> {
    let mut out = vec![0; shape.len()];
    for (i, &n) in out.iter_mut().zip(shape).rev() {
        *i = at % n;
        at /= n;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_says_where() {
        let a = Tensor::new(&[2, 2], vec![1.0, 2.0, 3.0, f64::NAN]);
        let mut b = a.clone();
        assert_eq!(compare("x", &a, &b, Tolerance::EXACT), Ok(()));
        b.data[2] = 3.5;
        let message = compare("x", &a, &b, Tolerance::F32).expect_err("they differ");
        assert!(message.contains("[1, 0]") && message.contains("5e-1"), "{message}");
        assert_eq!(compare("x", &a, &b, Tolerance::abs(0.5)), Ok(()));
        b.data[3] = 0.0;
        assert!(compare("x", &a, &b, Tolerance::abs(9.0)).is_err());
        assert!(compare("x", &a, &Tensor::new(&[4], vec![0.0; 4]), Tolerance::abs(9.0)).is_err());
    }
}
