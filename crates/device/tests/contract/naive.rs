//! Products as loops in f64.

use std::ops::Range;
use thalweg_base::ConvDims;
use thalweg_device::plan::Product;

/// Lengths of a, b and the result.
pub fn lengths(p: &Product) -> [usize; 3] {
    let of = |s: [usize; 4]| s.iter().product();
    match p {
        Product::Dot(d) => [d.batch * d.m * d.k, d.batch * d.k * d.n, d.batch * d.m * d.n],
        Product::Conv(d) => [of(d.image()), of(d.filter()), of(d.output())],
        Product::ConvInputGrad(d) => [of(d.output()), of(d.filter()), of(d.image())],
        Product::ConvFilterGrad(d) => [of(d.image()), of(d.output()), of(d.filter())],
    }
}

pub fn space(p: &Product) -> Vec<usize> {
    match p {
        Product::Dot(d) => vec![d.batch, d.m, d.n],
        Product::Conv(d) => d.output().to_vec(),
        Product::ConvInputGrad(d) => d.image().to_vec(),
        Product::ConvFilterGrad(d) => d.filter().to_vec(),
    }
}

/// Calls `f(image, filter, output)` for every multiplication of these images.
pub fn each(d: &ConvDims, images: Range<usize>, mut f: impl FnMut(usize, usize, usize)) {
    let (cg, kg) = (d.c / d.groups, d.k / d.groups);
    for (n, oy, ox) in images.flat_map(|n| (0..d.oh).flat_map(move |y| (0..d.ow).map(move |x| (n, y, x)))) {
        for r in 0..d.rows.size {
            let Some(y) = d.rows.source(oy, r, d.h) else { continue };
            for s in 0..d.cols.size {
                let Some(x) = d.cols.source(ox, s, d.w) else { continue };
                for k in 0..d.k {
                    for c in 0..cg {
                        let image = ((n * d.h + y) * d.w + x) * d.c + k / kg * cg + c;
                        let filter = ((r * d.cols.size + s) * cg + c) * d.k + k;
                        f(image, filter, ((n * d.oh + oy) * d.ow + ox) * d.k + k);
                    }
                }
            }
        }
    }
}

pub fn naive(p: &Product, images: Range<usize>, a: &[f32], b: &[f32]) -> Vec<f64> {
    let mut out = vec![0.0; lengths(p)[2]];
    let mut add = |o: usize, i: usize, j: usize| out[o] += f64::from(a[i]) * f64::from(b[j]);
    match p {
        Product::Conv(d) => each(d, images, |i, f, o| add(o, i, f)),
        Product::ConvInputGrad(d) => each(d, images, |i, f, o| add(i, o, f)),
        Product::ConvFilterGrad(d) => each(d, images, |i, f, o| add(f, i, o)),
        Product::Dot(d) => {
            for (n, i, j) in
                (0..d.batch).flat_map(|n| (0..d.m).flat_map(move |i| (0..d.n).map(move |j| (n, i, j))))
            {
                for l in 0..d.k {
                    let at_a = if d.ta { l * d.m + i } else { i * d.k + l };
                    let at_b = if d.tb { j * d.k + l } else { l * d.n + j };
                    add((n * d.m + i) * d.n + j, n * d.m * d.k + at_a, n * d.k * d.n + at_b);
                }
            }
        }
    }
    out
}

pub fn dims(p: &Product) -> ConvDims {
    match p {
        Product::Conv(d) | Product::ConvInputGrad(d) | Product::ConvFilterGrad(d) => *d,
        Product::Dot(_) => panic!("not a convolution"),
    }
}
