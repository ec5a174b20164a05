//! The exit record of this rank: written when it is asked to stop, fails or panics; removed when the rank completes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use tangram_pipeline::exit_record::{ExitRecord, place};

/// This rank, if it is one of several.
struct Own {
    out: PathBuf,
    rank: usize,
    n_ranks: usize,
}

static OUT: Mutex<Option<PathBuf>> = Mutex::new(None);
static OWN: Mutex<Option<Own>> = Mutex::new(None);
static PASSES: AtomicUsize = AtomicUsize::new(0);
static HOOK: Once = Once::new();

fn lock<T>(mutex: &'static Mutex<Option<T>>) -> MutexGuard<'static, Option<T>> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the run of this process.
pub fn of_run(out: &Path) {
    *lock(&OUT) = Some(out.to_owned());
}

/// Starts recording: if there are several ranks, this one leaves a record unless [`completed`] is called.
pub fn begin(rank: usize, n_ranks: usize) {
    let out = lock(&OUT).clone();
    let (Some(out), true) = (out, n_ranks > 1) else {
        return;
    };
    *lock(&OWN) = Some(Own { out, rank, n_ranks });
    HOOK.call_once(|| {
        // The previous hook ends all ranks, so it comes last.
        let end = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            ended(None, &panic.to_string().replace('\n', " "));
            end(panic);
        }));
    });
}

/// Sets the number of completed passes.
pub fn passed(passes: usize) {
    PASSES.store(passes, Ordering::Relaxed);
}

/// Records that this rank was asked to stop. [`ended`] replaces the record, unless the process is killed before.
pub fn asked(reason: &str) {
    write(None, reason);
}

/// Records why this rank ends. Later events, such as the launcher's signal that ends all ranks, are ignored.
///
/// * `code`: its exit code; `None` after a panic
pub fn ended(code: Option<u8>, reason: &str) {
    write(code, reason);
    *lock(&OWN) = None;
}

fn write(code: Option<u8>, reason: &str) {
    if let Some(Own { out, rank, n_ranks }) = &*lock(&OWN) {
        let passes = PASSES.load(Ordering::Relaxed);
        ExitRecord::now(*rank, *n_ranks, code, reason, passes).write(out);
    }
}

/// This rank has completed: removes its record.
pub fn completed() {
    if let Some(own) = lock(&OWN).take() {
        let _ = fs::remove_file(place(&own.out, own.rank));
    }
}
