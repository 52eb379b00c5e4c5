//! Memory that is free goes back to the system: what a flush of many series
//! needs for a moment would otherwise stay with the process.
//!
//! With a million counters the resident memory after a flush is 78 bytes a
//! series instead of 156 (`docs/performance.md`). Other allocators than glibc's
//! are left alone.

/// Blocks from this size on are the system's own and go back at once. Set, it
/// does not grow with the blocks that are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_BLOCK_BYTES: i32 = 1 << 20;
/// So much at the end of an arena may be free before it goes back. A query that
/// reads a thousand series makes and frees the points of each, a day of them in
/// 138 kB: with glibc's 128 kB for both numbers a third of its time went into
/// asking the system for them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const FREE_END_BYTES: i32 = 4 << 20;

/// To be called once, before much is allocated.
pub fn tune() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes no pointers, and may be called at any time from any thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_BLOCK_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, FREE_END_BYTES);
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
