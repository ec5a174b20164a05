//! Links of HDF5 files. Those to other files are not followed: a result could not be traced to its inputs.

use super::hdf5_error::brief;
use crate::StoreError;
use hdf5::File;
use hdf5_sys::h5l::{H5L_info1_t, H5Lget_info1, H5Lget_val};
use hdf5_sys::h5p::H5P_DEFAULT;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr;

/// `H5L_TYPE_SOFT` and `H5L_TYPE_EXTERNAL`; as numbers, because a damaged file may hold any.
const SOFT: i32 = 1;
const EXTERNAL: i32 = 64;
/// Soft links on the way to a place.
const MOST_LINKS: usize = 16;
/// Bytes of what a link holds.
const VALUE: usize = 4096;

/// Refuses a place that a link into another file is on the way to.
///
/// # Errors
/// [`StoreError::Elsewhere`].
pub(super) fn refuse_elsewhere(path: &Path, file: &File, at: &str) -> Result<(), StoreError> {
    follow(path, file, at, MOST_LINKS)
}

fn follow(path: &Path, file: &File, at: &str, left: usize) -> Result<(), StoreError> {
    let mut place = String::new();
    for part in at.split('/').filter(|part| !part.is_empty()) {
        let parent = place.clone();
        place.push('/');
        place.push_str(part);
        let fail = |e: hdf5::Error| StoreError::broken(path, at, brief(&e.to_string()));
        match kind(file, &place) {
            // Nothing there, or nothing that can be followed: whoever asks for it is told.
            None => return Ok(()),
            Some(EXTERNAL) => {
                let value = value(file, &place).map_err(fail)?;
                // A byte of flags, then the name of the file.
                let name = value.get(1..).unwrap_or_default();
                let name = name.split(|&b| b == 0).next().unwrap_or_default();
                return Err(StoreError::Elsewhere {
                    path: path.to_owned(),
                    field: at.trim_start_matches('/').to_owned(),
                    target: String::from_utf8_lossy(name).into_owned(),
                });
            }
            Some(SOFT) => {
                if left == 0 {
                    let reason = format!("more than {MOST_LINKS} links, one leading to another");
                    return Err(StoreError::broken(path, at, reason));
                }
                let value = value(file, &place).map_err(fail)?;
                let target = value.split(|&b| b == 0).next().unwrap_or_default();
                let target = String::from_utf8_lossy(target);
                let target = match target.starts_with('/') {
                    true => target.into_owned(),
                    false => format!("{parent}/{target}"),
                };
                follow(path, file, &target, left - 1)?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// What kind of link is at a place; `None` if none is.
fn kind(file: &File, place: &str) -> Option<i32> {
    let name = CString::new(place).ok()?;
    let mut info = MaybeUninit::<H5L_info1_t>::zeroed();
    let asked = || {
        hdf5::h5call!(H5Lget_info1(
            file.id(),
            name.as_ptr(),
            info.as_mut_ptr(),
            H5P_DEFAULT
        ))
    };
    let mut asked = asked;
    asked().ok()?;
    // SAFETY: the call has filled it; the kind is read as the number it is in memory, whether or not the enum has it.
    Some(unsafe { ptr::addr_of!((*info.as_ptr()).type_).cast::<i32>().read() })
}

/// What a link holds.
fn value(file: &File, place: &str) -> Result<Vec<u8>, hdf5::Error> {
    let name = CString::new(place).map_err(|e| hdf5::Error::from(e.to_string()))?;
    let mut value = vec![0u8; VALUE];
    hdf5::h5call!(H5Lget_val(
        file.id(),
        name.as_ptr(),
        value.as_mut_ptr().cast(),
        value.len(),
        H5P_DEFAULT
    ))?;
    Ok(value)
}
