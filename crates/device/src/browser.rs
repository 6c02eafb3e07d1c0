//! Devices by name in a browser: none. The only one there is answers later, so it is asked for before it is needed
//! (`WgpuDevice::request`).

use crate::{Device, DeviceError};

/// Refuses, with what to do instead.
pub fn open(name: &str, _threads: Option<usize>) -> Result<Box<dyn Device>, DeviceError> {
    Err(DeviceError::Unknown {
        asked: name.into(),
        known: "known: webgpu, which a model is given when it is made".into(),
    })
}
