//! A plan on the GPU: its launches, kernels and calls of libraries, captured into a CUDA graph; and once several runs are wanted,
//! into one of several copies.

use super::driver::Gpu;
use super::kernels::{Function, Kernels};
use super::libraries::{Libraries, Prepared};
use crate::gpu::launch::{Argument, Launches, Work};
use crate::plan::{Place, Plan};
use crate::{Allocation, DeviceError};
use cudarc::driver::{result, sys};
use std::ffi::c_void;
use std::sync::Arc;

/// A launch with its addresses.
struct Ready {
    what: What,
    pointers: Vec<sys::CUdeviceptr>,
    /// The plan's kernel.
    source: usize,
}

/// What is launched.
enum What {
    Kernel { function: Function, groups: u32, threads: u32 },
    Call(Arc<Prepared>),
}

/// A loaded plan.
pub struct Loaded {
    gpu: Arc<Gpu>,
    pub plan: Arc<Plan>,
    pub launches: Launches,
    pub bound: Vec<Allocation>,
    ready: Vec<Ready>,
    graph: Option<Graph>,
    /// [`Launches::copies`] runs in one.
    copies: Option<Graph>,
    /// Whether there was no memory for that.
    crowded: bool,
}

// SAFETY: what it holds are handles and addresses of a context that any thread may enter.
unsafe impl Send for Loaded {}

/// An instantiated graph.
struct Graph {
    gpu: Arc<Gpu>,
    exec: sys::CUgraphExec,
}

impl Loaded {
    /// Compiles the launches of a plan; [`Loaded::place`] has to follow.
    pub fn new(
        gpu: &Arc<Gpu>,
        kernels: &mut Kernels,
        plan: Arc<Plan>,
        launches: Launches,
        bound: Vec<Allocation>,
    ) -> Result<Self, DeviceError> {
        kernels.prepare(launches.of_kernels().map(|(l, kernel)| (kernel, l.apart(kernel))))?;
        Ok(Loaded {
            gpu: Arc::clone(gpu),
            plan,
            launches,
            bound,
            ready: Vec::new(),
            graph: None,
            copies: None,
            crowded: false,
        })
    }

    /// Sets all addresses, by the arena's first byte and those of the bindings, and captures the launches.
    pub fn place(
        &mut self,
        (kernels, libraries): (&Kernels, &Libraries),
        arena: sys::CUdeviceptr,
        bindings: &[sys::CUdeviceptr],
    ) -> Result<(), DeviceError> {
        (self.graph, self.copies, self.crowded) = (None, None, false);
        let pointer = |a: &Argument| match a.place {
            Place::Arena { offset } => arena + offset as u64,
            Place::Binding(n) => bindings[n as usize],
            Place::Slab { .. } => unreachable!("plans for GPUs have no slabs"),
        };
        let mut ready = Vec::new();
        for launch in self.launches.all() {
            let what = match &launch.work {
                Work::Kernel { kernel, groups } => {
                    let kernel = &self.launches.kernels[*kernel];
                    let function = kernels.function(kernel, launch.apart(kernel));
                    What::Kernel { function, groups: *groups, threads: kernel.threads }
                }
                Work::Call(call) => What::Call(libraries.prepared(call)),
            };
            let pointers = launch.arguments.iter().map(pointer).collect();
            ready.push(Ready { what, pointers, source: launch.source });
        }
        self.ready = ready;
        self.graph = Some(self.capture(1)?);
        Ok(())
    }

    /// All launches so many times over.
    fn capture(&self, times: usize) -> Result<Graph, DeviceError> {
        let gpu = &self.gpu;
        gpu.wait()?;
        let calls = self.launches.calls().next().is_some();
        let graph = gpu.capture(calls, || {
            (0..times).try_for_each(|_| self.ready.iter().try_for_each(|r| r.launch(gpu)))
        })?;
        // SAFETY: the graph was just made; what is instantiated does not need it any more.
        let exec = unsafe {
            let exec = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags_enum(0));
            let _ = result::graph::destroy(graph);
            exec
        };
        let exec = gpu.check(exec)?;
        let graph = Graph { gpu: Arc::clone(gpu), exec };
        // SAFETY: both are live.
        gpu.check(unsafe { result::graph::upload(exec, gpu.stream()) })?;
        Ok(graph)
    }

    /// Starts all launches.
    pub fn run(&self) -> Result<(), DeviceError> {
        self.gpu.enter()?;
        match &self.graph {
            Some(g) => g.launch(),
            None => self.ready.iter().try_for_each(|r| r.launch(&self.gpu)),
        }
    }

    /// Starts all launches so many times over.
    pub fn run_many(&mut self, times: usize) -> Result<(), DeviceError> {
        let most = self.launches.copies();
        if most > 1 && times >= most && !self.crowded {
            let copies = match self.copies.take().map_or_else(|| self.capture(most), Ok) {
                Err(DeviceError::OutOfMemory { .. }) => {
                    self.crowded = true;
                    return self.run_many(times);
                }
                copies => copies?,
            };
            self.gpu.enter()?;
            let started = (0..times / most).try_for_each(|_| copies.launch());
            self.copies = Some(copies);
            started?;
            return (0..times % most).try_for_each(|_| self.run());
        }
        (0..times).try_for_each(|_| self.run())
    }

    /// Starts all launches one by one; seconds of each of the plan's kernels.
    pub fn profile(&self) -> Result<Vec<f64>, DeviceError> {
        let gpu = &self.gpu;
        gpu.wait()?;
        let flags = sys::CUevent_flags_enum::CU_EVENT_DEFAULT;
        let events: Vec<sys::CUevent> = (0..=self.ready.len())
            .map(|_| gpu.check(result::event::create(flags)))
            .collect::<Result<_, _>>()?;
        // SAFETY: events and stream are live.
        let record = |e: sys::CUevent| gpu.check(unsafe { result::event::record(e, gpu.stream()) });
        record(events[0])?;
        for (r, &e) in self.ready.iter().zip(&events[1..]) {
            r.launch(gpu)?;
            record(e)?;
        }
        gpu.wait()?;
        let mut seconds = vec![0.0; self.plan.kernels.len()];
        for (r, e) in self.ready.iter().zip(events.windows(2)) {
            seconds[r.source] += gpu.elapsed(e[0], e[1])?;
        }
        for e in events {
            // SAFETY: created once, destroyed once.
            gpu.check(unsafe { result::event::destroy(e) })?;
        }
        Ok(seconds)
    }
}

impl Graph {
    fn launch(&self) -> Result<(), DeviceError> {
        // SAFETY: both are live, and all memory that the graph uses.
        self.gpu.check(unsafe { result::graph::launch(self.exec, self.gpu.stream()) })
    }
}

impl Ready {
    fn launch(&self, gpu: &Gpu) -> Result<(), DeviceError> {
        let (function, groups, threads) = match &self.what {
            What::Kernel { function, groups, threads } => (function, *groups, *threads),
            // SAFETY: as below.
            What::Call(prepared) => return unsafe { prepared.start(gpu, &self.pointers) },
        };
        let mut pointers = self.pointers.clone();
        let mut params: Vec<*mut c_void> =
            pointers.iter_mut().map(|p| std::ptr::from_mut(p).cast()).collect();
        let (grid, block) = ((groups, 1, 1), (threads, 1, 1));
        // SAFETY: as many pointers as the kernel has parameters, to memory as large as its plan says, which `check` holds it to.
        gpu.check(unsafe {
            let (handle, shared) = (function.handle, function.dynamic_shared);
            result::launch_kernel(handle, grid, block, shared, gpu.stream(), &mut params)
        })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.gpu.wait().is_ok() {
            // SAFETY: instantiated once, destroyed once, and not running.
            let _ = unsafe { result::graph::exec_destroy(self.exec) };
        }
    }
}
