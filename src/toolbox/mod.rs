//! The toolbox: what the static corten binary does as the only file of a container.
//!
//! `corten probe` prints what a process sees (its ids, namespaces, mounts, capabilities ...); `corten probe -- CMD` runs
//! one of a few small tools, so that a container without a shell can still be looked into, demonstrated and tested.
//! Everything here runs *inside*: it knows nothing of bundles and plans, except for [`bundle`], which lays the binary
//! into a root file system.
//!
//! Tools are joined by a `;` argument of its own and stop at the first that fails; `try` in front of a tool prints
//! `ok` or the errno's name and goes on: `corten probe -- try write /etc/x hello ';' json`.

mod attacks;
pub mod bundle;
mod files;
mod processes;
mod render;
mod report;
mod terminal;

use std::fmt;
use std::io::{self, Write};

/// Why a tool failed: its words, and the errno if there was one.
pub struct Failure {
    text: String,
    errno: Option<nix::errno::Errno>,
}

impl Failure {
    fn usage(text: &str) -> Failure {
        Failure { text: format!("usage: {text}"), errno: None }
    }

    /// What `try` prints: `EROFS`, or the whole text without an errno.
    fn name(&self) -> String {
        self.errno.map_or_else(|| self.text.clone(), |errno| format!("{errno:?}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        let errno = error.raw_os_error().map(nix::errno::Errno::from_raw);
        Failure { text: error.to_string(), errno }
    }
}

impl From<nix::errno::Errno> for Failure {
    fn from(errno: nix::errno::Errno) -> Failure {
        Failure { text: errno.desc().to_owned(), errno: Some(errno) }
    }
}

impl From<std::num::ParseIntError> for Failure {
    fn from(error: std::num::ParseIntError) -> Failure {
        Failure { text: error.to_string(), errno: None }
    }
}

/// What a tool returns: go on, or leave at once with an exit code.
pub enum Next {
    On,
    Leave(i32),
}

type Outcome = Result<Next, Failure>;
type Tool = fn(&[&str]) -> Outcome;

/// One tool: its name, its arguments in words, what it does.
struct Entry {
    name: &'static str,
    usage: &'static str,
    run: Tool,
}

const fn entry(name: &'static str, usage: &'static str, run: Tool) -> Entry {
    Entry { name, usage, run }
}

/// Every tool, by family. `probe -- help` prints this table.
const TOOLS: &[&[Entry]] = &[
    &[
        entry("help", "", help),
        entry("json", "  the whole report as one line of JSON", |_| report_json()),
        entry("show", "  the report for people", |_| report_text()),
        entry("echo", "WORD...", |words| print(&words.join(" "))),
        entry("env", "  the environment, one variable a line", |_| environment()),
    ],
    files::TOOLS,
    attacks::TOOLS,
    processes::TOOLS,
    terminal::TOOLS,
];

/// Runs `corten probe ARGS` and returns the exit code: 0, 1 when a tool failed, 2 for a wrong call.
///
/// `args` is what follows the word `probe`: nothing, `--json`, or `--` and tools.
pub fn run(args: &[String]) -> i32 {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (tools, rest) = match words.split_first() {
        None => (&["show"][..], &[][..]),
        Some((&"--json", [])) => (&["json"][..], &[][..]),
        Some((&"--help" | &"-h", _)) => (&["help"][..], &[][..]),
        Some((&"--", rest)) => (rest, &[][..]),
        // A script that begins with `#!/bin/corten probe` is passed by its path, and the tools are its arguments.
        Some((script, rest)) if script.starts_with('/') => (rest, &[][..]),
        Some(_) => (&[][..], &words[..]),
    };
    if tools.is_empty() {
        eprintln!("corten probe: unexpected {rest:?}; try `corten probe -- help`");
        return 2;
    }
    for tool in tools.split(|word| *word == ";") {
        match run_tool(tool) {
            Ok(Next::On) => {}
            Ok(Next::Leave(code)) => return code,
            Err(failure) => {
                eprintln!("{}: {failure}", tool.first().unwrap_or(&"probe"));
                return if failure.errno.is_some() { 1 } else { 2 };
            }
        }
    }
    0
}

fn run_tool(words: &[&str]) -> Outcome {
    let Some((&name, args)) = words.split_first() else { return Ok(Next::On) };
    if name == "try" {
        return match run_tool(args) {
            Ok(Next::On) => print("ok"),
            Ok(leave) => Ok(leave),
            Err(failure) => print(&failure.name()),
        };
    }
    match TOOLS.iter().flat_map(|family| family.iter()).find(|entry| entry.name == name) {
        Some(entry) => (entry.run)(args),
        None => Err(Failure { text: "no such tool; try `corten probe -- help`".to_owned(), errno: None }),
    }
}

/// One line to stdout, at once: a test may be waiting for it.
fn print(line: &str) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(Next::On)
}

fn report_json() -> Outcome {
    print(&report::collect().to_string())
}

fn report_text() -> Outcome {
    print(&render::render_report(&report::collect()))
}

fn environment() -> Outcome {
    for (key, value) in std::env::vars_os() {
        print(&format!("{}={}", key.to_string_lossy(), value.to_string_lossy()))?;
    }
    Ok(Next::On)
}

fn help(_: &[&str]) -> Outcome {
    print(
        "corten probe                      what this process sees\ncorten probe --json               the same as JSON",
    )?;
    print("corten probe -- TOOL [';' TOOL]   small tools; `try TOOL` prints ok or the errno\n\ntools:")?;
    for entry in TOOLS.iter().flat_map(|family| family.iter()) {
        print(&format!("  {} {}", entry.name, entry.usage))?;
    }
    Ok(Next::On)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(words: &[&str]) -> i32 {
        run(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_failed_tool_stops_the_line_and_a_tried_one_does_not() {
        assert_eq!(call(&["--", "cat", "/nonexistent", ";", "exit", "7"]), 1);
        assert_eq!(call(&["--", "try", "cat", "/nonexistent", ";", "exit", "7"]), 7);
    }

    #[test]
    fn a_wrong_call_is_told_apart_from_a_failure() {
        assert_eq!(call(&["--", "no-such-tool"]), 2);
        assert_eq!(call(&["--jsn"]), 2);
        assert_eq!(call(&["--", "exit"]), 2);
    }

    #[test]
    fn tools_have_one_name_each() {
        let mut names: Vec<_> = TOOLS.iter().flat_map(|f| f.iter()).map(|e| e.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
