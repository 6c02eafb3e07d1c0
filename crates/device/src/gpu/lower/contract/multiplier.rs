//! What multiplies faster than threads do: tensor cores, or subgroups with cooperative matrices, whose tiles are here.

use super::tile::{Engine, THREADS, Tile};
use crate::gpu::ir::{MmaType, in_shared};
use crate::gpu::launch::Abilities;
use thalweg_base::DType;

/// What multiplies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Multiplier {
    /// Tensor cores.
    Tensor(MmaType),
    /// Cooperative matrices.
    Matrices(Squares),
}

/// Cooperative matrices of one type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Squares {
    /// Type of the factors: f32 or f16.
    pub dtype: DType,
    /// Rows and columns.
    pub size: usize,
    /// Threads of a subgroup, least and most.
    pub subgroup: [u32; 2],
}

impl Multiplier {
    /// Of operands of a type, where there is one.
    pub fn of(dtype: DType, abilities: &Abilities) -> Option<Multiplier> {
        let ty = match dtype {
            DType::F16 => Some(MmaType::F16),
            DType::BF16 => Some(MmaType::Bf16),
            DType::F32 => abilities.tf32.then_some(MmaType::Tf32),
            DType::Bool | DType::U8 | DType::U32 | DType::I32 => None,
        };
        let matrices = abilities.matrices.and_then(|m| {
            let squares = |size| Squares { dtype, size, subgroup: m.subgroup };
            m.size(dtype).map(squares).map(Multiplier::Matrices)
        });
        ty.filter(|_| abilities.tensor).map(Multiplier::Tensor).or(matrices)
    }
}

/// Rows and columns of the tiles of cooperative matrices.
const TILES: [[usize; 2]; 5] = [[128, 64], [64, 64], [64, 32], [32, 64], [32, 32]];

/// Chunks in shared memory at a time, where subgroups multiply.
pub const STAGES: usize = 2;

/// The tiles of cooperative matrices. A chunk is of 64 bytes along the sum. A tile is halved, the longer side first, for as many
/// subgroups as a group surely has, or until each has one matrix; of equal sides columns, as what sums pass through is as long as
/// there are subgroups one below another.
pub fn matrix_tiles(of: Squares) -> [Tile; 5] {
    let most = THREADS / of.subgroup[1] as usize;
    TILES.map(|[m, n]| {
        let (mut down, mut across, [mut rows, mut cols]) = (1, 1, [m / of.size, n / of.size]);
        while down * across < most && rows * cols > 1 {
            if rows > cols {
                (down, rows) = (2 * down, rows / 2);
            } else {
                (across, cols) = (2 * across, cols / 2);
            }
        }
        let engine = Engine::Subgroups { of, down, across, rows, cols };
        Tile { engine, depth: 64 / in_shared(of.dtype) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_divided_among_the_subgroups_there_are() {
        for (size, most) in [(8, 8), (8, 32), (8, 64), (8, 128), (16, 32), (16, 64), (16, 128)] {
            let of = Squares { dtype: DType::F16, size, subgroup: [8, most] };
            for (tile, wanted) in matrix_tiles(of).iter().zip(TILES) {
                let Engine::Subgroups { down, across, .. } = tile.engine else {
                    panic!("a table of subgroups")
                };
                assert_eq!(tile.size(), wanted);
                assert!(down * across * most as usize <= THREADS, "{tile:?}");
                // As NVIDIA's shaders may have; Apple's and Mesa's 32 KiB for all but the largest.
                let room = if wanted == TILES[0] { 48 << 10 } else { 32 << 10 };
                assert!(tile.shared_bytes() <= room, "{tile:?}");
            }
        }
    }
}
