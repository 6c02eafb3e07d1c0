//! Prediction where the host may not wait for its device: a browser's page.
//!
//! In: a model and inputs. Out: futures of what the same calls without `later` return. Invariant: all is ordered on the
//! device before a call returns, so that the model is free for the next while the answer is on its way.

use crate::files::Golden;
use crate::{Model, Result, Tensor};

impl Model {
    /// See [`Model::predict_tensors`].
    pub fn predict_later(
        &mut self,
        inputs: &[(String, Tensor)],
    ) -> Result<impl Future<Output = Result<Vec<(String, Tensor)>>> + use<>> {
        let program = self.start_prediction(inputs)?;
        let names: Vec<String> = self.network.outputs().into_iter().map(|o| o.name).collect();
        let session = self.session()?;
        let read = |name: &String| session.read_output_later(&program, &format!("output/{name}"));
        let reads = names.iter().map(read).collect::<Result<Vec<_>>>()?;
        Ok(async move {
            let mut outputs = Vec::with_capacity(reads.len());
            for (name, read) in names.into_iter().zip(reads) {
                outputs.push((name, read.await?));
            }
            Ok(outputs)
        })
    }

    /// See [`Model::verify`].
    pub fn verify_later(&mut self, golden: &Golden) -> Result<impl Future<Output = Result<f64>> + use<>> {
        let found = self.predict_later(&golden.inputs)?;
        let golden = golden.clone();
        Ok(async move { golden.apart(&found.await?) })
    }
}
