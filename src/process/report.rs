//! From a fault to an error: which step it was, in words, and the few steps whose failure has words of its own.
//!
//! `start` needs this without a plan, so `create` leaves what is told of the last steps in the file of the step page,
//! behind the page.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::cgroups;
use crate::error::Error;
use crate::fault::{self, Call, DETAIL, Fault, Stage, Trouble};
use crate::field::Field;
use crate::plan::{self, Op, Plan, Step};
use crate::process::Op as ProcessOp;
use crate::process::hooks::Kind;
use crate::process::page::Left;
use crate::rootfs;
use crate::sys::wait::End;

/// What is told of a step when it fails.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Told {
    sentence: String,
    /// The JSON pointer.
    field: String,
    about: About,
    /// For what the domain knows of its failures.
    #[serde(skip)]
    rootfs: Option<rootfs::Op>,
    #[serde(skip)]
    cgroup: Option<cgroups::Op>,
}

/// Steps whose failure has words of its own.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
enum About {
    #[default]
    Step,
    Program {
        arg0: String,
    },
    StartHook {
        index: usize,
    },
}

impl Told {
    pub fn of(step: &Step) -> Told {
        let about = match &step.op {
            Op::Process(ProcessOp::FindExecutable { arg0 } | ProcessOp::Exec { arg0 }) => {
                About::Program { arg0: arg0.clone() }
            }
            Op::Process(ProcessOp::StartHook { index, .. }) => About::StartHook { index: *index },
            _ => About::Step,
        };
        let (rootfs, cgroup) = match &step.op {
            Op::Rootfs(op) => (Some(op.clone()), None),
            Op::Cgroup(op) => (None, Some(op.clone())),
            _ => (None, None),
        };
        Told { sentence: plan::render(&step.op), field: step.field.pointer().to_owned(), about, rootfs, cgroup }
    }

    fn field(&self) -> Field {
        Field::recorded(self.field.clone())
    }
}

/// A step that failed, as an error with everything that is known of it.
pub fn step_error(told: &Told, stage: Stage, index: usize, trouble: Trouble, detail: &str) -> Error {
    let (mut hint, mut reason) = (None, None);
    if let Some(op) = &told.rootfs {
        (hint, reason) = (rootfs::hint(op, trouble), rootfs::reason(op, trouble).map(str::to_owned));
    } else if let Some(op) = &told.cgroup {
        (hint, reason) = (cgroups::reason::hint(op, trouble), cgroups::reason::reason(op, trouble));
    }
    Error::Step {
        stage,
        index,
        sentence: told.sentence.clone(),
        field: told.field(),
        trouble,
        detail: reason.unwrap_or_else(|| detail.to_owned()),
        hint: hint.unwrap_or_default().to_owned(),
    }
}

/// The error behind a fault that a child sent or left.
pub fn fault_error(told: &Told, fault: &Fault) -> Error {
    let trouble = fault.trouble();
    match &told.about {
        About::Program { arg0 } if trouble.call != Call::Injected => {
            let why = render_reason(arg0, trouble);
            Error::Executable { arg0: arg0.clone(), why, trouble, field: told.field() }
        }
        About::StartHook { index } if trouble.call == Call::Hook => {
            let (how, stderr) = render_failure(trouble.errno, &fault.detail);
            let kind = Kind::StartContainer.name();
            Error::Hook { kind, index: *index, how, stdout: String::new(), stderr, field: told.field() }
        }
        _ => {
            let detail = render_detail(trouble.call, &fault.detail_text());
            step_error(told, fault.stage, usize::from(fault.step), trouble, &detail)
        }
    }
}

/// A fault's detail in words. What the kernel writes to a file system's context comes as lines like `e tmpfs: Bad value
/// for 'size'`, the letter being the gravity.
fn render_detail(call: Call, detail: &str) -> String {
    if !matches!(call, Call::Fsconfig | Call::Fsmount) {
        return detail.to_owned();
    }
    let words =
        |line: &str| ["e ", "w ", "i "].iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line).to_owned();
    detail.lines().map(words).collect::<Vec<_>>().join("; ")
}

/// An init that ended without a word: the last step that it marked tells where.
pub fn died(who: &'static str, told: &Told, stage: Stage, index: usize, how: &str) -> Error {
    let hint = match how {
        how if how.contains("OOM-killed") => {
            "raise linux.resources.memory.limit: setting a container up takes a few MiB by itself"
        }
        how if how.contains("SIGKILL") => "SIGKILL without a sender is the kernel's: look for the OOM killer in dmesg",
        how if how.contains("SIGSYS") => {
            "SIGSYS comes from a seccomp filter: linux.seccomp kills a call that comes before the program's own (execve, read, write, close, those of a change of user), or a filter around corten does"
        }
        _ => "",
    };
    Error::InitDied {
        who,
        how: how.to_owned(),
        stage,
        index,
        sentence: told.sentence.clone(),
        field: told.field(),
        hint: hint.to_owned(),
    }
}

/// A child that didn't get through this step in time.
pub fn overdue(told: &Told) -> Error {
    let hint = "a process of the container may have stopped the one that does it, or a file system on the way doesn't answer; it is killed";
    Error::os(told.sentence.clone(), Trouble::new(Call::Poll, Errno::ETIMEDOUT)).field(told.field()).hint(hint)
}

/// Why a program can't be run, in the words that engines match (Podman: `executable file not found in`, exit 127;
/// `permission denied`, exit 126). `searched`: the name had no slash.
fn render_reason(arg0: &str, trouble: Trouble) -> String {
    let searched = !arg0.contains('/');
    match trouble.errno {
        // The program was found, so what execve misses is something that the program names.
        Errno::ENOENT if trouble.call == Call::Exec => "no such file or directory".to_owned(),
        Errno::ENOENT if searched => "executable file not found in $PATH".to_owned(),
        Errno::ENOENT => format!("stat {arg0}: no such file or directory"),
        Errno::EISDIR => "is a directory".to_owned(),
        Errno::EACCES => "permission denied".to_owned(),
        Errno::ENOEXEC => "exec format error".to_owned(),
        other => fault::words(other).to_lowercase(),
    }
}

/// The end of a startContainer hook in words: how it ended, and what it wrote (`start_hook.rs`).
pub(super) fn render_failure(errno: Errno, detail: &[u8; DETAIL]) -> (String, String) {
    let end = detail.iter().skip(1).position(|&b| b == 0).map_or(DETAIL, |n| n + 1);
    let wrote = String::from_utf8_lossy(detail.get(1..end).unwrap_or_default()).trim_end().to_owned();
    let how = match errno {
        Errno::ECHILD => format!("exit status {}", detail[0]),
        Errno::EINTR => format!("killed by signal {}", detail[0]),
        Errno::ETIMEDOUT => "timed out and was killed".to_owned(),
        other => fault::words(other).to_owned(),
    };
    (how, wrote)
}

/// How a dead init ended, in words.
pub fn render_end(end: End) -> String {
    match end {
        End::Exited(code) => format!("exited with {code}"),
        End::Killed(signal) => match nix::sys::signal::Signal::try_from(signal) {
            Ok(signal) => format!("was killed by {signal}"),
            Err(_) => format!("was killed by signal {signal}"),
        },
    }
}

/// What `create` leaves for `start` behind the step page: the last steps in words.
pub fn render_last_steps(plan: &Plan) -> Vec<u8> {
    let told: Vec<Told> = plan.start.iter().map(Told::of).collect();
    serde_json::to_vec(&told).unwrap_or_default()
}

/// What went wrong between the exec fifo and the program, read from the file of the step page; `None` when the program
/// was reached, and when the file is not what `create` left.
pub fn left_fault(file: &std::path::Path) -> Option<Error> {
    fault_in(&std::fs::read(file).ok()?)
}

/// The same from the file's bytes.
pub fn fault_in(bytes: &[u8]) -> Option<Error> {
    let page = Left::new(bytes)?;
    let told: Vec<Told> = serde_json::from_slice(page.tail()?).unwrap_or_default();
    let of = |step: u16| told.get(usize::from(step)).cloned().unwrap_or_default();
    if let Some(fault) = page.fault() {
        return Some(fault_error(&of(fault.step), &fault));
    }
    let (stage, step) = page.current()?;
    if stage == Stage::Start && usize::from(step) + 1 == told.len() {
        return None;
    }
    Some(died("container init", &of(step), stage, usize::from(step), "ended without a word"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::page::Page;

    fn exec() -> Told {
        Told::of(&Step::new(ProcessOp::Exec { arg0: "sh".into() }, Field::at("/process/args/0")))
    }

    #[test]
    fn an_init_that_dies_silently_is_reported_with_its_step() {
        let told = Told::of(&Step::new(ProcessOp::NewSession, Field::RUNTIME));
        let text =
            died("container init", &told, Stage::StageTwo, 4, &render_end(End::Killed(libc::SIGKILL))).to_string();
        assert!(text.contains("SIGKILL") && text.contains("stage_two step 4 (start a new session)"), "{text}");
    }

    #[test]
    fn a_program_that_cannot_be_run_is_named_in_the_words_that_engines_match() {
        let fault = Fault::new(Stage::Start, 0, Trouble::new(Call::FindExecutable, Errno::ENOENT));
        let text = fault_error(&exec(), &fault).to_string();
        assert_eq!(text, "exec: \"sh\": executable file not found in $PATH");
    }

    #[test]
    fn start_finds_in_the_file_what_the_init_left() {
        use std::io::Write;
        use std::os::fd::AsRawFd;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let size = Page::size(1);
        file.as_file().set_len(size as u64).unwrap();
        let page = Page::create(Some(file.as_file().as_raw_fd()), 1).unwrap();
        std::io::Seek::seek(file.as_file_mut(), std::io::SeekFrom::End(0)).unwrap();
        file.write_all(&serde_json::to_vec(&[exec()]).unwrap()).unwrap();
        page.mark(Stage::Start, 0, 0);
        assert!(left_fault(file.path()).is_none());
        page.set_fault(&Fault::new(Stage::Start, 0, Trouble::new(Call::Exec, Errno::ENOEXEC)));
        assert_eq!(left_fault(file.path()).unwrap().to_string(), "exec: \"sh\": exec format error");
    }

    #[test]
    fn an_init_killed_after_the_fifo_is_no_success() {
        use std::os::fd::AsRawFd;
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(Page::size(1) as u64).unwrap();
        let page = Page::create(Some(file.as_file().as_raw_fd()), 1).unwrap();
        page.mark(Stage::StageTwo, 30, 0);
        assert!(matches!(left_fault(file.path()), Some(Error::InitDied { .. })));
    }

    #[test]
    fn a_foreign_file_is_no_fault() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7u8; 5000]).unwrap();
        assert!(left_fault(file.path()).is_none());
    }

    #[test]
    fn engines_find_their_words() {
        let reason = |arg0, call, errno| render_reason(arg0, Trouble::new(call, errno));
        let not_found = "executable file not found in $PATH";
        assert_eq!(reason("nonexist", Call::FindExecutable, Errno::ENOENT), not_found);
        assert_eq!(reason("", Call::FindExecutable, Errno::ENOENT), not_found);
        let missing = reason("/nonexist", Call::FindExecutable, Errno::ENOENT);
        assert_eq!(missing, "stat /nonexist: no such file or directory");
        assert!(reason("/etc/passwd", Call::FindExecutable, Errno::EACCES).contains("permission denied"));
        // It was there: what execve didn't find is its interpreter.
        assert_eq!(reason("sh", Call::Exec, Errno::ENOENT), "no such file or directory");
    }

    #[test]
    fn what_the_kernel_wrote_about_a_mount_reads_as_a_sentence() {
        let wrote = "e tmpfs: Bad value for 'size'\nw overlay: something else\n";
        assert_eq!(render_detail(Call::Fsconfig, wrote), "tmpfs: Bad value for 'size'; overlay: something else");
        assert_eq!(render_detail(Call::Fsconfig, ""), "");
        assert_eq!(render_detail(Call::Mount, "e x"), "e x");
    }
}
