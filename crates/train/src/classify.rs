//! Classifiers in use: what image a model takes, and how its scores read.
//!
//! Input: a model, scores of one example. Output: the size of its image, classes with the best first. Invariant: equal
//! scores stay in the order of their classes.

use crate::{Model, Result, TrainError};

/// The image that a model takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInput {
    /// Name of the input.
    pub name: String,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 = gray, 3 = RGB, 4 = RGBA.
    pub channels: usize,
}

impl Model {
    /// Its only input, which must take images.
    pub fn image_input(&self) -> Result<ImageInput> {
        match self.network.inputs().as_slice() {
            [one] => match one.shape.as_slice() {
                &[height, width, channels] if [1, 3, 4].contains(&channels) => {
                    Ok(ImageInput { name: one.name.clone(), height, width, channels })
                }
                other => {
                    Err(TrainError::argument(format!("the model takes {other:?}, which no image can be")))
                }
            },
            many => Err(TrainError::argument(format!(
                "the model has {} inputs; images are predicted by models of one",
                many.len()
            ))),
        }
    }
}

/// Scores of classes, ranked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// Classes, the best first.
    pub order: Vec<usize>,
    /// Whether scores are probabilities; those of a model without softmax are not.
    pub are_probabilities: bool,
}

impl Ranking {
    /// Of one score per class.
    pub fn of(scores: &[f32]) -> Ranking {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        let sum: f32 = scores.iter().sum();
        Ranking { order, are_probabilities: (sum - 1.0).abs() < 1e-3 && scores.iter().all(|p| *p >= 0.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_comes_first_and_probabilities_are_known() {
        let ranking = Ranking::of(&[0.25, 0.5, 0.25]);
        assert_eq!((ranking.order, ranking.are_probabilities), (vec![1, 0, 2], true));
        assert!(!Ranking::of(&[-0.5, 1.5]).are_probabilities);
        assert!(!Ranking::of(&[0.9, 0.9]).are_probabilities);
    }
}
