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
use thalweg_nn::InputInfo;
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

/// How targets name classes.
struct Labels {
    output: String,
    wire: Wire,
    classes: usize,
    ignored: Option<i64>,
    form: Form,
}

/// What a target is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Numbers of classes, all of which must be known.
    Index,
    /// As `Index`, but any numbers will do for the loss: floats between 0 and 1.
    Soft,
    /// A score for every class: one-hot, or a distribution.
    OneHot,
}

impl Feed {
    /// A feed. `class_weight` are (class, weight); classes not named weigh 1.
    pub fn new(
        wiring: Wiring,
        inputs: &[InputInfo],
        goals: &[Goal],
        class_weight: &[(usize, f32)],
    ) -> Result<Feed> {
        let labels: Vec<Option<Labels>> = goals.iter().zip(&wiring.targets).map(labels).collect();
        let mut by_class = Vec::new();
        if !class_weight.is_empty() {
            let Some([Some(target)]) = (labels.len() == 1).then_some(labels.as_slice()) else {
                return Err(TrainError::argument(
                    "class_weight needs one output with a crossentropy loss; use sample weights instead",
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
            let per_example = if target.form == Form::OneHot { target.classes } else { 1 };
            if target.wire.shape.iter().product::<usize>() != per_example {
                return Err(TrainError::argument(
                    "class_weight needs one label per example; for several use sample weights",
                ));
            }
        }
        let names = wiring.names(inputs, goals);
        let weighted = !by_class.is_empty() || wiring.weight.is_some();
        Ok(Feed { wiring, names, labels, class_weight: by_class, weights: Vec::new(), weighted })
    }

    /// Refuses a label that names no class. `record` gives the example of a place in the batch.
    pub fn check(&self, batch: &Batch, data: &dyn Dataset, record: impl Fn(usize) -> usize) -> Result<()> {
        for want in self.labels.iter().flatten().filter(|l| l.form == Form::Index) {
            let wire = &want.wire;
            let per_example = wire.shape.iter().product::<usize>().max(1);
            for (i, label) in numbers(&batch.fields[wire.field], wire.dtype).enumerate() {
                let label = label as i64;
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
        if self.weighted {
            self.weigh(batch);
        }
        self.inputs(batch).try_for_each(|(name, bytes)| session.write_input(program, name, bytes))
    }

    /// The inputs of a batch that was weighed, with their bytes.
    fn inputs<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let fields = self.wiring.fields().map(|wire| batch.fields[wire.field].as_slice());
        let weights = self.weighted.then_some((SAMPLE_WEIGHT, self.weights.as_slice()));
        self.names.iter().map(String::as_str).zip(fields).chain(weights)
    }

    /// Bytes of an example's weights.
    fn weight_bytes(&self) -> usize {
        DType::F32.size() * self.wiring.weight.as_ref().map_or(1, |w| w.shape.iter().product())
    }

    /// The inputs, with the bytes that an example has in each.
    pub fn columns(&self) -> impl Iterator<Item = (&str, usize)> {
        let each = |wire: &Wire| wire.dtype.size() * wire.shape.iter().product::<usize>();
        let weights = self.weighted.then(|| (SAMPLE_WEIGHT, self.weight_bytes()));
        self.names.iter().map(String::as_str).zip(self.wiring.fields().map(each)).chain(weights)
    }

    /// What a batch becomes, column by column.
    pub fn filled<'a>(&'a mut self, batch: &'a Batch) -> impl Iterator<Item = &'a [u8]> {
        if self.weighted {
            self.weigh(batch);
        }
        self.inputs(batch).map(|(_, bytes)| bytes)
    }

    /// Sample weight times class weight.
    fn weigh(&mut self, batch: &Batch) {
        let own = self.wiring.weight.as_ref();
        let each = self.weight_bytes();
        self.weights.clear();
        match own {
            Some(w) => self.weights.extend_from_slice(&batch.fields[w.field]),
            None => (0..batch.size).for_each(|_| self.weights.extend_from_slice(&1f32.to_le_bytes())),
        }
        if self.class_weight.is_empty() {
            return;
        }
        let [Some(Labels { wire, form, .. })] = self.labels.as_slice() else { return };
        let one_hot = *form == Form::OneHot;
        let mut labels = numbers(&batch.fields[wire.field], wire.dtype);
        for weights in self.weights.chunks_exact_mut(each) {
            let class = if one_hot {
                first_largest(labels.by_ref().take(self.class_weight.len()))
            } else {
                // A negative one becomes 0 only where it is refused or ignored: that costs nothing anyway.
                labels.next().map_or(0, |l| l.round_ties_even() as usize)
            };
            let factor = self.class_weight.get(class).unwrap_or(&1.0);
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

/// How the targets of a goal name classes, where they do. Floats between two classes are no mistake, as in
/// Keras; integers that are neither 0 nor 1 are.
fn labels((goal, wires): (&Goal, &Vec<Wire>)) -> Option<Labels> {
    // Of a target made of parts, classes are the last.
    let wire = wires.last()?.clone();
    let numbered = goal.loss.class_range(&[&[1], goal.shape.as_slice()].concat());
    let (classes, ignored, form) = match &goal.loss {
        _ if let Some((classes, ignored)) = numbered => (classes, ignored, Form::Index),
        Loss::BinaryCrossentropy(_) if wire.dtype.is_float() => (2, None, Form::Soft),
        Loss::BinaryCrossentropy(_) => (2, None, Form::Index),
        Loss::CategoricalCrossentropy(_) => (*goal.shape.last()?, None, Form::OneHot),
        _ => return None,
    };
    Some(Labels { output: goal.output_name.clone(), wire, classes, ignored, form })
}

/// The numbers of a field.
fn numbers(bytes: &[u8], dtype: DType) -> impl Iterator<Item = f64> + '_ {
    bytes.chunks_exact(dtype.size()).map(move |c| match (dtype, c) {
        (DType::I32, &[a, b, c, d]) => f64::from(i32::from_le_bytes([a, b, c, d])),
        (DType::U32, &[a, b, c, d]) => f64::from(u32::from_le_bytes([a, b, c, d])),
        (DType::F32, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
        _ => c.first().map_or(0.0, |&b| f64::from(b)),
    })
}

/// The place of the first of the largest numbers.
fn first_largest(numbers: impl Iterator<Item = f64>) -> usize {
    let larger = |best: (usize, f64), (i, v): (usize, f64)| if v > best.1 { (i, v) } else { best };
    numbers.enumerate().fold((0, f64::NEG_INFINITY), larger).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Compile;
    use thalweg_data::Arrays;
    use thalweg_nn::OutputInfo;

    fn data() -> Arrays {
        Arrays::new().input("x", &[1], vec![0f32; 3]).target("y", &[], vec![0u8, 2, 1]).build().unwrap()
    }

    fn feed(class_weight: &[(usize, f32)], classes: usize) -> Result<Feed> {
        let outputs = [OutputInfo { name: "out".into(), shape: vec![classes], decides: false }];
        let goals = Compile::from_names("sgd", "sparse_categorical_crossentropy", &[])?.goals(&outputs)?;
        let input = InputInfo { name: "x".into(), shape: vec![1], dtype: DType::F32 };
        let wiring = Wiring::new(&data(), std::slice::from_ref(&input), &goals)?;
        Feed::new(wiring, &[input], &goals, class_weight)
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
