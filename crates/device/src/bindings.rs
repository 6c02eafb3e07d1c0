//! Whether allocations fit what a plan binds.

use crate::{Allocation, DeviceError, Plan};

/// Checks number and sizes, in bytes, of what is bound to the plan's bindings; and that no two of them are one
/// storage, as kernels take bindings for separate memory.
pub fn bound(plan: &Plan, allocations: &[Allocation], sizes: &[usize]) -> Result<(), DeviceError> {
    if sizes.len() != plan.bindings.len() {
        let what = format!("number of bindings of {}", plan.name);
        return Err(DeviceError::Bindings { what, expected: plan.bindings.len(), found: sizes.len() });
    }
    for (b, &found) in plan.bindings.iter().zip(sizes) {
        if found < b.bytes() {
            let what = format!(
                "{} {:?} {:?} of {}",
                format!("{:?}", b.role).to_lowercase(),
                b.name,
                b.shape,
                plan.name
            );
            return Err(DeviceError::Size { what, expected: b.bytes(), found });
        }
    }
    let mut different = allocations.to_vec();
    different.sort_unstable();
    different.dedup();
    if different.len() != allocations.len() {
        let what = format!("number of separate allocations bound to {}", plan.name);
        return Err(DeviceError::Bindings { what, expected: allocations.len(), found: different.len() });
    }
    Ok(())
}
