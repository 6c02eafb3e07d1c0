//! Tensors from and to JavaScript's typed arrays.
//!
//! In: a typed array or an array of numbers, and a shape. Out: a tensor, or what does not fit. Invariant: bytes are copied as
//! they are; both sides are little-endian.

use crate::object::{object, shape};
use js_sys::{Array, Float32Array, Int32Array, Object, Uint8Array, Uint8ClampedArray, Uint32Array};
use thalweg_base::DType;
use thalweg_train::Tensor;
use wasm_bindgen::{JsCast, JsError, JsValue};

/// A tensor of an input whose examples have the shape `each`; without a shape, of as many examples as there are.
pub fn tensor(data: &JsValue, extents: &JsValue, each: &[usize]) -> Result<Tensor, JsError> {
    let (dtype, bytes) = bytes(data).ok_or_else(|| {
        JsError::new("data must be a Float32Array, Uint8Array, Uint8ClampedArray, Int32Array or Uint32Array")
    })?;
    let count = bytes.len() / dtype.size();
    let extents = if extents.is_undefined() { examples(count, each)? } else { read_shape(extents)? };
    Tensor::from_bytes(dtype, &extents, bytes).ok_or_else(|| {
        JsError::new(&format!("data has {count} numbers, which are no tensor of shape {extents:?}"))
    })
}

/// Type and bytes of an array.
fn bytes(data: &JsValue) -> Option<(DType, Vec<u8>)> {
    if Array::is_array(data) {
        return bytes(&Float32Array::new(data));
    }
    let dtype = match data {
        d if d.is_instance_of::<Float32Array>() => DType::F32,
        d if d.is_instance_of::<Uint8Array>() || d.is_instance_of::<Uint8ClampedArray>() => DType::U8,
        d if d.is_instance_of::<Int32Array>() => DType::I32,
        d if d.is_instance_of::<Uint32Array>() => DType::U32,
        _ => return None,
    };
    Some((dtype, raw(data)))
}

/// The bytes of any typed array.
pub fn raw(view: &JsValue) -> Vec<u8> {
    // All have the same three properties.
    let view: &Uint8Array = view.unchecked_ref();
    Uint8Array::new_with_byte_offset_and_length(&view.buffer(), view.byte_offset(), view.byte_length())
        .to_vec()
}

fn examples(count: usize, each: &[usize]) -> Result<Vec<usize>, JsError> {
    let one: usize = each.iter().product();
    match count.checked_div(one) {
        Some(n) if n > 0 && n * one == count => Ok([&[n], each].concat()),
        _ => Err(JsError::new(&format!(
            "data has {count} numbers; an example has {one}, of shape {each:?}, and there must be whole ones"
        ))),
    }
}

fn read_shape(extents: &JsValue) -> Result<Vec<usize>, JsError> {
    let wrong = || JsError::new("a shape must be an array of whole numbers, the number of examples first");
    if !Array::is_array(extents) {
        return Err(wrong());
    }
    let read = |d: JsValue| {
        let number = d.as_f64().filter(|d| d.fract() == 0.0 && (0.0..f64::from(u32::MAX)).contains(d));
        number.map(|d| d as usize).ok_or_else(wrong)
    };
    Array::from(extents).iter().map(read).collect()
}

/// An output: name, numbers, shape.
pub fn output(name: &str, tensor: &Tensor) -> JsValue {
    let data: Object = match tensor.dtype() {
        DType::I32 => Int32Array::new(&buffer(tensor)).into(),
        DType::U32 => Uint32Array::new(&buffer(tensor)).into(),
        DType::Bool | DType::U8 => Uint8Array::new(&buffer(tensor)).into(),
        DType::F16 | DType::BF16 | DType::F32 => Float32Array::from(tensor.to_f32().as_slice()).into(),
    };
    object([("name", name.into()), ("data", data.into()), ("shape", shape(tensor.shape()))])
}

fn buffer(tensor: &Tensor) -> JsValue {
    Uint8Array::from(tensor.bytes()).buffer().into()
}
