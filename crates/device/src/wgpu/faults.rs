//! What went wrong on a GPU: errors that its interface reports on the side, as the device's own.
//!
//! Invariant: the first error stays, and every later call says it; nothing panics.

use crate::DeviceError;
use ::wgpu::Error;
use std::sync::{Arc, Mutex, PoisonError};

/// The first error of a device, if there was one.
#[derive(Clone, Default)]
pub struct Faults {
    first: Arc<Mutex<Option<String>>>,
}

impl Faults {
    /// Listens to a device.
    pub fn listen(device: &wgpu::Device) -> Faults {
        let faults = Faults::default();
        let heard = faults.clone();
        device.on_uncaptured_error(Arc::new(move |e: Error| heard.note(&e.to_string())));
        let heard = faults.clone();
        device.set_device_lost_callback(move |reason, message| {
            // Said as well when we give the device back ourselves.
            if reason != wgpu::DeviceLostReason::Destroyed {
                heard.note(&format!("the device was lost: {message}"));
            }
        });
        faults
    }

    fn note(&self, message: &str) {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| one_line(message));
    }

    /// An error if there was one.
    pub fn check(&self, device: &str) -> Result<(), DeviceError> {
        match &*self.first.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(reason) => Err(DeviceError::Gpu { device: device.into(), reason: reason.clone() }),
        }
    }
}

/// A message without line breaks.
pub fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
