//! The row softmax on a device.

use crate::MapError;
use crate::ranks::Ranks;
use tangram_comm::Communicator;
use tch::{Kind, Tensor};

/// How the softmax of a block is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Softmax {
    /// Rows are whole; only P is needed.
    Plain,
    /// Rows are whole; their entropies are needed as well.
    WithEntropy,
    /// The voxels of a row are on several ranks.
    Shared,
}

impl Softmax {
    pub(crate) fn of(entropy: f64, ranks: Ranks<'_, impl Communicator>) -> Self {
        match (ranks.grid.shape().voxels, entropy != 0.0) {
            (1, false) => Self::Plain,
            (1, true) => Self::WithEntropy,
            _ => Self::Shared,
        }
    }

    /// Writes P of a block of logits, (cells, voxels), to `p`, of the same kind; gives the rows' logarithms of norms, where voxels are
    /// shared, and adds the rows' entropies to `entropy` where they are known.
    pub(crate) fn run(
        self,
        logits: &Tensor,
        p: &Tensor,
        entropy: &mut Tensor,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<Option<Tensor>, MapError> {
        match self {
            Self::Plain => {
                let _ = logits.f_softmax_int_out(p, -1, None)?;
                Ok(None)
            }
            Self::WithEntropy => {
                let logs = logits.f_log_softmax(-1, None)?;
                let _ = logs.f_exp_out(p)?;
                let terms = logs.f_mul(p)?;
                let _ = entropy.f_sub_(&terms.f_sum(Kind::Double)?)?;
                Ok(None)
            }
            Self::Shared => shared(logits, p, entropy, ranks).map(Some),
        }
    }
}

/// Softmax over the voxels of all ranks; sums of rows are exchanged through host memory.
fn shared(
    logits: &Tensor,
    p: &Tensor,
    entropy: &mut Tensor,
    ranks: Ranks<'_, impl Communicator>,
) -> Result<Tensor, MapError> {
    let mut largest = to_host(&logits.f_amax([-1].as_slice(), false)?)?;
    ranks.grid.max_rows(&mut largest);
    let largest = to_device(&largest, logits)?;
    let below = logits.f_sub(&largest)?;
    let _ = below.f_exp_out(p)?;
    let sums = p.f_sum_dim_intlist([-1].as_slice(), true, Kind::Double)?;
    let weighted = below.f_mul(p)?;
    let weighted = weighted.f_sum_dim_intlist([-1].as_slice(), true, Kind::Double)?;
    let mut both = to_host(&Tensor::f_cat(&[&sums, &weighted], 1)?)?;
    ranks.grid.sum_rows(&mut both);
    let rows: f64 = both.chunks_exact(2).map(|s| s[0].ln() - s[1] / s[0]).sum();
    let _ = entropy.f_add_scalar_(rows)?;
    let sums: Vec<f64> = both.chunks_exact(2).map(|s| s[0]).collect();
    let sums = Tensor::from_slice(&sums).f_view([-1, 1])?;
    let norms = largest.f_add(&to_kind_of(&sums.f_log()?, logits)?)?;
    let _ = p.f_div_out(p, &to_kind_of(&sums, logits)?)?;
    Ok(norms)
}

/// One number for every row, in double precision.
pub(crate) fn to_host(rows: &Tensor) -> Result<Vec<f64>, MapError> {
    let rows = rows
        .f_to_device(tch::Device::Cpu)?
        .f_to_kind(Kind::Double)?;
    Ok(Vec::try_from(rows.f_reshape([-1].as_slice())?)?)
}

/// One number for every row, (rows, 1), as numbers like those of `like`.
pub(crate) fn to_device(rows: &[f64], like: &Tensor) -> Result<Tensor, MapError> {
    to_kind_of(&Tensor::from_slice(rows).f_view([-1, 1])?, like)
}

fn to_kind_of(rows: &Tensor, like: &Tensor) -> Result<Tensor, MapError> {
    Ok(rows.f_to_kind(like.kind())?.f_to_device(like.device())?)
}
