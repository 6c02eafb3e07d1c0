//! A system that lets no code be made: programs run as before, to the bit.
#![cfg(target_os = "linux")]

mod step;

use step::{floats, load_plan, plan};
use thalweg_device::Device;
use thalweg_device::cpu::CpuDevice;

#[test]
fn results_are_the_same_where_code_is_refused() {
    const REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    let results = || {
        let mut device = CpuDevice::new(Some(2), None).unwrap();
        let loaded = load_plan(&mut device, plan(true));
        (0..3).for_each(|_| device.run(loaded.program).unwrap());
        let bits = |bytes: &Vec<u8>| floats(bytes).iter().map(|f| f.to_bits()).collect::<Vec<u32>>();
        loaded.read(&mut device).iter().map(bits).collect::<Vec<_>>()
    };
    let want = results();
    // SAFETY: a mode of this process, which has no other test; kernels before Linux 6.3 know it not.
    let refused = unsafe { libc::prctl(libc::PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0) } == 0;
    if refused {
        assert_eq!(results(), want);
    }
}
