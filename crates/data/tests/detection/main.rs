//! Annotated pictures: formats, statistics, augmentation, evaluation, drawing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

mod augmenting;
mod bccd;
mod formats;
mod judging;
mod mistakes;
mod support;
