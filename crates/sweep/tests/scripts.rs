//! Scripts of jobs: what they say, that bash takes them, and that nothing in a name is run.

#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

mod executable;

use executable::write_script;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};
use tangram_sweep::slurm::{
    Chunk, Job, JobId, JobKind, JobName, Launcher, LogFile, PROFILES, Profile, Word, script,
};
use tempfile::TempDir;

fn chunk() -> Chunk {
    Chunk {
        offset: 11,
        indices: vec![0, 1, 2, 3, 4, 9],
        throttle: 3,
        after: None,
    }
}

fn kinds() -> [JobKind; 3] {
    [JobKind::Map, JobKind::Array(chunk()), JobKind::Collect]
}

/// A job as the program makes them, with a name that stays.
fn job(kind: JobKind, profile: &Profile) -> Job {
    let arguments: &[&str] = match kind {
        JobKind::Map => &[
            "map",
            "--cells=/data/cells.h5ad",
            "--out=/data/run",
            "--resume",
        ],
        JobKind::Array(_) => &["sweep", "run", "/data/loo"],
        JobKind::Collect => &["sweep", "collect", "/data/loo"],
    };
    let after = match kind {
        JobKind::Collect => vec![JobId(7), JobId(8)],
        _ => vec![],
    };
    let mut command = profile.launch("/opt/tangram/bin/tangram");
    command.extend(arguments.iter().map(|&a| a.to_owned()));
    Job {
        name: JobName::try_from(format!("tangram-{}-0123456789ab", kind.name())).unwrap(),
        kind,
        command,
        after,
        exclude: vec![],
        log: LogFile::new(Path::new("/data/logs/it")).unwrap(),
        directory: "/data".into(),
        result: None,
    }
}

/// A profile with something in every field, on many ranks.
fn full() -> Profile {
    let text = r#"
partition = "gpu"
account = "my-project"
qos = "long"
reservation = "course"
constraint = "zen3&ib"
exclude = ["node017", "node003"]
time = "2-00:00:00"
memory = "64G"
cpus = 8
nodes = 2
ranks = 4
gres = "gpu:h100:2"
modules = ["gcc/13", "openmpi/4.1"]
setup = ["ulimit -s unlimited", "source /opt/site.sh"]
launcher = "mpirun"
launcher-arguments = ["--map-by", "ppr:2:node"]
throttle = 8
signal = "USR2"
lead = 300
restarts = 5
directives = ["--exclusive", "--hint=nomultithread"]
mail = { user = "me@uni.edu", events = ["end", "fail"] }
[environment]
GREETING = "it's $HOME; `id`"
OMPI_MCA_btl_tcp_if_include = "ib0"
[container]
image = "/images/my tangram.sif"
command = ["apptainer", "exec", "--bind", "/scratch"]
[collect]
partition = "cpu"
time = "0:30:00"
memory = "8G"
"#;
    Profile::parse(text, "full").unwrap()
}

fn rendered() -> Vec<(String, String)> {
    let known = PROFILES.map(|(name, _)| (name, Profile::find(name).unwrap()));
    let mut all = Vec::new();
    for (name, profile) in known.into_iter().chain([("full", full())]) {
        for kind in kinds() {
            let profile = match kind {
                JobKind::Collect => profile.for_collecting(),
                _ => profile.clone(),
            };
            let id = format!("{name}_{}", kind.name());
            all.push((id, script(&job(kind, &profile), &profile).unwrap()));
        }
    }
    all
}

#[test]
fn scripts_of_every_profile_and_kind() {
    for (id, text) in rendered() {
        insta::assert_snapshot!(id, text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    }
}

#[test]
fn bash_and_shellcheck_take_every_script() {
    let folder = tempfile::tempdir().unwrap();
    let here = Command::new("shellcheck").arg("--version").output().is_ok();
    if !here {
        let required = std::env::var("TANGRAM_REQUIRE").unwrap_or_default();
        let why = "it is not installed (Debian: apt-get install shellcheck)";
        assert!(
            !required.split(',').any(|name| name.trim() == "shellcheck"),
            "TANGRAM_REQUIRE names shellcheck, but {why}"
        );
        eprintln!("SKIPPED in part for the lack of shellcheck: {why}; scripts are only parsed");
    }
    for (id, text) in rendered() {
        let path = folder.path().join(&id);
        fs::write(&path, &text).unwrap();
        let mut tools = vec![("bash", vec!["-n"])];
        if here {
            // SC2016: a $ that is meant to stay one. SC1091: a file of the site.
            tools.push((
                "shellcheck",
                vec!["--shell=bash", "--exclude=SC2016,SC1091"],
            ));
        }
        for (tool, arguments) in tools {
            let checked = Command::new(tool).args(arguments).arg(&path).output();
            let checked = checked.unwrap();
            let said = [checked.stdout, checked.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(checked.status.success(), "{tool} {id}: {said}\n{text}");
        }
    }
}

// --- run under bash, with commands of our own ------------------------------------------------------------

/// A folder of commands that write down how they were called.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(stage.path("bin")).unwrap();
        // Arguments, each ended by a NUL.
        let program =
            r#"printf '%s\0' "$@" >"$STAGE/argv"; env -0 >"$STAGE/env"; pwd >"$STAGE/pwd""#;
        stage.command("program", program);
        stage.command("squeue", r#"cat "$STAGE/state""#);
        stage.command(
            "scontrol",
            r#"case $1 in
            show) echo "   Requeue=1 Restarts=$(cat "$STAGE/round" 2>/dev/null || echo "${SLURM_RESTART_COUNT:-0}") BatchFlag=1" ;;
            *) echo "$*" >>"$STAGE/scontrol" ;;
            esac"#,
        );
        fs::write(stage.path("state"), "RUNNING\n").unwrap();
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, name: &str, body: &str) {
        let path = self.path("bin").join(name);
        write_script(&path, body);
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// A job that runs `program` here.
    fn job(&self, kind: JobKind, profile: &Profile) -> Job {
        let program = self.path("bin").join("program");
        Job {
            command: vec![program.to_str().unwrap().to_owned()],
            directory: self.folder.path().to_owned(),
            result: None,
            ..job(kind, profile)
        }
    }

    /// The script as element 9 of array 40, which is job 42.
    fn bash(&self, job: &Job, profile: &Profile) -> Command {
        let path = self.path("script");
        fs::write(&path, script(job, profile).unwrap()).unwrap();
        let outer = std::env::var("PATH").unwrap();
        let mut command = Command::new("bash");
        command
            .arg(path)
            .env("PATH", format!("{}:{outer}", self.path("bin").display()))
            .env("STAGE", self.folder.path())
            .env("SLURM_JOB_ID", "42")
            .env("SLURM_ARRAY_JOB_ID", "40")
            .env("SLURM_ARRAY_TASK_ID", "9");
        command
    }
}

fn output(mut command: Command) -> Output {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    output
}

fn plain() -> Profile {
    Profile::parse("", "plain").unwrap()
}

/// Texts that a careless script would run; STAGE is the folder in which that would show.
const HOSTILE: [&str; 16] = [
    "$(touch STAGE/ran)",
    "`touch STAGE/ran`",
    "'; touch STAGE/ran; '",
    "'\\''; touch STAGE/ran; #",
    "\"; touch STAGE/ran; \"",
    "a\ntouch STAGE/ran\n",
    "\n#SBATCH --wrap=touch",
    "--wrap=touch STAGE/ran",
    "-n",
    "a b  c",
    "*",
    "~",
    "[0]=x",
    "\\'$HOME\\",
    "{{ name }} {% raw %}",
    "ünï;|&<>(){}!#\u{7f}\t\r",
];

#[test]
fn hostile_names_arrive_as_they_are_and_run_nothing() {
    for kind in kinds() {
        let stage = Stage::new();
        let here = stage.folder.path().to_str().unwrap().to_owned();
        let hostile = HOSTILE.iter().map(|h| h.replace("STAGE", &here));
        let hostile: Vec<String> = hostile.chain([String::new()]).collect();
        let odd = stage.path("$(touch ran) 'a' \"b\"\n;");
        fs::create_dir(&odd).unwrap();

        let mut profile = plain();
        for (i, value) in hostile.iter().enumerate() {
            let name = format!("V{i}").try_into().unwrap();
            profile.environment.insert(name, value.clone());
        }
        let mut job = stage.job(kind.clone(), &profile);
        job.command.extend(hostile.iter().cloned());
        job.directory.clone_from(&odd);
        output(stage.bash(&job, &profile));

        let mut expected = hostile.clone();
        if matches!(kind, JobKind::Array(_)) {
            expected.extend(["--task", "20"].map(str::to_owned));
        }
        let argv = stage.read("argv");
        let argv: Vec<&str> = argv.split_terminator('\0').collect();
        assert_eq!(argv, expected, "{}", kind.name());
        let environment = stage.read("env");
        for (i, value) in hostile.iter().enumerate() {
            let line = format!("V{i}={value}");
            assert!(environment.split('\0').any(|l| l == line), "{line:?}");
        }
        assert!(stage.read("pwd").starts_with(odd.to_str().unwrap()));
        assert!(!odd.join("ran").exists() && !stage.path("ran").exists());
        assert_eq!(stage.read("scontrol"), "");
    }
}

#[test]
fn modules_are_loaded_and_setup_is_run_before_the_program() {
    let stage = Stage::new();
    let mut profile = plain();
    profile.modules = ["gcc/13", "a&b"]
        .map(|m| Word::try_from(m.to_owned()).unwrap())
        .into();
    profile.setup = vec!["export FROM_SETUP=\"$LOADED and more\"".to_owned()];
    fs::create_dir(stage.path("init")).unwrap();
    // With a variable that is not set, as some have.
    let module = "module() { LOADED=\"${LOADED}$2;$NOT_SET\"; }\n";
    fs::write(stage.path("init").join("bash"), module).unwrap();
    let mut command = stage.bash(&stage.job(JobKind::Map, &profile), &profile);
    command.env("MODULESHOME", stage.folder.path());
    output(command);
    let environment = stage.read("env");
    assert!(
        environment.contains("FROM_SETUP=gcc/13;a&b; and more"),
        "{environment}"
    );
}

#[test]
fn a_program_that_was_stopped_is_requeued_if_its_job_is_to_go_on() {
    let check = |kind: JobKind, code: i32, state: &str, restarts: &str, requeued: &str| {
        let stage = Stage::new();
        stage.command("program", &format!("exit {code}"));
        fs::write(stage.path("state"), state).unwrap();
        let mut profile = plain();
        profile.restarts = 3;
        let mut command = stage.bash(&stage.job(kind, &profile), &profile);
        let output = command.env("SLURM_RESTART_COUNT", restarts).output();
        assert_eq!(output.unwrap().status.code(), Some(code));
        let asked = stage.read("scontrol");
        assert_eq!(asked.trim(), requeued, "{code} {state} {restarts}");
    };
    check(JobKind::Map, 75, "RUNNING\n", "0", "requeue 42");
    // By its own number the last element would requeue all.
    check(
        JobKind::Array(chunk()),
        75,
        "RUNNING\n",
        "2",
        "requeue 40_9",
    );
    check(JobKind::Map, 75, "RUNNING\n", "3", "");
    check(JobKind::Map, 75, "COMPLETING\n", "0", "");
    check(JobKind::Map, 75, "", "0", "");
    check(JobKind::Map, 0, "RUNNING\n", "0", "");
    check(JobKind::Map, 1, "RUNNING\n", "0", "");
    check(JobKind::Collect, 75, "RUNNING\n", "0", "");
}

#[test]
fn a_command_that_did_nothing_is_started_again() {
    for (writes, code, asked) in [("it's done", 0, ""), ("another", 75, "requeue 42")] {
        let stage = Stage::new();
        let written = stage.path(writes).display().to_string();
        stage.command("program", &format!("touch {written:?}"));
        fs::write(stage.path("state"), "RUNNING\n").unwrap();
        let profile = plain();
        let mut job = stage.job(JobKind::Map, &profile);
        job.result = Some(stage.path("it's done"));
        let output = stage.bash(&job, &profile).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(stage.read("scontrol").trim(), asked);
    }
}

#[test]
fn the_script_of_an_earlier_round_requeues_nothing() {
    let stage = Stage::new();
    stage.command("program", "exit 75");
    fs::write(stage.path("round"), "2\n").unwrap();
    let profile = plain();
    let mut command = stage.bash(&stage.job(JobKind::Array(chunk()), &profile), &profile);
    let output = command.env("SLURM_RESTART_COUNT", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(75));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("in round 2"), "{told}");
    assert_eq!(stage.read("scontrol"), "");
}

/// Sends a signal to a script as soon as a file is there; gives its exit code.
fn signalled(stage: &Stage, profile: &Profile, signal: &str) -> Option<i32> {
    let job = stage.job(JobKind::Array(chunk()), profile);
    let mut running = stage.bash(&job, profile).spawn().unwrap();
    let begun = Instant::now();
    while !stage.path("ready").exists() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(5));
    }
    let pid = running.id().to_string();
    let sent = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(sent.unwrap().success());
    running.wait().unwrap().code()
}

#[test]
fn a_signal_before_the_program_can_hear_it_brings_the_job_back() {
    for signal in ["USR2", "TERM"] {
        // While the environment is set up.
        let stage = Stage::new();
        let mut profile = plain();
        profile.setup = vec![r#": >"$STAGE/ready"; sleep 0.5"#.to_owned()];
        assert_eq!(signalled(&stage, &profile, signal), Some(75));
        assert_eq!(stage.read("scontrol").trim(), "requeue 40_9");
        assert_eq!(stage.read("argv"), "", "the program was not started");
        // While the program is loaded, when it does as any process does.
        let stage = Stage::new();
        stage.command("program", r#": >"$STAGE/ready"; exec sleep 20"#);
        assert_eq!(signalled(&stage, &plain(), signal), Some(75));
        assert_eq!(stage.read("scontrol").trim(), "requeue 40_9");
    }
    // A program that is killed, and not asked to stop, is not started again.
    let stage = Stage::new();
    stage.command("program", "kill -s USR2 $$");
    let profile = plain();
    let job = stage.job(JobKind::Map, &profile);
    let output = stage.bash(&job, &profile).output().unwrap();
    assert_eq!(output.status.code(), Some(140));
    assert_eq!(stage.read("scontrol"), "");
}

#[test]
fn a_log_whose_name_slurm_would_change_is_opened_by_the_script() {
    for kind in kinds() {
        let stage = Stage::new();
        stage.command("program", "echo said; echo complained >&2");
        let odd = stage.path("50%j \"a\"\n$(touch ran)'");
        fs::create_dir(&odd).unwrap();
        let profile = plain();
        let mut job = stage.job(kind.clone(), &profile);
        job.log = LogFile::new(&odd.join("it")).unwrap();
        assert!(
            script(&job, &profile)
                .unwrap()
                .contains("--output=/dev/null\n")
        );
        output(stage.bash(&job, &profile));
        let number = match kind {
            JobKind::Array(_) => "40_9",
            _ => "42",
        };
        let log = fs::read_to_string(odd.join(format!("it.{number}.log"))).unwrap();
        assert_eq!(log, "said\ncomplained\n");
        assert_eq!(fs::read_dir(&odd).unwrap().count(), 1);
    }
}

#[test]
fn both_signals_reach_the_program_and_its_code_is_kept() {
    for (signal, times) in [("USR2", 1), ("TERM", 1), ("USR2", 3)] {
        let stage = Stage::new();
        // Takes its time to keep its state.
        let program = r#"trap 'echo USR2 >>"$STAGE/heard"; asked=1' USR2; trap 'echo TERM >>"$STAGE/heard"' TERM
            : >"$STAGE/ready"; while [ -z "${asked-}" ]; do sleep 0.05; done; sleep 0.5; exit 75"#;
        stage.command("program", program);
        let profile = plain();
        let job = stage.job(JobKind::Map, &profile);
        let mut running = stage.bash(&job, &profile).spawn().unwrap();
        let begun = Instant::now();
        while !stage.path("ready").exists() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            thread::sleep(Duration::from_millis(10));
        }
        for _ in 0..times {
            let pid = running.id().to_string();
            let sent = Command::new("kill").args(["-s", signal, &pid]).status();
            assert!(sent.unwrap().success());
            thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(running.wait().unwrap().code(), Some(75), "{signal}");
        let heard = stage.read("heard");
        assert!(
            heard.starts_with("USR2") && !heard.contains("TERM"),
            "{heard}"
        );
        assert_eq!(stage.read("scontrol").trim(), "requeue 42");
    }
}

#[test]
fn launchers_start_as_many_ranks_as_asked() {
    let mut profile = full();
    profile.container = None;
    let line = profile.launch("p").join(" ");
    assert_eq!(line, "mpirun -n 4 --bind-to none --map-by ppr:2:node p");
    profile.launcher = Launcher::SrunPmix;
    let line = profile.launch("p").join(" ");
    assert!(line.starts_with("srun --mpi=pmix "), "{line}");
    assert!(line.contains(" --ntasks=4 --cpus-per-task=8 "), "{line}");
    // One rank needs no launcher, and its arguments would be nobody's.
    profile.ranks = std::num::NonZeroUsize::MIN;
    assert_eq!(profile.launch("p"), ["p"]);
}
