//! Plain JavaScript objects and arrays: what methods return, fit for `JSON.stringify`.

use js_sys::{Array, Object, Reflect};
use wasm_bindgen::JsValue;

/// An object of these properties.
pub fn object<const N: usize>(properties: [(&str, JsValue); N]) -> JsValue {
    let object = Object::new();
    for (name, value) in properties {
        // A fresh object takes every property.
        let _ = Reflect::set(&object, &name.into(), &value);
    }
    object.into()
}

/// An array of these values.
pub fn array<T: Into<JsValue>>(values: impl IntoIterator<Item = T>) -> JsValue {
    values.into_iter().map(Into::into).collect::<Array>().into()
}

/// A shape.
pub fn shape(extents: &[usize]) -> JsValue {
    array(extents.iter().map(|&d| d as f64))
}

/// A property; undefined where there is none.
pub fn property(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).unwrap_or(JsValue::UNDEFINED)
}
