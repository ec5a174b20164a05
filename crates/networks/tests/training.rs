//! Training on a made atlas: falling losses, resuming, frozen encoders.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use std::fs;
use std::path::Path;
use tangram_atlas::synthetic::brain;
use tangram_atlas::synthetic_files::write_sources;
use tangram_atlas::{Atlas, import};
use tangram_comm::{Communicator, Grid, GridShape, Reduce, Solo, Threads};
use tangram_networks::{
    Adam, AtlasPlanes, Batch, Begin, Beginning, ComputeDevice, DenseNet, Head, Loaded, Mode,
    Network, NetworkError, NetworkShape, Next, Parameters, Preset, Share, StepDone, Task,
    TrainOrder, TrainSettings, Trained, TrainedPart, WeightsFile, train, write_weights,
};
use tangram_store::Existing;
use tch::Device;
use tempfile::TempDir;

fn planes() -> (TempDir, AtlasPlanes) {
    let folder = tempfile::tempdir().unwrap();
    let sources = write_sources(folder.path(), &brain(200.0)).unwrap();
    let store = folder.path().join("atlas.zarr");
    import(&sources, &store, Existing::Refuse).unwrap();
    let planes = AtlasPlanes::of_atlas(&Atlas::open(&store).unwrap(), 64).unwrap();
    (folder, planes)
}

/// Twenty steps of a network of full size on one batch of small images.
fn twenty_steps(task: Task, head: Head) {
    // The tests of this file run side by side, and threads that wait for each other's cores wait long.
    tch::set_num_threads(1);
    let (_folder, planes) = planes();
    let settings = TrainSettings {
        edge: 64,
        batch: 2,
        ..TrainSettings::preset(task, Preset::Full, head)
    };
    let mut parameters = Parameters::new(1, Device::Cpu);
    let network = Network::new(
        &mut parameters,
        &settings.network,
        planes.class_names().len(),
    );
    let batch = Batch::make(&planes, &settings, 0..2, Share::Training, Device::Cpu).unwrap();
    let mut adam = Adam::new(&parameters);
    let losses: Vec<f64> = (0..20)
        .map(|_| {
            let loss = network.loss(&batch, Mode::Training);
            parameters.clear_gradients();
            loss.backward();
            adam.step(1e-4);
            loss.double_value(&[])
        })
        .collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&losses[..5]), mean(&losses[15..]));
    assert!(
        last < first && last < losses[0],
        "{task:?}, {head:?}: {losses:?}"
    );
}

#[test]
fn twenty_steps_of_densenet169_lower_the_loss() {
    twenty_steps(Task::Depth, Head::Paper);
}

#[test]
fn twenty_steps_with_the_published_codes_head_lower_the_loss() {
    twenty_steps(Task::Depth, Head::ReleasedCode);
}

#[test]
fn twenty_steps_of_the_unet_on_resnet50_lower_the_loss() {
    twenty_steps(Task::Regions, Head::Paper);
}

fn order<'a>(
    planes: &'a AtlasPlanes,
    settings: &'a TrainSettings,
    state: &'a Path,
    begin: Begin,
) -> TrainOrder<'a> {
    TrainOrder {
        planes,
        settings,
        weights: None,
        atlas_sha256: "made",
        device: ComputeDevice::Cores { threads: 1 },
        begin,
        state,
        checkpoint_every: 3,
    }
}

fn to_the_end(order: &TrainOrder<'_>) -> Result<Trained, NetworkError> {
    train(order, &alone(), &mut |_| Ok(Next::GoOn))
}

fn alone() -> Grid<Solo> {
    Grid::new(Solo, GridShape::ONE, Reduce::Exact).unwrap()
}

/// What every one of some ranks gets from `work`.
fn on_ranks<T: Send>(n: usize, work: impl Fn(&Grid<Threads>) -> T + Sync) -> Vec<T> {
    let shape = GridShape {
        cells: n,
        ..GridShape::ONE
    };
    std::thread::scope(|scope| {
        let started: Vec<_> = Threads::ranks(n)
            .into_iter()
            .map(|world| {
                let work = &work;
                scope.spawn(move || work(&Grid::new(world, shape, Reduce::Exact).unwrap()))
            })
            .collect();
        started.into_iter().map(|r| r.join().unwrap()).collect()
    })
}

#[test]
fn a_resumed_training_equals_an_uninterrupted_one() {
    let (folder, planes) = planes();
    let at = |name: &str| folder.path().join(name);
    for task in [Task::Depth, Task::Regions, Task::Plane] {
        let settings = TrainSettings::preset(task, Preset::Tiny, Head::Paper);
        let state = at(&format!("{task:?}.state"));
        let whole = to_the_end(&order(&planes, &settings, &at("unused"), Begin::New)).unwrap();
        let stopped = train(
            &order(&planes, &settings, &state, Begin::New),
            &alone(),
            &mut |done: StepDone| match done.step {
                // As a process that is killed: step 8 is lost.
                8 if task == Task::Depth => Err(NetworkError::Settings("killed".to_owned())),
                6 if task != Task::Depth => Ok(Next::Stop),
                _ => Ok(Next::GoOn),
            },
        );
        assert!(stopped.is_err());
        let unfinished = Loaded::read(&state, ComputeDevice::Cores { threads: 1 });
        let message = unfinished.unwrap_err().to_string();
        assert!(message.contains("has not ended"), "{message}");

        let mut steps = Vec::new();
        let mut watch = |done: StepDone| {
            steps.push(done.step);
            Ok(Next::GoOn)
        };
        let resumed = train(
            &order(&planes, &settings, &state, Begin::Resume),
            &alone(),
            &mut watch,
        );
        assert_eq!(steps.first(), Some(&7), "six steps were saved");
        let files = ["whole", "resumed"].map(|name| at(&format!("{task:?}.{name}")));
        whole.write(&files[0]).unwrap();
        resumed.unwrap().write(&files[1]).unwrap();
        let [whole, resumed] = files.each_ref().map(|path| fs::read(path).unwrap());
        assert!(whole == resumed, "{task:?}: the files differ");
        let loaded = Loaded::read(&files[0], ComputeDevice::Cores { threads: 1 }).unwrap();
        assert_eq!(loaded.about.losses.len(), settings.steps);
        assert_eq!(loaded.about.beginning, Beginning::Random);

        let other = TrainSettings {
            seed: 5,
            ..settings
        };
        let error = to_the_end(&order(&planes, &other, &state, Begin::Resume)).unwrap_err();
        assert!(error.to_string().contains("seed was 0, now 5"), "{error}");
    }
}

#[test]
fn a_frozen_encoder_stays_as_it_was_read() {
    let (folder, planes) = planes();
    let settings = TrainSettings {
        part: TrainedPart::LastConv,
        steps: 3,
        edge: 64,
        ..TrainSettings::preset(Task::Depth, Preset::Tiny, Head::ReleasedCode)
    };
    let NetworkShape::Depth(shape) = &settings.network else {
        unreachable!("a depth network")
    };
    let mut encoder = Parameters::new(78, Device::Cpu);
    let _ = DenseNet::new(&mut encoder, "", &shape.encoder);
    let weights = folder.path().join("encoder.safetensors");
    let all = encoder.all().iter().map(|p| (p.name.clone(), &p.value));
    write_weights(&weights, Existing::Refuse, all, "").unwrap();

    let state = folder.path().join("state");
    let order = TrainOrder {
        weights: Some(&weights),
        ..order(&planes, &settings, &state, Begin::New)
    };
    let trained = to_the_end(&order).unwrap();
    let told = trained.about.beginning.to_string();
    assert!(
        told.contains("the encoder began with the weights of encoder.safetensors"),
        "{told}"
    );
    let path = folder.path().join("network");
    trained.write(&path).unwrap();
    let file = WeightsFile::read(&path).unwrap();
    let after = {
        let mut after = Parameters::new(0, Device::Cpu);
        let _ = DenseNet::new(&mut after, "encoder.", &shape.encoder);
        file.load(&after, "encoder.", "encoder.", &[]).unwrap();
        after
    };
    let changed: Vec<&str> = (encoder.all().iter().zip(after.all()))
        .filter(|(before, after)| !before.value.equal(&after.value))
        .map(|(before, _)| before.name.as_str())
        .collect();
    assert_eq!(changed, ["features.denseblock4.denselayer1.conv2.weight"]);
}

#[test]
fn a_loss_that_is_no_number_ends_the_training() {
    let (folder, planes) = planes();
    let settings = TrainSettings {
        learning_rate: 1e30,
        ..TrainSettings::preset(Task::Plane, Preset::Tiny, Head::Paper)
    };
    let state = folder.path().join("state");
    let error = to_the_end(&order(&planes, &settings, &state, Begin::New)).unwrap_err();
    assert!(matches!(error, NetworkError::Diverged { .. }), "{error}");
}

#[test]
fn ranks_that_divide_a_batch_learn_what_one_learns() {
    let (folder, planes) = planes();
    for task in [Task::Depth, Task::Regions, Task::Plane] {
        let whole = TrainSettings {
            batch: 8,
            steps: 6,
            ..TrainSettings::preset(task, Preset::Tiny, Head::Paper)
        };
        let settings = TrainSettings {
            shards: 4,
            ..whole.clone()
        };
        let state = folder.path().join("unused");
        let begun = |settings: &TrainSettings| {
            let order = order(&planes, settings, &state, Begin::New);
            to_the_end(&order).unwrap()
        };
        let one = begun(&settings);
        assert_ne!(
            one.about.losses[0],
            begun(&whole).about.losses[0],
            "every shard has statistics of its own"
        );
        let path = folder.path().join(format!("{task:?}"));
        one.write(&path).unwrap();
        let expected = fs::read(&path).unwrap();
        for n_ranks in [2, 3, 4] {
            let files = on_ranks(n_ranks, |ranks| {
                let name = format!("{task:?}-{n_ranks}-{}", ranks.world().rank());
                let [state, path] =
                    ["state", "file"].map(|end| folder.path().join(format!("{name}.{end}")));
                let order = order(&planes, &settings, &state, Begin::New);
                let trained = train(&order, ranks, &mut |_| Ok(Next::GoOn)).unwrap();
                trained.write(&path).unwrap();
                assert_eq!(state.exists(), ranks.is_first(), "the first rank writes");
                fs::read(&path).unwrap()
            });
            for (rank, file) in files.iter().enumerate() {
                assert!(*file == expected, "{task:?}: rank {rank} of {n_ranks}");
            }
        }
    }
}

#[test]
fn what_one_rank_is_asked_all_do() {
    let (folder, planes) = planes();
    let settings = TrainSettings {
        shards: 2,
        ..TrainSettings::preset(Task::Plane, Preset::Tiny, Head::Paper)
    };
    let state = folder.path().join("state");
    let order = order(&planes, &settings, &state, Begin::New);
    let ended = |says: fn() -> Result<Next, NetworkError>| {
        on_ranks(2, |ranks| {
            let second = !ranks.is_first();
            let mut watch = |done: StepDone| match second && done.step == 5 {
                true => says(),
                false => Ok(Next::GoOn),
            };
            train(&order, ranks, &mut watch).unwrap_err()
        })
    };
    let stopped = ended(|| Ok(Next::Stop));
    for error in stopped {
        assert!(
            matches!(error, NetworkError::Stopped { step: 5, .. }),
            "{error}"
        );
    }
    let failed = ended(|| Err(NetworkError::Settings("no".to_owned())));
    assert!(matches!(failed[0], NetworkError::OtherRank));
    assert_eq!(failed[1].to_string(), "no");
    let few = on_ranks(3, |ranks| {
        train(&order, ranks, &mut |_| Ok(Next::GoOn)).unwrap_err()
    });
    for error in few {
        assert!(error.to_string().contains("--shards 3"), "{error}");
    }
}
