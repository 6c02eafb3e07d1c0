//! Statistics of a data set for Normalization layers: Keras' `adapt`.
//!
//! Input: a model and a data set. Output: the layers' means and variances, set. Invariants: a layer sees what
//! reaches it in evaluation, so layers before it count, adapted ones too; sums are in f64 and in the data set's
//! order, so neither the batch size nor the device's threads change a statistic beyond f32.

use crate::evaluate::batches;
use crate::feed::Feed;
use crate::model::{Model, ProgramSpec};
use crate::session::Kind;
use crate::step::{Plans, tap};
use crate::wiring::Wiring;
use crate::{Result, Tensor, TrainError};
use std::sync::Arc;
use thalweg_data::{Dataset, LoaderOptions};
use thalweg_nn::Adapting;

/// Mean and sum of squared deviations of what was seen, per element of a statistic.
struct Moments {
    count: u64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    fn new(places: &[usize]) -> Moments {
        let len = places.iter().max().map_or(0, |&most| most + 1);
        Moments { count: 0, mean: vec![0.0; len], squares: vec![0.0; len] }
    }

    /// Adds whole examples. Two passes over a batch, then Chan et al. 1979: no cancellation.
    fn add(&mut self, values: &[f32], places: &[usize]) {
        let len = self.mean.len();
        let (mut mean, mut squares) = (vec![0.0; len], vec![0.0; len]);
        let each = || values.iter().zip(places.iter().cycle()).map(|(&v, &p)| (f64::from(v), p));
        // Every statistic has as many elements of each example.
        let count = (values.len() / len.max(1)) as u64;
        each().for_each(|(v, p)| mean[p] += v);
        mean.iter_mut().for_each(|m| *m /= count as f64);
        each().for_each(|(v, p)| squares[p] += (v - mean[p]).powi(2));
        let share = count as f64 / (self.count + count) as f64;
        for p in 0..len {
            let apart = mean[p] - self.mean[p];
            self.mean[p] += apart * share;
            self.squares[p] += squares[p] + apart * apart * self.count as f64 * share;
        }
        self.count += count;
    }

    /// Mean and variance (of the population, as in Keras).
    fn finish(self) -> (Vec<f32>, Vec<f32>) {
        let variance = self.squares.iter().map(|s| (s / self.count as f64) as f32).collect();
        (self.mean.iter().map(|&m| m as f32).collect(), variance)
    }
}

impl Model {
    /// Sets the statistics of every Normalization layer that was given none, from all examples of `data`; says
    /// how many layers there were. Keras' `layer.adapt(data)`, for the whole model; do it before `fit`.
    pub fn adapt(&mut self, data: &Arc<dyn Dataset>, batch_size: usize) -> Result<usize> {
        let layers = self.network.adapting();
        if layers.is_empty() {
            return Err(TrainError::argument(
                "the model has no Normalization layer without mean and variance, so nothing can be adapted",
            ));
        }
        for layer in &layers {
            let (mean, variance) = self.moments(layer, data, batch_size)?;
            if mean.iter().chain(&variance).any(|v| !v.is_finite()) {
                return Err(TrainError::argument(format!(
                    "layer '{}' cannot be adapted to {}: what reaches it is not finite",
                    layer.layer,
                    data.describe()
                )));
            }
            for (index, values) in [(layer.mean, mean), (layer.variance, variance)] {
                self.set_weight(index, &values)?;
            }
        }
        Ok(layers.len())
    }

    fn moments(
        &mut self,
        layer: &Adapting,
        data: &Arc<dyn Dataset>,
        batch_size: usize,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let wiring = Wiring::for_inputs(&**data, &self.network.inputs())?;
        let mut feed = Feed::new(wiring.clone(), &self.network.inputs(), &[], &[])?;
        let mut moments = Moments::new(&layer.places);
        let mut value = |model: &mut Model, batch: &thalweg_data::Batch| -> Result<Tensor> {
            let spec = ProgramSpec {
                wiring: wiring.clone(),
                batch: batch.size,
                weighted: false,
                seed: 0,
                kept: None,
            };
            let program =
                model.program_of(Kind::Predict, &format!("tap {} ", layer.input), &spec, |model| {
                    Ok(tap(Plans::of(&model.network, &[], &spec), &layer.input))
                })?;
            let session = model.session()?;
            feed.write(session, &program, batch)?;
            session.run(&program)?;
            session.read_output(&program, "value")
        };
        batches(data, batch_size, LoaderOptions::default(), |batch, _, _| {
            moments.add(&value(self, batch)?.to_f32(), &layer.places);
            Ok(true)
        })?;
        Ok(moments.finish())
    }
}
