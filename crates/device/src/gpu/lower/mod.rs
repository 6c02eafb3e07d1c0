//! Lowering: a plan's kernels to launches of IR kernels. One file per kind of kernel.
//!
//! In: a plan without regions that keeps the rules of [`check`](crate::plan::check()), what the GPU can do, and the ways that
//! were measured to be the fastest for products ([`Choices`]). Out: [`Launches`]. A plan's kernel may become several launches one after another ([`Lowering::launch`]'s `phase`), with scratch
//! memory between them, behind the plan's arena. Invariant: the same plan, abilities and choices give the same launches, and with
//! them the same order of every sum.

mod choose;
mod contract;
mod expr;
mod loops;
mod merge;
mod pool;
mod reduce;
mod writer;

pub use contract::{Way, legal, products};
pub use expr::{element, evaluate};
pub use writer::Writer;

use merge::{Single, merge};

use super::call::{Call, WORKSPACE_ALIGN};
use super::ir::Kernel as Code;
use super::launch::{Abilities, Argument, Launch, Launches, Work};
use super::tune::Choices;
use crate::DeviceError;
use crate::plan::{ALIGN, Kernel, KernelId, Place, Plan, Product, Stage};
use std::collections::HashMap;

/// Positions that threads may number: 31 bits, less what the threads of a last group count past the end.
const MOST: usize = i32::MAX as usize - (1 << 16);

/// Positions of the largest space that a kernel's threads number, where that may be more than a buffer's elements; at most
/// `usize::MAX`.
fn positions(kernel: &Kernel) -> usize {
    let product = |space: &[usize]| space.iter().fold(1, |n: usize, &extent| n.saturating_mul(extent));
    match kernel {
        Kernel::Loop(k) => product(&k.space),
        Kernel::Contraction(k) => match k.product {
            Product::Conv(d) | Product::ConvInputGrad(d) | Product::ConvFilterGrad(d) => product(&d.output()),
            Product::Dot(d) => product(&[d.batch, d.m, d.n]),
        },
        Kernel::Pool(_)
        | Kernel::Unpool(_)
        | Kernel::ArgMax(_)
        | Kernel::TopK(_)
        | Kernel::Gather(_)
        | Kernel::Suppress(_) => 0,
    }
}

/// Lowers a plan.
pub fn lower(plan: &Plan, abilities: &Abilities, choices: &Choices) -> Result<Launches, DeviceError> {
    let refused = |problem: String| DeviceError::Plan { plan: plan.name.clone(), problem };
    if let Some(b) = plan.buffers.iter().find(|b| i32::try_from(b.len).is_err()) {
        return Err(refused(format!("{} has {} elements; a GPU's indices have 31 bits", b.name, b.len)));
    }
    if let Some((e, n)) = plan.kernels.iter().map(|e| (e, positions(&e.kernel))).find(|(_, n)| *n > MOST) {
        return Err(refused(format!("{} goes over {n} elements; a GPU's indices have 31 bits", e.label)));
    }
    let expands = |k: &Kernel| matches!(k, Kernel::Contraction(c) if c.expansion.is_some());
    if let Some(e) = plan.kernels.iter().find(|e| expands(&e.kernel)) {
        return Err(refused(format!("{} makes its image as needed, which a GPU does not", e.label)));
    }
    let mut l = Lowering::new(plan, abilities, choices);
    for stage in &plan.stages {
        let Stage::Launch(kernels) = stage else {
            return Err(refused("it has regions, which a GPU does not run".into()));
        };
        l.stage(kernels);
    }
    Ok(l.finish())
}

/// Launches of a stage that are independent of each other.
#[derive(Default)]
struct Phase {
    singles: Vec<Single>,
    calls: Vec<Launch>,
}

/// A plan being lowered.
pub struct Lowering<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What the GPU can do.
    pub abilities: &'a Abilities,
    /// Ways that products are to be computed in.
    pub choices: &'a Choices,
    out: Launches,
    known: HashMap<Code, usize>,
    /// Of the current stage: launches by phase, bytes of scratch in use, and what its calls share.
    phases: Vec<Phase>,
    scratch: usize,
    workspace: Option<Argument>,
    source: KernelId,
}

impl<'a> Lowering<'a> {
    fn new(plan: &'a Plan, abilities: &'a Abilities, choices: &'a Choices) -> Self {
        let out = Launches { arena: plan.arena, ..Launches::default() };
        let (known, phases) = (HashMap::new(), Vec::new());
        let (workspace, source) = (None, KernelId(0));
        Lowering { plan, abilities, choices, out, known, phases, scratch: 0, workspace, source }
    }

    fn stage(&mut self, kernels: &[KernelId]) {
        for &k in kernels {
            self.source = k;
            self.kernel(&self.plan.kernel(k).kernel);
        }
        for phase in std::mem::take(&mut self.phases) {
            let singles = merge(phase.singles, self.abilities);
            let mut launches: Vec<Launch> = singles.into_iter().map(|s| self.known(s)).collect();
            launches.extend(phase.calls);
            self.out.stages.push(launches);
        }
        (self.scratch, self.workspace) = (0, None);
    }

    fn kernel(&mut self, kernel: &Kernel) {
        match kernel {
            Kernel::Loop(k) => loops::lower(self, k),
            Kernel::Contraction(k) => contract::lower(self, k),
            Kernel::Pool(k) => pool::pool(self, k),
            Kernel::Unpool(k) => pool::unpool(self, k),
            Kernel::ArgMax(k) => pool::argmax(self, k),
            Kernel::TopK(k) => choose::top_k(self, k),
            Kernel::Gather(k) => choose::gather(self, k),
            Kernel::Suppress(k) => choose::suppress(self, k),
        }
    }

    /// Adds a launch of `groups` groups to a phase of the stage: phases run one after another, the launches of one must be
    /// independent.
    pub fn launch(&mut self, phase: usize, groups: usize, writer: Writer<'_>) {
        let (code, arguments) = writer.finish();
        if groups == 0 {
            return;
        }
        let groups = u32::try_from(groups).expect("elements fit 31 bits, so groups do");
        let source = self.source.0 as usize;
        self.phase(phase).singles.push(Single { kernel: code, groups, arguments, source });
    }

    /// Adds a library's product of two operands to a phase of the stage.
    pub fn call(&mut self, phase: usize, call: Call, [a, b, result]: [Argument; 3]) {
        let arguments = vec![a, b, result, self.workspace()];
        let source = self.source.0 as usize;
        self.phase(phase).calls.push(Launch { work: Work::Call(call), arguments, source });
    }

    fn phase(&mut self, phase: usize) -> &mut Phase {
        if self.phases.len() <= phase {
            self.phases.resize_with(phase + 1, Phase::default);
        }
        &mut self.phases[phase]
    }

    /// What all calls of a stage work in, as they run one after another.
    fn workspace(&mut self) -> Argument {
        if let Some(workspace) = self.workspace {
            return workspace;
        }
        let bytes = self.abilities.libraries.workspace;
        let Argument { place, .. } = self.scratch(bytes + WORKSPACE_ALIGN);
        let Place::Arena { offset } = place else { unreachable!("scratch memory is in the arena") };
        let place = Place::Arena { offset: offset.next_multiple_of(WORKSPACE_ALIGN) };
        let workspace = Argument { place, bytes };
        self.workspace = Some(workspace);
        workspace
    }

    /// A launch of a kernel that is kept once.
    fn known(&mut self, single: Single) -> Launch {
        let Single { kernel, groups, arguments, source } = single;
        let next = self.out.kernels.len();
        let kernel = *self.known.entry(kernel).or_insert_with_key(|code| {
            self.out.kernels.push(code.clone());
            next
        });
        Launch { work: Work::Kernel { kernel, groups }, arguments, source }
    }

    /// Scratch memory of this stage, not initialised.
    pub fn scratch(&mut self, bytes: usize) -> Argument {
        let offset = self.plan.arena.next_multiple_of(ALIGN) + self.scratch;
        self.scratch += bytes.next_multiple_of(ALIGN);
        self.out.arena = self.out.arena.max(offset + bytes.next_multiple_of(ALIGN));
        Argument { place: Place::Arena { offset }, bytes }
    }

    fn finish(self) -> Launches {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Access, Body, Buffer, BufferId, Entry, Expr, Loop, LoopOut, Reduce};
    use thalweg_base::DType;

    /// The sum of one number, so many times.
    fn sum(space: [usize; 2]) -> Plan {
        let buffer = |name: &str, offset| {
            let place = Place::Arena { offset };
            Buffer { name: name.into(), dtype: DType::F32, len: 1, place }
        };
        let access = |n| Access { buffer: BufferId(n), offset: 0, strides: vec![0, 0] };
        let mut body = Body::new();
        let value = body.push(Expr::Load(access(0)), DType::F32);
        let outs = vec![LoopOut { value, reduce: Some(Reduce::Sum), access: access(1), part_stride: 0 }];
        let reduced = vec![true; 2];
        let kernel = Kernel::Loop(Loop { space: space.to_vec(), reduced, parts: 1, body, outs });
        Plan {
            buffers: vec![buffer("x", 0), buffer("y", ALIGN)],
            kernels: vec![Entry { label: "sum".into(), kernel, flops: 0, bytes: 0 }],
            stages: vec![Stage::Launch(vec![KernelId(0)])],
            arena: 2 * ALIGN,
            ..Plan::default()
        }
    }

    #[test]
    fn more_positions_than_31_bits_are_refused() {
        assert!(lower(&sum([1 << 15, 1 << 15]), &Abilities::LEAST, &Choices::default()).is_ok());
        for (space, n) in [([1 << 16, 1 << 15], 1_usize << 31), ([1 << 40, 1 << 40], usize::MAX)] {
            let told = lower(&sum(space), &Abilities::LEAST, &Choices::default()).unwrap_err().to_string();
            assert!(told.contains(&format!("sum goes over {n} elements")), "{told}");
        }
    }
}
