//! Products that a library of the GPU's maker computes: which it can, and the launches around its call.
//!
//! In: a product, a library and one of its algorithms. Out: a [`Call`], in front of it a copy of the filter in the library's
//! order, behind it a launch that finishes what the call stored in scratch memory. Where nothing is left to be done the call
//! stores the result itself. Invariants: operands are multiplied as they are meant and sums are f32, rounded where they are on
//! every device; padding that is not the same on both sides and unpooled gradients, which are nowhere in memory, are nobody
//! else's. Of a filter gradient in parts the first gets the sum of all and the others zeros, as their sum is all that counts.

use super::super::loops::{linear_thread, unravel, within};
use super::super::pool::{dense, four};
use super::super::{Lowering, Writer};
use super::tile::THREADS;
use super::{Share, Task, finish};
use crate::gpu::build::Open;
use crate::gpu::call::{Call, Library, Types, Which};
use crate::gpu::ir::{Param, Value};
use crate::gpu::launch::{Abilities, Argument};
use crate::plan::{BufferId, DotDims, Expr, ExprId, Product};
use thalweg_base::{ConvDims, DType, Window};

/// Rows and columns of what a group transposes.
const SQUARE: usize = 32;
/// How many of the algorithms that cuBLASLt recommends are candidates.
const CHOICES: usize = 3;

/// How a call's result lies in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// As the contraction's result before a pooling.
    Plain,
    /// As the gradient of a filter [k, rows, columns, c / groups].
    Krsc,
}

/// The libraries that can compute a product, with those of their algorithms that give the same bits every time.
pub fn ways(t: &Task<'_>, abilities: &Abilities) -> Vec<Library> {
    let possible = t.share != Share::Part && t.c.unpooled.is_none() && t.sizes.k > 0;
    let [m, n] = [t.sizes.m, t.sizes.n];
    if !possible || t.sizes.batches * m * n == 0 {
        return Vec::new();
    }
    let mut ways = Vec::new();
    if let (Some(version), Some(_)) = (abilities.libraries.cublaslt, matrices(t)) {
        ways.extend((0..CHOICES).map(|choice| Library::CublasLt { version, choice }));
    }
    if let (Some(version), Some((which, _))) = (abilities.libraries.cudnn, convolution(t)) {
        ways.extend(algorithms(which).iter().map(|&algorithm| Library::Cudnn { version, algorithm }));
    }
    ways
}

/// Numbers of cuDNN's algorithms for images in this order: of the convolution, its implicit product with precomputed indices
/// and without; of the gradients, those that add in a fixed order.
fn algorithms(which: Which) -> &'static [u32] {
    match which {
        Which::Forward => &[1, 0],
        Which::Input | Which::Filter => &[1],
    }
}

/// The product of dense matrices that this is, if it is one: a convolution of single pixels is.
fn matrices(t: &Task<'_>) -> Option<DotDims> {
    let one = |w: &Window| w.size == 1 && w.stride == 1 && w.lo + w.hi == 0;
    let pixels = |d: &ConvDims| d.groups == 1 && one(&d.rows) && one(&d.cols);
    let of = |d: &ConvDims, [m, n, k]: [usize; 3], ta, tb| {
        pixels(d).then_some(DotDims { batch: 1, m, n, k, ta, tb })
    };
    match t.c.product {
        Product::Dot(d) => Some(d),
        Product::Conv(d) => of(&d, [d.n * d.h * d.w, d.k, d.c], false, false),
        Product::ConvInputGrad(d) => of(&d, [d.n * d.h * d.w, d.c, d.k], false, true),
        Product::ConvFilterGrad(d) => of(&d, [d.c, d.k, d.n * d.h * d.w], true, false),
    }
}

/// The convolution that this is, if cuDNN has it: padded alike on both sides, and of 16-bit floats only where each sum is
/// rounded to their type before all else, as cuDNN gives it rounded. Those of a filter gradient in parts are not: whoever adds
/// the parts may round, but may read them otherwise as well.
fn convolution(t: &Task<'_>) -> Option<(Which, ConvDims)> {
    let (which, d) = match t.c.product {
        Product::Dot(_) => return None,
        Product::Conv(d) => (Which::Forward, d),
        Product::ConvInputGrad(d) => (Which::Input, d),
        Product::ConvFilterGrad(d) => (Which::Filter, d),
    };
    let alike = |w: &Window, extent, outputs| Window { hi: w.lo, ..*w }.outputs(extent) == Some(outputs);
    let fits = alike(&d.rows, d.h, d.oh) && alike(&d.cols, d.w, d.ow);
    (fits && (t.dtype == DType::F32 || rounded_first(t))).then_some((which, d))
}

/// Whether nothing but its rounding to the operands' type looks at a sum.
fn rounded_first(t: &Task<'_>) -> bool {
    let Some(e) = &t.c.epilogue else { return false };
    let is_sum = |id: ExprId| e.body.iter().any(|(i, expr, _)| i == id && *expr == Expr::Acc);
    let rounded = |(_, expr, dtype): (ExprId, &Expr, DType)| match expr {
        Expr::Cast(x) => !is_sum(*x) || dtype == t.dtype,
        Expr::Op(_, args) => !args.iter().any(|a| is_sum(*a)),
        Expr::Random { element, step, .. } => !is_sum(*element) && !is_sum(*step),
        Expr::Const(_) | Expr::Load(_) | Expr::Acc | Expr::Index { .. } => true,
    };
    !is_sum(e.value) && e.body.iter().all(rounded)
}

/// Whether what a library stores in the result's order is the result.
fn finished(t: &Task<'_>) -> bool {
    let rounds_only = t.c.epilogue.as_ref().is_some_and(|e| {
        let of = |wanted| e.body.iter().find(|(id, _, _)| *id == wanted).map(|(_, expr, _)| expr);
        let rounds = matches!(of(e.value), Some(Expr::Cast(x)) if of(*x) == Some(&Expr::Acc));
        e.pool.is_none() && rounds && rounded_first(t)
    });
    let untouched = t.c.epilogue.is_none() && t.stored == DType::F32;
    t.c.parts == 1 && (untouched || (rounds_only && t.stored == t.dtype))
}

/// Elements of scratch memory for sums, at most: none where the call stores the result itself.
pub fn scratch(t: &Task<'_>) -> usize {
    let s = t.sizes;
    let filter = matches!(t.c.product, Product::ConvFilterGrad(_));
    match finished(t) && !filter {
        true => 0,
        false => [s.batches / t.c.parts, s.m, s.n].into_iter().fold(1, usize::saturating_mul),
    }
}

/// What a library is asked.
pub fn call(t: &Task<'_>, library: Library, abilities: &Abilities) -> Call {
    let tf32 = t.dtype == DType::F32 && abilities.tf32;
    let types = |result| Types { operands: t.dtype, result, tf32 };
    match library {
        Library::CublasLt { choice, .. } => {
            let dims = matrices(t).expect("only products of matrices are left to cuBLASLt");
            let result = if finished(t) { t.stored } else { DType::F32 };
            Call::Matrices { dims, types: types(result), choice }
        }
        Library::Cudnn { algorithm, .. } => {
            let (which, dims) = convolution(t).expect("only convolutions are left to cuDNN");
            Call::Convolution { which, dims, types: types(t.dtype), algorithm }
        }
    }
}

/// Lowers a product to a library's call and what has to be done before and after.
pub fn lower(l: &mut Lowering<'_>, t: &Task<'_>, library: Library) {
    let call = call(t, library, l.abilities);
    let buffer = |l: &Lowering<'_>, id: BufferId| {
        let b = l.plan.buffer(id);
        Argument { place: b.place, bytes: b.bytes() }
    };
    let (a, mut b, mut phase) = (buffer(l, t.c.a), buffer(l, t.c.b), 0);
    let mut order = Order::Plain;
    if let Call::Convolution { which, dims, .. } = &call {
        match which {
            Which::Forward | Which::Input => {
                b = to_krsc(l, t, dims);
                phase = 1;
            }
            Which::Filter => order = Order::Krsc,
        }
    }
    let result = call.types().result;
    if order == Order::Plain && finished(t) {
        return l.call(phase, call, [a, b, buffer(l, t.c.out)]);
    }
    let [.., elements] = call.elements();
    let scratch = l.scratch(result.size() * elements);
    l.call(phase, call, [a, b, scratch]);
    let from = Sums { at: scratch, dtype: result, order };
    match t.sizes.pooled {
        1 => singles(l, t, &from, phase + 1),
        _ => windows(l, t, &from, phase + 1),
    }
}

/// A copy of a filter [rows, columns, c / groups, k] as [k, rows, columns, c / groups], in scratch memory: a matrix of taps and
/// channels transposed, square by square, so that neighbouring threads load and store what follows each other.
fn to_krsc(l: &mut Lowering<'_>, t: &Task<'_>, d: &ConvDims) -> Argument {
    let taps = d.filter()[..3].iter().product::<usize>();
    let scratch = l.scratch(t.dtype.size() * taps * d.k);
    let mut w = Writer::new(l.plan, "filter_krsc", THREADS as u32);
    let squares = [taps.div_ceil(SQUARE), d.k.div_ceil(SQUARE)];
    let group = w.group();
    let at = unravel(&mut w, group, &squares);
    let first = [0, 1].map(|axis| w.mul(at[axis], Value::index(SQUARE)));
    let thread = w.thread();
    let (y, x) = w.div_rem(thread, SQUARE);
    // One more a row, so that a column is spread over the memory's banks.
    let shared = w.shared(t.dtype, SQUARE * (SQUARE + 1));
    let (from, to) = (w.buffer(t.c.b, false), w.argument(scratch, t.dtype, true));
    let steps = (0..SQUARE).step_by(THREADS / SQUARE);
    for down in steps.clone() {
        let row = w.add(y, Value::index(down));
        let (tap, k) = (w.add(first[0], row), w.add(first[1], x));
        let open = open_inside(&mut w, [tap, k], [taps, d.k]);
        let at = w.mul_add(tap, Value::index(d.k), k);
        let value = w.load(from, at);
        let place = w.mul_add(row, Value::index(SQUARE + 1), x);
        w.store_shared(shared, place, value);
        w.close(open);
    }
    w.barrier();
    for down in steps {
        let row = w.add(y, Value::index(down));
        let (tap, k) = (w.add(first[0], x), w.add(first[1], row));
        let open = open_inside(&mut w, [tap, k], [taps, d.k]);
        let place = w.mul_add(x, Value::index(SQUARE + 1), row);
        let value = w.load_shared(shared, place);
        let at = w.mul_add(k, Value::index(taps), tap);
        w.store(to, at, value);
        w.close(open);
    }
    l.launch(0, squares.iter().product(), w);
    scratch
}

/// Opens a block for threads whose index is inside.
fn open_inside(w: &mut Writer<'_>, index: [Value; 2], extents: [usize; 2]) -> Open {
    let [a, b] = [0, 1].map(|axis| within(w, index[axis], extents[axis], SQUARE));
    let inside = w.and(a, b);
    w.open(inside)
}

/// What a call stored.
struct Sums {
    at: Argument,
    dtype: DType,
    order: Order,
}

impl Sums {
    fn param(&self, w: &mut Writer<'_>) -> Param {
        w.argument(self.at, self.dtype, false)
    }

    /// So many sums that follow each other in the result, from an index on.
    fn load(
        &self,
        w: &mut Writer<'_>,
        t: &Task<'_>,
        (from, batch): (Param, &[Value]),
        index: &[Value],
        width: usize,
    ) -> Vec<Value> {
        let values = match (self.order, t.c.product) {
            (Order::Krsc, Product::ConvFilterGrad(d)) => {
                let [r, s, c, k] = four(index.to_vec());
                let each = |w: &mut Writer<'_>, i| {
                    let k = w.add(k, Value::index(i));
                    let at = dense(w, [k, r, s, c], [d.k, d.rows.size, d.cols.size, d.c / d.groups]);
                    w.load(from, at)
                };
                (0..width).map(|i| each(w, i)).collect()
            }
            _ => {
                let at = t.operand.place(w, batch, index);
                if width == 4 { w.load4(from, at).to_vec() } else { vec![w.load(from, at)] }
            }
        };
        values.into_iter().map(|v| w.cast(v, DType::F32)).collect()
    }
}

/// Finishes the sums: four of a row a thread, where rows are fours.
fn singles(l: &mut Lowering<'_>, t: &Task<'_>, sums: &Sums, phase: usize) {
    let s = t.sizes;
    let width = if s.n.is_multiple_of(4) { 4 } else { 1 };
    let count = s.batches * s.m * s.n / width;
    let mut w = Writer::new(l.plan, "finish", THREADS as u32);
    let linear = linear_thread(&mut w, THREADS);
    let inside = within(&mut w, linear, count, THREADS);
    let open = w.open(inside);
    let at = unravel(&mut w, linear, &[s.batches, s.m, s.n / width]);
    let n = w.mul(at[2], Value::index(width));
    let batch = t.operand.batch(&mut w, at[0]);
    let row = t.operand.row(&mut w, at[1]);
    let index = t.operand.result(&mut w, &batch, &row, n);
    let from = sums.param(&mut w);
    // All parts have the place of the first.
    let mut there = batch.clone();
    if t.c.parts > 1 {
        there[0] = Value::index(0);
    }
    let mut values = sums.load(&mut w, t, (from, &there), &index, width);
    if t.c.parts > 1 {
        let first = w.lt(batch[0], Value::index(1));
        values = values.into_iter().map(|v| w.select(first, v, Value::f32(0.0))).collect();
    }
    finish::singles(&mut w, t, &batch, &row, n, &values);
    w.close(open);
    l.launch(phase, count.div_ceil(THREADS), w);
}

/// Finishes the sums of a pooling's windows: a window of a channel a thread.
fn windows(l: &mut Lowering<'_>, t: &Task<'_>, sums: &Sums, phase: usize) {
    let s = t.sizes;
    let count = s.batches * (s.m / s.pooled) * s.n;
    let mut w = Writer::new(l.plan, "finish_windows", THREADS as u32);
    let linear = linear_thread(&mut w, THREADS);
    let inside = within(&mut w, linear, count, THREADS);
    let open = w.open(inside);
    // Groups are beside each other in memory, so they are innermost but for the channels of one.
    let at = unravel(&mut w, linear, &[s.m / s.pooled, s.batches, s.n]);
    let batch = t.operand.batch(&mut w, at[1]);
    let first = w.mul(at[0], Value::index(s.pooled));
    let from = sums.param(&mut w);
    let mut values = Vec::with_capacity(s.pooled);
    for i in 0..s.pooled {
        let m = w.add(first, Value::index(i));
        let row = t.operand.row(&mut w, m);
        let index = t.operand.result(&mut w, &batch, &row, at[2]);
        values.push(sums.load(&mut w, t, (from, &batch), &index, 1));
    }
    finish::windows(&mut w, t, &batch, first, at[2], &values);
    w.close(open);
    l.launch(phase, count.div_ceil(THREADS), w);
}
