//! The end-to-end suite: real containers, made by the runtime under test, looked at from inside and outside.
//!
//! One file a subject. See `harness` for how a test is written and how to run the suite against another runtime.

mod devices;
mod harness;
mod lifecycle;
mod masks;
mod mounts;
mod namespaces;
mod notify;
mod pivot;
mod process;
mod run;
mod terminal;

fn main() -> std::process::ExitCode {
    harness::main(&[
        ("devices", devices::CASES),
        ("lifecycle", lifecycle::CASES),
        ("masks", masks::CASES),
        ("mounts", mounts::CASES),
        ("namespaces", namespaces::CASES),
        ("notify", notify::CASES),
        ("pivot", pivot::CASES),
        ("process", process::CASES),
        ("run", run::CASES),
        ("terminal", terminal::CASES),
    ])
}
