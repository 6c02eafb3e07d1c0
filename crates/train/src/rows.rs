//! Batches that a step takes from data on its device: the graph's part.
//!
//! Input: the data, one tensor of all examples per input of the graph, and the numbers of examples, a row per batch. Output: the
//! batch whose turn it is, and what says which is next. Names: `data/<input>` [examples, ..], `data/order` i32 [batches,
//! batch], -1 behind the last example, and the state `data/place`, the batches of the epoch done. Invariant: nothing as large
//! as the data is made of them; a step that changes nothing takes the same batch again.

use thalweg_base::DType;
use thalweg_graph::{Graph, NodeId, Op, Type};

/// What all of these names begin with.
pub const DATA: &str = "data/";
/// The order of an epoch: an input.
pub const ORDER: &str = "data/order";
/// Batches done: a state, i32.
pub const PLACE: &str = "data/place";

/// The data of an input.
pub fn data_name(input: &str) -> String {
    format!("{DATA}{input}")
}

/// Data on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Their examples.
    pub examples: usize,
    /// Examples of a whole batch: a row of the order.
    pub batch: usize,
}

impl Kept {
    /// Rows of the order.
    pub fn batches(self) -> usize {
        self.examples.div_ceil(self.batch)
    }

    /// Bytes of the order.
    pub fn order_bytes(self) -> usize {
        self.batches() * self.batch * DType::I32.size()
    }
}

/// The examples of a step's batch.
pub struct Rows {
    kept: Kept,
    /// The state.
    pub place: NodeId,
    numbers: NodeId,
}

impl Rows {
    /// Those of a program, where its data are kept.
    pub fn of(g: &mut Graph, kept: Option<Kept>, batch: usize) -> Option<Rows> {
        let kept = kept?;
        let place = g.state(PLACE, Type::new(DType::I32, &[]));
        let order = g.input(ORDER, Type::new(DType::I32, &[kept.batches(), kept.batch]));
        let at = g.reshape(place, &[1]);
        let row = g.op(Op::Gather(0), &[order, at]);
        let numbers = g.reshape(row, &[kept.batch]);
        let numbers = if batch < kept.batch { g.slice(numbers, 0, 0, batch) } else { numbers };
        Some(Rows { kept, place, numbers })
    }

    /// The batch of an input whose examples are `shape`.
    pub fn take(&self, g: &mut Graph, input: &str, dtype: DType, shape: &[usize]) -> NodeId {
        let all = g.input(&data_name(input), Type::new(dtype, &[&[self.kept.examples], shape].concat()));
        g.op(Op::Gather(0), &[all, self.numbers])
    }

    /// The place after this batch.
    pub fn next(&self, g: &mut Graph) -> NodeId {
        let one = g.constant_of(DType::I32, 1.0);
        g.add(self.place, one)
    }
}
