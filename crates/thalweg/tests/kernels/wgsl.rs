//! naga, which browsers and `wgpu` check shaders with, accepts every kernel.

use crate::all::{LARGE, kernels, programs};
use thalweg::device::gpu::launch::Abilities;
use thalweg::device::gpu::wgsl::render;

#[test]
fn naga_validates_every_kernel() {
    let mut count = 0;
    for abilities in [Abilities::LEAST, LARGE] {
        for kernel in kernels(&abilities).into_values().flatten() {
            // Everything in one memory, and everything in a memory of its own.
            for memories in [vec![0; kernel.params.len()], (0..kernel.params.len()).collect()] {
                let text = render(&kernel, &memories);
                let module = naga::front::wgsl::parse_str(&text)
                    .unwrap_or_else(|e| panic!("{}: {}", kernel.name, e.emit_to_string(&text)));
                let flags = naga::valid::ValidationFlags::all();
                let mut validator = naga::valid::Validator::new(flags, naga::valid::Capabilities::empty());
                let valid = validator.validate(&module);
                valid.unwrap_or_else(|e| panic!("{}: {}", kernel.name, e.emit_to_string(&text)));
                assert!(
                    kernel.threads <= abilities.threads && kernel.shared_bytes() <= abilities.shared_bytes
                );
                count += 1;
            }
        }
    }
    println!("{count} shaders");
    assert!(count > 100);
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
