//! One number for every term: weights, and values.

use super::Term;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Index;

const N_TERMS: usize = Term::ALL.len();

/// Weights λ of the loss terms; a term whose weight is 0 is not computed.
///
/// ```
/// use tangram_core::{Objective, Term};
///
/// let objective = Objective::NONE.with(Term::Gene, 1.0).with(Term::Density, 1.0);
/// assert_eq!(objective[Term::Density], 1.0);
/// assert_eq!(objective[Term::Voxel], 0.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    weights: [f64; N_TERMS],
    convention: Convention,
}

/// How cosines are added up, and which way round densities are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Convention {
    /// The published package's: means over genes and voxels, and KL(d ‖ q).
    #[default]
    Package,
    /// Biancalani et al. 2021, Methods, equations 1 and 2: sums over genes and voxels, and KL(q ‖ d).
    Paper,
}

impl Convention {
    /// Whether it is that of settings that name none.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What a term's mean is multiplied by beside its weight, with V voxels and K genes: the number of what it is the mean of where
    /// sums are asked for, and 1 for all other terms.
    pub(super) fn factor(self, term: Term, (n_voxels, n_genes): (usize, usize)) -> f64 {
        match (self, term) {
            (Self::Paper, Term::Gene) => n_genes as f64,
            (Self::Paper, Term::Voxel) => n_voxels as f64,
            _ => 1.0,
        }
    }
}

impl Objective {
    /// No term.
    pub const NONE: Self = Self {
        weights: [0.0; N_TERMS],
        convention: Convention::Package,
    };

    /// The same with another weight of one term.
    #[must_use]
    pub const fn with(mut self, term: Term, weight: f64) -> Self {
        self.weights[term as usize] = weight;
        self
    }

    /// The same by another convention.
    #[must_use]
    pub const fn by(mut self, convention: Convention) -> Self {
        self.convention = convention;
        self
    }

    /// The convention of its terms. It is no part of the weights as they are written: settings name it beside them.
    #[must_use]
    pub const fn convention(&self) -> Convention {
        self.convention
    }

    /// Terms whose weight is not 0, with that.
    pub fn terms(&self) -> impl Iterator<Item = (Term, f64)> + use<> {
        let all = Term::ALL.into_iter().zip(self.weights);
        all.filter(|(_, weight)| *weight != 0.0)
    }
}

impl Index<Term> for Objective {
    type Output = f64;

    fn index(&self, term: Term) -> &f64 {
        &self.weights[term as usize]
    }
}

/// Values of the terms without their weights; `None` where a term was not computed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TermValues {
    values: [Option<f64>; N_TERMS],
}

impl TermValues {
    /// Sets the value of a term.
    pub fn set(&mut self, term: Term, value: f64) {
        self.values[term as usize] = Some(value);
    }
}

impl Index<Term> for TermValues {
    type Output = Option<f64>;

    fn index(&self, term: Term) -> &Option<f64> {
        &self.values[term as usize]
    }
}

/// The term of a name in files.
fn named<E: Error>(name: &str) -> Result<Term, E> {
    let mut all = Term::ALL.into_iter();
    all.find(|term| term.about().name == name)
        .ok_or_else(|| E::custom(format_args!("`{name}` is no term of the loss")))
}

/// A map of names to numbers.
struct ByName<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for ByName<V> {
    type Value = Vec<(Term, V)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers by the names of terms")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            found.push((named(&name)?, map.next_value()?));
        }
        Ok(found)
    }
}

impl Serialize for TermValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = Term::ALL.into_iter().zip(self.values);
        serializer.collect_map(all.filter_map(|(term, value)| Some((term.about().name, value?))))
    }
}

impl<'de> Deserialize<'de> for TermValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = deserializer.deserialize_map(ByName::<f64>(PhantomData))?;
        let mut values = Self::default();
        found
            .into_iter()
            .for_each(|(term, value)| values.set(term, value));
        Ok(values)
    }
}
