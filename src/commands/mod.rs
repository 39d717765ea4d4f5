//! One file a verb, each a few dozen lines without decisions of its own: it asks the domains and prints.

use crate::cli::{Invocation, Verb};
use crate::error::Result;
use crate::log::Log;

pub mod check;
pub mod checkpoint;
pub mod completion;
pub mod create;
pub mod delete;
pub mod demo;
pub mod events;
pub mod exec;
pub mod features;
pub mod kill;
// Open for the fuzz targets, which read, validate and plan as the commands do.
pub mod launch;
pub mod list;
pub mod man;
pub mod mounts;
pub mod pause;
pub mod plan;
pub mod probe;
pub mod ps;
pub mod restore;
pub mod resume;
pub mod run;
pub mod spec;
pub mod start;
pub mod state;
pub mod stats;
pub mod update;
pub mod version;

/// Runs a command; the number is its exit code.
pub fn run(invocation: Invocation, log: &mut Log) -> Result<i32> {
    let Invocation { globals, verb } = invocation;
    match verb {
        Verb::Create(args) => create::run(&globals, args, log),
        Verb::Start(args) => start::run(&globals, args, log),
        Verb::Run(args) => run::run(&globals, args, log),
        Verb::Exec(args) => exec::run(&globals, *args, log),
        Verb::State(args) => state::run(&globals, args, log),
        Verb::Kill(args) => kill::run(&globals, args, log),
        Verb::Pause(args) => pause::run(&globals, args, log),
        Verb::Resume(args) => resume::run(&globals, args, log),
        Verb::Checkpoint(args) => checkpoint::run(&globals, *args, log),
        Verb::Restore(args) => restore::run(&globals, *args, log),
        Verb::Delete(args) => delete::run(&globals, args, log),
        Verb::List(args) => list::run(&globals, args, log),
        Verb::Ps(args) => ps::run(&globals, args, log),
        Verb::Update(args) => update::run(&globals, *args, log),
        Verb::Mounts(args) => mounts::run(&globals, *args, log),
        Verb::Events(args) => events::run(&globals, args, log),
        Verb::Stats(args) => stats::run(&globals, args, log),
        Verb::Plan(args) => plan::run(&globals, args, log),
        Verb::Check(args) => check::run(&globals, args, log),
        Verb::Demo(args) => demo::run(&globals, args, log),
        Verb::Spec(args) => spec::run(&globals, args),
        Verb::Features(_) => features::run(),
        Verb::Completion(args) => completion::run(args),
        Verb::Man(args) => man::run(args),
    }
}

/// Prints a command's result on stdout.
fn print(bytes: &[u8]) -> Result {
    use std::io::Write;

    use crate::error::Error;
    use crate::fault::Call;
    let mut stdout = std::io::stdout();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|error| Error::io("write to stdout", Call::Write, &error))
}

/// For tests: a command as it is typed.
#[cfg(test)]
fn typed(words: &[&str]) -> Result<i32> {
    match crate::cli::parse(words.iter().map(Into::into)) {
        Ok(crate::cli::Parsed::Run(invocation)) => run(*invocation, &mut Log::stderr()),
        Ok(_) => Ok(0),
        Err(refused) => Err(refused.error),
    }
}
