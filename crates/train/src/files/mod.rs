//! Model files and checkpoints: one safetensors file each, written atomically, read with suspicion.

mod atomic;
mod checkpoint;
mod container;
mod header;
mod model_file;

pub use atomic::write_atomic;
pub use checkpoint::{Settings, TrainerState, TrainingState, read_training, write_checkpoint};
pub use container::Container;
pub use header::{MAX_HEADER, TensorPlace};
pub(crate) use model_file::check_names;
pub use model_file::{
    FORMAT, Golden, ModelInfo, ModelReader, Provenance, WeightSpec, write_model, write_weights,
};
