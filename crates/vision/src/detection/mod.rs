//! Object detection: how detections are judged.

mod coco;

pub use coco::{Detection, Evaluation, Size, Truth, evaluate};
