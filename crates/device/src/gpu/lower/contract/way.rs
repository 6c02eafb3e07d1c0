//! The ways in which a product can be computed, and which one is.
//!
//! In: a product and what the GPU can do. Out: a [`Way`], a small value with a text form: the account's, or one that was
//! measured to be faster and is given as text. Invariant: text chooses among the ways that are legal for just this product on
//! just this GPU; any other text chooses nothing, so that a stale or broken cache can cost time but not results.

use super::multiplier::Multiplier;
use super::tile::{Cut, Engine, Whole};
use super::{Share, Task, direct, key, library};
use crate::gpu::call::Library;
use crate::gpu::ir::MmaType;
use crate::gpu::launch::Abilities;
use crate::gpu::tune::Choices;
use crate::plan::Plan;
use std::fmt;

/// Columns below which a tile would be mostly empty, where there are several groups.
const FEW: usize = 8;
/// Elements of a pooling window that a thread may hold.
const MOST_POOLED: usize = 9;
/// Ways that are worth measuring, at most; those of one tile among them; and how many times the account's they may cost.
const PROMISING: usize = 12;
const OF_A_TILE: usize = 3;
const DEARER: usize = 4;
/// Elements of scratch memory, at most, of a way that is not the account's: 256 MiB, so that a tuned program does not need
/// much more memory than it did.
const MOST_SCRATCH: usize = 64 << 20;
/// Rows or columns of the smallest tile: what a product lacks to as many is nobody's waste.
const LEAST: usize = 32;

/// How a product is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// A thread per result, or several that share a sum.
    Direct,
    /// Tiles.
    Tiles(Cut),
    /// A library.
    Library(Library),
    /// A whole as its parts, each in a way of its own.
    Apart,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cut { tile, pieces } = match self {
            Way::Direct => return write!(f, "direct"),
            Way::Library(library) => return write!(f, "{library}"),
            Way::Apart => return write!(f, "apart"),
            Way::Tiles(cut) => cut,
        };
        match tile.engine {
            Engine::Threads { down, across, slices, rows, cols } => {
                write!(f, "threads {down}x{across}x{slices} of {rows}x{cols}")?;
            }
            Engine::Warps { ty, down, across, rows, cols, stages } => {
                write!(f, "{} {down}x{across} of {rows}x{cols} in {stages} stages", name(ty))?;
            }
            Engine::Subgroups { of, down, across, rows, cols } => {
                write!(f, "{} matrices of {} {down}x{across} of {rows}x{cols}", of.dtype, of.size)?;
            }
        }
        write!(f, ", {} deep, {pieces} pieces", tile.depth)
    }
}

fn name(ty: MmaType) -> &'static str {
    match ty {
        MmaType::Tf32 => "tf32",
        MmaType::F16 => "f16",
        MmaType::Bf16 => "bf16",
    }
}

fn whole<'t>(t: &'t Task<'_>, abilities: &'t Abilities) -> Whole<'t> {
    Whole { sizes: &t.sizes, parts: t.c.parts, multiplier: Multiplier::of(t.dtype, abilities), abilities }
}

/// Whether there is something to add up, and a thread can hold a window.
fn tileable(t: &Task<'_>) -> bool {
    t.sizes.pooled <= MOST_POOLED && t.sizes.k > 0
}

/// What a rough account of the GPU's clocks chooses.
pub fn accounted(t: &Task<'_>, abilities: &Abilities) -> Way {
    if t.share == Share::Whole {
        return Way::Apart;
    }
    let narrow = t.groups() > 1 && t.sizes.n < FEW;
    if narrow || !tileable(t) { Way::Direct } else { Way::Tiles(whole(t, abilities).cheapest()) }
}

/// Every way that computes the product.
pub fn legal(t: &Task<'_>, abilities: &Abilities) -> Vec<Way> {
    let libraries = library::ways(t, abilities).into_iter().map(Way::Library);
    match t.share {
        Share::Only => own(t, abilities).into_iter().chain(libraries).collect(),
        Share::Part => own(t, abilities),
        Share::Whole => std::iter::once(Way::Apart).chain(libraries).collect(),
    }
}

/// Every way that is ours.
fn own(t: &Task<'_>, abilities: &Abilities) -> Vec<Way> {
    let cuts = if tileable(t) { whole(t, abilities).cuts() } else { Vec::new() };
    std::iter::once(Way::Direct).chain(cuts.into_iter().map(Way::Tiles)).collect()
}

/// Whether half of a tile or more has no row or no column of the product.
fn half_empty(t: &Task<'_>, way: &Way) -> bool {
    let Way::Tiles(cut) = way else { return false };
    let [m, n] = cut.tile.size();
    m >= 2 * t.sizes.m.max(LEAST) || n >= 2 * t.sizes.n.max(LEAST)
}

/// Whether it needs more memory than another way may.
fn spacious(t: &Task<'_>, way: &Way) -> bool {
    match way {
        Way::Direct | Way::Apart => false,
        Way::Library(_) => library::scratch(t) > MOST_SCRATCH,
        Way::Tiles(cut) => cut.scratch(&t.sizes) > MOST_SCRATCH,
    }
}

/// What is worth measuring: the account's way, then the cheapest by the account, few of one tile, none with more than
/// 256 MiB of scratch memory; and libraries', of which the account knows nothing.
pub fn promising(t: &Task<'_>, abilities: &Abilities) -> Vec<Way> {
    let libraries = library::ways(t, abilities).into_iter().map(Way::Library).filter(|w| !spacious(t, w));
    match t.share {
        Share::Only => cheapest(t, abilities).into_iter().chain(libraries).collect(),
        Share::Part => cheapest(t, abilities),
        Share::Whole => std::iter::once(Way::Apart).chain(libraries).collect(),
    }
}

/// Our own ways that are worth measuring.
fn cheapest(t: &Task<'_>, abilities: &Abilities) -> Vec<Way> {
    let whole = whole(t, abilities);
    let clocks = |way: &Way| match way {
        Way::Library(_) | Way::Apart => unreachable!("the account knows our own ways"),
        Way::Direct => direct::clocks(&t.sizes, t.c.parts, whole.units(), abilities.parallel),
        Way::Tiles(cut) => whole.clocks(cut),
    };
    let first = accounted(t, abilities);
    let most = DEARER * clocks(&first);
    let mut others: Vec<(usize, Way)> = own(t, abilities).into_iter().map(|w| (clocks(&w), w)).collect();
    others.retain(|(clocks, w)| *w != first && *clocks <= most && !half_empty(t, w) && !spacious(t, w));
    others.sort_by_key(|(clocks, _)| *clocks);
    let mut ways = vec![first];
    let same_tile = |a: &Way, b: &Way| match (a, b) {
        (Way::Tiles(a), Way::Tiles(b)) => a.tile == b.tile,
        (Way::Direct, Way::Direct) => true,
        (Way::Direct | Way::Tiles(_) | Way::Library(_) | Way::Apart, _) => false,
    };
    // One of each tile, then more pieces and fewer.
    for each in 1..=OF_A_TILE {
        for (_, way) in &others {
            let there = ways.iter().filter(|w| same_tile(w, way)).count();
            if ways.len() < PROMISING && there < each && !ways.contains(way) {
                ways.push(*way);
            }
        }
    }
    ways
}

/// The way that was chosen for the product, if it is one and no library has refused it; else the account's.
pub fn chosen(plan: &Plan, t: &Task<'_>, abilities: &Abilities, choices: &Choices) -> Way {
    let text = if choices.is_empty() { None } else { choices.get(&key(plan, t, abilities)) };
    let way = text.and_then(|text| legal(t, abilities).into_iter().find(|w| w.to_string() == text));
    let refused = |way: &Way| match way {
        Way::Library(library) => choices.refuses(&library::call(t, *library, abilities)),
        Way::Direct | Way::Tiles(_) | Way::Apart => false,
    };
    way.filter(|way| !refused(way)).unwrap_or_else(|| accounted(t, abilities))
}
