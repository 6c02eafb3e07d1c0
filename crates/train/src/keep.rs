//! A data set on the device, so that a step's batch is not copied there.
//!
//! Input: a data set in the host's memory, and the program that takes its batches. Output: the program that gathers them on the
//! device, where that asks for data and has room; else nothing, and batches come from the host. Invariants: a program's batches
//! are the same to the bit either way; every label was checked before it can be learned from; what was copied is given back.

use crate::feed::Feed;
use crate::model::{Model, ProgramSpec};
use crate::rows::Kept;
use crate::session::Kind;
use crate::{Result, TrainError};
use std::sync::Arc;
use thalweg_base::DType;
use thalweg_data::{Dataset, Epoch, Field, Loader, LoaderOptions, epoch_order};
use thalweg_graph::Type;

/// The part of a device's room that data may take: programs loaded later need the rest.
const PART: usize = 4;
/// The room of a device that does not know it, in bytes.
const ROOM: usize = 1 << 30;
/// Bytes that are copied at a time.
const PIECE: usize = 8 << 20;

/// Whether a device's kernels, which count elements in 31 bits, reach every element of the data and of their order.
fn countable(kept: Kept, fields: &[Field]) -> bool {
    let reached = |all: Option<usize>| all.is_some_and(|n| i32::try_from(n).is_ok());
    reached(kept.examples.checked_next_multiple_of(kept.batch))
        && fields.iter().all(|f| reached(kept.examples.checked_mul(f.elements())))
}

impl Model {
    /// Copies a data set for training or evaluation to the device, if that asks for data and has room: then the returned
    /// program takes its batches there, in the order that [`Model::begin_epoch`] is told, until [`Model::give_back_data`].
    pub fn keep_data(
        &mut self,
        kind: Kind,
        data: &Arc<dyn Dataset>,
        spec: &ProgramSpec,
    ) -> Result<Option<ProgramSpec>> {
        let mut feed = self.feed(spec.wiring.clone(), &[])?;
        if feed.weighted != spec.weighted {
            return Err(TrainError::argument(
                "the program takes example weights, which the data do not have",
            ));
        }
        self.keep_fed(kind, data, spec, &mut feed)
    }

    /// The same with the labels and weights of a feed.
    pub(crate) fn keep_fed(
        &mut self,
        kind: Kind,
        data: &Arc<dyn Dataset>,
        spec: &ProgramSpec,
        feed: &mut Feed,
    ) -> Result<Option<ProgramSpec>> {
        let steady = data.in_memory() && data.in_epoch(Epoch { index: 0, of: 1 }).is_none();
        let session = self.session()?;
        let asked = session.info().keeps_data && matches!(kind, Kind::Train | Kind::Evaluate);
        let kept = Kept { kind, examples: data.len(), batch: spec.batch.min(data.len()) };
        if !asked || !steady || data.is_empty() || !countable(kept, data.fields()) {
            return Ok(None);
        }
        let bytes = feed.columns().map(|(_, each)| each * kept.examples).sum::<usize>() + kept.order_bytes();
        if bytes > session.room().unwrap_or(ROOM) / PART {
            return Ok(None);
        }
        let spec = ProgramSpec { kept: Some(kept), ..spec.clone() };
        let first = ProgramSpec { batch: kept.batch, ..spec.clone() };
        match self.copy_data(data, kept, feed).and_then(|()| self.program(kind, &first)) {
            Ok(_) => Ok(Some(spec)),
            Err(e) => {
                self.session()?.release(&kept.prefix());
                // From the host a wrong label is told when its turn comes, if that comes.
                let host = e.is_memory() || matches!(e, TrainError::Label { .. });
                if host { Ok(None) } else { Err(e) }
            }
        }
    }

    fn copy_data(&mut self, data: &Arc<dyn Dataset>, kept: Kept, feed: &mut Feed) -> Result<()> {
        let session = self.session()?;
        session.release(&kept.prefix());
        session.declare(&kept.place(), &Type::new(DType::I32, &[]))?;
        session.reserve(&kept.order(), kept.order_bytes())?;
        let columns: Vec<(String, usize)> = feed.columns().map(|(n, each)| (kept.of(n), each)).collect();
        for (name, each) in &columns {
            session.reserve(name, each * kept.examples)?;
        }
        let largest = columns.iter().map(|(_, each)| *each).max().unwrap_or(1);
        // Whole words, whatever an example has: some devices write nothing else at once.
        let rows = (PIECE / largest.max(1)).max(1).next_multiple_of(4);
        let order: Arc<[u32]> = epoch_order(kept.examples, 0, 0, false).into();
        let mut loader = Loader::new(Arc::clone(data), order, rows, LoaderOptions::default());
        let mut first = 0;
        while let Some(batch) = loader.next_batch()? {
            feed.check(&batch, &**data, |place| first + place)?;
            for ((name, each), bytes) in columns.iter().zip(feed.filled(&batch)) {
                session.write_reserved(name, each * kept.examples, first * each, bytes)?;
            }
            first += batch.size;
            loader.recycle(batch);
        }
        Ok(())
    }

    /// Tells a program with data on the device the order of an epoch's examples and how many of its batches are done.
    pub fn begin_epoch(&mut self, spec: &ProgramSpec, order: &[u32], done: usize) -> Result<()> {
        let Some(kept) = spec.kept else { return Ok(()) };
        let session = self.session()?;
        let mut bytes: Vec<u8> = order.iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes.resize(kept.order_bytes(), 0xff);
        session.write_reserved(&kept.order(), bytes.len(), 0, &bytes)?;
        session.write_scalar(&kept.place(), done as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_31_bits_do_not_count_stays_on_the_host() {
        let fits = |examples: usize, batch: usize, shape: &[usize]| {
            let kept = Kept { kind: Kind::Train, examples, batch };
            countable(kept, &[Field::target("y", &[], DType::I32), Field::input("x", shape, DType::U8)])
        };
        assert!(fits(50_000, 32, &[32, 32, 3]));
        assert!(fits((1 << 19) - 1, 32, &[1 << 12]));
        assert!(!fits(1 << 19, 32, &[1 << 12]));
        // The order's last row is filled up.
        assert!(fits(i32::MAX as usize, 1, &[]) && !fits(i32::MAX as usize, 2, &[]));
        assert!(!fits(usize::MAX, 32, &[2]));
    }
}
