//! Keeping snapshots, which all ranks do together.

use crate::cost::tally::Tally;
use crate::ranks::Ranks;
use crate::{Keeper, MapError, Snapshot, Wish};
use tangram_comm::Communicator;

/// Asks all ranks, and keeps a snapshot if one wishes it.
///
/// # Errors
/// [`MapError::Stopped`] if all are to stop, [`MapError::Keep`] if it cannot be kept then; that of `snapshot`.
pub(crate) fn keep(
    keeper: &mut dyn Keeper,
    ranks: Ranks<'_, impl Communicator>,
    passes: usize,
    snapshot: impl FnOnce() -> Result<Snapshot, MapError>,
) -> Result<(), MapError> {
    let wish = keeper.wish();
    fulfil(wish, keeper, ranks, passes, snapshot)
}

/// As [`keep`], at the end of the training.
pub(crate) fn keep_at_end(
    keeper: &mut dyn Keeper,
    ranks: Ranks<'_, impl Communicator>,
    passes: usize,
    snapshot: impl FnOnce() -> Result<Snapshot, MapError>,
) -> Result<(), MapError> {
    let wish = keeper.wish_at_end();
    fulfil(wish, keeper, ranks, passes, snapshot)
}

/// Carries out the strongest wish of any rank, on all ranks.
fn fulfil(
    wish: Wish,
    keeper: &mut dyn Keeper,
    ranks: Ranks<'_, impl Communicator>,
    passes: usize,
    snapshot: impl FnOnce() -> Result<Snapshot, MapError>,
) -> Result<(), MapError> {
    let mut wish = [f64::from(wish as u8)];
    ranks.grid.max_of_all(&mut wish);
    if wish[0] == 0.0 {
        return Ok(());
    }
    if wish[0] > f64::from(Wish::Save as u8) {
        return Err(keep_and_stop(keeper, passes, &snapshot()?));
    }
    if let Err(error) = keeper.save(&snapshot()?) {
        keeper.lost(&*error);
    }
    Ok(())
}

/// Declares what [`keep`] exchanges.
pub(crate) fn declare(tally: &mut Tally<'_>) {
    tally.max_of_all(1);
}

/// Keeps a snapshot on all ranks and ends the training: [`MapError::Stopped`], or [`MapError::Keep`] if it cannot be kept.
pub(crate) fn keep_and_stop(
    keeper: &mut dyn Keeper,
    passes: usize,
    snapshot: &Snapshot,
) -> MapError {
    match keeper.save(snapshot) {
        Ok(()) => MapError::Stopped { passes },
        Err(error) => MapError::Keep(error),
    }
}
