//! Object detection without anchor boxes, as graph: from feature maps to boxes, from true boxes to what each point of
//! the maps should say, from boxes to detections.
//!
//! In: nodes. Out: nodes. Everything is dense and of static shape, so that it runs on every device and inside the
//! compiled step. A *point* is the centre of a cell of a feature map. Shape letters: n pictures, a points, m true
//! boxes of a picture (those that are not there have class -1), c classes. Boxes are corners in pixels of the input.

mod assign;
mod decode;
mod predictions;
mod select;

pub use assign::{Assigner, Assignment, Truth};
pub use decode::{Level, decode};
pub use predictions::{Predictions, width};
pub use select::Select;
