//! The life cycle on disk: what `create` leaves behind and what `start`, `state`, `kill`, `delete` and `list` do with
//! it. These verbs never read config.json again; everything they need stands in the container's `state.json`.
//!
//! Locks: `create`, `start`, `pause`, `resume`, `update`, `checkpoint`, `restore`, `delete` and the two of `mounts` that change
//! something hold the container's lock from their first look to their last effect, so two of them never overlap. `state`,
//! `list`, `ps`, `kill`, `exec` and `mounts list` take no lock: they must answer (and end a container) while a slow hook holds
//! up one of the others.

pub mod checkpoint;
pub mod create;
pub mod delete;
pub mod dir;
pub mod events;
pub mod exec;
pub mod fifo;
#[cfg(test)]
mod fixture;
pub mod id;
pub mod init;
pub mod kill;
pub mod mounts;
pub mod notify;
mod oom;
pub mod pause;
pub mod processes;
pub mod record;
pub mod restore;
pub mod signal;
pub mod start;
pub mod status;
pub mod store;
pub mod update;

pub use self::dir::Locked;
pub use self::id::ContainerId;
pub use self::record::Record;
pub use self::status::Status;
pub use self::store::Store;
pub use crate::error::Warning;
