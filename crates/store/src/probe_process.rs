//! Another process that tries files before this one opens them: the HDF5 library crashes on some damaged files, and never ends on others.
//!
//! It is forked before anything else is done, while the process has one thread and libraries are as they were loaded: that takes about a
//! millisecond, where starting the program again would take as long as loading libtorch does. For each file it forks once more, and
//! the child reads the file under limits of memory and time.

use crate::StoreError;
use crate::exercise::exercise;
use crate::probe::set_probe;
use hdf5_sys::h5::H5set_free_list_limits;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Bytes of the shared memory in which a child writes what it is reading.
const FIELD: usize = 4096;
/// Memory a child may take: this, and a multiple of the file's length, for its texts.
const MEMORY: u64 = 2 << 30;
const MEMORY_BY_LENGTH: u64 = 16;
/// CPU seconds of a child: the first number, and one second more for every this many bytes of the file.
const SECONDS: u64 = 4;
const BYTES_A_SECOND: u64 = 10 << 20;
/// Bytes of the stack of the thread that reads.
const STACK: usize = 8 << 20;
/// Bytes of memory that are filled before a file is read.
const FILLED: usize = 4 << 20;
/// Variables in which launchers give a process its rank.
const RANKS: [&str; 4] = [
    "OMPI_COMM_WORLD_RANK",
    "PMIX_RANK",
    "PMI_RANK",
    "SLURM_PROCID",
];

/// Forks the process that tries every HDF5 file before this one opens it. A program calls it first in `main`; where it cannot be done, files
/// are opened untried.
pub fn begin_probe() {
    // Under a launcher one rank tries the files for all.
    let rank = RANKS.iter().find_map(|name| std::env::var(name).ok());
    if rank.is_some_and(|rank| rank != "0") {
        return;
    }
    let one_thread = fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    let Ok((ours, theirs)) = UnixStream::pair() else {
        return;
    };
    let Some(field) = Field::new().filter(|_| one_thread) else {
        return;
    };
    // SAFETY: the process has one thread, so the child finds every lock free.
    match unsafe { libc::fork() } {
        -1 => {}
        0 => {
            drop(ours);
            serve(theirs, &field);
        }
        _ => {
            drop(theirs);
            let socket = Mutex::new(ours);
            set_probe(Box::new(move |path| {
                let mut socket = socket.lock().unwrap_or_else(PoisonError::into_inner);
                // No answer, for instance because the process was killed: the file is opened untried.
                match ask(&mut socket, path) {
                    Ok(status) => verdict(path, status, &field),
                    Err(_) => Ok(()),
                }
            }));
        }
    }
}

fn ask(socket: &mut UnixStream, path: &Path) -> io::Result<i32> {
    let path = path.as_os_str().as_bytes();
    socket.write_all(&(path.len() as u32).to_le_bytes())?;
    socket.write_all(path)?;
    let mut status = [0; 4];
    socket.read_exact(&mut status)?;
    Ok(i32::from_le_bytes(status))
}

fn verdict(path: &Path, status: i32, field: &Field) -> Result<(), StoreError> {
    let how = if libc::WIFSIGNALED(status) {
        match libc::WTERMSIG(status) {
            libc::SIGXCPU => "did not come to an end".to_owned(),
            libc::SIGABRT => "gave up, or asked for more memory than there is,".to_owned(),
            signal @ (libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL) => {
                format!("crashed (signal {signal})")
            }
            // Killed by somebody: no verdict.
            _ => return Ok(()),
        }
    } else if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) != 0 {
        "failed".to_owned()
    } else {
        return Ok(());
    };
    Err(StoreError::Crashes {
        path: path.to_owned(),
        field: field.read(),
        how,
    })
}

/// The process that tries files: one child for each path that it is asked for, until the program ends.
fn serve(mut socket: UnixStream, field: &Field) -> ! {
    quieten();
    let mut length = [0; 4];
    while socket.read_exact(&mut length).is_ok() {
        let mut path = vec![0; u32::from_le_bytes(length) as usize];
        if socket.read_exact(&mut path).is_err() {
            break;
        }
        // SAFETY: this process has one thread.
        let child = unsafe { libc::fork() };
        if child == 0 {
            try_file(Path::new(OsStr::from_bytes(&path)), field);
        }
        let mut status = 0;
        // SAFETY: `status` lives until the call returns.
        while child > 0 && unsafe { libc::waitpid(child, &raw mut status, 0) } != child {}
        if socket.write_all(&status.to_le_bytes()).is_err() {
            break;
        }
    }
    end(0)
}

/// Closes the standard streams of the program, and leaves signals to it.
fn quieten() {
    // SAFETY: plain calls on this process alone; the descriptors are those of its standard streams.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_NAME, c"tangram-probe".as_ptr());
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR2] {
            libc::signal(signal, libc::SIG_IGN);
        }
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        if null >= 0 {
            (0..3).for_each(|stream| _ = libc::dup2(null, stream));
        }
    }
}

/// Reads a file under limits, and ends.
fn try_file(path: &Path, field: &Field) -> ! {
    let length = fs::metadata(path).map_or(0, |meta| meta.len());
    let seconds = SECONDS + length / BYTES_A_SECOND;
    let memory = MEMORY.saturating_add(length.saturating_mul(MEMORY_BY_LENGTH));
    limit(libc::RLIMIT_CPU, seconds);
    limit(libc::RLIMIT_AS, memory.saturating_add(mapped()));
    limit(libc::RLIMIT_CORE, 0);
    // SAFETY: plain calls on this process alone.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::signal(libc::SIGXCPU, libc::SIG_DFL);
    }
    end(i32::from(!matches!(tried(path, field), Ok(Ok(())))))
}

/// Reads a file where errors of the memory show: a thread of its own takes its memory from a new region, in which there is nothing but what it
/// has, and around it no memory.
fn tried(path: &Path, field: &Field) -> thread::Result<Result<(), StoreError>> {
    let exercise = || exercise(path, &mut |name| field.write(name));
    thread::scope(|scope| {
        let in_thread = thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, || {
                fill_memory();
                exercise()
            });
        match in_thread {
            Ok(thread) => thread.join(),
            Err(_) => std::panic::catch_unwind(exercise),
        }
    })
}

/// What the library reads beside its own data holds no address from here on, and damage of the memory ends the process when it is freed. By
/// itself such an error may stay without effect here and crash the program, whose memory holds other things.
fn fill_memory() {
    // SAFETY: plain calls. Memory that is given out or freed from now on is filled with this byte, also that of the block that is freed here,
    // which the process keeps.
    unsafe {
        libc::mallopt(libc::M_PERTURB, 0xA5);
        libc::mallopt(libc::M_MMAP_THRESHOLD, FILLED as libc::c_int + 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        libc::free(libc::malloc(FILLED));
    }
    // The library keeps no memory that it has freed.
    hdf5::h5lock!(H5set_free_list_limits(0, 0, 0, 0, 0, 0));
}

fn limit(resource: libc::__rlimit_resource_t, most: u64) {
    // At the hard limit of CPU time the kernel sends SIGKILL, which has many possible causes. The soft limit is reached first and sends SIGXCPU.
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: most.saturating_add(1),
    };
    // SAFETY: `limit` lives until the call returns.
    unsafe { libc::setrlimit(resource, &raw const limit) };
}

/// Bytes of address space that this process has mapped: libtorch alone takes gigabytes.
fn mapped() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').next().and_then(|n| n.parse::<u64>().ok());
    pages.unwrap_or(1 << 20) * 4096
}

fn end(code: i32) -> ! {
    // SAFETY: ends the process at once; what the first process registered to be done at its end is not done here.
    unsafe { libc::_exit(code) }
}

/// Memory that the processes share: the name of what is being read.
struct Field(*mut u8);

// SAFETY: the memory is mapped for as long as the process lives, and is read only after the process that wrote to it has ended.
unsafe impl Send for Field {}
// SAFETY: as above.
unsafe impl Sync for Field {}

impl Field {
    fn new() -> Option<Self> {
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        );
        // SAFETY: new memory, which is nobody else's.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), FIELD, access, kind, -1, 0) };
        (at != libc::MAP_FAILED).then_some(Self(at.cast()))
    }

    fn write(&self, name: &str) {
        let n = name.len().min(FIELD - 1);
        // SAFETY: `n` bytes and the NUL fit.
        unsafe {
            self.0.copy_from(name.as_ptr(), n);
            self.0.add(n).write(0);
        }
    }

    fn read(&self) -> String {
        // SAFETY: the memory is that long, and no process writes to it now.
        let bytes = unsafe { std::slice::from_raw_parts(self.0, FIELD) };
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(FIELD);
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }
}
