//! What a model holds on its device: states, the inputs and outputs of its programs, and the programs.
//!
//! Input: states by name and type, graphs. Output: programs that share all states, loaded once per kind and
//! batch size. Invariants: storage goes by (role, name, bytes), so nothing is held twice; everything is given
//! back when the session ends; what is planned is what the device says it holds.

use crate::{Result, Tensor, TrainError};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use thalweg_base::DType;
use thalweg_compile::{Options, compile};
use thalweg_device::plan::{Binding, Plan, Role};
use thalweg_device::{Allocation, Device, DeviceError, DeviceInfo, MemoryUse, Program, StageTime};
use thalweg_graph::{Graph, Type};

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A training step.
    Train,
    /// An evaluation step.
    Evaluate,
    /// A prediction.
    Predict,
    /// A search for values that are not finite.
    Diagnose,
}

impl Kind {
    /// Its word in names of plans.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Train => "train",
            Kind::Evaluate => "evaluate",
            Kind::Predict => "predict",
            Kind::Diagnose => "diagnose",
        }
    }
}

/// A loaded program.
#[derive(Clone, Debug)]
pub struct Loaded {
    program: Program,
    /// The plan that runs.
    pub plan: Arc<Plan>,
    bindings: Arc<[Allocation]>,
}

/// A state's storage.
struct State {
    allocation: Allocation,
    ty: Type,
}

/// Inputs and outputs: by role, name and bytes.
type BufferKey = (bool, String, usize);

/// A device with what a model keeps there.
pub struct Session {
    device: Box<dyn Device>,
    states: BTreeMap<String, State>,
    buffers: HashMap<BufferKey, (Allocation, usize)>,
    programs: HashMap<String, Loaded>,
}

impl Session {
    /// An empty session.
    pub fn new(device: Box<dyn Device>) -> Session {
        Session { device, states: BTreeMap::new(), buffers: HashMap::new(), programs: HashMap::new() }
    }

    /// What the device is.
    pub fn info(&self) -> DeviceInfo {
        self.device.info()
    }

    /// The device, for what is done before programs are loaded.
    pub(crate) fn device_mut(&mut self) -> &mut dyn Device {
        &mut *self.device
    }

    /// Storage for a state; zeroed when it is new. Says whether it is.
    pub fn declare(&mut self, name: &str, ty: &Type) -> Result<bool> {
        if let Some(state) = self.states.get(name) {
            if state.ty == *ty {
                return Ok(false);
            }
            return Err(TrainError::argument(format!(
                "state '{name}' is {} and cannot become {ty}; make a new model",
                state.ty
            )));
        }
        let allocation = self.device.allocate(ty.bytes())?;
        self.states.insert(name.to_owned(), State { allocation, ty: ty.clone() });
        Ok(true)
    }

    /// Gives back the states whose names `gone` chooses, and every program, as they may be bound to them.
    pub fn forget(&mut self, gone: impl Fn(&str) -> bool) {
        self.unload_all();
        let names: Vec<String> = self.states.keys().filter(|n| gone(n)).cloned().collect();
        for state in names.iter().filter_map(|n| self.states.remove(n)).collect::<Vec<_>>() {
            self.device.free(state.allocation);
        }
    }

    /// Whether there is such a state.
    pub fn has(&self, name: &str) -> bool {
        self.states.contains_key(name)
    }

    /// Names of all states, sorted.
    pub fn state_names(&self) -> impl Iterator<Item = &str> {
        self.states.keys().map(String::as_str)
    }

    fn state(&self, name: &str) -> Result<&State> {
        self.states.get(name).ok_or_else(|| {
            TrainError::argument(format!("state '{name}' does not exist yet; compile the model first"))
        })
    }

    /// Sets a state.
    pub fn write_state(&mut self, name: &str, value: &Tensor) -> Result<()> {
        let state = self.state(name)?;
        if (value.dtype(), value.shape()) != (state.ty.dtype, state.ty.shape.as_slice()) {
            return Err(TrainError::argument(format!(
                "state '{name}' is {}, but was given {}{:?}",
                state.ty,
                value.dtype(),
                value.shape()
            )));
        }
        let allocation = state.allocation;
        Ok(self.device.write(allocation, 0, value.bytes())?)
    }

    /// A state as it is now.
    pub fn read_state(&mut self, name: &str) -> Result<Tensor> {
        let state = self.state(name)?;
        let (allocation, mut tensor) = (state.allocation, Tensor::zeros(state.ty.dtype, &state.ty.shape));
        self.device.read(allocation, 0, tensor.bytes_mut())?;
        Ok(tensor)
    }

    /// A scalar state as it is now; nothing is allocated.
    pub fn read_scalar(&mut self, name: &str) -> Result<f64> {
        let state = self.state(name)?;
        let (allocation, dtype) = (state.allocation, state.ty.dtype);
        let mut bytes = [0; 4];
        self.device.read(allocation, 0, &mut bytes)?;
        Ok(match dtype {
            DType::F32 => f64::from(f32::from_le_bytes(bytes)),
            _ => f64::from(i32::from_le_bytes(bytes)),
        })
    }

    /// Sets a scalar state.
    pub fn write_scalar(&mut self, name: &str, value: f64) -> Result<()> {
        let state = self.state(name)?;
        let (allocation, dtype) = (state.allocation, state.ty.dtype);
        let bytes = match dtype {
            DType::F32 => (value as f32).to_le_bytes(),
            _ => (value as i32).to_le_bytes(),
        };
        Ok(self.device.write(allocation, 0, &bytes)?)
    }

    /// The program of that key; compiled from what `build` makes when it is asked for first.
    pub fn program(
        &mut self,
        kind: Kind,
        key: &str,
        build: impl FnOnce() -> Result<Graph>,
    ) -> Result<Loaded> {
        let key = format!("{}/{key}", kind.name());
        if let Some(loaded) = self.programs.get(&key) {
            return Ok(loaded.clone());
        }
        let graph = build()?;
        let options = Options { name: key.clone(), ..Options::of(&self.device.info()) };
        let compiled = compile(&graph, &options);
        let loaded = self.load(Arc::new(compiled.plan))?;
        self.programs.insert(key, loaded.clone());
        Ok(loaded)
    }

    /// Bytes that programs could have, if the device knows.
    pub fn room(&self) -> Option<usize> {
        self.device.room()
    }

    /// Whether a graph's program would have room, as far as the device knows.
    pub fn would_fit(&self, graph: &Graph) -> bool {
        let options = Options::of(&self.device.info());
        let needs = self.device.needs(&[Arc::new(compile(graph, &options).plan)]);
        self.room().is_none_or(|room| needs.arena + needs.workspace <= room)
    }

    fn load(&mut self, plan: Arc<Plan>) -> Result<Loaded> {
        let mut bindings = Vec::with_capacity(plan.bindings.len());
        for b in &plan.bindings {
            let bytes = b.bytes();
            bindings.push(match b.role {
                Role::State => self.state(&b.name)?.allocation,
                Role::Input | Role::Output => {
                    let key = (b.role == Role::Input, b.name.clone(), bytes);
                    match self.buffers.get(&key) {
                        Some((allocation, _)) => *allocation,
                        None => {
                            let allocation = self.device.allocate(bytes)?;
                            self.buffers.insert(key, (allocation, bytes));
                            allocation
                        }
                    }
                }
            });
        }
        let program = self.device.load(Arc::clone(&plan), &bindings)?;
        Ok(Loaded { program, plan, bindings: bindings.into() })
    }

    /// Forgets every program and the inputs and outputs they had.
    pub fn unload_all(&mut self) {
        for (_, loaded) in self.programs.drain() {
            self.device.unload(loaded.program);
        }
        for (_, (allocation, _)) in self.buffers.drain() {
            self.device.free(allocation);
        }
    }

    /// Sets an input of a program.
    pub fn write_input(&mut self, loaded: &Loaded, name: &str, bytes: &[u8]) -> Result<()> {
        match loaded.plan.binding(Role::Input, name) {
            Some(at) => Ok(self.device.write(loaded.bindings[at as usize], 0, bytes)?),
            // The compiler found that nothing depends on it.
            None => Ok(()),
        }
    }

    /// Storage for an input of so many bytes before a program has it.
    pub(crate) fn reserve(&mut self, name: &str, bytes: usize) -> Result<()> {
        let key = (true, name.to_owned(), bytes);
        if !self.buffers.contains_key(&key) {
            let allocation = self.device.allocate(bytes)?;
            self.buffers.insert(key, (allocation, bytes));
        }
        Ok(())
    }

    /// Writes to the storage of an input of so many bytes.
    pub(crate) fn write_reserved(
        &mut self,
        name: &str,
        bytes: usize,
        offset: usize,
        part: &[u8],
    ) -> Result<()> {
        match self.buffers.get(&(true, name.to_owned(), bytes)) {
            Some((allocation, _)) => Ok(self.device.write(*allocation, offset, part)?),
            None => Err(TrainError::argument(format!("there is no storage of {bytes} bytes for '{name}'"))),
        }
    }

    /// Gives back the states and inputs whose names begin so, and the programs that are bound to them.
    pub(crate) fn release(&mut self, prefix: &str) {
        let mut gone = Vec::new();
        self.states.retain(|name, state| {
            let stays = !name.starts_with(prefix);
            gone.extend((!stays).then_some(state.allocation));
            stays
        });
        self.buffers.retain(|(input, name, _), (allocation, _)| {
            let stays = !(*input && name.starts_with(prefix));
            gone.extend((!stays).then_some(*allocation));
            stays
        });
        let device = &mut self.device;
        self.programs.retain(|_, loaded| {
            let stays = !loaded.bindings.iter().any(|b| gone.contains(b));
            if !stays {
                device.unload(loaded.program);
            }
            stays
        });
        gone.into_iter().for_each(|allocation| device.free(allocation));
    }

    /// Starts a run.
    pub fn run(&mut self, loaded: &Loaded) -> Result<(), DeviceError> {
        self.device.run(loaded.program)
    }

    /// Starts so many runs, one after another.
    pub fn run_many(&mut self, loaded: &Loaded, times: usize) -> Result<(), DeviceError> {
        self.device.run_many(loaded.program, times)
    }

    /// Runs once and times every kernel.
    pub fn profile(&mut self, loaded: &Loaded) -> Result<Vec<StageTime>> {
        Ok(self.device.profile(loaded.program)?)
    }

    /// Waits for all that was started.
    pub fn wait(&mut self) -> Result<()> {
        Ok(self.device.wait()?)
    }

    /// An output of a program's last run.
    pub fn read_output(&mut self, loaded: &Loaded, name: &str) -> Result<Tensor> {
        let (allocation, binding) = output(loaded, name)?;
        let mut tensor = Tensor::zeros(binding.dtype, &binding.shape);
        self.device.read(allocation, 0, tensor.bytes_mut())?;
        Ok(tensor)
    }

    /// The same where the host may not wait: ordered now, there when the future says so.
    pub fn read_output_later(
        &mut self,
        loaded: &Loaded,
        name: &str,
    ) -> Result<impl Future<Output = Result<Tensor>> + use<>> {
        let (allocation, binding) = output(loaded, name)?;
        let (dtype, shape, bytes) = (binding.dtype, binding.shape.clone(), binding.bytes());
        let read = self.device.read_later(allocation, 0, bytes)?;
        Ok(async move {
            let wrong =
                || TrainError::argument("the device read another number of bytes than it was asked for");
            Tensor::from_bytes(dtype, &shape, read.await?).ok_or_else(wrong)
        })
    }

    /// What the device holds.
    pub fn memory(&self) -> MemoryUse {
        self.device.memory()
    }

    /// What it will hold with the programs there are: all bindings, and what the device says the plans need.
    /// Equal to [`Session::memory`], but known without looking.
    pub fn planned_bytes(&self) -> usize {
        let plans: Vec<Arc<Plan>> = self.programs.values().map(|l| Arc::clone(&l.plan)).collect();
        self.planned_bindings() + self.device.needs(&plans).total()
    }

    /// Bytes of all states, inputs and outputs.
    pub fn planned_bindings(&self) -> usize {
        let states: usize = self.states.values().map(|s| s.ty.bytes()).sum();
        states + self.buffers.values().map(|(_, bytes)| bytes).sum::<usize>()
    }
}

/// Where an output of a program is, and what.
fn output<'a>(loaded: &'a Loaded, name: &str) -> Result<(Allocation, &'a Binding)> {
    let Some(at) = loaded.plan.binding(Role::Output, name) else {
        return Err(TrainError::argument(format!("plan {} has no output '{name}'", loaded.plan.name)));
    };
    Ok((loaded.bindings[at as usize], &loaded.plan.bindings[at as usize]))
}

impl Drop for Session {
    fn drop(&mut self) {
        self.unload_all();
        for (_, state) in std::mem::take(&mut self.states) {
            self.device.free(state.allocation);
        }
    }
}
