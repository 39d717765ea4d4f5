//! startContainer hooks: run by the init itself, in the container, as the container's user, after `start` and before
//! the program (runtime-spec config.md, hooks). No heap: everything but the pid stands ready since planning.

use std::ffi::CString;
use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::fault::{self, Call, DETAIL, Effect, Trouble};
use crate::sys::clone::{self, Side};
use crate::sys::exec::Image;
use crate::sys::stream::{self, Event};
use crate::sys::{descriptor, wait};

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
            descriptor::close(input_read);
            descriptor::close(output_write);
            feed(hook, input_write);
            descriptor::close(input_write);
            let result = watch(hook, pid, output_read, detail);
            descriptor::close(output_read);
            result
        }
    }
}

fn become_hook(hook: &StartHook, input: RawFd, output: RawFd) -> ! {
    let stdio = descriptor::dup_to(input, 0)
        .and_then(|()| descriptor::dup_to(output, 1))
        .and_then(|()| descriptor::dup_to(output, 2));
    descriptor::cloexec_from(3);
    wait::default_signal(libc::SIGPIPE);
    let trouble = match stdio.and_then(|()| wait::reset_signals()) {
        Ok(()) => hook.image.exec(&hook.path),
        Err(trouble) => trouble,
    };
    // The shell's code for a program that can't be run, with the reason where the hook's own words would stand.
    let _ = descriptor::write(1, fault::words(trouble.errno).as_bytes());
    clone::exit_now(127)
}

/// Writes the state. A hook that doesn't read it is no error; a state larger than the pipe's 64 KiB buffer is cut off
/// there for such a hook, instead of blocking the container.
fn feed(hook: &StartHook, input: RawFd) {
    let mut digits = [0u8; 12];
    let pid = render_number(wait::own_pid() as u32, &mut digits);
    stream::set_nonblocking(input);
    for part in [hook.state[0].as_slice(), pid, hook.state[1].as_slice()] {
        stream::write_quietly(input, part);
    }
}

fn watch(hook: &StartHook, pid: i32, output: RawFd, detail: &mut [u8; DETAIL]) -> Effect {
    let deadline = hook.timeout.map(|ms| stream::monotonic_ms().saturating_add(ms));
    let mut used = 1;
    let mut timed_out = false;
    loop {
        let mut rest = [0u8; DETAIL];
        match stream::read_until(output, &mut rest, deadline) {
            Event::Bytes(n) => {
                for &byte in rest.iter().take(n) {
                    // The last byte stays NUL.
                    if used + 1 < DETAIL {
                        if let Some(place) = detail.get_mut(used) {
                            *place = byte;
                        }
                        used += 1;
                    }
                }
            }
            Event::End => break,
            Event::Late => {
                timed_out = true;
                wait::kill_child(pid);
                break;
            }
        }
    }
    // A hook that closed its output goes on within its time.
    if !timed_out && !stream::wait_child_until(pid, deadline) {
        timed_out = true;
        wait::kill_child(pid);
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
    fn numbers_are_written_in_full() {
        for number in [0, 7, 10, 4_194_304, u32::MAX] {
            assert_eq!(render_number(number, &mut [0; 12]), number.to_string().as_bytes());
        }
    }
}
