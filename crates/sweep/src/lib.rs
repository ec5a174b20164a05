//! Many trainings: the folds of a sweep, their records, and the jobs that do them on a cluster.

pub mod slurm;
