//! A container of a test: the verbs on it, and its end as an event.

use std::fs;

use serde_json::Value;

use super::runtime::{LIMIT, Output};
use super::sandbox::Sandbox;
use super::sys::Pidfd;

/// A container that `create` has made.
pub struct Container<'a> {
    sandbox: &'a Sandbox,
    pub id: String,
    created: Output,
    /// The init, held so that its end can be waited for even when it is already gone.
    init: Option<Pidfd>,
}

impl<'a> Container<'a> {
    pub(super) fn new(sandbox: &'a Sandbox, id: String, created: Output) -> Container<'a> {
        let mut container = Container { sandbox, id, created, init: None };
        container.init = Pidfd::open(container.pid());
        container
    }

    /// A verb with the id behind it.
    #[track_caller]
    pub fn verb(&self, verb: &str) -> Output {
        self.sandbox.call([verb]).arg(&self.id).output()
    }

    #[track_caller]
    pub fn start(&self) {
        self.verb("start").ok();
    }

    /// `state` as JSON.
    #[track_caller]
    pub fn state(&self) -> Value {
        let output = self.verb("state");
        output.ok();
        output.json()
    }

    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.state()["pid"].as_i64().unwrap_or(0) as i32
    }

    #[track_caller]
    pub fn kill(&self, signal: &str) -> Output {
        self.sandbox.call(["kill"]).arg(&self.id).arg(signal).output()
    }

    /// Waits until the init has ended.
    #[track_caller]
    pub fn wait(&self) {
        if let Some(init) = &self.init {
            assert!(init.wait(LIMIT), "the init of {} doesn't end", self.id);
        }
    }

    /// Kills it and waits for its end.
    #[track_caller]
    pub fn stop(&self) {
        self.kill("KILL").ok();
        self.wait();
    }

    /// What the container has written to its standard output so far.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.created.stdout_path).unwrap_or_default()
    }

    /// Its standard output as JSON, once it has ended.
    #[track_caller]
    pub fn report(&self) -> Value {
        self.wait();
        let text = self.output();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("the report of {}: {e}: {text:?}", self.id))
    }
}
