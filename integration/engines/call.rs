//! Calls of an engine's command line: bounded in time, with everything that came out of them.

use std::process::{Command, Stdio};

/// No call may take longer; a hang is a failure and not the end of the machine.
const LIMIT: &str = "60";

/// What a call left. The exit code of a call that took too long is 137.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    words: String,
}

impl Output {
    /// Its stdout without the last newline; a failed call fails the scenario.
    #[track_caller]
    pub fn good(self) -> String {
        assert!(self.code == 0, "{self}");
        self.stdout.trim_end().to_owned()
    }

    /// The call has to end with this exit code.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Output {
        assert!(self.code == code, "not exit code {code}: {self}");
        self
    }

    /// The call has to fail; whatever it says about that.
    #[track_caller]
    pub fn bad(self) -> Output {
        assert!(self.code != 0, "it doesn't fail: {self}");
        self
    }

    /// Its stderr has to contain `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Output {
        assert!(self.stderr.contains(text), "no word of {text:?}: {self}");
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Output { code, stdout, stderr, words } = self;
        write!(f, "`{words}` ended with {code}\n  stdout: {}\n  stderr: {}", last_lines(stdout), last_lines(stderr))
    }
}

/// An engine can be wordy: what matters stands at the end.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(12)..].join("\n    ")
}

/// Runs a program of the machine.
#[track_caller]
pub fn call<S: AsRef<str>>(words: &[S]) -> Output {
    call_with(words, "")
}

/// Runs a program of the machine with this on its stdin.
#[track_caller]
pub fn call_with<S: AsRef<str>>(words: &[S], stdin: &str) -> Output {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let mut command = Command::new("timeout");
    command.args(["--kill-after=1", "--signal=KILL", LIMIT]).args(&words);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("timeout");
    let mut pipe = child.stdin.take().expect("a pipe was asked for");
    let text = stdin.to_owned();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut pipe, text.as_bytes()));
    let output = child.wait_with_output().expect("wait for a call");
    // Who doesn't read its stdin may end before all is written.
    let _ = writer.join();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output
        .status
        .code()
        .unwrap_or_else(|| 128 + std::os::unix::process::ExitStatusExt::signal(&output.status).unwrap_or(0));
    Output { code, stdout: text(&output.stdout), stderr: text(&output.stderr), words: words.join(" ") }
}

/// A program of the machine that goes on beside the scenario; killed at its end.
pub struct Background {
    child: std::process::Child,
    out: tempfile::NamedTempFile,
}

impl Background {
    #[track_caller]
    pub fn start(words: &[&str]) -> Background {
        let out = tempfile::NamedTempFile::new().expect("a file");
        let file = || out.as_file().try_clone().expect("a descriptor");
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(file()).stderr(file());
        Background { child: command.spawn().expect("a program"), out }
    }

    /// Its output so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.out.path()).unwrap_or_default()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A word for the shell.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Runs a program on a terminal of its own, as somebody who types. Both of its outputs come as one, with the terminal's line ends.
#[track_caller]
pub fn call_on_terminal<S: AsRef<str>>(words: &[S], typed: &str) -> Output {
    let line: Vec<String> = words.iter().map(|word| quoted(word.as_ref())).collect();
    call_with(&["script", "--quiet", "--return", "--command", &line.join(" "), "/dev/null"], typed)
}
