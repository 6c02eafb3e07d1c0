//! What every GPU shares: the kernel IR, how a plan's kernels are written in it, and its renderings.
//!
//! In: a [`Plan`](crate::Plan). Out: [`Launches`](launch::Launches): kernels in the IR ([`ir`]) and the order they run in. A device
//! renders them in its language (`cuda`, `wgsl`) and starts them; the test kit interprets them. Invariant: nothing here
//! needs a GPU, so all of it is tested without one.

pub mod build;
pub mod call;
pub mod cuda;
pub mod ir;
pub mod launch;
pub mod lower;
pub mod tune;
pub mod wgsl;
