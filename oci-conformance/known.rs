//! The failures that are known, and what a run says of them. Pure.

use serde::Deserialize;

use crate::tap::{Assertion, Verdict};

/// `known-failures.toml`.
#[derive(Debug, Deserialize)]
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
    /// The entry is in force only where the machine has none of this; see `main::has`.
    pub lacks: Option<String>,
    /// The assertion depends on timing: it may pass as well.
    #[serde(default)]
    pub flaky: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Failures that nobody knows of.
    pub new: Vec<String>,
    /// Entries that aren't true any more.
    pub stale: Vec<String>,
    /// Failures that are known, each with its reason.
    pub known: Vec<String>,
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

    /// Compares with what one runtime came to in these programs.
    pub fn judge<'a>(&self, results: impl Iterator<Item = (&'a str, &'a [Assertion])>) -> Judgement {
        let mut judgement = Judgement::default();
        for (program, assertions) in results {
            let entries = || self.failure.iter().filter(|failure| failure.program == program);
            for it in assertions.iter().filter(|it| it.verdict == Verdict::Fail) {
                match entries().find(|entry| entry.assertions.contains(&it.name)) {
                    Some(entry) => judgement.known.push(format!("{program}: {}: {}", it.name, entry.reason.trim())),
                    None => judgement.new.push(format!("{program}: {}: {}", it.name, it.detail)),
                }
            }
            for name in entries().filter(|f| !f.flaky).flat_map(|failure| &failure.assertions) {
                if !assertions.iter().any(|it| it.verdict == Verdict::Fail && it.name == *name) {
                    judgement.stale.push(format!("{program}: {name}: is known to fail and didn't"));
                }
            }
        }
        judgement
    }
}
