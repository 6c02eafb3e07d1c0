//! Thalweg: train and deploy vision models.

pub use thalweg_compile as compile;
pub use thalweg_data as data;
pub use thalweg_device as device;
pub use thalweg_graph as graph;
pub use thalweg_nn as nn;
pub use thalweg_train as train;
