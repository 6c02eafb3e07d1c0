//! From a batch on the host to the inputs of a program.
//!
//! Input: a batch, the wiring, class weights. Output: bytes for every input. Invariants: no label that names no
//! class reaches the device; in a steady state nothing is allocated.

use crate::compile::Goal;
use crate::session::{Loaded, Session};
use crate::step::SAMPLE_WEIGHT;
use crate::wiring::{Wire, Wiring};
use crate::{Result, TrainError};
use thalweg_base::DType;
use thalweg_data::{Batch, Dataset};
use thalweg_nn::losses::Loss;

/// Feeds the batches of one data set.
pub struct Feed {
    wiring: Wiring,
    /// Names of the graph's inputs, in the order of [`Wiring::fields`].
    names: Vec<String>,
    /// Per target, what its labels must be; none where they are not classes.
    labels: Vec<Option<Labels>>,
    /// Weights by class; empty for none.
    class_weight: Vec<f32>,
    /// Weights of the examples of a batch, little-endian.
    weights: Vec<u8>,
    /// Whether examples have weights.
    pub weighted: bool,
}

/// What labels may be.
struct Labels {
    output: String,
    classes: usize,
    ignored: Option<i64>,
}

impl Feed {
    /// A feed. `class_weight` are (class, weight); classes not named weigh 1.
    pub fn new(
        wiring: Wiring,
        inputs: &[String],
        goals: &[Goal],
        class_weight: &[(usize, f32)],
    ) -> Result<Feed> {
        let labels: Vec<Option<Labels>> = goals.iter().map(labels).collect();
        let mut by_class = Vec::new();
        if !class_weight.is_empty() {
            let Some([Some(target)]) = (labels.len() == 1).then_some(labels.as_slice()) else {
                return Err(TrainError::argument(
                    "class_weight needs one output whose targets are class labels; use sample weights instead",
                ));
            };
            by_class = vec![1.0; target.classes];
            for &(class, weight) in class_weight {
                match by_class.get_mut(class) {
                    Some(w) if weight.is_finite() => *w = weight,
                    Some(_) => {
                        return Err(TrainError::argument(format!(
                            "class_weight of class {class} is {weight}; use a finite number"
                        )));
                    }
                    None => {
                        return Err(TrainError::argument(format!(
                            "class_weight names class {class}, but output '{}' has {} classes (0 to {})",
                            target.output,
                            target.classes,
                            target.classes - 1
                        )));
                    }
                }
            }
            if wiring.targets[0].shape.iter().product::<usize>() != 1 {
                return Err(TrainError::argument(
                    "class_weight needs one label per example; for several use sample weights",
                ));
            }
        }
        let names = inputs
            .iter()
            .map(|n| format!("input/{n}"))
            .chain(goals.iter().map(|g| format!("target/{}", g.output_name)))
            .collect();
        let weighted = !by_class.is_empty() || wiring.weight.is_some();
        Ok(Feed { wiring, names, labels, class_weight: by_class, weights: Vec::new(), weighted })
    }

    /// Refuses a label that names no class. `record` gives the example of a place in the batch.
    pub fn check(&self, batch: &Batch, data: &dyn Dataset, record: impl Fn(usize) -> usize) -> Result<()> {
        for (wire, labels) in self.wiring.targets.iter().zip(&self.labels) {
            let Some(want) = labels else { continue };
            let per_example = wire.shape.iter().product::<usize>().max(1);
            for (i, label) in integers(&batch.fields[wire.field], wire.dtype).enumerate() {
                let known = usize::try_from(label).is_ok_and(|l| l < want.classes);
                if !known && want.ignored != Some(label) {
                    return Err(TrainError::Label {
                        dataset: data.describe(),
                        record: record(i / per_example),
                        label,
                        output: want.output.clone(),
                        classes: want.classes,
                    });
                }
            }
        }
        Ok(())
    }

    /// Writes a batch to a program's inputs.
    pub fn write(&mut self, session: &mut Session, program: &Loaded, batch: &Batch) -> Result<()> {
        for (name, wire) in self.names.iter().zip(self.wiring.fields()) {
            session.write_input(program, name, &batch.fields[wire.field])?;
        }
        if self.weighted {
            self.weigh(batch);
            session.write_input(program, SAMPLE_WEIGHT, &self.weights)?;
        }
        Ok(())
    }

    /// Sample weight times class weight.
    fn weigh(&mut self, batch: &Batch) {
        let own = self.wiring.weight.as_ref();
        let elements = own.map_or(1, |w| w.shape.iter().product::<usize>());
        self.weights.clear();
        match own {
            Some(w) => self.weights.extend_from_slice(&batch.fields[w.field]),
            None => (0..batch.size).for_each(|_| self.weights.extend_from_slice(&1f32.to_le_bytes())),
        }
        if self.class_weight.is_empty() {
            return;
        }
        let target: &Wire = &self.wiring.targets[0];
        let labels = integers(&batch.fields[target.field], target.dtype);
        for (label, weights) in labels.zip(self.weights.chunks_exact_mut(4 * elements)) {
            // An ignored label costs nothing whatever its weight.
            let factor = usize::try_from(label).ok().and_then(|l| self.class_weight.get(l)).unwrap_or(&1.0);
            for bytes in weights.chunks_exact_mut(4) {
                let weight = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) * factor;
                bytes.copy_from_slice(&weight.to_le_bytes());
            }
        }
    }

    /// The first place in a batch with a value that is not finite: (place, field).
    pub fn not_finite(&self, batch: &Batch) -> Option<(usize, usize)> {
        self.wiring.fields().chain(&self.wiring.weight).find_map(|wire| {
            if wire.dtype != DType::F32 {
                return None;
            }
            let per_example = wire.shape.iter().product::<usize>().max(1);
            let values = batch.fields[wire.field].chunks_exact(4);
            let at =
                values.map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).position(|v| !v.is_finite())?;
            Some((at / per_example, wire.field))
        })
    }
}

/// What the labels of a goal must be, where they are classes.
fn labels(goal: &Goal) -> Option<Labels> {
    let Loss::SparseCategoricalCrossentropy(loss) = &goal.loss else { return None };
    let ignored = loss.ignore_class.map(i64::from);
    Some(Labels { output: goal.output_name.clone(), classes: *goal.shape.last()?, ignored })
}

/// The integers of a field.
fn integers(bytes: &[u8], dtype: DType) -> impl Iterator<Item = i64> + '_ {
    bytes.chunks_exact(dtype.size()).map(move |c| match (dtype, c) {
        (DType::I32, &[a, b, c, d]) => i64::from(i32::from_le_bytes([a, b, c, d])),
        (DType::U32, &[a, b, c, d]) => i64::from(u32::from_le_bytes([a, b, c, d])),
        (DType::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]) as i64,
        _ => c.first().map_or(0, |&b| i64::from(b)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Compile;
    use thalweg_data::Arrays;
    use thalweg_nn::{InputInfo, OutputInfo};

    fn data() -> Arrays {
        Arrays::new().input("x", &[1], vec![0f32; 3]).target("y", &[], vec![0u8, 2, 1]).build().unwrap()
    }

    fn feed(class_weight: &[(usize, f32)], classes: usize) -> Result<Feed> {
        let outputs = [OutputInfo { name: "out".into(), shape: vec![classes] }];
        let goals = Compile::from_names("sgd", "sparse_categorical_crossentropy", &[])?.goals(&outputs)?;
        let input = InputInfo { name: "x".into(), shape: vec![1], dtype: DType::F32 };
        let wiring = Wiring::new(&data(), std::slice::from_ref(&input), &goals)?;
        Feed::new(wiring, &[input.name], &goals, class_weight)
    }

    fn batch() -> Batch {
        Batch { fields: vec![vec![0; 12], vec![0, 2, 1]], size: 3 }
    }

    #[test]
    fn a_wrong_label_is_named_with_its_record() {
        feed(&[], 3).unwrap().check(&batch(), &data(), |i| i).unwrap();
        let error = feed(&[], 2).unwrap().check(&batch(), &data(), |i| 70 + i).unwrap_err().to_string();
        assert!(
            error.contains("example 71 has the label 2, but output 'out' has 2 classes (0 to 1)"),
            "{error}"
        );
    }

    #[test]
    fn classes_weigh() {
        let mut weighing = feed(&[(2, 0.5)], 3).unwrap();
        weighing.weigh(&batch());
        let weights: Vec<f32> =
            weighing.weights.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect();
        assert_eq!(weights, [1.0, 0.5, 1.0]);
        let error = feed(&[(3, 1.0)], 3).err().unwrap().to_string();
        assert!(error.contains("names class 3, but output 'out' has 3 classes"), "{error}");
    }

    #[test]
    fn a_bad_record_is_found() {
        let feed = feed(&[], 3).unwrap();
        let mut batch = batch();
        assert_eq!(feed.not_finite(&batch), None);
        batch.fields[0][8..12].copy_from_slice(&f32::NAN.to_le_bytes());
        assert_eq!(feed.not_finite(&batch), Some((2, 0)));
    }
}
