//! A plan of one contraction, of operands of a type, and a run of it.

use super::naive::{Case, Data, Then};
use std::sync::Arc;
use thalweg_base::{DType, Scalar, ScalarOp, half};
use thalweg_device::plan::{
    Access, Binding, Body, Buffer, BufferId, Contraction, Entry, Epilogue, Expr, Kernel, KernelId, Place,
    PoolEpilogue, Role, Stage, Unpooled,
};
use thalweg_device::{Allocation, Device, Plan};

const A: BufferId = BufferId(0);
const B: BufferId = BufferId(1);
const BIAS: BufferId = BufferId(2);
const RESIDUAL: BufferId = BufferId(3);
const POSITIONS: BufferId = BufferId(4);
const OUT: BufferId = BufferId(5);
const ARG: BufferId = BufferId(6);

/// Elements of the result, after a pooling.
fn results(case: &Case) -> usize {
    match case.pool {
        Some((p, _)) => p.output().iter().product(),
        None => case.parts * case.space().iter().product::<usize>(),
    }
}

/// Type of the result: f32, or the operands' if an epilogue rounds to it.
pub fn stored(case: &Case, dtype: DType) -> DType {
    match case.then {
        Then::Nothing => DType::F32,
        _ if case.pool.is_some() => DType::F32,
        Then::BiasRelu | Then::Residual | Then::Rounded | Then::RoundedBiasRelu => dtype,
    }
}

pub fn of(case: &Case, data: &Data, operands: DType) -> Arc<Plan> {
    let out = results(case);
    let all = [
        ("a", operands, data.a.len()),
        ("b", operands, data.b.len()),
        ("bias", DType::F32, data.bias.len()),
        ("residual", DType::F32, data.residual.len()),
        ("positions", DType::U8, data.positions.len()),
        ("out", stored(case, operands), out),
        ("arg", DType::U8, out),
    ];
    let mut plan = Plan { name: "product".into(), ..Plan::default() };
    for (i, (name, dtype, len)) in all.into_iter().enumerate() {
        let role = if i < OUT.0 as usize { Role::Input } else { Role::Output };
        plan.bindings.push(Binding { name: name.into(), role, dtype, shape: vec![len] });
        plan.buffers.push(Buffer { name: name.into(), dtype, len, place: Place::Binding(i as u32) });
    }
    let kernel = Kernel::Contraction(Contraction {
        product: case.product,
        a: A,
        b: B,
        out: OUT,
        parts: case.parts,
        expansion: None,
        unpooled: case.unpooled.map(|dims| Unpooled { dims, arg: POSITIONS }),
        epilogue: epilogue(case, operands, stored(case, operands)),
    });
    plan.kernels.push(Entry { label: "product".into(), kernel, flops: 0, bytes: 0 });
    plan.stages.push(Stage::Launch(vec![KernelId(0)]));
    Arc::new(plan)
}

fn epilogue(case: &Case, operands: DType, stored: DType) -> Option<Epilogue> {
    let pool = case.pool.map(|(dims, arg)| PoolEpilogue { dims, arg: arg.then_some(ARG) });
    if case.then == Then::Nothing && pool.is_none() {
        return None;
    }
    let space = case.space();
    let mut body = Body::new();
    let mut value = body.push(Expr::Acc, DType::F32);
    let mut strides = vec![0; space.len()];
    if matches!(case.then, Then::Rounded | Then::RoundedBiasRelu) && operands.is_half() {
        value = body.push(Expr::Cast(value), operands);
        if case.then == Then::RoundedBiasRelu || !stored.is_half() {
            value = body.push(Expr::Cast(value), DType::F32);
        }
    }
    match case.then {
        Then::Nothing | Then::Rounded => {}
        Then::BiasRelu | Then::RoundedBiasRelu => {
            strides[space.len() - 1] = 1;
            let bias = body.push(Expr::Load(Access { buffer: BIAS, offset: 0, strides }), DType::F32);
            let sum = body.push(Expr::Op(ScalarOp::Add, vec![value, bias]), DType::F32);
            let zero = body.push(Expr::Const(Scalar::f32(0.0)), DType::F32);
            value = body.push(Expr::Op(ScalarOp::Max, vec![zero, sum]), DType::F32);
        }
        Then::Residual => {
            let mut step = 1;
            for (s, &n) in strides.iter_mut().zip(&space).rev() {
                *s = step;
                step *= n as isize;
            }
            let access = Access { buffer: RESIDUAL, offset: 0, strides };
            let residual = body.push(Expr::Load(access), DType::F32);
            value = body.push(Expr::Op(ScalarOp::Add, vec![residual, value]), DType::F32);
        }
    }
    if stored.is_half() && case.then != Then::Rounded {
        value = body.push(Expr::Cast(value), stored);
    }
    Some(Epilogue { body, value, pool })
}

/// Numbers as memory has them.
fn bytes(dtype: DType, x: &[f32]) -> Vec<u8> {
    match dtype {
        DType::F16 => x.iter().flat_map(|v| half::to_f16(*v).to_le_bytes()).collect(),
        DType::BF16 => x.iter().flat_map(|v| half::to_bf16(*v).to_le_bytes()).collect(),
        _ => x.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}

fn numbers(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    let halves = |of: fn(u16) -> f32| -> Vec<f64> {
        bytes.as_chunks::<2>().0.iter().map(|b| f64::from(of(u16::from_le_bytes(*b)))).collect()
    };
    match dtype {
        DType::F16 => halves(half::from_f16),
        DType::BF16 => halves(half::from_bf16),
        _ => bytes.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
    }
}

/// One run: values, and positions if the plan stores them.
pub fn run(device: &mut dyn Device, plan: &Arc<Plan>, data: &Data) -> (Vec<f64>, Vec<f64>) {
    let (count, operands, stored) = (plan.buffer(OUT).len, plan.buffer(A).dtype, plan.buffer(OUT).dtype);
    let contents = [
        bytes(operands, &data.a),
        bytes(operands, &data.b),
        bytes(DType::F32, &data.bias),
        bytes(DType::F32, &data.residual),
        data.positions.clone(),
        bytes(stored, &vec![f32::NAN; count]),
        vec![0xff; count],
    ];
    let storage: Vec<Allocation> = contents
        .iter()
        .map(|content| {
            let allocation = device.allocate(content.len()).unwrap();
            device.write(allocation, 0, content).unwrap();
            allocation
        })
        .collect();
    let program = device.load(Arc::clone(plan), &storage).unwrap();
    device.run(program).unwrap();
    let mut values = vec![0; stored.size() * count];
    device.read(storage[OUT.0 as usize], 0, &mut values).unwrap();
    let mut positions = vec![0; count];
    device.read(storage[ARG.0 as usize], 0, &mut positions).unwrap();
    let wanted = plan.kernels[0].kernel.writes().contains(&ARG);
    let positions = if wanted { positions.into_iter().map(f64::from).collect() } else { Vec::new() };
    (numbers(stored, &values), positions)
}
