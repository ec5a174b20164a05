//! One mapping, from two files to the directory of a run, by all ranks together.

use crate::checkpoint::{self, Checkpoints, Identity};
use crate::choices::Solver;
use crate::convergence::Convergence;
use crate::device;
use crate::error::{PipelineError, Result};
use crate::exit_record;
use crate::inputs::{self, Inputs};
use crate::learned::Learned;
use crate::listener::{Listener, Muted};
use crate::lock::Lock;
use crate::memory_check::check_memory;
use crate::ranks::{Ranks, agreed, on_first, on_first_helped};
use crate::report;
use crate::run_directory::{
    RUN_FILE, Replace, RunDirectory, RunFile, checkpoints_of, existing, write_run_file,
};
use crate::run_writer::write_run;
use crate::settings::{Chosen, MapSettings};
use crate::temperature;
use crate::wording::count;
use ndarray::Array2;
use std::path::Path;
use std::time::{Duration, Instant};
use tangram_comm::Communicator;
use tangram_core::CellChunks;
use tangram_mapper::{Epoch, Keeper, TemperatureScore};
use tangram_store::{Aside, Existing, StoreError, memory, remove_all_leftovers};

/// Where a mapping is written, and what happens to what is there.
#[derive(Debug, Clone, Copy)]
pub struct Output<'a> {
    /// The directory of the run.
    pub run: &'a Path,
    /// What happens to an earlier run in its place.
    pub earlier: Earlier,
    /// How often the state of the training is kept beside it; `None`: only when asked to stop.
    pub checkpoint_every: Option<Duration>,
    /// Whether the run ends with its report: the command that it names as its own, or `None` for no report.
    pub report: Option<&'a str>,
}

/// What happens to an earlier run in the place of a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// It stays, and so does what was kept of one that was stopped: both are errors.
    Refuse,
    /// It is replaced when the new one is complete; what was kept of one that was stopped is removed.
    Replace,
    /// The mapping goes on from what was kept of one that was stopped.
    Resume,
}

impl<'a> Output<'a> {
    /// A directory that is not there yet; nothing is kept but when asked to stop.
    #[must_use]
    pub fn new(run: &'a Path) -> Self {
        Self {
            run,
            earlier: Earlier::Refuse,
            checkpoint_every: None,
            report: None,
        }
    }
}

/// Learns a mapping and writes the directory of its run. All ranks call it; the first gets what `run.toml` records.
///
/// What is chosen on the way, the grid and the temperature, is in the settings of the record.
///
/// # Errors
/// If an input does not fit, memory will not suffice, the output cannot be written, or the listener asks to stop. After
/// [`PipelineError::Alone`] other ranks still wait for this one, and the caller must end them.
pub fn map(
    settings: &MapSettings,
    output: &Output<'_>,
    ranks: &mut Ranks,
    listener: &dyn Listener,
) -> Result<Option<RunFile>> {
    let muted = Muted(listener);
    let listener = match ranks.is_first() {
        true => listener,
        false => &muted,
    };
    // Held until the run has its name, or is given up.
    let mut lock = None;
    let mut directory = None;
    on_first(ranks, || {
        lock = Some(Lock::take(output.run)?);
        directory = Some(claim(output, listener)?);
        Ok(())
    })?;
    listener.begins(ranks.world().rank(), ranks.shape().n_ranks());
    let (inputs, outcome) = learn(settings, output, ranks, listener)?;
    let ranks = &*ranks;
    let gathered = outcome.learned.gathered(&inputs, ranks);
    let mut file = None;
    let serve = || {
        if let Some(gathered) = &gathered {
            gathered.serve();
        }
    };
    on_first_helped(ranks, serve, || {
        let directory = directory.take().expect("the first rank has made it");
        let settings = settings.with(&outcome.chosen);
        let written = write_run(
            directory.partial(),
            settings,
            &inputs,
            &outcome,
            gathered.as_ref(),
            ranks,
        );
        if let Some(gathered) = &gathered {
            gathered.done();
        }
        let mut written = written?;
        if let Some(command) = output.report {
            let of = (output.run, directory.partial());
            report::of_new_run(of, &written, command, listener)?;
        }
        write_run_file(directory.partial(), &mut written)?;
        file = Some(written);
        directory.finish()?;
        checkpoint::remove(output.run)
    })?;
    drop(lock);
    Ok(file)
}

/// Whether a run is complete, with all its files. All ranks call it; the first looks. What a process left beside it that was killed
/// between its last two steps is removed.
///
/// # Errors
/// [`PipelineError::Torn`] if the run has lost files; if another process is at work on it.
pub fn is_complete(run: &Path, ranks: &Ranks) -> Result<bool> {
    on_first(ranks, || {
        if !run.join(RUN_FILE).is_file() {
            return Ok(false);
        }
        RunDirectory::open(run)?;
        let _lock = Lock::take(run)?;
        exit_record::take(run);
        checkpoint::remove(run)?;
        remove_all_leftovers(run);
        Ok(true)
    })
}

/// Checks where the run is to go, puts away what an earlier one left there, and makes the directory to write into.
fn claim(output: &Output<'_>, listener: &dyn Listener) -> Result<Aside> {
    let Output { run, earlier, .. } = *output;
    let may_replace = match earlier {
        Earlier::Replace => existing(run, Replace::IfOurs, RUN_FILE)?,
        Earlier::Refuse | Earlier::Resume => Existing::Refuse,
    };
    checkpoint::refuse_foreign(run)?;
    match earlier {
        Earlier::Replace => checkpoint::remove(run)?,
        // The lock is held: no other process is writing this output.
        Earlier::Resume => remove_all_leftovers(run),
        Earlier::Refuse => {}
    }
    if let (false, Some(passes)) = (earlier == Earlier::Resume, checkpoint::latest(run)) {
        let path = checkpoints_of(run);
        return Err(PipelineError::Checkpoint { path, passes });
    }
    for line in exit_record::report(&exit_record::take(run)) {
        if earlier == Earlier::Resume {
            listener.say(format_args!("{line}"))?;
        }
    }
    let aside = Aside::begin(run, may_replace)?;
    // Made before the work: an output that cannot be written is reported at once.
    std::fs::create_dir(aside.partial()).map_err(|e| StoreError::Write {
        path: run.to_owned(),
        reason: e.to_string(),
    })?;
    Ok(aside)
}

/// The result of training.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) learned: Learned,
    pub(crate) chosen: Chosen,
    /// Name of the first rank's device.
    pub(crate) device: String,
    /// Precision of the products and, on a device, the operation that multiplies.
    pub(crate) products: String,
    /// Scores of the temperatures, if one was chosen.
    pub(crate) temperatures: Vec<TemperatureScore>,
    pub(crate) seconds: f64,
    pub(crate) exchange: Exchange,
    /// Peak memory of each rank, on the first rank only.
    pub(crate) peaks: Vec<u64>,
    /// The training genes in space, (voxels, genes).
    pub(crate) predicted: Array2<f32>,
}

/// Communication of this rank during training.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) seconds: f64,
    pub(crate) bytes: u64,
}

/// Reads the inputs and learns: what all ranks do together.
fn learn(
    settings: &MapSettings,
    output: &Output<'_>,
    ranks: &mut Ranks,
    listener: &dyn Listener,
) -> Result<(Inputs, Outcome)> {
    let device = device::choose(settings, ranks, listener)?;
    let inputs = inputs::read(settings, device.engine, ranks, listener)?;
    let ranks = &*ranks;
    let begun = Instant::now();
    let (temperature, temperatures) =
        temperature::choose(settings, device.engine, &inputs, ranks, listener)?;
    let chosen = Chosen {
        engine: device.engine,
        grid: inputs.grid,
        temperature,
    };
    let (before, bytes_before) = (ranks.time(), exchanged(ranks));
    let learned = train(settings, &chosen, output, &inputs, ranks, listener)?;
    let seconds = begun.elapsed().as_secs_f64();
    let exchange = Exchange {
        seconds: (ranks.time() - before).as_secs_f64(),
        bytes: exchanged(ranks) - bytes_before,
    };
    let predicted = learned.training_genes(&inputs, settings, ranks)?;
    let peaks = ranks.gather(&[memory::peak().unwrap_or(0) as f64]);
    let outcome = Outcome {
        learned,
        chosen,
        products: device::products(settings, device.engine),
        device: device.name,
        temperatures,
        seconds,
        exchange,
        predicted,
        peaks: peaks.concat().into_iter().map(|peak| peak as u64).collect(),
    };
    Ok((inputs, outcome))
}

/// Bytes contributed to sums over ranks so far.
fn exchanged(ranks: &Ranks) -> u64 {
    ranks.bytes().iter().map(|(_, bytes)| bytes).sum()
}

fn train(
    settings: &MapSettings,
    chosen: &Chosen,
    output: &Output<'_>,
    inputs: &Inputs,
    ranks: &Ranks,
    listener: &dyn Listener,
) -> Result<Learned> {
    let problem = &inputs.problem;
    let shares = problem.shares();
    let counts = inputs.counts(settings);
    agreed(
        ranks,
        check_memory(settings, chosen.engine, shares, ranks, counts),
    )?;
    if problem.cells().whole().is_none() {
        listener.say(format_args!("the cells are read from disk at every pass"))?;
    }
    let identity = agreed(ranks, Identity::new(&settings.with(chosen), inputs))?;
    let every = output.checkpoint_every;
    let mut checkpoints = Checkpoints::new(output.run, identity, ranks, shares, every, listener);
    let resumed = match output.earlier {
        Earlier::Resume => checkpoints.resume()?,
        Earlier::Refuse | Earlier::Replace => None,
    };
    listener.passed(resumed.as_ref().map_or(0, |snapshot| snapshot.passes));
    let steps = listener.steps("epoch", settings.epochs);
    let mut convergence =
        (settings.tolerance > 0.0).then(|| Convergence::new(settings.tolerance, settings.epochs));
    if convergence.is_some() {
        steps.may_end(None);
    }
    let kept = (resumed.as_ref(), &mut checkpoints as &mut dyn Keeper);
    listener.asks_whether_to_stop(true);
    let learned = Learned::train(
        (settings, chosen),
        inputs,
        ranks,
        kept,
        &mut |epoch: &Epoch| {
            listener.passed(epoch.epoch);
            if let Some(convergence) = &mut convergence {
                steps.may_end(convergence.after(epoch.total));
            }
            steps.step(epoch.epoch, &|| format!("loss {:.5}  ", epoch.total));
        },
    );
    listener.asks_whether_to_stop(false);
    drop(steps);
    let learned = learned?;
    // Too late to be kept: what was kept before is gone on from.
    listener.trained();
    let epochs = count(learned.history().len(), "epoch");
    if learned.stopped_early() {
        listener.say(format_args!("the loss converged after {epochs}"))?;
    } else if settings.solver == Solver::Mirror && settings.tolerance > 0.0 {
        listener.warn(format_args!(
            "the loss has not converged after {epochs}; more --epochs may lower it"
        ));
    }
    Ok(learned)
}
