//! The training loop.
//!
//! Input: a model, data, [`Fit`]. Output: [`Fitted`], and on the way files, callbacks and events. Invariants: a
//! step only copies the batch and runs, or not even that; the host reads the device's states at most ten times a second; a resumed
//! run does exactly the steps of an uninterrupted one.

use crate::callbacks::{CSVLogger, Callback, EpochContext, StepContext, TensorBoard, TrainContext, Training};
use crate::desk::Desk;
use crate::diagnose::Origin;
use crate::evaluate::{metric_sums, read_metrics, reset_metrics};
use crate::events::{Event, REPORT_EVERY};
use crate::files::{Settings, TrainerState};
use crate::fit::{End, Fit, Fitted, OnNan};
use crate::model::Model;
use crate::report::RunFolder;
use crate::resume::{self, Position};
use crate::session::Kind;
use crate::step::{BAD_STEP, ITERATION};
use crate::steps::Steps;
use crate::{History, Logs, Result, TrainError};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use thalweg_data::{Dataset, Epoch, Subset, epoch_order};

/// Examples by which a trained model's file proves itself.
const GOLDEN: usize = 4;

impl Model {
    /// Trains. Keras' `fit()`.
    pub fn fit(&mut self, data: Arc<dyn Dataset>, mut fit: Fit) -> Result<Fitted> {
        // Keras' default.
        fit.validation_split = fit.validation_split.filter(|&fraction| fraction != 0.0);
        let (data, validation) = match fit.validation_split {
            Some(_) if fit.validation_data.is_none() && data.detection().is_some() => {
                return Err(TrainError::argument(
                    "validation_split would mix a mosaic's pictures; split the annotations (Annotations::split) and \
                     give validation_data",
                ));
            }
            Some(fraction) if fit.validation_data.is_none() => {
                let (training, held) = Subset::validation_split(data, fraction)?;
                (Arc::new(training) as Arc<dyn Dataset>, Some(Arc::new(held) as Arc<dyn Dataset>))
            }
            _ => (data, fit.validation_data.clone()),
        };
        fit.check(data.len())?;
        let fitted = Run::new(self, data, validation, fit).and_then(Run::train);
        self.give_back_data();
        fitted
    }
}

/// Whether a callback asked for the end of this step.
fn is_due(callback: &dyn Callback, steps_done: usize) -> bool {
    callback.every_steps().is_some_and(|n| n > 0 && steps_done.is_multiple_of(n))
}

/// Why the batches of an epoch ended.
enum Ended {
    /// All were done; the means of the epoch.
    Done(Logs),
    /// By a loss that was not finite.
    NotFinite(String),
    /// From outside.
    Interrupted,
}

/// A training.
struct Run<'m> {
    desk: Desk<'m>,
    callbacks: Vec<Box<dyn Callback>>,
    fit: Fit,
    data: Arc<dyn Dataset>,
    validation: Option<Arc<dyn Dataset>>,
    steps: Steps,
    /// Evaluation of the validation data.
    judge: Option<Steps>,
    log_names: Vec<String>,
    settings: Settings,
    history: History,
    seed: u64,
    checkpoint: Option<PathBuf>,
    last_checkpoint: Instant,
    started: Instant,
    /// Seconds before this run, where it goes on.
    earlier: f64,
    /// Why a callback ended training, once one has.
    stopped: Option<String>,
}

impl<'m> Run<'m> {
    fn new(
        model: &'m mut Model,
        data: Arc<dyn Dataset>,
        validation: Option<Arc<dyn Dataset>>,
        mut fit: Fit,
    ) -> Result<Run<'m>> {
        let seed = fit.seed.unwrap_or(model.seed());
        let weighted = !fit.class_weight.is_empty();
        let spec = model.program_spec(&*data, fit.batch_size, weighted, seed)?;
        let feed = model.feed(spec.wiring.clone(), &fit.class_weight)?;
        let steps = Steps::new(Kind::Train, &data, feed, spec, fit.loader);
        let batch = fit.validation_batch_size.unwrap_or(fit.batch_size);
        let judge = validation.as_ref().map(|v| model.judge(v, batch, fit.loader)).transpose()?;
        let mut callbacks = std::mem::take(&mut fit.callbacks);
        let folder = fit.run_folder.as_ref().map(|f| RunFolder::create(f)).transpose()?;
        if let Some(folder) = &folder {
            if let Some(recipe) = &fit.recipe {
                folder.write_recipe(recipe)?;
            }
            // After the user's own, which may add to the logs.
            callbacks.push(Box::new(CSVLogger::new(&folder.history().to_string_lossy())));
            callbacks.push(Box::new(TensorBoard::new(&folder.events().to_string_lossy())));
        }
        let checkpoint = fit.checkpoint.clone().or_else(|| folder.as_ref().map(RunFolder::checkpoint));
        if model.info.class_names.is_empty() {
            model.info.class_names = data.class_names().to_vec();
        }
        let compile = model.info.compile.clone();
        let settings = Settings {
            seed,
            batch_size: fit.batch_size,
            examples: data.len(),
            shuffle: fit.shuffle,
            data: resume::fingerprint(&*data)?,
            steps_per_epoch: fit.steps_per_epoch,
            class_weight: fit.class_weight.clone(),
            compile,
        };
        let log_names = model.log_names()?;
        let observer = fit.observer.take();
        let desk = Desk { model, observer, folder, kept: Default::default(), judged: None };
        let (history, now) = (History::default(), Instant::now());
        Ok(Run {
            desk,
            callbacks,
            fit,
            data,
            validation,
            steps,
            judge,
            log_names,
            settings,
            history,
            seed,
            checkpoint,
            last_checkpoint: now,
            started: now,
            earlier: 0.0,
            stopped: None,
        })
    }

    fn train(mut self) -> Result<Fitted> {
        let mut at = Position { epoch: self.fit.initial_epoch, batch: 0 };
        self.history.first_epoch = at.epoch;
        self.check_monitors()?;
        self.desk.model.declare_states(false)?;
        if let Some(path) = self.fit.resume.clone() {
            let (desk, callbacks) = (&mut self.desk, &mut self.callbacks);
            let resumed = resume::read(desk, &path, callbacks, &self.settings)?;
            (at, self.history) = (resumed.position, resumed.history);
            (self.earlier, self.stopped) = (resumed.seconds, resumed.stopped);
        }
        // A run that failed elsewhere may have left a bad step behind that nobody looked at.
        self.desk.model.session()?.write_scalar(BAD_STEP, -1.0)?;
        self.begin(at)?;
        let mut stop = self.stopped.clone();
        while at.epoch < self.fit.epochs && stop.is_none() {
            let began = Instant::now();
            let epochs = self.fit.epochs;
            let (steps, done) = (self.epoch_steps(), at.batch);
            self.desk.tell(&Event::EpochBegin { epoch: at.epoch, epochs, steps, done });
            if at.batch == 0 {
                reset_metrics(self.desk.model.session()?, &self.log_names)?;
                for callback in &mut self.callbacks {
                    callback.on_epoch_begin(at.epoch)?;
                }
            }
            let logs = match self.batches(&mut at)? {
                Ended::Done(logs) => logs,
                Ended::NotFinite(reason) => {
                    self.desk.note(reason.clone());
                    stop = Some(reason);
                    break;
                }
                Ended::Interrupted => return self.interrupted(at),
            };
            let trained = began.elapsed().as_secs_f64();
            let Some(logs) = self.end_epoch(at.epoch, logs, &mut stop)? else {
                return self.interrupted(at);
            };
            at = Position { epoch: at.epoch + 1, batch: 0 };
            let examples = (steps - done) * self.fit.batch_size;
            self.desk.tell(&Event::EpochEnd {
                epoch: at.epoch - 1,
                epochs,
                seconds: began.elapsed().as_secs_f64(),
                images_per_second: examples.min(self.data.len()) as f64 / trained.max(1e-9),
                logs: &logs,
            });
            self.desk.model.info.provenance.epochs = at.epoch;
            self.history.epochs.push(logs);
            self.stopped.clone_from(&stop);
            self.write_checkpoint(at)?;
            if let (Some(folder), Some(logs)) = (&self.desk.folder, self.history.last()) {
                folder.log_epoch(at.epoch - 1, epochs, began.elapsed().as_secs_f64(), logs);
                folder.write_curves(&self.history)?;
            }
            if stop.is_none() && at.epoch < epochs && self.is_interrupted() {
                return self.interrupted(at);
            }
        }
        self.end(at, stop)
    }

    /// Steps of a whole epoch.
    fn epoch_steps(&self) -> usize {
        let all = self.data.len().div_ceil(self.fit.batch_size);
        self.fit.steps_per_epoch.map_or(all, |n| n.min(all))
    }

    /// A watched log that will not be there must be said now and not after the first epoch.
    fn check_monitors(&self) -> Result<()> {
        let names = self.epoch_log_names();
        for callback in &self.callbacks {
            if callback.judges_averages() && !self.desk.model.has_averages() {
                return Err(TrainError::argument(format!(
                    "{} needs an optimizer that keeps means of the weights: set its use_ema to true",
                    callback.name()
                )));
            }
            let Some(monitor) = callback.monitor() else { continue };
            if names.iter().any(|n| n == monitor) {
                continue;
            }
            let hint = match monitor.strip_prefix("val_") {
                Some(rest) if self.validation.is_none() && names.iter().any(|n| n == rest) => {
                    "; give validation data, or watch the training's own"
                }
                _ => "",
            };
            return Err(TrainError::argument(format!(
                "{} watches '{monitor}', which will not be logged{hint}; logs are: {}",
                callback.name(),
                names.join(", ")
            )));
        }
        Ok(())
    }

    fn epoch_log_names(&self) -> Vec<String> {
        let mut names = self.log_names.clone();
        if self.validation.is_some() {
            names.extend(self.log_names.iter().map(|n| format!("val_{n}")));
        }
        names.push("learning_rate".into());
        names.extend(self.callbacks.iter().flat_map(|c| c.log_names()));
        names
    }

    /// Loads the programs. Data stay on the device only where all have room beside them.
    fn load(&mut self) -> Result<()> {
        let model = &mut *self.desk.model;
        let mut all: Vec<&mut Steps> = std::iter::once(&mut self.steps).chain(&mut self.judge).collect();
        all.iter_mut().try_for_each(|s| s.keep(model))?;
        if !all.iter().any(|s| s.kept()) {
            return all[0].load(model);
        }
        match all.iter_mut().try_for_each(|s| s.load(model)) {
            Err(e) if e.is_memory() => {
                model.give_back_data();
                all.iter_mut().for_each(|s| s.leave());
                all[0].load(model)
            }
            other => other,
        }
    }

    fn begin(&mut self, at: Position) -> Result<()> {
        let now = Instant::now();
        self.load()?;
        let resumed = self.fit.resume.is_some();
        let info = self.desk.model.device_info()?;
        let weights = self.desk.model.network.weights();
        let count = |w: &thalweg_nn::Weight| w.shape.iter().product::<usize>();
        let (parameters, trainable_parameters) =
            (weights.iter().map(count).sum(), weights.iter().filter(|w| w.trainable).map(count).sum());
        let event = Event::TrainBegin {
            examples: self.data.len(),
            validation_examples: self.validation.as_ref().map_or(0, |v| v.len()),
            epochs: self.fit.epochs,
            initial_epoch: at.epoch,
            steps: self.epoch_steps(),
            batch_size: self.fit.batch_size,
            device: &info.name,
            data_there: self.steps.kept(),
            parameters,
            trainable_parameters,
            planned_bytes: self.desk.model.planned_bytes()?,
            compile_seconds: now.elapsed().as_secs_f64(),
            resumed,
        };
        self.desk.tell(&event);
        if let Some(folder) = &self.desk.folder {
            folder.log(&format!(
                "training with {} on {}, {} ({})",
                self.data.describe(),
                info.name,
                info.description,
                if resumed { "resumed" } else { "from the start" }
            ));
        }
        if let Some(advice) = self.desk.model.advice()? {
            self.desk.note(advice);
        }
        let log_names = self.epoch_log_names();
        for callback in &mut self.callbacks {
            callback.on_train_begin(&mut TrainContext {
                initial_epoch: at.epoch,
                epochs: self.fit.epochs,
                resumed,
                log_names: &log_names,
                training: &mut self.desk,
            })?;
        }
        (self.started, self.last_checkpoint) = (Instant::now(), Instant::now());
        Ok(())
    }

    /// The rest of an epoch's batches, from `at` on.
    fn batches(&mut self, at: &mut Position) -> Result<Ended> {
        let mut order = epoch_order(self.data.len(), self.seed, at.epoch as u32, self.fit.shuffle);
        order.truncate(self.epoch_steps() * self.fit.batch_size);
        let epoch = Epoch { index: at.epoch as u32, of: self.fit.epochs as u32 };
        self.desk.judged = None;
        self.steps.serve(epoch);
        self.steps.begin(self.desk.model, order, at.batch)?;
        // Which batch an iteration was: the device counts steps, not batches.
        let mut base = (self.iteration()?, at.batch);
        let (mut told, mut told_at) = (Instant::now(), at.batch);
        loop {
            let most = self.until_due(*at);
            let ran = self.steps.run(self.desk.model, at.batch, most)?;
            at.batch += ran;
            if ran == 0 {
                match self.look(at, base)? {
                    None => break,
                    Some(bad) => match self.handle_bad(bad, at, &mut base)? {
                        Some(ended) => return Ok(ended),
                        None => continue,
                    },
                }
            }
            let interrupted = self.is_interrupted();
            let report = told.elapsed() >= REPORT_EVERY;
            let checkpoint = self.checkpoint_due(at.batch);
            let steps_done = at.epoch * self.epoch_steps() + at.batch;
            let asked = self.callbacks.iter().any(|c| is_due(&**c, steps_done));
            if !(report || interrupted || checkpoint || asked) {
                continue;
            }
            if let Some(bad) = self.look(at, base)? {
                if let Some(ended) = self.handle_bad(bad, at, &mut base)? {
                    return Ok(ended);
                }
                (told, told_at) = (Instant::now(), at.batch);
                continue;
            }
            // Before a checkpoint, so that it holds what they then know.
            if asked {
                self.step_callbacks(*at, steps_done)?;
            }
            if interrupted && at.batch < self.epoch_steps() {
                return Ok(Ended::Interrupted);
            }
            if checkpoint {
                self.write_checkpoint(*at)?;
            }
            if report {
                let steps_done = at.batch - told_at;
                self.progress(*at, steps_done as f64 / told.elapsed().as_secs_f64())?;
                (told, told_at) = (Instant::now(), at.batch);
            }
        }
        Ok(Ended::Done(read_metrics(self.desk.model.session()?, &self.log_names)?))
    }

    /// Steps until the host has something to do, whatever the clock says.
    fn until_due(&self, at: Position) -> usize {
        let done = at.epoch * self.epoch_steps() + at.batch;
        let asked = self.callbacks.iter().filter_map(|c| c.every_steps()).filter(|n| *n > 0);
        let kept = self.fit.checkpoint_steps.filter(|_| self.checkpoint.is_some());
        let due = asked.map(|n| n - done % n).chain(kept.map(|n| n - at.batch % n));
        due.min().unwrap_or(usize::MAX)
    }

    fn iteration(&mut self) -> Result<usize> {
        Ok(self.desk.model.session()?.read_scalar(ITERATION)? as usize)
    }

    fn progress(&mut self, at: Position, steps_per_second: f64) -> Result<()> {
        let logs = read_metrics(self.desk.model.session()?, &self.log_names)?;
        let steps = self.epoch_steps();
        let images_per_second = steps_per_second * self.fit.batch_size as f64;
        let event =
            Event::Progress { epoch: at.epoch, step: at.batch, steps, images_per_second, logs: &logs };
        self.desk.tell(&event);
        self.callbacks.iter_mut().try_for_each(|c| c.on_batch_end(at.batch - 1, &logs))
    }

    fn step_callbacks(&mut self, at: Position, steps_done: usize) -> Result<()> {
        let logs = read_metrics(self.desk.model.session()?, &self.log_names)?;
        for callback in self.callbacks.iter_mut().filter(|c| is_due(&***c, steps_done)) {
            let training = &mut self.desk;
            let (epoch, batch) = (at.epoch, at.batch - 1);
            callback.on_step_end(&mut StepContext { epoch, batch, logs: &logs, training })?;
        }
        Ok(())
    }

    /// The batch whose loss was not finite, if there was one since the last look.
    fn look(&mut self, at: &Position, base: (usize, usize)) -> Result<Option<usize>> {
        let bad = self.desk.model.session()?.read_scalar(BAD_STEP)?;
        let batch = (bad >= 0.0).then(|| base.1 + (bad as usize).saturating_sub(base.0));
        Ok(batch.map(|b| b.min(at.batch.saturating_sub(1))))
    }

    /// Finds out where it began, and does what was asked for. Nothing where training goes on, from `at`.
    fn handle_bad(
        &mut self,
        bad: usize,
        at: &mut Position,
        base: &mut (usize, usize),
    ) -> Result<Option<Ended>> {
        let step = self.iteration()?;
        let found = self.steps.origin(self.desk.model, bad)?;
        let error =
            TrainError::NotFinite { step, epoch: at.epoch + 1, batch: bad + 1, origin: found.describe() };
        // All well again, at the batch before the bad one: what a checkpoint now must say.
        self.desk.model.session()?.write_scalar(BAD_STEP, -1.0)?;
        *at = Position { batch: bad, ..*at };
        if matches!(found, Origin::Weight(_)) {
            return Err(error);
        }
        self.write_checkpoint(*at)?;
        let quietly = self.callbacks.iter().any(|c| c.ends_on_nan());
        match self.fit.on_nan {
            OnNan::Skip => {
                self.desk.note(format!("passed over a batch: {error}"));
                at.batch = bad + 1;
                *base = (step, at.batch);
                self.steps.go_on(self.desk.model, at.batch)?;
                Ok(None)
            }
            OnNan::Stop => Ok(Some(Ended::NotFinite(error.to_string()))),
            OnNan::Error if quietly => Ok(Some(Ended::NotFinite(error.to_string()))),
            OnNan::Error => Err(error),
        }
    }

    /// Validation, callbacks. Nothing where validation was interrupted: it is done again when training goes on.
    fn end_epoch(&mut self, epoch: usize, logs: Logs, stop: &mut Option<String>) -> Result<Option<Logs>> {
        let averaged = self.callbacks.iter().any(|c| c.judges_averages());
        if averaged {
            self.desk.model.swap_averages()?;
        }
        let judged = self.judge_epoch(epoch, logs, stop);
        if averaged {
            self.desk.model.swap_averages()?;
        }
        judged
    }

    fn judge_epoch(
        &mut self,
        epoch: usize,
        mut logs: Logs,
        stop: &mut Option<String>,
    ) -> Result<Option<Logs>> {
        if let Some(judge) = &mut self.judge {
            let sums = metric_sums(self.desk.model.session()?, &self.log_names)?;
            let Desk { model, observer, .. } = &mut self.desk;
            let flag = self.fit.interrupt.as_deref();
            let interrupted = || flag.is_some_and(|f| f.load(Ordering::Relaxed));
            let judged = model.evaluate_until(judge, observer, &interrupted)?;
            let Some(judged) = judged else {
                // Both sides use the same sums: those of the epoch are what a resumed run must find.
                let session = model.session()?;
                sums.iter().try_for_each(|(name, sum)| session.write_scalar(name, *sum))?;
                return Ok(None);
            };
            judged.iter().for_each(|(name, value)| logs.set(&format!("val_{name}"), value));
            self.desk.judged = Some(judged);
        }
        logs.set("learning_rate", self.desk.learning_rate()?);
        for callback in &mut self.callbacks {
            let training = &mut self.desk;
            callback.on_epoch_end(&mut EpochContext { epoch, logs: &mut logs, stop, training })?;
        }
        Ok(Some(logs))
    }

    fn is_interrupted(&self) -> bool {
        self.fit.interrupt.as_ref().is_some_and(|f| f.load(Ordering::Relaxed))
    }

    fn checkpoint_due(&self, batch: usize) -> bool {
        self.checkpoint.is_some()
            && (self.fit.checkpoint_steps.is_some_and(|n| batch.is_multiple_of(n))
                || self.fit.checkpoint_seconds.is_some_and(|s| self.last_checkpoint.elapsed() >= s))
    }

    fn write_checkpoint(&mut self, at: Position) -> Result<()> {
        let Some(path) = self.checkpoint.clone() else { return Ok(()) };
        let trainer = TrainerState {
            epoch: at.epoch,
            batch: at.batch,
            settings: self.settings.clone(),
            history: self.history.to_json(),
            callbacks: Vec::new(),
            stopped: self.stopped.clone(),
            seconds: self.seconds(),
        };
        resume::write(&mut self.desk, &path, &self.callbacks, trainer)?;
        self.last_checkpoint = Instant::now();
        Ok(())
    }

    fn seconds(&self) -> f64 {
        self.earlier + self.started.elapsed().as_secs_f64()
    }

    fn interrupted(mut self, at: Position) -> Result<Fitted> {
        self.write_checkpoint(at)?;
        let seconds = self.seconds();
        self.desk.tell(&Event::Interrupted { checkpoint: self.checkpoint.as_deref() });
        let end = End::Interrupted(self.checkpoint);
        Ok(Fitted { history: self.history, end, seconds, validation: None })
    }

    fn end(mut self, at: Position, stop: Option<String>) -> Result<Fitted> {
        if let Some(folder) = &self.desk.folder {
            folder.log(&stop.clone().unwrap_or_else(|| "training is complete".into()));
        }
        if let Some(reason) = &stop {
            self.desk.tell(&Event::Stopped { reason });
        }
        if self.desk.model.has_averages() {
            self.desk.judged = None;
        }
        self.desk.model.take_averages()?;
        let log_names = self.epoch_log_names();
        for callback in &mut self.callbacks {
            callback.on_train_end(&mut TrainContext {
                initial_epoch: self.fit.initial_epoch,
                epochs: self.fit.epochs,
                resumed: self.fit.resume.is_some(),
                log_names: &log_names,
                training: &mut self.desk,
            })?;
        }
        let provenance = &mut self.desk.model.info.provenance;
        (provenance.data, provenance.epochs, provenance.seed) = (self.data.describe(), at.epoch, self.seed);
        provenance.date = crate::report::utc_now();
        provenance.recipe = self.fit.recipe.clone().or_else(|| provenance.recipe.take());
        let golden = self.validation.as_ref().unwrap_or(&self.data);
        self.desk.model.set_golden(&**golden, GOLDEN)?;
        if let Some(path) = self.desk.folder.as_ref().map(RunFolder::model) {
            self.desk.save(&path)?;
        }
        let seconds = self.seconds();
        self.desk.tell(&Event::TrainEnd { seconds });
        let end = stop.map_or(End::Complete, End::Stopped);
        Ok(Fitted { history: self.history, end, seconds, validation: self.desk.judged })
    }
}
