//! A depthwise convolution that makes its image: the bits of both convolutions apart.

use crate::epilogue::{Then, epilogue};
use crate::run::{run, run_images};
use crate::shapes::conv;
use crate::{A, B, BIAS, OUT, Random};
use thalweg_base::{ConvDims, Window};
use thalweg_device::cpu::contract::{Prepared, Transforms};
use thalweg_device::cpu::{Bases, Isa};
use thalweg_device::plan::{BufferId, Contraction, Expansion, Product};

/// The image between, and what the expansion adds.
const IMAGE: BufferId = BufferId(6);
const INNER_BIAS: BufferId = BufferId(7);
const INNER: BufferId = BufferId(8);

/// (depthwise geometry, channels that it is made of)
fn shapes() -> Vec<(ConvDims, usize)> {
    let w = |size, stride, dilation, lo, hi| Window { size, stride, dilation, lo, hi };
    let same = w(3, 1, 1, 1, 1);
    let mut all = vec![
        // Several bands, several blocks; and registers that are not full.
        (conv(1, (70, 131), (24, 24), same, same, 24), 5),
        (conv(2, (61, 90), (37, 37), w(3, 2, 1, 0, 1), w(3, 2, 1, 1, 1), 37), 3),
        // A pixel that an epilogue reads for all; no row of the image; a sum in several cuts; one channel.
        (conv(1, (1, 1), (32, 32), same, same, 32), 9),
        (conv(1, (4, 3), (17, 17), w(1, 1, 1, 0, 40), w(3, 1, 1, 7, 9), 17), 4),
        (conv(3, (7, 7), (50, 50), same, same, 50), 300),
        (conv(2, (5, 3), (1, 1), same, w(1, 1, 1, 0, 0), 1), 4),
    ];
    for (size, stride, dilation, lo, hi) in
        [(5, 2, 1, 2, 1), (3, 1, 2, 0, 3), (2, 3, 1, 1, 0), (1, 2, 1, 2, 2)]
    {
        let window = w(size, stride, dilation, lo, hi);
        all.push((conv(2, (9, 8), (16, 16), window, window, 16), 6));
        all.push((conv(1, (14, 9), (65, 65), window, same, 65), 2));
    }
    all
}

#[test]
fn the_bits_of_both_convolutions_apart() {
    let mut random = Random(3);
    let finite = |random: &mut Random, n: usize| -> Vec<f32> {
        (0..n).map(|_| random.below(2001) as f32 / 1000.0 - 1.0).collect()
    };
    for (i, (d, channels)) in shapes().into_iter().enumerate() {
        let one = Window::valid(1, 1, 1);
        let point = conv(d.n, (d.h, d.w), (channels, d.c), one, one, 1);
        let of = |s: [usize; 4]| s.iter().product::<usize>();
        let lengths = [
            of(point.image()),
            of(d.filter()),
            0,
            d.c + 4,
            of(d.output()),
            0,
            of(d.image()),
            d.c + 36,
            channels * d.c,
        ];
        let mut buffers = lengths.map(|n| finite(&mut random, n));
        let then = [Then::Nothing, Then::BiasRelu, Then::NormRelu3, Then::DoubleRelu];
        // Of a single pixel everything is the same for all.
        let inner_then = if d.n * d.h * d.w == 1 { Then::BiasResidualRelu } else { then[i % 4] };
        let mut inner = epilogue(inner_then, &d.image(), None);
        if let Some(e) = &mut inner {
            e.body.map_loads(|a| a.buffer = INNER_BIAS);
        }
        let outer = epilogue(
            [Then::BiasResidualRelu, Then::Nothing, Then::NormRelu3, Then::DoubleRelu][i / 2 % 4],
            &d.output(),
            None,
        );
        assert!(inner.iter().all(|e| e.body.loads().all(|a| a.buffer != BIAS)));
        for isa in Isa::available() {
            let plain = |d: ConvDims, [a, b, out]: [BufferId; 3], epilogue| Contraction {
                epilogue,
                ..Contraction::new(Product::Conv(d), [a, b, out])
            };
            let expansion = Some(Box::new(Expansion { channels, b: INNER, epilogue: inner.clone() }));
            let joined = Contraction { expansion, ..plain(d, [A, B, OUT], outer.clone()) };
            let apart =
                [plain(point, [A, INNER, IMAGE], inner.clone()), plain(d, [IMAGE, B, OUT], outer.clone())];
            let mut result = |kernels: &[Contraction], by_images: bool| {
                buffers[6].fill(f32::NAN);
                buffers[2] = vec![f32::NAN; of(d.output()) + 32];
                let bases = Bases::new(buffers.iter_mut().map(|v| v.as_mut_ptr().cast()).collect());
                for c in kernels {
                    let prepared = Prepared::with(c, isa, Transforms::Never);
                    match by_images {
                        true => run_images(&prepared, &bases, &mut random, d.n),
                        false => run(&prepared, &bases, &mut random),
                    }
                }
                buffers[2].iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
            };
            let (want, got) = (result(&apart, false), result(std::slice::from_ref(&joined), false));
            assert_eq!(
                want,
                result(std::slice::from_ref(&joined), true),
                "{isa}: {d:?} of {channels}, by images"
            );
            assert!(want[..of(d.output())].iter().all(|&x| !f32::from_bits(x).is_nan()));
            assert_eq!(want, got, "{isa}: {d:?} of {channels}");
        }
    }
}
