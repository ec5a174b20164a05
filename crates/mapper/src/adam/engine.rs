//! The epochs of Adam, by the native kernels or on a device.

use crate::adam::begin::AdamBegin;
use crate::adam::cpu_pass::Pass;
use crate::adam::state::AdamState;
use crate::adam::torch_pass::DeviceAdam;
use crate::cpu::adam_row::AdamStep;
use crate::cpu::products::Layout;
use crate::number::Number;
use crate::ranks::Ranks;
use crate::snapshot::Snapshot;
use crate::{AdamSettings, Engine, MapError};
use ndarray::Array2;
use tangram_comm::Communicator;
use tangram_core::{SparseRows, Term};

/// Logits and moments, and who steps them.
pub(crate) enum Epochs<'a, T> {
    Native {
        pass: Box<Pass<T>>,
        state: AdamState<T>,
    },
    Device(Box<DeviceAdam<'a, T>>),
}

impl<'a, T: Number> Epochs<'a, T> {
    /// * `cells`: S of this rank, (cells, genes)
    pub(crate) fn new(
        settings: &AdamSettings,
        cells: &'a SparseRows,
        begin: &AdamBegin<'_>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<Self, MapError> {
        if let Engine::Torch(engine) = &settings.engine {
            ranks.refuse_exact()?;
            let device = DeviceAdam::new(engine, settings, cells, begin, ranks)?;
            return Ok(Self::Device(Box::new(device)));
        }
        let shares = ranks.shares;
        let state = match begin {
            AdamBegin::At(initial) => {
                let logits = initial.part::<T>(settings.seed, shares)?;
                AdamState::new(logits, shares.voxels.len())
            }
            AdamBegin::Resume(snapshot) => {
                let size = (shares.cells.len(), shares.voxels.len());
                AdamState::resumed(snapshot, size)?
            }
        };
        let pass = Box::new(Pass::new(cells, settings.precision, ranks)?);
        Ok(Self::Native { pass, state })
    }

    /// A with the density as its last gene, (genes + 1, voxels); the loss is evaluated in its place.
    pub(crate) fn predicted(&mut self) -> &mut Array2<f64> {
        match self {
            Self::Native { pass, .. } => &mut pass.predicted,
            Self::Device(device) => &mut device.predicted,
        }
    }

    /// A and q of the logits as they are; gives the entropy.
    pub(crate) fn predict(&mut self, ranks: Ranks<'_, impl Communicator>) -> Result<f64, MapError> {
        match self {
            Self::Native { pass, state } => Ok(pass.predict(state, ranks)),
            Self::Device(device) => device.predict(ranks),
        }
    }

    /// Step `epoch` (from 1), then A and q of the new logits. Gives the entropy.
    pub(crate) fn step(
        &mut self,
        epoch: usize,
        settings: &AdamSettings,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<f64, MapError> {
        match self {
            Self::Native { pass, state } => {
                let entropy = settings.objective[Term::Entropy];
                let step = AdamStep::new(epoch, settings.learning_rate, entropy);
                Ok(pass.step(state, step, ranks))
            }
            Self::Device(device) => device.step(epoch, ranks),
        }
    }

    /// What another training needs to go on.
    pub(crate) fn snapshot(&mut self, snapshot: Snapshot) -> Result<Snapshot, MapError> {
        let state = match self {
            Self::Native { state, .. } => state.clone(),
            Self::Device(device) => device.state()?,
        };
        Ok(state.into_snapshot(snapshot))
    }

    /// The state in the end, with the rows' norms.
    pub(crate) fn into_state(
        self,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<AdamState<T>, MapError> {
        let mut state = match self {
            Self::Native { state, .. } => return Ok(state),
            Self::Device(mut device) => device.state()?,
        };
        let (n_cells, n_voxels, most) = (
            ranks.shares.cells.len(),
            ranks.shares.voxels.len(),
            ranks.most(),
        );
        // Density and precision do not matter: there is no product.
        let precision = crate::Precision::F32;
        let layout = Layout::shared::<T>(n_cells, n_voxels, most, 0.0, precision);
        let stride = layout.stride::<T>();
        let mut rows = vec![T::default(); layout.cells_per_block * stride];
        for first in (0..n_cells).step_by(layout.cells_per_block) {
            let cells = first..n_cells.min(first + layout.cells_per_block);
            let rows = &mut rows[..cells.len() * stride];
            state.softmax(cells, stride, rows, ranks);
        }
        Ok(state)
    }
}
