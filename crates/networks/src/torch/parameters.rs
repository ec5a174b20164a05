//! The named numbers of a network: weights that are trained, and statistics that batch normalisation keeps.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::f64::consts::TAU;
use tch::{Device, Tensor};

/// How a tensor begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Initial {
    /// Normal numbers of variance 2 / (inputs of a unit); He et al. 2015, eq. 10.
    He,
    /// Uniform numbers within ± 1 / √(inputs of a unit).
    Uniform,
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
}

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The optimiser changes it.
    Trained,
    /// It is a weight that the optimiser leaves as it is.
    Frozen,
    /// A running mean or variance of batch normalisation.
    Statistic,
}

/// A tensor under its name.
#[derive(Debug)]
pub struct Parameter {
    /// Its name, as torchvision would call it.
    pub name: String,
    /// Its values; layers hold handles of the same values.
    pub value: Tensor,
    /// What it is for.
    pub role: Role,
}

/// All tensors of a network, in the order in which its layers were made.
#[derive(Debug)]
pub struct Parameters {
    device: Device,
    seed: u64,
    all: Vec<Parameter>,
}

impl Parameters {
    /// None yet.
    ///
    /// * `seed`: of the random beginnings; the same seed gives the same numbers on every device
    #[must_use]
    pub fn new(seed: u64, device: Device) -> Self {
        Self {
            device,
            seed,
            all: Vec::new(),
        }
    }

    /// Where the tensors are.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Parameter] {
        &self.all
    }

    /// Those that the optimiser changes.
    pub fn trained(&self) -> impl Iterator<Item = &Parameter> {
        self.all.iter().filter(|p| p.role == Role::Trained)
    }

    /// Sets the gradients to 0, to which a loss adds its own.
    pub fn clear_gradients(&self) {
        self.trained()
            .for_each(|p| p.value.shallow_clone().zero_grad());
    }

    /// Number of weights, those that are frozen included.
    #[must_use]
    pub fn n_weights(&self) -> usize {
        let weights = self.all.iter().filter(|p| p.role != Role::Statistic);
        weights.map(|p| p.value.numel()).sum()
    }

    /// A new weight.
    pub(crate) fn weight(&mut self, name: String, shape: &[i64], initial: Initial) -> Tensor {
        self.add(name, shape, initial, Role::Trained)
    }

    /// A new statistic.
    pub(crate) fn statistic(&mut self, name: String, shape: &[i64], initial: Initial) -> Tensor {
        self.add(name, shape, initial, Role::Statistic)
    }

    fn add(&mut self, name: String, shape: &[i64], initial: Initial, role: Role) -> Tensor {
        debug_assert!(self.all.iter().all(|p| p.name != name), "{name} twice");
        let n: i64 = shape.iter().product();
        let inputs = shape.iter().skip(1).product::<i64>().max(1) as f64;
        // A stream of its own for every tensor: adding a layer leaves the numbers of others as they are.
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.all.len() as u64 + 1);
        let values: Vec<f32> = match initial {
            Initial::Zeros => vec![0.0; n as usize],
            Initial::Ones => vec![1.0; n as usize],
            Initial::He => normals(&mut rng, n as usize, (2.0 / inputs).sqrt()),
            Initial::Uniform => {
                let most = 1.0 / inputs.sqrt();
                let uniform = |_| rng.random_range(-most..most) as f32;
                (0..n).map(uniform).collect()
            }
        };
        let value = Tensor::from_slice(&values).reshape(shape).to(self.device);
        let value = value.set_requires_grad(role == Role::Trained);
        self.all.push(Parameter {
            name,
            value: value.shallow_clone(),
            role,
        });
        value
    }

    /// Freezes the weights whose names satisfy `frozen`; statistics follow their layers' mode.
    pub fn freeze(&mut self, frozen: impl Fn(&str) -> bool) {
        let trained = self.all.iter_mut().filter(|p| p.role == Role::Trained);
        for parameter in trained.filter(|p| frozen(&p.name)) {
            parameter.role = Role::Frozen;
            let _ = parameter.value.set_requires_grad(false);
        }
    }
}

/// Normal numbers by Box and Muller, two from two uniform ones.
fn normals(rng: &mut ChaCha8Rng, n: usize, deviation: f64) -> Vec<f32> {
    let mut values = Vec::with_capacity(n + 1);
    while values.len() < n {
        let (a, b): (f64, f64) = (rng.random_range(1e-12..1.0), rng.random_range(0.0..TAU));
        let length = deviation * (-2.0 * a.ln()).sqrt();
        values.extend([(length * b.cos()) as f32, (length * b.sin()) as f32]);
    }
    values.truncate(n);
    values
}
