//! A tensor on the host: what is read from and written to files and devices.
//!
//! Input: element type, shape, raw little-endian bytes. Invariant: there are exactly `shape x dtype` bytes.

use thalweg_base::{DType, half};

/// A tensor in host memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    /// From raw little-endian bytes; `None` where their number is not `shape x dtype`.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: Vec<u8>) -> Option<Tensor> {
        let fits = checked_bytes(dtype, shape)? == bytes.len();
        fits.then(|| Tensor { dtype, shape: shape.to_vec(), bytes })
    }

    /// An f32 tensor; `None` where the number of values is not the shape's.
    pub fn f32(shape: &[usize], values: &[f32]) -> Option<Tensor> {
        Tensor::from_bytes(DType::F32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// Zeros.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Tensor {
        let bytes = shape.iter().product::<usize>() * dtype.size();
        Tensor { dtype, shape: shape.to_vec(), bytes: vec![0; bytes] }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Raw little-endian bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Raw little-endian bytes, to be written to.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The elements of an f32 tensor; of any other type, converted.
    pub fn to_f32(&self) -> Vec<f32> {
        let quads = || self.bytes.chunks_exact(4).map(|c| [c[0], c[1], c[2], c[3]]);
        let pairs = || self.bytes.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]]));
        match self.dtype {
            DType::F16 => pairs().map(half::from_f16).collect(),
            DType::BF16 => pairs().map(half::from_bf16).collect(),
            DType::Bool | DType::U8 => self.bytes.iter().map(|&b| f32::from(b)).collect(),
            DType::U32 => quads().map(|q| u32::from_le_bytes(q) as f32).collect(),
            DType::I32 => quads().map(|q| i32::from_le_bytes(q) as f32).collect(),
            DType::F32 => quads().map(f32::from_le_bytes).collect(),
        }
    }

    /// The elements of a tensor of integers; of floats, truncated.
    pub fn to_i64(&self) -> Vec<i64> {
        let quads = || self.bytes.chunks_exact(4).map(|c| [c[0], c[1], c[2], c[3]]);
        match self.dtype {
            DType::Bool | DType::U8 => self.bytes.iter().map(|&b| i64::from(b)).collect(),
            DType::U32 => quads().map(|q| i64::from(u32::from_le_bytes(q))).collect(),
            DType::I32 => quads().map(|q| i64::from(i32::from_le_bytes(q))).collect(),
            DType::F16 | DType::BF16 | DType::F32 => self.to_f32().into_iter().map(|x| x as i64).collect(),
        }
    }

    /// Position of the first element that is NaN or infinite.
    pub fn first_not_finite(&self) -> Option<usize> {
        match self.dtype {
            // Exponent all ones: infinity or NaN.
            DType::F32 => self
                .bytes
                .chunks_exact(4)
                .position(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]) & 0x7f80_0000 == 0x7f80_0000),
            DType::F16 | DType::BF16 => self.to_f32().iter().position(|x| !x.is_finite()),
            DType::Bool | DType::U8 | DType::U32 | DType::I32 => None,
        }
    }
}

/// `shape x dtype` bytes, `None` where that does not fit in memory.
pub fn checked_bytes(dtype: DType, shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d)).filter(|&n| isize::try_from(n).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_must_fit_the_shape() {
        assert!(Tensor::from_bytes(DType::F32, &[2], vec![0; 8]).is_some());
        assert!(Tensor::from_bytes(DType::F32, &[2], vec![0; 7]).is_none());
        assert!(Tensor::from_bytes(DType::F32, &[usize::MAX, 2], vec![0; 8]).is_none());
    }

    #[test]
    fn what_is_not_finite_is_found() {
        let at = |v: f32| Tensor::f32(&[3], &[0.0, v, f32::NAN]).unwrap().first_not_finite();
        assert_eq!(at(f32::INFINITY), Some(1));
        assert_eq!(at(f32::MAX), Some(2));
        assert_eq!(Tensor::f32(&[1], &[1e-45]).unwrap().first_not_finite(), None);
    }
}
