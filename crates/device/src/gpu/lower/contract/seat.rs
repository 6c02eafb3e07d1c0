//! Where a group is: its product, its piece of the sum, its tile.

use super::super::Writer;
use super::super::loops::unravel;
use super::Task;
use super::operand::Coordinates;
use super::tile::Cut;
use crate::gpu::ir::Value;

/// A group's place.
pub struct Seat {
    /// Number of the product, and its coordinates.
    pub number: Value,
    /// The product's coordinates.
    pub batch: Coordinates,
    /// Piece of the sum.
    pub piece: Value,
    /// First row of the tile.
    pub m0: Value,
    /// First column of the tile.
    pub n0: Value,
}

impl Seat {
    /// Of the group that runs. Tiles of the same rows follow each other, so that they find A in a cache.
    pub fn new(w: &mut Writer<'_>, t: &Task<'_>, cut: &Cut) -> Seat {
        let ([tile_m, tile_n], [tiles_m, tiles_n]) = (cut.tile.size(), cut.tile.count(&t.sizes));
        let group = w.group();
        let at = unravel(w, group, &[t.sizes.batches, cut.pieces, tiles_m, tiles_n]);
        let (m0, n0) = (w.mul(at[2], Value::index(tile_m)), w.mul(at[3], Value::index(tile_n)));
        Seat { number: at[0], batch: t.operand.batch(w, at[0]), piece: at[1], m0, n0 }
    }
}
