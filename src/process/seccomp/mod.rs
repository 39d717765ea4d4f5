//! The seccomp filter: from `linux.seccomp` to a program that the kernel runs at every system call (seccomp(2)).
//!
//! [`plan`] turns the property into a [`Filter`], plain data. The host compiles that before clone ([`compile`], by
//! libseccomp) or finds it compiled ([`cache`]), and the child loads the [`Program`] by one call. A filter that asks an
//! agent gives the host a descriptor to hand over ([`listener`]).

pub mod cache;
pub mod compile;
pub mod enosys;
pub mod listener;
pub mod plan;
pub mod program;
mod ranges;

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use program::Program;

/// What happens to a system call, with the number that goes along (errno, or the tracer's message).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    KillThread,
    KillProcess,
    Trap,
    Errno(u16),
    Notify,
    Trace(u16),
    Log,
    Allow,
}

impl Action {
    /// For a sentence: what happens to the call.
    pub fn words(self) -> String {
        match self {
            Action::KillThread => "the thread is killed".to_owned(),
            Action::KillProcess => "the process is killed".to_owned(),
            Action::Trap => "it gets SIGSYS".to_owned(),
            Action::Errno(number) => format!("errno {number}"),
            Action::Notify => "the agent is asked".to_owned(),
            Action::Trace(message) => format!("the tracer is told {message}"),
            Action::Log => "logged and allowed".to_owned(),
            Action::Allow => "allowed".to_owned(),
        }
    }
}

/// How an argument is compared; unsigned, 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    /// Equal in the bits of this mask.
    MaskedEqual(u64),
}

/// A condition on one argument of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// 0 to 5.
    pub argument: u32,
    pub comparison: Comparison,
    pub value: u64,
}

/// What one entry of `syscalls` asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub names: Vec<String>,
    pub action: Action,
    pub conditions: Vec<Condition>,
}

/// An architecture, as libseccomp names and numbers it: the kernel's AUDIT_ARCH_ number, but for x32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    pub name: &'static str,
    pub token: u32,
}

/// A filter before it is compiled. Everything that the program depends on stands in here, so that it can be the key of a
/// cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub default: Action,
    /// Beside the machine's own.
    pub architectures: Vec<Architecture>,
    pub rules: Vec<Rule>,
}

/// Who is asked about the calls that a filter doesn't decide itself (runtime-spec, "Seccomp", `listenerPath`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The agent's unix socket.
    pub path: PathBuf,
    pub metadata: Option<String>,
}

/// A filter that can't be compiled: the words are libseccomp's or about its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub why: String,
    pub errno: nix::errno::Errno,
}

/// The program of a filter: from the cache in the state root, else compiled and left there for the next container. The
/// text is what went wrong with the cache, if anything: the program is good in any case.
pub fn prepare(filter: &Filter, state_root: Option<BorrowedFd>) -> Result<(Program, Option<String>), Refused> {
    let Some(root) = state_root else { return Ok((compile::compile(filter)?, None)) };
    let key = compile::key(filter);
    if let Some(program) = cache::find(root, &key) {
        return Ok((program, None));
    }
    let program = compile::compile(filter)?;
    let kept = cache::keep(root, &key, &program);
    let why =
        |trouble: crate::fault::Trouble| format!("{}: {}", trouble.call.name(), crate::fault::words(trouble.errno));
    Ok((program, kept.err().map(why)))
}
