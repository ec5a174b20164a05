//! The weights of the loss: what follows for the terms that were given none.

use crate::choices::{FilterChoice, Goal, PriorChoice};
use crate::error::{PipelineError, Result};
use crate::neighbours::{NeighbourChoice, refuse_without_neighbours};
use tangram_core::{Convention, DefaultWeight, GivenWeights, Needs, Objective, Term};

/// What the settings give the terms to compare predictions with.
#[derive(Debug, Clone, Copy)]
pub struct Available<'a> {
    /// Where the density prior comes from.
    pub prior: &'a PriorChoice,
    /// Which voxels are neighbours.
    pub neighbours: Option<NeighbourChoice>,
    /// Whether the types of the cells are known.
    pub types: bool,
    /// How a filter finds the cells that it keeps.
    pub filter: Option<FilterChoice>,
    /// What is meant by the terms.
    pub convention: Convention,
}

impl Default for Available<'_> {
    fn default() -> Self {
        Self {
            prior: &PriorChoice::Rna,
            neighbours: None,
            types: false,
            filter: None,
            convention: Convention::Package,
        }
    }
}

/// λ of every term: as given, or its default. A term whose data the settings leave out gets 0.
///
/// # Errors
/// [`PipelineError::Usage`] if a weight is given to such a term, no term compares genes, or the goal's weights are for means of cosines
/// where sums are asked for.
pub fn resolved(given: &GivenWeights, goal: Goal, available: &Available<'_>) -> Result<Objective> {
    let paper = available.convention == Convention::Paper;
    if paper && goal != Goal::Package {
        return usage(
            "--objective paper sums cosines, and the weights of --goal impute, place and compose were measured for means of them: leave --goal out, \
             or take --objective package"
                .to_owned(),
        );
    }
    let mut objective = Objective::NONE;
    for term in Term::ALL {
        let about = term.about();
        let by_default = match about.default {
            DefaultWeight::Is(weight) => weight,
            // Both cosines have weight 1 in equations 1 and 2.
            DefaultWeight::OfGoal if paper && term == Term::Voxel => 1.0,
            DefaultWeight::OfGoal => goal.settings().weights[term],
        };
        let weight = match about.needs {
            Needs::Prior if *available.prior == PriorChoice::None => match given[term] {
                Some(weight) if weight > 0.0 => return refuse_without_prior(about.setting),
                _ => 0.0,
            },
            Needs::Neighbours if available.neighbours.is_none() => match given[term] {
                Some(weight) if weight > 0.0 => return refuse_without_neighbours(about.setting),
                _ => 0.0,
            },
            Needs::Types if available.neighbours.is_none() || !available.types => {
                match given[term] {
                    Some(weight) if weight > 0.0 => return refuse_without_types(about.setting),
                    _ => 0.0,
                }
            }
            Needs::PackageFilter if available.filter != Some(FilterChoice::Package) => {
                match given[term] {
                    Some(weight) if weight > 0.0 => return refuse_without_filter(about.setting),
                    _ => 0.0,
                }
            }
            _ => given[term].unwrap_or(by_default),
        };
        objective = objective.with(term, weight);
    }
    if !objective
        .terms()
        .any(|(term, _)| term.about().needs.expression())
    {
        return usage(
            "the weights of all terms that compare genes are 0 (--lambda-g1, --lambda-g2 and others): nothing would be learned from the genes"
                .to_owned(),
        );
    }
    Ok(objective)
}

fn refuse_without_prior<T>(setting: &str) -> Result<T> {
    usage(format!(
        "--{setting} weighs the density prior, but --prior none gives none: leave one of them out"
    ))
}

fn refuse_without_types<T>(setting: &str) -> Result<T> {
    usage(format!(
        "--{setting} compares how many cells of a type neighbouring voxels have: name the column of the cells' obs that tells their types, \
         --island-types obs:COLUMN, and say which voxels are neighbours, by --neighbours lattice, nearest:K or radius:R"
    ))
}

fn refuse_without_filter<T>(setting: &str) -> Result<T> {
    usage(format!(
        "--{setting} weighs the package's filter: add --mode constrained --solver adam, or leave it out"
    ))
}

fn usage<T>(text: String) -> Result<T> {
    Err(PipelineError::Usage(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_settings_leave_out_has_no_weight() {
        let none = GivenWeights::default();
        let weights = |given: &GivenWeights, prior, neighbours| {
            let available = Available {
                prior: &prior,
                neighbours,
                ..Available::default()
            };
            resolved(given, Goal::Impute, &available)
        };
        let by_default = weights(&none, PriorChoice::Rna, None).unwrap();
        assert_eq!(by_default[Term::Gene], 1.0);
        assert_eq!(by_default[Term::CompositionScaled], 3.0);
        assert_eq!(by_default[Term::Density], 1.0);
        // A weight that is given takes the place of the goal's; the goal's other weights stay.
        let sharper = none.with(Term::CompositionScaled, Some(0.0));
        let weights_of = |goal, given| resolved(given, goal, &Available::default()).unwrap();
        assert_eq!(
            weights_of(Goal::Impute, &sharper),
            weights_of(Goal::Package, &none)
        );
        let place = weights_of(Goal::Place, &none.with(Term::Gene, Some(0.5)));
        assert_eq!(place[Term::Gene], 0.5);
        assert_eq!(
            (place[Term::GeneRoot], place[Term::Composition]),
            (1.0, 20.0)
        );
        let without = weights(&none, PriorChoice::None, None).unwrap();
        assert_eq!(without, by_default.with(Term::Density, 0.0));

        let given = none.with(Term::Neighbourhood, Some(0.5));
        let told = weights(&given, PriorChoice::Rna, None).unwrap_err();
        assert!(told.to_string().contains("--neighbours"), "{told}");
        let with = weights(&given, PriorChoice::Rna, Some(NeighbourChoice::Lattice)).unwrap();
        assert_eq!(with, by_default.with(Term::Neighbourhood, 0.5));

        let count = none.with(Term::Count, Some(2.0));
        let told = weights(&count, PriorChoice::Rna, None).unwrap_err();
        assert!(told.to_string().contains("--mode constrained"), "{told}");
        let package = Available {
            filter: Some(FilterChoice::Package),
            ..Available::default()
        };
        let with = resolved(&count, Goal::Impute, &package).unwrap();
        assert_eq!((with[Term::Count], with[Term::Undecided]), (2.0, 1.0));

        let islands = none.with(Term::Islands, Some(0.5));
        let told = weights(&islands, PriorChoice::Rna, Some(NeighbourChoice::Lattice)).unwrap_err();
        assert!(told.to_string().contains("--island-types"), "{told}");
        let typed = Available {
            neighbours: Some(NeighbourChoice::Lattice),
            types: true,
            ..Available::default()
        };
        let with = resolved(&islands, Goal::Impute, &typed).unwrap();
        assert_eq!(with[Term::Islands], 0.5);

        let paper = Available {
            convention: Convention::Paper,
            ..Available::default()
        };
        assert!(resolved(&none, Goal::Place, &paper).is_err());
        let with = resolved(&none, Goal::Package, &paper).unwrap();
        assert_eq!((with[Term::Gene], with[Term::Voxel]), (1.0, 1.0));

        // A term that compares genes is enough, whichever it is.
        let only = given
            .with(Term::Gene, Some(0.0))
            .with(Term::CompositionScaled, Some(0.0));
        assert!(weights(&only, PriorChoice::Rna, Some(NeighbourChoice::Lattice)).is_ok());
        let nothing = only.with(Term::Neighbourhood, None);
        assert!(weights(&nothing, PriorChoice::Rna, None).is_err());
    }
}
