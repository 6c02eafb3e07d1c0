//! The interpreter of the kernel IR: it computes what kernels say and catches what they must not do.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use thalweg_base::{DType, ScalarOp};
use thalweg_device::gpu::build::Builder;
use thalweg_device::gpu::ir::{Cooperative, Kernel, MmaType, Role, Stmt, Tensor, Value};
use thalweg_testkit::gpu::{Clock, Memory, Window, run_kernel};

/// Runs on f32 memories, one per parameter; gives them back.
fn run(kernel: &Kernel, groups: u32, arguments: &[&[f32]]) -> Vec<Vec<f32>> {
    let bytes = |x: &&[f32]| Memory::new(x.iter().flat_map(|v| v.to_le_bytes()).collect());
    let mut memories: Vec<Memory> = arguments.iter().map(bytes).collect();
    let windows: Vec<Window> = (0..arguments.len())
        .map(|memory| Window { memory, first: 0, bytes: memories[memory].bytes.len() })
        .collect();
    run_kernel(kernel, groups, &mut memories, &windows, &mut Clock::default());
    let floats = |m: Memory| m.bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    memories.into_iter().map(floats).collect()
}

/// What a kernel panics with.
fn problem(kernel: &Kernel, groups: u32, arguments: &[&[f32]]) -> String {
    let caught = catch_unwind(AssertUnwindSafe(|| run(kernel, groups, arguments))).unwrap_err();
    caught.downcast_ref::<String>().unwrap().clone()
}

/// A group of 8 threads adds up 8 numbers in shared memory, with barriers or without.
fn tree(barriers: bool) -> Kernel {
    let mut b = Builder::new("tree", 8);
    let (x, y) = (b.param(DType::F32, false), b.param(DType::F32, true));
    let (t, shared) = (b.thread(), b.shared(DType::F32, 8));
    let v = b.load(x, t);
    b.store_shared(shared, t, v);
    for half in [4, 2, 1] {
        if barriers {
            b.barrier();
        }
        let takes = b.lt(t, Value::index(half));
        let open = b.open(takes);
        let other = b.add(t, Value::index(half));
        let (a, c) = (b.load_shared(shared, t), b.load_shared(shared, other));
        let sum = b.add(a, c);
        b.store_shared(shared, t, sum);
        b.close(open);
    }
    let first = b.lt(t, Value::index(1));
    let open = b.open(first);
    let sum = b.load_shared(shared, t);
    b.store(y, Value::index(0), sum);
    b.close(open);
    b.finish()
}

#[test]
fn a_tree_needs_its_barriers() {
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    assert_eq!(run(&tree(true), 1, &[&x, &[0.0]])[1], [36.0]);
    let told = problem(&tree(false), 1, &[&x, &[0.0]]);
    assert!(told.starts_with("kernel tree, group 0: thread 0 reads what thread 4 writes"), "{told}");
}

#[test]
fn groups_must_not_write_one_element() {
    let mut b = Builder::new("clash", 4);
    let y = b.param(DType::F32, true);
    let t = b.thread();
    b.store(y, t, Value::f32(1.0));
    let kernel = b.finish();
    assert_eq!(run(&kernel, 1, &[&[0.0; 4]])[0], [1.0; 4]);
    let told = problem(&kernel, 2, &[&[0.0; 4]]);
    assert!(told.contains("group 1: thread 4 writes what thread 0 writes"), "{told}");
    let told = problem(&kernel, 1, &[&[0.0; 3]]);
    assert!(told.contains("element 3 of parameter 0, which has 12 bytes"), "{told}");
}

#[test]
fn launches_of_a_stage_must_not_write_what_others_read() {
    let mut b = Builder::new("shift", 2);
    let (x, y) = (b.param(DType::F32, false), b.param(DType::F32, true));
    let t = b.thread();
    let v = b.load(x, t);
    b.store(y, t, v);
    let kernel = b.finish();
    let floats = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
    let mut memories = [Memory::new(floats.iter().flat_map(|v| v.to_le_bytes()).collect())];
    let at = |first: usize| Window { memory: 0, first: 4 * first, bytes: 8 };
    let mut clock = Clock::default();
    run_kernel(&kernel, 1, &mut memories, &[at(0), at(2)], &mut clock);
    clock.next_stage();
    run_kernel(&kernel, 1, &mut memories, &[at(2), at(4)], &mut clock);
    let clash = || run_kernel(&kernel, 1, &mut memories, &[at(4), at(0)], &mut clock);
    let told = catch_unwind(AssertUnwindSafe(clash)).unwrap_err();
    assert!(told.downcast_ref::<String>().unwrap().contains("thread 2 reads what thread 0 writes"));
}

#[test]
fn barriers_are_for_all_threads() {
    let mut b = Builder::new("some", 4);
    let t = b.thread();
    let few = b.lt(t, Value::index(2));
    let open = b.open(few);
    b.barrier();
    b.close(open);
    assert!(problem(&b.finish(), 1, &[]).contains("only some threads reach a barrier"));
}

#[test]
fn shared_memory_is_stored_before_it_is_read() {
    let mut b = Builder::new("early", 4);
    let y = b.param(DType::F32, true);
    let (t, shared) = (b.thread(), b.shared(DType::F32, 4));
    let v = b.load_shared(shared, t);
    b.store(y, t, v);
    assert!(problem(&b.finish(), 1, &[&[0.0; 4]]).contains("was never stored"));
}

#[test]
fn four_at_once_are_aligned() {
    let copy = |first: usize| {
        let mut b = Builder::new("four", 2);
        let (x, y) = (b.param(DType::F32, false), b.param(DType::F32, true));
        let t = b.thread();
        let at = b.mul_add(t, Value::index(4), Value::index(first));
        let four = b.load4(x, at);
        b.store4(y, at, four);
        b.finish()
    };
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    assert_eq!(run(&copy(0), 1, &[&x, &[0.0; 8]])[1], x);
    assert!(
        problem(&copy(1), 1, &[&x, &[0.0; 8]]).contains("elements 1 to 4 of parameter 0 are not aligned")
    );
}

#[test]
fn four_at_once_in_shared_memory_are_aligned() {
    let turn = |first: usize| {
        let mut b = Builder::new("four", 2);
        let (x, y, shared) =
            (b.param(DType::F32, false), b.param(DType::F32, true), b.shared(DType::F32, 12));
        let t = b.thread();
        let at = b.mul(t, Value::index(4));
        let four = b.load4(x, at);
        b.store_shared4(shared, at, four);
        b.barrier();
        // The other thread's.
        let back = b.mul(t, Value::i32(-4));
        let other = b.add(back, Value::index(4 + first));
        let four = b.load_shared4(shared, other);
        b.store4(y, at, four);
        b.finish()
    };
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    assert_eq!(run(&turn(0), 1, &[&x, &[0.0; 8]])[1], [5.0, 6.0, 7.0, 8.0, 1.0, 2.0, 3.0, 4.0]);
    assert!(problem(&turn(2), 1, &[&x, &[0.0; 8]]).contains("four elements of shared memory from"));
}

/// One warp multiplies [16, k] by [k, 8] from registers laid out as PTX says.
fn product(ty: MmaType, depth: usize, pack: fn(f32, f32) -> u32) {
    let a = |m: usize, k: usize| (m * 3 + k * 5) as f32 % 7.0 - 3.0;
    let c = |k: usize, n: usize| (k * 2 + n * 11) as f32 % 5.0 - 2.0;
    let word = |f: &dyn Fn(usize) -> f32, t: usize, half: usize| match depth {
        8 => f(t + 4 * half).to_bits(),
        _ => pack(f(2 * t + 8 * half), f(2 * t + 8 * half + 1)),
    };
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for lane in 0..32 {
        let (g, t) = (lane / 4, lane % 4);
        for i in 0..4 {
            left.push(f32::from_bits(word(&|k| a(g + 8 * (i % 2), k), t, i / 2)));
        }
        for i in 0..2 {
            right.push(f32::from_bits(word(&|k| c(k, g), t, i)));
        }
    }
    let mut b = Builder::new("mma", 32);
    let (p, q, out) = (b.param(DType::F32, false), b.param(DType::F32, false), b.param(DType::F32, true));
    let lane = b.thread();
    let fetch = |b: &mut Builder, from, each: usize, i: usize| {
        let at = b.mul_add(lane, Value::index(each), Value::index(i));
        let v = b.load(from, at);
        b.bits(v, DType::U32)
    };
    let d = [(); 4].map(|()| b.mutable(Value::f32(0.5)));
    let a_words = [0, 1, 2, 3].map(|i| fetch(&mut b, p, 4, i));
    let b_words = [0, 1].map(|i| fetch(&mut b, q, 2, i));
    b.statement(Stmt::Tensor(Tensor::Mma { ty, d, a: a_words, b: b_words }));
    for (i, v) in d.into_iter().enumerate() {
        let at = b.mul_add(lane, Value::index(4), Value::index(i));
        b.store(out, at, Value::Var(v));
    }
    let found = run(&b.finish(), 1, &[&left, &right, &[0.0; 128]]).pop().unwrap();
    for lane in 0..32 {
        for i in 0..4 {
            let (m, n) = (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
            let wanted: f32 = 0.5 + (0..depth).map(|k| a(m, k) * c(k, n)).sum::<f32>();
            assert_eq!(found[4 * lane + i], wanted, "{ty:?} [{m}, {n}]");
        }
    }
}

#[test]
fn tensor_cores_multiply() {
    product(MmaType::Tf32, 8, |_, _| 0);
    product(MmaType::Bf16, 16, |a, b| a.to_bits() >> 16 | b.to_bits() & 0xffff_0000);
    product(MmaType::F16, 16, |a, b| half(a) | half(b) << 16);
    assert_eq!(half(-3.0), 0xc200);
}

/// A small whole number in half precision.
fn half(x: f32) -> u32 {
    let bits = x.to_bits();
    let exponent = (bits >> 23 & 255) as i32 - 112;
    if x == 0.0 { 0 } else { bits >> 16 & 0x8000 | (exponent as u32) << 10 | bits >> 13 & 0x3ff }
}

#[test]
fn copies_arrive_when_they_are_waited_for() {
    let copy = |wait: bool| {
        let mut b = Builder::new("copy", 2);
        let (x, y) = (b.param(DType::F32, false), b.param(DType::F32, true));
        let (t, shared) = (b.thread(), b.shared(DType::F32, 8));
        let at = b.mul(t, Value::index(4));
        let valid = b.lt(t, Value::index(1));
        b.statement(Stmt::Tensor(Tensor::CopyAsync { to: (shared, at), from: (x, at), valid }));
        b.statement(Stmt::Tensor(Tensor::Commit));
        if wait {
            b.statement(Stmt::Tensor(Tensor::Wait(0)));
        }
        b.barrier();
        let from = b.add(at, Value::index(3));
        let v = b.load_shared(shared, from);
        b.store(y, t, v);
        b.finish()
    };
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    assert_eq!(run(&copy(true), 1, &[&x, &[9.0; 2]])[1], [4.0, 0.0], "what is not valid is cleared");
    assert!(problem(&copy(false), 1, &[&x, &[9.0; 2]]).contains("still being copied"));
}

/// Two threads read each other's half of a shared array, then copy over their own: with a barrier between, or without.
#[test]
fn copies_do_not_overtake_readers() {
    let copy = |barrier: bool| {
        let mut b = Builder::new("overtake", 2);
        let (x, y) = (b.param(DType::F32, false), b.param(DType::F32, true));
        let (t, shared) = (b.thread(), b.shared(DType::F32, 8));
        let own = b.mul(t, Value::index(4));
        let other = b.scalar(ScalarOp::Sub, &[Value::index(4), own]);
        b.store_shared(shared, own, Value::f32(9.0));
        b.barrier();
        let v = b.load_shared(shared, other);
        b.store(y, t, v);
        if barrier {
            b.barrier();
        }
        let valid = Value::bool(true);
        b.statement(Stmt::Tensor(Tensor::CopyAsync { to: (shared, own), from: (x, own), valid }));
        b.statement(Stmt::Tensor(Tensor::Commit));
        // By now the readers are done: it is the start of the copy that comes too early.
        b.barrier();
        b.statement(Stmt::Tensor(Tensor::Wait(0)));
        b.finish()
    };
    assert_eq!(run(&copy(true), 1, &[&[1.0; 8], &[0.0; 2]])[1], [9.0; 2]);
    assert!(problem(&copy(false), 1, &[&[1.0; 8], &[0.0; 2]]).contains("writes what thread"));
}

/// What may be wrong with a product of matrices.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Flaw {
    None,
    NoBarrier,
    HalfASubgroup,
    Rows,
    Place,
    Type,
}

/// Two subgroups of 8 threads; each multiplies an 8 x 8 matrix, rows 12 apart, by the transposed of another.
fn product_of_matrices(flaw: Flaw) -> Kernel {
    let mut b = Builder::new("matrices", 16);
    let (x, y) = (b.param(DType::F32, false), b.param(DType::F32, true));
    let (t, subgroup) = (b.thread(), b.subgroup([8, 8]));
    let stored = if flaw == Flaw::Type { DType::F16 } else { DType::F32 };
    let (factors, sums) = (b.shared(DType::F32, 192), b.shared(stored, 192));
    for i in 0..12 {
        let at = b.add(t, Value::index(16 * i));
        let v = b.load(x, at);
        b.store_shared(factors, at, v);
    }
    if flaw != Flaw::NoBarrier {
        b.barrier();
    }
    let some = b.lt(t, Value::index(12));
    let works = if flaw == Flaw::HalfASubgroup { some } else { Value::bool(true) };
    let open = b.open(works);
    let sum = b.sum_of_matrices(8);
    let first = b.mul(if flaw == Flaw::Place { t } else { subgroup }, Value::index(96));
    let second = b.scalar(ScalarOp::Sub, &[Value::index(96), first]);
    let stride = if flaw == Flaw::Rows { 11 } else { 12 };
    let left = b.load_factor((8, Role::A), (factors, first), stride, true);
    let right = b.load_factor((8, Role::B), (factors, second), 12, false);
    b.statement(Stmt::Cooperative(Cooperative::MultiplyAdd { d: sum, a: left, b: right }));
    b.statement(Stmt::Cooperative(Cooperative::Store { from: sum, to: (sums, first), stride: 12 }));
    b.close(open);
    b.barrier();
    for i in 0..8 {
        let at = b.mul_add(t, Value::index(12), Value::index(i));
        let v = b.load_shared(sums, at);
        let v = b.cast(v, DType::F32);
        b.store(y, at, v);
    }
    b.finish()
}

#[test]
fn subgroups_multiply_matrices() {
    let x: Vec<f32> = (0..192).map(|i| (i * i % 7) as f32 - 3.0).collect();
    let found = &run(&product_of_matrices(Flaw::None), 1, &[&x, &[0.0; 192]])[1];
    for (i, j) in (0..16).flat_map(|i| (0..8).map(move |j| (i, j))) {
        let other = if i < 8 { j + 8 } else { j };
        let wanted: f32 = (0..8).map(|k| x[12 * i + k] * x[12 * other + k]).sum();
        assert_eq!(found[12 * i + j], wanted, "{i}, {j}");
    }
    let cases = [
        (Flaw::NoBarrier, "reads what thread"),
        (Flaw::HalfASubgroup, "only a part of a subgroup takes part"),
        (Flaw::Rows, "rows 11 apart, is not aligned"),
        (Flaw::Place, "differ about an index"),
        (Flaw::Type, "not [Sum] of f16"),
    ];
    for (flaw, wanted) in cases {
        let told = problem(&product_of_matrices(flaw), 1, &[&x, &[0.0; 192]]);
        assert!(told.contains(wanted), "{flaw:?}: {told}");
    }
}

#[test]
fn registers_are_set_before_they_are_read() {
    let mut b = Builder::new("unset", 4);
    let y = b.param(DType::F32, true);
    let t = b.thread();
    let few = b.lt(t, Value::index(2));
    let open = b.open(few);
    let v = b.cast(t, DType::F32);
    b.close(open);
    b.store(y, t, v);
    let told = problem(&b.finish(), 1, &[&[0.0; 4]]);
    assert!(told.contains("thread 2 reads register") && told.contains("Store"), "{told}");
}
