//! Evaluation, prediction, and proof by golden inputs.
//!
//! Input: a model and a data set, or tensors. Output: logs, or one tensor per output. Invariant: examples are
//! taken in the data set's order; the last batch may be smaller and has its own program.

use crate::events::{Event, Observer, REPORT_EVERY};
use crate::feed::Feed;
use crate::files::Golden;
use crate::model::{Model, ProgramSpec};
use crate::report::Confusion;
use crate::session::{Kind, Loaded, Session};
use crate::step::metric_names;
use crate::steps::Steps;
use crate::wiring::{Wire, Wiring, same_but_ones};
use crate::{Logs, Result, Tensor, TrainError};
use std::sync::Arc;
use std::time::Instant;
use thalweg_data::{Batch, Dataset, Loader, LoaderOptions, epoch_order};
use thalweg_nn::metrics;

/// Examples in a step of evaluation and prediction unless said otherwise: Keras' default.
pub const BATCH_SIZE: usize = 32;

/// Calls `each` with every batch of a data set, in order; `each` says whether to go on.
pub(crate) fn batches(
    data: &Arc<dyn Dataset>,
    batch_size: usize,
    options: LoaderOptions,
    mut each: impl FnMut(&Batch, usize, usize) -> Result<bool>,
) -> Result<()> {
    check_batches(&**data, batch_size)?;
    let order: Arc<[u32]> = epoch_order(data.len(), 0, 0, false).into();
    let mut loader = Loader::new(Arc::clone(data), order, batch_size, options);
    let (mut index, count) = (0, loader.batches());
    while let Some(batch) = loader.next_batch()? {
        if !each(&batch, index, count)? {
            break;
        }
        loader.recycle(batch);
        index += 1;
    }
    Ok(())
}

fn check_batches(data: &dyn Dataset, batch_size: usize) -> Result<()> {
    if data.is_empty() {
        return Err(TrainError::argument(format!("{} has no examples", data.describe())));
    }
    if batch_size == 0 {
        return Err(TrainError::argument("the batch size is 0; use at least 1"));
    }
    Ok(())
}

/// Sets the sums of all metrics to zero.
pub(crate) fn reset_metrics(session: &mut Session, logs: &[String]) -> Result<()> {
    for log in logs {
        let (total, count) = metric_names(log);
        session.write_scalar(&total, 0.0)?;
        session.write_scalar(&count, 0.0)?;
    }
    Ok(())
}

/// The sums of all metrics as they are, by state.
pub(crate) fn metric_sums(session: &mut Session, logs: &[String]) -> Result<Vec<(String, f64)>> {
    let names = logs.iter().map(|log| metric_names(log)).flat_map(|(total, count)| [total, count]);
    names.map(|name| session.read_scalar(&name).map(|sum| (name, sum))).collect()
}

/// The means of all metrics so far.
pub(crate) fn read_metrics(session: &mut Session, logs: &[String]) -> Result<Logs> {
    logs.iter()
        .map(|log| {
            let (total, count) = metric_names(log);
            let mean = metrics::result(session.read_scalar(&total)?, session.read_scalar(&count)?);
            Ok((log.as_str(), mean))
        })
        .collect()
}

/// The programs of one kind for whole and for last batches, so that a step looks nothing up.
pub(crate) struct Programs {
    spec: ProgramSpec,
    kind: Kind,
    loaded: Vec<(usize, Loaded)>,
}

impl Programs {
    pub(crate) fn new(kind: Kind, spec: ProgramSpec) -> Programs {
        Programs { spec, kind, loaded: Vec::new() }
    }

    /// What they are made by.
    pub(crate) fn spec(&self) -> &ProgramSpec {
        &self.spec
    }

    /// The program for batches of so many examples.
    pub(crate) fn get(&mut self, model: &mut Model, batch: usize) -> Result<Loaded> {
        if let Some((_, loaded)) = self.loaded.iter().find(|(n, _)| *n == batch) {
            return Ok(loaded.clone());
        }
        let loaded = model.program(self.kind, &ProgramSpec { batch, ..self.spec.clone() })?;
        self.loaded.push((batch, loaded.clone()));
        Ok(loaded)
    }
}

impl Model {
    /// Which program evaluation and training use for this data.
    pub fn program_spec(
        &self,
        data: &dyn Dataset,
        batch: usize,
        weighted: bool,
        seed: u64,
    ) -> Result<ProgramSpec> {
        let wiring = Wiring::new(data, &self.network.inputs(), &self.compiled()?.goals)?;
        let weighted = weighted || wiring.weight.is_some();
        Ok(ProgramSpec { wiring, batch, weighted, seed, kept: None })
    }

    /// Which program prediction uses for this data.
    pub fn predict_spec(&self, data: &dyn Dataset, batch: usize) -> Result<ProgramSpec> {
        let wiring = Wiring::for_inputs(data, &self.network.inputs())?;
        Ok(ProgramSpec { wiring, batch, weighted: false, seed: 0, kept: None })
    }

    pub(crate) fn feed(&self, wiring: Wiring, class_weight: &[(usize, f32)]) -> Result<Feed> {
        let inputs = self.network.inputs();
        let goals = if wiring.targets.is_empty() { &[][..] } else { &self.compiled()?.goals };
        Feed::new(wiring, &inputs, goals, class_weight)
    }

    /// Loss and metrics over a data set.
    pub fn evaluate(&mut self, data: Arc<dyn Dataset>, batch_size: usize) -> Result<Logs> {
        self.evaluate_watched(&data, batch_size, LoaderOptions::default(), &mut None)
    }

    /// The same, telling `observer` how far it is.
    pub fn evaluate_watched(
        &mut self,
        data: &Arc<dyn Dataset>,
        batch_size: usize,
        options: LoaderOptions,
        observer: &mut Option<Box<dyn Observer>>,
    ) -> Result<Logs> {
        let mut steps = self.judge(data, batch_size, options)?;
        let judged = self.evaluate_until(&mut steps, observer, &|| false)?;
        judged.ok_or_else(|| TrainError::argument("evaluation was interrupted"))
    }

    /// The steps of an evaluation.
    pub(crate) fn judge(
        &self,
        data: &Arc<dyn Dataset>,
        batch_size: usize,
        options: LoaderOptions,
    ) -> Result<Steps> {
        check_batches(&**data, batch_size)?;
        let spec = self.program_spec(&**data, batch_size, false, 0)?;
        let feed = self.feed(spec.wiring.clone(), &[])?;
        Ok(Steps::new(Kind::Evaluate, data, feed, spec, options))
    }

    /// Evaluates by these steps; nothing where `stop` says, before some step, that it is enough.
    pub(crate) fn evaluate_until(
        &mut self,
        steps: &mut Steps,
        observer: &mut Option<Box<dyn Observer>>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Logs>> {
        self.declare_states(true)?;
        let logs = self.log_names()?;
        reset_metrics(self.session()?, &logs)?;
        let order = epoch_order(steps.examples(), 0, 0, false);
        steps.begin(self, order, 0)?;
        let (mut told, mut done) = (Instant::now(), 0);
        loop {
            if done < steps.batches() && stop() {
                return Ok(None);
            }
            let ran = steps.run(self, done, usize::MAX)?;
            if ran == 0 {
                break;
            }
            done += ran;
            if let Some(observer) = observer
                && told.elapsed() >= REPORT_EVERY
            {
                told = Instant::now();
                observer.event(&Event::Evaluating { step: done, steps: steps.batches() });
            }
        }
        read_metrics(self.session()?, &logs).map(Some)
    }

    /// The model's outputs for every example: one tensor [n, ..] per output.
    pub fn predict(&mut self, data: Arc<dyn Dataset>, batch_size: usize) -> Result<Vec<Tensor>> {
        let outputs = self.network.outputs();
        let mut all: Vec<Vec<u8>> = vec![Vec::new(); outputs.len()];
        self.predict_batches(&data, batch_size, |_, tensors| {
            all.iter_mut().zip(tensors).for_each(|(bytes, t)| bytes.extend_from_slice(t.bytes()));
            Ok(())
        })?;
        let shaped = outputs.iter().zip(all).map(|(info, bytes)| {
            let shape = [&[data.len()], info.shape.as_slice()].concat();
            Tensor::from_bytes(thalweg_base::DType::F32, &shape, bytes)
                .ok_or_else(|| TrainError::argument(format!("output '{}' has a wrong size", info.name)))
        });
        shaped.collect()
    }

    /// Calls `each` with every batch and its outputs, in order: for data sets whose outputs need not be kept.
    pub fn predict_batches(
        &mut self,
        data: &Arc<dyn Dataset>,
        batch_size: usize,
        mut each: impl FnMut(&Batch, Vec<Tensor>) -> Result<()>,
    ) -> Result<()> {
        let spec = self.predict_spec(&**data, batch_size)?;
        let mut feed = self.feed(spec.wiring.clone(), &[])?;
        let mut programs = Programs::new(Kind::Predict, spec);
        batches(data, batch_size, LoaderOptions::default(), |batch, _, _| {
            let program = programs.get(self, batch.size)?;
            feed.write(self.session()?, &program, batch)?;
            self.session()?.run(&program)?;
            let outputs = self.outputs(&program)?;
            each(batch, outputs).map(|()| true)
        })
    }

    fn outputs(&mut self, program: &Loaded) -> Result<Vec<Tensor>> {
        let names: Vec<String> = self.network.outputs().into_iter().map(|o| o.name).collect();
        let session = self.session()?;
        names.iter().map(|name| session.read_output(program, &format!("output/{name}"))).collect()
    }

    /// How often each class is taken for which: rows are labels, columns predictions of the first output.
    pub fn confusion(&mut self, data: &Arc<dyn Dataset>, batch_size: usize) -> Result<Confusion> {
        let outputs = self.network.outputs();
        let classes = match outputs.first().map(|o| o.shape.as_slice()) {
            Some(&[classes]) if classes > 1 => classes,
            _ => {
                return Err(TrainError::argument(
                    "a confusion matrix needs a first output of one score per class",
                ));
            }
        };
        let Some(field) = data.fields().iter().position(thalweg_data::Field::is_label) else {
            return Err(TrainError::argument(format!("{} has no class labels", data.describe())));
        };
        let dtype = data.fields()[field].dtype;
        let names = match data.class_names() {
            [] => self.info.class_names.clone(),
            names => names.to_vec(),
        };
        let mut confusion = Confusion::new(classes, &names);
        self.predict_batches(data, batch_size, |batch, outputs| {
            let scores = outputs.first().map(Tensor::to_f32).unwrap_or_default();
            let labels = Tensor::from_bytes(dtype, &[batch.size], batch.fields[field].clone());
            let labels = labels.map(|t| t.to_i64()).unwrap_or_default();
            confusion.count(&labels, &scores);
            Ok(())
        })?;
        Ok(confusion)
    }

    /// The outputs for given inputs ([n, ..] each, by the network's names of inputs).
    pub fn predict_tensors(&mut self, inputs: &[(String, Tensor)]) -> Result<Vec<(String, Tensor)>> {
        let program = self.start_prediction(inputs)?;
        let names = self.network.outputs().into_iter().map(|o| o.name);
        Ok(names.zip(self.outputs(&program)?).collect())
    }

    /// Starts the prediction of given inputs; its outputs are those of the program.
    pub(crate) fn start_prediction(&mut self, inputs: &[(String, Tensor)]) -> Result<Loaded> {
        let (mut wires, mut fields, mut size) = (Vec::new(), Vec::new(), None);
        for info in self.network.inputs() {
            let Some((_, tensor)) = inputs.iter().find(|(n, _)| *n == info.name) else {
                return Err(TrainError::argument(format!("input '{}' is missing", info.name)));
            };
            let Some((&n, shape)) = tensor.shape().split_first() else {
                return Err(TrainError::argument(format!("input '{}' is a scalar", info.name)));
            };
            if n == 0 || *size.get_or_insert(n) != n || !same_but_ones(shape, &info.shape) {
                return Err(TrainError::argument(format!(
                    "input '{}' has the shape {:?}; needed is the same number of examples for all inputs, each \
                     of shape {:?}",
                    info.name,
                    tensor.shape(),
                    info.shape
                )));
            }
            wires.push(Wire { field: fields.len(), shape: shape.to_vec(), dtype: tensor.dtype() });
            fields.push(tensor.bytes().to_vec());
        }
        let size = size.unwrap_or(0);
        let wiring = Wiring { inputs: wires, ..Wiring::default() };
        let spec = ProgramSpec { wiring: wiring.clone(), batch: size, weighted: false, seed: 0, kept: None };
        let program = self.program(Kind::Predict, &spec)?;
        let mut feed = self.feed(wiring, &[])?;
        feed.write(self.session()?, &program, &Batch { fields, size })?;
        self.session()?.run(&program)?;
        Ok(program)
    }

    pub(crate) fn golden_outputs(&mut self) -> Result<Vec<(String, Tensor)>> {
        let inputs = self.golden_inputs.clone();
        self.predict_tensors(&inputs)
    }

    /// Makes the first `count` examples of `data` those by which files prove themselves.
    pub fn set_golden(&mut self, data: &dyn Dataset, count: usize) -> Result<()> {
        let wiring = Wiring::for_inputs(data, &self.network.inputs())?;
        let (fields, count) = (data.fields(), count.min(data.len()));
        let mut columns: Vec<Vec<u8>> = vec![Vec::new(); fields.len()];
        let mut row: Vec<Vec<u8>> = fields.iter().map(|f| vec![0; f.bytes()]).collect();
        for index in 0..count {
            let mut views: Vec<&mut [u8]> = row.iter_mut().map(Vec::as_mut_slice).collect();
            data.read(index, &mut views)?;
            columns.iter_mut().zip(&row).for_each(|(all, one)| all.extend_from_slice(one));
        }
        self.golden_inputs = self
            .network
            .inputs()
            .iter()
            .zip(&wiring.inputs)
            .filter_map(|(info, wire)| {
                let shape = [&[count], wire.shape.as_slice()].concat();
                let bytes = std::mem::take(&mut columns[wire.field]);
                Some((info.name.clone(), Tensor::from_bytes(wire.dtype, &shape, bytes)?))
            })
            .collect();
        Ok(())
    }

    /// The largest difference between what this device makes of a file's golden inputs and what the file says.
    pub fn verify(&mut self, golden: &Golden) -> Result<f64> {
        let found = self.predict_tensors(&golden.inputs)?;
        golden.apart(&found)
    }
}

impl Golden {
    /// The largest difference between what a device made of the inputs and the outputs here.
    pub(crate) fn apart(&self, found: &[(String, Tensor)]) -> Result<f64> {
        let mut worst = 0f64;
        for (name, want) in &self.outputs {
            let Some((_, got)) = found.iter().find(|(n, t)| n == name && t.shape() == want.shape()) else {
                return Err(TrainError::argument(format!(
                    "the file's golden output '{name}' {:?} is not an output of its model",
                    want.shape()
                )));
            };
            for (a, b) in got.to_f32().iter().zip(want.to_f32()) {
                let difference = f64::from((a - b).abs());
                // NaN must not pass as agreement.
                worst = if difference.is_nan() { f64::INFINITY } else { worst.max(difference) };
            }
        }
        Ok(worst)
    }
}
