//! Batches that a step takes from data on its device: the graph's part.
//!
//! Input: the data, one tensor of all examples per input of the graph, and the numbers of examples, a row per batch. Output: the
//! batch whose turn it is, and what says which is next. Names, behind `:data/` and the kind of program: `<input>` [examples, ..],
//! `order` i32 [batches, batch], -1 behind the last example, and the state `place`, i32, the batches that are done. Invariant:
//! nothing as large as the data is made of them; a step that changes nothing takes the same batch again.

use crate::session::Kind;
use thalweg_base::DType;
use thalweg_graph::{Graph, NodeId, Op, Type};

/// What all of these names begin with: no layer's name has a colon.
pub const DATA: &str = ":data/";

/// Data on a device, for one kind of program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub kind: Kind,
    /// Their examples.
    pub examples: usize,
    /// Examples of a whole batch: a row of the order; all of them where they are fewer.
    pub batch: usize,
}

impl Kept {
    /// What belongs to these data begins so.
    pub fn prefix(self) -> String {
        format!("{DATA}{}/", self.kind.name())
    }

    /// The data of an input.
    pub fn of(self, input: &str) -> String {
        self.prefix() + input
    }

    /// The order of an epoch: an input.
    pub fn order(self) -> String {
        self.of("order")
    }

    /// Batches done: a state.
    pub fn place(self) -> String {
        self.of("place")
    }

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
        let place = g.state(&kept.place(), Type::new(DType::I32, &[]));
        let order = g.input(&kept.order(), Type::new(DType::I32, &[kept.batches(), kept.batch]));
        let at = g.reshape(place, &[1]);
        let row = g.op(Op::Gather(0), &[order, at]);
        let numbers = g.reshape(row, &[kept.batch]);
        let numbers = if batch < kept.batch { g.slice(numbers, 0, 0, batch) } else { numbers };
        Some(Rows { kept, place, numbers })
    }

    /// The batch of an input whose examples are `shape`.
    pub fn take(&self, g: &mut Graph, input: &str, dtype: DType, shape: &[usize]) -> NodeId {
        let all = g.input(&self.kept.of(input), Type::new(dtype, &[&[self.kept.examples], shape].concat()));
        g.op(Op::Gather(0), &[all, self.numbers])
    }

    /// The place after this batch.
    pub fn next(&self, g: &mut Graph) -> NodeId {
        let one = g.constant_of(DType::I32, 1.0);
        g.add(self.place, one)
    }
}
