//! The decoupled head of a level: classes and distances each by convolutions of their own (Ge et al. 2021, figure 2).

use super::block::{Net, conv};
use thalweg_nn::layers::Conv2D;
use thalweg_nn::{Initializer, Tensor};

/// Channels at width 1.
const CHANNELS: usize = 256;
/// The first probability of every class everywhere (Lin et al. 2017, section 4.1): almost all points see nothing.
const PRIOR: f64 = 0.01;
/// A box's first sides reach so many strides to each side.
const REACH: f64 = 2.0;
/// Deviation of the last layers' first weights: predictions begin at what the biases say.
const DEVIATION: f64 = 0.01;

/// Class logits and distances.
pub fn head(net: &mut Net<'_>, x: Tensor, stride: usize, classes: usize) -> [Tensor; 2] {
    let filters = net.channels(CHANNELS);
    let name = format!("head{stride}");
    let x = net.conv(&format!("{name}_in"), x, conv(filters, 1));
    let [mut class, mut distance] = [x, x];
    for i in 0..net.size.head {
        class = net.light_conv(&format!("{name}_class{i}"), class, conv(filters, 3));
        distance = net.light_conv(&format!("{name}_distance{i}"), distance, conv(filters, 3));
    }
    let prior = (PRIOR / (1.0 - PRIOR)).ln();
    let logits = last(net, &format!("{name}_logits"), class, classes, prior);
    // Logarithms of distances, or flat distributions.
    let (sides, bias) = match net.size.bins {
        0 => (4, REACH.ln()),
        bins => (4 * bins, 0.0),
    };
    [logits, last(net, &format!("{name}_distances"), distance, sides, bias)]
}

fn last(net: &mut Net<'_>, name: &str, x: Tensor, filters: usize, bias: f64) -> Tensor {
    let small = Initializer::RandomNormal { mean: 0.0, stddev: DEVIATION, truncated: false };
    let layer = Conv2D::new(filters, 1)
        .kernel_initializer(small)
        .bias_initializer(Initializer::Constant(bias))
        .name(name);
    net.b.layer(layer, &[x])
}
