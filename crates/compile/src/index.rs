//! Affine index maps: how the indices of a node follow from the indices of the loop that computes it.
//!
//! Movement operations are never run where they can be an index map: a transposed, sliced, flipped, repeated
//! or reshaped operand is read where it lies.

use thalweg_graph::Op;

/// `offset + sum(strides[d] * loop index d)`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Affine {
    /// Value at loop index 0.
    pub offset: isize,
    /// Per loop axis.
    pub strides: Vec<isize>,
}

impl Affine {
    fn zero(rank: usize) -> Self {
        Affine { offset: 0, strides: vec![0; rank] }
    }

    fn scaled(&self, by: isize) -> Self {
        Affine { offset: self.offset * by, strides: self.strides.iter().map(|s| s * by).collect() }
    }

    fn plus(&self, other: &Affine) -> Self {
        let strides = self.strides.iter().zip(&other.strides).map(|(a, b)| a + b).collect();
        Affine { offset: self.offset + other.offset, strides }
    }

    /// Splits into (quotient, remainder) by `n`, if both are affine over this space.
    fn div_mod(&self, n: isize, space: &[usize]) -> Option<(Affine, Affine)> {
        let mut high = Affine { offset: self.offset.div_euclid(n), strides: vec![0; space.len()] };
        let mut low = Affine { offset: self.offset.rem_euclid(n), strides: vec![0; space.len()] };
        let mut most = low.offset;
        for (d, &s) in self.strides.iter().enumerate() {
            if s % n == 0 {
                high.strides[d] = s / n;
            } else if s > 0 {
                low.strides[d] = s;
                most += s * (space[d] as isize - 1);
            } else {
                return None;
            }
        }
        (most < n).then_some((high, low))
    }
}

/// One affine expression per axis of a node.
pub type Map = Vec<Affine>;

/// The map of the node that the loop runs over. Strides along axes of extent 1 are 0, here and in every map, so
/// that equal maps compare equal.
pub fn identity(space: &[usize]) -> Map {
    (0..space.len())
        .map(|d| {
            let mut a = Affine::zero(space.len());
            a.strides[d] = isize::from(space[d] != 1);
            a
        })
        .collect()
}

/// Element offset in a dense row-major tensor of `shape`.
pub fn linear(map: &Map, shape: &[usize], rank: usize) -> Affine {
    let mut out = Affine::zero(rank);
    for (axis, &n) in map.iter().zip(shape) {
        out = out.scaled(n as isize).plus(axis);
    }
    out
}

/// The map of a movement's operand (of shape `from`), given the map of its result (of shape `to`).
/// `None` where it is not affine: the operand must be stored first.
pub fn through(op: &Op, map: &Map, from: &[usize], to: &[usize], space: &[usize]) -> Option<Map> {
    let rank = space.len();
    Some(match op {
        Op::Transpose(perm) => {
            let mut out = vec![Affine::zero(rank); perm.len()];
            for (i, &p) in perm.iter().enumerate() {
                out[p] = map[i].clone();
            }
            out
        }
        Op::Broadcast(_) => {
            map.iter().zip(from).map(|(a, &n)| if n == 1 { Affine::zero(rank) } else { a.clone() }).collect()
        }
        Op::Slice(spans) => map
            .iter()
            .zip(spans)
            .map(|(a, s)| {
                let mut a = a.scaled(s.step as isize);
                a.offset += s.start as isize;
                a
            })
            .collect(),
        Op::Flip(axes) => map
            .iter()
            .enumerate()
            .map(|(i, a)| {
                if !axes.contains(&i) {
                    return a.clone();
                }
                let mut a = a.scaled(-1);
                a.offset += from[i] as isize - 1;
                a
            })
            .collect(),
        Op::Reshape(_) => reshape(map, from, to, space)?,
        _ => return None,
    })
}

/// Reshape: axes are matched in runs of equal product; within a run the result's axes are joined to one
/// linear index, which is then split into the operand's axes.
fn reshape(map: &Map, from: &[usize], to: &[usize], space: &[usize]) -> Option<Map> {
    let rank = space.len();
    let mut out = vec![Affine::zero(rank); from.len()];
    let (mut i, mut j) = (0, 0);
    while i < from.len() || j < to.len() {
        let (i0, j0) = (i, j);
        let (mut a, mut b) = (1, 1);
        loop {
            if a <= b && i < from.len() && (a < b || i == i0) {
                a *= from[i];
                i += 1;
            } else if j < to.len() && (b < a || j == j0) {
                b *= to[j];
                j += 1;
            } else {
                break;
            }
        }
        // Trailing extents of 1 belong to the last run.
        if i == from.len() || j == to.len() {
            while i < from.len() && from[i] == 1 {
                i += 1;
            }
            while j < to.len() && to[j] == 1 {
                j += 1;
            }
        }
        let mut rest = linear(&map[j0..j].to_vec(), &to[j0..j], rank);
        // Extents of 1 take index 0; the leftmost other axis takes what is left.
        let real: Vec<usize> = (i0..i).filter(|&d| from[d] != 1).collect();
        for &d in real.iter().skip(1).rev() {
            let (high, low) = rest.div_mod(from[d] as isize, space)?;
            out[d] = low;
            rest = high;
        }
        if let Some(&d) = real.first() {
            out[d] = rest;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_graph::Span;

    /// Every point of the space must map to the element that the dense meaning gives.
    fn check_reshape(from: &[usize], to: &[usize]) -> bool {
        let Some(map) = reshape(&identity(to), from, to, to) else { return false };
        let a = linear(&map, from, to.len());
        let b = linear(&identity(to), to, to.len());
        assert_eq!(a, b, "{from:?} -> {to:?}: {map:?}");
        true
    }

    #[test]
    fn reshapes() {
        assert!(check_reshape(&[6, 20], &[6, 4, 5]));
        assert!(check_reshape(&[3], &[1, 1, 3]));
        assert!(check_reshape(&[1, 3, 1], &[3]));
        assert!(check_reshape(&[2, 1, 1, 5], &[2, 5]));
        assert!(check_reshape(&[1, 1], &[1]));
        assert!(check_reshape(&[], &[1, 1]));
        assert!(check_reshape(&[1], &[]));
        assert!(check_reshape(&[4, 1, 6], &[4, 2, 1, 3]));
        // A joined axis as a loop axis cannot be split into an affine pair.
        assert!(!check_reshape(&[2, 3], &[6]));
    }

    #[test]
    fn a_join_that_was_split_before_is_affine() {
        // [2, 3] -> [6] read by a loop over [2, 3]: the two reshapes cancel.
        let space = [2, 3];
        let joined = reshape(&identity(&space), &[6], &space, &space).expect("a split is affine");
        let back = reshape(&joined, &[2, 3], &[6], &space).expect("undone");
        assert_eq!(back, identity(&space));
    }

    #[test]
    fn slices_and_flips() {
        let space = [2, 3];
        let spans = vec![Span { start: 1, stop: 3, step: 1 }, Span { start: 0, stop: 9, step: 4 }];
        let map = through(&Op::Slice(spans), &identity(&space), &[4, 9], &space, &space).expect("affine");
        assert_eq!(linear(&map, &[4, 9], 2), Affine { offset: 9, strides: vec![9, 4] });
        let map = through(&Op::Flip(vec![1]), &identity(&space), &space, &space, &space).expect("affine");
        assert_eq!(linear(&map, &space, 2), Affine { offset: 2, strides: vec![3, -1] });
    }
}
