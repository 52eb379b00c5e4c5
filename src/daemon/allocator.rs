//! Memory that is free goes back to the system: what a flush of many series
//! needs for a moment would otherwise stay with the process.
//!
//! With a million counters the resident memory after a flush is 78 bytes a
//! series instead of 156 (`docs/performance.md`). Other allocators than glibc's
//! are left alone.

/// Blocks from this size on are the system's own and go back at once. Set, it
/// does not grow with the blocks that are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_BLOCK_BYTES: i32 = 128 << 10;

/// To be called once, before much is allocated.
pub fn tune() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes no pointers, and may be called at any time from any thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_BLOCK_BYTES);
    }
}

/// Gives back what is free now.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes no pointers, and may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
