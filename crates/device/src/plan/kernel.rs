//! The kernels a plan is made of.
//!
//! Parallelism: axis 0 of every kernel's iteration space (`Kernel::extent`) may be cut anywhere, as parts are
//! independent, but for a `Loop` or a filter gradient that reduces over axis 0: it is cut into `parts` pieces at
//! `part * extent / parts`, each with its own partial result.

use super::{Access, ArgMax, Body, BufferId, ExprId, Gather, Suppress, TopK};
use thalweg_base::{ConvDims, PoolDims};

/// How a reduction combines.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reduce {
    /// Sum, starting at 0.
    Sum,
    /// Maximum, starting at minus infinity; NaN stays NaN.
    Max,
}

/// A result of a loop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoopOut {
    /// The value.
    pub value: ExprId,
    /// `None`: stored for every element of the space. Otherwise combined over the loop's reduced axes and
    /// stored once per element of the kept axes (strides of the reduced axes are 0).
    pub reduce: Option<Reduce>,
    /// Where it is stored.
    pub access: Access,
    /// With `parts > 1`, a reduced result of part `p` is stored `p * part_stride` elements further.
    pub part_stride: isize,
}

/// Element-wise work, movement and reductions over one index space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loop {
    /// Extents, outermost first; never empty (a scalar is `[1]`).
    pub space: Vec<usize>,
    /// Per axis, whether results with a `reduce` combine over it.
    pub reduced: Vec<bool>,
    /// Number of pieces axis 0 is cut into if it is reduced; 1 otherwise.
    pub parts: usize,
    /// What is computed per element.
    pub body: Body,
    /// Results, at least one. An element-wise result may be stored where an input is loaded with the same access.
    pub outs: Vec<LoopOut>,
}

/// A matrix product [batch, m, k] x [batch, k, n]; `ta`: the left operand is stored [batch, k, m]; `tb`: the
/// right one [batch, n, k].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "the fixed shape letters of the project")]
pub struct DotDims {
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub ta: bool,
    pub tb: bool,
}

/// Which product a contraction is. Operands `a`, `b` and the result are dense and row-major. Operands are both f32 or both one
/// type of 16-bit floats; sums are f32; the result is f32, or of 16-bit operands what its epilogue makes of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Product {
    /// Matrix product.
    Dot(DotDims),
    /// a = image NHWC, b = filter HWIO, result = output.
    Conv(ConvDims),
    /// a = output gradient, b = filter, result = image gradient.
    ConvInputGrad(ConvDims),
    /// a = image, b = output gradient, result = filter gradient; reduces over the batch.
    ConvFilterGrad(ConvDims),
}

/// A pooling inside a convolution's epilogue: the convolution's own output is never stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolEpilogue {
    /// Maximum pooling of the epilogue's values: see [`PoolEpilogue::fits`].
    pub dims: PoolDims,
    /// Where the position of the maximum goes (u8, row-major in the window), if anyone needs it. Of equal ones the
    /// first, unless the epilogue made them equal: then any of them.
    pub arg: Option<BufferId>,
}

impl PoolEpilogue {
    /// Whether a pooling can be one: windows disjoint, not padded, of more than one element. A window of one compares nothing, it
    /// only leaves out what lies between windows: devices know a pooling by its windows' sizes.
    pub fn fits(dims: &PoolDims) -> bool {
        let windows = [dims.rows, dims.cols];
        dims.disjoint() && windows.iter().all(|w| w.lo + w.hi == 0) && windows.iter().any(|w| w.size > 1)
    }
}

/// What happens to each accumulated value before it is stored. Accesses are over the result's space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Epilogue {
    /// Expressions over [`super::Expr::Acc`] and loads. Space: the result's shape ([batch, m, n] for a dot).
    pub body: Body,
    /// The stored value.
    pub value: ExprId,
    /// Pooling of that value (only for `Conv`).
    pub pool: Option<PoolEpilogue>,
}

/// An output gradient given by what it would be unpooled from: mostly exact zeros that need not be multiplied.
/// The convolution has one group and no column dilation; windows are disjoint, not padded, of at most 16.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unpooled {
    /// Geometry: its image is the convolution's output.
    pub dims: PoolDims,
    /// u8 positions.
    pub arg: BufferId,
}

impl Unpooled {
    /// Whether kernels need to know such an operand for this convolution.
    pub fn fits(&self, d: &ConvDims) -> bool {
        let w = [self.dims.rows, self.dims.cols];
        let unpadded = w.iter().all(|w| w.lo + w.hi == 0);
        d.groups == 1
            && d.cols.dilation == 1
            && unpadded
            && self.dims.disjoint()
            && w[0].size * w[1].size <= 16
    }
}

/// The image of a depthwise convolution as it is made: by a convolution of 1 x 1 in steps of one, whose result is never
/// stored as a whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expansion {
    /// Channels of the contraction's left operand, [n, h, w, channels].
    pub channels: usize,
    /// Its filter, [channels, c] of the image's c.
    pub b: BufferId,
    /// Over the image's shape; does not pool, and loads the same for every pixel.
    pub epilogue: Option<Epilogue>,
}

impl Expansion {
    /// Floating-point operations for an image.
    pub fn flops(&self, d: &ConvDims) -> u64 {
        let each = 2 * self.channels as u64 + self.epilogue.as_ref().map_or(0, |e| e.body.flops());
        d.image().iter().product::<usize>() as u64 * each
    }
}

/// A product, its epilogue, its result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contraction {
    /// Which.
    pub product: Product,
    /// Left operand.
    pub a: BufferId,
    /// Right operand.
    pub b: BufferId,
    /// Result: the product's shape, or the pool's where the epilogue pools. With `parts > 1`, [parts, ...].
    pub out: BufferId,
    /// Pieces of the batch with their own partial result (`ConvFilterGrad` only; 1 otherwise).
    pub parts: usize,
    /// If so, the output-gradient operand (`a` of `ConvInputGrad`, `b` of `ConvFilterGrad`) holds the pooled
    /// gradient, [n, pooled rows, pooled columns, k].
    pub unpooled: Option<Unpooled>,
    /// If so, the image (of a depthwise `Conv` of f32) is made of `a`. Only for devices that run regions.
    pub expansion: Option<Box<Expansion>>,
    /// Elementwise continuation.
    pub epilogue: Option<Epilogue>,
}

/// How a pooling combines; padding takes no part.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PoolKind {
    /// Maximum.
    Max,
    /// Sum.
    Sum,
}

/// A pooling on its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pool {
    /// Combination.
    pub kind: PoolKind,
    /// Geometry.
    pub dims: PoolDims,
    /// Image, dense f32.
    pub x: BufferId,
    /// Values, if anyone needs them.
    pub out: Option<BufferId>,
    /// u8 positions of the first maximum, if anyone needs them (`Max` only).
    pub arg: Option<BufferId>,
}

/// Puts gradients back at the positions of the maxima; zero elsewhere; adds where windows overlap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unpool {
    /// Geometry.
    pub dims: PoolDims,
    /// u8 positions.
    pub arg: BufferId,
    /// Values, of the pool's output shape.
    pub dy: BufferId,
    /// Image.
    pub out: BufferId,
}

/// A kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "see the types")]
#[cfg_attr(
    target_pointer_width = "64",
    expect(clippy::large_enum_variant, reason = "a plan has few kernels and is made once")
)]
pub enum Kernel {
    Loop(Loop),
    Contraction(Contraction),
    Pool(Pool),
    Unpool(Unpool),
    ArgMax(ArgMax),
    TopK(TopK),
    Gather(Gather),
    Suppress(Suppress),
}

impl Contraction {
    /// A product of dense operands and nothing else. `buffers`: both operands and the result.
    pub fn new(product: Product, [a, b, out]: [BufferId; 3]) -> Contraction {
        Contraction { product, a, b, out, parts: 1, unpooled: None, expansion: None, epilogue: None }
    }

    /// Everything that is done to sums: the expansion's and the product's own.
    pub fn epilogues(&self) -> impl Iterator<Item = &Epilogue> {
        self.expansion.iter().filter_map(|x| x.epilogue.as_ref()).chain(&self.epilogue)
    }

    /// Its filters: of a matrix product the right operand.
    pub fn filters(&self) -> impl Iterator<Item = BufferId> {
        self.expansion.iter().map(|x| x.b).chain([self.b])
    }
}

impl Kernel {
    /// Buffers read, possibly with repeats.
    pub fn reads(&self) -> Vec<BufferId> {
        match self {
            Kernel::Loop(l) => l.body.loads().map(|a| a.buffer).collect(),
            Kernel::Contraction(c) => {
                let extra = c.epilogues().flat_map(|e| e.body.loads().map(|a| a.buffer));
                let arg = c.unpooled.iter().map(|u| u.arg);
                [c.a].into_iter().chain(c.filters()).chain(arg).chain(extra).collect()
            }
            Kernel::Pool(p) => vec![p.x],
            Kernel::Unpool(u) => vec![u.arg, u.dy],
            Kernel::ArgMax(a) => vec![a.x],
            Kernel::TopK(t) => vec![t.x],
            Kernel::Gather(g) => vec![g.x, g.at],
            Kernel::Suppress(s) => vec![s.conflict],
        }
    }

    /// Buffers written.
    pub fn writes(&self) -> Vec<BufferId> {
        match self {
            Kernel::Loop(l) => l.outs.iter().map(|o| o.access.buffer).collect(),
            Kernel::Contraction(c) => {
                let arg = c.epilogue.as_ref().and_then(|e| e.pool).and_then(|p| p.arg);
                std::iter::once(c.out).chain(arg).collect()
            }
            Kernel::Pool(p) => p.out.into_iter().chain(p.arg).collect(),
            Kernel::Unpool(u) => vec![u.out],
            Kernel::ArgMax(a) => vec![a.out],
            Kernel::TopK(t) => vec![t.out],
            Kernel::Gather(g) => vec![g.out],
            Kernel::Suppress(s) => vec![s.out],
        }
    }

    /// Changes every buffer in place.
    pub fn map_buffers(&mut self, mut f: impl FnMut(&mut BufferId)) {
        match self {
            Kernel::Loop(l) => {
                l.body.map_loads(|a| f(&mut a.buffer));
                l.outs.iter_mut().for_each(|o| f(&mut o.access.buffer));
            }
            Kernel::Contraction(c) => {
                f(&mut c.a);
                f(&mut c.b);
                f(&mut c.out);
                if let Some(u) = &mut c.unpooled {
                    f(&mut u.arg);
                }
                if let Some(x) = &mut c.expansion {
                    f(&mut x.b);
                    x.epilogue.iter_mut().for_each(|e| e.body.map_loads(|a| f(&mut a.buffer)));
                }
                if let Some(e) = &mut c.epilogue {
                    e.body.map_loads(|a| f(&mut a.buffer));
                    if let Some(arg) = e.pool.as_mut().and_then(|p| p.arg.as_mut()) {
                        f(arg);
                    }
                }
            }
            Kernel::Pool(p) => {
                f(&mut p.x);
                p.out.iter_mut().chain(&mut p.arg).for_each(f);
            }
            Kernel::Unpool(u) => [&mut u.arg, &mut u.dy, &mut u.out].into_iter().for_each(f),
            Kernel::ArgMax(a) => [&mut a.x, &mut a.out].into_iter().for_each(f),
            Kernel::TopK(t) => [&mut t.x, &mut t.out].into_iter().for_each(f),
            Kernel::Gather(g) => [&mut g.x, &mut g.at, &mut g.out].into_iter().for_each(f),
            Kernel::Suppress(s) => [&mut s.conflict, &mut s.out].into_iter().for_each(f),
        }
    }

    /// Extent of axis 0 of the iteration space: images for what works on images, rows for a plain loop.
    pub fn extent(&self) -> usize {
        match self {
            Kernel::Loop(l) => l.space[0],
            Kernel::Contraction(c) => match c.product {
                Product::Dot(d) if d.batch == 1 => d.m,
                Product::Dot(d) => d.batch,
                Product::Conv(d) | Product::ConvInputGrad(d) | Product::ConvFilterGrad(d) => d.n,
            },
            Kernel::Pool(p) => p.dims.n,
            Kernel::Unpool(u) => u.dims.n,
            Kernel::ArgMax(a) => a.outer,
            Kernel::TopK(t) => t.outer,
            Kernel::Gather(g) => g.outer,
            Kernel::Suppress(s) => s.outer,
        }
    }
}
