//! A container's init as the host knows it: a pid that may have been reused since, told apart by the start time.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error, Result};
use crate::fault::{Call, During};
use crate::sys::pidfd;

/// How long one wait lasts before the process is looked at again. An init whose pid namespace is still being torn
/// down is as good as gone, but its pidfd doesn't say so yet.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// An init process. Both numbers together name one process for as long as the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    /// In the runtime's pid namespace; above 0.
    pub pid: i32,
    /// Clock ticks since boot (proc_pid_stat(5), field 22).
    pub start_time: u64,
}

impl Init {
    /// Reads the start time of a process that is known to exist, for example a child not yet reaped.
    pub fn probe(pid: i32) -> Result<Init> {
        match probe_stat(pid)? {
            Some(stat) => Ok(Init { pid, start_time: stat.start_time }),
            None => Err(Error::io(format!("read /proc/{pid}/stat"), Call::Open, &Errno::ESRCH.into())),
        }
    }

    /// Whether this very process still lives. Zombies, a dying init and a process that only has its pid don't count.
    pub fn alive(&self) -> Result<bool> {
        let stat = probe_stat(self.pid)?;
        Ok(stat.is_some_and(|stat| stat.start_time == self.start_time && !stat.gone()))
    }

    /// Takes hold of the process, so that it can be signalled and awaited; `None` when it is gone.
    pub fn hold(&self) -> Result<Option<LiveInit>> {
        let pidfd = match pidfd::open(self.pid) {
            Ok(fd) => Some(fd),
            Err(trouble) if trouble.errno == Errno::ESRCH => return Ok(None),
            Err(trouble) if trouble.errno == Errno::ENOSYS => None,
            Err(trouble) => return Err(trouble).doing(|| format!("open the container's init {}", self.pid)),
        };
        // Only now: what the descriptor holds is the init if the pid still has the init's start time.
        Ok(self.alive()?.then_some(LiveInit { init: *self, pidfd }))
    }
}

/// An init that was alive when [`Init::hold`] looked.
#[derive(Debug)]
pub struct LiveInit {
    init: Init,
    /// `None` on kernels before 5.3.
    pidfd: Option<OwnedFd>,
}

impl LiveInit {
    /// A second hold on the same process.
    pub fn try_clone(&self) -> Result<LiveInit> {
        let pidfd = self.pidfd.as_ref().map(OwnedFd::try_clone).transpose().doing(|| "hold the container's init")?;
        Ok(LiveInit { init: self.init, pidfd })
    }

    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Sends a signal by number; `false` when the init has gone meanwhile.
    pub fn signal(&self, signal: i32) -> Result<bool> {
        let sent = match self.pidfd() {
            Some(fd) => pidfd::send_signal(fd, signal),
            None if self.init.alive()? => pidfd::kill(self.init.pid, signal),
            None => return Ok(false),
        };
        match sent {
            Ok(()) => Ok(true),
            Err(trouble) if trouble.errno == Errno::ESRCH => Ok(false),
            Err(trouble) => Err(trouble).doing(|| format!("send signal {signal} to the container's init")),
        }
    }

    /// Waits until the init is gone; `false` when `bound` is over first.
    pub fn wait_gone(&self, bound: Duration) -> Result<bool> {
        let deadline = Instant::now() + bound;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).min(LOOK_AGAIN);
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut polled: Vec<PollFd> =
                self.pidfd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).into_iter().collect();
            match poll(&mut polled, timeout) {
                Ok(n) if n > 0 => return Ok(true),
                Ok(_) | Err(Errno::EINTR) => {}
                failed => {
                    failed.during(Call::Poll).doing(|| "wait for the container's init to end")?;
                }
            }
            if !self.init.alive()? {
                return Ok(true);
            }
            if left.is_zero() {
                return Ok(false);
            }
        }
    }
}

/// What corten reads in /proc/PID/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    flags: u64,
    threads: u64,
    start_time: u64,
}

/// The process is being ended (PF_EXITING, include/linux/sched.h). An init stands in this state, asleep and with no
/// memory left, while its pid namespace is torn down (zap_pid_ns_processes), possibly for long.
const PF_EXITING: u64 = 4;

impl Stat {
    /// The leader of a group whose other threads go on is a zombie too, and the program still runs.
    fn gone(&self) -> bool {
        let leader_gone = matches!(self.state, b'Z' | b'X' | b'x') || self.flags & PF_EXITING != 0;
        leader_gone && self.threads <= 1
    }
}

fn probe_stat(pid: i32) -> Result<Option<Stat>> {
    let path = format!("/proc/{pid}/stat");
    match std::fs::read(&path) {
        Ok(bytes) => match parse_stat(&String::from_utf8_lossy(&bytes)) {
            Some(stat) => Ok(Some(stat)),
            None => Err(Error::io(format!("understand {path}"), Call::None, &ErrorKind::InvalidData.into())),
        },
        Err(e) if e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(e) => Err(Error::io(format!("read {path}"), Call::Open, &e)),
    }
}

/// proc_pid_stat(5). The name, in parentheses, is the process's own choice and may hold anything, so fields are counted
/// from the last parenthesis.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // The first field after the name is number 3 of the man page.
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Stat {
        state: *field(3)?.as_bytes().first()?,
        flags: field(9)?.parse().ok()?,
        threads: field(20)?.parse().ok()?,
        start_time: field(22)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// A process that is killed and reaped with the test.
    struct Sleeper(Child);

    impl Sleeper {
        fn new() -> Sleeper {
            Sleeper(Command::new("sleep").arg("600").spawn().unwrap())
        }

        fn pid(&self) -> i32 {
            self.0.id() as i32
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }

    #[test]
    fn a_living_process_is_known_by_pid_and_start_time() {
        let sleeper = Sleeper::new();
        let init = Init::probe(sleeper.pid()).unwrap();
        assert!(init.start_time > 0);
        assert!(init.alive().unwrap());
        assert!(init.hold().unwrap().is_some());
    }

    #[test]
    fn a_process_that_only_has_the_pid_is_neither_alive_nor_held() {
        let sleeper = Sleeper::new();
        let mut init = Init::probe(sleeper.pid()).unwrap();
        init.start_time -= 1;
        assert!(!init.alive().unwrap());
        assert!(init.hold().unwrap().is_none());
    }

    #[test]
    fn a_zombie_is_gone_before_anyone_reaps_it() {
        let mut sleeper = Sleeper::new();
        let init = Init::probe(sleeper.pid()).unwrap();
        let held = init.hold().unwrap().unwrap();
        assert!(!held.wait_gone(Duration::ZERO).unwrap());
        assert!(held.signal(libc::SIGKILL).unwrap());
        assert!(held.wait_gone(Duration::from_secs(20)).unwrap());
        assert!(!init.alive().unwrap());
        sleeper.0.wait().unwrap();
        assert!(!init.alive().unwrap());
        assert!(!held.signal(libc::SIGKILL).unwrap(), "the descriptor never means another process");
        assert!(init.hold().unwrap().is_none());
    }

    #[test]
    fn without_a_pidfd_the_start_time_guards_every_signal() {
        let mut sleeper = Sleeper::new();
        let init = Init::probe(sleeper.pid()).unwrap();
        let stranger = LiveInit { init: Init { start_time: init.start_time + 1, ..init }, pidfd: None };
        assert!(!stranger.signal(libc::SIGKILL).unwrap());
        assert!(init.alive().unwrap());
        let held = LiveInit { init, pidfd: None };
        assert!(held.signal(libc::SIGKILL).unwrap());
        assert!(held.wait_gone(Duration::from_secs(20)).unwrap());
        sleeper.0.wait().unwrap();
    }

    /// Starts a program that says when it is there.
    fn said(command: &mut Command) -> Option<Sleeper> {
        let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().ok()?;
        let mut sleeper = Sleeper(child);
        let mut text = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(sleeper.0.stdout.take()?), &mut text).ok()?;
        (!text.is_empty()).then_some(sleeper)
    }

    #[test]
    fn an_init_whose_namespace_is_still_torn_down_is_gone() {
        let script = ["sh", "-c", "echo there; exec sleep 600"];
        let made = said(Command::new("unshare").args(["--pid", "--fork", "--kill-child"]).args(script));
        let Some(outer) = made else {
            eprintln!("skipped: an_init_whose_namespace_is_still_torn_down_is_gone needs the right to make namespaces");
            return;
        };
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", outer.pid())).unwrap();
        let init = Init::probe(children.trim().parse().unwrap()).unwrap();
        // A process inside whose parent, outside, doesn't reap it: the kernel keeps the init until somebody does.
        let target = format!("--target={}", init.pid);
        let parent = said(Command::new("nsenter").args([target.as_str(), "--pid"]).args(script)).unwrap();
        pidfd::kill(parent.pid(), libc::SIGSTOP).unwrap();
        // Until it has stopped it may still be reaping.
        while probe_stat(parent.pid()).unwrap().unwrap().state != b'T' {
            std::thread::yield_now();
        }
        let held = init.hold().unwrap().unwrap();
        assert!(held.signal(libc::SIGKILL).unwrap());
        assert!(held.wait_gone(Duration::from_secs(20)).unwrap());
        assert!(!init.alive().unwrap());
        let stat = probe_stat(init.pid).unwrap().unwrap();
        assert_eq!((stat.state, stat.flags & PF_EXITING), (b'S', PF_EXITING), "asleep, not a zombie");
    }

    const STAT: &str = "811 (a) b) (c) S 1 811 811 0 -1 4194560 92 0 0 0 0 0 0 0 20 0 1 0 123456 2535424 0";

    #[test]
    fn a_name_full_of_parentheses_does_not_shift_the_fields() {
        let stat = parse_stat(STAT).unwrap();
        assert_eq!(stat, Stat { state: b'S', flags: 4194560, threads: 1, start_time: 123456 });
    }

    #[test]
    fn an_init_in_its_last_moments_counts_as_gone() {
        let stat = parse_stat(STAT).unwrap();
        assert!(!stat.gone());
        assert!(Stat { flags: stat.flags | PF_EXITING, ..stat }.gone());
        assert!(Stat { state: b'Z', ..stat }.gone());
        assert!(!Stat { state: b'Z', threads: 3, ..stat }.gone(), "other threads go on");
    }

    #[test]
    fn a_torn_line_is_no_stat_and_no_panic() {
        for end in 0..STAT.len() - " 2535424 0".len() - "123456".len() {
            assert_eq!(parse_stat(&STAT[..end]), None, "{end}");
        }
    }
}
