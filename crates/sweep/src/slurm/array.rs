//! Arrays: tasks in chunks that the cluster's limits allow.

use super::SlurmError;

/// Tasks of one array: element `index` does task `offset + index`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The task of index 0.
    pub offset: usize,
    /// Indices, ascending, each less than MaxArraySize.
    pub indices: Vec<usize>,
    /// Most elements that run at the same time.
    pub throttle: usize,
    /// The chunk that must have ended before this one begins, where there are more chunks than elements may run.
    pub after: Option<usize>,
}

impl Chunk {
    /// The tasks.
    pub fn tasks(&self) -> impl Iterator<Item = usize> + '_ {
        self.indices.iter().map(|index| self.offset + index)
    }
}

/// Cuts tasks into arrays.
///
/// Slurm limits the largest index, not the number of elements, so every chunk begins at an offset of its own. Their throttles are for
/// [`share_throttle`] to set.
///
/// * `tasks`: numbers of tasks, ascending, each once
/// * `max_array_size`: MaxArraySize of the cluster, one more than the largest index
///
/// # Errors
/// [`SlurmError::NoArrays`] if the cluster allows none.
pub fn chunks(tasks: &[usize], max_array_size: usize) -> Result<Vec<Chunk>, SlurmError> {
    if max_array_size < 2 {
        return Err(SlurmError::NoArrays {
            size: max_array_size,
        });
    }
    let mut chunks: Vec<Chunk> = Vec::new();
    for &task in tasks {
        match chunks.last_mut() {
            Some(chunk) if task - chunk.offset < max_array_size => {
                chunk.indices.push(task - chunk.offset);
            }
            _ => chunks.push(Chunk {
                offset: task,
                indices: vec![0],
                throttle: 0,
                after: None,
            }),
        }
    }
    Ok(chunks)
}

/// Gives every chunk its part of a throttle, in proportion to its tasks; chunks that would get none wait for another to end.
///
/// * `throttle`: most tasks that run at the same time, over all chunks; at least one does
pub fn share_throttle(throttle: usize, chunks: &mut [&mut Chunk]) {
    let throttle = throttle.max(1);
    if throttle < chunks.len() {
        for (i, chunk) in chunks.iter_mut().enumerate() {
            chunk.throttle = 1;
            chunk.after = i.checked_sub(throttle);
        }
        return;
    }
    // One for each chunk; the rest goes, one by one, to the chunk that is furthest below its share and has elements left.
    let mut left = throttle;
    for chunk in chunks.iter_mut() {
        chunk.throttle = 1;
        left -= 1;
    }
    while left > 0 {
        let open = chunks.iter_mut().filter(|c| c.throttle < c.indices.len());
        let waiting = |c: &Chunk| c.indices.len() as f64 / c.throttle as f64;
        let Some(chunk) = open.reduce(|a, b| if waiting(a) >= waiting(b) { a } else { b }) else {
            return;
        };
        chunk.throttle += 1;
        left -= 1;
    }
}

/// Indices as Slurm writes them: `0-4,9`.
#[must_use]
pub fn ranges(indices: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &index in indices {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => ranges.push((index, index)),
        }
    }
    let text = |(first, last): (usize, usize)| match last - first {
        0 => first.to_string(),
        _ => format!("{first}-{last}"),
    };
    ranges.into_iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tasks: impl IntoIterator<Item = usize>, size: usize, throttle: usize) -> Vec<Chunk> {
        let mut cut = chunks(&tasks.into_iter().collect::<Vec<_>>(), size).unwrap();
        share_throttle(throttle, &mut cut.iter_mut().collect::<Vec<_>>());
        cut
    }

    #[test]
    fn indices_stay_below_the_limit_and_every_task_is_there_once() {
        for (n, step, size) in [
            (24, 1, 11),
            (1, 1, 11),
            (1001, 1, 1001),
            (1002, 1, 1001),
            (50, 7, 11),
        ] {
            let tasks: Vec<usize> = (0..n).map(|i| i * step + 3).collect();
            let cut = of(tasks.clone(), size, 4);
            assert!(cut.iter().all(|c| c.indices.iter().all(|i| *i < size)));
            assert_eq!(cut.iter().flat_map(Chunk::tasks).collect::<Vec<_>>(), tasks);
        }
        let cut = of(0..24, 11, 6);
        let sizes: Vec<_> = cut.iter().map(|c| c.indices.len()).collect();
        assert_eq!(sizes, [11, 11, 2]);
        // Few of many tasks need few arrays.
        assert_eq!(of([3, 7, 9, 2_000], 1001, 9).len(), 2);
        assert!(of([], 11, 4).is_empty());
        assert!(matches!(
            chunks(&[0], 0),
            Err(SlurmError::NoArrays { size: 0 })
        ));
    }

    #[test]
    fn the_throttle_holds_over_all_chunks() {
        for throttle in 1..40 {
            let cut = of(0..24, 11, throttle);
            // As many chunks as begin at once; each of the others begins when one has ended.
            let first = cut.iter().filter(|c| c.after.is_none());
            let at_once: usize = first.map(|c| c.throttle).sum();
            assert!(at_once <= throttle, "{throttle}: {cut:?}");
            assert_eq!(at_once, throttle.min(24), "{throttle}: none is left unused");
            assert!(
                cut.iter()
                    .all(|c| c.throttle >= 1 && c.throttle <= c.indices.len())
            );
            let mut waits: Vec<_> = cut.iter().filter_map(|c| c.after).collect();
            waits.dedup();
            assert_eq!(
                waits.len(),
                cut.iter().filter(|c| c.after.is_some()).count()
            );
        }
    }

    #[test]
    fn lists_are_written_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 3, 4, 9]), "0-4,9");
        assert_eq!(ranges(&[3, 7, 9]), "3,7,9");
        assert_eq!(ranges(&[1, 2]), "1-2");
        assert_eq!(ranges(&[]), "");
    }
}
