//! Binding a worker to a core, best effort.
//!
//! Only where every worker can have its own core and there are some to choose from: on a small or shared machine
//! the system's scheduler does better, as it can move a worker away from a core that something else has taken.

/// Binds the calling thread, worker `index` of `n`, to the core of that number among those allowed.
#[cfg(target_os = "linux")]
pub fn pin(index: usize, n: usize) {
    const FEWEST: usize = 4;
    // SAFETY: a cpu_set_t is a plain bit set; the calls read and write only it, and thread 0 is the caller.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        let bytes = size_of::<libc::cpu_set_t>();
        if libc::sched_getaffinity(0, bytes, &raw mut allowed) != 0 {
            return;
        }
        let cores = libc::CPU_COUNT(&allowed) as usize;
        if n < FEWEST || n > cores {
            return;
        }
        let most = 8 * bytes;
        let Some(core) = (0..most).filter(|&c| libc::CPU_ISSET(c, &allowed)).nth(index) else { return };
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut one);
        // Refused (a container, say): then not pinned.
        let _ = libc::sched_setaffinity(0, bytes, &raw const one);
    }
}

/// Not here.
#[cfg(not(target_os = "linux"))]
pub fn pin(_index: usize, _n: usize) {}
