//! Models that train: compile, fit, evaluate, predict, callbacks, model files.
//!
//! In: a model's config ([`thalweg_nn::ModelConfig`]), a data set ([`thalweg_data::Dataset`]), what to train with
//! ([`Compile`]) and how ([`Fit`]). Out: a trained [`Model`], its [`History`], files. Invariants: a bad loss never
//! poisons weights; the last good checkpoint always remains; a resumed run is bit by bit the uninterrupted one.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use thalweg_train::{Compile, Fit, Model, Result};
//! # fn run(config: thalweg_nn::ModelConfig, data: Arc<dyn thalweg_data::Dataset>) -> Result<()> {
//! let mut model = Model::from_config(config, 7)?;
//! model.compile(Compile::from_names("adam", "sparse_categorical_crossentropy", &["accuracy"])?)?;
//! let fitted = model.fit(data.clone(), Fit::epochs(10).run_folder("runs/first"))?;
//! println!("{:?}", fitted.history.last());
//! let probabilities = model.predict(data, 128)?;
//! model.save("model.safetensors")?;
//! # Ok(())
//! # }
//! ```

mod adapt;
mod averages;
pub mod callbacks;
mod classify;
mod compile;
mod desk;
pub mod detection;
mod diagnose;
mod error;
mod evaluate;
mod events;
mod feed;
pub mod files;
mod fit;
mod keep;
mod later;
mod logs;
mod loss_scale;
mod model;
mod pace;
pub mod report;
mod resume;
mod rows;
mod session;
pub mod step;
mod steps;
mod summary;
mod tensor;
mod trainer;
mod tune;
mod wiring;

pub use classify::{ImageInput, Ranking};
pub use compile::{Compile, Goal, OutputLoss, OutputMetric, Watched};
pub use error::{Result, TrainError};
pub use evaluate::BATCH_SIZE;
pub use events::{Event, Observer};
pub use fit::{End, Fit, Fitted, OnNan};
pub use logs::{History, Logs};
pub use model::{Model, ProgramSpec};
pub use pace::Pace;
pub use rows::Kept;
pub use session::{Kind, Loaded, Session};
pub use tensor::Tensor;
pub use wiring::{Wire, Wiring};
