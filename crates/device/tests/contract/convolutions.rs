//! Convolutions and their gradients by their definition, with what follows them.

use crate::epilogue::{ALL, Then};
use crate::run::check;
use crate::shapes::{conv, geometries};
use thalweg_base::{PoolDims, Window};
use thalweg_device::plan::Product;

#[test]
fn convolutions() {
    for d in geometries() {
        check(Product::Conv(d), Then::Nothing, None, 1);
    }
}

#[test]
fn input_gradients() {
    for d in geometries() {
        check(Product::ConvInputGrad(d), Then::Nothing, None, 1);
    }
}

#[test]
fn filter_gradients() {
    for d in geometries() {
        for parts in [1, 2, 5] {
            check(Product::ConvFilterGrad(d), Then::Nothing, None, parts);
        }
    }
}

#[test]
fn epilogues() {
    for d in geometries().into_iter().step_by(3) {
        for then in ALL {
            check(Product::Conv(d), then, None, 1);
            check(Product::ConvInputGrad(d), then, None, 1);
            check(Product::ConvFilterGrad(d), then, None, 1);
        }
    }
}

#[test]
fn pools() {
    let w = |size, stride, lo, hi| Window { size, stride, dilation: 1, lo, hi };
    for (n, hw, ck) in [
        (2, (8, 8), (3, 8)),
        (3, (9, 7), (2, 17)),
        (1, (15, 16), (4, 33)),
        (2, (40, 31), (1, 48)),
        (5, (6, 5), (20, 3)),
    ] {
        for (rows, cols) in
            [(w(3, 1, 0, 0), w(3, 1, 0, 0)), (w(3, 1, 1, 1), w(3, 1, 1, 1)), (w(2, 2, 1, 0), w(5, 2, 0, 3))]
        {
            let d = conv(n, hw, ck, rows, cols, 1);
            for (r, s) in [((2, 2), (2, 2)), ((3, 3), (2, 3)), ((1, 1), (2, 2))] {
                let (rows, cols) = (Window::valid(r.0, r.1, 1), Window::valid(s.0, s.1, 1));
                let (Some(oh), Some(ow)) = (rows.outputs(d.oh), cols.outputs(d.ow)) else { continue };
                let pool = PoolDims { n, h: d.oh, w: d.ow, c: d.k, oh, ow, rows, cols };
                for then in ALL {
                    check(Product::Conv(d), then, Some(pool), 1);
                }
            }
        }
    }
}
