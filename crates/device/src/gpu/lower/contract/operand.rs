//! Which element of which buffer A[m, k] and B[k, n] are, for each kind of product.
//!
//! An element's place is found in three steps, so that what stays the same in a loop is computed before it: the batch's
//! coordinates, the row's or column's, and those along the sum. Where four neighbours of an operand follow each other in
//! memory ([`Layout`]), they are loaded at once, and of 16-bit floats eight copied.

use super::super::Writer;
use super::super::loops::unravel;
use super::super::pool::{dense, four, source, window_of};
use super::stride::Strides;
use super::tile::Cut;
use crate::gpu::ir::{IntOp, Param, Value, Var};
use crate::plan::{BufferId, Contraction, PoolEpilogue, Product, Unpooled};
use thalweg_base::{ConvDims, DType, ScalarOp, Window};

/// The elements of a product.
pub struct Operand<'a> {
    c: &'a Contraction,
    pool: Option<PoolEpilogue>,
    /// Of an input's gradient: the pixels that are meant, where not all are.
    strides: Option<Strides>,
}

/// Coordinates: of a batch, a row, a column, a position along the sum.
pub type Coordinates = Vec<Value>;

/// A or B.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// [rows, sum].
    A,
    /// [sum, columns].
    B,
}

/// How neighbours of an operand lie in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Whether those along the sum follow each other; otherwise those across it (rows of A, columns of B).
    pub along: bool,
    /// How many can be brought at once: as many as are asked for, if every so many from a multiple of that on are all there or
    /// all not; or 4, or 1.
    pub width: usize,
    /// Whether they are in memory as they are meant: not picked by the positions of maxima.
    pub plain: bool,
}

/// Where an element is.
pub struct Element {
    /// The buffer.
    pub from: Param,
    /// Its number there.
    pub at: Value,
    /// bool: whether it is; otherwise it counts as 0.
    pub inside: Value,
    /// If so, the position that the window's maximum must have had, and where positions are.
    chosen: Option<(Param, Value)>,
}

/// Coordinates of an element.
pub struct Spot<'s> {
    /// Of the batch.
    pub batch: &'s [Value],
    /// Of the row, or the column's number.
    pub across: &'s [Value],
    /// Along the sum.
    pub along: &'s [Value],
    /// bool: whether there is such a row or column and step.
    pub valid: Value,
}

impl<'a> Operand<'a> {
    /// Of a contraction.
    pub fn new(c: &'a Contraction, strides: Option<Strides>) -> Self {
        Operand { c, pool: c.epilogue.as_ref().and_then(|e| e.pool), strides }
    }

    /// How an operand lies in memory, of which `at_once` elements, 4 or 8, can be copied at once where they are as they are
    /// meant.
    pub fn layout(&self, side: Side, at_once: usize) -> Layout {
        let (along, extent) = match (self.c.product, side) {
            (Product::Dot(d), Side::A) => (!d.ta, if d.ta { d.m } else { d.k }),
            (Product::Dot(d), Side::B) => (d.tb, if d.tb { d.k } else { d.n }),
            (Product::Conv(d), Side::A) => (true, d.c / d.groups),
            (Product::Conv(d), Side::B) => (false, d.k / d.groups),
            (Product::ConvInputGrad(d), Side::A | Side::B) => (true, d.k / d.groups),
            (Product::ConvFilterGrad(d), Side::A) => (false, d.c / d.groups),
            (Product::ConvFilterGrad(d), Side::B) => (false, d.k / d.groups),
        };
        let gradient = match self.c.product {
            Product::ConvInputGrad(_) => side == Side::A,
            Product::ConvFilterGrad(_) => side == Side::B,
            Product::Dot(_) | Product::Conv(_) => false,
        };
        let plain = !(gradient && self.c.unpooled.is_some());
        let width = match extent {
            _ if plain && extent.is_multiple_of(at_once) => at_once,
            _ if extent.is_multiple_of(4) => 4,
            _ => 1,
        };
        Layout { along, width, plain }
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

    /// Where the sum of a piece of a batch begins and ends; pieces are whole chunks.
    pub fn range(
        &self,
        w: &mut Writer<'_>,
        batch: &[Value],
        piece: Value,
        k: usize,
        cut: &Cut,
    ) -> [Value; 2] {
        let [from, to] = self.whole(w, batch, k);
        if cut.pieces == 1 {
            return [from, to];
        }
        let whole = cut.pieces * cut.tile.depth;
        let length = w.scalar(ScalarOp::Sub, &[to, from]);
        let up = w.add(length, Value::index(whole - 1));
        let chunks = w.int(IntOp::Div, up, Value::index(whole));
        let each = w.mul(chunks, Value::index(cut.tile.depth));
        let first = w.mul_add(piece, each, from);
        let end = w.add(first, each);
        let end = w.scalar(ScalarOp::Min, &[end, to]);
        [first, end]
    }

    /// Where the sum of a batch begins and ends.
    pub fn whole(&self, w: &mut Writer<'_>, batch: &[Value], k: usize) -> [Value; 2] {
        match self.c.product {
            Product::ConvFilterGrad(d) if self.c.parts > 1 => self.part(w, &d, batch[0]),
            _ => [Value::index(0), Value::index(k)],
        }
    }

    /// The pixels of a part of the batch.
    fn part(&self, w: &mut Writer<'_>, d: &ConvDims, part: Value) -> [Value; 2] {
        let next = w.add(part, Value::index(1));
        [part, next].map(|part| {
            let images = w.mul(part, Value::index(d.n));
            let image = w.int(IntOp::Div, images, Value::index(self.c.parts));
            w.mul(image, Value::index(d.oh * d.ow))
        })
    }

    /// Row: [m] of a matrix; [n, oy, ox], [n, y, x]; [r, s, c] of a filter's gradient. Of an input's gradient, behind them
    /// the numbers of the row and the column among those that are meant.
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
            Product::ConvInputGrad(d) => match self.strides {
                None => unravel(w, m, &[d.n, d.h, d.w]),
                Some(t) => {
                    let at = unravel(w, m, &[d.n, t.rows.pixels, t.cols.pixels]);
                    let (y, x) = (t.rows.pixel(w, at[1]), t.cols.pixel(w, at[2]));
                    vec![at[0], y, x, at[1], at[2]]
                }
            },
            Product::ConvFilterGrad(d) => unravel(w, m, &[d.rows.size, d.cols.size, d.c / d.groups]),
        }
    }

    /// Along the sum: [k]; [r, s, c]; [r, s, j]; [n, oy, ox]; each with the linear number behind.
    pub fn along(&self, w: &mut Writer<'_>, k: Value) -> Coordinates {
        let mut at = match self.c.product {
            Product::Dot(_) => Vec::new(),
            Product::Conv(d) => unravel(w, k, &[d.rows.size, d.cols.size, d.c / d.groups]),
            Product::ConvInputGrad(d) => {
                let [r, s] = self.strides.map_or([d.rows.size, d.cols.size], |t| [t.rows.taps, t.cols.taps]);
                // Where no tap meets a pixel there is no step, but a division all the same.
                unravel(w, k, &[r, s.max(1), d.k / d.groups])
            }
            Product::ConvFilterGrad(d) => unravel(w, k, &[d.n, d.oh, d.ow]),
        };
        at.push(k);
        at
    }

    /// Where an element is.
    pub fn find(&self, w: &mut Writer<'_>, side: Side, spot: &Spot<'_>) -> Element {
        match side {
            Side::A => self.a(w, spot),
            Side::B => self.b(w, spot),
        }
    }

    /// A[across, along].
    fn a(&self, w: &mut Writer<'_>, spot: &Spot<'_>) -> Element {
        let (batch, row, along, valid) = (spot.batch, spot.across, spot.along, spot.valid);
        match self.c.product {
            Product::Dot(d) => {
                let (m, k) = (row[0], along[0]);
                let at = match d.ta {
                    true => dense(w, [batch[0], k, m], [d.batch, d.k, d.m]),
                    false => dense(w, [batch[0], m, k], [d.batch, d.m, d.k]),
                };
                plain(w, self.c.a, at, valid)
            }
            Product::Conv(d) => {
                let channel = w.mul_add(batch[0], Value::index(d.c / d.groups), along[2]);
                self.image(w, &d, row, [along[0], along[1], channel], valid)
            }
            Product::ConvInputGrad(d) => {
                let [oy, ox] = match self.strides {
                    None => [
                        window_of(w, &d.rows, row[1], along[0], d.oh),
                        window_of(w, &d.cols, row[2], along[1], d.ow),
                    ],
                    Some(t) => {
                        [t.rows.output(w, row[3], along[0], d.oh), t.cols.output(w, row[4], along[1], d.ow)]
                    }
                };
                let inside = w.and(oy.1, ox.1);
                let inside = w.and(inside, valid);
                let channel = w.mul_add(batch[0], Value::index(d.k / d.groups), along[2]);
                self.gradient(w, &d, self.c.a, [row[0], oy.0, ox.0, channel], inside)
            }
            Product::ConvFilterGrad(d) => {
                let channel = w.mul_add(batch[1], Value::index(d.c / d.groups), row[2]);
                self.image(w, &d, along, [row[0], row[1], channel], valid)
            }
        }
    }

    /// B[along, across].
    fn b(&self, w: &mut Writer<'_>, spot: &Spot<'_>) -> Element {
        let (batch, n, along, valid) = (spot.batch, spot.across[0], spot.along, spot.valid);
        match self.c.product {
            Product::Dot(d) => {
                let at = match d.tb {
                    true => dense(w, [batch[0], n, along[0]], [d.batch, d.n, d.k]),
                    false => dense(w, [batch[0], along[0], n], [d.batch, d.k, d.n]),
                };
                plain(w, self.c.b, at, valid)
            }
            Product::Conv(d) => {
                let column = w.mul_add(batch[0], Value::index(d.k / d.groups), n);
                let at = w.mul_add(along[3], Value::index(d.k), column);
                plain(w, self.c.b, at, valid)
            }
            Product::ConvInputGrad(d) => {
                let column = w.mul_add(batch[0], Value::index(d.k / d.groups), along[2]);
                let [r, s] = match self.strides {
                    None => [along[0], along[1]],
                    Some(t) => [t.rows.tap(w, along[0]), t.cols.tap(w, along[1])],
                };
                let at = dense(w, [r, s, n, column], d.filter());
                plain(w, self.c.b, at, valid)
            }
            Product::ConvFilterGrad(d) => {
                let channel = w.mul_add(batch[1], Value::index(d.k / d.groups), n);
                self.gradient(w, &d, self.c.b, [along[0], along[1], along[2], channel], valid)
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
    ) -> Element {
        let (y, y_inside) = source(w, &d.rows, pixel[1], r, d.h);
        let (x, x_inside) = source(w, &d.cols, pixel[2], s, d.w);
        let inside = w.and(y_inside, x_inside);
        let inside = w.and(inside, valid);
        let at = dense(w, [pixel[0], y, x, channel], d.image());
        plain(w, self.c.a, at, inside)
    }

    /// The gradient of the output at [n, oy, ox, channel].
    fn gradient(
        &self,
        w: &mut Writer<'_>,
        d: &ConvDims,
        dy: BufferId,
        at: [Value; 4],
        valid: Value,
    ) -> Element {
        match self.c.unpooled {
            None => {
                let at = dense(w, at, d.output());
                plain(w, dy, at, valid)
            }
            Some(u) => unpooled(w, &u, dy, at, valid),
        }
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

impl Element {
    /// Sets registers of one type to this element and those behind it, or to 0 where they are not: one, or four at once.
    pub fn load(&self, w: &mut Writer<'_>, into: &[Var]) {
        let ty = w.dtype(Value::Var(into[0]));
        let zero = Value::Const(ty, 0);
        let known = matches!(self.inside, Value::Const(_, bits) if bits != 0);
        if !known {
            into.iter().for_each(|v| w.set(*v, zero));
        }
        let open = w.open(self.inside);
        let load = |w: &mut Writer<'_>, from: Param| match into.len() {
            1 => vec![w.load(from, self.at)],
            4 => w.load4(from, self.at).to_vec(),
            n => unreachable!("{n} at once are copied, not loaded"),
        };
        let mut values = load(w, self.from);
        values.iter_mut().for_each(|v| *v = w.cast(*v, ty));
        if let Some((positions, wanted)) = self.chosen {
            let bytes = load(w, positions);
            for (value, byte) in values.iter_mut().zip(bytes) {
                let position = w.cast(byte, DType::I32);
                let here = w.scalar(ScalarOp::Eq, &[position, wanted]);
                *value = w.select(here, *value, zero);
            }
        }
        for (v, value) in into.iter().zip(values) {
            w.set(*v, value);
        }
        w.close(open);
    }

    /// Sets registers to this element of 16 bits and the seven behind it, as they are in memory, or to 0 where they are not.
    pub fn load_words(&self, w: &mut Writer<'_>, into: [Var; 4]) {
        assert!(self.chosen.is_none(), "what is as it is meant");
        into.iter().for_each(|v| w.set(*v, Value::u32(0)));
        let open = w.open(self.inside);
        for (v, word) in into.into_iter().zip(w.load_words(self.from, self.at)) {
            w.set(v, word);
        }
        w.close(open);
    }
}

/// An element of a buffer that holds the operand itself.
fn plain(w: &mut Writer<'_>, buffer: BufferId, at: Value, inside: Value) -> Element {
    Element { from: w.buffer(buffer, false), at, inside, chosen: None }
}

/// The gradient at a place of which only the pooled gradient and the positions of the maxima are stored.
fn unpooled(w: &mut Writer<'_>, u: &Unpooled, dy: BufferId, at: [Value; 4], valid: Value) -> Element {
    let [n, oy, ox, channel] = at;
    let d = &u.dims;
    let (py, r, y_inside) = window_around(w, &d.rows, oy, d.oh);
    let (px, s, x_inside) = window_around(w, &d.cols, ox, d.ow);
    let inside = w.and(y_inside, x_inside);
    let inside = w.and(inside, valid);
    let position = w.mul_add(r, Value::index(d.cols.size), s);
    let at = dense(w, [n, py, px, channel], d.output());
    let (from, positions) = (w.buffer(dy, false), w.buffer(u.arg, false));
    Element { from, at, inside, chosen: Some((positions, position)) }
}

/// The window that an element of an unpadded, disjoint pooling is in, its position there, and whether there is one. An
/// element before the first, which some operand's padding asks for, divides as the large number it is as an unsigned one.
fn window_around(w: &mut Writer<'_>, window: &Window, at: Value, outputs: usize) -> (Value, Value, Value) {
    let (o, rest) = w.div_rem(at, window.stride);
    let (position, between) = w.div_rem(rest, window.dilation);
    let before = w.lt(o, Value::index(outputs));
    let short = w.lt(position, Value::index(window.size));
    let whole = w.scalar(ScalarOp::Eq, &[between, Value::index(0)]);
    let inside = w.and(before, short);
    (o, position, w.and(inside, whole))
}
