//! Loaded plans: regions and launches agree, threads change nothing, memory is what it says, errors are told.

mod step;

use std::sync::Arc;
use step::{floats, load_plan, plan};
use thalweg_base::{ConvDims, DType, PoolDims, Window};
use thalweg_device::cpu::{CpuDevice, Isa, Target};
use thalweg_device::null::NullDevice;
use thalweg_device::plan::{
    Binding, Body, Buffer, BufferId, Contraction, DotDims, Entry, Epilogue, Expr, Kernel, KernelId, Loop,
    Place, PoolEpilogue, Product, Role, Stage, check,
};
use thalweg_device::{Allocation, Device, DeviceError, MemoryUse, Plan};

fn after(threads: usize, isa: Option<Isa>, region: bool, runs: usize) -> Vec<Vec<u8>> {
    let mut device = CpuDevice::new(Some(threads), isa.map(Target::fast)).expect("threads");
    let loaded = load_plan(&mut device, plan(region));
    for _ in 0..runs {
        device.run(loaded.program).expect("a run");
    }
    loaded.read(&mut device)
}

#[test]
fn the_test_plans_keep_the_rules() {
    for region in [false, true] {
        assert_eq!(check(&plan(region)), Ok(()));
    }
}

#[test]
fn a_region_computes_what_launches_do() {
    for isa in Isa::available() {
        let (a, b) = (after(2, Some(isa), false, 5), after(2, Some(isa), true, 5));
        for (i, (a, b)) in a.iter().zip(&b).enumerate() {
            for (x, y) in floats(a).iter().zip(floats(b)) {
                assert!((x - y).abs() <= 1e-4 * (1.0 + x.abs()), "{isa} binding {i}: {x} {y}");
            }
        }
        let loss = floats(&b[3])[0];
        assert!(loss > 1.0 && loss.is_finite(), "loss {loss}");
        assert_eq!(b[4], 5_i32.to_le_bytes());
    }
}

#[test]
fn the_loss_falls() {
    let (first, later) = (after(2, None, true, 1), after(2, None, true, 60));
    assert!(floats(&later[3])[0] < 0.9 * floats(&first[3])[0]);
}

#[test]
fn threads_change_no_bit() {
    for region in [false, true] {
        let one = after(1, None, region, 20);
        for threads in [2, 5] {
            assert!(one == after(threads, None, region, 20), "{threads} threads, region {region}");
        }
    }
}

#[test]
fn memory_is_exact_and_given_back() {
    let mut device = CpuDevice::new(Some(3), None).unwrap();
    assert_eq!(device.memory(), MemoryUse::default());
    let p = plan(true);
    let (arena, slab) = (p.arena, p.slab);
    let bindings: usize = p.bindings.iter().map(Binding::bytes).sum();
    let a = load_plan(&mut device, p);
    let m = device.memory();
    assert_eq!((m.allocated, m.arena), (bindings, arena + 3 * slab));
    assert!(m.workspace > 0);
    // A second program shares arena and scratch; the first still runs.
    let b = load_plan(&mut device, plan(false));
    assert_eq!(device.memory().arena, plan(false).arena + 3 * slab);
    device.run(a.program).unwrap();
    device.run(b.program).unwrap();
    device.run(a.program).unwrap();
    assert_eq!(a.read(&mut device)[4], 2_i32.to_le_bytes());
    assert_eq!(a.read(&mut device)[0], b.read(&mut device)[0]);
    device.unload(b.program);
    assert_eq!(device.memory().arena, m.arena);
    device.run(a.program).unwrap();
    device.unload(a.program);
    a.storage.iter().chain(&b.storage).for_each(|s| device.free(*s));
    assert_eq!(device.memory(), MemoryUse::default());
}

/// `to = from` convolved with a 1x1 filter that has to be packed, both of 80 channels: a plan with one kernel.
fn pointwise(filter: Role) -> Plan {
    let window = Window::valid(1, 1, 1);
    let d = ConvDims { n: 1, h: 1, w: 2, c: 80, k: 80, oh: 1, ow: 2, rows: window, cols: window, groups: 1 };
    let bindings = [("filter", filter, 6400), ("from", Role::Input, 160), ("to", Role::Output, 160)];
    let [filter, from, to] = [0, 1, 2].map(BufferId);
    let product = Product::Conv(d);
    let conv = Contraction::new(product, [from, filter, to]);
    let kernel = Kernel::Contraction(conv);
    Plan {
        name: "pointwise".into(),
        bindings: bindings
            .map(|(name, role, len)| Binding { name: name.into(), role, dtype: DType::F32, shape: vec![len] })
            .to_vec(),
        buffers: (0..3)
            .map(|i| Buffer {
                name: bindings[i].0.into(),
                dtype: DType::F32,
                len: bindings[i].2,
                place: Place::Binding(i as u32),
            })
            .collect(),
        kernels: vec![Entry { label: "conv".into(), kernel, flops: 1_000_000, bytes: 1_000_000 }],
        stages: vec![Stage::Launch(vec![KernelId(0)])],
        ..Plan::default()
    }
}

/// Filters stay packed between runs, but not when the host or another program changed them.
#[test]
fn changed_filters_are_packed_again() {
    let bytes = |v: &[f32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let diagonal = |x: f32| (0..6400).map(|i| if i % 81 == 0 { x } else { 0.0 }).collect::<Vec<f32>>();
    let mut device = CpuDevice::new(Some(2), None).unwrap();
    // `second` convolves with what `first` wrote: a filter of two rows, the rest of it zero.
    let mut wide = pointwise(Role::State);
    wide.bindings[2].shape = vec![6400];
    let storage: Vec<Allocation> =
        [6400, 160, 6400, 160, 160].map(|n| device.allocate(n * 4).unwrap()).to_vec();
    let first = device.load(Arc::new(wide), &storage[..3]).unwrap();
    let second = device.load(Arc::new(pointwise(Role::State)), &storage[2..]).unwrap();
    let mut ones = vec![0.0; 160];
    ones[0] = 1.0;
    ones[80] = 1.0;
    device.write(storage[3], 0, &bytes(&ones)).unwrap();
    device.write(storage[1], 0, &bytes(&[1.0; 160])).unwrap();
    let result = |device: &mut CpuDevice| {
        device.run(second).unwrap();
        let mut out = vec![0; 640];
        device.read(storage[4], 0, &mut out).unwrap();
        floats(&out)[..2].to_vec()
    };
    assert_eq!(result(&mut device), [0.0, 0.0]);
    device.write(storage[2], 0, &bytes(&diagonal(3.0))).unwrap();
    assert_eq!(result(&mut device), [3.0, 0.0]);
    assert_eq!(result(&mut device), [3.0, 0.0]);
    // A write of a part counts as well.
    device.write(storage[2], 4, &bytes(&[5.0])).unwrap();
    assert_eq!(result(&mut device), [3.0, 5.0]);
    // So does another program's run, each time.
    for x in [7.0, 8.0] {
        device.write(storage[0], 0, &bytes(&diagonal(x))).unwrap();
        device.run(first).unwrap();
        assert_eq!(result(&mut device), [x, x]);
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let mut device = CpuDevice::new(Some(1), None).unwrap();
    let error = device.allocate(1 << 60).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("cpu: cannot allocate ") && text.ends_with("bytes (storage)"), "{text}");
    let small = device.allocate(8).unwrap();
    assert!(matches!(device.write(small, 4, &[0; 8]), Err(DeviceError::Size { .. })));
    let p = plan(true);
    let error = device.load(Arc::new(p.clone()), &[small]).unwrap_err();
    assert_eq!(error.to_string(), "number of bindings of step: expected 5, got 1");
    let error = device.load(Arc::new(p), &[small; 5]).unwrap_err();
    assert!(error.to_string().contains("\"x\" [13, 10, 10, 5] of step: expected 26000 bytes"), "{error}");
    let large = device.allocate(1 << 20).unwrap();
    let error = device.load(Arc::new(plan(true)), &[large; 5]).unwrap_err();
    assert_eq!(error.to_string(), "number of separate allocations bound to step: expected 5, got 1");
    // A program that does not fit leaves the device as it was.
    let before = device.memory();
    let mut huge = plan(false);
    huge.arena = 1 << 60;
    let storage: Vec<_> = huge.bindings.iter().map(|b| device.allocate(b.bytes()).unwrap()).collect();
    assert!(matches!(device.load(Arc::new(huge), &storage), Err(DeviceError::OutOfMemory { .. })));
    storage.into_iter().for_each(|s| device.free(s));
    assert_eq!(device.memory(), before);
}

#[test]
fn profiles_name_every_kernel() {
    let mut device = CpuDevice::new(Some(2), None).unwrap();
    let loaded = load_plan(&mut device, plan(true));
    let times = device.profile(loaded.program).unwrap();
    let labels: Vec<&str> = times.iter().map(|t| t.label.as_str()).collect();
    assert_eq!(labels[..3], ["conv", "pool", "loss"]);
    assert_eq!(times.len(), plan(true).kernels.len());
    assert!(times.iter().all(|t| t.seconds >= 0.0) && times.iter().any(|t| t.seconds > 0.0));
}

#[test]
fn the_null_device_counts() {
    let mut device = NullDevice::new();
    let loaded = load_plan(&mut device, plan(true));
    device.run(loaded.program).unwrap();
    device.run(loaded.program).unwrap();
    let c = device.counts();
    assert_eq!((c.runs, c.stages, c.launches, c.kernels), (2, 4, 2, 20));
    assert_eq!(c.flops, 20_000_000);
    assert_eq!(device.memory().arena, plan(true).arena + plan(true).slab);
}

/// What the checker says of a plan with one thing wrong.
fn broken(change: impl FnOnce(&mut Plan)) -> String {
    let mut p = plan(true);
    change(&mut p);
    check(&p).expect_err("the rule is broken")
}

#[test]
fn broken_plans_are_told_apart() {
    let says = |error: String, what: &str| assert!(error.contains(what), "{error:?} does not say {what:?}");
    says(broken(|p| p.arena -= 64), "leaves the arena");
    says(broken(|p| p.buffers[0].len = 3), "is needed");
    says(broken(|p| p.buffers[5].place = Place::Slab { offset: 4 }), "not a multiple");
    says(broken(|p| p.buffers[8].place = p.buffers[5].place), "same place");
    says(broken(|p| p.stages.reverse()), "before anything wrote it");
    says(broken(|p| p.stages.push(Stage::Launch(vec![KernelId(6)]))), "runs twice");
    says(
        broken(|p| {
            p.stages = vec![Stage::Launch((0..10).map(KernelId).collect())];
            p.buffers.iter_mut().for_each(|b| {
                if let Place::Slab { offset } = b.place {
                    (b.place, b.len) = (Place::Arena { offset: p.arena + offset }, b.len / 4 * 13);
                    p.arena += 1 << 20;
                }
            });
        }),
        "clash",
    );
    says(
        broken(|p| {
            if let Stage::Region { slice, .. } = &mut p.stages[0] {
                *slice = 2;
            }
        }),
        "in a region of",
    );
    says(
        broken(|p| {
            let Stage::Region { kernels, batch, .. } = &p.stages[0] else { panic!("a region") };
            let (k, m) = (kernels[0].0 as usize, *batch);
            if let Kernel::Contraction(c) = &mut p.kernels[k].kernel {
                c.product = Product::Dot(DotDims { batch: 1, m, n: 1, k: 1, ta: false, tb: false });
                (c.epilogue, c.unpooled) = (None, None);
            }
        }),
        "rows are not its region's images",
    );
}

#[test]
fn broken_kernels_are_told_apart() {
    let says = |kernel: usize, what: &str, change: fn(&mut Kernel)| {
        let error = broken(|p| change(&mut p.kernels[kernel].kernel));
        assert!(error.contains(what), "{error:?} does not say {what:?}");
    };
    fn contraction(k: &mut Kernel) -> &mut Contraction {
        match k {
            Kernel::Contraction(c) => c,
            other => panic!("{other:?} is no contraction"),
        }
    }
    fn pool(k: &mut Kernel, window: Window) {
        let c = contraction(k);
        let Product::Conv(d) = c.product else { panic!("a convolution") };
        let [oh, ow] = [d.oh, d.ow].map(|n| window.outputs(n).expect("it fits"));
        let dims = PoolDims { n: d.n, h: d.oh, w: d.ow, c: d.k, oh, ow, rows: window, cols: window };
        c.epilogue.as_mut().expect("it has one").pool = Some(PoolEpilogue { dims, arg: None });
    }
    fn looped(k: &mut Kernel) -> &mut Loop {
        match k {
            Kernel::Loop(l) => l,
            other => panic!("{other:?} is no loop"),
        }
    }
    let (conv, loss, slope, weights, bias) = (0, 2, 4, 5, 7);
    says(conv, "where an operand is", |k| contraction(k).out = contraction(k).a);
    says(conv, "pool does not fit", |k| pool(k, Window { lo: 1, hi: 1, ..Window::valid(2, 2, 1) }));
    says(conv, "pool does not fit", |k| pool(k, Window::valid(1, 2, 1)));
    says(weights, "no epilogue", |k| {
        let mut body = Body::new();
        let value = body.push(Expr::Acc, DType::F32);
        contraction(k).epilogue = Some(Epilogue { body, value, pool: None });
    });
    says(loss, "too short", |k| looped(k).parts = step::BATCH + 1);
    says(slope, "accumulated value", |k| _ = looped(k).body.push(Expr::Acc, DType::F32));
    says(bias, "more than once", |k| {
        let l = looped(k);
        l.body.map_loads(|a| a.strides.fill(0));
        l.outs[0].access.strides.fill(0);
    });
}
