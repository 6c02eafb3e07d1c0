//! A run allocates nothing: counted by the global allocator, over all threads.

mod step;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use step::{floats, load_plan, plan};
use thalweg_device::Device;
use thalweg_device::cpu::CpuDevice;

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_run_allocates_nothing() {
    let mut device = CpuDevice::new(Some(3), None).unwrap();
    let loaded = [true, false].map(|region| load_plan(&mut device, plan(region)));
    let programs = loaded.each_ref().map(|l| l.program);
    // The first run may still set up what the system does once per thread.
    programs.iter().for_each(|p| device.run(*p).unwrap());
    let memory = device.memory();
    // The test harness has a thread of its own, which may allocate once while we count: a run that allocated would
    // do so in every round.
    let rounds = [(); 5].map(|()| {
        let before = COUNT.load(Ordering::SeqCst);
        for _ in 0..50 {
            programs.iter().for_each(|p| device.run(*p).unwrap());
        }
        COUNT.load(Ordering::SeqCst) - before
    });
    assert!(rounds.contains(&0), "allocations in rounds of 100 runs: {rounds:?}");
    assert_eq!(device.memory(), memory);
    // And they did run: the loss is there.
    assert!(loaded.iter().all(|l| floats(&l.read(&mut device)[3])[0] > 0.0));
}
