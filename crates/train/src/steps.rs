//! The steps of an epoch or of an evaluation, on batches from the host or from the device.
//!
//! Input: an order of examples. Output: steps that were run. From the host a step is a batch read, copied and run, and the call
//! returns while it runs; where the data are on the device, a call runs as many steps as are due in one go and waits for them.
//! Invariant: the same batches in the same order either way.

use crate::Result;
use crate::diagnose::{Origin, origin};
use crate::evaluate::Programs;
use crate::feed::Feed;
use crate::model::{Model, ProgramSpec};
use crate::pace::Pace;
use crate::session::Kind;
use std::sync::Arc;
use std::time::Instant;
use thalweg_data::{Batch, Dataset, Epoch, Loader, LoaderOptions};

/// Runs them.
pub(crate) struct Steps {
    kind: Kind,
    data: Arc<dyn Dataset>,
    /// The data as they are in this epoch.
    served: Arc<dyn Dataset>,
    feed: Feed,
    /// The program that is fed from the host.
    spec: ProgramSpec,
    programs: Programs,
    options: LoaderOptions,
    pace: Pace,
    /// This epoch's.
    order: Arc<[u32]>,
    /// Reads it, unless the data are on the device.
    loader: Option<Loader>,
}

impl Steps {
    /// Steps of the program `spec` of a kind on `data`.
    pub fn new(
        kind: Kind,
        data: &Arc<dyn Dataset>,
        feed: Feed,
        spec: ProgramSpec,
        options: LoaderOptions,
    ) -> Steps {
        Steps {
            kind,
            data: Arc::clone(data),
            served: Arc::clone(data),
            feed,
            programs: Programs::new(kind, spec.clone()),
            spec,
            options,
            pace: Pace::START,
            order: Arc::new([]),
            loader: None,
        }
    }

    /// Puts the data on the device, if that asks for them and has room.
    pub fn keep(&mut self, model: &mut Model) -> Result<()> {
        if let Some(kept) = model.keep_fed(self.kind, &self.data, &self.spec, &mut self.feed)? {
            self.programs = Programs::new(self.kind, kept);
        }
        Ok(())
    }

    /// Loads the first program.
    pub fn load(&mut self, model: &mut Model) -> Result<()> {
        self.programs.get(model, self.spec.batch.min(self.data.len())).map(|_| ())
    }

    /// Batches come from the host again.
    pub fn leave(&mut self) {
        self.programs = Programs::new(self.kind, self.spec.clone());
    }

    /// Whether the data are on the device.
    pub fn kept(&self) -> bool {
        self.programs.spec().kept.is_some()
    }

    /// The data are as in this epoch from now on.
    pub fn serve(&mut self, epoch: Epoch) {
        self.served = self.data.in_epoch(epoch).unwrap_or_else(|| Arc::clone(&self.data));
    }

    /// Begins to visit the examples of `order`, behind its first `done` batches.
    pub fn begin(&mut self, model: &mut Model, order: Vec<u32>, done: usize) -> Result<()> {
        self.order = order.into();
        self.go_on(model, done)
    }

    /// All examples of the data.
    pub fn examples(&self) -> usize {
        self.data.len()
    }

    /// All batches of the order.
    pub fn batches(&self) -> usize {
        self.order.len().div_ceil(self.spec.batch)
    }

    /// Goes on behind the first `done` batches.
    pub fn go_on(&mut self, model: &mut Model, done: usize) -> Result<()> {
        if self.kept() {
            return model.begin_epoch(self.programs.spec(), &self.order, done);
        }
        self.loader = Some(self.reader(done));
        Ok(())
    }

    /// Runs the next steps behind the first `done`, `most` at most: how many, none at the epoch's end.
    pub fn run(&mut self, model: &mut Model, done: usize, most: usize) -> Result<usize> {
        if self.kept() { self.burst(model, done, most) } else { self.one(model, done) }
    }

    fn one(&mut self, model: &mut Model, done: usize) -> Result<usize> {
        let Some(loader) = &mut self.loader else { return Ok(0) };
        let Some(batch) = loader.next_batch()? else {
            // Its batches are not needed again.
            self.loader = None;
            return Ok(0);
        };
        let first = done * self.spec.batch;
        self.feed.check(&batch, &*self.data, |place| self.order[first + place] as usize)?;
        let program = self.programs.get(model, batch.size)?;
        let session = model.session()?;
        self.feed.write(session, &program, &batch)?;
        session.run(&program)?;
        loader.recycle(batch);
        Ok(1)
    }

    fn burst(&mut self, model: &mut Model, done: usize, most: usize) -> Result<usize> {
        let batch = self.spec.batch;
        let left = self.order.len().saturating_sub(done * batch);
        let (size, steps) = match (left / batch, left) {
            (0, 0) => return Ok(0),
            (0, last) => (last, 1),
            (whole, _) => (batch, whole.min(most).min(self.pace.steps())),
        };
        let program = self.programs.get(model, size)?;
        let session = model.session()?;
        let began = Instant::now();
        session.run_many(&program, steps)?;
        session.wait()?;
        self.pace.took(steps, began.elapsed());
        Ok(steps)
    }

    /// Where what is not finite began in a batch of this epoch.
    pub fn origin(&mut self, model: &mut Model, batch: usize) -> Result<Origin> {
        let Some(again) = self.read(batch)? else {
            return Ok(Origin::Elsewhere("its batch cannot be read again".into()));
        };
        let first = batch * self.spec.batch;
        let record = |place: usize| self.order[first + place] as usize;
        origin(model, &mut self.feed, &self.spec, &again, &*self.data, record)
    }

    fn read(&self, batch: usize) -> Result<Option<Batch>> {
        Ok(self.reader(batch).next_batch()?)
    }

    fn reader(&self, from: usize) -> Loader {
        let (data, order) = (Arc::clone(&self.served), Arc::clone(&self.order));
        Loader::new(data, order, self.spec.batch, self.options).starting_at(from)
    }
}
