//! From graph to plan: simplify, fuse, lower, schedule, plan memory.
//!
//! In: a verified graph. Out: a [`Plan`](thalweg_device::Plan) whose bindings are the graph's states, inputs and
//! outputs, in that order, by name.
//!
//! Each pass is pure, in one ordered list ([`compile`]), and printable (`thalweg explain`).

mod cost;
mod emit;
mod expand;
mod fuse;
mod index;
mod inplace;
mod lower;
mod memory;
mod partition;
mod program;
mod recompute;
mod region;
mod schedule;
mod simplify;
mod widen;

use thalweg_device::{DeviceInfo, Plan};
use thalweg_graph::{Graph, verify::verify};

/// What the compiler is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the plan, for people.
    pub name: String,
    /// Whether to keep a text of the program after every pass (`thalweg explain`).
    pub explain: bool,
    /// Whether the device runs regions depth first and makes images as needed
    /// ([`thalweg_device::DeviceInfo::regions`]); without, every kernel runs over the whole batch.
    pub regions: bool,
    /// Whether the device's products read and store floats of 16 bits
    /// ([`thalweg_device::DeviceInfo::half_products`]); without, operands are widened first.
    pub half_products: bool,
}

impl Options {
    /// For a device.
    pub fn of(info: &DeviceInfo) -> Options {
        Options { regions: info.regions, half_products: info.half_products, ..Options::default() }
    }

    /// For a GPU: no regions, products of 16-bit floats.
    pub fn gpu() -> Options {
        Options { regions: false, half_products: true, ..Options::default() }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options { name: String::new(), explain: false, regions: true, half_products: false }
    }
}

/// A compiled program.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What a device loads.
    pub plan: Plan,
    /// (pass, the program after it), if asked for.
    pub passes: Vec<(&'static str, String)>,
}

/// Compiles a graph.
///
/// The passes, in order: *simplify* on the graph, first because every rule after it sees fewer shapes; *widen*, behind
/// it, as its casts would hide what the rules look for, and simplify once more; *lower*
/// (partition, fuse, emit), which ends the graph; *inplace*, before stages exist, as it adds order between
/// kernels; *expand*, for what is stored at all by then; *regions*, which need that order; *schedule*, in which a region
/// is one stage; *memory*, last, because lives are counted in stages. Regions are explained with the schedule that they
/// are stages of.
pub fn compile(graph: &Graph, options: &Options) -> Compiled {
    let mut passes = Vec::new();
    let mut note = |name: &'static str, text: &dyn Fn() -> String| {
        if options.explain {
            passes.push((name, text()));
        }
    };
    verify(graph, "build");
    note("build", &|| graph.to_string());
    let simple = simplify::simplify(graph);
    verify(&simple, "simplify");
    note("simplify", &|| simple.to_string());
    let simple = match widen::widen(&simple, options.half_products) {
        Some(wide) => {
            verify(&wide, "widen");
            let again = simplify::simplify(&wide);
            verify(&again, "simplify after widen");
            note("widen", &|| again.to_string());
            again
        }
        None => simple,
    };
    let mut program = lower::lower(&simple, options);
    note("lower", &|| program.preview().to_string());
    inplace::inplace(&mut program);
    note("inplace", &|| program.preview().to_string());
    if options.regions {
        expand::expand(&mut program);
        note("expand", &|| program.preview().to_string());
    }
    let regions = if options.regions { region::regions(&mut program) } else { Vec::new() };
    let stages = schedule::schedule(&program, &regions);
    note("schedule", &|| Plan { stages: stages.clone(), ..program.preview() }.to_string());
    let plan = memory::plan(&program, stages);
    note("memory", &|| plan.to_string());
    Compiled { plan, passes }
}
