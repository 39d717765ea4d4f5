//! The end-to-end suite: real containers, made by the runtime under test, looked at from inside and outside.
//!
//! One file a subject. See `harness` for how a test is written and how to run the suite against another runtime.

mod harness;
mod lifecycle;

fn main() -> std::process::ExitCode {
    harness::main(&[("lifecycle", lifecycle::CASES)])
}
