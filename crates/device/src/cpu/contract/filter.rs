//! The filter gradient: a product whose rows are the filter's (tap, channel), whose columns are output channels,
//! and whose reduction runs over the output pixels of all images.
//!
//! Padding costs nothing: each tap is summed over the rectangle of output pixels whose source lies in the image;
//! taps with the same rectangle form a class. Images are summed in groups of about as many pixels as a panel has
//! rows, each group added to the result in order. Invariant: groups start at a part's first image, so the result
//! depends on `parts` but not on how units are cut.

use super::depthwise::Gradient;
use super::finish::Finish;
use super::product::{Columns, Pass, Reduction, Right};
use super::tile::{Row, Seg, Store};
use super::vector::dispatch;
use crate::cpu::{Bases, Isa};
use crate::plan::BufferId;
use std::ops::Range;
use thalweg_base::{ConvDims, Window};

/// Rows of a unit (dense) and channels of a unit (depthwise).
const ROWS: usize = 8;
const CHANNELS: usize = 16;

/// Taps that are summed over the same pixels.
struct Class {
    rows: Vec<Row>,
    /// Over a group of images, and over a single one where the images do not fill the last group.
    group: Reduction,
    single: Reduction,
}

/// A filter gradient.
pub(super) struct Filter {
    isa: Isa,
    d: ConvDims,
    a: BufferId,
    dy: BufferId,
    out: BufferId,
    parts: usize,
    depthwise: bool,
    classes: Vec<Class>,
    columns: Columns,
    group: usize,
    finish: Finish,
}

/// First image, first output gradient, and the result.
#[derive(Clone, Copy)]
struct Operands {
    a: *const f32,
    dy: *const f32,
    out: *mut f32,
}

/// What of the result is asked for.
#[derive(Clone)]
enum Share {
    All,
    Units(Range<usize>),
}

impl Filter {
    pub fn new(d: &ConvDims, buffers: [BufferId; 3], parts: usize, finish: Finish, isa: Isa) -> Filter {
        let (cg, kg) = (d.c / d.groups, d.k / d.groups);
        let depthwise = d.is_depthwise();
        let columns = Columns::new(isa, d.groups, kg, cg as isize, kg, 1);
        let group = (2 * columns.depth / (d.oh * d.ow)).clamp(1, d.n.max(1));
        let mut keys: Vec<[Range<usize>; 2]> = Vec::new();
        let mut classes: Vec<Class> = Vec::new();
        for r in 0..d.rows.size {
            for s in 0..d.cols.size {
                let key = [valid(&d.rows, r, d.h, d.oh), valid(&d.cols, s, d.w, d.ow)];
                let at = keys.iter().position(|k| *k == key).unwrap_or_else(|| {
                    let reduction = |images| pixels(d, &key, images, columns.depth);
                    let (group, single) = (reduction(group), reduction(1));
                    classes.push(Class { rows: Vec::new(), group, single });
                    keys.push(key);
                    keys.len() - 1
                });
                let tap = r * d.cols.size + s;
                let a = (r * d.rows.dilation * d.w + s * d.cols.dilation) * d.c;
                let row = |c: usize| Row { a: (a + c) as isize, c: (tap * cg + c) * d.k };
                classes[at].rows.extend((0..cg).map(row));
            }
        }
        let [a, dy, out] = buffers;
        Filter { isa, d: *d, a, dy, out, parts, depthwise, classes, columns, group, finish }
    }

    pub fn worker_bytes(&self) -> usize {
        self.finish.scratch()
    }

    pub fn units(&self) -> usize {
        match () {
            () if self.parts > 1 => self.parts,
            () if self.depthwise => self.d.c.div_ceil(CHANNELS),
            () => self.classes.iter().map(|c| c.rows.len().div_ceil(ROWS)).sum(),
        }
    }

    /// # Safety
    /// As for `Prepared::run`.
    pub unsafe fn run(&self, units: Range<usize>, bases: &Bases, worker: *mut u8) {
        let n = self.d.n;
        // SAFETY: as for this function.
        unsafe {
            if self.parts > 1 {
                for p in units {
                    self.run_part(p, p * n / self.parts..(p + 1) * n / self.parts, bases);
                }
                return;
            }
            let out = bases.get(self.out).cast();
            let share = Share::Units(units);
            self.sum(&share, 0..n, bases, out);
            self.apply(&share, bases, out, worker);
        }
    }

    /// # Safety
    /// As for `Prepared::run_part`.
    pub unsafe fn run_part(&self, part: usize, images: Range<usize>, bases: &Bases) {
        let len = self.d.filter().iter().product::<usize>();
        // SAFETY: as for this function.
        unsafe {
            let out = bases.get(self.out).cast::<f32>().add(part * len);
            if images.is_empty() {
                out.write_bytes(0, len);
            }
            self.sum(&Share::All, images, bases, out);
        }
    }

    /// Rows of each class in a share.
    fn rows(&self, share: &Share) -> impl Iterator<Item = (&Class, Range<usize>)> {
        let units = match share {
            Share::All => 0..usize::MAX,
            Share::Units(u) => u.clone(),
        };
        let mut first = 0;
        self.classes.iter().filter_map(move |class| {
            let count = class.rows.len().div_ceil(ROWS);
            let from = units.start.max(first) - first;
            let to = units.end.min(first + count).saturating_sub(first);
            first += count;
            (from < to).then(|| (class, from * ROWS..(to * ROWS).min(class.rows.len())))
        })
    }

    fn reduction<'a>(&self, class: &'a Class, images: usize) -> &'a Reduction {
        if images == self.group { &class.group } else { &class.single }
    }

    fn channels(&self, share: &Share) -> Range<usize> {
        match share {
            Share::All => 0..self.d.c,
            Share::Units(u) => u.start * CHANNELS..(u.end * CHANNELS).min(self.d.c),
        }
    }

    unsafe fn sum(&self, share: &Share, images: Range<usize>, bases: &Bases, out: *mut f32) {
        let d = &self.d;
        // SAFETY: as for `run`.
        unsafe {
            let mut image = images.start;
            while image < images.end {
                let left = images.end - image;
                let count = if left >= self.group { self.group } else { 1 };
                let a = bases.get(self.a).cast::<f32>().add(image * d.h * d.w * d.c).cast_const();
                let dy = bases.get(self.dy).cast::<f32>().add(image * d.oh * d.ow * d.k).cast_const();
                let on = Operands { a, dy, out };
                let store = Store {
                    accumulate: image > images.start,
                    ..if count == left && self.parts == 1 {
                        self.finish.store(bases)
                    } else {
                        Store::plain(false)
                    }
                };
                if self.depthwise {
                    self.depthwise(self.channels(share), count, on, store);
                } else {
                    self.dense(share, count, on, store);
                }
                image += count;
            }
        }
    }

    unsafe fn dense(&self, share: &Share, images: usize, on: Operands, store: Store) {
        for (class, rows) in self.rows(share) {
            let reduction = self.reduction(class, images);
            let pass = Pass {
                reduction,
                cuts: 0..reduction.cuts.len(),
                columns: &self.columns,
                blocks: 0..self.columns.blocks.len(),
                rows: &class.rows[rows],
                a: on.a,
                a_j: (self.d.cols.stride * self.d.c) as isize,
                b: Right::InPlace { ptr: on.dy, pitch: self.d.k },
                next: std::ptr::null(),
                c: on.out,
                store,
            };
            // SAFETY: as for `run`; the classes' pixels lie in both images.
            unsafe { pass.run() };
        }
    }

    unsafe fn depthwise(&self, channels: Range<usize>, images: usize, on: Operands, store: Store) {
        let cuts = self.classes.iter().map(|c| self.reduction(c, images).cuts.len()).max().unwrap_or(0);
        // All taps of about the same pixels and of few channels, while those are in the first-level cache.
        for n in 0..cuts {
            for from in channels.clone().step_by(2 * CHANNELS) {
                let to = (from + 2 * CHANNELS).min(channels.end);
                for class in &self.classes {
                    let sum = self.reduction(class, images);
                    let Some(cut) = sum.cuts.get(n) else { continue };
                    let last = n + 1 == sum.cuts.len();
                    for row in &class.rows {
                        let job = Gradient {
                            channels: self.d.c,
                            from,
                            to,
                            segs: &sum.segs[cut.segs.clone()],
                            a_j: (self.d.cols.stride * self.d.c) as isize,
                            a: on.a.wrapping_offset(row.a),
                            dy: on.dy,
                            c: on.out.wrapping_add(row.c),
                            store: Store {
                                accumulate: store.accumulate || n > 0,
                                ..if last { store } else { Store::plain(false) }
                            },
                        };
                        // SAFETY: as for `run`; the classes' pixels lie in both images.
                        unsafe { dispatch(self.isa, job) };
                    }
                }
            }
        }
    }

    /// The epilogue over finished rows of the result.
    unsafe fn apply(&self, share: &Share, bases: &Bases, out: *mut f32, worker: *mut u8) {
        let [_, size, cg, k] = self.d.filter();
        let one = |row: usize, from: usize, cols: usize| {
            let origin = [row / cg / size, row / cg % size, row % cg, from];
            // SAFETY: as for `run`.
            unsafe {
                let c = out.add(row * k + from);
                self.finish.apply(bases, origin, [1, cols], (c, k), worker);
            }
        };
        if self.depthwise {
            let channels = self.channels(share);
            (0..self.d.rows.size * size).for_each(|tap| one(tap, channels.start, channels.len()));
        } else {
            for (class, rows) in self.rows(share) {
                class.rows[rows].iter().for_each(|row| one(row.c / k, 0, k));
            }
        }
    }
}

/// Output pixels of an axis whose tap `k` lies in the image.
fn valid(w: &Window, k: usize, input: usize, output: usize) -> Range<usize> {
    let inside = |o: &usize| w.source(*o, k, input).is_some();
    let from = (0..output).find(inside).unwrap_or(0);
    from..(from..output).take_while(inside).last().map_or(from, |o| o + 1)
}

/// The pixels of a class in so many images.
fn pixels(d: &ConvDims, [rows, cols]: &[Range<usize>; 2], images: usize, depth: usize) -> Reduction {
    let mut sum = Reduction::default();
    if cols.is_empty() {
        sum.cut(0, depth);
        return sum;
    }
    for n in 0..images {
        for y in rows.clone() {
            let top = (n * d.h + y * d.rows.stride) as isize - d.rows.lo as isize;
            let left = (cols.start * d.cols.stride) as isize - d.cols.lo as isize;
            let a = (top * d.w as isize + left) * d.c as isize;
            let b = (n * d.oh + y) * d.ow + cols.start;
            sum.segs.push(Seg { a, b, len: cols.len() });
        }
    }
    sum.cut((d.cols.stride * d.c) as isize, 2 * depth);
    sum
}
