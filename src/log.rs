//! The log: one entry for a failure, warnings once it is clear that the command succeeds.
//!
//! Who reads it decides its rules. containerd takes the last object with level `error`; Podman parses the whole file as
//! one JSON object, so a failed command must leave exactly one line, and warnings wait until nothing can fail any more.
//! Only the edge (`main.rs`, `commands/`) writes here: code below returns [`Warning`]s and errors.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use crate::error::Warning;
use crate::error::{Error, Result};
use crate::explain::Report;
use crate::fault::Call;
use crate::field::Field;

/// The form of an entry.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// How grave an entry is; the order is that of gravity.
#[derive(ValueEnum, Serialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Error,
    #[value(alias = "warn")]
    Warning,
    Info,
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }
}

/// What the command line says about the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `None` is stderr.
    pub file: Option<PathBuf>,
    pub format: Format,
    pub level: Level,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { file: None, format: Format::Text, level: Level::Info }
    }
}

impl Settings {
    /// The settings in a command line that is wrong elsewhere; what can't be understood is left at its default.
    pub fn salvage(globals: &[OsString]) -> Settings {
        let mut settings = Settings::default();
        for flag in globals {
            let bytes = flag.as_bytes();
            if let Some(file) = bytes.strip_prefix(b"--log=") {
                settings.file = Some(PathBuf::from(std::ffi::OsStr::from_bytes(file)));
            } else if bytes == b"--log-format=json" {
                settings.format = Format::Json;
            } else if bytes == b"--debug" {
                settings.level = Level::Debug;
            }
        }
        settings
    }
}

/// The open log of one command.
pub struct Log {
    sink: Sink,
    format: Format,
    level: Level,
    /// Warnings that wait for the command's success.
    waiting: Vec<Warning>,
}

enum Sink {
    File(File),
    Stderr,
    /// For tests: what would go to the file.
    #[cfg(test)]
    Memory(Vec<u8>),
}

/// One line of JSON. The first three keys are what every engine reads; who doesn't know the others skips them.
#[derive(Serialize)]
struct Entry<'a> {
    level: Level,
    msg: &'a str,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    hint: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    more: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
}

impl<'a> Entry<'a> {
    fn new(level: Level, msg: &'a str) -> Entry<'a> {
        let time = OffsetDateTime::now_utc();
        // Milliseconds are enough to order entries, and short enough to read.
        let time = time.replace_millisecond(time.millisecond()).unwrap_or(time).format(&Rfc3339).unwrap_or_default();
        let (field, line, call, errno) = (None, None, None, None);
        Entry { level, msg, time, field, line, call, errno, hint: "", more: &[], warnings: &[] }
    }

    /// `time="…" level=error msg="…"`, the text form that tools for container logs read.
    fn text(&self) -> String {
        use std::fmt::Write;
        let mut text = format!("time={:?} level={} msg={:?}", self.time, self.level.name(), self.msg);
        let parts =
            [("field", self.field), ("call", self.call), ("hint", Some(self.hint).filter(|hint| !hint.is_empty()))];
        for (key, value) in parts.iter().filter_map(|(key, value)| value.map(|value| (key, value))) {
            let _ = write!(text, " {key}={value:?}");
        }
        if let Some(errno) = self.errno {
            let _ = write!(text, " errno={errno}");
        }
        text
    }
}

impl Log {
    /// Opens the log for appending; the file is made when it doesn't exist.
    ///
    /// # Errors
    /// The file can't be opened; such a failure can only be told on stderr.
    pub fn open(settings: &Settings) -> Result<Log> {
        let sink = match &settings.file {
            None => Sink::Stderr,
            // std opens everything with O_CLOEXEC.
            Some(path) => match OpenOptions::new().append(true).create(true).mode(0o644).open(path) {
                Ok(file) => Sink::File(file),
                Err(error) => {
                    let doing = format!("open the log file {}", path.display());
                    return Err(Error::io(doing, Call::Open, &error).field(Field::at("--log")));
                }
            },
        };
        Ok(Log { sink, format: settings.format, level: settings.level, waiting: Vec::new() })
    }

    /// A log on stderr as text, for trouble with the log itself.
    pub fn stderr() -> Log {
        Log { sink: Sink::Stderr, format: Format::Text, level: Level::Info, waiting: Vec::new() }
    }

    /// Notes a warning. It is written at once where that can't spoil an engine's parsing, else on success.
    pub fn warn(&mut self, warning: Warning) {
        if self.level < Level::Warning {
            return;
        }
        match self.is_file() && self.level < Level::Debug {
            true => self.waiting.push(warning),
            false => self.write_warning(&warning),
        }
    }

    /// Notes something that only a developer wants to know; the text is made when somebody does.
    pub fn debug<S: Into<String>>(&mut self, text: impl FnOnce() -> S) {
        if self.level < Level::Debug {
            return;
        }
        let text: String = text().into();
        match self.is_plain() {
            true => self.write(&format!("corten: debug: {text}\n")),
            false => self.write_entry(&Entry::new(Level::Debug, &text)),
        }
    }

    /// From here on the command counts as successful: the waiting warnings are written. Called at the end of every
    /// command, and by `run` when the container has started, so that nobody waits hours for a warning.
    pub fn succeeded(&mut self) {
        for warning in std::mem::take(&mut self.waiting) {
            self.write_warning(&warning);
        }
    }

    /// Writes the one entry of a failed command, and the report as text to stderr if the log is a file.
    pub fn fail(&mut self, report: &Report) {
        let warnings: Vec<String> = std::mem::take(&mut self.waiting).iter().map(Warning::to_string).collect();
        let mut text = report.text();
        for warning in &warnings {
            text.push_str(&format!("  warning: {warning}\n"));
        }
        self.fail_as(report, &text, &warnings);
    }

    /// The same with another text for people, for example a command's help.
    pub fn fail_with_text(&mut self, report: &Report, text: &str) {
        self.fail_as(report, text, &[]);
    }

    fn fail_as(&mut self, report: &Report, text: &str, warnings: &[String]) {
        if !self.is_plain() {
            let (mut entry, line) = (Entry::new(Level::Error, &report.message), report.line.as_ref());
            entry.field = report.field.as_ref().map(Field::pointer).filter(|pointer| !pointer.is_empty());
            (entry.line, entry.call, entry.errno) = (line.map(|(_, line)| *line), report.call, report.errno);
            (entry.hint, entry.more, entry.warnings) = (&report.hint, &report.more, warnings);
            self.write_entry(&entry);
        }
        if self.is_plain() || self.is_file() {
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }

    fn write_warning(&mut self, warning: &Warning) {
        let text = warning.to_string();
        if self.is_plain() {
            return self.write(&format!("corten: warning: {}\n", crate::explain::one_line(&text)));
        }
        let mut entry = Entry::new(Level::Warning, &text);
        entry.field = Some(warning.field.pointer()).filter(|pointer| !pointer.is_empty());
        self.write_entry(&entry);
    }

    fn is_file(&self) -> bool {
        !matches!(self.sink, Sink::Stderr)
    }

    /// Text on stderr: for people, without times and keys.
    fn is_plain(&self) -> bool {
        !self.is_file() && self.format == Format::Text
    }

    fn write_entry(&mut self, entry: &Entry) {
        let mut line = match self.format {
            Format::Text => entry.text(),
            // An entry of strings and numbers always has a JSON form.
            Format::Json => serde_json::to_string(entry).unwrap_or_default(),
        };
        line.push('\n');
        self.write(&line);
    }

    /// One write, so that the lines of two commands that share a file don't mix. There is nobody left to tell when
    /// it fails: a full disk must not turn a container that runs into an error.
    fn write(&mut self, line: &str) {
        let _ = match &mut self.sink {
            Sink::File(file) => file.write_all(line.as_bytes()),
            Sink::Stderr => io::stderr().write_all(line.as_bytes()),
            #[cfg(test)]
            Sink::Memory(memory) => memory.write_all(line.as_bytes()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(format: Format, level: Level) -> Log {
        Log { sink: Sink::Memory(Vec::new()), format, level, waiting: Vec::new() }
    }

    fn written(log: &Log) -> Vec<serde_json::Value> {
        let Sink::Memory(bytes) = &log.sink else { panic!("not in memory") };
        std::str::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn report() -> Report {
        Report { message: "create web: no".into(), ..Report::default() }
    }

    #[test]
    fn a_failure_is_one_object_with_the_keys_that_engines_read() {
        let mut log = log(Format::Json, Level::Info);
        log.warn(Warning::new(Field::at("/process/argz"), "unknown property"));
        log.fail(&report());
        let entries = written(&log);
        assert_eq!(entries.len(), 1);
        let entry = entries[0].as_object().unwrap();
        assert_eq!(entry["level"], "error");
        assert_eq!(entry["msg"], "create web: no");
        assert_eq!(entry["warnings"][0], "process.argz: unknown property");
        let time = entry["time"].as_str().unwrap();
        assert!(OffsetDateTime::parse(time, &Rfc3339).is_ok(), "{time}");
        assert!(time.len() <= "2026-01-01T00:00:00.000Z".len(), "{time}");
    }

    #[test]
    fn an_error_without_extras_has_three_keys_in_the_known_order() {
        let line = serde_json::to_string(&Entry::new(Level::Error, "no")).unwrap();
        assert!(line.starts_with(r#"{"level":"error","msg":"no","time":""#), "{line}");
        assert!(line.ends_with("Z\"}"), "{line}");
    }

    #[test]
    fn extras_tell_a_machine_what_the_message_tells_a_person() {
        let mut log = log(Format::Json, Level::Error);
        log.fail(&Report {
            field: Some(Field::item("/mounts", 3, "/source")),
            line: Some(("config.json".into(), 214)),
            call: Some("open_tree"),
            errno: Some(2),
            hint: "look".into(),
            ..report()
        });
        let entry = &written(&log)[0];
        assert_eq!(entry["field"], "/mounts/3/source");
        assert_eq!((&entry["line"], &entry["errno"]), (&214.into(), &2.into()));
        assert_eq!((&entry["call"], &entry["hint"]), (&"open_tree".into(), &"look".into()));
    }

    #[test]
    fn warnings_wait_for_success_so_that_a_failure_stays_one_object() {
        let mut log = log(Format::Json, Level::Info);
        log.warn(Warning::plain("first"));
        assert_eq!(written(&log).len(), 0);
        log.succeeded();
        log.succeeded();
        let entries = written(&log);
        assert_eq!(entries.len(), 1);
        assert_eq!((&entries[0]["level"], &entries[0]["msg"]), (&"warning".into(), &"first".into()));
    }

    #[test]
    fn debug_lines_need_the_debug_level_and_make_warnings_immediate() {
        let mut quiet = log(Format::Json, Level::Info);
        quiet.debug(|| -> String { panic!("nobody asked") });
        assert_eq!(written(&quiet).len(), 0);
        let mut loud = log(Format::Json, Level::Debug);
        loud.debug(|| "clone");
        loud.warn(Warning::plain("w"));
        loud.fail(&report());
        let levels: Vec<_> = written(&loud).iter().map(|entry| entry["level"].as_str().unwrap().to_owned()).collect();
        assert_eq!(levels, ["debug", "warning", "error"]);
    }

    #[test]
    fn the_level_error_silences_warnings() {
        let mut log = log(Format::Json, Level::Error);
        log.warn(Warning::plain("w"));
        log.succeeded();
        assert_eq!(written(&log).len(), 0);
    }

    #[test]
    fn the_text_form_of_a_file_is_one_line_of_keys() {
        let mut entry = Entry::new(Level::Error, "no \"such\"\nthing");
        (entry.errno, entry.hint) = (Some(2), "look");
        let text = entry.text();
        assert!(text.starts_with("time=\"20"), "{text}");
        assert!(text.ends_with("level=error msg=\"no \\\"such\\\"\\nthing\" hint=\"look\" errno=2"), "{text}");
    }

    #[test]
    fn the_log_file_is_appended_to_and_private_to_this_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.json");
        std::fs::write(&path, "before\n").unwrap();
        let settings = Settings { file: Some(path.clone()), format: Format::Json, level: Level::Info };
        let mut log = Log::open(&settings).unwrap();
        log.warn(Warning::plain("w"));
        log.succeeded();
        let Sink::File(file) = &log.sink else { panic!("not a file") };
        let flags = nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        let content = std::fs::read_to_string(path).unwrap();
        assert!(content.starts_with("before\n{\"level\":\"warning\""), "{content}");
    }

    #[test]
    fn a_log_that_can_not_be_opened_is_an_error_that_names_the_flag() {
        let settings = Settings { file: Some("/nonexistent/log".into()), ..Settings::default() };
        let Err(Error::Os { field, doing, .. }) = Log::open(&settings) else { panic!("opened") };
        assert_eq!((field, doing.as_str()), (Field::at("--log"), "open the log file /nonexistent/log"));
    }

    #[test]
    fn settings_are_salvaged_from_a_wrong_command_line() {
        let flags = ["--log=/x", "--log-format=json", "--debug"].map(OsString::from);
        let expected = Settings { file: Some("/x".into()), format: Format::Json, level: Level::Debug };
        assert_eq!(Settings::salvage(&flags), expected);
    }
}
