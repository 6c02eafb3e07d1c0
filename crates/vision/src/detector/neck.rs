//! The neck: a path down from coarse maps to fine ones and one back up (Liu et al. 2018, "Path aggregation network").

use super::block::{Conv, Net, conv};
use thalweg_nn::Tensor;
use thalweg_nn::layers::UpSampling2D;

/// Bottlenecks of each block at depth 1.
const BLOCKS: usize = 3;
/// Channels of the three maps at width 1.
const CHANNELS: [usize; 3] = [256, 512, 1024];

/// Maps that have seen each other, at strides 8, 16 and 32.
pub fn neck(net: &mut Net<'_>, [fine, middle, coarse]: [Tensor; 3]) -> [Tensor; 3] {
    let [c3, c4, c5] = CHANNELS.map(|c| net.channels(c));
    let blocks = net.blocks(BLOCKS);
    let lateral5 = net.conv("neck_lateral5", coarse, conv(c4, 1));
    let up5 = up(net, "neck_up5", lateral5);
    let joined = net.join("neck_join4", &[up5, middle]);
    let down4 = net.csp("neck_top4", joined, c4, blocks, false);
    let lateral4 = net.conv("neck_lateral4", down4, conv(c3, 1));
    let up4 = up(net, "neck_up4", lateral4);
    let joined = net.join("neck_join3", &[up4, fine]);
    let out3 = net.csp("neck_out3", joined, c3, blocks, false);
    let again = net.light_conv("neck_down3", out3, Conv { filters: c3, kernel: 3, stride: 2 });
    let joined = net.join("neck_rejoin4", &[again, lateral4]);
    let out4 = net.csp("neck_out4", joined, c4, blocks, false);
    let again = net.light_conv("neck_down4", out4, Conv { filters: c4, kernel: 3, stride: 2 });
    let joined = net.join("neck_rejoin5", &[again, lateral5]);
    let out5 = net.csp("neck_out5", joined, c5, blocks, false);
    [out3, out4, out5]
}

fn up(net: &mut Net<'_>, name: &str, x: Tensor) -> Tensor {
    net.b.layer(UpSampling2D::new().name(name), &[x])
}
