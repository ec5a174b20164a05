//! Weights as settings: one key a term, named as the term's [setting](super::About::setting).

use super::{DefaultWeight, Objective, Shown, Term};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::Index;

const N_TERMS: usize = Term::ALL.len();

/// The keys, in the order of the terms.
const SETTINGS: [&str; N_TERMS] = {
    let mut settings = [""; N_TERMS];
    let mut i = 0;
    while i < N_TERMS {
        settings[i] = Term::ALL[i].about().setting;
        i += 1;
    }
    settings
};

/// Weights λ as they are given; `None` for a term that was given none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GivenWeights {
    weights: [Option<f64>; N_TERMS],
}

impl GivenWeights {
    /// The same with the weight of one term.
    #[must_use]
    pub fn with(mut self, term: Term, weight: Option<f64>) -> Self {
        self.weights[term as usize] = weight;
        self
    }
}

impl Index<Term> for GivenWeights {
    type Output = Option<f64>;

    fn index(&self, term: Term) -> &Option<f64> {
        &self.weights[term as usize]
    }
}

impl Serialize for GivenWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = SETTINGS.into_iter().zip(self.weights);
        serializer.collect_map(all.filter_map(|(setting, weight)| Some((setting, weight?))))
    }
}

impl<'de> Deserialize<'de> for GivenWeights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A struct of known fields, so that it can be flattened into one that refuses unknown fields.
        deserializer.deserialize_struct("weights", &SETTINGS, BySetting)
    }
}

struct BySetting;

impl<'de> Visitor<'de> for BySetting {
    type Value = GivenWeights;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("weights by their settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<GivenWeights, A::Error> {
        let mut given = GivenWeights::default();
        while let Some(key) = map.next_key::<String>()? {
            let place = SETTINGS.iter().position(|setting| *setting == key);
            let place = place.ok_or_else(|| A::Error::unknown_field(&key, &SETTINGS))?;
            given.weights[place] = Some(map.next_value()?);
        }
        Ok(given)
    }
}

/// A weight of 0 is not written if a term that was given none has that weight anyway, whatever the goal, and is not
/// [always shown](Shown::Always).
impl Serialize for Objective {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = |term: &Term| {
            let about = term.about();
            let by_default = about.default == DefaultWeight::Is(0.0);
            self[*term] != 0.0 || !by_default || about.shown == Shown::Always
        };
        let all = Term::ALL.into_iter().filter(written);
        let given = |given: GivenWeights, term| given.with(term, Some(self[term]));
        all.fold(GivenWeights::default(), given)
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Objective {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = GivenWeights::deserialize(deserializer)?;
        let mut objective = Self::NONE;
        for term in Term::ALL {
            let about = term.about();
            match (given[term], about.shown) {
                (Some(weight), _) => objective = objective.with(term, weight),
                (None, Shown::Always) => return Err(D::Error::missing_field(about.setting)),
                (None, Shown::WhenComputed) => {}
            }
        }
        Ok(objective)
    }
}
