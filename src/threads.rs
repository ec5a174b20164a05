//! The thread pool of this process.

use tangram_pipeline::settings::helpful;

/// Creates the pool with this number of threads, or as many as help.
pub fn use_threads(threads: usize) {
    // The pool can be created once. A second call in the same process asks for the same number.
    let _ = rayon::ThreadPoolBuilder::new()
        .num_threads(helpful(threads))
        .start_handler(|_| tangram_mapper::flush_denormals())
        .build_global();
}
