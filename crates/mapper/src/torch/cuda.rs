//! The GPUs that libtorch sees, with their properties from the driver.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::OnceLock;

/// CUDA as libtorch sees it.
#[derive(Debug, Clone)]
pub struct Cuda {
    /// Why libtorch's CUDA part is not loaded, in the words of the system; `None`: it is.
    pub absent: Option<String>,
    /// The GPUs that this process may use, in their order.
    pub gpus: Vec<Gpu>,
}

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Its name, such as `NVIDIA H100 80GB HBM3`.
    pub name: Option<String>,
    /// Identifier of this GPU that is unique across processes and nodes.
    pub uuid: Option<String>,
    /// Bytes of its memory.
    pub memory: Option<u64>,
}

impl Cuda {
    /// Queries libtorch and the driver.
    ///
    /// Loads libtorch's CUDA part if it lies beside libtorch, or in `LD_LIBRARY_PATH`, and was not linked. libtorch asks only once
    /// whether it is there, so this comes before anything else is asked of libtorch.
    #[must_use]
    pub fn found() -> Self {
        let absent = load().clone().err();
        let n_gpus = match absent {
            Some(_) => 0,
            None => n_devices(),
        };
        let driver = if n_gpus > 0 { Driver::open() } else { None };
        let gpu = |index| match &driver {
            Some(driver) => driver.gpu(index),
            None => Gpu {
                name: None,
                uuid: None,
                memory: None,
            },
        };
        Self {
            absent,
            gpus: (0..n_gpus).map(gpu).collect(),
        }
    }
}

#[cfg(feature = "torch")]
fn n_devices() -> usize {
    usize::try_from(tch::Cuda::device_count()).unwrap_or(0)
}

/// Without libtorch nothing counts them.
#[cfg(not(feature = "torch"))]
fn n_devices() -> usize {
    0
}

/// Free bytes of a GPU's memory; `None` if the driver does not report them.
#[must_use]
pub fn free_memory(index: usize) -> Option<u64> {
    type SetDevice = unsafe extern "C" fn(c_int) -> c_int;
    type MemGetInfo = unsafe extern "C" fn(*mut usize, *mut usize) -> c_int;
    // SAFETY: the signatures are those of the CUDA runtime, which libtorch has loaded.
    let functions = unsafe {
        (
            symbol::<SetDevice>(libc::RTLD_DEFAULT, c"cudaSetDevice")?,
            symbol::<MemGetInfo>(libc::RTLD_DEFAULT, c"cudaMemGetInfo")?,
        )
    };
    let (mut free, mut total) = (0, 0);
    // SAFETY: as above; both pointers are to numbers of this frame.
    let good =
        unsafe { functions.0(index as c_int) == 0 && functions.1(&mut free, &mut total) == 0 };
    good.then_some(free as u64)
}

/// Whether libtorch's CUDA part is there.
fn load() -> &'static Result<(), String> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    if !cfg!(feature = "torch") {
        return LOADED.get_or_init(|| Err("this build of tangram has no libtorch".to_owned()));
    }
    LOADED.get_or_init(|| match open(c"libtorch_cuda.so", libc::RTLD_GLOBAL) {
        Ok(_) => Ok(()),
        Err(reason) => Err(reason),
    })
}

/// Opens a library, which stays open.
fn open(name: &CStr, scope: c_int) -> Result<*mut c_void, String> {
    // SAFETY: what runs when the library is loaded is libtorch's, or the driver's, own.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | scope) };
    if !handle.is_null() {
        return Ok(handle);
    }
    // SAFETY: `dlerror` gives a text, or nothing, that lives until it is called again on this thread.
    let told = unsafe {
        let text = libc::dlerror();
        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    };
    Err(told.unwrap_or_else(|| format!("{} cannot be loaded", name.to_string_lossy())))
}

/// A function of a library.
///
/// # Safety
/// `F` must be the function's pointer type.
unsafe fn symbol<F: Copy>(library: *mut c_void, name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: the name ends with 0; the pointer is not null, and of the type the caller promises.
    unsafe {
        let found = libc::dlsym(library, name.as_ptr());
        (!found.is_null()).then(|| std::mem::transmute_copy(&found))
    }
}

/// Functions of the driver that describe GPUs.
struct Driver {
    name: unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int,
    uuid: unsafe extern "C" fn(*mut [u8; 16], c_int) -> c_int,
    total: unsafe extern "C" fn(*mut usize, c_int) -> c_int,
}

impl Driver {
    fn open() -> Option<Self> {
        type Init = unsafe extern "C" fn(u32) -> c_int;
        let library = open(c"libcuda.so.1", libc::RTLD_LOCAL).ok()?;
        // SAFETY: the signatures are those of the CUDA driver's interface.
        unsafe {
            let init = symbol::<Init>(library, c"cuInit")?;
            let driver = Self {
                name: symbol(library, c"cuDeviceGetName")?,
                uuid: symbol(library, c"cuDeviceGetUuid")?,
                total: symbol(library, c"cuDeviceTotalMem_v2")?,
            };
            (init(0) == 0).then_some(driver)
        }
    }

    /// Properties of the GPU of this number; the handle of a device is its number.
    fn gpu(&self, index: usize) -> Gpu {
        let index = index as c_int;
        let (mut name, mut uuid, mut total) = (vec![0u8; 256], [0u8; 16], 0usize);
        // SAFETY: every pointer is to as much room as the function may write.
        let good = unsafe {
            [
                (self.name)(name.as_mut_ptr().cast(), name.len() as c_int, index) == 0,
                (self.uuid)(&mut uuid, index) == 0,
                (self.total)(&mut total, index) == 0,
            ]
        };
        let end = name.iter().position(|&b| b == 0).unwrap_or(0);
        name.truncate(end);
        let text = CString::new(name).ok().and_then(|n| n.into_string().ok());
        Gpu {
            name: text.filter(|n| good[0] && !n.is_empty()),
            uuid: good[1].then(|| uuid.iter().map(|b| format!("{b:02x}")).collect()),
            memory: good[2].then_some(total as u64),
        }
    }
}

#[cfg(all(test, feature = "torch"))]
mod tests {
    use super::*;

    #[test]
    fn a_libtorch_without_cuda_says_why_and_has_no_gpu() {
        let cuda = Cuda::found();
        match &cuda.absent {
            Some(reason) => {
                assert!(reason.contains("libtorch_cuda"), "{reason}");
                assert_eq!(cuda.gpus, []);
            }
            None => assert_eq!(cuda.gpus.len() as i64, tch::Cuda::device_count()),
        }
    }

    #[test]
    fn what_is_not_there_is_no_library_and_no_function() {
        assert!(open(c"libtorch_of_nobody.so", libc::RTLD_LOCAL).is_err());
        // SAFETY: never called.
        let found = unsafe {
            symbol::<unsafe extern "C" fn()>(libc::RTLD_DEFAULT, c"no_such_function_anywhere")
        };
        assert!(found.is_none());
    }
}
