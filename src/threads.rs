//! The thread pool of this process.

/// Has the pool made with so many threads.
pub fn use_threads(threads: usize) {
    // The pool can be made once; a second call would come from this process only, with the same number.
    let _ = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .start_handler(|_| tangram_mapper::flush_denormals())
        .build_global();
}
