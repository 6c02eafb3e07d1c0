//! Products left to libraries: which are, that what is around their calls is right, and that nothing is left to one that is not
//! there. What libraries compute is interpreted here; `crates/compile/tests/cuda` runs them.

use super::naive::{Case, Then};
use super::{LARGE, Random, TENSOR, contraction_of, convolution, dot, plan};
use std::collections::BTreeSet;
use std::sync::Arc;
use thalweg_base::{ConvDims, DType, PoolDims, Window};
use thalweg_device::gpu::call::{Call, Libraries, Version};
use thalweg_device::gpu::launch::{Abilities, Launches};
use thalweg_device::gpu::lower::{Way, legal, lower, products};
use thalweg_device::gpu::tune::Choices;
use thalweg_device::plan::Product;
use thalweg_device::{Device, Plan};
use thalweg_testkit::gpu::InterpretedGpu;

/// Both libraries, with little workspace, as memory that is interpreted is slow.
pub const BOTH: Libraries =
    Libraries { cublaslt: Some(Version(13, 1, 2)), cudnn: Some(Version(9, 28, 1)), workspace: 1000 };
const THERE: Abilities = Abilities { libraries: BOTH, ..LARGE };

fn plan_of(case: &Case, dtype: DType) -> Arc<Plan> {
    plan::of(case, &case.data(&mut Random(0)), dtype)
}

/// The libraries' ways of a case, each as a choice.
fn ways(plan: &Plan, abilities: &Abilities) -> Vec<Choices> {
    let mut all = Vec::new();
    for (product, ways) in legal(plan, contraction_of(plan), abilities) {
        for way in ways.iter().filter(|way| matches!(way, Way::Library(_))) {
            let mut choices = Choices::default();
            choices.set(product.as_str(), way.to_string());
            all.push(choices);
        }
    }
    all
}

fn lowered(plan: &Plan, abilities: &Abilities, choices: &Choices) -> Launches {
    lower(plan, abilities, choices).unwrap()
}

/// Runs a case in every library's way of it; gives back their calls' libraries.
fn check(case: &Case, dtype: DType, seed: u64) -> Vec<&'static str> {
    let data = case.data(&mut Random(seed));
    let exact = case.wanted(&data);
    let (plan, stored) = (plan::of(case, &data, dtype), plan::stored(case, dtype));
    let mut done = Vec::new();
    for choices in ways(&plan, &THERE) {
        let calls: Vec<Call> = lowered(&plan, &THERE, &choices).calls().copied().collect();
        let [call] = calls[..] else { panic!("{calls:?} of {case:?} by {choices:?}") };
        done.push(call.library());
        let mut gpu = InterpretedGpu::new(THERE);
        let tuning = gpu.tuning().unwrap();
        choices.iter().for_each(|(product, way)| tuning.choices_mut().set(product, way));
        let mut found = plan::run(&mut gpu, &plan, &data);
        let mut wanted: Vec<f64> = exact.0.iter().map(|v| stored.round(*v)).collect();
        // Parts are there to be added up.
        for values in [&mut found.0, &mut wanted] {
            let size = values.len() / case.parts;
            *values = (0..size).map(|i| values.iter().skip(i).step_by(size).sum()).collect();
        }
        let differs = found.0.iter().zip(&wanted).position(|(f, w)| f != w);
        assert_eq!(differs, None, "{dtype} {case:?} by {choices:?}");
        assert_eq!((found.0.len(), &found.1), (wanted.len(), &exact.1), "{dtype} {case:?} by {choices:?}");
    }
    done
}

const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

#[test]
fn matrices() {
    for (seed, dtype) in TYPES.into_iter().enumerate() {
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            for (batch, size, then) in [
                (1, [5, 8, 7], Then::Nothing),
                (3, [12, 9, 4], Then::BiasRelu),
                (2, [4, 4, 1], Then::Residual),
            ] {
                let done = check(&dot(batch, size, ta, tb).then(then), dtype, seed as u64);
                assert_eq!(done, ["cuBLASLt"; 3]);
            }
        }
    }
}

#[test]
fn convolutions_and_gradients() {
    let mut r = Random(7);
    let mut done: BTreeSet<(&str, DType)> = BTreeSet::new();
    for seed in 0..90 {
        let Some(d) = convolution(&mut r, &[1, 1, 2, 5]) else { continue };
        let dtype = r.one_of(&TYPES);
        let then =
            r.one_of(&[Then::Nothing, Then::BiasRelu, Then::Residual, Then::Rounded, Then::RoundedBiasRelu]);
        let parts = 1 + r.below(d.n);
        let two = Window::valid(2, 2, 1);
        let mut cases = vec![
            Case::new(Product::Conv(d)).then(then),
            Case::new(Product::ConvInputGrad(d)).then(then),
            Case::new(Product::ConvFilterGrad(d)).parts(parts),
            Case::new(Product::ConvFilterGrad(d)).then(then),
        ];
        if let (Some(oh), Some(ow)) = (two.outputs(d.oh), two.outputs(d.ow)) {
            let pool = PoolDims { n: d.n, h: d.oh, w: d.ow, c: d.k, oh, ow, rows: two, cols: two };
            cases.push(Case::new(Product::Conv(d)).then(then).pooled(pool, r.below(2) == 0));
        }
        for case in cases {
            done.extend(check(&case, dtype, seed).into_iter().map(|library| (library, dtype)));
        }
    }
    // A filter of several squares, and of parts of some.
    let large = square(9, 70, Window::same(8, 3, 1, 1), 1);
    check(&Case::new(Product::Conv(large)), DType::F32, 1);
    check(&Case::new(Product::ConvInputGrad(large)).then(Then::Rounded), DType::BF16, 2);
    let wanted = TYPES.into_iter().flat_map(|dtype| ["cuBLASLt", "cuDNN"].map(|library| (library, dtype)));
    assert_eq!(done, wanted.collect());
}

fn square(c: usize, k: usize, rows: Window, groups: usize) -> ConvDims {
    let out = rows.outputs(8).unwrap();
    ConvDims { n: 2, h: 8, w: 8, c, k, oh: out, ow: out, rows, cols: rows, groups }
}

/// The libraries of a case, by their names.
fn of(case: &Case, dtype: DType) -> BTreeSet<String> {
    let plan = plan_of(case, dtype);
    let all = legal(&plan, contraction_of(&plan), &THERE).into_iter().flat_map(|(_, ways)| ways);
    let libraries = all.filter(|way| matches!(way, Way::Library(_)));
    libraries.map(|way| way.to_string().split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn what_is_left_to_whom() {
    let names = |of: &[&str]| of.iter().map(|s| (*s).to_owned()).collect::<BTreeSet<String>>();
    let (none, dnn, both) = (names(&[]), names(&["cudnn"]), names(&["cublaslt", "cudnn"]));
    let same = |stride| Window::same(8, 3, stride, 1);
    for (window, groups, wanted) in [
        (same(1), 1, &dnn),
        (same(1), 4, &dnn),
        // Nothing before, one behind.
        (same(2), 1, &none),
        // One behind that no window reaches.
        (Window { hi: 0, ..Window::valid(3, 2, 1) }, 1, &dnn),
        (Window::valid(1, 1, 1), 1, &both),
        (Window::valid(1, 1, 1), 2, &dnn),
        (Window::valid(1, 2, 1), 1, &dnn),
        (Window { size: 1, stride: 1, dilation: 1, lo: 1, hi: 1 }, 1, &dnn),
    ] {
        let d = square(8, 8, window, groups);
        for product in [Product::Conv(d), Product::ConvInputGrad(d), Product::ConvFilterGrad(d)] {
            assert_eq!(&of(&Case::new(product), DType::F32), wanted, "{product:?}");
        }
    }
    let (d, two) = (square(8, 8, same(1), 1), Window::valid(2, 2, 1));
    let pool = PoolDims { n: 2, h: 8, w: 8, c: 8, oh: 4, ow: 4, rows: two, cols: two };
    for product in [Product::ConvInputGrad(d), Product::ConvFilterGrad(d)] {
        assert_eq!(of(&Case::new(product).unpooled(pool), DType::F32), none, "the gradient is nowhere");
    }
    for (then, wanted) in [
        (Then::Nothing, &none),
        (Then::BiasRelu, &none),
        (Then::Rounded, &dnn),
        (Then::RoundedBiasRelu, &dnn),
    ] {
        assert_eq!(&of(&Case::new(Product::Conv(d)).then(then), DType::BF16), wanted, "{then:?}");
        assert_eq!(of(&Case::new(Product::Conv(d)).then(then), DType::F32), dnn, "{then:?}");
    }
    // What is left to be done behind a call: nothing where sums are stored as they are, or rounded.
    for (then, dtype, launches) in [
        (Then::Nothing, DType::F32, 1),
        (Then::Rounded, DType::F16, 1),
        (Then::BiasRelu, DType::F32, 2),
        (Then::Residual, DType::F16, 2),
        (Then::Nothing, DType::F16, 1),
    ] {
        let plan = plan_of(&dot(1, [8, 8, 8], false, false).then(then), dtype);
        for choices in ways(&plan, &THERE) {
            assert_eq!(lowered(&plan, &THERE, &choices).all().count(), launches, "{then:?} of {dtype}");
        }
    }
}

/// Without a choice nothing is different where there are libraries, and a choice is nothing where there are none, or others.
#[test]
fn only_a_choice_of_what_is_there_leaves_a_product_to_a_library() {
    let window = Window::valid(3, 2, 1);
    let cases = [
        dot(1, [96, 64, 300], false, false),
        Case::new(Product::Conv(square(8, 8, window, 1))),
        Case::new(Product::ConvInputGrad(square(8, 8, window, 1))),
    ];
    for case in cases {
        let plan = plan_of(&case, DType::F32);
        let plain = lowered(&plan, &LARGE, &Choices::default());
        assert_eq!(lowered(&plan, &THERE, &Choices::default()), plain);
        let (cublaslt, cudnn) = (Some(Version(13, 1, 3)), Some(Version(9, 28, 2)));
        let other = Libraries { cublaslt, cudnn, ..BOTH };
        let all = ways(&plan, &THERE);
        assert!(!all.is_empty());
        for choices in all {
            let by_library = lowered(&plan, &THERE, &choices);
            assert_eq!(by_library.calls().count(), 1);
            assert!(
                by_library.arena >= plain.arena + BOTH.workspace,
                "its workspace is in the program's memory"
            );
            for abilities in [LARGE, Abilities { libraries: other, ..LARGE }] {
                assert_eq!(lowered(&plan, &abilities, &choices), plain, "{choices:?}");
            }
            let mut refused = choices.clone();
            refused.refuse(*by_library.calls().next().unwrap(), "no".to_owned().into());
            assert_eq!(lowered(&plan, &THERE, &refused), plain, "the account's way where a library refuses");
        }
    }
}

/// An input gradient of strides is several products of ours, and one of a library's; the choice between them is one more.
#[test]
fn a_whole_is_chosen_beside_its_parts() {
    let plan =
        plan_of(&Case::new(Product::ConvInputGrad(square(8, 8, Window::valid(3, 2, 1), 1))), DType::F32);
    let c = contraction_of(&plan);
    let (without, with) = (products(&plan, c, &LARGE), products(&plan, c, &THERE));
    assert_eq!(without[..], with[..without.len()], "the parts stay as they are");
    let [(whole, ways)] = &with[without.len()..] else { panic!("{with:?}") };
    let texts: Vec<String> = ways.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["apart", "cudnn 9.28.1, algorithm 1"]);
    let chosen = |way: &str| {
        let mut choices = Choices::default();
        choices.set(whole.as_str(), way);
        lowered(&plan, &THERE, &choices)
    };
    assert_eq!(chosen("apart"), lowered(&plan, &LARGE, &Choices::default()));
    assert_eq!(chosen(&texts[1]).calls().count(), 1);
}

/// f32 is multiplied with 10 bits of mantissa only where that was asked for.
#[test]
fn tf32_is_asked_for() {
    for (dtype, abilities, wanted) in
        [(DType::F32, LARGE, false), (DType::F32, TENSOR, true), (DType::BF16, TENSOR, false)]
    {
        let abilities = Abilities { libraries: BOTH, ..abilities };
        let plan = plan_of(&dot(1, [8, 8, 8], false, false), dtype);
        for choices in ways(&plan, &abilities) {
            let launches = lowered(&plan, &abilities, &choices);
            assert!(launches.calls().all(|call| call.types().tf32 == wanted), "{dtype}");
        }
    }
}
