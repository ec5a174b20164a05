//! The optimiser, with a state that can be saved.

use crate::torch::parameters::Parameters;
use tch::Tensor;

/// Decay of the means of gradients and of their squares, and what keeps a division finite; Kingma and Ba 2015.
const DECAY: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// Adam's running means, one of each for every trained parameter.
#[derive(Debug)]
pub struct Adam {
    steps: i32,
    moments: Vec<Moment>,
}

#[derive(Debug)]
struct Moment {
    name: String,
    weight: Tensor,
    mean: Tensor,
    square: Tensor,
}

impl Adam {
    /// At rest, over the parameters that are trained now.
    #[must_use]
    pub fn new(parameters: &Parameters) -> Self {
        let moment = |parameter: &crate::torch::parameters::Parameter| Moment {
            name: parameter.name.clone(),
            weight: parameter.value.shallow_clone(),
            mean: parameter.value.detach().zeros_like(),
            square: parameter.value.detach().zeros_like(),
        };
        Self {
            steps: 0,
            moments: parameters.trained().map(moment).collect(),
        }
    }

    /// Goes down the gradient that the parameters have.
    pub fn step(&mut self, rate: f64) {
        self.steps += 1;
        let corrected = DECAY.map(|decay| 1.0 - decay.powi(self.steps));
        tch::no_grad(|| {
            for moment in &mut self.moments {
                let gradient = moment.weight.grad();
                if !gradient.defined() {
                    continue;
                }
                let _ = moment.mean.lerp_(&gradient, 1.0 - DECAY[0]);
                let _ = moment.square.lerp_(&gradient.square(), 1.0 - DECAY[1]);
                let size = (&moment.square / corrected[1]).sqrt() + EPSILON;
                moment.weight -= &moment.mean / size * (rate / corrected[0]);
            }
        });
    }

    /// Its state under names.
    pub(crate) fn state(&self) -> impl Iterator<Item = (String, &Tensor)> {
        self.moments.iter().flat_map(|moment| {
            let [mean, square] = names(&moment.name);
            [(mean, &moment.mean), (square, &moment.square)]
        })
    }

    /// Takes a state back; `false` if something is missing, or of another shape.
    pub(crate) fn restore<'a>(
        &mut self,
        steps: usize,
        found: impl Fn(&str) -> Option<&'a Tensor>,
    ) -> bool {
        self.steps = steps as i32;
        tch::no_grad(|| {
            self.moments.iter_mut().all(|moment| {
                let [mean, square] = names(&moment.name);
                let same = |a: &Tensor, b: &Tensor| a.size() == b.size();
                match (found(&mean), found(&square)) {
                    (Some(mean), Some(square))
                        if same(mean, &moment.mean) && same(square, &moment.square) =>
                    {
                        moment.mean.copy_(mean);
                        moment.square.copy_(square);
                        true
                    }
                    _ => false,
                }
            })
        })
    }
}

/// Beginning of the names of the state.
pub(crate) const STATE: &str = "adam.";

fn names(parameter: &str) -> [String; 2] {
    ["mean", "square"].map(|what| format!("{STATE}{what}.{parameter}"))
}
