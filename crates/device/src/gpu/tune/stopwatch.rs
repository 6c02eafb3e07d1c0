//! How long a run of a program takes.

use crate::{Device, DeviceError, Program};
use std::time::Duration;

/// Samples of a program, and of a slow one; what a slow one takes, in samples' lengths.
const SAMPLES: usize = 5;
const OF_SLOW: usize = 3;
const SLOW: u32 = 20;
/// Runs of a sample, at most.
const MOST_RUNS: usize = 1 << 14;
/// What runs so many times as long as the best is not measured any further.
const HOPELESS: f64 = 1.5;

/// How much time is spent on measuring, and what is looked at for the time.
pub struct Effort<'c> {
    /// After this no other way is begun: the product that it is one of is left, with all that follow.
    pub budget: Duration,
    /// How long a sample is, at least: several runs, where one is shorter.
    pub sample: Duration,
    /// Time since some moment.
    pub clock: &'c dyn Fn() -> Duration,
}

/// What is to be timed: a program, and how many runs a sample has.
#[derive(Clone, Copy)]
pub struct Timed {
    program: Program,
    runs: usize,
    samples: usize,
}

impl Effort<'_> {
    /// Seconds of so many runs, each.
    fn lap(&self, device: &mut dyn Device, program: Program, runs: usize) -> Result<f64, DeviceError> {
        let began = (self.clock)();
        device.run_many(program, runs)?;
        device.wait()?;
        Ok(((self.clock)() - began).as_secs_f64())
    }

    /// Runs a program until it is warm and a sample's length is known. Seconds of a run, roughly.
    pub fn warm_up(&self, device: &mut dyn Device, program: Program) -> Result<(Timed, f64), DeviceError> {
        // What is done once: code is brought to the device, memory is touched first.
        self.lap(device, program, 1)?;
        self.once_begun(device, program)
    }

    /// What follows a first run.
    fn once_begun(&self, device: &mut dyn Device, program: Program) -> Result<(Timed, f64), DeviceError> {
        let (sample, mut runs) = (self.sample.as_secs_f64(), 1);
        let took = loop {
            let took = self.lap(device, program, runs)?;
            if took >= sample || runs >= MOST_RUNS {
                break took;
            }
            // Sixteens, as devices start so many at once.
            let more = (runs as f64 * 1.2 * sample / took.max(1e-9)).min(8.0 * runs as f64) as usize;
            runs = more.max(runs + 1).next_multiple_of(if more > 8 { 16 } else { 1 }).min(MOST_RUNS);
        };
        let samples = if took > f64::from(SLOW) * sample { OF_SLOW } else { SAMPLES };
        Ok((Timed { program, runs, samples }, took / runs as f64))
    }

    /// Median seconds of a run; infinite if it is much slower than `best` already in the first run or when
    /// warm.
    pub fn time(&self, device: &mut dyn Device, program: Program, best: f64) -> Result<f64, DeviceError> {
        // What is done once may take as long as a slow sample.
        let beyond = HOPELESS * best + f64::from(SLOW) * self.sample.as_secs_f64();
        if self.lap(device, program, 1)? > beyond {
            return Ok(f64::INFINITY);
        }
        let (timed, rough) = self.once_begun(device, program)?;
        if rough > HOPELESS * best {
            return Ok(f64::INFINITY);
        }
        Ok(self.together(device, &[timed])?[0])
    }

    /// Median seconds of a run of each, their samples taken in turns, so that what slows a device down for a while slows
    /// all of them.
    pub fn together(&self, device: &mut dyn Device, all: &[Timed]) -> Result<Vec<f64>, DeviceError> {
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); all.len()];
        for _ in 0..all.iter().map(|t| t.samples).max().unwrap_or(0) {
            for (timed, times) in all.iter().zip(&mut times) {
                times.push(self.lap(device, timed.program, timed.runs)? / timed.runs as f64);
            }
        }
        let median = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        Ok(times.into_iter().map(median).collect())
    }
}
