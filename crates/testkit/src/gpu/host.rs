//! [`CudaOnHost`]: kernels rendered to CUDA C, compiled by the host's C++ compiler and run on the processor.
//!
//! A device like any other, so that the conformance suite checks the very text that NVIDIA's compiler gets, where there is no
//! GPU. Undefined behaviour of C++ (a signed overflow, a misaligned load) ends the program. Tensor cores are left to the
//! interpreter: they are inline PTX.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use thalweg_device::gpu::cuda::render;
use thalweg_device::gpu::launch::{Abilities, Argument, Launches};
use thalweg_device::gpu::lower::lower;
use thalweg_device::plan::{Place, check};
use thalweg_device::{Allocation, Device, DeviceError, DeviceInfo, MemoryUse, Plan, Program, StageTime};

/// What C++ needs to take CUDA C.
const SHIM: &str = include_str!("host.cpp");
/// How it is compiled: fast to compile, products and sums as written, undefined behaviour ends the program.
const OPTIONS: [&str; 6] =
    ["-std=c++17", "-w", "-O1", "-ffp-contract=off", "-fsanitize=undefined", "-fno-sanitize-recover=all"];

struct Loaded {
    plan: Arc<Plan>,
    launches: Launches,
    bound: Vec<Allocation>,
    program: PathBuf,
}

/// The device.
pub struct CudaOnHost {
    abilities: Abilities,
    allocations: Vec<Option<Vec<u8>>>,
    programs: Vec<Option<Loaded>>,
    /// Programs by their text.
    known: HashMap<String, PathBuf>,
    folder: PathBuf,
}

impl CudaOnHost {
    /// One that can do this; an error if there is no C++ compiler.
    pub fn new(abilities: Abilities) -> Result<CudaOnHost, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("thalweg-host-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let (allocations, programs, known) = (Vec::new(), Vec::new(), HashMap::new());
        let device = CudaOnHost { abilities, allocations, programs, known, folder };
        device.compile("int main() { return 0; }", "probe")?;
        Ok(device)
    }

    fn compile(&self, text: &str, name: &str) -> Result<PathBuf, String> {
        let (source, program) = (self.folder.join(format!("{name}.cpp")), self.folder.join(name));
        fs::write(&source, text).map_err(|e| e.to_string())?;
        let mut compiler = Command::new("c++");
        let output = compiler.args(OPTIONS).arg(&source).arg("-o").arg(&program).output();
        let output = output.map_err(|e| format!("c++ (a C++ compiler) does not run: {e}"))?;
        match output.status.success() {
            true => Ok(program),
            false => Err(format!("{}\n{text}", String::from_utf8_lossy(&output.stderr))),
        }
    }

    fn storage(&mut self, a: Allocation) -> &mut Vec<u8> {
        self.allocations[a.0 as usize].as_mut().expect("a live allocation")
    }
}

/// The program of a lowered plan. Memories: the arena, then the bindings, of so many bytes.
fn text(launches: &Launches, sizes: &[usize]) -> String {
    let mut text = SHIM.to_owned();
    let mut line = |l: String| writeln!(text, "{l}").expect("a string takes all");
    line(format!("static unsigned char* memory[{}];", sizes.len()));
    let mut variants = HashMap::new();
    let mut main = String::new();
    for launch in launches.stages.iter().flatten() {
        let kernel = &launches.kernels[launch.kernel];
        let apart = launch.apart(kernel);
        let next = variants.len();
        let number = *variants.entry((launch.kernel, apart)).or_insert_with(|| {
            let source = render(kernel, apart);
            let body = source.text.replace("extern \"C\"", "static").replace("extern __shared__", "extern");
            line(format!(
                "namespace k{next} {{ extern unsigned char shared[]; unsigned char shared[{}] __align__(16);",
                source.dynamic_shared.max(1)
            ));
            line(body.replace("__shared__", "static"));
            line("}".into());
            next
        });
        let pointer = |a: &Argument| match a.place {
            Place::Arena { offset } => format!("Pointer{{memory[0] + {offset}}}"),
            Place::Binding(n) => format!("Pointer{{memory[{}]}}", n + 1),
            Place::Slab { .. } => unreachable!("plans for GPUs have no slabs"),
        };
        let pointers: Vec<String> = launch.arguments.iter().map(pointer).collect();
        let (groups, threads, pointers) = (launch.groups, kernel.threads, pointers.join(", "));
        let call = format!("k{number}::thalweg_{}({pointers});", kernel.name);
        main += &format!("    launch({groups}, {threads}, [] {{ {call} }});\n");
    }
    line("int main() {".into());
    for (i, bytes) in sizes.iter().enumerate() {
        line(format!("    memory[{i}] = take({bytes});"));
    }
    line(main);
    for (i, bytes) in sizes.iter().enumerate() {
        line(format!("    give(memory[{i}], {bytes});"));
    }
    line("}".into());
    text
}

/// Runs a program on memories, which it changes.
fn run(program: &Path, memories: &mut [Vec<u8>]) -> Result<(), String> {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let mut input = child.stdin.take().ok_or("no input")?;
    // It reads everything before it writes anything.
    let sent = memories.iter().try_for_each(|m| input.write_all(m));
    drop(input);
    let mut output = child.stdout.take().ok_or("no output")?;
    let received = memories.iter_mut().try_for_each(|m| output.read_exact(m));
    let mut told = String::new();
    let _ = child.stderr.take().map(|mut e| e.read_to_string(&mut told));
    let status = child.wait().map_err(|e| e.to_string())?;
    match (status.success(), sent.and(received)) {
        (true, Ok(())) => Ok(()),
        (_, r) => Err(format!("{status} {r:?}: {told}")),
    }
}

impl Device for CudaOnHost {
    fn info(&self) -> DeviceInfo {
        let description = "CUDA C on the host".into();
        DeviceInfo { name: "host".into(), description, workers: 1, regions: false }
    }

    fn allocate(&mut self, bytes: usize) -> Result<Allocation, DeviceError> {
        self.allocations.push(Some(vec![0; bytes]));
        Ok(Allocation(self.allocations.len() as u32 - 1))
    }

    fn free(&mut self, allocation: Allocation) {
        self.allocations[allocation.0 as usize] = None;
    }

    fn write(&mut self, to: Allocation, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        self.storage(to)[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, from: Allocation, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let n = bytes.len();
        bytes.copy_from_slice(&self.storage(from)[offset..offset + n]);
        Ok(())
    }

    fn needs(&self, plans: &[Arc<Plan>]) -> MemoryUse {
        let lowered = plans.iter().filter_map(|p| lower(p, &self.abilities).ok());
        MemoryUse { arena: lowered.map(|l| l.arena).max().unwrap_or(0), ..MemoryUse::default() }
    }

    fn load(&mut self, plan: Arc<Plan>, bindings: &[Allocation]) -> Result<Program, DeviceError> {
        check(&plan).map_err(|problem| DeviceError::Plan { plan: plan.name.clone(), problem })?;
        let launches = lower(&plan, &self.abilities)?;
        let bound = bindings.iter().map(|a| self.storage(*a).len());
        let sizes: Vec<usize> = std::iter::once(launches.arena).chain(bound.collect::<Vec<_>>()).collect();
        let text = text(&launches, &sizes);
        let program = match self.known.get(&text) {
            Some(program) => program.clone(),
            None => {
                let failed = |reason| DeviceError::Gpu { device: "host".into(), reason };
                let name = format!("program{}", self.known.len());
                let program = self.compile(&text, &name).map_err(failed)?;
                self.known.insert(text, program.clone());
                program
            }
        };
        self.programs.push(Some(Loaded { plan, launches, bound: bindings.to_vec(), program }));
        Ok(Program(self.programs.len() as u32 - 1))
    }

    fn unload(&mut self, program: Program) {
        self.programs[program.0 as usize] = None;
    }

    fn run(&mut self, program: Program) -> Result<(), DeviceError> {
        let loaded = self.programs[program.0 as usize].take().expect("a loaded program");
        // Not zero: nothing may rely on what the arena held.
        let mut memories = vec![vec![0xa5; loaded.launches.arena]];
        memories.extend(loaded.bound.iter().map(|a| self.storage(*a).clone()));
        let failed = |reason| DeviceError::Gpu { device: "host".into(), reason };
        run(&loaded.program, &mut memories).map_err(failed)?;
        for (a, memory) in loaded.bound.iter().zip(memories.into_iter().skip(1)) {
            *self.storage(*a) = memory;
        }
        self.programs[program.0 as usize] = Some(loaded);
        Ok(())
    }

    fn wait(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn memory(&self) -> MemoryUse {
        MemoryUse {
            allocated: self.allocations.iter().flatten().map(Vec::len).sum(),
            arena: self.programs.iter().flatten().map(|l| l.launches.arena).max().unwrap_or(0),
            workspace: 0,
        }
    }

    fn profile(&mut self, program: Program) -> Result<Vec<StageTime>, DeviceError> {
        self.run(program)?;
        let loaded = self.programs[program.0 as usize].as_ref().expect("a loaded program");
        let time = |e: &thalweg_device::plan::Entry| StageTime {
            label: e.label.clone(),
            seconds: 0.0,
            flops: e.flops,
        };
        Ok(loaded.plan.kernels.iter().map(time).collect())
    }
}

impl Drop for CudaOnHost {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
