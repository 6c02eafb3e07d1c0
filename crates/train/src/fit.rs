//! How a model is trained: the arguments of Keras' `fit()`, and what it gives back.
//!
//! Input: a builder's calls. Output: [`Fit`]; after training [`Fitted`]. Invariant: defaults are Keras'.

use crate::callbacks::Callback;
use crate::events::Observer;
use crate::{History, Logs, Result, TrainError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use thalweg_data::{Dataset, LoaderOptions};

/// What happens when the loss is not finite. Whatever is chosen, the weights stay those from before that step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnNan {
    /// An error that says where it began.
    #[default]
    Error,
    /// Training ends quietly, as with Keras' TerminateOnNaN.
    Stop,
    /// The batch is passed over. Weights that are themselves not finite are still an error.
    Skip,
}

/// How a model is trained.
pub struct Fit {
    pub(crate) epochs: usize,
    pub(crate) batch_size: usize,
    pub(crate) validation_data: Option<Arc<dyn Dataset>>,
    pub(crate) validation_split: Option<f64>,
    pub(crate) validation_batch_size: Option<usize>,
    pub(crate) shuffle: bool,
    pub(crate) initial_epoch: usize,
    pub(crate) class_weight: Vec<(usize, f32)>,
    pub(crate) steps_per_epoch: Option<usize>,
    pub(crate) seed: Option<u64>,
    pub(crate) callbacks: Vec<Box<dyn Callback>>,
    pub(crate) observer: Option<Box<dyn Observer>>,
    pub(crate) interrupt: Option<Arc<AtomicBool>>,
    pub(crate) run_folder: Option<PathBuf>,
    pub(crate) recipe: Option<String>,
    pub(crate) checkpoint: Option<PathBuf>,
    pub(crate) checkpoint_seconds: Option<Duration>,
    pub(crate) checkpoint_steps: Option<usize>,
    pub(crate) resume: Option<PathBuf>,
    pub(crate) on_nan: OnNan,
    pub(crate) loader: LoaderOptions,
}

impl Default for Fit {
    fn default() -> Fit {
        Fit {
            epochs: 1,
            batch_size: 32,
            validation_data: None,
            validation_split: None,
            validation_batch_size: None,
            shuffle: true,
            initial_epoch: 0,
            class_weight: Vec::new(),
            steps_per_epoch: None,
            seed: None,
            callbacks: Vec::new(),
            observer: None,
            interrupt: None,
            run_folder: None,
            recipe: None,
            checkpoint: None,
            checkpoint_seconds: Some(Duration::from_secs(30)),
            checkpoint_steps: None,
            resume: None,
            on_nan: OnNan::Error,
            loader: LoaderOptions::default(),
        }
    }
}

impl Fit {
    /// Training for so many epochs.
    pub fn epochs(epochs: usize) -> Fit {
        Fit { epochs, ..Fit::default() }
    }
    /// Examples in a step. Default 32.
    pub fn batch_size(mut self, examples: usize) -> Fit {
        self.batch_size = examples;
        self
    }
    /// Data to judge by after every epoch.
    pub fn validation_data(mut self, data: Arc<dyn Dataset>) -> Fit {
        self.validation_data = Some(data);
        self
    }
    /// The fraction of the training data, taken from its end, to judge by; 0 for none.
    pub fn validation_split(mut self, fraction: f64) -> Fit {
        self.validation_split = Some(fraction);
        self
    }
    /// Examples in a step of validation. Default: as in training.
    pub fn validation_batch_size(mut self, examples: usize) -> Fit {
        self.validation_batch_size = Some(examples);
        self
    }
    /// Whether every epoch has its own order. Default yes.
    pub fn shuffle(mut self, yes: bool) -> Fit {
        self.shuffle = yes;
        self
    }
    /// The number of the first epoch; `epochs` counts from 0 all the same, as in Keras.
    pub fn initial_epoch(mut self, epoch: usize) -> Fit {
        self.initial_epoch = epoch;
        self
    }
    /// Weights of classes in the loss and in weighted metrics; classes that are not named weigh 1. For one output
    /// with a crossentropy: the class is the label, or where a one-hot target is largest.
    pub fn class_weight(mut self, weights: &[(usize, f32)]) -> Fit {
        self.class_weight = weights.to_vec();
        self
    }
    /// Ends epochs after so many steps, at most those of the data. Unlike in Keras, the next epoch begins anew (in
    /// an order of its own where it is shuffled) and not where this one ended.
    pub fn steps_per_epoch(mut self, steps: usize) -> Fit {
        self.steps_per_epoch = Some(steps);
        self
    }
    /// The seed of shuffles and dropout. Default: the model's.
    pub fn seed(mut self, seed: u64) -> Fit {
        self.seed = Some(seed);
        self
    }
    /// Adds a callback.
    pub fn callback(mut self, callback: impl Callback + 'static) -> Fit {
        self.callbacks.push(Box::new(callback));
        self
    }
    /// Adds callbacks, such as [`crate::callbacks::CallbackConfig::build`] gives.
    pub fn callbacks(mut self, callbacks: Vec<Box<dyn Callback>>) -> Fit {
        self.callbacks.extend(callbacks);
        self
    }
    /// Who is told of progress.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Fit {
        self.observer = Some(Box::new(observer));
        self
    }
    /// A flag that ends training after the present step, with a checkpoint; for Ctrl-C.
    pub fn interrupt(mut self, flag: Arc<AtomicBool>) -> Fit {
        self.interrupt = Some(flag);
        self
    }
    /// The folder of the run: history, events, curves, checkpoints, log, and the model at the end.
    pub fn run_folder(mut self, folder: impl AsRef<Path>) -> Fit {
        self.run_folder = Some(folder.as_ref().to_path_buf());
        self
    }
    /// The recipe's text, for the run folder and the model's provenance.
    pub fn recipe(mut self, text: &str) -> Fit {
        self.recipe = Some(text.into());
        self
    }
    /// The file from which training can go on. Default: `checkpoints/last.safetensors` of the run folder;
    /// without either, no checkpoint is written.
    pub fn checkpoint_to(mut self, path: impl AsRef<Path>) -> Fit {
        self.checkpoint = Some(path.as_ref().to_path_buf());
        self
    }
    /// Seconds between checkpoints within an epoch; none for only at its end. Default 30.
    pub fn checkpoint_every_seconds(mut self, seconds: Option<f64>) -> Fit {
        self.checkpoint_seconds = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
        self
    }
    /// Steps between checkpoints within an epoch, beside those by time.
    pub fn checkpoint_every_steps(mut self, steps: usize) -> Fit {
        self.checkpoint_steps = Some(steps.max(1));
        self
    }
    /// Goes on from a checkpoint: same model, data and settings; `epochs` may be larger.
    pub fn resume(mut self, checkpoint: impl AsRef<Path>) -> Fit {
        self.resume = Some(checkpoint.as_ref().to_path_buf());
        self
    }
    /// What happens when the loss is not finite. Default: an error.
    pub fn on_nan(mut self, what: OnNan) -> Fit {
        self.on_nan = what;
        self
    }
    /// How batches are read ahead; no choice changes any number.
    pub fn loader(mut self, options: LoaderOptions) -> Fit {
        self.loader = options;
        self
    }

    /// Refuses arguments that cannot be meant.
    pub(crate) fn check(&self, examples: usize) -> Result<()> {
        let refuse = |what: &str| Err(TrainError::argument(what));
        if self.epochs == 0 {
            return refuse("epochs is 0; train for at least 1");
        }
        if self.batch_size == 0 || self.validation_batch_size == Some(0) {
            return refuse("the batch size is 0; use at least 1");
        }
        if self.steps_per_epoch == Some(0) {
            return refuse("steps_per_epoch is 0; use at least 1, or leave it out for whole epochs");
        }
        if examples == 0 {
            return refuse("the training data have no examples");
        }
        if self.initial_epoch >= self.epochs {
            return Err(TrainError::argument(format!(
                "initial_epoch is {}, but training ends with epoch {} of {} (from 0); raise epochs",
                self.initial_epoch,
                self.epochs - 1,
                self.epochs
            )));
        }
        if self.validation_data.is_some() && self.validation_split.is_some() {
            return refuse("validation_data and validation_split were both given; leave one out");
        }
        Ok(())
    }
}

/// How training ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// After its last epoch.
    Complete,
    /// Earlier, by a callback or a loss that was not finite.
    Stopped(String),
    /// From outside. Training can go on from the checkpoint, if one is kept.
    Interrupted(Option<PathBuf>),
}

/// What training gave. The weights are in the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// What every epoch logged.
    pub history: History,
    /// How it ended.
    pub end: End,
    /// Seconds of training in all, those before an interruption included.
    pub seconds: f64,
    /// Loss and metrics of the trained model over the validation data, where the last epoch's validation told them and the
    /// weights were not changed since, as by `EarlyStopping`'s best ones: nobody needs to evaluate the same again.
    pub validation: Option<Logs>,
}
