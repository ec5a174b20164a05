//! Scripts of jobs, from templates.

use super::{Job, JobKind, Profile, SlurmError, StopSignal, Word, ranges};
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;
use tera::{Context, Tera, Value};

/// The templates: what all jobs share, and one for each kind.
const TEMPLATES: [(&str, &str); 4] = [
    (
        "job.sbatch.tera",
        include_str!("../../../../jobs/job.sbatch.tera"),
    ),
    (
        "map.sbatch.tera",
        include_str!("../../../../jobs/map.sbatch.tera"),
    ),
    (
        "array.sbatch.tera",
        include_str!("../../../../jobs/array.sbatch.tera"),
    ),
    (
        "collect.sbatch.tera",
        include_str!("../../../../jobs/collect.sbatch.tera"),
    ),
];

/// A variable that a script exports.
#[derive(Debug, Serialize)]
struct Variable<'a> {
    name: &'a str,
    value: &'a str,
}

/// The script of a job, for sbatch.
///
/// # Errors
/// [`SlurmError::Unrepresentable`] if a word of the command or the folder cannot stand in a script.
pub fn script(job: &Job, profile: &Profile) -> Result<String, SlurmError> {
    let defect = |e: tera::Error| SlurmError::Template(full(&e));
    let context = context(job, profile)?;
    let template = format!("{}.sbatch.tera", job.kind.name());
    let text = templates()?.render(&template, &context).map_err(defect)?;
    Ok(text.trim().to_owned() + "\n")
}

fn templates() -> Result<&'static Tera, SlurmError> {
    static TERA: OnceLock<Result<Tera, String>> = OnceLock::new();
    let made = TERA.get_or_init(|| {
        let mut tera = Tera::default();
        // Nothing here is HTML.
        tera.autoescape_on(vec![]);
        tera.register_filter("quote", quote_filter);
        tera.add_raw_templates(TEMPLATES).map_err(|e| full(&e))?;
        Ok(tera)
    });
    made.as_ref().map_err(|e| SlurmError::Template(e.clone()))
}

/// An error with its causes.
fn full(error: &tera::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn context(job: &Job, profile: &Profile) -> Result<Context, SlurmError> {
    let representable = |what: &'static str, value: &str| match value.contains('\0') {
        false => Ok(()),
        true => Err(SlurmError::Unrepresentable {
            what,
            value: value.to_owned(),
            reason: "holds a NUL character".to_owned(),
        }),
    };
    for word in &job.command {
        representable("argument", word)?;
    }
    let directory = path_text(&job.directory)?;
    representable("folder", directory)?;
    let result = job.result.as_deref().map(path_text).transpose()?;
    representable("result", result.unwrap_or_default())?;

    let mut context = Context::new();
    context.insert("version", env!("CARGO_PKG_VERSION"));
    context.insert("name", &job.name);
    context.insert("log", job.log.as_str());
    context.insert("log_by_slurm", &job.log.is_opened_by_slurm());
    let (pattern, number) = match job.kind {
        JobKind::Array(_) => ("%A_%a", "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"),
        _ => ("%j", "$SLURM_JOB_ID"),
    };
    context.insert("pattern", pattern);
    context.insert("number", number);
    context.insert("directory", directory);
    context.insert("command", &job.command);
    context.insert("result", &result);
    context.insert("partition", &profile.partition);
    context.insert("account", &profile.account);
    context.insert("qos", &profile.qos);
    context.insert("reservation", &profile.reservation);
    context.insert("constraint", &profile.constraint);
    context.insert("time", &profile.time);
    context.insert("nodes", &profile.nodes);
    context.insert("ranks", &profile.ranks);
    context.insert("cpus", &profile.cpus);
    context.insert("memory", &profile.memory);
    context.insert("gres", &profile.gres);
    context.insert("gpus_per_node", &profile.gpus_per_node);
    context.insert("exclude", &list(profile.exclude.iter().chain(&job.exclude)));
    context.insert("directives", &profile.directives);
    context.insert("modules", &profile.modules);
    context.insert("setup", &profile.setup);
    let variables = profile.environment.iter();
    let environment: Vec<Variable<'_>> = variables
        .map(|(name, value)| Variable {
            name: name.as_str(),
            value,
        })
        .collect();
    context.insert("environment", &environment);
    context.insert("restarts", &profile.restarts);
    context.insert(
        "signal",
        &(profile.signal == StopSignal::Usr2).then_some("USR2"),
    );
    context.insert("lead", &profile.lead);
    if let Some(mail) = &profile.mail {
        context.insert("mail_user", &mail.user);
        let events: Vec<&str> = mail.events.iter().map(|e| e.name()).collect();
        context.insert("mail_events", &events.join(","));
    }
    let after: Vec<String> = job.after.iter().map(ToString::to_string).collect();
    // Not afterok: one element that failed would let the next job wait for ever.
    let dependency = (!after.is_empty()).then(|| format!("afterany:{}", after.join(":")));
    context.insert("dependency", &dependency);
    if let JobKind::Array(chunk) = &job.kind {
        context.insert(
            "array",
            &format!("{}%{}", ranges(&chunk.indices), chunk.throttle),
        );
        context.insert("offset", &chunk.offset);
    }
    Ok(context)
}

fn path_text(path: &Path) -> Result<&str, SlurmError> {
    path.to_str().ok_or_else(|| SlurmError::Unrepresentable {
        what: "folder",
        value: path.display().to_string(),
        reason: "the path is not UTF-8; work in another folder".to_owned(),
    })
}

fn list<'a>(words: impl Iterator<Item = &'a Word>) -> Option<String> {
    let mut words: Vec<&str> = words.map(Word::as_str).collect();
    words.sort_unstable();
    words.dedup();
    (!words.is_empty()).then(|| words.join(","))
}

fn quote_filter(value: &Value, _: &HashMap<String, Value>) -> tera::Result<Value> {
    match value {
        Value::String(text) => Ok(Value::String(quote(text))),
        other => Err(tera::Error::msg(format!("{other} is no text to quote"))),
    }
}

/// A text as one word of bash that is taken literally.
fn quote(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "_./:=,@%+-".contains(c);
    if !text.is_empty() && text.chars().all(bare) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
