//! Pictures with boxes: what object detection learns from and is judged by.
//!
//! Input: annotations as Pascal VOC, COCO or YOLO have them. Output: [`Annotations`].

mod annotations;
mod classes;
pub mod coco;
pub mod evaluate;
mod lines;
mod open;
mod problem;
mod reading;
mod rect;
pub mod results;
pub mod voc;
pub mod yolo;

pub use annotations::{AnnotatedImage, Annotations, Object};
pub use classes::ClassMap;
pub use open::{Format, open, splits};
pub use problem::{BadAnnotations, Fault, Place, Problem};
pub use reading::Options;
pub use rect::Rect;
pub use results::Detection;
