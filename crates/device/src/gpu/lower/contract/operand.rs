//! Which element of which buffer A[m, k] and B[k, n] are, for each kind of product.
//!
//! An element's place is found in three steps, so that what stays the same in a loop is computed before it: the batch's
//! coordinates, the row's or column's, and those along the sum.

use super::super::Writer;
use super::super::loops::unravel;
use super::super::pool::{dense, four, source, window_of};
use crate::gpu::ir::{IntOp, Param, Value};
use crate::plan::{Contraction, PoolEpilogue, Product, Unpooled};
use thalweg_base::{ConvDims, DType, ScalarOp, Window};

/// The elements of a product.
pub struct Operand<'a> {
    c: &'a Contraction,
    pool: Option<PoolEpilogue>,
}

/// Coordinates: of a batch, a row, a column, a position along the sum.
pub type Coordinates = Vec<Value>;

impl<'a> Operand<'a> {
    /// Of a contraction.
    pub fn new(c: &'a Contraction) -> Self {
        Operand { c, pool: c.epilogue.as_ref().and_then(|e| e.pool) }
    }

    /// Batch: [batch], [group], or [part, group] of a filter's gradient.
    pub fn batch(&self, w: &mut Writer<'_>, number: Value) -> Coordinates {
        match self.c.product {
            Product::ConvFilterGrad(d) => {
                let (part, group) = w.div_rem(number, d.groups);
                vec![part, group]
            }
            Product::Dot(_) | Product::Conv(_) | Product::ConvInputGrad(_) => vec![number],
        }
    }

    /// Where a batch's sum begins and ends.
    pub fn range(&self, w: &mut Writer<'_>, batch: &Coordinates, k: usize) -> [Value; 2] {
        let Product::ConvFilterGrad(d) = self.c.product else { return [Value::index(0), Value::index(k)] };
        if self.c.parts == 1 {
            return [Value::index(0), Value::index(k)];
        }
        let bound = |w: &mut Writer<'_>, part: Value| {
            let images = w.mul(part, Value::index(d.n));
            let image = w.int(IntOp::Div, images, Value::index(self.c.parts));
            w.mul(image, Value::index(d.oh * d.ow))
        };
        let from = bound(w, batch[0]);
        let next = w.add(batch[0], Value::index(1));
        [from, bound(w, next)]
    }

    /// Row: [m] of a matrix; [n, oy, ox], [n, y, x]; [r, s, c] of a filter's gradient.
    pub fn row(&self, w: &mut Writer<'_>, m: Value) -> Coordinates {
        match self.c.product {
            Product::Dot(_) => vec![m],
            Product::Conv(d) => match self.pool {
                None => unravel(w, m, &[d.n, d.oh, d.ow]),
                Some(p) => {
                    let (rows, cols) = (p.dims.rows, p.dims.cols);
                    let (window, tap) = w.div_rem(m, rows.size * cols.size);
                    let place = unravel(w, window, &[p.dims.n, p.dims.oh, p.dims.ow]);
                    let (r, s) = w.div_rem(tap, cols.size);
                    // A pooling in an epilogue has no padding.
                    let (y, _) = source(w, &rows, place[1], r, d.oh);
                    let (x, _) = source(w, &cols, place[2], s, d.ow);
                    vec![place[0], y, x]
                }
            },
            Product::ConvInputGrad(d) => unravel(w, m, &[d.n, d.h, d.w]),
            Product::ConvFilterGrad(d) => unravel(w, m, &[d.rows.size, d.cols.size, d.c / d.groups]),
        }
    }

    /// Along the sum: [k]; [r, s, c]; [r, s, j]; [n, oy, ox]; each with the linear number behind.
    pub fn along(&self, w: &mut Writer<'_>, k: Value) -> Coordinates {
        let mut at = match self.c.product {
            Product::Dot(_) => Vec::new(),
            Product::Conv(d) => unravel(w, k, &[d.rows.size, d.cols.size, d.c / d.groups]),
            Product::ConvInputGrad(d) => unravel(w, k, &[d.rows.size, d.cols.size, d.k / d.groups]),
            Product::ConvFilterGrad(d) => unravel(w, k, &[d.n, d.oh, d.ow]),
        };
        at.push(k);
        at
    }

    /// A[row, along], 0 where `valid` does not hold or the element is padding.
    pub fn a(
        &self,
        w: &mut Writer<'_>,
        batch: &[Value],
        row: &[Value],
        along: &[Value],
        valid: Value,
    ) -> Value {
        let a = w.buffer(self.c.a, false);
        match self.c.product {
            Product::Dot(d) => {
                let (m, k) = (row[0], along[0]);
                let at = match d.ta {
                    true => dense(w, [batch[0], k, m], [d.batch, d.k, d.m]),
                    false => dense(w, [batch[0], m, k], [d.batch, d.m, d.k]),
                };
                load_if(w, valid, |w| w.load(a, at))
            }
            Product::Conv(d) => {
                let channel = w.mul_add(batch[0], Value::index(d.c / d.groups), along[2]);
                self.image(w, &d, row, [along[0], along[1], channel], valid)
            }
            Product::ConvInputGrad(d) => {
                let (oy, y_inside) = window_of(w, &d.rows, row[1], along[0], d.oh);
                let (ox, x_inside) = window_of(w, &d.cols, row[2], along[1], d.ow);
                let inside = w.and(y_inside, x_inside);
                let inside = w.and(inside, valid);
                let channel = w.mul_add(batch[0], Value::index(d.k / d.groups), along[2]);
                self.gradient(w, &d, [row[0], oy, ox, channel], inside)
            }
            Product::ConvFilterGrad(d) => {
                let channel = w.mul_add(batch[1], Value::index(d.c / d.groups), row[2]);
                self.image(w, &d, along, [row[0], row[1], channel], valid)
            }
        }
    }

    /// B[along, column], 0 where `valid` does not hold.
    pub fn b(&self, w: &mut Writer<'_>, batch: &[Value], along: &[Value], n: Value, valid: Value) -> Value {
        match self.c.product {
            Product::Dot(d) => {
                let b = w.buffer(self.c.b, false);
                let at = match d.tb {
                    true => dense(w, [batch[0], n, along[0]], [d.batch, d.n, d.k]),
                    false => dense(w, [batch[0], along[0], n], [d.batch, d.k, d.n]),
                };
                load_if(w, valid, |w| w.load(b, at))
            }
            Product::Conv(d) => {
                let b = w.buffer(self.c.b, false);
                let column = w.mul_add(batch[0], Value::index(d.k / d.groups), n);
                let at = w.mul_add(along[3], Value::index(d.k), column);
                load_if(w, valid, |w| w.load(b, at))
            }
            Product::ConvInputGrad(d) => {
                let b = w.buffer(self.c.b, false);
                let column = w.mul_add(batch[0], Value::index(d.k / d.groups), along[2]);
                let at = dense(w, [along[0], along[1], n, column], d.filter());
                load_if(w, valid, |w| w.load(b, at))
            }
            Product::ConvFilterGrad(d) => {
                let channel = w.mul_add(batch[1], Value::index(d.k / d.groups), n);
                self.gradient(w, &d, [along[0], along[1], along[2], channel], valid)
            }
        }
    }

    /// The element of the image that tap [r, s, channel] of the window at [n, oy, ox] sees.
    fn image(
        &self,
        w: &mut Writer<'_>,
        d: &ConvDims,
        pixel: &[Value],
        [r, s, channel]: [Value; 3],
        valid: Value,
    ) -> Value {
        let a = w.buffer(self.c.a, false);
        let (y, y_inside) = source(w, &d.rows, pixel[1], r, d.h);
        let (x, x_inside) = source(w, &d.cols, pixel[2], s, d.w);
        let inside = w.and(y_inside, x_inside);
        let inside = w.and(inside, valid);
        let at = dense(w, [pixel[0], y, x, channel], d.image());
        load_if(w, inside, |w| w.load(a, at))
    }

    /// The gradient of the output at [n, oy, ox, channel].
    fn gradient(&self, w: &mut Writer<'_>, d: &ConvDims, at: [Value; 4], valid: Value) -> Value {
        let dy = match self.c.product {
            Product::ConvFilterGrad(_) => self.c.b,
            _ => self.c.a,
        };
        let dy = w.buffer(dy, false);
        let Some(u) = self.c.unpooled else {
            let at = dense(w, at, d.output());
            return load_if(w, valid, |w| w.load(dy, at));
        };
        unpooled(w, &u, dy, at, valid)
    }

    /// The index, in the result's own space, of a row and a column.
    pub fn result(&self, w: &mut Writer<'_>, batch: &[Value], row: &[Value], n: Value) -> Vec<Value> {
        let channel = |w: &mut Writer<'_>, group: Value, each: usize| w.mul_add(group, Value::index(each), n);
        match self.c.product {
            Product::Dot(_) => vec![batch[0], row[0], n],
            Product::Conv(d) => vec![row[0], row[1], row[2], channel(w, batch[0], d.k / d.groups)],
            Product::ConvInputGrad(d) => vec![row[0], row[1], row[2], channel(w, batch[0], d.c / d.groups)],
            Product::ConvFilterGrad(d) => vec![row[0], row[1], row[2], channel(w, batch[1], d.k / d.groups)],
        }
    }

    /// Where a result is stored: the element of its index, in its part.
    pub fn place(&self, w: &mut Writer<'_>, batch: &[Value], index: &[Value]) -> Value {
        match self.c.product {
            Product::Dot(d) => dense(w, [index[0], index[1], index[2]], [d.batch, d.m, d.n]),
            Product::Conv(d) => dense(w, four(index.to_vec()), d.output()),
            Product::ConvInputGrad(d) => dense(w, four(index.to_vec()), d.image()),
            Product::ConvFilterGrad(d) => {
                let at = dense(w, four(index.to_vec()), d.filter());
                w.mul_add(batch[0], Value::index(d.filter().iter().product()), at)
            }
        }
    }
}

/// The gradient at a place of which only the pooled gradient and the positions of the maxima are stored.
fn unpooled(w: &mut Writer<'_>, u: &Unpooled, dy: Param, at: [Value; 4], valid: Value) -> Value {
    let [n, oy, ox, channel] = at;
    let d = &u.dims;
    let (py, r, y_inside) = window_around(w, &d.rows, oy, d.oh);
    let (px, s, x_inside) = window_around(w, &d.cols, ox, d.ow);
    let inside = w.and(y_inside, x_inside);
    let inside = w.and(inside, valid);
    let position = w.mul_add(r, Value::index(d.cols.size), s);
    let from = dense(w, [n, py, px, channel], d.output());
    let arg = w.buffer(u.arg, false);
    load_if(w, inside, |w| {
        let byte = w.load(arg, from);
        let chosen = w.cast(byte, DType::I32);
        let here = w.scalar(ScalarOp::Eq, &[chosen, position]);
        let value = w.load(dy, from);
        w.select(here, value, Value::f32(0.0))
    })
}

/// The window that an element of an unpadded, disjoint pooling is in, its position there, and whether there is one.
fn window_around(w: &mut Writer<'_>, window: &Window, at: Value, outputs: usize) -> (Value, Value, Value) {
    let (o, rest) = w.div_rem(at, window.stride);
    let (position, between) = w.div_rem(rest, window.dilation);
    let before = w.lt(o, Value::index(outputs));
    let short = w.lt(position, Value::index(window.size));
    let whole = w.scalar(ScalarOp::Eq, &[between, Value::index(0)]);
    let inside = w.and(before, short);
    (o, position, w.and(inside, whole))
}

/// What `load` gives where the condition holds, 0 elsewhere.
fn load_if(w: &mut Writer<'_>, condition: Value, load: impl FnOnce(&mut Writer<'_>) -> Value) -> Value {
    if let Value::Const(_, bits) = condition
        && bits != 0
    {
        return load(w);
    }
    let value = w.mutable(Value::f32(0.0));
    let open = w.open(condition);
    let loaded = load(w);
    w.set(value, loaded);
    w.close(open);
    Value::Var(value)
}
