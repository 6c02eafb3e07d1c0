//! The kernels: of training, evaluation and prediction of every named model.

use std::collections::BTreeMap;
use thalweg::compile::{Options, compile};
use thalweg::data::Arrays;
use thalweg::device::gpu::ir::Kernel;
use thalweg::device::gpu::launch::{Abilities, Launches};
use thalweg::device::gpu::lower::lower;
use thalweg::nn::layers::{RandomFlip, RandomTranslation, Rescaling};
use thalweg::prelude::*;
use thalweg::train::Kind;
use thalweg::vision::MODELS;

/// What an H100 can do.
pub const LARGE: Abilities =
    Abilities { shared_bytes: 48 << 10, parallel: 132 * 2048, memories: 1 << 10, ..Abilities::LEAST };

/// The same with products by tensor cores.
pub const TF32: Abilities = Abilities { tensor: true, tf32: true, ..LARGE };

/// Per model and program, what it is lowered to.
pub fn programs(abilities: &Abilities) -> Vec<(String, Launches)> {
    let mut all = Vec::new();
    for m in MODELS {
        let (side, batch) = if m.name == "mobilenet_v2" { (96, 32) } else { (32, 32) };
        let shape = [side, side, 3];
        let config = (m.build)(shape, 10).unwrap();
        let layers = vec![
            Rescaling::new(1.0 / 255.0).into(),
            RandomFlip::new().mode("horizontal").into(),
            RandomTranslation::new(0.1, 0.1).into(),
        ];
        let mut model = Model::from_config(config.preprocess("uint8", layers), 7).unwrap();
        let loss = SparseCategoricalCrossentropy::default();
        model.compile(Compile::new(Adam::default(), loss).metric(Accuracy::default())).unwrap();
        let pixels = vec![0u8; shape.iter().product()];
        let data =
            Arrays::new().input("image", &shape, pixels).target("label", &[], vec![0i32]).build().unwrap();
        for kind in [Kind::Train, Kind::Evaluate, Kind::Predict] {
            let spec = match kind {
                Kind::Predict => model.predict_spec(&data, batch).unwrap(),
                _ => model.program_spec(&data, batch, false, 7).unwrap(),
            };
            let options = Options { regions: false, ..Options::default() };
            let plan = compile(&model.graph(kind, &spec).unwrap(), &options).plan;
            all.push((format!("{} {}", m.name, kind.name()), lower(&plan, abilities).unwrap()));
        }
    }
    all
}

/// Different kernels of all programs, by what they are, in a fixed order.
pub fn kernels(abilities: &Abilities) -> BTreeMap<String, Vec<Kernel>> {
    let mut all: BTreeMap<String, Vec<Kernel>> = BTreeMap::new();
    for (_, launches) in programs(abilities) {
        for kernel in launches.kernels {
            let same = all.entry(kernel.name.clone()).or_default();
            if !same.contains(&kernel) {
                same.push(kernel);
            }
        }
    }
    all
}
