//! naga, which browsers and `wgpu` check shaders with, accepts every kernel.

use crate::all::{LARGE, kernels, programs};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use thalweg::device::gpu::ir::Kernel;
use thalweg::device::gpu::launch::{Abilities, Matrices};
use thalweg::device::gpu::wgsl::render;

/// A GPU with cooperative matrices, of which not all subgroups multiply.
const MATRICES: Abilities =
    Abilities { matrices: Some(Matrices { f16: Some(16), f32: Some(8), subgroup: [32, 64] }), ..LARGE };

#[test]
fn naga_validates_every_kernel() {
    for abilities in [Abilities::LEAST, LARGE, MATRICES] {
        let mut count = 0;
        let with = abilities.matrices.is_some();
        let capabilities = match with {
            false => Capabilities::empty(),
            true => {
                let halves = Capabilities::SHADER_FLOAT16 | Capabilities::SHADER_INT16;
                Capabilities::COOPERATIVE_MATRIX | Capabilities::SUBGROUP | halves
            }
        };
        let different = |k: &Kernel| !with || k.needs_matrices();
        for kernel in kernels(&abilities).into_values().flatten().filter(different) {
            // Everything in a memory of its own, and everything in one memory.
            let apart = (0..kernel.params.len()).collect();
            let memories = [apart, vec![0; kernel.params.len()]];
            for memories in memories.into_iter().take(if with { 1 } else { 2 }) {
                let text = render(&kernel, &memories);
                let options = naga::front::wgsl::Options { parse_doc_comments: false, capabilities };
                let module = naga::front::wgsl::Frontend::new_with_options(options).parse(&text);
                let module =
                    module.unwrap_or_else(|e| panic!("{}: {}", kernel.name, e.emit_to_string(&text)));
                let mut validator = Validator::new(ValidationFlags::all(), capabilities);
                let valid = validator.validate(&module);
                valid.unwrap_or_else(|e| panic!("{}: {}", kernel.name, e.emit_to_string(&text)));
                assert!(
                    kernel.threads <= abilities.threads && kernel.shared_bytes() <= abilities.shared_bytes
                );
                count += 1;
            }
        }
        println!("{count} shaders");
        assert!(count > 100);
    }
}

/// Launches are what a step costs on a large GPU: two-sided, so that neither a loss nor a gain goes unnoticed.
#[test]
fn launches_of_the_programs() {
    let found: Vec<(String, usize, usize)> = programs(&LARGE)
        .into_iter()
        .map(|(name, l)| (name, l.stages.iter().map(Vec::len).sum(), l.stages.len()))
        .collect();
    for (name, launches, stages) in &found {
        println!("{name}: {launches} launches in {stages} stages");
    }
    let seed = found.iter().find(|(name, ..)| name == "simple_cnn float32 train").unwrap();
    assert_eq!(seed.1, 27, "{seed:?}");
    // To look up which examples are due, and to gather them, is done beside what augmentation draws.
    let kept = found.iter().find(|(name, ..)| name == "simple_cnn kept, 32").unwrap();
    assert_eq!(kept.1, 27, "{kept:?}");
}
