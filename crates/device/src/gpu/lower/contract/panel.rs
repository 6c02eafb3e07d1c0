//! The part of an operand that a group has in shared memory: a tile's rows of A, or columns of B, for a chunk of the sum.
//!
//! Every thread brings a few items, one element each or 16 bytes that follow each other in memory: either into registers, from
//! where they are stored when the tile is free ([`Panel::fetch`], [`Panel::deposit`]), or straight by asynchronous copies
//! ([`Panel::copy`]). What does not change from chunk to chunk is computed when the panel is made.

use super::super::Writer;
use super::super::loops::within;
use super::operand::{Coordinates, Element, Layout, Operand, Side, Spot};
use super::tile::{PAD, THREADS};
use crate::gpu::ir::{Shared, Stmt, Tensor, Value, Var};
use thalweg_base::DType;

/// Where elements of a panel are in shared memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Places {
    /// The array.
    pub shared: Shared,
    /// Elements from one row (column) to the next.
    pub across: usize,
    /// Elements from one step of the sum to the next.
    pub along: usize,
    /// Elements from one stage to the next.
    pub stage: usize,
}

/// What a panel is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Which operand.
    pub side: Side,
    /// Rows (columns) of a tile, and of the whole product.
    pub tile: usize,
    /// Rows (columns) of the whole product.
    pub whole: usize,
    /// Steps of a chunk.
    pub depth: usize,
    /// Type of an element in shared memory.
    pub kept: DType,
}

/// Bytes of an asynchronous copy.
const COPIED: usize = 16;

/// A panel.
pub struct Panel<'t> {
    operand: &'t Operand<'t>,
    batch: &'t [Value],
    layout: Layout,
    side: Side,
    /// Where it is in shared memory.
    pub places: Places,
    /// Whether neighbours along the sum follow each other there; otherwise those across it.
    pub rows: bool,
    /// Whether it can be copied without passing through registers.
    pub copies: bool,
    /// Whether it passes through registers as it is in memory, two elements in each.
    words: bool,
    items: Vec<Item>,
}

/// What a thread brings at once.
struct Item {
    across: Coordinates,
    /// Whether there is such a row or column.
    valid: Value,
    /// First row or column, and step, in the tile.
    local: Value,
    step: Value,
    /// Whether the thread brings it: the last round of items may be short.
    there: Value,
    /// Registers that hold it meanwhile, where it is not copied.
    held: Vec<Var>,
}

/// How the operand lies in shared memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The steps outermost, so that a thread reads four rows or columns at once.
    Steps,
    /// As in memory, so that 16 bytes can be brought at once.
    AsInMemory {
        /// Stages.
        stages: usize,
        /// Whether there are asynchronous copies.
        copies: bool,
    },
}

impl Order {
    fn places(self, w: &mut Writer<'_>, e: &Extent, layout: &Layout) -> Places {
        let (across, along, stages) = match self {
            Order::Steps => (1, e.tile + PAD, 1),
            // What a warp reads at once must be in different banks: in f32 four lanes along the sum and eight across it, 4 or
            // 8 words modulo 32; in 16 bits eight rows of 16 bytes, an odd number of them modulo 8.
            Order::AsInMemory { stages, .. } if layout.along => (e.depth + COPIED / e.kept.size(), 1, stages),
            Order::AsInMemory { stages, .. } => (1, e.tile + 8, stages),
        };
        let stage = if across == 1 { e.depth * along } else { e.tile * across };
        Places { shared: w.shared(e.kept, stages * stage), across, along, stage }
    }
}

impl<'t> Panel<'t> {
    /// A panel of the tile that begins at `first`. `logical`: which of the tile's rows (columns) is in a place.
    pub fn new(
        w: &mut Writer<'_>,
        (operand, batch): (&'t Operand<'t>, &'t [Value]),
        e: Extent,
        order: Order,
        first: Value,
        logical: &dyn Fn(&mut Writer<'_>, Value) -> Value,
    ) -> Panel<'t> {
        // What passes through registers does so four at a time.
        let at_once = match order {
            Order::Steps => 4,
            Order::AsInMemory { .. } => COPIED / e.kept.size(),
        };
        let layout = operand.layout(e.side, at_once);
        let whole = layout.plain && layout.width == at_once;
        let copies = whole && matches!(order, Order::AsInMemory { copies: true, .. });
        let words = whole && !copies && e.kept.is_half();
        let (held, ty) = match () {
            () if copies => (0, e.kept),
            () if words => (4, DType::U32),
            () => (layout.width, e.kept),
        };
        let places = order.places(w, &e, &layout);
        let count = (e.tile * e.depth / layout.width).div_ceil(THREADS);
        let mut items = Vec::with_capacity(count);
        for i in 0..count {
            let (local, step, there) = position(w, &e, &layout, i);
            let inner = logical(w, local);
            let number = w.add(first, inner);
            let valid = within(w, number, e.whole, e.tile);
            let across = match e.side {
                Side::A => operand.row(w, number),
                Side::B => vec![number],
            };
            let held = (0..held).map(|_| w.mutable(Value::Const(ty, 0))).collect();
            items.push(Item { across, valid, local, step, there, held });
        }
        let rows = places.along == 1;
        Panel { operand, batch, layout, side: e.side, places, rows, copies, words, items }
    }

    fn find(&self, w: &mut Writer<'_>, item: &Item, [k0, to]: [Value; 2]) -> Element {
        let k = w.add(k0, item.step);
        let before = w.lt(k, to);
        let valid = w.and(item.valid, before);
        let along = self.operand.along(w, k);
        let spot = Spot { batch: self.batch, across: &item.across, along: &along, valid };
        self.operand.find(w, self.side, &spot)
    }

    /// Loads the chunk from step `k0` on into registers; 0 from `to` on.
    pub fn fetch(&self, w: &mut Writer<'_>, range: [Value; 2]) {
        for item in &self.items {
            let open = w.open(item.there);
            let element = self.find(w, item, range);
            match item.held[..] {
                [a, b, c, d] if self.words => element.load_words(w, [a, b, c, d]),
                _ => element.load(w, &item.held),
            }
            w.close(open);
        }
    }

    /// Stores what was fetched.
    pub fn deposit(&self, w: &mut Writer<'_>, stage: Value) {
        let p = self.places;
        let between = if self.layout.along { p.along } else { p.across };
        for item in &self.items {
            let open = w.open(item.there);
            let at = self.place(w, item, stage);
            match item.held[..] {
                [a, b, c, d] if self.words => {
                    w.store_shared_words(p.shared, at, [a, b, c, d].map(Value::Var));
                }
                [a, b, c, d] if between == 1 => w.store_shared4(p.shared, at, [a, b, c, d].map(Value::Var)),
                _ => {
                    for (i, v) in item.held.iter().enumerate() {
                        let at = w.add(at, Value::index(i * between));
                        w.store_shared(p.shared, at, Value::Var(*v));
                    }
                }
            }
            w.close(open);
        }
    }

    /// Starts to copy the chunk from step `k0` on, as [`Panel::fetch`] and [`Panel::deposit`] would.
    pub fn copy(&self, w: &mut Writer<'_>, range: [Value; 2], stage: Value) {
        for item in &self.items {
            let open = w.open(item.there);
            let Element { from, at, inside, .. } = self.find(w, item, range);
            let to = (self.places.shared, self.place(w, item, stage));
            w.statement(Stmt::Tensor(Tensor::CopyAsync { to, from: (from, at), valid: inside }));
            w.close(open);
        }
    }

    fn place(&self, w: &mut Writer<'_>, item: &Item, stage: Value) -> Value {
        let at = w.mul(stage, Value::index(self.places.stage));
        let at = w.mul_add(item.local, Value::index(self.places.across), at);
        w.mul_add(item.step, Value::index(self.places.along), at)
    }
}

/// Row (column) and step of a thread's `i`-th item, and whether there is one. Neighbouring threads bring what lies side by
/// side in memory.
fn position(w: &mut Writer<'_>, e: &Extent, layout: &Layout, i: usize) -> (Value, Value, Value) {
    let thread = w.thread();
    let (inner, total) = match layout.along {
        true => (e.depth / layout.width, e.tile * e.depth / layout.width),
        false => (e.tile / layout.width, e.tile * e.depth / layout.width),
    };
    let (outer_at, inner_at) = match THREADS.is_multiple_of(inner) {
        true => {
            let (outer, at) = w.div_rem(thread, inner);
            (w.add(outer, Value::index(i * (THREADS / inner))), at)
        }
        false => {
            let number = w.add(thread, Value::index(i * THREADS));
            w.div_rem(number, inner)
        }
    };
    let left = total - i * THREADS;
    let there = if left >= THREADS { Value::bool(true) } else { w.lt(thread, Value::index(left)) };
    let inner_at = w.mul(inner_at, Value::index(layout.width));
    if layout.along { (outer_at, inner_at, there) } else { (inner_at, outer_at, there) }
}
