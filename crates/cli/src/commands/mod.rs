//! One file per command.

mod annotated;
mod bench;
mod bench_devices;
mod completions;
mod data;
mod detect;
mod detections;
mod devices;
mod evaluate;
mod explain;
mod fit;
mod plan;
mod predict;
mod prepare;
mod run_folder;
mod summary;
mod tune;

pub use bench::bench;
pub use completions::completions;
pub use data::data;
pub use devices::{devices, doctor};
pub use evaluate::evaluate;
pub use explain::explain;
pub use fit::fit;
pub use plan::plan;
pub use predict::predict;
pub use summary::summary;
pub use tune::tune;
