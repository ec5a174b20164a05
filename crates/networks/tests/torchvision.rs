//! The encoders against activations of torchvision's, made by `scripts/torchvision_activations.py`.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use serde_json::Value;
use tangram_networks::{
    DenseNet, DenseNetShape, Mode, Parameter, Parameters, ResNet, ResNetShape, Role,
};
use tch::{Device, Kind, Tensor};

/// Sums over thousands of products in f32, in another order; a wrong layer is off by far more.
const RELATIVE: f64 = 2e-4;
/// In training mode the last blocks divide by deviations of eight numbers.
const RELATIVE_TRAINING: f64 = 5e-3;

fn formula(name: &str, shape: &[i64]) -> Vec<f64> {
    let word = u64::from(u32::MAX);
    let salt = name
        .bytes()
        .fold(17_u64, |salt, byte| (salt * 31 + u64::from(byte)) & word);
    let n: i64 = shape.iter().product();
    let number = |i: u64| {
        let x = ((i + salt) * 2_654_435_761) & word;
        let x = ((x ^ (x >> 15)) * 2_246_822_519) & word;
        (x ^ (x >> 13)) as f64 / (word + 1) as f64 - 0.5
    };
    (0..n as u64).map(number).collect()
}

fn fill(parameter: &Parameter) {
    let shape = parameter.value.size();
    let name = &parameter.name;
    let inputs: i64 = shape.iter().skip(1).product();
    let scale = (24.0 / inputs as f64).sqrt();
    let value = |u: f64| match () {
        () if name.ends_with("running_var") => 1.0 + 0.5 * u,
        () if parameter.role == Role::Statistic || name.ends_with("bias") => 0.2 * u,
        () if shape.len() == 1 => 1.0 + 0.4 * u,
        () => u * scale,
    };
    let values: Vec<f32> = (formula(name, &shape).into_iter())
        .map(|u| value(u) as f32)
        .collect();
    let values = Tensor::from_slice(&values).reshape(&shape);
    tch::no_grad(|| parameter.value.shallow_clone().copy_(&values));
}

fn image() -> Tensor {
    let shape = [2, 3, 64, 64];
    let values: Vec<f32> = (formula("image", &shape).into_iter())
        .map(|u| (u + 0.5) as f32)
        .collect();
    Tensor::from_slice(&values).reshape(shape)
}

fn check(what: &str, found: &Tensor, expected: &Value, relative: f64) {
    let shape: Vec<i64> = serde_json::from_value(expected["shape"].clone()).unwrap();
    assert_eq!(found.size(), shape, "{what}");
    let flat = found.detach().to_kind(Kind::Double).flatten(0, -1);
    let rms = expected["rms"].as_f64().unwrap();
    let near = |part: &str, found: f64, expected: &Value| {
        let expected = expected.as_f64().unwrap();
        assert!(
            (found - expected).abs() <= relative * rms,
            "{what}, {part}: {found}, torchvision {expected}, root mean square {rms}"
        );
    };
    near(
        "mean",
        flat.mean(Kind::Double).double_value(&[]),
        &expected["mean"],
    );
    let found_rms = flat.square().mean(Kind::Double).sqrt();
    near("rms", found_rms.double_value(&[]), &expected["rms"]);
    let n = flat.size()[0];
    for k in 0..8 {
        let at = k * (n - 1) / 7;
        near(
            "entry",
            flat.double_value(&[at]),
            &expected["entries"][k as usize],
        );
    }
}

fn compare(name: &str, parameters: &Parameters, stages: impl Fn(Mode) -> Vec<Tensor>) {
    parameters.all().iter().for_each(fill);
    let all: Value = serde_json::from_str(include_str!("activations.json")).unwrap();
    let expected = &all[name];
    let found = stages(Mode::Evaluation);
    let stored = expected["evaluation"].as_array().unwrap();
    assert_eq!(found.len(), stored.len());
    for (i, (found, stored)) in found.iter().zip(stored).enumerate() {
        check(&format!("{name}, stage {i}"), found, stored, RELATIVE);
    }
    let last = found.last().unwrap();
    last.square().mean(Kind::Float).backward();
    let by_name = |name: &String| {
        let found = parameters.all().iter().find(|p| p.name == *name);
        found.unwrap_or_else(|| panic!("no parameter {name}"))
    };
    for (weight, stored) in expected["gradient"].as_object().unwrap() {
        let gradient = by_name(weight).value.grad();
        check(
            &format!("gradient of {weight}"),
            &gradient,
            stored,
            RELATIVE,
        );
    }
    let output = tch::no_grad(|| stages(Mode::Training)).pop().unwrap();
    check(
        &format!("{name}, training"),
        &output,
        &expected["training"],
        RELATIVE_TRAINING,
    );
    for (statistic, stored) in expected["statistics"].as_object().unwrap() {
        check(statistic, &by_name(statistic).value, stored, RELATIVE);
    }
}

#[test]
fn densenet169_has_torchvisions_activations() {
    let mut parameters = Parameters::new(0, Device::Cpu);
    let shape = DenseNetShape::densenet169();
    let network = DenseNet::new(&mut parameters, "", &shape);
    assert_eq!(shape.channels(), 1664);
    assert_eq!(parameters.n_weights(), 12_484_480, "without the classifier");
    compare("densenet169", &parameters, |mode| {
        network.stages(&image(), mode)
    });
}

#[test]
fn resnet50_has_torchvisions_activations() {
    let mut parameters = Parameters::new(0, Device::Cpu);
    let shape = ResNetShape::resnet50();
    let network = ResNet::new(&mut parameters, "", &shape);
    assert_eq!(shape.channels()[4], 2048);
    assert_eq!(parameters.n_weights(), 23_508_032, "without the classifier");
    compare("resnet50", &parameters, |mode| {
        network.stages(&image(), mode).into()
    });
}
