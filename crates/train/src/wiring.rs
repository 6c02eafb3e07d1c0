//! Which field of a data set feeds which input, target and weight of a model.
//!
//! Input: a data set's fields, a network's inputs, the goals of its outputs. Output: [`Wiring`], or one line
//! that says which field does not fit and how to make it. Invariant: names decide where they match; where
//! there is only one of each, or as many of each and no name matches, order decides.

use crate::compile::Goal;
use crate::{Result, TrainError};
use thalweg_base::DType;
use thalweg_data::{Dataset, Field, Role};
use thalweg_nn::InputInfo;

/// A field that feeds an input of the graph.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wire {
    /// Which field of the data set.
    pub field: usize,
    /// Its per-example shape.
    pub shape: Vec<usize>,
    /// Its element type.
    pub dtype: DType,
}

/// All fields that are used.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Wiring {
    /// Per input of the network.
    pub inputs: Vec<Wire>,
    /// Per goal, the fields that its target is made of: one, or the parts that its loss names. Empty for prediction.
    pub targets: Vec<Vec<Wire>>,
    /// The weights of examples.
    pub weight: Option<Wire>,
}

fn wire(fields: &[Field], field: usize) -> Wire {
    Wire { field, shape: fields[field].shape.clone(), dtype: fields[field].dtype }
}

/// The graph's input for one of the `parts` fields of a goal's target.
pub(crate) fn target_name(goal: &Goal, parts: usize, part: usize) -> String {
    match goal.loss.target_parts().get(part).filter(|_| parts > 1) {
        Some(name) => format!("target/{}/{name}", goal.output_name),
        None => format!("target/{}", goal.output_name),
    }
}

/// Shapes are equal up to axes of extent 1 at the end: [28, 28] is [28, 28, 1].
pub(crate) fn same_but_ones(a: &[usize], b: &[usize]) -> bool {
    let trimmed = |s: &[usize]| s.iter().rposition(|&d| d != 1).map_or(0, |i| i + 1);
    a[..trimmed(a)] == b[..trimmed(b)]
}

/// Whether weights of that shape fit the costs of an output, which has one axis more than they.
fn weighs(weight: &[usize], output: &[usize]) -> bool {
    let costs = &output[..output.len().saturating_sub(1)];
    let weight = match weight {
        [rest @ .., 1] if weight.len() > costs.len() => rest,
        all => all,
    };
    weight.len() <= costs.len() && weight.iter().zip(costs).all(|(&w, &c)| w == c || w == 1)
}

fn listed(fields: &[(usize, &Field)]) -> String {
    let all: Vec<String> =
        fields.iter().map(|(_, f)| format!("'{}' {}{:?}", f.name, f.dtype, f.shape)).collect();
    all.join(", ")
}

/// The fields that a goal's target is made of, where its loss names parts and the data have them.
fn parts(goal: &Goal, fields: &[Field]) -> Option<Vec<usize>> {
    let names = goal.loss.target_parts();
    let at = |name: &&str| fields.iter().position(|f| f.role == Role::Target && f.name == **name);
    names.iter().map(at).collect::<Option<Vec<_>>>().filter(|parts| !parts.is_empty())
}

/// What does not fit a goal's loss and metrics, for a batch of one.
fn check_target(goal: &Goal, fields: &[Field], own: &[usize]) -> std::result::Result<(), String> {
    let with_batch = |s: &[usize]| [&[1], s].concat();
    if own.len() < goal.loss.target_parts().len() {
        let names = goal.loss.target_parts().join(" and ");
        return Err(format!("{} needs targets named {names}", goal.loss.name()));
    }
    let (pred, target) = (with_batch(&goal.shape), with_batch(&joined_shape(fields, own)));
    let given = own.first().map_or(DType::F32, |&i| fields[i].dtype);
    // Integers serve as numbers: the graph casts them.
    let dtype = if goal.loss.target_dtype().is_float() { DType::F32 } else { given };
    goal.loss.check(&pred, &target, dtype)?;
    goal.metrics.iter().try_for_each(|m| m.metric.check(&pred, &target, given))
}

/// The shape of fields joined along a last axis, in which one without it takes one place: [m, 4] and [m] make [m, 5].
fn joined_shape(fields: &[Field], own: &[usize]) -> Vec<usize> {
    let shapes: Vec<&[usize]> = own.iter().map(|&i| fields[i].shape.as_slice()).collect();
    match shapes.as_slice() {
        [one] => one.to_vec(),
        [[lead @ .., width], rest @ ..] if rest.iter().all(|s| s == &lead) => {
            [lead, &[width + rest.len()]].concat()
        }
        // No loss takes it.
        _ => Vec::new(),
    }
}

/// The field for each wanted name, of those that `takes` says.
fn assign(
    what: &str,
    wanted: &[&str],
    fields: &[Field],
    takes: &dyn Fn(usize, &Field) -> bool,
    of: &str,
) -> Result<Vec<usize>> {
    let have: Vec<(usize, &Field)> = fields.iter().enumerate().filter(|(i, f)| takes(*i, f)).collect();
    let by_name: Option<Vec<usize>> =
        wanted.iter().map(|w| have.iter().find(|(_, f)| f.name == *w).map(|(i, _)| *i)).collect();
    if let Some(found) = by_name {
        return Ok(found);
    }
    let any_name = wanted.iter().any(|w| have.iter().any(|(_, f)| f.name == *w));
    if have.len() == wanted.len() && (wanted.len() == 1 || !any_name) {
        return Ok(have.iter().map(|(i, _)| *i).collect());
    }
    let list = if have.is_empty() { "none".to_owned() } else { listed(&have) };
    Err(TrainError::argument(format!(
        "the model has the {what}s {}, but {of} has {list}; name the fields like the model's {what}s",
        wanted.join(", ")
    )))
}

impl Wiring {
    /// For training and evaluation.
    pub fn new(data: &dyn Dataset, inputs: &[InputInfo], goals: &[Goal]) -> Result<Wiring> {
        let fields = data.fields();
        let mut wiring = Wiring::for_inputs(data, inputs)?;
        let whole: Vec<&Goal> = goals.iter().filter(|g| parts(g, fields).is_none()).collect();
        let names: Vec<&str> = whole.iter().map(|g| g.output_name.as_str()).collect();
        // Fields that are parts of a target are nobody else's.
        let taken: Vec<usize> = goals.iter().filter_map(|g| parts(g, fields)).flatten().collect();
        let mut found = match names.is_empty() {
            true => Vec::new(),
            false => assign(
                "output",
                &names,
                fields,
                &|i, f| f.role == Role::Target && !taken.contains(&i),
                &data.describe(),
            )?,
        }
        .into_iter();
        for goal in goals {
            let own: Vec<usize> = parts(goal, fields).unwrap_or_else(|| found.next().into_iter().collect());
            check_target(goal, fields, &own).map_err(|problem| {
                // The checks speak of a batch of one; a user knows it as N.
                let problem = problem.replace("[1,", "[N,").replace("[1]", "[N]");
                let names: Vec<String> = own.iter().map(|&i| format!("'{}'", fields[i].name)).collect();
                TrainError::argument(format!(
                    "target {} of {} and output '{}': {problem}",
                    names.join(" and "),
                    data.describe(),
                    goal.output_name
                ))
            })?;
            wiring.targets.push(own.iter().map(|&i| wire(fields, i)).collect());
        }
        wiring.weight = fields.iter().position(|f| f.role == Role::SampleWeight).map(|i| wire(fields, i));
        if let Some(w) = &wiring.weight
            && w.dtype != DType::F32
        {
            return Err(TrainError::argument(format!(
                "field '{}' holds sample weights and must be f32, not {}",
                fields[w.field].name, w.dtype
            )));
        }
        if let Some(w) = &wiring.weight
            && let Some(goal) = goals.iter().find(|g| !weighs(&w.shape, &g.shape))
        {
            return Err(TrainError::argument(format!(
                "field '{}' holds sample weights of shape {:?}, which do not fit output '{}' {:?}; use one \
                 number per example, or one for each of the output's leading axes",
                fields[w.field].name, w.shape, goal.output_name, goal.shape
            )));
        }
        Ok(wiring)
    }

    /// For prediction.
    pub fn for_inputs(data: &dyn Dataset, inputs: &[InputInfo]) -> Result<Wiring> {
        let fields = data.fields();
        let names: Vec<&str> = inputs.iter().map(|i| i.name.as_str()).collect();
        let found = assign("input", &names, fields, &|_, f| f.role == Role::Input, &data.describe())?;
        let mut wiring = Wiring::default();
        for (input, &at) in inputs.iter().zip(&found) {
            if !same_but_ones(&fields[at].shape, &input.shape) {
                return Err(TrainError::argument(format!(
                    "field '{}' of {} has the shape {:?}, but input '{}' takes {:?}; give the input that shape, \
                     or resize the data",
                    fields[at].name,
                    data.describe(),
                    fields[at].shape,
                    input.name,
                    input.shape
                )));
            }
            wiring.inputs.push(wire(fields, at));
        }
        Ok(wiring)
    }

    /// The fields in use, in the order of the graph's inputs.
    pub fn fields(&self) -> impl Iterator<Item = &Wire> {
        self.inputs.iter().chain(self.targets.iter().flatten())
    }

    /// Names of the graph's inputs, in the order of [`Wiring::fields`].
    pub fn names(&self, inputs: &[InputInfo], goals: &[Goal]) -> Vec<String> {
        let inputs = inputs.iter().map(|i| format!("input/{}", i.name));
        let targets = goals.iter().zip(&self.targets).flat_map(|(goal, wires)| {
            (0..wires.len()).map(|i| target_name(goal, wires.len(), i)).collect::<Vec<_>>()
        });
        inputs.chain(targets).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Compile;
    use thalweg_data::Arrays;
    use thalweg_nn::OutputInfo;

    fn input(name: &str, shape: &[usize]) -> InputInfo {
        InputInfo { name: name.into(), shape: shape.to_vec(), dtype: DType::F32 }
    }

    fn goals(loss: &str, classes: usize) -> Vec<Goal> {
        let outputs = [OutputInfo { name: "out".into(), shape: vec![classes], decides: false }];
        Compile::from_names("sgd", loss, &["accuracy"]).unwrap().goals(&outputs).unwrap()
    }

    #[test]
    fn one_of_each_needs_no_names() {
        let data = Arrays::new()
            .input("image", &[2, 2], vec![0u8; 8])
            .target("y", &[], vec![0i32; 2])
            .build()
            .unwrap();
        let goals = goals("sparse_categorical_crossentropy", 3);
        let wiring = Wiring::new(&data, &[input("x", &[2, 2, 1])], &goals).unwrap();
        assert_eq!((wiring.inputs[0].field, wiring.targets[0][0].field), (0, 1));
        let error = Wiring::new(&data, &[input("x", &[3, 2, 1])], &goals).unwrap_err().to_string();
        assert!(error.contains("'image'") && error.contains("takes [3, 2, 1]"), "{error}");
    }

    #[test]
    fn names_decide_among_several() {
        let data = Arrays::new()
            .input("a", &[1], vec![0f32; 2])
            .input("b", &[2], vec![0f32; 4])
            .target("y", &[], vec![0i32; 2])
            .build()
            .unwrap();
        let found = |inputs: &[InputInfo]| Wiring::for_inputs(&data, inputs);
        let by_name = found(&[input("b", &[2]), input("a", &[1])]).unwrap();
        assert_eq!(by_name.inputs.iter().map(|w| w.field).collect::<Vec<_>>(), [1, 0]);
        let by_order = found(&[input("p", &[1]), input("q", &[2])]).unwrap();
        assert_eq!(by_order.inputs[1].field, 1);
        let error = found(&[input("p", &[1])]).unwrap_err().to_string();
        assert!(error.contains("the model has the inputs p"), "{error}");
    }

    #[test]
    fn targets_that_do_not_fit_are_named_with_the_fix() {
        let data =
            Arrays::new().input("x", &[1], vec![0f32; 2]).target("y", &[], vec![0i32; 2]).build().unwrap();
        let error = Wiring::new(&data, &[input("x", &[1])], &goals("categorical_crossentropy", 3));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("use sparse_categorical_crossentropy") && error.contains("[N,3]"), "{error}");
    }
}
