//! Matrix products.

use crate::epilogue::ALL;
use crate::naive::naive;
use crate::run::{check, run};
use crate::{A, B, OUT, Random};
use thalweg_device::cpu::contract::Prepared;
use thalweg_device::cpu::{Bases, Isa, Target};
use thalweg_device::plan::{Contraction, DotDims, Product};

#[test]
fn products() {
    for (batch, m, n, k) in [
        (1, 13, 35, 21),
        (3, 4, 7, 5),
        (1, 1, 3, 50),
        (1, 1, 700, 33),
        (1, 3, 1000, 17),
        (1, 32, 64, 300),
        (1, 230, 65, 129),
        (2, 70, 70, 70),
        (1, 64, 10, 32),
        (1, 500, 1, 9),
        (1, 5, 16, 1),
        (4, 1, 130, 8),
        (1, 4, 200, 40),
        (1, 512, 256, 20),
        (1, 250, 260, 512),
        (1, 33, 64, 1500),
        (1, 5, 70, 1001),
        (1, 37, 261, 65),
        (1, 128, 600, 7),
        (1, 32, 300, 40),
        (1, 49, 513, 16),
    ] {
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            for then in ALL {
                check(Product::Dot(DotDims { batch, m, n, k, ta, tb }), then, None, 1);
            }
        }
    }
}

#[test]
fn long_sums_are_accurate() {
    let (m, n, k) = (3, 20, 100_000);
    let product = Product::Dot(DotDims { batch: 1, m, n, k, ta: false, tb: false });
    let mut random = Random(3);
    let mut value = |n: usize| (0..n).map(|_| random.below(1 << 20) as f32 / (1 << 20) as f32).collect();
    let (mut a, mut b): (Vec<f32>, Vec<f32>) = (value(m * k), value(n * k));
    let want = naive(&product, 0..0, &a, &b);
    for isa in Isa::available() {
        let prepared = Prepared::new(&Contraction::new(product, [A, B, OUT]), Target::fast(isa));
        let mut out = vec![f32::NAN; m * n];
        let bases = Bases::new([&mut a, &mut b, &mut out].map(|v| v.as_mut_ptr().cast()).to_vec());
        run(&prepared, &bases, &mut Random(1));
        for (got, want) in out.iter().zip(&want) {
            assert!((f64::from(*got) - want).abs() < 2e-6 * want, "{isa}: {got}, not {want}");
        }
    }
}
