//! corten: a low-level OCI container runtime that compiles config.json to a plan and runs the plan.
//!
//! Start with ARCHITECTURE.md; the folder tree is the architecture.

pub mod cgroups;
pub mod cli;
pub mod commands;
pub mod config;
pub mod container;
pub mod criu;
pub mod error;
pub mod explain;
pub mod fault;
pub mod field;
pub mod host;
pub mod log;
pub mod namespaces;
pub mod plan;
pub mod process;
pub mod request;
pub mod rootfs;
pub mod seal;
pub mod slots;
pub mod sys;
pub mod toolbox;
