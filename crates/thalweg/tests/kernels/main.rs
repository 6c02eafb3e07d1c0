//! Every GPU kernel of the example and the named models, checked without a GPU: naga validates the WGSL; NVIDIA's compiler
//! makes machine code for three architectures, without spilling a register.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

mod all;
mod nvrtc;
mod wgsl;
