//! How many steps a device is given before the host looks at it again.
//!
//! Input: how long the last ones took. Output: a number of steps. Invariant: at least one; at most twice as many as last, and no
//! more than about [`BURST`] takes, so that progress is told and an interruption heard as it should be, however fast a step is.

use crate::events::REPORT_EVERY;
use std::time::Duration;

/// Time between two looks.
const BURST: Duration = Duration::from_millis(REPORT_EVERY.as_millis() as u64 / 2);

/// A number of steps that follows their speed.
pub struct Pace {
    steps: usize,
}

impl Pace {
    /// One step, as nothing is known.
    pub const START: Pace = Pace { steps: 1 };

    /// Steps until the next look.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// So many took so long. Doubles at most: the first ones may be no measure.
    pub fn took(&mut self, steps: usize, time: Duration) {
        let fitting = steps as f64 * BURST.as_secs_f64() / time.as_secs_f64().max(1e-9);
        self.steps = (fitting as usize).clamp(1, 2 * self.steps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_grow_to_their_time_and_shrink_with_it() {
        let mut pace = Pace::START;
        let mut run = |step: Duration, looks: usize| {
            for _ in 0..looks {
                let steps = pace.steps();
                pace.took(steps, step * steps as u32);
            }
            pace.steps()
        };
        assert_eq!(run(Duration::from_micros(50), 3), 8);
        let many = run(Duration::from_micros(50), 20);
        assert!((990..=1000).contains(&many), "{many}");
        assert_eq!(run(Duration::from_secs(1), 1), 1);
    }
}
