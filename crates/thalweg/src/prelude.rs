//! What most programs need: `use thalweg::prelude::*;`.

pub use crate::datasets;
pub use crate::datasets::Data;
pub use thalweg_data::{Arrays, DataError, Dataset, Split, Subset, folder};
pub use thalweg_nn::layers::{
    Activation, Add, Average, AveragePooling2D, BatchNormalization, Concatenate, Conv2D, Dense,
    DepthwiseConv2D, Dropout, Flatten, GlobalAveragePooling2D, GlobalMaxPooling2D, InputLayer, LeakyReLU,
    MaxPooling2D, Maximum, Minimum, Multiply, Normalization, RandomFlip, RandomTranslation, ReLU, Rescaling,
    Reshape, Softmax, Subtract, UpSampling2D, ZeroPadding2D,
};
pub use thalweg_nn::losses::{
    BinaryCrossentropy, CategoricalCrossentropy, Huber, Loss, MeanAbsoluteError, MeanSquaredError,
    SparseCategoricalCrossentropy,
};
pub use thalweg_nn::metrics::{
    Accuracy, BinaryAccuracy, CategoricalAccuracy, Metric, SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy, TopKCategoricalAccuracy,
};
pub use thalweg_nn::optimizers::{Adagrad, Adam, AdamW, Nadam, Optimizer, RMSprop, SGD};
pub use thalweg_nn::schedules::{
    CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, LinearWarmup,
    PiecewiseConstantDecay, PolynomialDecay, Schedule,
};
pub use thalweg_nn::{Functional, Initializer, ModelConfig, Network, NnError, Sequential};
pub use thalweg_train::callbacks::{
    CSVLogger, Callback, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau, TensorBoard, TerminateOnNaN,
};
pub use thalweg_train::{
    Compile, End, Event, Fit, Fitted, History, Logs, Model, Observer, Result, TrainError,
};
