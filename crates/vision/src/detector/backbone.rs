//! The backbone: a stem and four stages, each halving the sides.

use super::block::{Conv, Net, conv};
use thalweg_nn::Tensor;
use thalweg_nn::layers::MaxPooling2D;

/// Channels of the stem and the stages, and bottlenecks of the stages, at width and depth 1.
const STEM: usize = 64;
const STAGES: [(usize, usize); 4] = [(128, 3), (256, 9), (512, 9), (1024, 3)];

/// Maps at strides 8, 16 and 32.
pub fn backbone(net: &mut Net<'_>, image: Tensor) -> [Tensor; 3] {
    let stem = Conv { filters: net.channels(STEM), kernel: 3, stride: 2 };
    let mut x = net.conv("stem", image, stem);
    let mut maps = Vec::new();
    for (i, (channels, blocks)) in STAGES.into_iter().enumerate() {
        let name = format!("stage{}", i + 1);
        let (filters, blocks) = (net.channels(channels), net.blocks(blocks));
        x = net.light_conv(&format!("{name}_down"), x, Conv { filters, kernel: 3, stride: 2 });
        let last = i + 1 == STAGES.len();
        if last {
            x = pyramid(net, x, filters);
        }
        x = net.csp(&format!("{name}_csp"), x, filters, blocks, !last);
        maps.push(x);
    }
    [maps[1], maps[2], maps[3]]
}

/// Spatial pyramid pooling (He et al. 2014): maxima around each point of several sizes side by side. Of 5 x 5, of that again
/// (which is of 9 x 9), and once more (13 x 13).
fn pyramid(net: &mut Net<'_>, x: Tensor, filters: usize) -> Tensor {
    let x = net.conv("spp_in", x, conv(filters / 2, 1));
    let mut parts = vec![x];
    for i in 0..3 {
        let pool = MaxPooling2D::new().pool_size(5).strides(1).padding("same").name(&format!("spp_pool{i}"));
        parts.push(net.b.layer(pool, &[parts[i]]));
    }
    let joined = net.join("spp_join", &parts);
    net.conv("spp_out", joined, conv(filters, 1))
}
