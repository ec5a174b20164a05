//! The processes of one mapping: how they are arranged, and how they agree on whether to go on.

use crate::choices::GridChoice;
use crate::error::{PipelineError, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::time::Duration;
use tangram_comm::{Communicator, Grid, GridShape, Reduce, World};
use tangram_sweep::Cause;

/// The ranks of this mapping.
pub type Ranks = Grid<World>;

/// Bytes of a SHA-256.
const DIGEST: usize = 32;
/// A warning appears when a collective takes longer than this.
const PATIENCE: Duration = Duration::from_secs(300);

/// Joins the other processes, if a launcher started any; all share the cells until a better grid is chosen.
///
/// # Errors
/// If they do not find each other.
pub fn join(how: Reduce) -> Result<Ranks> {
    let world = World::join().map_err(PipelineError::Launcher)?;
    // Joining has set a hook that ends all ranks.
    tangram_store::pass_caught_panics();
    let shape = GridShape {
        cells: world.size(),
        ..GridShape::ONE
    };
    Ok(Grid::new(world, shape, how)?.watched(PATIENCE))
}

/// Arranges the ranks as `grid` says, after a check that they were started alike. No other work of several ranks may come before it.
///
/// * `command`: what every rank must have been started with alike
///
/// # Errors
/// If they were started differently, or the grid needs another number of ranks. The first rank gets this error, the others
/// [`PipelineError::OtherRank`].
pub fn arrange(ranks: &mut Ranks, grid: Option<GridChoice>, command: &str) -> Result<()> {
    alike(ranks.world(), "settings", command)?;
    let Some(GridChoice::Shape(shape)) = grid else {
        return Ok(());
    };
    let first = ranks.is_first();
    ranks.rearrange(shape).map_err(|error| match first {
        true => error.into(),
        false => PipelineError::OtherRank {
            cause: Cause::Usage,
        },
    })
}

/// Checks that all ranks have the same text.
///
/// * `what`: what it is of, for the message
///
/// # Errors
/// [`PipelineError::RanksDiffer`], told by the first rank.
pub(crate) fn alike(world: &World, what: &'static str, text: &str) -> Result<()> {
    alike_where(world, what, Some(text))
}

/// Checks that all ranks that have a text have the same; at least one has.
///
/// * `what`: what it is of, for the message
///
/// # Errors
/// As [`alike`].
pub(crate) fn alike_where(world: &World, what: &'static str, text: Option<&str>) -> Result<()> {
    let digest = text.map(|text| Sha256::digest(text.as_bytes()));
    // The largest of all and, negated, the smallest; a rank without a text has no say.
    let mut bounds = vec![f64::NEG_INFINITY; 2 * DIGEST];
    for (i, &b) in digest.iter().flatten().enumerate() {
        bounds[i] = f64::from(b);
        bounds[DIGEST + i] = -f64::from(b);
    }
    world.max(&mut bounds);
    let (largest, smallest) = bounds.split_at(DIGEST);
    match largest.iter().zip(smallest).all(|(l, s)| *l == -s) {
        true => Ok(()),
        false if world.rank() == 0 => Err(PipelineError::RanksDiffer { what }),
        false => Err(PipelineError::OtherRank {
            cause: Cause::Usage,
        }),
    }
}

/// This process alone, whatever started it.
#[must_use]
pub fn one(how: Reduce) -> Ranks {
    Grid::new(World::alone(), GridShape::ONE, how).expect("one rank fits its grid")
}

/// The result of a stage that all ranks do: if some fail, the first of them returns its error, and all stop.
///
/// # Errors
/// This rank's, or [`PipelineError::OtherRank`].
pub fn agreed<C: Communicator, T>(ranks: &Grid<C>, result: Result<T>) -> Result<T> {
    let n_ranks = ranks.shape().n_ranks();
    if n_ranks == 1 {
        return result;
    }
    let rank = ranks.world().rank();
    let (turn, why) = match &result {
        Ok(_) => (0, 0),
        Err(error) => (n_ranks - rank, number(error.cause())),
    };
    let mut first = [turn as f64, why as f64];
    ranks.max_of_all(&mut first);
    if first[0] == 0.0 {
        return result;
    }
    let first_rank = n_ranks - first[0] as usize;
    match result {
        Err(error) if rank == first_rank => Err(PipelineError::Within {
            what: format!("rank {rank}"),
            source: Box::new(error),
        }),
        _ => Err(PipelineError::OtherRank {
            cause: CAUSES[first[1] as usize],
        }),
    }
}

/// What the first rank does and all learn: its result, or that it failed. All ranks must call it.
///
/// What is too large to send, or only the first rank needs, `work` puts where its caller finds it.
///
/// # Errors
/// The error of `work` on the first rank, [`PipelineError::OtherRank`] on the others.
pub fn on_first<C, T>(ranks: &Grid<C>, work: impl FnOnce() -> Result<T>) -> Result<T>
where
    C: Communicator,
    T: Serialize + DeserializeOwned,
{
    on_first_helped(ranks, || (), work)
}

/// As [`on_first`], while the other ranks do `help`, which must end when the first rank's `work` ends, also by an error.
///
/// # Errors
/// As [`on_first`].
pub fn on_first_helped<C, T>(
    ranks: &Grid<C>,
    help: impl FnOnce(),
    work: impl FnOnce() -> Result<T>,
) -> Result<T>
where
    C: Communicator,
    T: Serialize + DeserializeOwned,
{
    let mut done = match ranks.is_first() {
        true => Some(work()),
        false => {
            help();
            None
        }
    };
    if ranks.shape().n_ranks() == 1 {
        return done.take().expect("the only rank is the first");
    }
    let own = done.transpose();
    let own = agreed(ranks, own)?;
    let text = own.as_ref().map(serde_json::to_vec);
    let text = text.map_or(Vec::new(), |text| text.expect("plain data"));
    let mut bytes: Vec<f64> = text.into_iter().map(f64::from).collect();
    ranks.broadcast(&mut bytes);
    Ok(own.unwrap_or_else(|| {
        let text: Vec<u8> = bytes.iter().map(|&byte| byte as u8).collect();
        serde_json::from_slice(&text).expect("what the first rank wrote")
    }))
}

/// Causes in the order of the numbers by which ranks tell each other.
const CAUSES: [Cause; 7] = [
    Cause::Unexpected,
    Cause::Usage,
    Cause::Input,
    Cause::Output,
    Cause::Memory,
    Cause::Signal,
    Cause::Superseded,
];

fn number(cause: Cause) -> usize {
    CAUSES.iter().position(|&c| c == cause).unwrap_or(0)
}

/// Marks an error that only this rank has met while others wait for it: whoever called must end them all.
///
/// # Errors
/// [`PipelineError::Alone`] if there are other ranks.
pub fn alone<T>(ranks: &Ranks, result: Result<T>) -> Result<T> {
    match result {
        Err(error) if ranks.shape().n_ranks() > 1 => Err(PipelineError::Alone {
            rank: ranks.world().rank(),
            source: Box::new(error),
        }),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tangram_comm::Threads;

    /// What every one of three ranks gets from `work`.
    fn three<T: Send>(work: impl Fn(&Grid<Threads>) -> T + Sync) -> Vec<T> {
        let shape = GridShape {
            cells: 3,
            ..GridShape::ONE
        };
        std::thread::scope(|scope| {
            let started: Vec<_> = Threads::ranks(3)
                .into_iter()
                .map(|world| {
                    let work = &work;
                    scope.spawn(move || work(&Grid::new(world, shape, Reduce::Fast).unwrap()))
                })
                .collect();
            started.into_iter().map(|r| r.join().unwrap()).collect()
        })
    }

    #[test]
    fn all_ranks_learn_what_the_first_did() {
        let learned = three(|ranks| {
            let name = on_first(ranks, || Ok(("grid".to_owned(), 0.1f64)));
            name.map_err(|e| e.to_string())
        });
        assert_eq!(learned, vec![Ok(("grid".to_owned(), 0.1)); 3]);
    }

    #[test]
    fn an_error_of_the_first_rank_ends_all_with_its_cause() {
        let usage = || Err::<(), _>(PipelineError::Usage("no".to_owned()));
        let errors = three(|ranks| on_first(ranks, usage).unwrap_err());
        assert_eq!(crate::error::full_text(&errors[0]), "rank 0: no");
        for error in &errors {
            assert_eq!(error.cause(), Cause::Usage);
        }
        assert!(matches!(errors[2], PipelineError::OtherRank { .. }));
    }

    #[test]
    fn of_several_that_fail_the_first_rank_says_why() {
        let errors = three(|ranks| {
            let own = match ranks.world().rank() {
                0 => Ok(()),
                rank => Err(PipelineError::Usage(format!("of {rank}"))),
            };
            agreed(ranks, own).unwrap_err()
        });
        let told: Vec<String> = errors.iter().map(|e| crate::error::full_text(e)).collect();
        let other = "another rank stopped";
        assert_eq!(told, [other, "rank 1: of 1", other]);
    }
}
