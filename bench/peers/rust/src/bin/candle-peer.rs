//! The seed CNN in candle on the CPU, timed: training steps or predictions.
//!
//! In: the arguments of `peers/measure.py`. Out: one JSON line. Adam (rate 1e-3, epsilon 1e-7: AdamW without
//! decay), cross-entropy.

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{
    AdamW, Conv2d, Linear, Optimizer, ParamsAdamW, VarBuilder, VarMap, conv2d, linear, loss, ops,
};
use peers::{Arguments, CLASSES, run};

struct Seed {
    conv1: Conv2d,
    conv2: Conv2d,
    dense1: Linear,
    dense2: Linear,
}

impl Seed {
    fn new(vb: &VarBuilder) -> Result<Seed> {
        Ok(Seed {
            conv1: conv2d(3, 32, 3, Default::default(), vb.pp("conv1"))?,
            conv2: conv2d(32, 64, 3, Default::default(), vb.pp("conv2"))?,
            dense1: linear(64 * 6 * 6, 64, vb.pp("dense1"))?,
            dense2: linear(64, CLASSES, vb.pp("dense2"))?,
        })
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.conv1.forward(x)?.relu()?.max_pool2d(2)?;
        let x = self.conv2.forward(&x)?.relu()?.max_pool2d(2)?;
        self.dense2.forward(&self.dense1.forward(&x.flatten_from(1)?)?.relu()?)
    }
}

fn main() -> Result<()> {
    let args = Arguments::read();
    let (device, batch) = (Device::Cpu, args.batch);
    let variables = VarMap::new();
    let model = Seed::new(&VarBuilder::from_varmap(&variables, DType::F32, &device))?;
    let images = |floats: Vec<f32>| Tensor::from_vec(floats, (batch, 3, 32, 32), &device);
    let version = "candle 0.11.1";
    if args.train {
        let params = ParamsAdamW { lr: 1e-3, eps: 1e-7, weight_decay: 0.0, ..Default::default() };
        let mut optimizer = AdamW::new(variables.all_vars(), params)?;
        let mut step = |floats, labels: Vec<u8>| {
            let labels = Tensor::from_vec(labels, batch, &device)?;
            optimizer.backward_step(&loss::cross_entropy(&model.logits(&images(floats)?)?, &labels)?)
        };
        run(&args, version, |floats, labels| step(floats, labels).expect("a training step"));
    } else {
        let predict =
            |floats| ops::softmax(&model.logits(&images(floats)?.detach())?.detach(), 1)?.to_vec2::<f32>();
        run(&args, version, |floats, _| {
            std::hint::black_box(predict(floats).expect("a prediction"));
        });
    }
    Ok(())
}
