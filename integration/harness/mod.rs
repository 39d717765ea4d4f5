//! The harness of the end-to-end suite: a runner with run-time skips, a sandbox a test, bundles, and the runtime under test.
//!
//! A test is a function over a [`Sandbox`]. It uses `assert!` as any Rust test does; it leaves by [`skip`] when the
//! machine or the runtime under test can't answer its question. Cleaning up is the sandbox's job, and whatever a
//! runtime leaves behind (mount, process, state, control group) fails the test that caused it.
//!
//! `CORTEN_UNDER_TEST=/usr/sbin/runc cargo test --test integration` runs the suite against another runtime: what then
//! fails is either a fault of that runtime or a fault of the suite, and both are worth knowing. `CORTEN_TEST_FLAGS` are
//! flags in front of every call's verb, `CORTEN_TEST_WITHOUT=faults,help` leaves these files out; the lanes in virtual
//! machines use both (`integration/vm/`).

mod bundle;
pub mod cgroups;
mod container;
mod runtime;
mod sandbox;
mod sockets;
mod suite;
mod sys;

pub use bundle::{Bundle, BundleBuilder, tool};
pub use container::Container;
pub use runtime::{Call, Flavour, LIMIT, Lines, Output, Running, by_systemd, flags_of_all_calls, pipe};
pub use sandbox::{Sandbox, runtime_path};
pub use sockets::{Pty, SocketServer};
pub use suite::{Case, main, skip};
pub use sys::{Pidfd, wait_readable};

/// The list of a file's tests. A test that isn't listed is dead code, and the compiler says so.
///
/// `cases![a, b]` needs root; `cases![anyone: a, b]` runs as whoever calls.
macro_rules! cases {
    (anyone: $($name:ident),+ $(,)?) => {
        &[$($crate::harness::Case { name: stringify!($name), run: $name, root: false }),+]
    };
    ($($name:ident),+ $(,)?) => {
        &[$($crate::harness::Case { name: stringify!($name), run: $name, root: true }),+]
    };
}
pub(crate) use cases;

/// Short form for a set of strings out of a JSON array.
pub fn words(value: &serde_json::Value) -> Vec<String> {
    let text = |v: &serde_json::Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    value.as_array().map(|all| all.iter().map(text).collect()).unwrap_or_default()
}

/// How many containers of a crowd: slower machines take fewer (`CORTEN_TEST_SCALE`, in percent).
pub fn scaled(count: usize) -> usize {
    let percent = std::env::var("CORTEN_TEST_SCALE").ok().and_then(|text| text.parse::<usize>().ok()).unwrap_or(100);
    (count * percent / 100).max(1)
}

/// The last mount at `destination` in a report of the probe.
#[track_caller]
pub fn mount_at<'a>(report: &'a serde_json::Value, destination: &str) -> &'a serde_json::Value {
    let mounts = report["mounts"].as_array().expect("the report has mounts");
    let found = mounts.iter().rev().find(|m| m["destination"] == destination);
    found.unwrap_or_else(|| panic!("nothing is mounted on {destination}: {mounts:#?}"))
}
