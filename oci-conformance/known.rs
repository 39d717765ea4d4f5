//! The failures that are known, and what a run says of them. Pure.

use serde::Deserialize;

use crate::tap::{Assertion, Verdict};

/// `known-failures.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    #[serde(default)]
    pub failure: Vec<Failure>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    pub program: String,
    /// In the words of the report: those of the program, or one of the names in brackets for the program as a whole.
    pub assertions: Vec<String>,
    /// The proof.
    pub reason: String,
    /// The detail of the failure, where nothing else may be wrong.
    pub says: Option<String>,
    /// The entry is in force only where the machine has none of this; see `main::has`.
    pub lacks: Option<String>,
    /// The assertion depends on timing: it may pass as well.
    #[serde(default)]
    pub flaky: bool,
}

/// What the list says of one program's assertions.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Failures that nobody knows of.
    pub new: Vec<String>,
    /// Entries that aren't true any more.
    pub stale: Vec<String>,
    /// Failures that are known: the assertion, and the reason.
    pub known: Vec<(String, String)>,
}

/// A program as a test.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// Nothing failed that isn't known; why it is no pass.
    Ignored(String),
    Failed(String),
}

impl Judgement {
    /// `passed`: whether the program passed, as the table counts.
    pub fn outcome(&self, passed: bool) -> Outcome {
        let faults: Vec<&str> = self.new.iter().chain(&self.stale).map(String::as_str).collect();
        if !faults.is_empty() {
            return Outcome::Failed(faults.join("\n"));
        }
        let mut reasons: Vec<&str> = self.known.iter().map(|(_, reason)| reason.as_str()).collect();
        reasons.dedup();
        match (reasons.is_empty(), passed) {
            (false, _) => Outcome::Ignored(reasons.join(" ")),
            (true, true) => Outcome::Passed,
            (true, false) => Outcome::Ignored("it skips all that it could assert".to_owned()),
        }
    }
}

impl Known {
    pub fn parse(text: &str) -> Result<Known, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// Without the entries that this machine puts out of force.
    pub fn on(mut self, has: impl Fn(&str) -> bool) -> Known {
        self.failure.retain(|failure| failure.lacks.as_deref().is_none_or(|fact| !has(fact)));
        self
    }

    /// Compares with what a program came to.
    pub fn judge(&self, program: &str, assertions: &[Assertion]) -> Judgement {
        let mut judgement = Judgement::default();
        for it in assertions {
            let of = self.one(program, it);
            judgement.new.extend(of.new);
            judgement.stale.extend(of.stale);
            judgement.known.extend(of.known);
        }
        judgement.stale.extend(self.unseen(program, assertions));
        judgement
    }

    /// The same for one assertion.
    pub fn one(&self, program: &str, it: &Assertion) -> Judgement {
        let mut judgement = Judgement::default();
        let entry = self.entries(program).find(|entry| entry.assertions.contains(&it.name));
        let as_listed = |entry: &&Failure| entry.says.as_ref().is_none_or(|says| *says == it.detail);
        match (it.verdict, entry) {
            (Verdict::Fail, Some(entry)) if as_listed(&entry) => {
                judgement.known.push((it.name.clone(), entry.reason.trim().to_owned()));
            }
            (Verdict::Fail, _) => judgement.new.push(format!("{}: {}", it.name, it.detail)),
            (_, Some(entry)) if !entry.flaky => {
                judgement.stale.push(format!("{}: known-failures.toml has it, and it didn't fail", it.name));
            }
            _ => {}
        }
        judgement
    }

    /// What is listed and wasn't there at all.
    pub fn unseen(&self, program: &str, assertions: &[Assertion]) -> Vec<String> {
        let listed = self.entries(program).filter(|entry| !entry.flaky).flat_map(|entry| &entry.assertions);
        let unseen = listed.filter(|name| !assertions.iter().any(|it| it.name == **name));
        unseen.map(|name| format!("{name}: known-failures.toml has it, and it wasn't seen")).collect()
    }

    fn entries<'a>(&'a self, program: &'a str) -> impl Iterator<Item = &'a Failure> {
        self.failure.iter().filter(move |failure| failure.program == program)
    }
}
