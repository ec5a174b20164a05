//! Jobs on a cluster: profiles of clusters, scripts, and everything that is said to Slurm.
//!
//! A [`Job`] and a [`Profile`] give the text of a script, by a pure function, [`script`]. A [`Scheduler`] takes it: [`Slurm`] by the
//! command-line tools, [`Rehearsal`] only records it for `--dry-run`. Queue and accounting are hints; the folder of a run or sweep says what is done.

mod array;
mod directive;
mod error;
mod job;
mod job_id;
mod profile;
mod profile_file;
mod quantity;
mod queue;
mod rehearsal;
mod render;
mod scheduler;
mod tool;
mod word;

pub use array::{Chunk, chunks, ranges, share_throttle};
pub use directive::Directive;
pub use error::SlurmError;
pub use job::{Job, JobKind, JobName, LogFile};
pub use job_id::JobId;
pub use profile::{Collect, Container, Launcher, Mail, MailEvent, Profile, StopSignal};
pub use profile_file::PROFILES;
pub use quantity::{Memory, TimeLimit};
pub use queue::{JobState, Sighting};
pub use rehearsal::Rehearsal;
pub use render::script;
pub use scheduler::{Patience, Scheduler, Slurm};
pub use word::{VariableName, Word};
