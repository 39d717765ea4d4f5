//! Everything that can go wrong, as one enum. Nothing here writes: `explain.rs` renders an error once, at the edge.
//!
//! Several messages contain fragments that engines look for (containerd matches `container not running` and
//! `does not exist`, Podman `executable file not found in`); a unit test in `explain.rs` keeps them.

use std::fmt;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::fault::{self, Call, Stage, Trouble};
use crate::field::Field;

/// What corten's host side returns.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// One thing that is wrong with config.json or the command line: the field, why, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub field: Field,
    /// Line in config.json, counted from 1; `None` where nothing in the file can be pointed at.
    pub line: Option<usize>,
    /// Why it can't be done, without the field's name: `must be an absolute path, not "tmp"`.
    pub why: String,
    /// The next step for the user; may be empty.
    pub hint: String,
}

impl Violation {
    pub fn new(field: Field, why: impl Into<String>) -> Violation {
        Violation { field, line: None, why: why.into(), hint: String::new() }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Violation {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.why)
    }
}

/// Something that the user should know and that stops nothing: a property that corten doesn't know or doesn't apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// [`Field::RUNTIME`] when no property is to blame.
    pub field: Field,
    /// Without the field's name.
    pub text: String,
}

impl Warning {
    pub fn new(field: Field, text: impl Into<String>) -> Warning {
        Warning { field, text: text.into() }
    }

    /// About nothing in particular.
    pub fn plain(text: impl Into<String>) -> Warning {
        Warning::new(Field::RUNTIME, text)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field == Field::RUNTIME {
            true => f.write_str(&self.text),
            false => write!(f, "{}: {}", self.field, self.text),
        }
    }
}

/// What kind of no systemd has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemdTrouble {
    /// Nobody was there to say it.
    Unreachable,
    /// The unit is somebody else's.
    Taken,
    Refused,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line makes no sense. The text says what and names the flag.
    #[error("{0}")]
    Usage(String),

    /// A command or help topic that doesn't exist; runc exits with 3.
    #[error("No help topic for '{0}'")]
    UnknownCommand(String),

    #[error("container id cannot be empty")]
    EmptyId,

    #[error("invalid container ID format: {id:?}")]
    BadId { id: String },

    #[error("container does not exist")]
    NoSuchContainer { id: String },

    #[error("container with given ID already exists")]
    AlreadyExists { id: String },

    /// A verb that the container's status doesn't allow; the text is the one engines match.
    #[error("{0}")]
    WrongStatus(String),

    #[error("unknown signal {0:?}")]
    UnknownSignal(String),

    #[error("JSON specification file {} not found", path.display())]
    NoConfig { path: PathBuf },

    /// config.json is no JSON at all: the parser's words with line and column.
    #[error("{}: {why}", path.display())]
    Syntax { path: PathBuf, line: usize, why: String },

    /// config.json (or the command line with it) asks for what can't be; never empty.
    #[error("{}", summary(.0))]
    Violations(Vec<Violation>),

    /// A file in the state root that corten didn't write or can't read.
    #[error("state of container {id:?} is damaged: {why}")]
    DamagedState { id: String, why: String },

    /// A call on the host failed.
    #[error("{doing}: {}", words(*trouble))]
    Os { doing: String, field: Field, trouble: Trouble, hint: &'static str },

    /// systemd didn't do as it was asked, or can't be asked.
    #[error("{}{doing}: {why}", prefix(field))]
    Systemd { doing: String, field: Field, why: String, hint: &'static str, trouble: SystemdTrouble },

    /// Something failed, and what had been done before couldn't all be undone.
    #[error("{error}; {left}")]
    LeftOver { error: Box<Error>, left: String },

    /// criu failed at a checkpoint or a restore: the cause in its own words, and what else its log says of it.
    #[error("{doing}: criu: {why}")]
    Criu { doing: String, why: String, more: Vec<String>, hint: &'static str },

    /// A step of the plan failed, here or in the container.
    #[error("{}", step_words(sentence, field, *trouble, detail))]
    Step {
        stage: Stage,
        index: usize,
        /// The step as a sentence: `bind /nonexistent/src on /data`.
        sentence: String,
        field: Field,
        trouble: Trouble,
        detail: String,
        hint: String,
    },

    /// The init was killed, or vanished, before it said that it was ready.
    #[error("{who} {how} at {stage} step {index} ({sentence})", stage = stage.name())]
    InitDied {
        who: &'static str,
        how: String,
        stage: Stage,
        index: usize,
        sentence: String,
        field: Field,
        hint: String,
    },

    /// The program that the container is to run can't be run. The call tells whether it wasn't found
    /// ([`Call::FindExecutable`]) or execve refused it.
    #[error("exec: {arg0:?}: {why}")]
    Executable { arg0: String, why: String, trouble: Trouble, field: Field },

    /// A hook failed: which one, how it ended, and what it wrote.
    #[error("error running {kind} hook #{index}: {how}, stdout: {stdout}, stderr: {stderr}")]
    Hook { kind: &'static str, index: usize, how: String, stdout: String, stderr: String, field: Field },
}

fn summary(violations: &[Violation]) -> String {
    let first = violations.first().map(Violation::to_string).unwrap_or_default();
    match violations.len() {
        0 | 1 => first,
        n => format!("{first} (and {} more; `corten check` lists all)", n - 1),
    }
}

/// `open_tree: No such file or directory`; only the errno's words where corten has no call to name.
fn words(trouble: Trouble) -> String {
    match trouble.call {
        Call::None => fault::words(trouble.errno).to_owned(),
        call => format!("{}: {}", call.name(), fault::words(trouble.errno)),
    }
}

fn step_words(sentence: &str, field: &Field, trouble: Trouble, detail: &str) -> String {
    let words = words(trouble);
    let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
    match field {
        field if *field == Field::RUNTIME => format!("{sentence}: {words}{detail}"),
        field => format!("{field}: {sentence}: {words}{detail}"),
    }
}

fn prefix(field: &Field) -> String {
    if *field == Field::RUNTIME { String::new() } else { format!("{field}: ") }
}

impl Error {
    /// A failed call on the host: `Error::os("open the state root /run/corten", trouble)`.
    pub fn os(doing: impl Into<String>, trouble: Trouble) -> Error {
        Error::Os { doing: doing.into(), field: Field::RUNTIME, trouble, hint: "" }
    }

    /// The same for std's I/O errors. One without an errno counts as EIO, and as EINVAL where std has refused what the
    /// kernel would refuse too: a NUL in a path, a socket's path that is too long.
    pub fn io(doing: impl Into<String>, call: Call, error: &std::io::Error) -> Error {
        let without = || match error.kind() {
            std::io::ErrorKind::InvalidInput => Errno::EINVAL,
            _ => Errno::EIO,
        };
        let errno = error.raw_os_error().map_or_else(without, Errno::from_raw);
        Error::os(doing, Trouble::new(call, errno))
    }

    /// Names the field that asked for it.
    pub fn field(mut self, at: Field) -> Error {
        if let Error::Os { field, .. } | Error::Systemd { field, .. } = &mut self {
            *field = at;
        }
        self
    }

    /// Adds the next step for the user.
    pub fn hint(mut self, text: &'static str) -> Error {
        if let Error::Os { hint, .. } = &mut self {
            *hint = text;
        }
        self
    }

    /// The exit code of the command: 3 for an unknown command, otherwise 1 as runc has it; `exec` has a rule of its own.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::UnknownCommand(_) => 3,
            _ => 1,
        }
    }
}

/// Says what was being done when a call failed.
pub trait Doing<T> {
    /// `file.read(..).doing(|| format!("read {path}"))?`
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Doing<T> for std::result::Result<T, Trouble> {
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|trouble| Error::os(doing(), trouble))
    }
}

impl<T> Doing<T> for std::io::Result<T> {
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| Error::io(doing(), Call::None, &error))
    }
}

impl<T> Doing<T> for nix::Result<T> {
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|errno| Error::os(doing(), Trouble::new(Call::None, errno)))
    }
}
