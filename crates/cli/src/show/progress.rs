//! The progress of training: a bar on a terminal, one line an epoch elsewhere, JSON for scripts.
//!
//! In: [`Event`]s of the trainer, at most ten a second. Out: lines, and a [`Tally`] of what the end must say.
//! Invariant: what stays on the screen is the same text as what is piped, but for the bar in it.

use super::console::Console;
use super::numbers::{counted, grouped, rounded, short_bytes, short_seconds};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use thalweg::train::{Event, Logs, Observer};

/// Cells of the bar that stays when an epoch has ended.
const CELLS: usize = 5;

/// A bar at the bottom of the terminal; nothing where nobody looks.
pub struct Bar(Option<ProgressBar>);

impl Bar {
    /// A bar of `total` steps; 0 for a number that is not known.
    pub fn new(console: &Console, total: u64) -> Bar {
        if !console.live {
            return Bar(None);
        }
        let bar = ProgressBar::with_draw_target(Some(total.max(1)), ProgressDrawTarget::stderr());
        let template = match (total, console.color()) {
            (0, _) => "{wide_msg}",
            (_, true) => "{pos:>5}/{len} {bar:12.green/238} {wide_msg}",
            (_, false) => "{pos:>5}/{len} {bar:12} {wide_msg}",
        };
        // The templates are constants: one that is wrong shows as indicatif's own bar.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        Bar(Some(bar))
    }

    /// Moves it.
    pub fn set(&self, position: u64, message: String) {
        if let Some(bar) = &self.0 {
            bar.set_position(position);
            bar.set_message(message);
        }
    }

    /// Runs `f` with the bar out of the way.
    fn aside(&self, f: impl FnOnce()) {
        match &self.0 {
            Some(bar) => bar.suspend(f),
            None => f(),
        }
    }

    /// Takes it away.
    pub fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// What a training's last words need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Epochs of this run.
    epochs: usize,
    /// Sum of seconds per image: all epochs have as many images.
    seconds_per_image: f64,
}

impl Tally {
    /// Images a second over all epochs of this run, validation left out; none where there was no epoch.
    pub fn images_per_second(&self) -> Option<f64> {
        (self.epochs > 0).then(|| self.epochs as f64 / self.seconds_per_image)
    }
}

/// Watches a training.
pub struct Watch {
    console: Console,
    tally: Arc<Mutex<Tally>>,
    bar: Bar,
    batch: usize,
    /// When the epoch began, and steps that were done before.
    began: (Instant, usize),
    /// Width of epoch numbers.
    digits: usize,
    /// What was said last while training, for the time of validation.
    said: String,
}

impl Watch {
    /// A watch that leaves its sums in `tally`.
    pub fn new(console: &Console, tally: Arc<Mutex<Tally>>) -> Watch {
        let began = (Instant::now(), 0);
        Watch {
            console: console.clone(),
            tally,
            bar: Bar(None),
            batch: 0,
            began,
            digits: 1,
            said: String::new(),
        }
    }

    fn say(&self, line: &str) {
        self.bar.aside(|| self.console.say(line));
    }

    fn epoch_end(&mut self, epoch: usize, epochs: usize, seconds: f64, speed: f64, logs: &Logs) {
        self.bar.clear();
        let (number, digits) = (epoch + 1, self.digits);
        let bar = match self.console.live {
            true => format!("{} ", "━".repeat(CELLS)),
            false => String::new(),
        };
        self.console.say(format!(
            "Epoch {number:>digits$}/{epochs} {bar}{:>5}  {:>7} images/s  {}",
            short_seconds(seconds),
            grouped(speed as u64),
            logs_text(logs)
        ));
        let mut event = object(json!({ "event": "epoch", "epoch": number, "epochs": epochs }));
        event.insert("seconds".into(), rounded(seconds, 3).into());
        event.insert("images_per_second".into(), rounded(speed, 1).into());
        event.extend(object(logs.to_json()));
        self.console.event(&Value::Object(event));
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.epochs += 1;
        tally.seconds_per_image += 1.0 / speed.max(1e-9);
    }
}

/// `loss: 1.0432  accuracy: 0.6312`, with the learning rate where it is not the first.
fn logs_text(logs: &Logs) -> String {
    let one = |(name, value): (&str, f64)| match name {
        "learning_rate" => None,
        _ if value.abs() < 1e-3 && value != 0.0 => Some(format!("{name}: {value:.3e}")),
        _ => Some(format!("{name}: {value:.4}")),
    };
    logs.iter().filter_map(one).collect::<Vec<_>>().join("  ")
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

impl Observer for Watch {
    fn event(&mut self, event: &Event<'_>) {
        match *event {
            Event::TrainBegin {
                examples,
                validation_examples,
                epochs,
                initial_epoch,
                steps,
                batch_size,
                device,
                data_there,
                parameters,
                trainable_parameters,
                planned_bytes,
                compile_seconds,
                resumed,
            } => {
                self.batch = batch_size;
                self.digits = epochs.to_string().len();
                let frozen = match parameters - trainable_parameters {
                    0 => String::new(),
                    n => format!(" ({} frozen)", grouped(n as u64)),
                };
                let from = if resumed {
                    format!(", going on in epoch {}", initial_epoch + 1)
                } else {
                    String::new()
                };
                let data = if data_there { " with the data" } else { "" };
                self.say(&format!(
                    "{}{frozen}, {}, batches of {batch_size}, {}{from}, on {device}{data}, {} planned",
                    counted(parameters, "parameter"),
                    counted(examples, "image"),
                    counted(epochs, "epoch"),
                    short_bytes(planned_bytes as u64)
                ));
                self.console.event(&json!({
                    "event": "start", "examples": examples, "validation_examples": validation_examples,
                    "epochs": epochs, "initial_epoch": initial_epoch, "steps_per_epoch": steps,
                    "batch_size": batch_size, "device": device, "data_there": data_there, "parameters": parameters,
                    "trainable_parameters": trainable_parameters, "planned_bytes": planned_bytes,
                    "compile_seconds": rounded(compile_seconds, 4), "resumed": resumed,
                }));
            }
            Event::EpochBegin { epoch, epochs, steps, done } => {
                self.began = (Instant::now(), done);
                self.bar = Bar::new(&self.console, steps as u64);
                self.said = format!("epoch {}/{epochs}", epoch + 1);
                self.bar.set(done as u64, self.said.clone());
            }
            Event::Progress { epoch, step, steps, images_per_second, logs } => {
                let (since, done) = self.began;
                let pace = since.elapsed().as_secs_f64() / (step - done).max(1) as f64;
                self.said = format!(
                    "{}  ETA {}  {} images/s  epoch {}",
                    logs_text(logs),
                    short_seconds(pace * (steps - step) as f64),
                    grouped(images_per_second as u64),
                    epoch + 1
                );
                self.bar.set(step as u64, self.said.clone());
                let mut event =
                    object(json!({ "event": "progress", "epoch": epoch + 1, "step": step, "steps": steps }));
                event.insert("images_per_second".into(), rounded(images_per_second, 1).into());
                event.extend(object(logs.to_json()));
                self.console.event(&Value::Object(event));
            }
            Event::Evaluating { step, steps } => {
                let said = format!("validating {}%  {}", 100 * step / steps.max(1), self.said);
                if let Bar(Some(bar)) = &self.bar {
                    bar.set_message(said);
                }
            }
            Event::EpochEnd { epoch, epochs, seconds, images_per_second, logs } => {
                self.epoch_end(epoch, epochs, seconds, images_per_second, logs);
            }
            Event::Saved { path, checkpoint: false } => {
                self.say(&format!("saved {}", path.display()));
                self.console.event(&json!({ "event": "saved", "path": path }));
            }
            Event::Note { line } => self.bar.aside(|| self.console.note(line)),
            Event::Stopped { reason } => {
                self.bar.aside(|| self.console.note(format!("training ends here: {reason}")))
            }
            Event::Interrupted { .. } | Event::TrainEnd { .. } => self.bar.clear(),
            _ => {}
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.bar.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_read_well() {
        let logs: Logs = [("loss", 1.23456), ("accuracy", 0.5), ("tiny", 1e-6), ("learning_rate", 1e-3)]
            .into_iter()
            .collect();
        assert_eq!(logs_text(&logs), "loss: 1.2346  accuracy: 0.5000  tiny: 1.000e-6");
    }

    #[test]
    fn speeds_of_epochs_are_averaged_by_time() {
        let tally = Tally { epochs: 2, seconds_per_image: 0.1 + 0.3 };
        assert_eq!(tally.images_per_second(), Some(5.0));
        assert_eq!(Tally::default().images_per_second(), None);
    }
}
