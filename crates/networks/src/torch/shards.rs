//! The shards of a batch, divided over the ranks.

use crate::NetworkError;
use crate::settings::TrainSettings;
use crate::torch::layers::Mode;
use crate::torch::network::{Batch, Network, numbers};
use crate::torch::parameters::{Parameters, Role};
use std::ops::Range;
use tangram_comm::{Axis, Communicator, Cut, Grid, Reduce};
use tch::Tensor;

/// This rank's shards of every batch.
///
/// Each shard is normalised by its own statistics and has its own loss. The loss of a step, its gradient and the running statistics of
/// batch normalisation are means over all shards, so they do not depend on which rank computes a shard.
pub(crate) struct Shards<'a, C: Communicator> {
    ranks: &'a Grid<C>,
    /// Shards are divided and summed as cells of a mapping are.
    cut: Cut,
    images: u64,
}

impl<'a, C: Communicator> Shards<'a, C> {
    /// # Errors
    /// [`NetworkError::Settings`] if a rank would have none.
    pub(crate) fn new(settings: &TrainSettings, ranks: &'a Grid<C>) -> Result<Self, NetworkError> {
        let (n_shards, n_ranks) = (settings.shards, ranks.shape().n_ranks());
        if n_shards < n_ranks {
            return Err(NetworkError::Settings(format!(
                "{n_ranks} ranks divide the shards of a batch, and --shards is {n_shards}; give --shards {n_ranks} or more. The result depends on that number, not on the ranks"
            )));
        }
        let rank = ranks.world().rank();
        Ok(Self {
            ranks,
            cut: Cut::new(Axis::Cells, n_shards, rank, n_ranks, Reduce::Exact),
            images: (settings.batch / n_shards) as u64,
        })
    }

    /// Leaves the gradient of a step in the trained parameters, and its statistics in those that are kept.
    ///
    /// * `first`: number of the first image
    /// * `batch`: makes the batch of some images
    ///
    /// # Returns
    /// The loss; the same bits on every rank.
    ///
    /// # Errors
    /// That of `batch`; [`NetworkError::OtherRank`] if another rank has one.
    pub(crate) fn gradient(
        &self,
        network: &Network,
        parameters: &Parameters,
        mode: Mode,
        first: u64,
        batch: impl Fn(Range<u64>) -> Result<Batch, NetworkError>,
    ) -> Result<f64, NetworkError> {
        let images = |shard: usize| {
            let first = first + shard as u64 * self.images;
            first..first + self.images
        };
        if self.cut.whole_len() == 1 {
            return Ok(backward(network, parameters, &batch(images(0))?, mode));
        }
        let statistics: Vec<&Tensor> = (parameters.all().iter())
            .filter(|p| p.role == Role::Statistic)
            .map(|p| &p.value)
            .collect();
        let before: Vec<Tensor> = statistics.iter().map(|s| s.copy()).collect();
        let one = |shard: usize| -> Result<Vec<f64>, NetworkError> {
            copy_all(&statistics, &before);
            let loss = backward(network, parameters, &batch(images(shard))?, mode);
            let mut sums = vec![loss];
            let gradients = gradients(parameters);
            for tensor in gradients.iter().chain(statistics.iter().copied()) {
                sums.extend(numbers(tensor));
            }
            Ok(sums)
        };
        let blocks: Result<Vec<Vec<f64>>, _> = self.cut.range().map(one).collect();
        let blocks = agreed(self.ranks, blocks)?;
        let n_shards = self.cut.whole_len() as f64;
        let sums = self.ranks.over_cells(&self.cut, blocks);
        let means: Vec<f32> = (sums[1..].iter())
            .map(|sum| (sum / n_shards) as f32)
            .collect();
        let mut rest = means.as_slice();
        let gradients = gradients(parameters);
        for tensor in gradients.iter().chain(statistics.iter().copied()) {
            let (values, after) = rest.split_at(tensor.numel());
            rest = after;
            copy_into(tensor, &Tensor::from_slice(values).reshape(tensor.size()));
        }
        Ok(sums[0] / n_shards)
    }
}

/// The loss of a batch, and its gradient in the trained parameters.
fn backward(network: &Network, parameters: &Parameters, batch: &Batch, mode: Mode) -> f64 {
    parameters.clear_gradients();
    let loss = network.loss(batch, mode);
    loss.backward();
    loss.double_value(&[])
}

/// Handles of the gradients of the trained parameters.
fn gradients(parameters: &Parameters) -> Vec<Tensor> {
    let all = parameters.trained().map(|p| p.value.grad());
    all.filter(Tensor::defined).collect()
}

fn copy_all(to: &[&Tensor], from: &[Tensor]) {
    to.iter()
        .zip(from)
        .for_each(|(to, from)| copy_into(to, from));
}

fn copy_into(to: &Tensor, from: &Tensor) {
    tch::no_grad(|| to.shallow_clone().copy_(from));
}

/// What this rank has, if no rank has an error. All ranks must call it.
///
/// # Errors
/// This rank's, or [`NetworkError::OtherRank`].
pub(crate) fn agreed<C: Communicator, T>(
    ranks: &Grid<C>,
    own: Result<T, NetworkError>,
) -> Result<T, NetworkError> {
    match (ranks.all_agree(own.is_ok()), own) {
        (false, Ok(_)) => Err(NetworkError::OtherRank),
        (_, own) => own,
    }
}
