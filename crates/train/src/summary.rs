//! The summary of a model as Keras prints it, and advice on how it is compiled.
//!
//! Input: a model. Output: a table of text; lines of advice. Invariant: columns are as wide as what is in them.

use crate::Result;
use crate::model::Model;
use thalweg_graph::{DType, Graph, NodeId, Type};
use thalweg_nn::{ForwardArgs, batched};

impl Model {
    /// Layers, shapes, parameters and costs as a table.
    pub fn summary(&self) -> String {
        let summary = self.network.summary();
        let head = ["Layer (type)", "Output shape", "Params", "FLOPs", "Connected to"].map(String::from);
        let mut rows = vec![head];
        for r in &summary.rows {
            let frozen = if r.params > 0 && r.trainable_params == 0 { " (frozen)" } else { "" };
            rows.push([
                format!("{} ({})", r.name, r.class_name),
                batched(&r.output_shape),
                grouped(r.params as u64) + frozen,
                grouped(r.flops),
                r.connected_to.join(", "),
            ]);
        }
        let wide = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..5).map(wide).collect();
        let mut out = format!("Model: \"{}\"\n", summary.name);
        for (i, row) in rows.iter().enumerate() {
            let line = format!(
                "{:<a$}  {:<b$}  {:>c$}  {:>d$}  {}",
                row[0],
                row[1],
                row[2],
                row[3],
                row[4],
                a = widths[0],
                b = widths[1],
                c = widths[2],
                d = widths[3]
            );
            out += line.trim_end();
            out += "\n";
            if i == 0 {
                out += &"-".repeat(widths.iter().sum::<usize>() + 8);
                out += "\n";
            }
        }
        out += &format!(
            "Parameters: {} ({}), trainable: {}, frozen or statistics: {}\n",
            grouped(summary.params as u64),
            bytes(4 * summary.params as u64),
            grouped(summary.trainable_params as u64),
            grouped((summary.params - summary.trainable_params) as u64)
        );
        out += &format!("One prediction: {} floating-point operations\n", grouped(summary.flops));
        out
    }

    /// A line where a loss does not suit the last activation.
    pub(crate) fn advice(&self) -> Result<Option<String>> {
        let mut g = Graph::new();
        let weights: Vec<NodeId> =
            self.network.weights().iter().map(|w| g.state(&w.path, Type::f32(&w.shape))).collect();
        let step = g.constant_of(DType::I32, 0.0);
        let inputs: Vec<NodeId> = self
            .network
            .inputs()
            .iter()
            .map(|i| g.input(&i.name, Type::new(i.dtype, &[&[1], i.shape.as_slice()].concat())))
            .collect();
        let args = ForwardArgs { weights: &weights, inputs: &inputs, training: false, step, seed: 0 };
        let forward = self.network.forward(&mut g, &args);
        let goals = &self.compiled()?.goals;
        Ok(goals.iter().find_map(|goal| goal.loss.advice(forward.logits[goal.output].map(|l| l.0))))
    }
}

/// 167562 as "167,562".
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Bytes in the largest unit that leaves a number of 1 or more.
fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let at = (0..4).take_while(|&i| n >> (10 * (i + 1)) > 0).count();
    if at == 0 {
        format!("{n} B")
    } else {
        format!("{:.2} {}", n as f64 / (1u64 << (10 * at)) as f64, units[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            (grouped(0), grouped(999), grouped(167_562)),
            ("0".into(), "999".into(), "167,562".into())
        );
        assert_eq!((bytes(1023), bytes(670_248)), ("1023 B".into(), "654.54 KiB".into()));
    }
}
