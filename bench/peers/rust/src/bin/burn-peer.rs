//! The seed CNN in burn on its CPU backend "flex", timed: training steps or predictions.
//!
//! In: the arguments of `peers/measure.py`. Out: one JSON line. Adam (rate 1e-3, epsilon 1e-7), cross-entropy.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};
use peers::{Arguments, CLASSES, run};

#[derive(Module, Debug)]
struct Seed {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    dense1: Linear,
    dense2: Linear,
}

impl Seed {
    fn new(device: &Device) -> Seed {
        Seed {
            conv1: Conv2dConfig::new([3, 32], [3, 3]).init(device),
            conv2: Conv2dConfig::new([32, 64], [3, 3]).init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            dense1: LinearConfig::new(64 * 6 * 6, 64).init(device),
            dense2: LinearConfig::new(64, CLASSES).init(device),
        }
    }

    fn logits(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.conv1.forward(x)));
        let x = self.pool.forward(relu(self.conv2.forward(x)));
        self.dense2.forward(relu(self.dense1.forward(x.flatten(1, 3))))
    }
}

fn main() {
    let args = Arguments::read();
    let device = if args.train { Device::flex().autodiff() } else { Device::flex() };
    let batch = args.batch;
    let images =
        |floats: Vec<f32>| Tensor::<4>::from_data(TensorData::new(floats, [batch, 3, 32, 32]), &device);
    let mut model = Seed::new(&device);
    let version = "burn 0.22.1";
    if args.train {
        let mut optimizer = AdamConfig::new().with_epsilon(1e-7).init();
        let loss: CrossEntropyLoss = CrossEntropyLossConfig::new().init(&device);
        run(&args, version, |floats, labels| {
            let labels = labels.into_iter().map(i64::from).collect::<Vec<_>>();
            let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [batch]), &device);
            let grads = loss.forward(model.logits(images(floats)), labels).backward();
            let grads = GradientsParams::from_grads(grads, &model);
            model = optimizer.step(1e-3, model.clone(), grads);
        });
    } else {
        run(&args, version, |floats, _| {
            std::hint::black_box(softmax(model.logits(images(floats)), 1).into_data());
        });
    }
}
