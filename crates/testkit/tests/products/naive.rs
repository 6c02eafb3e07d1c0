//! What contractions are: loops over every multiplication.

use super::Random;
use thalweg_base::{ConvDims, PoolDims};
use thalweg_device::plan::Product;

/// What happens to each sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    Nothing,
    /// max(0, sum + bias of the last axis).
    BiasRelu,
    /// An operand of the result's shape plus the sum.
    Residual,
    /// Rounded to the operands' type.
    Rounded,
    /// The same, and then as `BiasRelu`. Numbers are small enough to be rounded to themselves.
    RoundedBiasRelu,
}

/// A contraction.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub product: Product,
    pub then: Then,
    pub parts: usize,
    /// Pooling behind, and whether positions are wanted.
    pub pool: Option<(PoolDims, bool)>,
    pub unpooled: Option<PoolDims>,
}

/// Operands.
pub struct Data {
    pub a: Vec<f32>,
    pub b: Vec<f32>,
    pub bias: Vec<f32>,
    pub residual: Vec<f32>,
    /// Positions of the maxima, for what is unpooled.
    pub positions: Vec<u8>,
}

impl Case {
    pub fn new(product: Product) -> Case {
        Case { product, then: Then::Nothing, parts: 1, pool: None, unpooled: None }
    }

    pub fn then(self, then: Then) -> Case {
        Case { then, ..self }
    }

    pub fn parts(self, parts: usize) -> Case {
        Case { parts, ..self }
    }

    pub fn pooled(self, dims: PoolDims, positions: bool) -> Case {
        Case { pool: Some((dims, positions)), ..self }
    }

    pub fn unpooled(self, dims: PoolDims) -> Case {
        Case { unpooled: Some(dims), ..self }
    }

    /// The result's shape, before a pooling and of one part.
    pub fn space(&self) -> Vec<usize> {
        match self.product {
            Product::Dot(d) => vec![d.batch, d.m, d.n],
            Product::Conv(d) => d.output().to_vec(),
            Product::ConvInputGrad(d) => d.image().to_vec(),
            Product::ConvFilterGrad(d) => d.filter().to_vec(),
        }
    }

    /// Elements of a and b as they are stored.
    fn operands(&self) -> [usize; 2] {
        let of = |s: [usize; 4]| s.iter().product::<usize>();
        let gradient = |d: &ConvDims| self.unpooled.map_or(of(d.output()), |p| of(p.output()));
        match self.product {
            Product::Dot(d) => [d.batch * d.m * d.k, d.batch * d.k * d.n],
            Product::Conv(d) => [of(d.image()), of(d.filter())],
            Product::ConvInputGrad(d) => [gradient(&d), of(d.filter())],
            Product::ConvFilterGrad(d) => [of(d.image()), gradient(&d)],
        }
    }

    pub fn data(&self, r: &mut Random) -> Data {
        let ([a, b], space) = (self.operands(), self.space());
        let positions = self.unpooled.map_or(Vec::new(), |p| {
            let size = p.rows.size * p.cols.size;
            (0..p.output().iter().product()).map(|_| r.below(size) as u8).collect()
        });
        Data {
            a: r.whole(a),
            b: r.whole(b),
            bias: r.whole(space[space.len() - 1]),
            residual: r.whole(space.iter().product()),
            positions,
        }
    }

    /// Values, and positions where they are wanted.
    pub fn wanted(&self, data: &Data) -> (Vec<f64>, Vec<f64>) {
        let wide = |x: &[f32]| x.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let (mut a, mut b) = (wide(&data.a), wide(&data.b));
        if let Some(p) = self.unpooled {
            let pooled = if matches!(self.product, Product::ConvInputGrad(_)) { &mut a } else { &mut b };
            *pooled = unpool(&p, pooled, &data.positions);
        }
        let mut sums = self.sums(&a, &b);
        let columns = data.bias.len();
        for (i, v) in sums.iter_mut().enumerate() {
            match self.then {
                Then::Nothing | Then::Rounded => {}
                Then::BiasRelu | Then::RoundedBiasRelu => {
                    *v = (*v + f64::from(data.bias[i % columns])).max(0.0)
                }
                Then::Residual => *v += f64::from(data.residual[i]),
            }
        }
        match self.pool {
            None => (sums, Vec::new()),
            Some((p, positions)) => {
                let (values, at) = pool(&p, &sums);
                (values, if positions { at } else { Vec::new() })
            }
        }
    }

    /// Products, [parts, space].
    fn sums(&self, a: &[f64], b: &[f64]) -> Vec<f64> {
        let size: usize = self.space().iter().product();
        let mut out = vec![0.0; self.parts * size];
        match self.product {
            Product::Conv(d) => each(&d, |_, i, f, o| out[o] += a[i] * b[f]),
            Product::ConvInputGrad(d) => each(&d, |_, i, f, o| out[i] += a[o] * b[f]),
            Product::ConvFilterGrad(d) => each(&d, |n, i, f, o| {
                let part = (0..self.parts).find(|p| n < (p + 1) * d.n / self.parts).unwrap();
                out[part * size + f] += a[i] * b[o];
            }),
            Product::Dot(d) => {
                for (i, v) in out.iter_mut().enumerate() {
                    let (batch, m, n) = (i / d.n / d.m, i / d.n % d.m, i % d.n);
                    for k in 0..d.k {
                        let left = if d.ta { k * d.m + m } else { m * d.k + k };
                        let right = if d.tb { n * d.k + k } else { k * d.n + n };
                        *v += a[batch * d.m * d.k + left] * b[batch * d.k * d.n + right];
                    }
                }
            }
        }
        out
    }
}

/// Calls `f(n, image, filter, output)` for every multiplication.
fn each(d: &ConvDims, mut f: impl FnMut(usize, usize, usize, usize)) {
    let (cg, kg) = (d.c / d.groups, d.k / d.groups);
    for o in 0..d.output().iter().product() {
        let (k, ox, oy, n) = (o % d.k, o / d.k % d.ow, o / d.k / d.ow % d.oh, o / d.k / d.ow / d.oh);
        for (r, s) in (0..d.rows.size).flat_map(|r| (0..d.cols.size).map(move |s| (r, s))) {
            let (Some(y), Some(x)) = (d.rows.source(oy, r, d.h), d.cols.source(ox, s, d.w)) else { continue };
            for c in 0..cg {
                let image = ((n * d.h + y) * d.w + x) * d.c + k / kg * cg + c;
                f(n, image, ((r * d.cols.size + s) * cg + c) * d.k + k, o);
            }
        }
    }
}

/// Calls `f(image, output, position)` for every element of every window.
fn each_window(d: &PoolDims, mut f: impl FnMut(usize, usize, usize)) {
    for o in 0..d.output().iter().product() {
        let (c, ox, oy, n) = (o % d.c, o / d.c % d.ow, o / d.c / d.ow % d.oh, o / d.c / d.ow / d.oh);
        for p in 0..d.rows.size * d.cols.size {
            let source = (d.rows.source(oy, p / d.cols.size, d.h), d.cols.source(ox, p % d.cols.size, d.w));
            if let (Some(y), Some(x)) = source {
                f(((n * d.h + y) * d.w + x) * d.c + c, o, p);
            }
        }
    }
}

fn unpool(d: &PoolDims, dy: &[f64], positions: &[u8]) -> Vec<f64> {
    let mut out = vec![0.0; d.image().iter().product()];
    each_window(d, |i, o, p| {
        if usize::from(positions[o]) == p {
            out[i] = dy[o];
        }
    });
    out
}

fn pool(d: &PoolDims, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let count = d.output().iter().product();
    let (mut values, mut positions) = (vec![f64::NEG_INFINITY; count], vec![0.0; count]);
    each_window(d, |i, o, p| {
        if x[i] > values[o] {
            (values[o], positions[o]) = (x[i], p as f64);
        }
    });
    (values, positions)
}
