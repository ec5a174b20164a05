//! Renames that `std` does not have: one that replaces nothing, and one that exchanges two names. Both are a single step where the
//! file system can do it.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{fs, io::ErrorKind};

/// Renames a file or a folder to a name that must be free.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    if step(from, to, libc::RENAME_NOREPLACE)? {
        return Ok(());
    }
    // Another process may take the name between the check and the rename; these file systems offer nothing better.
    match to.symlink_metadata() {
        Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

/// Exchanges two names; `false` where the file system cannot.
pub(crate) fn exchange(one: &Path, other: &Path) -> io::Result<bool> {
    step(one, other, libc::RENAME_EXCHANGE)
}

/// `renameat2`; `false` where the kernel or the file system does not know what is asked for.
fn step(from: &Path, to: &Path, flags: libc::c_uint) -> io::Result<bool> {
    let [from, to] = [from, to].map(|path| CString::new(path.as_os_str().as_bytes()));
    let (from, to) = (from?, to?);
    let (here, from, to) = (libc::AT_FDCWD, from.as_ptr(), to.as_ptr());
    // SAFETY: both texts end in NUL and live until the call returns. By number: older C libraries lack the function.
    let done = unsafe { libc::syscall(libc::SYS_renameat2, here, from, here, to, flags) };
    if done == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP) => Ok(false),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_taken_is_left_alone_and_two_names_are_exchanged() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| folder.path().join(name));
        fs::write(&a, "a").unwrap();
        fs::create_dir(&b).unwrap();
        fs::write(b.join("inside"), "b").unwrap();
        for taken in [&a, &b] {
            let error = rename_new(if taken == &a { &b } else { &a }, taken).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        }
        if exchange(&a, &b).unwrap() {
            assert_eq!(fs::read_to_string(&b).unwrap(), "a");
            assert_eq!(fs::read_to_string(a.join("inside")).unwrap(), "b");
        }
        rename_new(&a, &c).unwrap();
        assert!(c.exists() && !a.exists());
    }
}
