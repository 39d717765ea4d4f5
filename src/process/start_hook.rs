//! startContainer hooks: run by the init itself, in the container, as the container's user, after `start` and before
//! the program (runtime-spec config.md, hooks). No heap: everything but the pid stands ready since planning.

use std::ffi::CString;
use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::fault::{self, Call, DETAIL, Effect, Trouble};
use crate::sys::clone::{self, Side};
use crate::sys::exec::Image;
use crate::sys::stream;
use crate::sys::{descriptor, file, identity, wait};

/// A hook with all its arrays built.
pub struct StartHook {
    pub path: CString,
    pub image: Image,
    /// The state in one line, in two parts: the pid of the init stands between them.
    pub state: [Vec<u8>; 2],
    /// Milliseconds; `None` waits for ever.
    pub timeout: Option<u64>,
}

/// Why a hook failed, as errno and text: exit codes travel in the detail.
fn failed(errno: Errno) -> Trouble {
    Trouble::new(Call::Hook, errno)
}

/// Runs the hook. `detail` gets what it wrote to stderr (or stdout), after one byte with its exit code when
/// the errno is ECHILD, or with its signal when the errno is EINTR; ETIMEDOUT stands for the time-out.
pub fn apply(hook: &StartHook, detail: &mut [u8; DETAIL]) -> Effect {
    let (input_read, input_write) = stream::pair()?;
    let (output_read, output_write) = stream::pair()?;
    match clone::clone(0)? {
        Side::Child => become_hook(hook, input_read, output_write),
        Side::Parent(pid) => {
            file::close(input_read);
            file::close(output_write);
            stream::set_nonblocking(input_write);
            stream::set_nonblocking(output_read);
            watch(hook, pid, input_write, output_read, detail)
        }
    }
}

fn become_hook(hook: &StartHook, input: RawFd, output: RawFd) -> ! {
    // A group of its own, so that what it starts ends with it when its time is over.
    identity::lead_group();
    let stdio = descriptor::dup_to(input, 0)
        .and_then(|()| descriptor::dup_to(output, 1))
        .and_then(|()| descriptor::dup_to(output, 2));
    descriptor::cloexec_from(3);
    let trouble = match stdio.and_then(|()| wait::reset_signals()) {
        Ok(()) => hook.image.exec(&hook.path),
        Err(trouble) => trouble,
    };
    // The shell's code for a program that can't be run, with the reason where the hook's own words would stand.
    let _ = descriptor::write(1, fault::words(trouble.errno).as_bytes());
    clone::exit_now(127)
}

/// The state on its way to the hook: three parts, and how far it has come.
struct Feed<'a> {
    parts: [&'a [u8]; 3],
    part: usize,
    sent: usize,
}

impl Feed<'_> {
    /// Writes what the hook takes; false when it is all written, or the hook doesn't want it.
    fn go_on(&mut self, input: RawFd) -> bool {
        while let Some(part) = self.parts.get(self.part) {
            match part.get(self.sent..).filter(|rest| !rest.is_empty()) {
                None => (self.part, self.sent) = (self.part + 1, 0),
                Some(rest) => match stream::write_some(input, rest) {
                    None => return false,
                    Some(0) => return true,
                    Some(n) => self.sent += n,
                },
            }
        }
        false
    }
}

/// Keeps what the hook wrote behind the first byte of `detail`; the last byte stays NUL.
fn keep(detail: &mut [u8; DETAIL], used: &mut usize, bytes: &[u8]) {
    for &byte in bytes {
        if *used + 1 < DETAIL {
            if let Some(place) = detail.get_mut(*used) {
                *place = byte;
            }
            *used += 1;
        }
    }
}

/// Feeds the hook, takes its output and waits for its end, all at once: it may read late or never, and may leave
/// something behind that holds its output open.
fn watch(hook: &StartHook, pid: i32, input: RawFd, output: RawFd, detail: &mut [u8; DETAIL]) -> Effect {
    let deadline = hook.timeout.map(|ms| stream::monotonic_ms().saturating_add(ms));
    let mut digits = [0u8; 12];
    let number = render_number(wait::own_pid() as u32, &mut digits);
    let mut feed = Feed { parts: [hook.state[0].as_slice(), number, hook.state[1].as_slice()], part: 0, sent: 0 };
    let process = stream::watch_child(pid);
    let (mut input, mut output) = (input, output);
    let mut used = 1;
    let mut timed_out = false;
    // Without a pidfd the end of its output has to do for the hook's.
    while process >= 0 || output >= 0 {
        let watched = [(input, libc::POLLOUT), (output, libc::POLLIN), (process, libc::POLLIN)];
        let Some([takes, wrote, ended]) = stream::any_until(watched, deadline) else {
            timed_out = true;
            wait::kill_group(pid);
            break;
        };
        if takes && !feed.go_on(input) {
            file::close(input);
            input = -1;
        }
        let mut bytes = [0u8; DETAIL];
        // After its end: what is left in the pipe, but not more than there is room for.
        while wrote && output >= 0 {
            match stream::read_some(output, &mut bytes) {
                None => break,
                Some(0) => {
                    file::close(output);
                    output = -1;
                }
                Some(n) => keep(detail, &mut used, bytes.get(..n).unwrap_or_default()),
            }
            if !ended || used + 1 >= DETAIL {
                break;
            }
        }
        if ended {
            break;
        }
    }
    for fd in [input, output, process] {
        if fd >= 0 {
            file::close(fd);
        }
    }
    let end = wait::wait(pid)?;
    if timed_out {
        return Err(failed(Errno::ETIMEDOUT));
    }
    match end {
        wait::End::Exited(0) => Ok(()),
        wait::End::Exited(code) => {
            detail[0] = code as u8;
            Err(failed(Errno::ECHILD))
        }
        wait::End::Killed(signal) => {
            detail[0] = signal as u8;
            Err(failed(Errno::EINTR))
        }
    }
}

/// Decimal digits without the formatter.
fn render_number(mut number: u32, buffer: &mut [u8; 12]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at = at.saturating_sub(1);
        if let Some(place) = buffer.get_mut(at) {
            *place = b'0' + (number % 10) as u8;
        }
        number /= 10;
        if number == 0 || at == 0 {
            break;
        }
    }
    buffer.get(at..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::report::render_failure;

    fn shell(script: &str, timeout: Option<u64>) -> (Effect, [u8; DETAIL]) {
        let args = ["sh", "-c", script].map(|s| CString::new(s).unwrap()).to_vec();
        let hook = StartHook {
            path: c"/bin/sh".to_owned(),
            image: Image::new(args, vec![c"PATH=/bin:/usr/bin".to_owned()]),
            state: [b"{\"pid\":".to_vec(), b"}\n".to_vec()],
            timeout,
        };
        let mut detail = [0; DETAIL];
        (apply(&hook, &mut detail), detail)
    }

    #[test]
    fn a_hook_that_succeeds_may_write_whatever_it_likes() {
        assert_eq!(shell("head -c 1000000 /dev/zero", None).0, Ok(()));
    }

    #[test]
    fn an_exit_code_comes_home_with_what_the_hook_wrote() {
        let (result, detail) = shell("echo nope >&2; exit 3", None);
        assert_eq!(render_failure(result.unwrap_err().errno, &detail), ("exit status 3".into(), "nope".into()));
    }

    #[test]
    fn the_state_arrives_on_stdin_with_the_pid_in_it() {
        let (result, detail) = shell("cat; exit 1", None);
        let (_, wrote) = render_failure(result.unwrap_err().errno, &detail);
        assert_eq!(wrote, format!("{{\"pid\":{}}}", std::process::id()));
    }

    #[test]
    fn a_hook_that_takes_too_long_is_killed_even_without_output() {
        for script in ["exec sleep 60", "exec sleep 60 >/dev/null 2>&1"] {
            let (result, _) = shell(script, Some(50));
            assert_eq!(result.unwrap_err().errno, Errno::ETIMEDOUT);
        }
    }

    #[test]
    fn a_state_larger_than_a_pipe_arrives_whole() {
        let args = ["sh", "-c", "wc -c; exit 1"].map(|s| CString::new(s).unwrap()).to_vec();
        let hook = StartHook {
            path: c"/bin/sh".to_owned(),
            image: Image::new(args, vec![c"PATH=/bin:/usr/bin".to_owned()]),
            state: [vec![b'x'; 300_000], vec![b'y'; 300_000]],
            timeout: Some(60_000),
        };
        let mut detail = [0; DETAIL];
        let failed = apply(&hook, &mut detail).unwrap_err();
        let (_, wrote) = render_failure(failed.errno, &detail);
        assert_eq!(wrote, (600_000 + std::process::id().to_string().len()).to_string());
    }

    #[test]
    fn what_a_hook_leaves_behind_is_not_waited_for() {
        let before = std::time::Instant::now();
        assert_eq!(shell("sleep 20 & exit 0", None).0, Ok(()));
        assert!(before.elapsed() < std::time::Duration::from_secs(15));
    }

    #[test]
    fn what_a_hook_has_started_ends_with_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let (result, _) = shell(&format!("sleep 60 & echo $! > {}; wait", file.display()), Some(500));
        assert_eq!(result.unwrap_err().errno, Errno::ETIMEDOUT);
        let pid: i32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
        let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while stat().contains(") S ") {
            assert!(std::time::Instant::now() < deadline, "it goes on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn numbers_are_written_in_full() {
        for number in [0, 7, 10, 4_194_304, u32::MAX] {
            assert_eq!(render_number(number, &mut [0; 12]), number.to_string().as_bytes());
        }
    }
}
