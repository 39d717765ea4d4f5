//! Scenarios of a command line that Podman and Docker share: the same words, the same answers expected.

pub mod basics;
pub mod exec;
pub mod fleet;
pub mod life;
pub mod limits;
pub mod streams;
pub mod surroundings;

use crate::call::{Output, call, call_on_terminal, call_with};
use crate::scenario::{Scenario, World};

/// All of them.
pub const SUBJECTS: &[&[Scenario]] = &[
    basics::SCENARIOS,
    streams::SCENARIOS,
    exec::SCENARIOS,
    life::SCENARIOS,
    limits::SCENARIOS,
    surroundings::SCENARIOS,
    fleet::SCENARIOS,
];

/// What every container is made of: build.sh's image.
pub const IMAGE: &str = "busybox";

/// Calls of the engine's command line.
impl World {
    #[track_caller]
    pub fn cli(&self, words: &[&str]) -> Output {
        call(&self.line(words))
    }

    #[track_caller]
    pub fn cli_with(&self, words: &[&str], stdin: &str) -> Output {
        call_with(&self.line(words), stdin)
    }

    #[track_caller]
    pub fn cli_on_terminal(&self, words: &[&str], typed: &str) -> Output {
        call_on_terminal(&self.line(words), typed)
    }

    fn line<'a>(&self, words: &[&'a str]) -> Vec<&'a str> {
        [&[self.program], words].concat()
    }

    /// `run --rm FLAGS busybox sh -c SCRIPT`.
    #[track_caller]
    pub fn run(&self, flags: &[&str], script: &str) -> Output {
        self.cli(&[&["run", "--rm"], flags, &[IMAGE, "sh", "-c", script]].concat())
    }

    /// `run -d --name NAME FLAGS busybox sh -c SCRIPT`; removed at the end of the scenario.
    #[track_caller]
    pub fn start<'a>(&'a self, name: &'a str, flags: &[&str], script: &str) -> Container<'a> {
        let container = Container { world: self, name };
        self.cli(&[&["run", "-d", "--name", name], flags, &[IMAGE, "sh", "-c", script]].concat()).good();
        container
    }

    /// A field of `inspect`, as the engine prints it by a template of Go's.
    #[track_caller]
    pub fn inspect(&self, name: &str, field: &str) -> String {
        self.cli(&["inspect", "--format", &format!("{{{{{field}}}}}"), name]).good()
    }

    pub fn is_docker(&self) -> bool {
        self.program == "docker"
    }
}

/// Flags of `rm -f` that leave the program no time to end: Docker's has none.
fn at_once(world: &World) -> &'static [&'static str] {
    if world.is_docker() { &[] } else { &["-t", "0"] }
}

/// A container in the background.
pub struct Container<'a> {
    world: &'a World,
    name: &'a str,
}

impl Container<'_> {
    /// `exec FLAGS NAME sh -c SCRIPT`.
    #[track_caller]
    pub fn exec(&self, flags: &[&str], script: &str) -> Output {
        self.world.cli(&[&["exec"], flags, &[self.name, "sh", "-c", script]].concat())
    }

    /// `VERB FLAGS NAME`.
    #[track_caller]
    pub fn call(&self, words: &[&str]) -> Output {
        self.world.cli(&[words, &[self.name]].concat())
    }

    #[track_caller]
    pub fn inspect(&self, field: &str) -> String {
        self.world.inspect(self.name, field)
    }

    #[track_caller]
    pub fn status(&self) -> String {
        self.inspect(".State.Status")
    }

    /// Its output so far, stdout and stderr together.
    #[track_caller]
    pub fn logs(&self) -> String {
        let output = self.call(&["logs"]);
        format!("{}{}", output.stdout, output.stderr)
    }

    /// Waits until it has printed this.
    #[track_caller]
    pub fn until_it_says(&self, text: &str) {
        crate::scenario::until(&format!("{} says {text:?}", self.name), 10, || self.logs().contains(text));
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.world.cli(&[&["rm", "-f", "-v"], at_once(self.world), &[self.name]].concat());
    }
}
