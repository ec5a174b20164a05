//! A real Slurm cluster on this machine, started and stopped by the test.

use crate::program::tangram;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Limit of every wait: generous, since the machine may be busy with other work.
const PATIENCE: Duration = Duration::from_secs(900);
/// Pause between two looks at a condition; each may start a process.
const LOOK: Duration = Duration::from_millis(300);

/// A cluster of virtual nodes, vn1 to vn5, and a folder to work in.
pub struct Sandbox {
    /// Held for writing while the controller is restarted, when Slurm's commands would fail.
    controller: RwLock<()>,
    disk: Option<SmallDisk>,
    /// Removed when the test ends.
    _folder: TempDir,
    work: PathBuf,
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/slurm-sandbox.sh")
}

/// A disk of 2 MB, taken away when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mounted_at(place: &Path) -> Option<Self> {
        fs::create_dir(place).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]);
        let done = mount.arg(place).output().ok()?.status.success();
        done.then(|| Self(place.to_owned()))
    }

    /// Leaves no space on it.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    /// Gives the space back.
    pub fn empty(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a test that is failing may have left jobs at work there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// A range of ports that nobody listens on.
fn ports() -> u16 {
    let free =
        |base: u16| (base..base + 20).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    let first = 20_000 + (std::process::id() % 500) as u16 * 20;
    (first..32_000)
        .step_by(20)
        .find(|base| free(*base))
        .expect("free ports")
}

impl Sandbox {
    /// Starts one, if this is root.
    pub fn start() -> Option<Self> {
        let id = Command::new("id").arg("-u").output().unwrap();
        if id.stdout.trim_ascii() != b"0" {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let cluster = folder.path().join("slurm");
        let work = folder.path().join("work");
        fs::create_dir(&work).unwrap();
        let settings = [
            ("SLURM_SANDBOX_DIR", cluster.display().to_string()),
            ("NODES", "5".to_owned()),
            ("MAX_ARRAY", "11".to_owned()),
            ("BASE_PORT", ports().to_string()),
        ];
        let mut slurm = Self {
            controller: RwLock::new(()),
            // Before the nodes begin: each has its own view of what is mounted later.
            disk: SmallDisk::mounted_at(&work.join("disk")),
            _folder: folder,
            work,
            settings: settings.map(|(k, v)| (k.to_owned(), v)).into(),
            environment: vec![],
        };
        slurm.control("start");
        let shell = format!("eval \"$('{}' env)\"; env -0", script().display());
        let shown = slurm.bash(&shell);
        let variables = shown.split('\0').filter_map(|line| line.split_once('='));
        let of_slurm =
            variables.filter(|(name, _)| *name == "SLURM_CONF" || name.starts_with("OMPI_"));
        slurm.environment = of_slurm
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        Some(slurm)
    }

    /// Where the test works.
    pub fn folder(&self) -> &Path {
        &self.work
    }

    /// A small disk that all nodes share, in the folder to work in as `disk`; `None` where nothing can be mounted.
    pub fn disk(&self) -> Option<&SmallDisk> {
        self.disk.as_ref()
    }

    /// Stops the controller and starts it again, while no command of the test is talking to it but those of `meanwhile`.
    pub fn restart_controller(&self, meanwhile: impl FnOnce()) {
        let _alone = self
            .controller
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        self.control("stop-controller");
        meanwhile();
        self.control("start-controller");
    }

    /// Runs a command that may talk to the controller.
    fn output(&self, mut command: Command) -> Output {
        let _up = self
            .controller
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        command.output().unwrap()
    }

    /// A command of the script that makes the cluster.
    pub fn control(&self, command: &str) -> String {
        self.bash(&format!("'{}' {command}", script().display()))
    }

    fn bash(&self, line: &str) -> String {
        let mut bash = Command::new("bash");
        bash.args(["-c", line]).envs(self.settings.clone());
        said(bash.output().unwrap(), line)
    }

    fn in_cluster(&self, mut command: Command) -> Command {
        command
            .current_dir(self.folder())
            .envs(self.environment.clone());
        command
    }

    /// One of Slurm's commands; arguments are split at blanks.
    pub fn tool(&self, name: &str, arguments: &str) -> String {
        let mut command = self.in_cluster(Command::new(name));
        command.args(arguments.split_whitespace());
        said(self.output(command), &format!("{name} {arguments}"))
    }

    /// The same, of a command that may fail.
    pub fn try_tool(&self, name: &str, arguments: &str) {
        let mut command = self.in_cluster(Command::new(name));
        command.args(arguments.split_whitespace());
        drop(self.output(command));
    }

    /// The program, on the cluster's login node as it were.
    pub fn program(&self, arguments: &str) -> Command {
        let mut command = self.in_cluster(tangram());
        command.args(arguments.split_whitespace());
        command
    }

    /// Runs the program, which must succeed.
    pub fn tangram(&self, arguments: &str) -> String {
        let output = self.output(self.program(arguments));
        said(output, &format!("tangram {arguments}"))
    }

    /// Runs the program, which must end with a code; gives its errors.
    pub fn fails(&self, arguments: &str, code: i32) -> String {
        let output = self.output(self.program(arguments));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            output.status.code(),
            Some(code),
            "tangram {arguments}\n{errors}"
        );
        errors
    }

    /// Submits a job; gives its number.
    pub fn submit(&self, arguments: &str) -> u64 {
        self.submit_to(arguments, None)
    }

    /// Submits a job that writes to a place with an odd name; gives its number.
    pub fn submit_to(&self, arguments: &str, out: Option<&Path>) -> u64 {
        let mut program = self.program(&format!("{arguments} --json"));
        if let Some(out) = out {
            program.arg("--out").arg(out);
        }
        let said = said(self.output(program), arguments);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        said["job"].as_u64().unwrap()
    }

    /// The sandbox's profile with some lines replaced and others added, as NAME.toml.
    pub fn profile(&self, name: &str, replaced: &[(&str, &str)], added: &str) {
        let known = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/clusters/sandbox.toml");
        let mut text = fs::read_to_string(known).unwrap();
        for (from, to) in replaced {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        let path = self.folder().join(format!("{name}.toml"));
        fs::write(path, format!("{text}{added}\n")).unwrap();
    }

    /// Waits until a condition holds.
    pub fn wait_for(&self, what: &str, so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !so() {
            if begun.elapsed() > PATIENCE {
                let queue = self.tool("squeue", "--states=all");
                panic!("{what}: not within {PATIENCE:?}\n{queue}\n{}", self.logs());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until jobs have ended.
    pub fn ended(&self, jobs: &[u64]) {
        let jobs: Vec<String> = jobs.iter().map(u64::to_string).collect();
        let line = format!("--noheader --jobs={}", jobs.join(","));
        self.wait_for(&format!("jobs {jobs:?} end"), || {
            self.tool("squeue", &line).trim().is_empty()
        });
    }

    /// Waits until a job has ended, with a run in OUT.
    pub fn finished(&self, job: u64, out: &str) {
        self.ended(&[job]);
        assert!(
            self.folder().join(out).join("run.toml").is_file(),
            "job {job}: no {out}\n{}",
            self.logs()
        );
    }

    /// The output of all jobs.
    pub fn logs(&self) -> String {
        let files = fs::read_dir(self.folder())
            .unwrap()
            .map(|e| e.unwrap().path());
        let logs = files.filter(|path| path.extension().is_some_and(|e| e == "log"));
        let text = |path: PathBuf| {
            format!(
                "--- {}\n{}",
                path.display(),
                fs::read_to_string(&path).unwrap_or_default()
            )
        };
        logs.map(text).collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let mut stop = Command::new("bash");
        stop.arg(script()).arg("stop").envs(self.settings.clone());
        // Nothing better can be done while a test may be failing.
        let _ = stop.output();
    }
}

fn said(output: Output, what: &str) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{what}\n{out}\n{errors}");
    out
}
