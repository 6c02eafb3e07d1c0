//! [`Call`]: a product that a library of the GPU's maker computes, as data.
//!
//! In: sizes, types, which of the library's algorithms. A launch's arguments are the left operand, the right one, the result
//! and the workspace, in this order. Invariants: a call reads its operands and writes its result and its workspace, nothing
//! else; calls run one after another, so that all of a program's share one workspace; the same call on the same device and
//! library is the same algorithm.

use crate::plan::DotDims;
use std::fmt;
use thalweg_base::{ConvDims, DType};

/// Bytes of workspace that NVIDIA's libraries are given. What needs more is no candidate: a program must not need much more memory than it
/// did. NVIDIA advises as much for products of matrices on Hopper.
pub const WORKSPACE: usize = 32 << 20;
/// What a workspace begins at a multiple of.
pub const WORKSPACE_ALIGN: usize = 256;

/// A library's version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Which libraries there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Libraries {
    /// cuBLASLt: products of matrices.
    pub cublaslt: Option<Version>,
    /// cuDNN: convolutions.
    pub cudnn: Option<Version>,
    /// Bytes of workspace that a call is given.
    pub workspace: usize,
}

impl Libraries {
    /// None.
    pub const NONE: Libraries = Libraries { cublaslt: None, cudnn: None, workspace: 0 };

    /// Whether a library's way, as text, is of one that is there.
    pub fn have(&self, way: &str) -> bool {
        let of = |name: &str, version: Option<Version>| {
            version.is_some_and(|version| way.starts_with(&format!("{name} {version},")))
        };
        of("cublaslt", self.cublaslt) || of("cudnn", self.cudnn)
    }
}

/// A library and which of its algorithms.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Library {
    /// cuBLASLt.
    CublasLt {
        /// Another version has other algorithms.
        version: Version,
        /// Place in the list of algorithms that it recommends for the product.
        choice: usize,
    },
    /// cuDNN.
    Cudnn {
        /// Another version has other algorithms.
        version: Version,
        /// Its number in cuDNN, for the kind of product.
        algorithm: u32,
    },
}

impl Library {
    /// The library alone.
    pub fn of(&self) -> String {
        match self {
            Library::CublasLt { version, .. } => format!("cublaslt {version}"),
            Library::Cudnn { version, .. } => format!("cudnn {version}"),
        }
    }

    /// Whether a way's text is that of a library's, of any version.
    pub fn is_named(way: &str) -> bool {
        way.starts_with("cublaslt ") || way.starts_with("cudnn ")
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Library::CublasLt { version, choice } => write!(f, "cublaslt {version}, choice {choice}"),
            Library::Cudnn { version, algorithm } => write!(f, "cudnn {version}, algorithm {algorithm}"),
        }
    }
}

/// Why a library does not compute a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// A line.
    pub why: String,
    /// Whether it never will. What fails for another reason may be computed another time.
    pub lasting: bool,
}

impl From<String> for Refusal {
    fn from(why: String) -> Refusal {
        Refusal { why, lasting: false }
    }
}

/// What a library is asked to compute.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Call {
    /// A product of dense matrices, or of as many as there are batches.
    Matrices {
        /// Sizes, and which operands are stored transposed.
        dims: DotDims,
        /// Types.
        types: Types,
        /// Place in the library's list of algorithms.
        choice: usize,
    },
    /// A convolution or one of its gradients. Images and outputs are NHWC; filters, and gradients of filters, KRSC: [k, rows,
    /// columns, c / groups]. Padding is what the windows have before the first element, on both sides.
    Convolution {
        /// Which.
        which: Which,
        /// Sizes.
        dims: ConvDims,
        /// Types; operands and results have one.
        types: Types,
        /// The library's number of the algorithm.
        algorithm: u32,
    },
}

/// Types of a call. Sums are f32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Types {
    /// Of both operands: f32, f16 or bf16.
    pub operands: DType,
    /// Of the result: f32, or the operands'.
    pub result: DType,
    /// Whether f32 may be multiplied with 10 bits of mantissa.
    pub tf32: bool,
}

/// A convolution or one of its gradients.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Which {
    /// Image and filter to output.
    Forward,
    /// Output gradient and filter to image gradient.
    Input,
    /// Image and output gradient to filter gradient.
    Filter,
}

impl Call {
    /// Elements of the operands and of the result.
    pub fn elements(&self) -> [usize; 3] {
        let of = |s: [usize; 4]| s.iter().product::<usize>();
        match self {
            Call::Matrices { dims: d, .. } => [d.batch * d.m * d.k, d.batch * d.k * d.n, d.batch * d.m * d.n],
            Call::Convolution { which: Which::Forward, dims: d, .. } => {
                [of(d.image()), of(d.filter()), of(d.output())]
            }
            Call::Convolution { which: Which::Input, dims: d, .. } => {
                [of(d.output()), of(d.filter()), of(d.image())]
            }
            Call::Convolution { which: Which::Filter, dims: d, .. } => {
                [of(d.image()), of(d.output()), of(d.filter())]
            }
        }
    }

    /// Its types.
    pub fn types(&self) -> Types {
        match self {
            Call::Matrices { types, .. } | Call::Convolution { types, .. } => *types,
        }
    }

    /// Bytes of the operands and of the result.
    pub fn bytes(&self) -> [usize; 3] {
        let ([a, b, result], t) = (self.elements(), self.types());
        [a * t.operands.size(), b * t.operands.size(), result * t.result.size()]
    }

    /// The library that it is for.
    pub fn library(&self) -> &'static str {
        match self {
            Call::Matrices { .. } => "cuBLASLt",
            Call::Convolution { .. } => "cuDNN",
        }
    }
}
