//! A real Slurm for one test: started with it, stopped with it.

#![allow(dead_code)] // every test program uses its own part

use super::program::tangram;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// For anything that a job does here.
const PATIENCE: Duration = Duration::from_secs(300);

/// A cluster of virtual nodes vn1, vn2 and vn3, and a folder to work in.
pub struct Sandbox {
    disk: Option<SmallDisk>,
    folder: TempDir,
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
        |base: u16| (base..base + 16).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    let first = 20_000 + (std::process::id() % 500) as u16 * 16;
    (first..32_000)
        .step_by(16)
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
            ("NODES", "3".to_owned()),
            ("MAX_ARRAY", "11".to_owned()),
            ("BASE_PORT", ports().to_string()),
        ];
        let mut slurm = Self {
            // Before the nodes begin: each has its own view of what is mounted later.
            disk: SmallDisk::mounted_at(&work.join("disk")),
            folder,
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

    /// A small disk that all nodes share, in the folder to work in as `disk`; there is none where nothing can be mounted.
    pub fn disk(&self) -> Option<&SmallDisk> {
        self.disk.as_ref()
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
        let output = command.args(arguments.split_whitespace()).output().unwrap();
        said(output, &format!("{name} {arguments}"))
    }

    /// All jobs that are waiting or running.
    pub fn queue(&self) -> String {
        self.tool("squeue", "--noheader")
    }

    /// The program, on the cluster's login node as it were.
    pub fn program(&self, arguments: &str) -> Command {
        let mut command = self.in_cluster(tangram());
        command.args(arguments.split_whitespace());
        command
    }

    /// Runs the program, which must succeed.
    pub fn tangram(&self, arguments: &str) -> String {
        let output = self.program(arguments).output().unwrap();
        said(output, &format!("tangram {arguments}"))
    }

    /// Runs the program, which must end with a code; gives its errors.
    pub fn fails(&self, arguments: &str, code: i32) -> String {
        let output = self.program(arguments).output().unwrap();
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
        let said = self.tangram(&format!("{arguments} --json"));
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        said["job"].as_u64().unwrap()
    }

    /// The sandbox's profile with something replaced, as NAME.toml.
    pub fn profile(&self, name: &str, from: &str, to: &str) {
        let known = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/clusters/sandbox.toml");
        let text = fs::read_to_string(known).unwrap();
        assert!(text.contains(from), "{from}");
        let path = self.folder().join(format!("{name}.toml"));
        fs::write(path, text.replace(from, to)).unwrap();
    }

    /// Waits until something is so.
    pub fn wait_for(&self, what: &str, so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !so() {
            if begun.elapsed() > PATIENCE {
                let queue = self.tool("squeue", "--states=all");
                panic!("{what}: not within {PATIENCE:?}\n{queue}\n{}", self.logs());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until a job has ended, with a run in OUT.
    pub fn finished(&self, job: u64, out: &str) {
        let ended = || {
            self.tool("squeue", &format!("--noheader --job={job}"))
                .trim()
                .is_empty()
        };
        self.wait_for(&format!("job {job} ends"), ended);
        assert!(
            self.folder().join(out).join("run.toml").is_file(),
            "job {job}: no {out}\n{}",
            self.logs()
        );
    }

    /// What jobs have said.
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
