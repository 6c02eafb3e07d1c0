//! A contraction of a plan as a program of its own.
//!
//! In: a plan and one of its kernels. Out: a plan that runs this kernel alone, every operand bound, every result in the arena.
//! Invariant: the kernel has the same lines as its products have in the whole plan.

use crate::plan::{ALIGN, Binding, Buffer, BufferId, KernelId, Place, Plan, Role, Stage};

/// The program.
pub fn program_of(plan: &Plan, kernel: KernelId) -> Plan {
    let mut entry = plan.kernel(kernel).clone();
    let (reads, writes) = (entry.kernel.reads(), entry.kernel.writes());
    let mut mini = Plan { name: format!("tune {}", entry.label), ..Plan::default() };
    let mut order: Vec<BufferId> = Vec::new();
    for id in reads.into_iter().chain(writes.iter().copied()) {
        if order.contains(&id) {
            continue;
        }
        order.push(id);
        let buffer = plan.buffer(id);
        let place = if writes.contains(&id) {
            let offset = mini.arena;
            mini.arena += buffer.bytes().next_multiple_of(ALIGN);
            Place::Arena { offset }
        } else {
            let name = format!("operand {}", mini.bindings.len());
            let (role, dtype, shape) = (Role::Input, buffer.dtype, vec![buffer.len]);
            mini.bindings.push(Binding { name, role, dtype, shape });
            Place::Binding(mini.bindings.len() as u32 - 1)
        };
        mini.buffers.push(Buffer { place, ..buffer.clone() });
    }
    entry.kernel.map_buffers(|b| {
        let at = order.iter().position(|id| id == b);
        *b = BufferId(at.expect("every buffer of the kernel is read or written") as u32);
    });
    mini.kernels.push(entry);
    mini.stages.push(Stage::Launch(vec![KernelId(0)]));
    mini
}
