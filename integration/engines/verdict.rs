//! What the runtimes came to beside each other. A scenario counts by the last runtime; the first says whether it can pass at all.

use crate::report::{Outcome, Report, Said};

#[derive(Default)]
pub struct Totals {
    passed: usize,
    failed: Vec<(String, String)>,
    skipped: Vec<(String, String)>,
}

impl Totals {
    /// Judges these scenarios of an engine. `said` has a machine for each of the runtimes `names`, `known` what fails with all of
    /// them, with the proof.
    pub fn add(&mut self, engine: &str, scenarios: &[&str], known: &[(&str, &str)], names: &[&str], said: &[Said]) {
        let (Some(reference), Some(under_test)) = (said.first(), said.last()) else { return };
        let (first, last) = (names.first().copied().unwrap_or_default(), names.last().copied().unwrap_or_default());
        println!("\n{engine}: {}", names.join(" and "));
        for (name, machine) in names.iter().zip(said) {
            if let Some(why) = &machine.broken {
                self.failed.push((format!("{engine}::with_{name}"), why.clone()));
            }
        }
        for name in scenarios {
            let full = format!("{engine}::{name}");
            let known = known.iter().find(|(known, _)| known == name).map(|(_, why)| *why);
            let verdict = judge(find(reference, name), find(under_test, name), known, first, last);
            let times: Vec<String> = said.iter().map(|said| milliseconds(find(said, name))).collect();
            match verdict {
                Verdict::Passed => {
                    println!("test {full} ... ok ({})", times.join(", "));
                    self.passed += 1;
                }
                Verdict::Failed(why) => {
                    println!("test {full} ... FAILED");
                    self.failed.push((full, why));
                }
                Verdict::Skipped(why) => {
                    println!("test {full} ... ignored, {why}");
                    self.skipped.push((full, why));
                }
            }
        }
    }

    /// Prints the failures and the totals; true when nothing failed.
    pub fn print(&self) -> bool {
        if !self.failed.is_empty() {
            println!("\nfailures:\n");
        }
        for (name, why) in &self.failed {
            println!("---- {name} ----\n{why}\n");
        }
        for (name, why) in &self.skipped {
            println!("skipped 1 because {why}: {name}");
        }
        let (passed, failed, skipped) = (self.passed, self.failed.len(), self.skipped.len());
        let word = if failed == 0 { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {word}. {passed} passed; {failed} failed; {skipped} ignored; 0 measured; 0 filtered out\n"
        );
        failed == 0
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

fn find<'a>(said: &'a Said, name: &str) -> Option<&'a Report> {
    said.reports.iter().find(|report| report.name == name)
}

fn milliseconds(report: Option<&Report>) -> String {
    report.map_or_else(|| "-".to_owned(), |report| format!("{} ms", report.milliseconds))
}

/// A scenario that fails with both must be known to: else an engine that doesn't work at all would look like a success. One that
/// is known to fail, and passes, fails as well: the list stays exact.
pub fn judge(
    reference: Option<&Report>,
    under_test: Option<&Report>,
    known: Option<&str>,
    first: &str,
    last: &str,
) -> Verdict {
    use Outcome::{Failed, Passed, Skipped};
    let Some(tested) = under_test else { return Verdict::Failed(format!("{last} never came to it")) };
    match (reference.map(|report| report.result), tested.result, known) {
        (_, Passed, None) => Verdict::Passed,
        (_, Passed, Some(why)) => Verdict::Failed(format!("it passes, and is known to fail: {why}")),
        (Some(Failed), Failed, Some(why)) => Verdict::Skipped(format!("it fails with {first} too: {why}")),
        (Some(Failed), Failed, None) => {
            let other = reference.map(|report| report.text.as_str()).unwrap_or_default();
            Verdict::Failed(format!("with {last}: {}\nwith {first}, too: {other}", tested.text))
        }
        (Some(Passed), Skipped, _) => Verdict::Failed(format!("skipped with {last} alone: {}", tested.text)),
        (_, Skipped, _) => Verdict::Skipped(tested.text.clone()),
        (_, Failed, _) => Verdict::Failed(tested.text.clone()),
    }
}
