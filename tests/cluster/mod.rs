//! Jobs on a real Slurm: virtual nodes on this machine, started and stopped by the test.
//!
//! One test, since all share the cluster. Most of it is waiting: for Slurm, which looks at time limits twice a minute and at
//! preemption four times, and for folds that pause after every pass so that something can happen to them. So the parts wait at the same
//! time, on nodes of their own where one would disturb another:
//!
//! | nodes    | part |
//! |----------|------|
//! | vn1, vn2 | mappings, plain sweeps, sections, a full disk, runs on two nodes, the time limit |
//! | vn3      | a sweep that is preempted |
//! | vn4, vn5 | a sweep whose processes are killed and whose nodes crash |

mod faults;
mod mappings;
mod records;
mod sandbox;
mod sweeps;

use crate::program::require::{Need, skip};
use crate::program::succeed;
use sandbox::Sandbox;
use std::time::Instant;

/// What every mapping here has in common.
const DATA: &str =
    "--cells tissue/cells.h5ad --voxels tissue/voxels.h5ad --threads 1 --reduce exact";
const SHORT: &str = "--epochs 30 --tolerance 0 --keep none";

/// Variable of a profile that makes every pass of a training wait, in milliseconds.
const PAUSE: &str = "TANGRAM_TEST_PAUSE_MS";

#[test]
fn on_a_real_slurm() {
    let Some(slurm) = Sandbox::start() else {
        return skip(Need::Slurm, "only root can start one; no job was submitted");
    };
    let sizes = "--cells 700 --voxels 90 --spots 10 --genes 80 --panel 60";
    succeed(
        slurm.folder(),
        &format!("simulate --quiet --out tissue {sizes}"),
    );
    profiles(&slurm);
    let part = |name: &'static str, check: fn(&Sandbox)| {
        let begun = Instant::now();
        check(&slurm);
        eprintln!("{name}: {:.0} s", begun.elapsed().as_secs_f64());
    };
    part("what would fail is not submitted", mappings::refusals);
    part("a sweep on this machine alone", sweeps::alone);
    part("the controller is restarted", faults::submitted);
    // Each waits for conditions of its own.
    std::thread::scope(|scope| {
        scope.spawn(|| part("the time limit", faults::limited));
        scope.spawn(|| part("a sweep that is preempted", faults::preempted));
        scope.spawn(|| part("signals at the very start", faults::signalled_at_once));
        scope.spawn(|| part("processes killed and nodes crashed", faults::crashed));
        scope.spawn(|| part("mappings on one node and on two", mappings::completed));
        scope.spawn(|| part("mappings stopped, requeued, resumed", mappings::stopped));
        scope.spawn(|| part("a sweep in chunks, a damaged shard", sweeps::chunked));
        scope.spawn(|| part("a full disk", sweeps::full_disk));
        scope.spawn(|| part("runs on two nodes each", sweeps::runs_on_two_nodes));
        scope.spawn(|| part("sections as an array", sweeps::registrations));
    });
}

/// Profiles for the parts: `plain` and `mpirun`, and some that make passes slow: `slow`, `long`, `stop`, `spot`, `faults`.
fn profiles(slurm: &Sandbox) {
    let on = |nodes: &[&str]| {
        let others = ["vn1", "vn2", "vn3", "vn4", "vn5"].map(|n| (n, nodes.contains(&n)));
        let others = others.iter().filter(|(_, taken)| !taken);
        let others: Vec<String> = others.map(|(n, _)| format!("\"{n}\"")).collect();
        format!("exclude = [{}]", others.join(", "))
    };
    let slow = |milliseconds: u32| format!("[environment]\n{PAUSE} = \"{milliseconds}\"");
    let common = on(&["vn1", "vn2"]);
    let mpirun = ("launcher = \"srun-pmix\"", "launcher = \"mpirun\"");
    let spot = ("partition = \"batch\"", "partition = \"spot\"");
    slurm.profile("plain", &[], &common);
    slurm.profile("mpirun", &[mpirun], &common);
    for (name, pause, nodes, replaced) in [
        ("slow", 50, &["vn1", "vn2"][..], &[][..]),
        ("long", 2500, &["vn1", "vn2"], &[]),
        ("spot", 100, &["vn3"], &[spot]),
        ("faults", 200, &["vn4", "vn5"], &[]),
        ("stop", 150, &["vn1", "vn2"], &[]),
    ] {
        slurm.profile(name, replaced, &format!("{}\n{}", on(nodes), slow(pause)));
    }
}
