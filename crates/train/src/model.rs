//! A model in use: a network with weights, what it is trained with, and the device it lives on.
//!
//! Input: a config or a file, a device's name. Output: training, evaluation, prediction, files. Invariants: the
//! weights are on the device once there is a session, and on the host before; every program of the model works
//! on the same states.

use crate::compile::{Compile, Goal, log_names};
use crate::files::{
    Golden, ModelInfo, ModelReader, Provenance, WeightSpec, check_names, write_model, write_weights,
};
use crate::rows::{DATA, Kept};
use crate::session::{Kind, Loaded, Session};
use crate::step::{self, Plans, StateInit};
use crate::wiring::Wiring;
use crate::{Result, Tensor, TrainError};
use sha2::{Digest, Sha256};
use std::path::Path;
use thalweg_base::DType;
use thalweg_device::{Device, DeviceError, DeviceInfo, MemoryUse};
use thalweg_graph::{Graph, Type};
use thalweg_nn::{ModelConfig, Network};

/// A model that trains.
pub struct Model {
    pub(crate) network: Network,
    pub(crate) compiled: Option<Compiled>,
    seed: u64,
    device: String,
    threads: Option<usize>,
    session: Option<Session>,
    /// Weights while there is no session.
    weights: Vec<Tensor>,
    pub(crate) info: ModelInfo,
    /// Inputs that every saved file proves itself by.
    pub(crate) golden_inputs: Vec<(String, Tensor)>,
}

/// What a model is trained with, resolved for its outputs.
pub(crate) struct Compiled {
    pub compile: Compile,
    pub goals: Vec<Goal>,
}

impl Model {
    /// A new model with its first weights.
    pub fn from_config(config: ModelConfig, seed: u64) -> Result<Model> {
        let network = Network::new(config)?;
        check_names(network.weights().iter().map(|w| w.path.as_str()))?;
        let shapes = network.weights().iter().map(|w| w.shape.clone()).collect::<Vec<_>>();
        // Asked for before it is filled: a model beyond memory is an error, not an abort.
        let bytes = 2 * shapes.iter().map(|s| 4 * s.iter().product::<usize>()).sum::<usize>();
        if Vec::<u8>::new().try_reserve_exact(bytes).is_err() {
            return Err(TrainError::argument(format!(
                "the model's weights need {:.1} GB, more memory than there is; make its layers smaller",
                bytes as f64 / 2e9
            )));
        }
        let weights = network
            .initial_weights(seed)
            .iter()
            .zip(shapes)
            .filter_map(|(values, shape)| Tensor::f32(&shape, values))
            .collect();
        let model = serde_json::to_value(network.config()).unwrap_or_default();
        let provenance =
            Provenance { seed, version: env!("CARGO_PKG_VERSION").into(), ..Provenance::default() };
        Ok(Model {
            network,
            compiled: None,
            seed,
            device: "auto".into(),
            threads: None,
            session: None,
            weights,
            info: ModelInfo { model, provenance, ..ModelInfo::default() },
            golden_inputs: Vec::new(),
        })
    }

    /// A model from a file, with its weights and what it was compiled with. Optimizer states are not in model
    /// files; to go on with a training use [`crate::Fit::resume`].
    pub fn load(path: impl AsRef<Path>) -> Result<Model> {
        Model::from_reader(&mut ModelReader::open(path.as_ref())?)
    }

    /// The same from an opened file.
    pub fn from_reader(reader: &mut ModelReader) -> Result<Model> {
        let info = reader.info().clone();
        let file = |what: String| TrainError::file(reader.path(), what, "use a file that `save` wrote");
        if reader.is_weights_only() {
            return Err(file(
                "it holds weights only, for `load_weights` of a model with the same layers".into(),
            ));
        }
        let config = ModelConfig::try_from(info.model.clone()).map_err(|e| file(e.to_string()))?;
        let compile: Option<Compile> = serde_json::from_value(info.compile.clone())
            .map_err(|e| file(format!("its 'compile' cannot be read: {e}")))?;
        // Sizes are known from the config alone: compare them with the file before making weights.
        let network = Network::new(config.clone()).map_err(|e| file(e.to_string()))?;
        let weights = reader.weights(&specs(&network))?;
        let golden = reader.golden()?;
        let mut model = Model::from_config(config, info.provenance.seed)?;
        model.weights = weights;
        model.info = info;
        model.golden_inputs = golden.map(|g| g.inputs).unwrap_or_default();
        if let Some(compile) = compile {
            model.compile(compile)?;
        }
        Ok(model)
    }

    /// Chooses the device by name (default `auto`); `threads` for the CPU, instead of all cores. Weights move
    /// there when used next.
    pub fn set_device(&mut self, name: &str, threads: Option<usize>) -> Result<()> {
        self.weights = self.read_weights()?;
        self.session = None;
        (self.device, self.threads) = (name.into(), threads);
        Ok(())
    }

    /// Uses an opened device.
    pub fn use_device(&mut self, device: Box<dyn Device>) -> Result<()> {
        self.set_device(&device.info().name, None)?;
        let session = Session::new(device);
        self.start(session)
    }

    fn start(&mut self, mut session: Session) -> Result<()> {
        for (weight, value) in self.network.weights().iter().zip(&self.weights) {
            session.declare(&weight.path, &Type::f32(&weight.shape))?;
            session.write_state(&weight.path, value)?;
        }
        self.weights.clear();
        self.session = Some(session);
        Ok(())
    }

    /// The device with the model on it, opened when it is needed first.
    pub fn session(&mut self) -> Result<&mut Session> {
        if self.session.is_none() {
            let device = thalweg_device::open(&self.device, self.threads)?;
            self.start(Session::new(device))?;
        }
        self.session.as_mut().ok_or_else(|| TrainError::argument("the device is gone"))
    }

    /// Sets optimizer, losses and metrics. Optimizer states start anew.
    pub fn compile(&mut self, compile: Compile) -> Result<()> {
        let goals = compile.goals(&self.network.outputs())?;
        self.info.compile = serde_json::to_value(&compile).unwrap_or_default();
        let weights: Vec<&str> = self.network.weights().iter().map(|w| w.path.as_str()).collect();
        if let Some(session) = &mut self.session {
            session.forget(|name| !weights.contains(&name));
        }
        self.compiled = Some(Compiled { compile, goals });
        Ok(())
    }

    pub(crate) fn compiled(&self) -> Result<&Compiled> {
        self.compiled.as_ref().ok_or_else(|| {
            TrainError::argument(
                "the model has no optimizer and loss yet; call compile before fit or evaluate",
            )
        })
    }

    /// What the model was compiled with.
    pub fn compile_config(&self) -> Option<&Compile> {
        self.compiled.as_ref().map(|c| &c.compile)
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The seed of its first weights.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What is in its files beside tensors; class names and preprocessing are the caller's to set.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// To set class names, preprocessing and provenance.
    pub fn info_mut(&mut self) -> &mut ModelInfo {
        &mut self.info
    }

    /// Lets the layers whose names match (`*` for anything) learn, or not. Returns how many matched. The
    /// optimizer starts anew, as in Keras after another `compile`.
    pub fn set_trainable(&mut self, pattern: &str, trainable: bool) -> Result<usize> {
        let matched = self.network.set_trainable(pattern, trainable);
        if matched == 0 {
            let names: Vec<&str> = self.network.config().layers.iter().map(|l| l.name.as_str()).collect();
            return Err(TrainError::argument(thalweg_nn::suggest::unknown("layer", pattern, &names)));
        }
        self.info.model = serde_json::to_value(self.network.config()).unwrap_or_default();
        if let Some(compiled) = self.compiled.take() {
            self.compile(compiled.compile)?;
        } else if let Some(session) = &mut self.session {
            session.unload_all();
        }
        Ok(matched)
    }

    /// Weights by path, in the network's order.
    pub fn weights(&mut self) -> Result<Vec<(String, Tensor)>> {
        let values = self.read_weights()?;
        Ok(self.network.weights().iter().map(|w| w.path.clone()).zip(values).collect())
    }

    pub(crate) fn read_weights(&mut self) -> Result<Vec<Tensor>> {
        match &mut self.session {
            None => Ok(self.weights.clone()),
            Some(session) => self.network.weights().iter().map(|w| session.read_state(&w.path)).collect(),
        }
    }

    /// Sets all weights, in the network's order.
    pub fn set_weights(&mut self, values: &[Tensor]) -> Result<()> {
        let weights = self.network.weights();
        if values.len() != weights.len() {
            return Err(TrainError::argument(format!(
                "{} weights were given, but the model has {}",
                values.len(),
                weights.len()
            )));
        }
        for (weight, value) in weights.iter().zip(values) {
            if value.shape() != weight.shape || value.dtype() != DType::F32 {
                return Err(TrainError::argument(format!(
                    "weight '{}' is f32{:?}, but was given {}{:?}",
                    weight.path,
                    weight.shape,
                    value.dtype(),
                    value.shape()
                )));
            }
        }
        match &mut self.session {
            None => self.weights = values.to_vec(),
            Some(session) => {
                for (weight, value) in weights.iter().zip(values) {
                    session.write_state(&weight.path, value)?;
                }
            }
        }
        Ok(())
    }

    /// Sets one weight, by its index in the network's order.
    pub(crate) fn set_weight(&mut self, index: usize, values: &[f32]) -> Result<()> {
        let weight = &self.network.weights()[index];
        let tensor = Tensor::f32(&weight.shape, values)
            .ok_or_else(|| TrainError::argument(format!("weight '{}' is {:?}", weight.path, weight.shape)))?;
        match &mut self.session {
            None => self.weights[index] = tensor,
            Some(session) => session.write_state(&weight.path, &tensor)?,
        }
        Ok(())
    }

    /// Takes over the weights of a file whose names and shapes are this model's.
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let values = ModelReader::open(path.as_ref())?.weights(&specs(&self.network))?;
        self.set_weights(&values)
    }

    /// SHA-256 of all weights in the order of their paths: each path, a zero byte, the bytes.
    pub fn weights_sha256(&mut self) -> Result<String> {
        let mut weights = self.weights()?;
        weights.sort_by(|a, b| a.0.cmp(&b.0));
        let mut hash = Sha256::new();
        for (path, value) in &weights {
            hash.update(path.as_bytes());
            hash.update([0]);
            hash.update(value.bytes());
        }
        Ok(hex(&hash.finalize()))
    }

    /// Writes a model file. Weights that are not finite are refused: a file that cannot be loaded is no file.
    pub fn save(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let golden = match self.golden_inputs.is_empty() {
            true => None,
            false => Some(Golden { inputs: self.golden_inputs.clone(), outputs: self.golden_outputs()? }),
        };
        let weights = self.finite_weights(path.as_ref())?;
        write_model(path.as_ref(), &self.info, &weights, golden.as_ref())
    }

    /// Writes the weights alone, for [`Model::load_weights`]. Keras' `save_weights`.
    pub fn save_weights(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let weights = self.finite_weights(path.as_ref())?;
        write_weights(path.as_ref(), &weights)
    }

    pub(crate) fn finite_weights(&mut self, path: &Path) -> Result<Vec<(String, Tensor)>> {
        let weights = self.weights()?;
        match weights.iter().find(|(_, t)| t.first_not_finite().is_some()) {
            None => Ok(weights),
            Some((name, _)) => Err(TrainError::file(
                path,
                format!("not written, as weight '{name}' of the model is not finite"),
                "what was there before is unchanged; go back to an earlier checkpoint",
            )),
        }
    }

    /// What the device is; opens it if need be.
    pub fn device_info(&mut self) -> Result<DeviceInfo> {
        Ok(self.session()?.info())
    }

    /// What the device holds now; opens it if need be.
    pub fn memory(&mut self) -> Result<MemoryUse> {
        Ok(self.session()?.memory())
    }

    /// What the loaded plans say the device must hold: see [`Session::planned_bytes`].
    pub fn planned_bytes(&mut self) -> Result<usize> {
        Ok(self.session()?.planned_bytes())
    }

    /// Every state of training but the weights.
    pub(crate) fn state_list(&self) -> Result<Vec<StateInit>> {
        let c = self.compiled()?;
        Ok(step::training_states(&self.network, &c.compile.optimizer, &c.goals))
    }

    /// Makes sure that the states of training exist; new ones get their first values. Evaluation needs only
    /// those of metrics.
    pub(crate) fn declare_states(&mut self, only_metrics: bool) -> Result<()> {
        let list = self.state_list()?;
        let session = self.session()?;
        for s in list.iter().filter(|s| !only_metrics || s.name.starts_with("metric/")) {
            if session.declare(&s.name, &s.ty)? && s.initial != 0.0 {
                match s.ty.shape.as_slice() {
                    [] => session.write_scalar(&s.name, s.initial)?,
                    shape => {
                        let values = vec![s.initial as f32; s.ty.len()];
                        if let Some(tensor) = Tensor::f32(shape, &values) {
                            session.write_state(&s.name, &tensor)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The graph of a kind, as it is compiled: for `explain`.
    pub fn graph(&self, kind: Kind, of: &ProgramSpec) -> Result<Graph> {
        let empty = Vec::new();
        let goals = self.compiled.as_ref().map_or(&empty, |c| &c.goals);
        let plans = Plans::of(&self.network, goals, of);
        if kind != Kind::Predict {
            self.compiled()?;
        }
        match kind {
            Kind::Train => step::training(plans, &self.compiled()?.compile.optimizer),
            Kind::Evaluate => Ok(step::evaluation(plans)),
            Kind::Predict => Ok(step::prediction(plans)),
            Kind::Diagnose => Ok(step::diagnosis(plans)),
        }
    }

    /// Names of a program's inputs, in the order of [`Wiring::fields`].
    pub fn input_names(&self, of: &ProgramSpec) -> Result<Vec<String>> {
        let goals = if of.wiring.targets.is_empty() { &[][..] } else { &self.compiled()?.goals };
        Ok(of.wiring.names(&self.network.inputs(), goals))
    }

    /// The loaded program of a kind; compiled when it is asked for first.
    pub fn program(&mut self, kind: Kind, of: &ProgramSpec) -> Result<Loaded> {
        if kind != Kind::Predict {
            self.declare_states(kind == Kind::Evaluate)?;
        }
        match self.program_of(kind, "", of, |model| model.graph(kind, of)) {
            Err(TrainError::Device(error @ DeviceError::OutOfMemory { .. })) => {
                Err(self.too_large(kind, of, error))
            }
            other => other,
        }
    }

    /// The error of a program that does not fit, with a batch size that does, where the device knows its memory.
    fn too_large(&mut self, kind: Kind, of: &ProgramSpec, error: DeviceError) -> TrainError {
        let Some(session) = &self.session else { return error.into() };
        if session.room().is_none() {
            return error.into();
        }
        let halves = std::iter::successors(Some(of.batch / 2), |n| Some(n / 2)).take_while(|n| *n > 0);
        let fits = |batch: &usize| {
            let graph = self.graph(kind, &ProgramSpec { batch: *batch, ..of.clone() });
            graph.is_ok_and(|g| session.would_fit(&g))
        };
        let fits = halves.into_iter().find(fits);
        TrainError::Memory { error, batch: of.batch, fits }
    }

    /// The loaded program that `what` and `of` name; of the graph that `build` makes when it is asked for first.
    pub(crate) fn program_of(
        &mut self,
        kind: Kind,
        what: &str,
        of: &ProgramSpec,
        build: impl FnOnce(&Model) -> Result<Graph>,
    ) -> Result<Loaded> {
        let weighted = if of.weighted { "w" } else { "" };
        let kept = of.kept.map_or(String::new(), |k| format!(" of {} by {}", k.examples, k.batch));
        let key = format!("{what}b{}{weighted} {:?} s{}{kept}", of.batch, of.wiring, of.seed);
        self.session()?;
        let Some(mut session) = self.session.take() else {
            return Err(TrainError::argument("the device is gone"));
        };
        let loaded = session.program(kind, &key, || build(self));
        self.session = Some(session);
        loaded
    }

    /// Frees the data that [`Model::keep_data`] copied, and the programs that take batches of them.
    pub fn give_back_data(&mut self) {
        if let Some(session) = &mut self.session {
            session.release(DATA);
        }
    }

    /// Names of the logs that training and evaluation make.
    pub fn log_names(&self) -> Result<Vec<String>> {
        Ok(log_names(&self.compiled()?.goals))
    }
}

/// Which program: how data is wired, for how many examples.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramSpec {
    /// Which fields feed it.
    pub wiring: Wiring,
    /// Examples in a step.
    pub batch: usize,
    /// Whether examples have weights.
    pub weighted: bool,
    /// Key of random numbers.
    pub seed: u64,
    /// The data on the device, if batches are taken there.
    pub kept: Option<Kept>,
}

/// What the weights of a network are in a file.
pub(crate) fn specs(network: &Network) -> Vec<WeightSpec> {
    let spec = |w: &thalweg_nn::Weight| WeightSpec { path: w.path.clone(), shape: w.shape.clone() };
    network.weights().iter().map(spec).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
