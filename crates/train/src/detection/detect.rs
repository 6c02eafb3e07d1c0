//! From pictures to detections.

use crate::model::Model;
use crate::{Result, Tensor, TrainError};
use std::sync::Arc;
use thalweg_base::DType;
use thalweg_data::detection::{Detection, DetectionSet, Letterbox, Rect, letterboxed};
use thalweg_data::{Dataset, Picture};

/// Numbers of a row of detections: corners, score, class.
const ROW: usize = 6;

/// Pictures that are looked at together: predictions are large, and more of them gain nothing.
const TOGETHER: usize = 8;

/// What a detector takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectorInput {
    /// Name of the input.
    pub name: String,
    /// Rows of the image.
    pub height: usize,
    /// Columns of the image.
    pub width: usize,
    /// Which output has the detections.
    output: usize,
}

impl Model {
    /// What the model takes where it is a detector; nothing where it is not.
    pub fn detector_input(&self) -> Option<DetectorInput> {
        let output = self.network.outputs().iter().position(|o| o.decides && o.shape.last() == Some(&ROW))?;
        match self.network.inputs().as_slice() {
            [one] => match one.shape.as_slice() {
                &[height, width, 3] => Some(DetectorInput { name: one.name.clone(), height, width, output }),
                _ => None,
            },
            _ => None,
        }
    }

    fn needs_detector(&self) -> Result<DetectorInput> {
        self.detector_input().ok_or_else(|| {
            TrainError::argument(
                "the model is no detector: it needs one input [rows, columns, 3] and an output of NonMaxSuppression",
            )
        })
    }

    /// What is found in every picture of a set, as its pictures are (not augmented).
    pub fn detect(&mut self, data: &DetectionSet) -> Result<Vec<Vec<Detection>>> {
        let input = self.needs_detector()?;
        let plain: Arc<dyn Dataset> = Arc::new(data.plain());
        let mut found = Vec::with_capacity(data.len());
        self.predict_batches(&plain, TOGETHER, |batch, outputs| {
            let values = outputs.get(input.output).map(Tensor::to_f32).unwrap_or_default();
            for rows in values.chunks_exact(values.len() / batch.size) {
                let index = found.len();
                let image = &data.annotations().images[index];
                let size = (f64::from(image.width), f64::from(image.height));
                found.push(in_picture(rows, &data.letterbox(index), size));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// What is found in pictures of any size.
    pub fn detect_pictures(&mut self, pictures: &[&Picture]) -> Result<Vec<Vec<Detection>>> {
        let input = self.needs_detector()?;
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        let (images, views) = views(&input, pictures)?;
        let outputs = self.predict_tensors(&[(input.name, images)])?;
        Ok(found(input.output, &outputs, &views))
    }

    /// The same where the host may not wait for its device, of one picture.
    pub fn detect_later(
        &mut self,
        picture: &Picture,
    ) -> Result<impl Future<Output = Result<Vec<Detection>>> + use<>> {
        let input = self.needs_detector()?;
        let (images, views) = views(&input, &[picture])?;
        let outputs = self.predict_later(&[(input.name, images)])?;
        Ok(async move { Ok(found(input.output, &outputs.await?, &views).pop().unwrap_or_default()) })
    }
}

/// A picture in use: where it lies in the model's image, its columns and rows.
type View = (Letterbox, (f64, f64));

/// Pictures as the model takes them.
fn views(input: &DetectorInput, pictures: &[&Picture]) -> Result<(Tensor, Vec<View>)> {
    let mut pixels = Vec::with_capacity(pictures.len() * input.height * input.width * 3);
    let mut views = Vec::with_capacity(pictures.len());
    for picture in pictures {
        let (image, place) = letterboxed(picture, (input.width, input.height));
        pixels.extend_from_slice(image.pixels());
        views.push((place, (picture.width() as f64, picture.height() as f64)));
    }
    let shape = [pictures.len(), input.height, input.width, 3];
    let images = Tensor::from_bytes(DType::U8, &shape, pixels)
        .ok_or_else(|| TrainError::argument("pictures have a wrong size"))?;
    Ok((images, views))
}

/// Detections by picture.
fn found(output: usize, outputs: &[(String, Tensor)], views: &[View]) -> Vec<Vec<Detection>> {
    let values = outputs.get(output).map(|(_, t)| t.to_f32()).unwrap_or_default();
    let rows = values.chunks_exact((values.len() / views.len()).max(ROW));
    rows.zip(views).map(|(rows, (place, size))| in_picture(rows, place, *size)).collect()
}

/// Rows of a picture's output as detections in the picture; what lies outside is cut off.
fn in_picture(rows: &[f32], place: &Letterbox, (width, height): (f64, f64)) -> Vec<Detection> {
    let detection = |row: &[f32]| {
        let &[x0, y0, x1, y1, score, class] = row else { return None };
        if class < 0.0 {
            return None;
        }
        let there = Rect::from_corners([x0, y0, x1, y1].map(f64::from));
        let rect = place.back(&there).inside(width, height)?;
        Some(Detection { rect, class: class as usize, score: f64::from(score) })
    };
    rows.chunks_exact(ROW).filter_map(detection).collect()
}
