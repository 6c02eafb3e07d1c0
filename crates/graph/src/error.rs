//! What can be wrong with a graph that somebody asks for.

use crate::Type;
use thiserror::Error;

/// An error of graph construction, differentiation or parsing.
#[derive(Clone, PartialEq, Debug, Error)]
pub enum GraphError {
    /// The operation is not defined on these operands.
    #[error("{op} of {operands}: {problem}")]
    Operands {
        /// Name of the operation.
        op: &'static str,
        /// Types of the operands.
        operands: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The operation has no gradient, and one was asked for.
    #[error("{op} (node %{node}, in '{scope}') has no gradient")]
    NoGradient {
        /// Name of the operation.
        op: &'static str,
        /// Index of the node.
        node: usize,
        /// The layer it belongs to.
        scope: String,
    },
    /// The text form cannot be read.
    #[error("line {line}: {problem}")]
    Parse {
        /// Line number, from 1.
        line: usize,
        /// What was expected.
        problem: String,
    },
}

impl GraphError {
    /// An `Operands` error.
    pub fn operands(op: &'static str, operands: &[&Type], problem: impl Into<String>) -> Self {
        let operands = operands.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        GraphError::Operands { op, operands, problem: problem.into() }
    }
}
