//! Losses of boxes: 1 less how much the predicted box overlaps the true one.

use super::{Cost, Target, like};
use crate::table::Config;
use serde::{Deserialize, Serialize};
use thalweg_graph::derived::Overlap;
use thalweg_graph::{Graph, NodeId};

macro_rules! overlap {
    ($($(#[$doc:meta])* $class:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// Targets and predictions are corners [n, .., 4]: (x1, y1, x2, y2) in any unit; a cost a box. Formula and
        /// constants are torchvision's; gradients are finite for boxes without size too.
        #[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $class {}

        impl Config for $class {}

        impl Cost for $class {
            fn costs(&self, g: &mut Graph, y_true: NodeId, y_pred: NodeId, _: bool) -> NodeId {
                let truth = like(g, y_true, y_pred);
                let (truth, pred) = (g.corners(truth), g.corners(y_pred));
                let overlap = g.box_overlap(Overlap::$class, &pred, &truth);
                let one = g.constant(1.0);
                g.sub(one, overlap)
            }

            fn target(&self) -> Target {
                Target::Boxes
            }
        }
    )*};
}

overlap! {
    /// `1 - IoU`: nothing to learn where boxes are apart.
    IoU;
    /// `1 - GIoU` (Rezatofighi et al. 2019, "Generalized intersection over union").
    GIoU;
    /// `1 - DIoU` (Zheng et al. 2020, "Distance-IoU loss").
    DIoU;
    /// `1 - CIoU` (Zheng et al. 2020): DIoU and the aspect ratio, whose weight is not differentiated.
    CIoU;
}
