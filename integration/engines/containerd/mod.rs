//! containerd, by its own `ctr`: containers without a network, and whatever else the shim asks of a runtime.

mod basics;
pub mod daemon;
mod exec;
mod fleet;
mod life;
mod limits;
mod streams;
mod surroundings;

pub use surroundings::{PRIVILEGED, privileged};

use std::sync::atomic::{AtomicU32, Ordering};

use crate::call::{Output, call};
use crate::scenario::{Engine, World, until};

pub const ENGINE: Engine = Engine {
    name: "containerd",
    program: "ctr",
    start,
    scenarios: &[&[
        basics::SCENARIOS,
        streams::SCENARIOS,
        exec::SCENARIOS,
        life::SCENARIOS,
        limits::SCENARIOS,
        surroundings::SCENARIOS,
        fleet::SCENARIOS,
    ]],
    known: &[],
};

/// build.sh's image, as its archive names it.
pub const IMAGE: &str = "127.0.0.1:5000/busybox:latest";
/// Both images.
pub const ARCHIVE: &str = "/usr/share/engines/image-oci.tar";

fn start(world: &World) {
    daemon::start(world, "");
    ctr(&["images", "import", ARCHIVE]).good();
}

#[track_caller]
fn ctr(words: &[&str]) -> Output {
    call(&[&["ctr"], words].concat())
}

/// `ctr VERB --runtime … --runc-binary PATH`, the beginning of every call that makes a container.
fn making<'a>(world: &'a World, verb: &[&'a str]) -> Vec<&'a str> {
    [&["ctr"], verb, &["--runtime", "io.containerd.runc.v2", "--runc-binary", &world.path]].concat()
}

/// A name that no container had.
fn fresh() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("run{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// `ctr run --rm FLAGS busybox NAME WORDS`.
#[track_caller]
fn run_words(world: &World, flags: &[&str], words: &[&str]) -> Output {
    let name = fresh();
    call(&[&making(world, &["run"])[..], &["--rm"], flags, &[IMAGE, &name], words].concat())
}

/// `ctr run --rm FLAGS busybox NAME sh -c SCRIPT`.
#[track_caller]
fn run(world: &World, flags: &[&str], script: &str) -> Output {
    run_words(world, flags, &["sh", "-c", script])
}

/// A container in the background, with its output in a file; removed at the end of the scenario.
struct Task<'a> {
    name: &'a str,
}

impl<'a> Task<'a> {
    #[track_caller]
    fn start(world: &World, name: &'a str, flags: &[&str], script: &str) -> Task<'a> {
        let task = Task { name };
        let _ = std::fs::remove_file(task.log());
        let log = format!("file://{}", task.log());
        let words = [IMAGE, name, "sh", "-c", script];
        call(&[&making(world, &["run"])[..], &["--detach", "--log-uri", &log], flags, &words].concat()).good();
        task
    }

    fn log(&self) -> String {
        format!("/var/tmp/{}.log", self.name)
    }

    /// Its output so far, stdout and stderr together.
    fn logs(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    #[track_caller]
    fn until_it_says(&self, text: &str) {
        until(&format!("{} says {text:?}", self.name), 10, || self.logs().contains(text));
    }

    /// `ctr task exec FLAGS NAME sh -c SCRIPT`.
    #[track_caller]
    fn exec(&self, flags: &[&str], script: &str) -> Output {
        let (id, words) = (fresh(), ["sh", "-c", script]);
        ctr(&[&["task", "exec", "--exec-id", &id], flags, &[self.name], &words].concat())
    }

    /// `ctr task WORDS NAME`.
    #[track_caller]
    fn call(&self, words: &[&str]) -> Output {
        ctr(&[&["task"], words, &[self.name]].concat())
    }

    /// Its pid and its status, as `ctr task ls` shows them.
    #[track_caller]
    fn listed(&self) -> (String, String) {
        let list = ctr(&["task", "ls"]).good();
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(self.name));
        let words: Vec<String> = line.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        (words.get(1).cloned().unwrap_or_default(), words.get(2).cloned().unwrap_or_default())
    }

    #[track_caller]
    fn pid(&self) -> String {
        self.listed().0
    }

    #[track_caller]
    fn status(&self) -> String {
        self.listed().1
    }

    /// Waits for its end and takes its exit code, which removes the task.
    #[track_caller]
    fn ended(&self) -> String {
        until(&format!("{} has ended", self.name), 20, || self.status() == "STOPPED");
        let said = self.call(&["rm"]);
        let code = said.stderr.split("non-zero exit code ").nth(1).and_then(|rest| rest.split(['"', '\n']).next());
        code.unwrap_or(if said.code == 0 { "0" } else { "?" }).to_owned()
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        self.call(&["rm", "--force"]);
        ctr(&["containers", "rm", self.name]);
    }
}
