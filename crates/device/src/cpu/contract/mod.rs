//! Matrix products and convolutions.
//!
//! [`Prepared`] turns a [`Contraction`] into tables and sizes once, when a plan is loaded; `pack` and `run` then
//! only follow them. Work is cut into independent units. Invariants: nothing here allocates after `new`, and a
//! result does not depend on how units are cut or on how many workers run them.

mod axis;
mod conv;
mod deep;
mod depthwise;
mod direct;
mod dot;
mod expanded;
mod filter;
mod finish;
mod flipped;
mod peak;
mod product;
mod sparse;
mod store;
mod thin;
mod tile;
mod vector;
mod winograd;

use super::{Bases, Isa, Target};
use crate::plan::{Contraction, Product};
use conv::{Conv, Direction};
use deep::Deep;
use dot::Dot;
use expanded::Expanded;
use filter::Filter;
use finish::Finish;
use flipped::Flipped;
pub use peak::peak_flops;
use sparse::{SparseFilter, SparseInput};
use std::ops::Range;
use thin::Thin;
use winograd::{Stripes, Winograd, WinogradFilter};

/// What a worker has at hand while it runs units.
#[derive(Clone, Copy)]
struct Desk<'a> {
    bases: &'a Bases,
    /// Packed operands, or partial sums.
    shared: *mut u8,
    /// The worker's own scratch.
    worker: *mut u8,
}

/// Where convolutions run by Winograd's algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transforms {
    /// Nowhere.
    Never,
    /// Where that is faster.
    WhereFaster,
    /// Wherever it is possible.
    WherePossible,
}

/// A contraction, ready to run.
pub struct Prepared {
    kind: Kind,
}

enum Kind {
    Dot(Dot),
    Deep(Deep),
    Flipped(Flipped),
    Conv(Conv),
    Expanded(Box<Expanded>),
    Thin(Thin),
    Stripes(Stripes),
    Winograd(Winograd),
    Filter(Filter),
    WinogradFilter(WinogradFilter),
    SparseInput(SparseInput),
    SparseFilter(SparseFilter),
}

impl Prepared {
    /// Lays out the work for instructions that this processor has.
    pub fn new(c: &Contraction, target: Target) -> Prepared {
        Prepared::with(c, target.isa, if target.exact { Transforms::Never } else { Transforms::WhereFaster })
    }

    /// As `new`, with Winograd's algorithm under other rules than the target's: for tests and measurements.
    pub fn with(c: &Contraction, isa: Isa, transforms: Transforms) -> Prepared {
        let buffers = [c.a, c.b, c.out];
        let space = match c.product {
            Product::Dot(d) => vec![d.batch, d.m, d.n],
            Product::Conv(d) => d.output().to_vec(),
            Product::ConvInputGrad(d) => d.image().to_vec(),
            Product::ConvFilterGrad(d) => d.filter().to_vec(),
        };
        let finish = Finish::new(c.epilogue.as_ref(), &space, c.out, isa);
        let kind = match (&c.product, &c.unpooled) {
            (Product::ConvInputGrad(d), Some(u)) => {
                Kind::SparseInput(SparseInput::new(d, u, buffers, finish, isa))
            }
            (Product::ConvFilterGrad(d), Some(u)) => {
                Kind::SparseFilter(SparseFilter::new(d, u, buffers, c.parts, isa))
            }
            (Product::Dot(d), _) if Deep::fits(d) => Kind::Deep(Deep::new(*d, buffers, finish, isa)),
            (Product::Dot(d), _) if Flipped::fits(d) => Kind::Flipped(Flipped::new(*d, buffers, finish, isa)),
            (Product::Dot(d), _) => Kind::Dot(Dot::new(*d, buffers, finish, isa)),
            (Product::Conv(d), _) if c.expansion.is_some() => {
                let x = c.expansion.as_ref().expect("it is some");
                Kind::Expanded(Box::new(Expanded::new(d, x, buffers, finish, isa)))
            }
            (Product::Conv(d), _) if Stripes::suits(d, &finish, isa, transforms) => {
                let pool = c.epilogue.as_ref().and_then(|e| e.pool).expect("what has windows pools");
                Kind::Stripes(Stripes::new(d, pool, buffers, finish, isa))
            }
            (Product::Conv(d), _) if winograd::suits(d, [d.oh, d.ow], &finish, transforms) => {
                Kind::Winograd(Winograd::new(d, Direction::Forward, buffers, finish, isa))
            }
            (Product::ConvInputGrad(d), None) if winograd::suits(d, [d.h, d.w], &finish, transforms) => {
                Kind::Winograd(Winograd::new(d, Direction::InputGrad, buffers, finish, isa))
            }
            (Product::Conv(d), _) if Thin::fits(d, &finish, isa) => {
                let pool = c.epilogue.as_ref().and_then(|e| e.pool).expect("what is thin pools");
                Kind::Thin(Thin::new(d, pool, buffers, finish, isa))
            }
            (Product::Conv(d), _) => Kind::Conv(Conv::new(d, Direction::Forward, buffers, finish, isa)),
            (Product::ConvInputGrad(d), None) => {
                Kind::Conv(Conv::new(d, Direction::InputGrad, buffers, finish, isa))
            }
            (Product::ConvFilterGrad(d), None) if winograd::suits_filter(d, c.parts, transforms) => {
                Kind::WinogradFilter(WinogradFilter::new(d, buffers, c.parts, finish, isa))
            }
            (Product::ConvFilterGrad(d), None) => Kind::Filter(Filter::new(d, buffers, c.parts, finish, isa)),
        };
        Prepared { kind }
    }

    /// Bytes that all workers share, one copy per program: packed operands, filled by [`Prepared::pack`] before a run, or
    /// partial sums.
    pub fn shared_bytes(&self) -> usize {
        match &self.kind {
            Kind::Dot(x) => x.shared_bytes(),
            Kind::Deep(x) => x.shared_bytes(),
            Kind::Conv(x) => x.shared_bytes(),
            Kind::Expanded(x) => x.shared_bytes(),
            Kind::Stripes(x) => x.shared_bytes(),
            Kind::Winograd(x) => x.shared_bytes(),
            Kind::SparseInput(x) => x.shared_bytes(),
            Kind::Flipped(_)
            | Kind::Thin(_)
            | Kind::Filter(_)
            | Kind::WinogradFilter(_)
            | Kind::SparseFilter(_) => 0,
        }
    }

    /// Bytes of scratch each worker needs, aligned to 64.
    pub fn worker_bytes(&self) -> usize {
        match &self.kind {
            Kind::Dot(x) => x.worker_bytes(),
            Kind::Deep(x) => x.worker_bytes(),
            Kind::Flipped(x) => x.worker_bytes(),
            Kind::Conv(x) => x.worker_bytes(),
            Kind::Expanded(x) => x.worker_bytes(),
            Kind::Thin(x) => x.worker_bytes(),
            Kind::Stripes(x) => x.worker_bytes(),
            Kind::Winograd(x) => x.worker_bytes(),
            Kind::Filter(x) => x.worker_bytes(),
            Kind::WinogradFilter(x) => x.worker_bytes(),
            Kind::SparseInput(x) => x.worker_bytes(),
            Kind::SparseFilter(x) => x.worker_bytes(),
        }
    }

    /// Independent pieces of packing; 0 where operands are used in place.
    pub fn pack_units(&self) -> usize {
        match &self.kind {
            Kind::Dot(x) => x.pack_units(),
            Kind::Conv(x) => x.pack_units(),
            Kind::Expanded(x) => x.pack_units(),
            Kind::Stripes(x) => x.pack_units(),
            Kind::Winograd(x) => x.pack_units(),
            Kind::SparseInput(x) => x.pack_units(),
            Kind::Deep(_)
            | Kind::Flipped(_)
            | Kind::Thin(_)
            | Kind::Filter(_)
            | Kind::WinogradFilter(_)
            | Kind::SparseFilter(_) => 0,
        }
    }

    /// Packs some pieces of the right operand.
    ///
    /// # Safety
    /// The right operand's buffer is complete and not written meanwhile; `shared` has
    /// [`Prepared::shared_bytes`]; no two workers pack the same unit at once.
    pub unsafe fn pack(&self, units: Range<usize>, bases: &Bases, shared: *mut u8) {
        // SAFETY: as for this function.
        unsafe {
            match &self.kind {
                Kind::Dot(x) => x.pack(units, bases, shared),
                Kind::Conv(x) => x.pack(units, bases, shared),
                Kind::Expanded(x) => x.pack(units, bases, shared),
                Kind::Stripes(x) => x.pack(units, bases, shared),
                Kind::Winograd(x) => x.pack(units, bases, shared),
                Kind::SparseInput(x) => x.pack(units, bases, shared),
                Kind::Deep(_)
                | Kind::Flipped(_)
                | Kind::Thin(_)
                | Kind::Filter(_)
                | Kind::WinogradFilter(_)
                | Kind::SparseFilter(_) => {}
            }
        }
    }

    /// Before the units of a run: what an aborted one may have left is forgotten.
    pub fn begin(&self) {
        if let Kind::Deep(x) = &self.kind {
            x.begin();
        }
    }

    /// Number of independent units.
    pub fn units(&self) -> usize {
        match &self.kind {
            Kind::Dot(x) => x.units(),
            Kind::Deep(x) => x.units(),
            Kind::Flipped(x) => x.units(),
            Kind::Conv(x) => x.units(),
            Kind::Expanded(x) => x.units(),
            Kind::Thin(x) => x.units(),
            Kind::Stripes(x) => x.units(),
            Kind::Winograd(x) => x.units(),
            Kind::Filter(x) => x.units(),
            Kind::WinogradFilter(x) => x.units(),
            Kind::SparseInput(x) => x.units(),
            Kind::SparseFilter(x) => x.units(),
        }
    }

    /// Runs some units. Longer ranges are a little faster: they share panels.
    ///
    /// # Safety
    /// The processor has the instruction set; the kernel's buffers are valid for these units, operands are
    /// complete, nobody else writes these units; `shared` was packed; `worker` is this worker's own
    /// [`Prepared::worker_bytes`], 64-aligned.
    pub unsafe fn run(&self, units: Range<usize>, bases: &Bases, shared: *mut u8, worker: *mut u8) {
        let desk = Desk { bases, shared, worker };
        // SAFETY: as for this function.
        unsafe {
            match &self.kind {
                Kind::Dot(x) => x.run(units, desk),
                Kind::Deep(x) => x.run(units, desk),
                Kind::Flipped(x) => x.run(units, desk),
                Kind::Conv(x) => x.run(units, desk),
                Kind::Expanded(x) => x.run(units, desk),
                Kind::Thin(x) => x.run(units, desk),
                Kind::Stripes(x) => x.run(units, desk),
                Kind::Winograd(x) => x.run(units, desk),
                Kind::Filter(x) => x.run(units, bases, worker),
                Kind::WinogradFilter(x) => x.run(units, bases, worker),
                Kind::SparseInput(x) => x.run(units, bases, shared, worker),
                Kind::SparseFilter(x) => x.run(units, bases, worker),
            }
        }
    }

    /// Runs a slice of a region, number `slice`: some steps of the kernel's axis 0 (images; rows of a plain matrix
    /// product). Of a filter gradient, which sums over them, it writes partial result `slice`.
    ///
    /// # Safety
    /// As for [`Prepared::run`], of these images.
    pub unsafe fn run_images(
        &self,
        slice: usize,
        images: Range<usize>,
        bases: &Bases,
        shared: *mut u8,
        worker: *mut u8,
    ) {
        let desk = Desk { bases, shared, worker };
        let units = |per: usize| images.start * per..images.end * per;
        // SAFETY: as for this function.
        unsafe {
            match &self.kind {
                Kind::Dot(x) => x.run(units(x.units_per_image()), desk),
                Kind::Deep(_) | Kind::Flipped(_) => {
                    unreachable!("a region has no products of examples' rows")
                }
                Kind::Conv(x) => x.run(units(x.units_per_image()), desk),
                Kind::Expanded(x) => x.run(units(x.units_per_image()), desk),
                Kind::SparseInput(x) => x.run(images, bases, shared, worker),
                Kind::Thin(x) => x.run(units(x.units_per_image()), desk),
                Kind::Stripes(x) => x.run(units(x.units_per_image()), desk),
                Kind::Winograd(x) => x.run_images(images, desk),
                Kind::Filter(x) => x.run_part(slice, images, bases),
                Kind::WinogradFilter(x) => x.run_part(slice, images, bases, worker),
                Kind::SparseFilter(x) => x.run_part(slice, images, bases, worker),
            }
        }
    }
}
