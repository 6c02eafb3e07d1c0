//! The class `Model` of JavaScript.
//!
//! In: a file's bytes, numbers, pictures. Out: promises. Invariant: all that may fail by a bug is done before a promise is
//! made, so that it is an error for the caller; what is left for later only reads.

use crate::numbers::{output, tensor};
use crate::object::{array, object, property, shape};
use crate::picture::Pixels;
use js_sys::{ArrayBuffer, Promise, Uint8Array};
use std::cell::{RefCell, RefMut};
use thalweg_base::DType;
use thalweg_data::Picture;
use thalweg_data::decode::{self, Size};
use thalweg_data::detection::Detection;
use thalweg_device::wgpu::WgpuDevice;
use thalweg_nn::InputInfo;
use thalweg_train::files::{Golden, ModelReader};
use thalweg_train::{Model as Trained, Ranking, Tensor};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsError, JsValue};
use wasm_bindgen_futures::future_to_promise;

/// Classes that `classify` returns unless told.
const TOP: u32 = 3;
/// Least score of what `detect` returns unless told.
const CONFIDENCE: f64 = 0.25;

type Result<T, E = JsError> = std::result::Result<T, E>;

/// A promise of what was started, or of why it was not.
fn promise<T: Into<JsValue>>(started: Result<impl Future<Output = Result<T>> + 'static>) -> Promise {
    future_to_promise(async move { Ok(started?.await?.into()) })
}

/// A trained model on the browser's GPU.
#[wasm_bindgen]
pub struct Model {
    model: RefCell<Trained>,
    golden: Option<Golden>,
    /// What it is and what is behind it.
    device: String,
    name: String,
    inputs: Vec<InputInfo>,
}

#[wasm_bindgen]
impl Model {
    /// A model from the bytes of its file; `name` is for messages.
    #[wasm_bindgen(unchecked_return_type = "Promise<Model>")]
    pub fn load(
        #[wasm_bindgen(unchecked_param_type = "Uint8Array | ArrayBuffer")] bytes: &JsValue,
        name: Option<String>,
    ) -> Promise {
        promise(
            read(bytes, &name.unwrap_or_else(|| "the model".into()))
                .map(|(model, golden)| async move { Model::on_gpu(model, golden).await }),
        )
    }

    async fn on_gpu(mut model: Trained, golden: Option<Golden>) -> Result<Model> {
        model.use_device(Box::new(WgpuDevice::request().await?))?;
        let device = model.device_info()?.description;
        let (name, inputs) = (model.network().config().name.clone(), model.network().inputs());
        Ok(Model { model: RefCell::new(model), golden, device, name, inputs })
    }

    fn model(&self) -> Result<RefMut<'_, Trained>> {
        let broken = |_| JsError::new("an earlier call was broken off by a bug; load the model again");
        self.model.try_borrow_mut().map_err(broken)
    }

    /// The network's name.
    #[wasm_bindgen(getter)]
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// The GPU, as the browser calls it.
    #[wasm_bindgen(getter)]
    pub fn device(&self) -> String {
        self.device.clone()
    }

    /// What it takes.
    #[wasm_bindgen(getter, unchecked_return_type = "TensorInfo[]")]
    pub fn inputs(&self) -> JsValue {
        array(self.inputs.iter().map(|i| info(&i.name, &i.shape, i.dtype)))
    }

    /// What it gives.
    #[wasm_bindgen(getter, unchecked_return_type = "TensorInfo[]")]
    pub fn outputs(&self) -> Result<JsValue> {
        let outputs = self.model()?.network().outputs();
        Ok(array(outputs.iter().map(|o| info(&o.name, &o.shape, DType::F32))))
    }

    /// Names of its classes; none where the file has none.
    #[wasm_bindgen(getter, unchecked_return_type = "string[]")]
    pub fn classes(&self) -> Result<JsValue> {
        Ok(array(self.model()?.info().class_names.iter().map(String::as_str)))
    }

    /// Whether it finds boxes: then use `detect`.
    #[wasm_bindgen(getter, js_name = isDetector)]
    pub fn is_detector(&self) -> Result<bool> {
        Ok(self.model()?.detector_input().is_some())
    }

    /// Its outputs for numbers: `predict(data, shape)`, the number of examples first; without a shape as many examples as
    /// there are. Of a model with several inputs `predict({ name: { data, shape }, .. })`.
    #[wasm_bindgen(unchecked_return_type = "Promise<Output[]>")]
    pub fn predict(
        &self,
        #[wasm_bindgen(
            unchecked_param_type = "Numbers | Record<string, { data: Numbers; shape?: number[] }>"
        )]
        data: &JsValue,
        #[wasm_bindgen(unchecked_optional_param_type = "number[]")] shape: &JsValue,
    ) -> Promise {
        promise(self.start_predict(data, shape))
    }

    fn start_predict(
        &self,
        data: &JsValue,
        shape: &JsValue,
    ) -> Result<impl Future<Output = Result<JsValue>> + use<>> {
        let mut given = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            let named = property(data, &input.name);
            let tensor = match self.inputs.len() {
                1 if named.is_undefined() => tensor(data, shape, &input.shape)?,
                _ => tensor(&property(&named, "data"), &property(&named, "shape"), &input.shape)
                    .map_err(|e| about(&input.name, e))?,
            };
            given.push((input.name.clone(), tensor));
        }
        let outputs = self.model()?.predict_later(&given)?;
        Ok(async move { Ok(array(outputs.await?.iter().map(|(name, tensor)| output(name, tensor)))) })
    }

    /// The classes that a picture looks most like, the best first; `top` of them (3).
    #[wasm_bindgen(unchecked_return_type = "Promise<ClassScore[]>")]
    pub fn classify(
        &self,
        #[wasm_bindgen(unchecked_param_type = "Pixels")] picture: &JsValue,
        top: Option<u32>,
    ) -> Promise {
        promise(self.start_classify(picture, top.unwrap_or(TOP) as usize))
    }

    fn start_classify(
        &self,
        picture: &JsValue,
        top: usize,
    ) -> Result<impl Future<Output = Result<JsValue>> + use<>> {
        let mut model = self.model()?;
        let input = model.image_input()?;
        let classes = match model.network().outputs().first().map(|o| o.shape.clone()).as_deref() {
            Some(&[classes]) if classes > 1 => classes,
            _ if model.detector_input().is_some() => {
                return Err(JsError::new("the model is a detector; use detect"));
            }
            other => {
                let other = other.unwrap_or_default();
                return Err(JsError::new(&format!(
                    "the model gives {other:?}, not a score per class; use predict"
                )));
            }
        };
        let size = Size { height: input.height, width: input.width, channels: input.channels };
        let pixels = Pixels::of(picture)?;
        let bytes = decode::rgba(pixels.data, (pixels.height, pixels.width), size)?;
        let images = Tensor::from_bytes(DType::U8, &[1, size.height, size.width, size.channels], bytes)
            .ok_or_else(|| JsError::new("the picture has a wrong size"))?;
        let outputs = model.predict_later(&[(input.name, images)])?;
        let names = Names(model.info().class_names.clone());
        Ok(async move {
            let scores = outputs.await?.first().map(|(_, t)| t.to_f32()).unwrap_or_default();
            let Ranking { order, are_probabilities } = Ranking::of(&scores[..classes.min(scores.len())]);
            let key = if are_probabilities { "probability" } else { "score" };
            let entry = |c: usize| {
                let score = f64::from(scores[c]).into();
                object([("className", names.of(c)), ("index", (c as f64).into()), (key, score)])
            };
            Ok(array(order.into_iter().take(top).map(entry)))
        })
    }

    /// What is in a picture, the surest first, from a score of `confidence` (0.25).
    #[wasm_bindgen(unchecked_return_type = "Promise<Detection[]>")]
    pub fn detect(
        &self,
        #[wasm_bindgen(unchecked_param_type = "Pixels")] picture: &JsValue,
        confidence: Option<f64>,
    ) -> Promise {
        promise(self.start_detect(picture, confidence.unwrap_or(CONFIDENCE)))
    }

    fn start_detect(
        &self,
        picture: &JsValue,
        confidence: f64,
    ) -> Result<impl Future<Output = Result<JsValue>> + use<>> {
        let mut model = self.model()?;
        let pixels = Pixels::of(picture)?;
        let picture = Picture::from_rgba(pixels.width, pixels.height, pixels.data)?;
        let found = model.detect_later(&picture)?;
        let names = Names(model.info().class_names.clone());
        Ok(async move {
            let found = found.await?;
            let entry = |d: &Detection| {
                let bbox = array([d.rect.x, d.rect.y, d.rect.width, d.rect.height]);
                object([
                    ("class", names.of(d.class)),
                    ("index", (d.class as f64).into()),
                    ("score", d.score.into()),
                    ("bbox", bbox),
                ])
            };
            Ok(array(found.iter().filter(|d| d.score >= confidence).map(entry)))
        })
    }

    /// How far what this GPU makes of the file's own examples is from what the file says; nothing where it has none.
    #[wasm_bindgen(unchecked_return_type = "Promise<number | undefined>")]
    pub fn verify(&self) -> Promise {
        let started = match &self.golden {
            None => Ok(None),
            Some(golden) => self.model().and_then(|mut m| Ok(Some(m.verify_later(golden)?))),
        };
        promise(started.map(|apart| async move {
            Ok(match apart {
                None => JsValue::UNDEFINED,
                Some(apart) => apart.await?.into(),
            })
        }))
    }
}

/// Names of classes.
struct Names(Vec<String>);

impl Names {
    /// A class' name; its number where it has none.
    fn of(&self, class: usize) -> JsValue {
        self.0.get(class).map_or_else(|| class.to_string().into(), JsValue::from)
    }
}

fn info(name: &str, extents: &[usize], dtype: DType) -> JsValue {
    object([("name", name.into()), ("shape", shape(extents)), ("dtype", dtype.to_string().into())])
}

fn about(input: &str, error: JsError) -> JsError {
    let message = property(&error.into(), "message").as_string().unwrap_or_default();
    JsError::new(&format!("input '{input}': {message}"))
}

/// A model and its examples from a file's bytes.
fn read(bytes: &JsValue, name: &str) -> Result<(Trained, Option<Golden>)> {
    if !bytes.is_instance_of::<ArrayBuffer>() && !bytes.is_instance_of::<Uint8Array>() {
        return Err(JsError::new(
            "a model is loaded from the bytes of its file, an ArrayBuffer or a Uint8Array",
        ));
    }
    let mut reader = ModelReader::from_bytes(name, Uint8Array::new(bytes).to_vec())?;
    let model = Trained::from_reader(&mut reader)?;
    Ok((model, reader.golden()?))
}
