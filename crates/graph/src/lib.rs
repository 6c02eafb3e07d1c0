//! The graph IR of Thalweg: an arena of typed nodes with static shapes, NHWC images, hash-consed.
//!
//! In: operations through [`Graph`]'s builder methods. Out: a graph that the compiler turns into a plan,
//! gradients as more graph ([`gradients`]), its meaning in f64 ([`reference`]), its text form ([`text`]).
//! Invariant: arena order is a topological order; a node never changes after it was added.

mod build;
pub mod cases;
pub mod derived;
mod error;
mod gradient;
mod ir;
pub mod ops;
pub mod reference;
pub mod text;
mod types;
pub mod verify;

pub use error::GraphError;
pub use gradient::gradients;
pub use ir::{
    Graph, InputDecl, InputId, Node, NodeId, Op, Output, PoolKind, ReduceKind, Span, StateDecl, StateId,
    Update,
};
pub use thalweg_base::{ConvDims, DType, PoolDims, Scalar, ScalarOp, Window, philox};
pub use types::Type;
