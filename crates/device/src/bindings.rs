//! Whether allocations fit what a plan binds.

use crate::{DeviceError, Plan};

/// Checks number and sizes, in bytes, of what is bound to the plan's bindings.
pub fn bound(plan: &Plan, sizes: &[usize]) -> Result<(), DeviceError> {
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
    Ok(())
}
