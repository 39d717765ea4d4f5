//! Scenarios: what is done with an engine, as a function that asserts.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::report::{Outcome, Report};

/// What a scenario is given.
pub struct World {
    /// The engine's own command.
    pub program: &'static str,
    /// The runtime's name; engines know it by this.
    pub runtime: String,
    /// Where the machine has it.
    pub path: String,
}

/// A sentence as a name, and what is done.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub run: fn(&World),
}

/// Scenarios of one engine: how it is started, and what is done with it.
pub struct Engine {
    pub name: &'static str,
    /// The command that its users type.
    pub program: &'static str,
    /// Configures and starts the engine; a panic is the end of the machine.
    pub start: fn(&World),
    /// Files of scenarios, in lists that engines share.
    pub scenarios: &'static [&'static [&'static [Scenario]]],
    /// Scenarios that fail with every runtime: the engine's fault or the machine's, with the proof.
    pub known: &'static [(&'static str, &'static str)],
}

impl Engine {
    fn all(&self) -> impl Iterator<Item = Scenario> {
        self.scenarios.iter().copied().flatten().copied().flatten().copied()
    }

    /// The scenarios' names in their order; the start is the first.
    pub fn names(&self) -> Vec<&'static str> {
        let all = self.all().map(|scenario| scenario.name);
        std::iter::once(START).chain(all).collect()
    }
}

/// The scenario that the engine's start is: when it fails, nothing else is tried.
const START: &str = "it_starts";

/// Whether a scenario is among those asked for; no words mean all.
pub fn wanted(name: &str, only: &[String]) -> bool {
    only.is_empty() || name == START || only.iter().any(|word| name.contains(word.as_str()))
}

/// The list of a file's scenarios. One that isn't listed is dead code, and the compiler says so.
macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        &[$($crate::scenario::Scenario { name: stringify!($name), run: $name }),+]
    };
}
pub(crate) use scenarios;

/// The panic payload that means "can't be answered here".
struct Skip(String);

/// Leaves the running scenario and counts it as skipped, for this reason.
pub fn skip(reason: impl Into<String>) -> ! {
    panic_any(Skip(reason.into()))
}

/// Waits until `ready` says so, and fails the scenario after `seconds`: what engines do in the background has no event to wait
/// for from outside.
#[track_caller]
pub fn until(what: &str, seconds: u64, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !ready() {
        assert!(Instant::now() < deadline, "after {seconds} s still not: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// `--scenarios ENGINE RUNTIME [ONLY...]`, inside the machine: a report a line on stdout.
pub fn run_all(engines: &[&Engine], arguments: &[String]) -> ExitCode {
    let [engine, runtime, only @ ..] = arguments else { return ExitCode::from(2) };
    let Some(engine) = engines.iter().find(|it| it.name == engine) else { return ExitCode::from(2) };
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PANIC.set(format!("{place}: {}", text(info.payload())));
    }));
    let path = ["/usr/local/bin", "/usr/sbin", "/usr/bin"].map(|dir| format!("{dir}/{runtime}"));
    let path = path.into_iter().find(|path| std::path::Path::new(path).exists()).unwrap_or_default();
    let world = World { program: engine.program, runtime: runtime.clone(), path };
    let start = Scenario { name: START, run: engine.start };
    // Why the engine isn't there: then that is the answer to every scenario.
    let mut absent: Option<String> = None;
    for scenario in std::iter::once(start).chain(engine.all()).filter(|it| wanted(it.name, only)) {
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| match &absent {
            Some(reason) => skip(reason.clone()),
            None => (scenario.run)(&world),
        }));
        let (result, text) = match outcome {
            Ok(()) => (Outcome::Passed, String::new()),
            Err(payload) => match payload.downcast::<Skip>() {
                Ok(reason) => (Outcome::Skipped, reason.0),
                Err(_) => (Outcome::Failed, PANIC.take()),
            },
        };
        let milliseconds = begun.elapsed().as_millis() as u64;
        let report = Report { name: scenario.name.to_owned(), result, text, milliseconds };
        println!("{}", serde_json::to_string(&report).expect("a report is plain text"));
        match result {
            Outcome::Failed if scenario.name == START => break,
            Outcome::Skipped if scenario.name == START => absent = Some(report.text),
            _ => {}
        }
    }
    ExitCode::SUCCESS
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default().to_owned()
}
