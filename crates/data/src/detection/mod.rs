//! Pictures with boxes: what object detection learns from and is judged by.
//!
//! Input: annotations as Pascal VOC, COCO or YOLO have them. Output: [`Annotations`], which [`DetectionSet`] serves in
//! one shape, changed or not, and by which [`evaluate`] judges detections.

mod annotations;
mod augment;
mod cache;
mod classes;
pub mod coco;
pub mod evaluate;
mod letterbox;
mod lines;
mod open;
mod problem;
mod reading;
mod rect;
pub mod results;
mod set;
pub mod voc;
pub mod yolo;

pub use annotations::{AnnotatedImage, Annotations, Object};
pub use augment::Augment;
pub use classes::ClassMap;
pub use letterbox::{GRAY, Letterbox, letterboxed};
pub use open::{Format, open, splits};
pub use problem::{BadAnnotations, Fault, Place, Problem};
pub use reading::Options;
pub use rect::Rect;
pub use results::Detection;
pub use set::{DetectionSet, NO_CLASS, Shape};
