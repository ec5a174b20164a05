//! The epochs of Adam, by the native kernels or on a device.

use crate::adam::AdamStep;
use crate::device_adam::DeviceAdam;
use crate::lanes::Real;
use crate::products::Layout;
use crate::ranks::Ranks;
use crate::rounding::Rounding;
use crate::snapshot::Snapshot;
use crate::state::AdamState;
use crate::torch_clock::timed;
use crate::train::{AdamBegin, Pass, largest_of_genes};
use crate::{AdamSettings, Engine, MapError};
use ndarray::Array2;
use tangram_comm::Communicator;
use tangram_core::SparseRows;

/// The epochs of a training.
pub(crate) struct Epochs<'a, T> {
    rounding: Rounding,
    way: Way<'a, T>,
}

/// Logits and moments, and who steps them.
enum Way<'a, T> {
    Native {
        pass: Box<Pass<T>>,
        state: AdamState<T>,
    },
    Device(Box<DeviceAdam<'a, T>>),
}

impl<'a, T: Real> Epochs<'a, T> {
    /// * `cells`: S of this rank, (cells, genes)
    pub(crate) fn new(
        settings: &AdamSettings,
        cells: &'a SparseRows,
        begin: &AdamBegin<'_>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<Self, MapError> {
        let precision = settings.precision;
        let rounding = |dense, largest: Option<&[f64]>| {
            Rounding::of_gradients(precision, &settings.engine, dense, largest)
        };
        if let Engine::Torch(engine) = &settings.engine {
            ranks.refuse_exact()?;
            let largest = Rounding::asks_for_largest(precision).then(|| {
                let mut largest = vec![0.0; cells.n_cols()];
                largest_of_genes(cells, &mut largest);
                ranks.grid.max_over_cells(&mut largest);
                largest
            });
            let rounding = rounding(false, largest.as_deref());
            let device = DeviceAdam::new(engine, settings, rounding.clone(), cells, begin, ranks)?;
            let way = Way::Device(Box::new(device));
            return Ok(Self { rounding, way });
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
        let pass = Box::new(Pass::new(cells, settings.precision, ranks));
        Ok(Self {
            rounding: rounding(pass.is_dense(), None),
            way: Way::Native { pass, state },
        })
    }

    /// A with the density as its last gene, (genes + 1, voxels); the loss is evaluated in its place.
    pub(crate) fn predicted(&mut self) -> &mut Array2<f64> {
        match &mut self.way {
            Way::Native { pass, .. } => &mut pass.predicted,
            Way::Device(device) => &mut device.predicted,
        }
    }

    /// A and q of the logits as they are; gives the entropy.
    pub(crate) fn predict(&mut self, ranks: Ranks<'_, impl Communicator>) -> Result<f64, MapError> {
        match &mut self.way {
            Way::Native { pass, state } => Ok(pass.predict(state, ranks)),
            Way::Device(device) => device.predict(ranks),
        }
    }

    /// Step `epoch` (from 1), then A and q of the new logits. Gives the entropy.
    pub(crate) fn step(
        &mut self,
        epoch: usize,
        settings: &AdamSettings,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<f64, MapError> {
        match &mut self.way {
            Way::Native { pass, state } => {
                self.rounding.round(&mut pass.predicted, ranks);
                let entropy = settings.objective.entropy;
                let step = AdamStep::new(epoch, settings.learning_rate, entropy);
                Ok(pass.step(state, step, ranks))
            }
            Way::Device(device) => {
                let common = self.rounding.round(&mut device.predicted, ranks);
                timed(|| device.step(epoch, common, ranks))
            }
        }
    }

    /// What another training needs to go on.
    pub(crate) fn snapshot(&mut self, snapshot: Snapshot) -> Result<Snapshot, MapError> {
        let state = match &mut self.way {
            Way::Native { state, .. } => state.clone(),
            Way::Device(device) => device.state()?,
        };
        Ok(state.into_snapshot(snapshot))
    }

    /// The state in the end, with the rows' norms.
    pub(crate) fn into_state(
        self,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<AdamState<T>, MapError> {
        let mut state = match self.way {
            Way::Native { state, .. } => return Ok(state),
            Way::Device(mut device) => device.state()?,
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
