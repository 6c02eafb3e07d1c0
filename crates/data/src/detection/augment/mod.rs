//! Changed pictures with their boxes: what makes few pictures enough to learn from.
//!
//! Input: annotated pictures and [`Augment`]. Output: pictures of one size and the boxes in them. Every picture is
//! painted once: mosaics, crops, flips and all other moves are one transform from the decoded picture to the
//! pixels. Invariant: a pure function of (seed, epoch, example), whatever thread asks, so that a resumed run sees
//! the same pictures as one that was never stopped.

mod colour;
mod config;
mod paint;
mod polygon;
mod scene;
mod transform;

pub use config::Augment;
pub(super) use scene::{Augmented, Labelled, Scene};
