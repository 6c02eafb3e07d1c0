//! Ways that only a measurement chooses, interpreted, against loops in f64: every tile there is, and any way of any product.

use super::naive::{Case, Then};
use super::{FEW_TENSOR, LARGE, LEAST, MATRICES, Random, TENSOR, contraction_of, convolution, dot, plan};
use std::collections::BTreeSet;
use std::sync::Arc;
use thalweg_base::{DType, PoolDims, Window};
use thalweg_device::gpu::launch::Abilities;
use thalweg_device::gpu::lower::{Way, legal, products};
use thalweg_device::gpu::tune::Choices;
use thalweg_device::plan::Product;
use thalweg_device::{Device, Plan};
use thalweg_testkit::gpu::InterpretedGpu;

/// Runs a case with these choices; every element must be what the loops have.
fn check(case: &Case, dtype: DType, abilities: Abilities, choices: &Choices, seed: u64) {
    let data = case.data(&mut Random(seed));
    let exact = case.wanted(&data);
    let plan = plan::of(case, &data, dtype);
    let mut gpu = InterpretedGpu::new(abilities);
    let tuning = gpu.tuning().unwrap();
    choices.iter().for_each(|(product, way)| tuning.choices_mut().set(product, way));
    let found = plan::run(&mut gpu, &plan, &data);
    let stored = plan::stored(case, dtype);
    let wanted: Vec<f64> = exact.0.iter().map(|v| stored.round(*v)).collect();
    let differs = found.0.iter().zip(&wanted).position(|(f, w)| f != w);
    assert_eq!(differs, None, "{dtype} {case:?} by {choices:?}");
    assert_eq!((found.0.len(), &found.1), (wanted.len(), &exact.1), "{dtype} {case:?} by {choices:?}");
}

/// Choices for all products of a case: any of their ways.
fn any(plan: &Plan, abilities: &Abilities, r: &mut Random) -> Choices {
    let mut choices = Choices::default();
    for (product, ways) in legal(plan, contraction_of(plan), abilities) {
        let way = ways[r.below(ways.len())];
        choices.set(product, way.to_string());
    }
    choices
}

fn plan_of(case: &Case, dtype: DType) -> Arc<Plan> {
    plan::of(case, &case.data(&mut Random(0)), dtype)
}

/// Every way of a product that is larger than some tiles and smaller than others, with a tail; pieces once for each tile.
#[test]
fn every_tile() {
    let case = dot(1, [70, 36, 150], false, false).then(Then::BiasRelu);
    let mut tiles = BTreeSet::new();
    let types = [(DType::F32, LARGE), (DType::F32, FEW_TENSOR), (DType::BF16, FEW_TENSOR)];
    for (dtype, abilities) in [&types[..], &MATRICES].concat() {
        let plan = plan_of(&case, dtype);
        let (product, ways) = legal(&plan, contraction_of(&plan), &abilities).remove(0);
        let tile = |w: &Way| w.to_string().rsplit_once(", ").map_or("direct".into(), |(t, _)| t.to_owned());
        for (i, way) in ways.iter().enumerate() {
            // The last of a tile is in the most pieces.
            if ways.get(i + 1).is_none_or(|next| tile(next) != tile(way)) && tiles.insert(tile(way)) {
                let mut choices = Choices::default();
                choices.set(&product, way.to_string());
                check(&case, dtype, abilities, &choices, i as u64);
            }
        }
    }
    let of_matrices = tiles.iter().filter(|t| t.contains("matrices")).count();
    assert_eq!(of_matrices, 22, "tiles of matrices: {tiles:?}");
    assert_eq!(tiles.len() - 22, 13 + 2 * 13 + 1, "of threads, of warps in two types, and none: {tiles:?}");
}

#[test]
fn any_way() {
    let mut r = Random(5);
    let types = [(DType::F32, LEAST), (DType::F32, LARGE), (DType::F32, TENSOR), (DType::F16, FEW_TENSOR)];
    let types = [&types[..], &MATRICES].concat();
    let run = |case: Case, r: &mut Random| {
        let (dtype, abilities) = r.one_of(&types);
        let plan = plan_of(&case, dtype);
        let choices = any(&plan, &abilities, r);
        check(&case, dtype, abilities, &choices, r.below(1000) as u64);
    };
    for _ in 0..6 {
        let mut extent = || r.one_of(&[1, 4, 7, 17, 33, 65]);
        let size = [extent(), extent(), 3 * extent()];
        let (ta, tb) = (r.below(2) == 0, r.below(2) == 0);
        run(dot(1 + r.below(2), size, ta, tb).then(Then::Residual), &mut r);
    }
    for _ in 0..12 {
        let Some(d) = convolution(&mut r, &[1, 2, 5]) else { continue };
        run(Case::new(Product::Conv(d)).then(Then::BiasRelu), &mut r);
        run(Case::new(Product::ConvInputGrad(d)), &mut r);
        run(Case::new(Product::ConvFilterGrad(d)).parts(1 + r.below(d.n)), &mut r);
        let two = Window::valid(2, 2, 1);
        let (Some(oh), Some(ow)) = (two.outputs(d.oh), two.outputs(d.ow)) else { continue };
        let pool = PoolDims { n: d.n, h: d.oh, w: d.ow, c: d.k, oh, ow, rows: two, cols: two };
        run(Case::new(Product::Conv(d)).pooled(pool, r.below(2) == 0), &mut r);
        if d.groups == 1 && d.cols.dilation == 1 {
            run(Case::new(Product::ConvInputGrad(d)).unpooled(pool), &mut r);
            run(Case::new(Product::ConvFilterGrad(d)).unpooled(pool), &mut r);
        }
    }
}

/// The account's way comes first, what follows is legal and different, and not much.
#[test]
fn what_is_measured() {
    let mut r = Random(6);
    for seed in 0..40 {
        let case = match convolution(&mut r, &[1, 1, 8]) {
            Some(d) if seed % 3 == 0 => Case::new(Product::ConvInputGrad(d)),
            Some(d) if seed % 3 == 1 => Case::new(Product::ConvFilterGrad(d)),
            Some(d) => Case::new(Product::Conv(d)).then(Then::BiasRelu),
            None => dot(1, [512, 512, 512], false, true),
        };
        for (dtype, abilities) in [(DType::F32, LARGE), (DType::F16, TENSOR)] {
            let plan = plan_of(&case, dtype);
            let all = legal(&plan, contraction_of(&plan), &abilities);
            let measured = products(&plan, contraction_of(&plan), &abilities);
            assert_eq!(all.len(), measured.len());
            for ((product, all), (same, ways)) in all.iter().zip(&measured) {
                assert_eq!(product, same);
                assert!((1..=12).contains(&ways.len()) && ways.iter().all(|w| all.contains(w)), "{ways:?}");
                assert!(ways.iter().enumerate().all(|(i, w)| !ways[..i].contains(w)), "{ways:?}");
                let texts: BTreeSet<String> = all.iter().map(Way::to_string).collect();
                assert_eq!(texts.len(), all.len(), "two ways have one text");
                // The first is what is done where nothing is chosen.
                let mut choices = Choices::default();
                choices.set(product, ways[0].to_string());
                let lowered = |c: &Choices| thalweg_device::gpu::lower::lower(&plan, &abilities, c).unwrap();
                assert_eq!(lowered(&choices), lowered(&Choices::default()), "{product}");
            }
        }
    }
}

/// What is not a way of the product here is not taken: damaged text, another device's way.
#[test]
fn what_is_stale_is_ignored() {
    let case = dot(1, [96, 64, 300], false, false);
    for (dtype, abilities) in [(DType::F32, LARGE), (DType::F32, TENSOR), (DType::BF16, LARGE)] {
        let plan = plan_of(&case, dtype);
        let (product, ways) = legal(&plan, contraction_of(&plan), &abilities).remove(0);
        let lowered = |way: &str| {
            let mut choices = Choices::default();
            choices.set(&product, way);
            thalweg_device::gpu::lower::lower(&plan, &abilities, &choices).unwrap()
        };
        let wanted = lowered("");
        let bf16 = "bf16 2x4 of 2x2 in 4 stages, 32 deep, 1 pieces";
        let tf32 = "tf32 2x4 of 2x2 in 4 stages, 16 deep, 1 pieces";
        let large = "tf32 2x4 of 4x4 in 4 stages, 16 deep, 1 pieces";
        let pieces = "threads 16x16x1 of 4x4, 16 deep, 64 pieces";
        let mut illegal = vec!["direct ", "threads 16x16x1 of 4x4", "threads 9x9x9 of 9x9, 9 deep, 1 pieces"];
        illegal.extend([bf16, large, pieces]);
        if dtype != DType::F32 || !abilities.tensor {
            illegal.push(tf32);
        }
        for way in illegal {
            assert_eq!(lowered(way), wanted, "{way}");
        }
        let others = ways.iter().filter(|w| lowered(&w.to_string()) != wanted).count();
        assert_eq!(others, ways.len() - 1, "every other way is another program");
    }
}
