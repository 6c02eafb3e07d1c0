//! What a detector says of every point, in one tensor: [`Predictions`].
//!
//! `[n, a, 7 + c + 4 bins]`: the box's corners (4), the point (2), its map's stride (1), a logit for each class, and
//! where distances are distributions the logits of each side's bins. The tensor does not say how many bins there are: whoever
//! takes it apart must be told.

use thalweg_graph::derived::Boxes;
use thalweg_graph::{Graph, NodeId, Op};

/// Where the class logits begin: behind corners, point and stride.
const LOGITS: usize = 7;

/// The extent of the last axis.
pub fn width(classes: usize, bins: usize) -> usize {
    LOGITS + classes + 4 * bins
}

/// The parts of a detector's predictions.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Predictions {
    /// Boxes `[n, a, 4]`: corners in pixels.
    pub boxes: NodeId,
    /// Points `[n, a, 3]`: x, y, and the stride of the point's map, in pixels.
    pub points: NodeId,
    /// Class logits `[n, a, c]`.
    pub logits: NodeId,
    /// Logits of the bins of each side `[n, a, 4, bins]`, if distances are distributions: left, top, right, bottom.
    pub distances: Option<NodeId>,
}

impl Predictions {
    /// The tensor of all parts.
    pub fn pack(&self, g: &mut Graph) -> NodeId {
        let mut parts = vec![self.boxes, self.points, self.logits];
        if let Some(distances) = self.distances {
            let &[n, a, sides, bins] = g.shape(distances) else { unreachable!("four sides of bins") };
            parts.push(g.reshape(distances, &[n, a, sides * bins]));
        }
        g.op(Op::Concat(2), &parts)
    }

    /// The parts of a tensor; `bins` is 0 where distances are no distributions.
    pub fn unpack(g: &mut Graph, packed: NodeId, bins: usize) -> Predictions {
        let &[n, a, width] = g.shape(packed) else { unreachable!("predictions have three axes") };
        let end = width - 4 * bins;
        let boxes = g.slice(packed, 2, 0, 4);
        let points = g.slice(packed, 2, 4, LOGITS);
        let logits = g.slice(packed, 2, LOGITS, end);
        let distances = (bins > 0).then(|| {
            let flat = g.slice(packed, 2, end, width);
            g.reshape(flat, &[n, a, 4, bins])
        });
        Predictions { boxes, points, logits, distances }
    }

    /// The number of classes of predictions of that per-example shape, or what is wrong with it.
    pub fn classes(shape: &[usize], bins: usize) -> Result<usize, String> {
        match *shape {
            [_, w] if w > LOGITS + 4 * bins => Ok(w - LOGITS - 4 * bins),
            _ => Err(format!(
                "detection needs the predictions of DecodeBoxes, [points, 7 + classes + 4 bins]; got {shape:?} with \
                 bins={bins}; take a detector's network, such as detector_nano"
            )),
        }
    }

    /// The points' coordinates and strides, each `[n, a]`: (x, y, stride).
    pub fn point(&self, g: &mut Graph) -> [NodeId; 3] {
        let shape = g.shape(self.points).to_vec();
        [0, 1, 2].map(|i| {
            let x = g.slice(self.points, 2, i, i + 1);
            g.reshape(x, &shape[..2])
        })
    }

    /// The boxes' corners, each `[n, a]`.
    pub fn corners(&self, g: &mut Graph) -> Boxes {
        g.corners(self.boxes)
    }
}
