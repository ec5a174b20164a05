//! The recipes of `packaging/`, as far as they can be checked without the tools that build them.

use crate::program::{succeed, tangram};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn recipe(name: &str) -> String {
    fs::read_to_string(root().join("packaging").join(name)).unwrap()
}

/// Whether bash can parse a script.
fn parses(script: &str) -> bool {
    let mut bash = Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    bash.stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    bash.wait().unwrap().success()
}

/// Lines between one that is `begin` and the next that begins at the margin.
fn section(text: &str, begin: &str) -> String {
    let lines = text
        .lines()
        .skip_while(|line| line.trim_end() != begin)
        .skip(1);
    let own = lines.take_while(|line| line.is_empty() || line.starts_with(' '));
    own.collect::<Vec<_>>().join("\n")
}

#[test]
fn recipes_are_of_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    for (name, text) in [
        ("conda/meta.yaml", format!("version = \"{version}\"")),
        ("snakemake/environment.yaml", format!("={version}")),
        (
            "nf-core/modules/tangram/map/environment.yml",
            format!("={version}"),
        ),
        (
            "nf-core/modules/tangram/map/main.nf",
            format!(":{version}'"),
        ),
    ] {
        assert!(recipe(name).contains(&text), "{name} has not {text}");
    }
}

#[test]
fn scripts_in_recipes_can_be_parsed_and_call_what_is_there() {
    assert!(parses(&recipe("conda/build.sh")));
    let docker = recipe("docker/Dockerfile");
    let known = [
        "FROM",
        "WORKDIR",
        "COPY",
        "SHELL",
        "ENV",
        "RUN",
        "ENTRYPOINT",
    ];
    let joined = docker.replace("\\\n", " ");
    let mut stages = 0;
    for line in joined
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        let (word, rest) = line.split_once(' ').unwrap();
        assert!(known.contains(&word), "{line}");
        stages += usize::from(word == "FROM");
        if word == "RUN" {
            assert!(parses(rest), "{rest}");
        }
        if let Some(from) = rest.strip_prefix("--from=") {
            let stage = from.split(' ').next().unwrap();
            assert!(docker.contains(&format!(" AS {stage}\n")), "{line}");
        }
    }
    assert_eq!(stages, 2);
    let apptainer = recipe("apptainer/tangram.def");
    for part in ["%post", "%runscript", "%test", "%environment"] {
        let script = section(&apptainer, part);
        assert!(
            !script.trim().is_empty() && parses(&script),
            "{part}: {script}"
        );
    }
    for text in [&recipe("conda/build.sh"), &docker, &apptainer] {
        for word in text
            .split([' ', '\n', ';', '\''])
            .filter(|w| w.starts_with("scripts/"))
        {
            assert!(root().join(word).is_file(), "{word}");
        }
    }
}

#[test]
fn flags_in_recipes_are_those_of_the_program() {
    let help = succeed(root(), "map --help");
    let simulate = succeed(root(), "simulate --help");
    let all = [
        recipe("nf-core/modules/tangram/map/main.nf"),
        recipe("snakemake/wrapper.py"),
        recipe("conda/meta.yaml"),
    ]
    .concat();
    let flags = all
        .split([' ', '\n', '"'])
        .filter(|w| w.starts_with("--") && w.len() > 2);
    let mut n = 0;
    for flag in flags {
        let there = [&help, &simulate].iter().any(|help| {
            help.lines()
                .any(|line| line.trim_start().split([' ', ',']).any(|w| w == flag))
        });
        assert!(there || flag == "--version", "{flag}");
        n += 1;
    }
    assert!(n > 10);
}

#[test]
fn the_snakemake_wrapper_maps() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = "--cells 120 --voxels 60 --spots 20 --genes 80 --panel 40";
    succeed(folder.path(), &format!("simulate --out tissue {sizes}"));
    // snakemake's own function runs a formatted command in bash; its object has these members.
    let stub = r#"
import subprocess, sys, types
module = types.ModuleType("snakemake.shell")
def shell(command):
    values = {k: v for k, v in globals().items() if k in ("snakemake", "genes", "held_out", "extra", "log")}
    values.update(sys.modules["__main__"].__dict__)
    subprocess.run(command.format(**values), shell=True, check=True)
module.shell = shell
sys.modules["snakemake"] = types.ModuleType("snakemake")
sys.modules["snakemake.shell"] = module
class Files(dict):
    __getattr__ = dict.__getitem__
class Object:
    input = Files(cells="tissue/cells.h5ad", voxels="tissue/voxels.h5ad")
    output = ["run"]
    params = {"extra": "--epochs 5"}
    threads = 1
    def log_fmt_shell(self, stdout, stderr):
        return "> map.log 2>&1"
snakemake = Object()
exec(open(sys.argv[1]).read())
"#;
    let program = PathBuf::from(tangram().get_program());
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    let output = Command::new("python3")
        .current_dir(folder.path())
        .env("PATH", path)
        .args(["-c", stub])
        .arg(root().join("packaging/snakemake/wrapper.py"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(folder.path().join("run/run.toml").is_file());
    assert!(folder.path().join("map.log").is_file());
}

#[test]
fn the_program_looks_for_its_libraries_beside_itself() {
    let output = Command::new("readelf")
        .arg("-d")
        .arg(tangram().get_program())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("$ORIGIN/../lib/tangram"), "{told}");
}
