//! Profiles in files: those that come with the program, and those of its user.

use super::{Profile, SlurmError};
use std::ops::Range;
use std::path::{Path, PathBuf};
use tangram_store::read_text;

/// The profiles that come with the program: name and text.
pub const PROFILES: [(&str, &str); 3] = [
    ("cpu", include_str!("../../../../configs/clusters/cpu.toml")),
    ("gpu", include_str!("../../../../configs/clusters/gpu.toml")),
    (
        "sandbox",
        include_str!("../../../../configs/clusters/sandbox.toml"),
    ),
];

impl Profile {
    /// Finds a profile: the path of a file that ends in `.toml`, or a name, first among the user's own, then among [`PROFILES`].
    ///
    /// # Errors
    /// If there is none, or something is wrong in it.
    pub fn find(name: &str) -> Result<Self, SlurmError> {
        if Path::new(name).extension().is_some_and(|e| e == "toml") {
            return Self::read(Path::new(name));
        }
        let folder = user_folder();
        let own = folder.join(format!("{name}.toml"));
        // A name with a slash in it is no name.
        if !name.contains('/') && own.is_file() {
            return Self::read(&own);
        }
        let Some((name, text)) = PROFILES.iter().find(|(n, _)| *n == name) else {
            return Err(SlurmError::UnknownProfile {
                name: name.to_owned(),
                known: PROFILES.map(|(n, _)| n).join(", "),
                folder,
            });
        };
        Self::parse(text, name)
    }

    fn read(path: &Path) -> Result<Self, SlurmError> {
        let text = read_text(path).map_err(|e| SlurmError::UnreadableProfile {
            path: path.to_owned(),
            reason: e.to_string(),
        })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads the text of a profile.
    ///
    /// * `path`: where it is from, for messages
    ///
    /// # Errors
    /// [`SlurmError::Profile`]
    pub fn parse(text: &str, path: &str) -> Result<Self, SlurmError> {
        let profile: Self = toml::from_str(text).map_err(|e| SlurmError::Profile {
            path: path.to_owned(),
            field: e.span().map_or("file".to_owned(), |span| line(text, span)),
            reason: e.message().to_owned(),
        })?;
        profile.checked(path)
    }

    /// The profile, if its fields fit together; to be asked again after one was changed.
    ///
    /// * `path`: where it is from, for messages
    ///
    /// # Errors
    /// [`SlurmError::Profile`]
    pub fn checked(self, path: &str) -> Result<Self, SlurmError> {
        match self.contradiction() {
            None => Ok(self),
            Some((field, reason)) => Err(SlurmError::Profile {
                path: path.to_owned(),
                field: format!("`{field}`"),
                reason,
            }),
        }
    }
}

/// The line of a place, with its number.
fn line(text: &str, span: Range<usize>) -> String {
    let before = &text[..span.start.min(text.len())];
    let number = before.matches('\n').count();
    let line = text.lines().nth(number).unwrap_or_default().trim();
    format!("line {}, `{line}`", number + 1)
}

fn user_folder() -> PathBuf {
    let of = |variable: &str| {
        std::env::var_os(variable)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let config = of("XDG_CONFIG_HOME").or_else(|| Some(of("HOME")?.join(".config")));
    config.unwrap_or_default().join("tangram/clusters")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        Profile::parse(text, "my.toml").unwrap_err().to_string()
    }

    #[test]
    fn profiles_of_the_program_are_whole_and_name_every_field() {
        for (name, _) in PROFILES {
            Profile::find(name).unwrap();
        }
        // Commented out or not, cpu.toml shows whatever can be set.
        let (_, text) = PROFILES[0];
        let open: String = text
            .lines()
            .map(|l| match l.strip_prefix("# ") {
                Some(rest)
                    if rest.starts_with('[')
                        || rest.split_once(" = ").is_some_and(|(k, _)| {
                            k.chars()
                                .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
                        }) =>
                {
                    format!("{rest}\n")
                }
                _ => format!("{l}\n"),
            })
            .collect();
        let open = open.replace("gres = ", "# gres = ");
        let profile = Profile::parse(&open, "cpu.toml, opened").unwrap();
        let all = toml::Table::try_from(&profile).unwrap();
        let without_gres = toml::Table::try_from(Profile::find("gpu").unwrap()).unwrap();
        assert!(all.len() > without_gres.len());
        for field in [
            "partition",
            "account",
            "qos",
            "reservation",
            "constraint",
            "exclude",
            "gpus-per-node",
            "modules",
            "setup",
            "launcher-arguments",
            "mail",
            "directives",
            "environment",
            "container",
            "collect",
        ] {
            assert!(all.contains_key(field), "{field}: {open}");
        }
    }

    #[test]
    fn what_is_wrong_in_a_profile_is_said_with_its_place() {
        let told: Vec<String> = [
            "partition = \"a b\"",
            "cpus = 4\npartion = \"x\"",
            "cpus = 0",
            "time = \"soon\"",
            "memory = \"16\"",
            "ranks = 4",
            "nodes = 2",
            "gres = \"gpu:1\"\ngpus-per-node = \"1\"",
            "time = \"0:01:00\"",
            "failure-budget = 2.0",
            "directives = [\"--wrap=id\"]",
            "launcher = \"aprun\"",
            "signal = \"KILL\"",
            "[environment]\nBASH_ENV = \"/tmp/x\"",
            "[environment]\nX = \"a\\u0000b\"",
            "[container]\nimage = \"\"\ncommand = []",
            "mail = { user = \"me\", events = [] }",
            "partition = ",
        ]
        .map(told)
        .into();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn a_profile_is_found_by_name_or_by_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        std::fs::write(&path, "partition = \"mine\"").unwrap();
        let profile = Profile::find(path.to_str().unwrap()).unwrap();
        assert_eq!(profile.partition.unwrap().as_str(), "mine");
        let error = Profile::find("nowhere").unwrap_err().to_string();
        assert!(error.contains("cpu, gpu, sandbox"), "{error}");
        let error = Profile::find("no/where.toml").unwrap_err().to_string();
        assert!(error.starts_with("no/where.toml: "), "{error}");
        assert!(Profile::find("../sandbox").is_err());
    }
}
