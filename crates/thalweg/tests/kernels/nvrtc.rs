//! NVIDIA's compiler accepts every kernel for three architectures and spills nothing; registers and shared memory are as
//! in the table beside this file, which `THALWEG_WRITE_TABLE=1` writes anew.
//!
//! Where NVRTC is not found this is skipped with a line, unless `THALWEG_NEED_NVRTC` asks for it.

use crate::all::{LARGE, TF32, around_calls, others, variants, ways};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use thalweg::device::cuda::{Nvrtc, Places};
use thalweg::device::gpu::cuda::render_together;
use thalweg::device::gpu::ir::Kernel;
use thalweg::device::gpu::launch::Abilities;

/// Products of 16-bit floats by tensor cores, of f32 by threads.
const TENSOR: Abilities = Abilities { tf32: false, ..TF32 };
const ARCHITECTURES: [&str; 3] = ["sm_80", "sm_90a", "sm_120"];
/// Kernels that are compiled together.
const TOGETHER: usize = 12;
/// Registers of a kind of kernel that may be more or fewer than the table's before it has to be looked at.
const SLACK: usize = 8;

/// The most that any kernel of a kind needs.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Needs {
    registers: usize,
    shared: usize,
    spilled: usize,
}

/// The compiler, if it is there.
fn compiler() -> Option<Nvrtc> {
    match Nvrtc::find(&Places::read(), 13) {
        Ok(nvrtc) => Some(nvrtc),
        Err(why) if std::env::var_os("THALWEG_NEED_NVRTC").is_none() => {
            println!("skipped: NVRTC {why}");
            None
        }
        Err(why) => panic!("NVRTC {why}"),
    }
}

/// Tiles that only a measurement chooses are in no program here.
#[test]
fn tiles_that_a_tuner_may_choose_spill_nothing() {
    let Some(nvrtc) = compiler() else { return };
    let (texts, kernels): (Vec<String>, Vec<(Kernel, bool)>) =
        ways(&TENSOR).into_iter().map(|(way, kernel)| (way, (kernel, true))).unzip();
    std::thread::scope(|s| {
        for architecture in ARCHITECTURES {
            let (nvrtc, texts, kernels) = (&nvrtc, &texts, &kernels);
            s.spawn(move || {
                let needs = compile(nvrtc, kernels, architecture);
                let spilled: Vec<_> =
                    texts.iter().zip(needs).filter(|(_, needs)| needs.spilled > 0).collect();
                assert!(spilled.is_empty(), "{architecture}: {spilled:?}");
            });
        }
    });
}

#[test]
fn nvidias_compiler_makes_code_of_every_kernel() {
    let Some(nvrtc) = compiler() else { return };
    let by_tensor_cores = variants(&TF32).into_iter().filter(|(k, _)| k.needs_tensor_cores());
    let others = others().into_iter().chain(around_calls()).map(|k| (k, true));
    let kernels: Vec<(Kernel, bool)> =
        variants(&LARGE).into_iter().chain(by_tensor_cores).chain(others).collect();
    let all: Vec<(&[(Kernel, bool)], &str)> =
        kernels.chunks(TOGETHER).flat_map(|some| ARCHITECTURES.map(|a| (some, a))).collect();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::<(String, &str), Needs>::new()));
    std::thread::scope(|s| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get()) {
            s.spawn(|| {
                while let Some((some, architecture)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let needs = compile(&nvrtc, some, architecture);
                    let mut found = found.lock().unwrap();
                    for ((kernel, _), needs) in some.iter().zip(needs) {
                        let most = found.entry((kernel.name.clone(), *architecture)).or_default();
                        most.registers = most.registers.max(needs.registers);
                        most.shared = most.shared.max(needs.shared);
                        most.spilled = most.spilled.max(needs.spilled);
                    }
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    println!("{} kernels compiled for {} architectures", kernels.len(), ARCHITECTURES.len());
    compare(&found);
}

fn compile(nvrtc: &Nvrtc, kernels: &[(Kernel, bool)], architecture: &str) -> Vec<Needs> {
    let (text, entries) = render_together(kernels);
    let compiled = nvrtc
        .compile(&text, architecture, &["--ptxas-options=-v"])
        .unwrap_or_else(|e| panic!("{entries:?} for {architecture}: {e}\n{text}"));
    assert_eq!(&compiled.cubin[..4], b"\x7fELF", "{entries:?} are machine code");
    let of = |((kernel, _), entry): (&(Kernel, bool), &String)| {
        let log = compiled.log.split(&format!("entry function '{entry}'")).nth(1).unwrap_or_default();
        let number = |before: &str, after: &str| {
            let words = log.split(after).next()?;
            words.rsplit(before).next()?.trim().parse::<usize>().ok()
        };
        let registers = number("Used ", " registers")
            .unwrap_or_else(|| panic!("{entry}: no registers in {:?}", compiled.log));
        Needs {
            registers,
            shared: kernel.shared_bytes(),
            spilled: number("stack frame, ", " bytes spill stores").unwrap_or(0),
        }
    };
    kernels.iter().zip(&entries).map(of).collect()
}

fn compare(found: &BTreeMap<(String, &str), Needs>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels/needs.txt");
    let mut text =
        String::from("# kernel architecture registers shared-bytes (the most of any of its kind)\n");
    let spilled: Vec<_> = found.iter().filter(|(_, needs)| needs.spilled > 0).collect();
    assert!(spilled.is_empty(), "registers are spilled: {spilled:?}");
    for ((kernel, architecture), needs) in found {
        writeln!(text, "{kernel} {architecture} {} {}", needs.registers, needs.shared).unwrap();
    }
    if std::env::var_os("THALWEG_WRITE_TABLE").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let stored = std::fs::read_to_string(&file).unwrap_or_default();
    let rows = |text: &str| -> BTreeMap<(String, String), (usize, usize)> {
        let rows = text.lines().filter(|l| !l.starts_with('#')).map(|l| l.split(' ').collect::<Vec<_>>());
        rows.map(|r| ((r[0].into(), r[1].into()), (r[2].parse().unwrap(), r[3].parse().unwrap()))).collect()
    };
    let (old, new) = (rows(&stored), rows(&text));
    let hint = "look at the kernel, then write the table anew with THALWEG_WRITE_TABLE=1";
    assert!(old.keys().eq(new.keys()), "other kernels than in {}; {hint}", file.display());
    for (key, (registers, shared)) in new {
        let (r, s) = old[&key];
        assert!(
            registers.abs_diff(r) <= SLACK && shared == s,
            "{key:?}: {registers} registers and {shared} bytes, not {r} and {s}; {hint}"
        );
    }
}
