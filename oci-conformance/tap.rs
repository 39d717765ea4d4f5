//! What a validation program printed, as assertions. Pure.
//!
//! The programs print TAP 13 with blocks of "YAML" that are JSON objects of texts (tap-go). Three things in it are easily
//! taken for a pass and are none: a block with an `error` that belongs to no assertion (the hook programs say a failure so,
//! and then `1..0`), no assertion at all, and an `ok` for a container that should have reported from inside and didn't
//! (`util.RuntimeInsideValidate` only looks for "not ok" in what it printed).

use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Fail,
    Skip,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// The program's words; an assertion that has those of an earlier one ends with its number: `… (2)`.
    pub name: String,
    pub verdict: Verdict,
    /// Why it failed, as far as the program says so.
    pub detail: String,
}

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Exited(i32),
    Signalled(i32),
    TimedOut,
}

/// The names under which faults of a whole program stand beside its assertions.
pub const NO_ASSERTION: &str = "(prints an assertion)";
pub const ERROR: &str = "(prints no error)";
pub const EXIT: &str = "(exits with 0)";
pub const LIMIT: &str = "(ends in time)";
pub const PLAN: &str = "(keeps its plan)";

type Block = BTreeMap<String, String>;

/// Everything that a program said, with what its silence, its errors and its end say.
pub fn parse(stdout: &str, end: End, last_words: &str) -> Vec<Assertion> {
    let mut reader = Reader::default();
    let mut lines = stdout.lines();
    while let Some(line) = lines.next() {
        if line == "  ---" {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "  ...").collect();
            reader.block(&text.join("\n"));
        } else {
            reader.line(line);
        }
    }
    reader.finish(end, last_words)
}

#[derive(Default)]
struct Reader {
    assertions: Vec<Assertion>,
    errors: Vec<String>,
    /// A program may print several reports, each with a plan of its own: where the present one begins.
    begin: usize,
    plans: Vec<(usize, usize)>,
    /// The last assertion may still get a block of its own.
    open: bool,
    /// What the container printed, for the assertion that comes next.
    inside: Option<String>,
}

impl Reader {
    fn line(&mut self, line: &str) {
        if let Some(words) = line.strip_prefix("# ") {
            if let Some(last) = self.assertions.last_mut().filter(|last| last.verdict == Verdict::Fail) {
                append(&mut last.detail, words);
            }
        } else if line.starts_with("TAP version") {
            self.begin = self.assertions.len();
        } else if let Some(planned) = line.strip_prefix("1..").and_then(|count| count.trim().parse::<usize>().ok()) {
            self.plans.push((self.begin, planned));
        } else if let Some((verdict, name)) = assertion(line) {
            self.push(verdict, name);
        }
    }

    fn push(&mut self, verdict: Verdict, name: &str) {
        let mut it = Assertion { name: name.to_owned(), verdict, detail: String::new() };
        if let Some(report) = self.inside.take() {
            let said: Vec<(Verdict, &str)> = report.lines().filter_map(assertion).collect();
            if said.is_empty() && it.verdict == Verdict::Pass {
                it.verdict = Verdict::Fail;
                it.detail = "the container reported nothing".to_owned();
            }
            for (_, failed) in said.iter().filter(|(verdict, _)| *verdict == Verdict::Fail) {
                append(&mut it.detail, failed);
            }
        }
        self.assertions.push(it);
        self.open = true;
    }

    fn block(&mut self, text: &str) {
        let block = fields(text);
        let own = std::mem::take(&mut self.open);
        let Some(error) = block.get("error") else {
            if let Some(report) = block.get("stdout") {
                self.inside = Some(report.clone());
            }
            return;
        };
        let said = [Some(error.as_str()), block.get("stderr").map(String::as_str)];
        let said = said.into_iter().flatten().map(str::trim).collect::<Vec<_>>().join(": ");
        match self.assertions.last_mut().filter(|_| own) {
            Some(last) if last.verdict == Verdict::Fail => append(&mut last.detail, &said),
            // An error that the assertion wanted: the programs then say where the specification asks for it.
            Some(last) if last.verdict == Verdict::Pass && block.contains_key("reference") => {}
            _ => self.errors.push(said),
        }
    }

    fn finish(self, end: End, last_words: &str) -> Vec<Assertion> {
        let Reader { mut assertions, errors, plans, .. } = self;
        let counted = assertions.len();
        let mut fault = |name: &str, detail: String| {
            assertions.push(Assertion { name: name.to_owned(), verdict: Verdict::Fail, detail });
        };
        if counted == 0 {
            fault(NO_ASSERTION, last_words.to_owned());
        }
        if !errors.is_empty() {
            fault(ERROR, errors.join("; "));
        }
        match end {
            End::Exited(0) => {}
            End::Exited(code) => fault(EXIT, format!("exit code {code}: {last_words}")),
            End::Signalled(signal) => fault(EXIT, format!("signal {signal}: {last_words}")),
            End::TimedOut => fault(LIMIT, "stopped at the time limit".to_owned()),
        }
        // Those that end early have said so above.
        for (i, (begin, planned)) in plans.iter().enumerate().filter(|_| end == End::Exited(0)) {
            let end = plans.get(i + 1).map_or(counted, |(next, _)| *next);
            if end - begin != *planned {
                fault(PLAN, format!("{planned} assertions planned, {} printed", end - begin));
            }
        }
        number(&mut assertions);
        assertions
    }
}

/// `ok 3 - words`, `not ok 3 - words`, `ok 3 # SKIP words`.
fn assertion(line: &str) -> Option<(Verdict, &str)> {
    let (passed, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (Verdict::Fail, rest),
        None => (Verdict::Pass, line.strip_prefix("ok ")?),
    };
    let words = rest.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    match words.strip_prefix("# SKIP") {
        Some(words) => Some((Verdict::Skip, words.trim())),
        None => Some((passed, words.trim_start_matches("- ").trim())),
    }
}

/// The texts of a block. One that is no JSON object (tap-go writes it as a format string, so a `%` garbles it) still tells
/// whether it has an error.
fn fields(text: &str) -> Block {
    let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    match value.as_object() {
        Some(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect(),
        None => {
            let key = |name: &str| text.contains(&format!("\"{name}\"")).then(|| (name.to_owned(), text.to_owned()));
            ["error", "reference", "stdout"].into_iter().filter_map(key).collect()
        }
    }
}

fn append(detail: &mut String, words: &str) {
    if !detail.is_empty() {
        detail.push_str("; ");
    }
    detail.push_str(words);
}

fn number(assertions: &mut [Assertion]) {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for it in assertions {
        let count = seen.entry(it.name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            it.name = format!("{} ({count})", it.name);
        }
    }
}
