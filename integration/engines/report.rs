//! What comes out of a machine.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub name: String,
    pub result: Outcome,
    /// Why it failed or was left out.
    pub text: String,
    pub milliseconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// What a machine said: each scenario's report, and why it ended early.
pub struct Said {
    pub reports: Vec<Report>,
    pub broken: Option<String>,
}
