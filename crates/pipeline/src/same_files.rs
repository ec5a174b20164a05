//! Whether all ranks read the same files, to the last byte.

use crate::error::Result;
use crate::ranks::{Ranks, agreed, alike_where, on_first};
use sha2::{Digest, Sha256};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use tangram_comm::Communicator;
use tangram_store::{Process, StoreError, fingerprint};

/// SHA-256 of every file, on the first rank; on others that of some may be missing. All ranks call it, with as many paths.
///
/// Of the ranks that see the same files of the same machine one hashes them.
///
/// # Errors
/// [`RanksDiffer`](crate::PipelineError::RanksDiffer) if ranks have different files; if one cannot be read.
pub(crate) fn hashes(paths: &[&Path], ranks: &Ranks) -> Result<Vec<String>> {
    let of = |paths: &[&Path]| -> Result<Vec<String>> {
        let hashes = paths.iter().map(|path| fingerprint(path));
        Ok(hashes.collect::<Result<_, _>>()?)
    };
    if ranks.shape().n_ranks() == 1 {
        return of(paths);
    }
    let identity = agreed(ranks, identity(paths))?;
    let all = ranks.gather(&[identity]);
    let hashing: Vec<usize> = on_first(ranks, || Ok(first_of_each(&all)))?;
    let own = match hashing.contains(&ranks.world().rank()) {
        true => of(paths).map(Some),
        false => Ok(None),
    };
    let own = agreed(ranks, own)?;
    let text = own.as_ref().map(|hashes| hashes.join(" "));
    alike_where(ranks.world(), "inputs", text.as_deref())?;
    Ok(own.unwrap_or_else(|| vec![String::new(); paths.len()]))
}

/// A number by which ranks know that they see the same files of the same machine.
fn identity(paths: &[&Path]) -> Result<f64> {
    let mut hash = Sha256::new();
    hash.update(Process::here().host.as_bytes());
    for path in paths {
        let meta = path.metadata().map_err(|e| StoreError::Read {
            path: (*path).to_owned(),
            reason: e.to_string(),
        })?;
        hash.update(meta.dev().to_le_bytes());
        hash.update(meta.ino().to_le_bytes());
    }
    // As many bits as such a number holds.
    let bytes = hash.finalize();
    Ok(bytes
        .iter()
        .take(6)
        .fold(0.0, |n, &b| 256.0 * n + f64::from(b)))
}

/// The first rank of every identity.
fn first_of_each(all: &[Vec<f64>]) -> Vec<usize> {
    let is_first = |(rank, own): &(usize, &Vec<f64>)| !all[..*rank].contains(own);
    let first = all.iter().enumerate().filter(is_first);
    first.map(|(rank, _)| rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_ranks_that_see_the_same_files_one_hashes_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a"), "a").unwrap();
        std::fs::write(path("b"), "a").unwrap();
        std::os::unix::fs::symlink(path("a"), path("link")).unwrap();
        let of = |name: &str| vec![identity(&[&path(name)]).unwrap()];
        assert_eq!(of("a"), of("link"));
        let all = [of("a"), of("link"), of("b"), of("a"), of("b")];
        assert_eq!(first_of_each(&all), [0, 2]);
        assert!(identity(&[&path("none")]).is_err());
    }
}
