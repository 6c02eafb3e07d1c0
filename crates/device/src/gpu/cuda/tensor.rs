//! Operations of tensor cores and asynchronous copies, as inline PTX.

use super::constant_or_name as name;
use crate::gpu::ir::{MmaType, Tensor};

/// The statement.
pub fn tensor(t: &Tensor) -> String {
    match t {
        Tensor::Mma { ty, d, a, b } => {
            let (shape, operand) = match ty {
                MmaType::Tf32 => ("m16n8k8", "tf32"),
                MmaType::F16 => ("m16n8k16", "f16"),
                MmaType::Bf16 => ("m16n8k16", "bf16"),
            };
            let sums = d.map(|v| format!("\"+f\"(v{})", v.0)).join(", ");
            let left = a.map(|v| format!("\"r\"({})", name(v))).join(", ");
            let right = b.map(|v| format!("\"r\"({})", name(v))).join(", ");
            format!(
                "asm volatile(\"mma.sync.aligned.{shape}.row.col.f32.{operand}.{operand}.f32 \
                 {{%0, %1, %2, %3}}, {{%4, %5, %6, %7}}, {{%8, %9}}, {{%0, %1, %2, %3}};\" \
                 : {sums} : {left}, {right});"
            )
        }
        Tensor::LoadMatrix { to, from: (s, row), transposed } => {
            let names = to.map(|v| format!("v{}", v.0)).join(", ");
            let outs = to.map(|v| format!("\"=r\"(v{})", v.0)).join(", ");
            let trans = if *transposed { ".trans" } else { "" };
            // A statement of memory: it may not be moved across a barrier.
            format!(
                "unsigned {names}; asm volatile(\"ldmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 {{%0, %1, %2, %3}}, [%4];\" \
                 : {outs} : \"r\"((unsigned)__cvta_generic_to_shared(s{} + {})) : \"memory\");",
                s.0,
                name(*row)
            )
        }
        Tensor::Tf32(v, x) => format!(
            "unsigned v{0}; asm(\"cvt.rna.tf32.f32 %0, %1;\" : \"=r\"(v{0}) : \"f\"({1}));",
            v.0,
            name(*x)
        ),
        // The third operand is how many bytes are read; the rest of the 16 are zeroed.
        Tensor::CopyAsync { to: (s, to), from: (p, from), valid } => format!(
            "asm volatile(\"cp.async.cg.shared.global [%0], [%1], 16, %2;\" \
             :: \"r\"((unsigned)__cvta_generic_to_shared(s{} + {})), \"l\"(p{} + {}), \"r\"({} ? 16 : 0) : \"memory\");",
            s.0,
            name(*to),
            p.0,
            name(*from),
            name(*valid)
        ),
        Tensor::Commit => "asm volatile(\"cp.async.commit_group;\" ::: \"memory\");".to_owned(),
        Tensor::Wait(n) => format!("asm volatile(\"cp.async.wait_group {n};\" ::: \"memory\");"),
    }
}
