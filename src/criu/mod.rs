//! Checkpoint and restore, by criu (criu.org): what it is asked for, how it is asked, and what it says when it fails.
//!
//! [`plan`] is pure: config.json, the command line and what was seen of the container become the options of one request.
//! [`service`] starts the program `criu swrk`, sends the request, and passes on the points where criu waits for its caller.
//! Who calls, and what becomes of the container, stands in `container/checkpoint.rs` and `container/restore.rs`.

pub mod alone;
pub mod log;
pub mod plan;
pub mod probe;
pub mod rpc;
pub mod service;
