//! Callbacks: what watches training. One file each; the table makes them from recipes.

mod callback;
mod csv_logger;
mod detection_metrics;
mod early_stopping;
mod events;
mod model_checkpoint;
mod monitor;
mod reduce_lr;
#[cfg(test)]
mod rehearsal;
mod swap_ema_weights;
mod table;
mod template;
mod tensor_board;
mod terminate_on_nan;

pub use callback::{Callback, EpochContext, StepContext, TrainContext, Training};
pub use csv_logger::CSVLogger;
pub use detection_metrics::DetectionMetrics;
pub use early_stopping::EarlyStopping;
pub use model_checkpoint::{ModelCheckpoint, SaveFreq};
pub use monitor::Mode;
pub use reduce_lr::ReduceLROnPlateau;
pub use swap_ema_weights::SwapEMAWeights;
pub use table::CallbackConfig;
pub use tensor_board::TensorBoard;
pub use terminate_on_nan::TerminateOnNaN;
