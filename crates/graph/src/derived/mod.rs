//! Derived operations: composed of primitives, so that gradients, fusion and every device come free.
//!
//! One file per concept, all as [`Graph`](crate::Graph) methods or functions over one. Invariant: nothing here
//! adds a case to the IR; the formulas (Keras') are the only meaning.

mod activation;
mod boxes;
mod norm;
mod pooling;
mod power;
mod resize;
mod shift;
mod softmax;
mod stop;
#[cfg(test)]
mod tests;
mod window;

pub use boxes::{Boxes, Overlap};
pub use norm::{BatchNorm, Moments};
pub use shift::Fill;
pub use window::{Geometry, Padding};
