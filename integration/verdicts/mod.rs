//! The judge of seccomp filters: a machine that runs them, two readings of a profile that share nothing with corten, and the
//! sweep that compares.

pub mod bpf;
pub mod literal;
pub mod plain;
pub mod subject;
pub mod sweep;
