//! Thalweg: train and deploy vision models, in Rust, with Keras' vocabulary.
//!
//! You prepare data, define a model, `compile`, `fit`, `evaluate`, `predict` and save. `compile` is literal: the
//! whole training step (forward, loss, backward, optimizer, metrics) becomes one static, fused program with planned
//! memory.
//!
//! ```
//! use std::sync::Arc;
//! use thalweg::prelude::*;
//!
//! # fn main() -> Result<()> {
//! // Points inside and outside the unit circle.
//! let grid = || (0..256).map(|i| [(i % 16) as f32 / 8.0 - 0.94, (i / 16) as f32 / 8.0 - 0.94]);
//! let inside = grid().map(|[x, y]| i32::from(x * x + y * y < 0.5)).collect::<Vec<_>>();
//! let data = Arrays::new()
//!     .input("point", &[2], grid().flatten().collect::<Vec<f32>>())
//!     .target("inside", &[], inside)
//!     .class_names(["outside", "inside"])
//!     .build()?;
//! let data: Data = Arc::new(data);
//!
//! let config = Sequential::new()
//!     .input(&[2])
//!     .add(Dense::new(16).activation("relu"))
//!     .add(Dense::new(2).activation("softmax"))
//!     .build()?;
//! let mut model = Model::from_config(config, 7)?;
//! let loss = SparseCategoricalCrossentropy::default();
//! model.compile(Compile::new(Adam::default(), loss).metric(Accuracy::default()))?;
//!
//! let fitted = model.fit(data.clone(), Fit::epochs(20).batch_size(16))?;
//! let (first, last) = (&fitted.history.epochs[0], fitted.history.epochs.last());
//! assert!(last.and_then(|l| l.get("loss")) < first.get("loss"));
//!
//! let probabilities = &model.predict(data, 64)?[0];
//! assert_eq!(probabilities.shape(), [256, 2]);
//! # Ok(())
//! # }
//! ```
//!
//! A wrong model is refused when it is made, with the layer, what reached it, and the fix:
//!
//! ```
//! use thalweg::prelude::*;
//!
//! let config = Sequential::new().input(&[8, 8, 3]).add(Conv2D::new(4, 3)).add(Dense::new(10)).build()?;
//! let error = Network::new(config).unwrap_err().to_string();
//! assert!(error.contains("Dense got [N, 6, 6, 4]") && error.contains("Flatten"), "{error}");
//! # Ok::<(), TrainError>(())
//! ```
//!
//! `examples/cifar10.rs` is the seed program: a small CNN on the real CIFAR-10. The same as a recipe file, for
//! people who write no Rust, is `examples/cifar10.toml` at the root: `thalweg fit examples/cifar10.toml`. Both build
//! the same configuration.
//!
//! # Where things are
//!
//! | module | holds |
//! | --- | --- |
//! | [`prelude`] | what most programs need |
//! | [`datasets`] | CIFAR-10, CIFAR-100 and MNIST, fetched when they are not there |
//! | [`data`] | image folders, arrays, batching, decoding |
//! | [`nn`] | layers, losses, metrics, optimizers, schedules, configurations |
//! | [`train`] | models that train, callbacks, model files |
//! | [`vision`] | named models |
//! | [`device`], [`compile`], [`graph`], [`base`] | what a step is made of, for those who look inside |

pub mod datasets;
pub mod prelude;

pub use thalweg_base as base;
pub use thalweg_compile as compile;
pub use thalweg_data as data;
pub use thalweg_device as device;
pub use thalweg_graph as graph;
pub use thalweg_nn as nn;
pub use thalweg_train as train;
pub use thalweg_vision as vision;
