//! Tuning: the products of a model's programs measured on its device, before they are loaded.
//!
//! In: which programs, how much time. Out: choices that the device keeps, and a report. Invariant: programs that were loaded
//! are forgotten first, so that what is planned stays what the device holds.

use crate::session::{Kind, Session};
use crate::{Model, ProgramSpec, Result, TrainError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use thalweg_compile::{Options, compile};
use thalweg_device::gpu::tune::{Effort, Report, tune};
use thalweg_device::{DeviceError, Plan};
use thalweg_graph::Graph;

/// How long a sample of a product's runs takes, at least.
const SAMPLE: Duration = Duration::from_millis(5);

impl Model {
    /// Measures on the model's device how matrix products and convolutions of these programs are computed fastest, for about
    /// so long, the largest first; the device keeps what was found for every program that has the same products (of the same
    /// sizes, so of the same batch size, and types), also of other processes, and does not measure it again; where it cannot
    /// be kept, [`Report::unkept`] says why. Such a program may need up to 256 MiB more for scratch memory. `watch` is told before each product: which of how many, and its label.
    ///
    /// `None` on devices without anything to choose (the CPU). Other ways add in another order: results of tuned programs
    /// differ from untuned ones by rounding, and are the same from run to run. Programs and data that were on the device
    /// have to be asked for again.
    pub fn tune(
        &mut self,
        programs: &[(Kind, ProgramSpec)],
        budget: Duration,
        watch: &mut dyn FnMut(usize, usize, &str),
    ) -> Result<Option<Report>> {
        let graphs: Vec<Graph> =
            programs.iter().map(|(kind, spec)| self.graph(*kind, spec)).collect::<Result<_>>()?;
        self.session()?.tune(&graphs, budget, watch)
    }
}

impl Session {
    fn tune(
        &mut self,
        graphs: &[Graph],
        budget: Duration,
        watch: &mut dyn FnMut(usize, usize, &str),
    ) -> Result<Option<Report>> {
        self.unload_all();
        let options = Options::of(&self.info());
        let plans: Vec<Arc<Plan>> = graphs.iter().map(|g| Arc::new(compile(g, &options).plan)).collect();
        let began = Instant::now();
        let effort = Effort { budget, sample: SAMPLE, clock: &|| began.elapsed() };
        let tuned: Result<_, DeviceError> = tune(self.device_mut(), &plans, &effort, watch);
        tuned.map_err(TrainError::from)
    }
}
