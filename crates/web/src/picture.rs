//! Pixels as a browser has them: `ImageData`, or any object like it.

use crate::numbers::raw;
use crate::object::property;
use js_sys::{Uint8Array, Uint8ClampedArray};
use wasm_bindgen::{JsCast, JsError, JsValue};

/// RGBA, row by row.
pub struct Pixels {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Four bytes a pixel.
    pub data: Vec<u8>,
}

impl Pixels {
    /// Those of an object; that there are as many bytes as sides say is seen to where they are used.
    pub fn of(image: &JsValue) -> Result<Pixels, JsError> {
        let side = |name: &str| {
            let value = property(image, name).as_f64();
            value.filter(|v| v.fract() == 0.0 && (1.0..=65536.0).contains(v)).map(|v| v as usize)
        };
        let data = property(image, "data");
        let bytes = data.is_instance_of::<Uint8ClampedArray>() || data.is_instance_of::<Uint8Array>();
        match (side("width"), side("height"), bytes) {
            (Some(width), Some(height), true) => Ok(Pixels { width, height, data: raw(&data) }),
            _ => Err(JsError::new(
                "a picture must be an ImageData, or have data (RGBA, a Uint8ClampedArray), width and height \
                 (1 to 65536 pixels); draw an image on a canvas and take its context's getImageData",
            )),
        }
    }
}
