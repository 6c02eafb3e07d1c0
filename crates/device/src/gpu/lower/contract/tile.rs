//! Which tile of C a group computes, and into how many pieces the sum is cut: all there are, and the cheapest by a rough
//! account of what a GPU does with it.
//!
//! In: the product's sizes and the GPU's. Out: [`Cut`]s. The account counts clocks of one unit (a multiprocessor) and is
//! there to rank tiles, not to tell times: multiplications or reads of shared memory, whichever are more, against the time
//! that memory takes to answer; groups beyond what all units hold wait for a second round. It chooses among the tiles it
//! knows well; others ([`OTHERS`], [`OTHER_TENSOR_TILES`]) have to be measured. Invariant: what there is and what it chooses
//! depends on sizes and abilities alone, and with it the order of every sum.

use super::Sizes;
use super::fragments::{M, N, steps};
use super::multiplier::{Multiplier, STAGES, Squares, matrix_tiles};
use crate::gpu::ir::{MmaType, in_shared};
use crate::gpu::launch::Abilities;
use crate::gpu::lower::MOST;

/// Threads of a group: as many as element-wise kernels have, so that small launches can be merged with theirs.
pub const THREADS: usize = 256;
/// Threads that a unit holds at a time.
const THREADS_PER_UNIT: usize = 2048;
/// Clocks until memory answers.
const LATENCY: usize = 700;
/// Clocks that a group takes besides its sum.
const FIXED: usize = 2000;
/// Clocks of a second launch that adds pieces, and bytes a unit moves in a clock.
const LAUNCH: usize = 4000;
const BYTES: usize = 12;
/// Chunks of the sum that a piece has at least.
const CHUNKS: usize = 4;

/// What multiplies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// Each thread a rectangle of sums in registers. `slices` teams share the steps of a chunk and add up at the end.
    Threads {
        /// Threads of a team.
        down: usize,
        /// Threads of a team.
        across: usize,
        /// Teams.
        slices: usize,
        /// Sums of a thread.
        rows: usize,
        /// Sums of a thread: fours, `4 * across` columns apart.
        cols: usize,
    },
    /// Warps on tensor cores.
    Warps {
        /// What they multiply.
        ty: MmaType,
        /// Warps.
        down: usize,
        /// Warps.
        across: usize,
        /// Fragments of 16 rows of a warp.
        rows: usize,
        /// Fragments of 8 columns of a warp: an even number.
        cols: usize,
        /// Chunks in shared memory at a time.
        stages: usize,
    },
    /// Subgroups with cooperative matrices.
    Subgroups {
        /// Which matrices.
        of: Squares,
        /// Subgroups that multiply.
        down: usize,
        /// Subgroups that multiply.
        across: usize,
        /// Matrices of a subgroup's sums.
        rows: usize,
        /// Matrices of a subgroup's sums.
        cols: usize,
    },
}

/// A tile: what multiplies, and how many steps of the sum are in shared memory at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tile {
    /// What multiplies.
    pub engine: Engine,
    /// Steps of a chunk.
    pub depth: usize,
}

/// How a product is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// What a group computes.
    pub tile: Tile,
    /// Pieces of the sum.
    pub pieces: usize,
}

impl Cut {
    /// Elements of scratch memory, which hold the pieces' sums; none where there is one piece.
    pub fn scratch(&self, s: &Sizes) -> usize {
        if self.pieces == 1 {
            0
        } else {
            [self.pieces, s.batches, s.m, s.n].into_iter().fold(1, usize::saturating_mul)
        }
    }
}

const fn threads(team: [usize; 2], slices: usize, each: [usize; 2], depth: usize) -> Tile {
    let ([down, across], [rows, cols]) = (team, each);
    Tile { engine: Engine::Threads { down, across, slices, rows, cols }, depth }
}

const TILES: [Tile; 7] = [
    threads([16, 16], 1, [8, 8], 8),
    threads([16, 16], 1, [8, 4], 8),
    threads([16, 16], 1, [4, 4], 16),
    threads([32, 8], 1, [4, 4], 16),
    threads([16, 8], 2, [4, 4], 16),
    threads([8, 16], 2, [4, 4], 16),
    threads([8, 8], 4, [4, 4], 32),
];

/// Tiles beside these that only a measurement chooses.
const OTHERS: [Tile; 6] = [
    threads([16, 16], 1, [8, 8], 16),
    threads([16, 16], 1, [4, 8], 16),
    threads([8, 32], 1, [8, 4], 16),
    threads([32, 8], 1, [8, 4], 16),
    threads([16, 16], 1, [4, 4], 32),
    threads([16, 8], 2, [8, 4], 16),
];

/// With tensor cores: warps, fragments of each, stages, multiplications along a chunk's sum.
type Warps = ([usize; 2], [usize; 2], usize, usize);

/// More stages where there is more shared memory. A chunk is of 64 bytes along the sum, two multiplications.
const TENSOR_TILES: [Warps; 6] = [
    ([2, 4], [4, 4], 4, 2),
    ([2, 4], [4, 4], 2, 2),
    ([4, 2], [2, 4], 3, 2),
    ([2, 4], [2, 2], 4, 2),
    ([2, 4], [1, 4], 4, 2),
    ([4, 2], [2, 2], 4, 2),
];

/// Tiles beside these that only a measurement chooses.
const OTHER_TENSOR_TILES: [Warps; 7] = [
    ([4, 2], [2, 8], 2, 2),
    ([2, 4], [4, 2], 3, 2),
    ([2, 4], [2, 4], 3, 2),
    ([4, 2], [1, 4], 4, 2),
    ([2, 4], [2, 2], 2, 4),
    ([2, 4], [4, 2], 2, 2),
    ([2, 4], [1, 2], 3, 4),
];

/// The tiles of tensor cores.
fn tensor_tiles(ty: MmaType, of: &[Warps]) -> Vec<Tile> {
    let tile = |&([down, across], [rows, cols], stages, multiplications): &Warps| Tile {
        engine: Engine::Warps { ty, down, across, rows, cols, stages },
        depth: multiplications * steps(ty),
    };
    of.iter().map(tile).collect()
}

/// Bytes of an element in shared memory.
fn bytes(ty: MmaType) -> usize {
    match ty {
        MmaType::Tf32 => 4,
        MmaType::F16 | MmaType::Bf16 => 2,
    }
}

impl Tile {
    /// Rows and columns.
    pub fn size(&self) -> [usize; 2] {
        match self.engine {
            Engine::Threads { down, across, rows, cols, .. } => [down * rows, across * cols],
            Engine::Warps { down, across, rows, cols, .. } => [down * rows * M, across * cols * N],
            Engine::Subgroups { of, down, across, rows, cols } => {
                [down * rows * of.size, across * cols * of.size]
            }
        }
    }

    /// Tiles of a product.
    pub fn count(&self, s: &Sizes) -> [usize; 2] {
        let [m, n] = self.size();
        [s.m.div_ceil(m), s.n.div_ceil(n)]
    }

    /// The tile for windows of a pooling: a thread has all rows of some windows; or matrices do.
    fn pooling(self, pooled: usize) -> Option<Tile> {
        match self.engine {
            Engine::Threads { down, across, slices, rows, cols } => {
                let rows = (rows / pooled * pooled).max(pooled);
                Some(threads([down, across], slices, [rows, cols], self.depth))
            }
            Engine::Warps { rows, .. } => (2 * rows).is_multiple_of(pooled).then_some(self),
            Engine::Subgroups { of, .. } => of.size.is_multiple_of(pooled).then_some(self),
        }
    }

    /// Bytes of shared memory.
    pub fn shared_bytes(&self) -> usize {
        let [m, n] = self.size();
        match self.engine {
            Engine::Threads { slices, .. } => {
                let teams = if slices > 1 { m * n } else { 0 };
                4 * (self.depth * (m + PAD + n + PAD) + teams)
            }
            Engine::Warps { ty, stages, .. } => self.panels(bytes(ty), stages),
            // Besides, a row of matrices of each subgroup's sums: see `subgroups`.
            Engine::Subgroups { of, down, .. } => {
                self.panels(in_shared(of.dtype), STAGES) + 4 * down * of.size * (n + PAD)
            }
        }
    }

    /// Bytes of both panels in stages, whichever way the operands lie: see `panel`.
    fn panels(&self, bytes: usize, stages: usize) -> usize {
        let pad = 16 / bytes;
        let panel = |extent: usize| (self.depth * (extent + 8)).max(extent * (self.depth + pad));
        let [m, n] = self.size();
        bytes * stages * (panel(m) + panel(n))
    }

    /// Clocks of a unit for one chunk of one group, where nothing waits.
    fn work(&self) -> usize {
        let [m, n] = self.size();
        let copies = |bytes: usize| bytes * (m + n) * self.depth / 64;
        match self.engine {
            Engine::Threads { slices, rows, cols, .. } => {
                let multiply = m * n * self.depth / 128;
                // A warp reads four rows at once in one clock, as most of its threads share them; four columns in two.
                let read = THREADS / 32 * (rows.div_ceil(4) + cols / 2) * self.depth / slices;
                multiply.max(read) + copies(4)
            }
            Engine::Warps { ty, down, across, rows, cols, .. } => {
                let multiply = m * n * self.depth / (64 * steps(ty));
                let read = down * across * (rows * 4 + cols * 2) * self.depth / steps(ty);
                multiply.max(read) + copies(bytes(ty)) / 2
            }
            Engine::Subgroups { of, down, across, rows, cols } => {
                let (bytes, steps) = (in_shared(of.dtype), self.depth / of.size);
                let multiply = m * n * self.depth * bytes / 2048;
                let read = down * across * (rows + cols) * steps * of.size * of.size * bytes / 128;
                multiply.max(read) + copies(bytes)
            }
        }
    }

    /// Groups that a unit holds, by the registers of their sums.
    pub fn resident(&self) -> usize {
        let [m, n] = self.size();
        if m * n / THREADS > 16 { 2 } else { 4 }
    }
}

/// Elements between what follows each other in a panel, besides the tile: so that neighbours lie in different banks.
pub const PAD: usize = 4;

/// A product that is to be cut, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    /// Its sizes.
    pub sizes: &'a Sizes,
    /// Pieces of the batch that have results of their own, counted in [`Sizes::batches`].
    pub parts: usize,
    /// What multiplies faster than threads do, where it may.
    pub multiplier: Option<Multiplier>,
    /// The GPU.
    pub abilities: &'a Abilities,
}

impl Whole<'_> {
    /// Multiprocessors.
    pub fn units(&self) -> usize {
        (self.abilities.parallel / THREADS_PER_UNIT).max(1)
    }

    /// Those of these tiles that fit, for its windows.
    fn among(&self, tiles: &[Tile]) -> Vec<Tile> {
        let pooling = tiles.iter().filter_map(|t| t.pooling(self.sizes.pooled));
        pooling.filter(|t| t.shared_bytes() <= self.abilities.shared_bytes).collect()
    }

    /// A tile with every number of pieces whose scratch memory can be indexed.
    fn pieces(&self, tile: Tile) -> impl Iterator<Item = Cut> + use<> {
        let s = *self.sizes;
        let most = if s.pooled > 1 { 1 } else { (s.k / self.parts / (CHUNKS * tile.depth)).max(1) };
        let cuts = (0..7).map(|i| 1 << i).filter(move |&p| p <= most).map(move |pieces| Cut { tile, pieces });
        let scratch = move |cut: &Cut| cut.scratch(&s) <= MOST;
        cuts.filter(scratch)
    }

    /// Clocks of a cut.
    pub fn clocks(&self, cut: &Cut) -> usize {
        let (s, Cut { tile, pieces }) = (self.sizes, *cut);
        let units = self.units();
        let groups = tile.count(s).iter().product::<usize>() * s.batches * pieces;
        let chunks = (s.k / self.parts).div_ceil(pieces).div_ceil(tile.depth);
        let each = groups.div_ceil(units);
        let resident = each.min(tile.resident());
        let ahead = match tile.engine {
            Engine::Threads { .. } | Engine::Subgroups { .. } => 1,
            Engine::Warps { stages, .. } => stages - 1,
        };
        let sums = each.div_ceil(resident) * chunks * (resident * tile.work()).max(LATENCY / ahead) + FIXED;
        match pieces {
            1 => sums,
            _ => sums + LAUNCH + 2 * 4 * pieces * s.batches * s.m * s.n / (units * BYTES),
        }
    }

    /// The cheapest cut of the tiles that the account knows well.
    pub fn cheapest(&self) -> Cut {
        // Where a multiplier may be used it is, as far as a window's rows can be in one thread, or matrix.
        let faster = self.multiplier.map_or(Vec::new(), |m| match m {
            Multiplier::Tensor(ty) => self.among(&tensor_tiles(ty, &TENSOR_TILES)),
            Multiplier::Matrices(of) => self.among(&matrix_tiles(of)),
        });
        let tiles = if faster.is_empty() { self.among(&TILES) } else { faster };
        let cuts = tiles.into_iter().flat_map(|tile| self.pieces(tile));
        cuts.min_by_key(|c| self.clocks(c)).expect("the smallest tile fits any GPU")
    }

    /// Every cut that computes the product here, each once.
    pub fn cuts(&self) -> Vec<Cut> {
        let mut tiles = self.multiplier.map_or(Vec::new(), |m| match m {
            Multiplier::Tensor(ty) => tensor_tiles(ty, &[&TENSOR_TILES[..], &OTHER_TENSOR_TILES].concat()),
            Multiplier::Matrices(of) => matrix_tiles(of).to_vec(),
        });
        tiles.extend(TILES.iter().chain(&OTHERS));
        let mut cuts = Vec::new();
        for cut in self.among(&tiles).into_iter().flat_map(|tile| self.pieces(tile)) {
            // A pooling may make one of two tiles.
            if !cuts.contains(&cut) {
                cuts.push(cut);
            }
        }
        cuts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: Abilities = Abilities { parallel: 132 * 2048, shared_bytes: 48 << 10, ..Abilities::LEAST };

    fn chosen(batches: usize, m: usize, n: usize, k: usize) -> ([usize; 2], usize) {
        let sizes = Sizes { batches, m, n, k, pooled: 1 };
        let cut = Whole { sizes: &sizes, parts: 1, multiplier: None, abilities: &LARGE }.cheapest();
        (cut.tile.size(), cut.pieces)
    }

    #[test]
    fn large_products_have_large_tiles() {
        assert_eq!(chosen(1, 4096, 4096, 4096), ([128, 128], 1));
        assert_eq!(chosen(1, 1 << 16, 64, 576), ([128, 64], 1));
        assert_eq!(chosen(1, 1 << 18, 32, 288), ([128, 32], 1));
    }

    #[test]
    fn few_results_of_long_sums_are_cut_into_pieces() {
        let (tile, pieces) = chosen(1, 32, 64, 2304);
        assert!(tile[0] == 32 && pieces >= 8, "{tile:?} {pieces}");
        assert_eq!(chosen(1, 32, 10, 64), ([32, 32], 1));
    }

    #[test]
    fn scratch_memory_can_be_indexed() {
        let sizes = Sizes { batches: 3, m: 1 << 14, n: 1 << 12, k: 1 << 14, pooled: 1 };
        let cuts = Whole { sizes: &sizes, parts: 1, multiplier: None, abilities: &LARGE }.cuts();
        assert!(cuts.iter().any(|c| c.pieces == 8) && cuts.iter().all(|c| c.scratch(&sizes) <= MOST));
        assert!(cuts.iter().all(|c| c.pieces <= 8), "of 3 * 2^26 results, more than 8 pieces have 2^31");
    }

    #[test]
    fn every_tile_has_whole_groups_and_fits_any_gpu() {
        for (i, tile) in TILES.into_iter().chain(OTHERS).enumerate() {
            let Engine::Threads { down, across, slices, cols, .. } = tile.engine else {
                panic!("a table of threads")
            };
            assert_eq!(down * across * slices, THREADS);
            assert!(cols % 4 == 0 && tile.depth % (4 * slices) == 0);
            let most = if i < TILES.len() { Abilities::LEAST } else { LARGE }.shared_bytes;
            assert!(tile.shared_bytes() <= most, "{tile:?}");
        }
        for pooled in 1..=9 {
            let sizes = Sizes { batches: 1, m: 900 * pooled, n: 7, k: 9, pooled };
            let cut =
                Whole { sizes: &sizes, parts: 1, multiplier: None, abilities: &Abilities::LEAST }.cheapest();
            assert!(cut.tile.size()[0].is_multiple_of(pooled) && cut.pieces == 1, "{cut:?}");
        }
        for ty in [MmaType::Tf32, MmaType::F16, MmaType::Bf16] {
            let others = tensor_tiles(ty, &OTHER_TENSOR_TILES);
            for tile in tensor_tiles(ty, &TENSOR_TILES).into_iter().chain(others.clone()) {
                let Engine::Warps { down, across, cols, .. } = tile.engine else {
                    panic!("a table of warps")
                };
                assert_eq!(32 * down * across, THREADS);
                assert!(cols % 2 == 0, "{tile:?}");
            }
            if ty != MmaType::Tf32 {
                assert!(others.iter().all(|t| t.shared_bytes() <= LARGE.shared_bytes), "{others:?}");
            }
        }
    }

    #[test]
    fn every_cut_is_there_once_and_the_cheapest_is_one() {
        for (m, pooled, multiplier) in [
            (1 << 16, 1, None),
            (900, 9, Some(Multiplier::Tensor(MmaType::F16))),
            (64, 4, Some(Multiplier::Tensor(MmaType::Tf32))),
        ] {
            let sizes = Sizes { batches: 1, m, n: 64, k: 576, pooled };
            let whole = Whole { sizes: &sizes, parts: 1, multiplier, abilities: &LARGE };
            let cuts = whole.cuts();
            assert!(cuts.contains(&whole.cheapest()) && cuts.len() > 8);
            assert!(cuts.iter().enumerate().all(|(i, c)| !cuts[..i].contains(c)));
            assert!(cuts.iter().all(|c| c.tile.shared_bytes() <= LARGE.shared_bytes));
        }
    }
}
