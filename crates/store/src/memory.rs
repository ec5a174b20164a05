//! Memory: what is free for this process, and what it took.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that this process may still take: the least of what the machine has free, what the control group (a
/// container, a batch job) allows and what the shell's limit on address space leaves. `None` if none of these is known.
#[must_use]
pub fn available() -> Option<u64> {
    [machine(), control_group(), address_space()]
        .into_iter()
        .flatten()
        .min()
}

/// Bytes that all processes of this machine may take together, in use or not: the memory of the machine, or the limit of the control
/// group if that is less. `None` if neither is known.
#[must_use]
pub fn of_node() -> Option<u64> {
    let machine = field(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:");
    let allowed = group_folders().filter_map(|folder| allowed(&folder));
    allowed.chain(machine).min()
}

/// The most memory this process has held so far, in bytes.
#[must_use]
pub fn peak() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// A number of bytes as people write it.
#[must_use]
pub fn for_people(bytes: u64) -> String {
    const GIB: f64 = (1u64 << 30) as f64;
    let gib = bytes as f64 / GIB;
    if gib < 1.0 {
        format!("{:.0} MiB", gib * 1024.0)
    } else {
        format!("{gib:.1} GiB")
    }
}

fn machine() -> Option<u64> {
    field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// A line `NAME: 123 kB`, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

fn address_space() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let soft = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max address space"))?
        .split_whitespace()
        .next()?;
    let taken = field(&fs::read_to_string("/proc/self/status").ok()?, "VmSize:")?;
    Some(soft.parse::<u64>().ok()?.saturating_sub(taken))
}

/// The tightest limit among this process's control group and the groups around it (version 2, or version 1's `memory`).
fn control_group() -> Option<u64> {
    group_folders().filter_map(|f| left(&f)).min()
}

fn group_folders() -> impl Iterator<Item = PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let folders: Vec<_> = groups.lines().filter_map(group_folder).collect();
    folders
        .into_iter()
        .flat_map(|(root, folder)| around(&root, &folder))
}

/// The root and the folder of a line of `/proc/self/cgroup`, `ID:CONTROLLERS:/PATH`.
fn group_folder(line: &str) -> Option<(PathBuf, PathBuf)> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let root = match controllers {
        "" => "/sys/fs/cgroup",
        c if c.split(',').any(|c| c == "memory") => "/sys/fs/cgroup/memory",
        _ => return None,
    };
    Some((
        root.into(),
        Path::new(root).join(path.trim_start_matches('/')),
    ))
}

fn around(root: &Path, folder: &Path) -> Vec<PathBuf> {
    folder
        .ancestors()
        .take_while(|f| f.starts_with(root))
        .map(Path::to_owned)
        .collect()
}

fn number(folder: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(folder.join(name)).ok()?;
    text.trim().parse().ok()
}

/// A group's limit.
fn allowed(folder: &Path) -> Option<u64> {
    number(folder, "memory.max").or_else(|| number(folder, "memory.limit_in_bytes"))
}

/// What a group's limit leaves; file cache that can be dropped counts as free.
fn left(folder: &Path) -> Option<u64> {
    let limit = allowed(folder)?;
    let used =
        number(folder, "memory.current").or_else(|| number(folder, "memory.usage_in_bytes"))?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cache = ["inactive_file ", "total_inactive_file "]
        .iter()
        .find_map(|name| stat.lines().find_map(|l| l.strip_prefix(name)))
        .and_then(|n| n.trim().parse::<u64>().ok())
        .unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(cache)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cgroup_name_their_folder() {
        let folder = |line| group_folder(line).map(|(_, f)| f);
        assert_eq!(
            folder("0::/job/step"),
            Some("/sys/fs/cgroup/job/step".into())
        );
        assert_eq!(
            folder("4:memory,hugetlb:/a"),
            Some("/sys/fs/cgroup/memory/a".into())
        );
        assert_eq!(folder("3:cpu:/a"), None);
        assert_eq!(
            around(Path::new("/sys/fs/cgroup"), Path::new("/sys/fs/cgroup/a/b")).len(),
            3
        );
    }

    #[test]
    fn a_limit_leaves_what_is_not_used_but_for_cache() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("memory.max", "max\n");
        write("memory.current", "600\n");
        assert_eq!(left(folder.path()), None);
        write("memory.max", "1000\n");
        write("memory.stat", "anon 1\ninactive_file 100\n");
        assert_eq!(left(folder.path()), Some(500));
    }

    #[test]
    fn the_machine_tells() {
        assert!(available().unwrap() > 0);
        assert!(peak().unwrap() > 1 << 20);
    }
}
