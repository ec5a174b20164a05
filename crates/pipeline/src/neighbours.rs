//! Which voxels are neighbours, from their coordinates.

use crate::choices::positive;
use crate::error::{PipelineError, Result};
use crate::listener::Listener;
use crate::wording::count;
use ndarray::ArrayView2;
use std::fmt::{self, Display};
use std::str::FromStr;
use tangram_core::{Needs, Neighbours, Objective, PlacesError, Term};
use tangram_store::ExpressionFile;

/// Which voxels are neighbours: written `lattice`, `nearest:K` or `radius:R`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NeighbourChoice {
    /// Those next to each other on a lattice.
    Lattice,
    /// This number of nearest ones.
    Nearest(usize),
    /// Those not further away, in units of the coordinates.
    Radius(f64),
}

impl Display for NeighbourChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lattice => f.write_str("lattice"),
            Self::Nearest(k) => write!(f, "nearest:{k}"),
            Self::Radius(radius) => write!(f, "radius:{radius}"),
        }
    }
}

impl FromStr for NeighbourChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write lattice, nearest:K or radius:R, such as nearest:6".to_owned();
        match text.split_once(':') {
            None if text == "lattice" => Ok(Self::Lattice),
            Some(("nearest", k)) => match k.parse() {
                Ok(k) if k > 0 => Ok(Self::Nearest(k)),
                _ => Err(wrong()),
            },
            Some(("radius", radius)) => positive(radius).map(Self::Radius).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

impl NeighbourChoice {
    /// The graph of voxels at these places, (voxels, 2 or 3).
    pub(crate) fn of(self, places: ArrayView2<'_, f64>) -> Result<Neighbours, PlacesError> {
        match self {
            Self::Lattice => Neighbours::lattice(places),
            Self::Nearest(k) => Neighbours::nearest(places, k),
            Self::Radius(radius) => Neighbours::within(places, radius),
        }
    }
}

/// The graph of all voxels, if a term of the loss compares neighbours.
///
/// # Errors
/// [`PipelineError::Usage`] if nothing says which voxels are neighbours; [`PipelineError::NoPlaces`] or [`PipelineError::Places`] if the
/// voxels have no coordinates, or none that give neighbours.
pub(crate) fn neighbours(
    choice: Option<NeighbourChoice>,
    objective: &Objective,
    voxels: &ExpressionFile,
) -> Result<Option<Neighbours>> {
    let mut terms = objective.terms().map(|(term, _)| term);
    let compares = |term: &Term| {
        let needs = term.about().needs;
        matches!(needs, Needs::Neighbours | Needs::Types)
    };
    let Some(term) = terms.find(compares) else {
        return Ok(None);
    };
    let Some(choice) = choice else {
        return refuse_without_neighbours(term.about().setting);
    };
    let path = voxels.dataset().path().to_owned();
    let Some((places, _)) = voxels.dataset().coordinates()? else {
        let setting = term.about().setting;
        return Err(PipelineError::NoPlaces { path, setting });
    };
    let graph = choice.of(places.view());
    let graph = graph.map_err(|reason| PipelineError::Places { path, reason })?;
    Ok(Some(graph))
}

/// The error where a term compares neighbouring voxels, and no one says which are neighbours.
pub(crate) fn refuse_without_neighbours<T>(setting: &str) -> Result<T> {
    Err(PipelineError::Usage(format!(
        "--{setting} compares neighbouring voxels: say which are neighbours by --neighbours lattice, nearest:K or radius:R"
    )))
}

/// Says how many neighbours voxels have.
pub(crate) fn tell(
    choice: Option<NeighbourChoice>,
    graph: Option<&Neighbours>,
    listener: &dyn Listener,
) -> Result<()> {
    let Some(graph) = graph else {
        if let Some(choice) = choice {
            listener.warn(format_args!(
                "--neighbours {choice} has no effect: no term of the loss compares neighbours, which --lambda-neighbourhood would"
            ));
        }
        return Ok(());
    };
    let n_voxels = graph.n_voxels();
    let mean = graph.n_pairs() as f64 / n_voxels as f64;
    listener.say(format_args!("a voxel has {mean:.1} neighbours on average"))?;
    let alone = (0..n_voxels).filter(|&j| graph.of(j).next().is_none());
    match alone.count() {
        0 => {}
        n => listener.warn(format_args!("{} without any neighbour", count(n, "voxel"))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_read_back_as_written() {
        for text in ["lattice", "nearest:6", "radius:2.5"] {
            assert_eq!(text.parse::<NeighbourChoice>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "nearest",
            "nearest:0",
            "nearest:1.5",
            "radius:0",
            "lattice:2",
        ] {
            assert!(text.parse::<NeighbourChoice>().is_err(), "{text}");
        }
    }
}
