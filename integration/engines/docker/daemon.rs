//! dockerd as a process of the machine.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::builds;
use crate::call::{Output, call};
use crate::scenario::until;

/// Where the command line looks for it.
pub const SOCKET: &str = "/run/docker.sock";

/// The daemon of all scenarios but those that ask for one of their own.
static KEPT: Mutex<Option<Daemon>> = Mutex::new(None);

pub struct Daemon {
    process: Child,
    socket: &'static str,
}

impl Daemon {
    /// Starts dockerd with its log in `NAME.log`, and waits until it answers.
    #[track_caller]
    pub fn start(name: &str, socket: &'static str, flags: &[&str]) -> Daemon {
        Daemon::start_with((builds::VARIABLE, builds::RUNTIME), name, socket, flags)
    }

    /// With this in its environment.
    #[track_caller]
    pub fn start_with((key, value): (&str, &str), name: &str, socket: &'static str, flags: &[&str]) -> Daemon {
        let path = format!("/var/log/engines/{name}.log");
        let log = File::options().create(true).append(true).open(&path).expect("a log");
        let mut command = Command::new("dockerd");
        command.args(["--host", &format!("unix://{socket}")]).args(flags);
        command.env(key, value);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut daemon = Daemon { process: command.spawn().expect("dockerd"), socket };
        until("dockerd answers", 40, || {
            if let Some(status) = daemon.process.try_wait().expect("wait") {
                let log = std::fs::read_to_string(&path).unwrap_or_default();
                panic!("dockerd has ended, {status}: {}", log.lines().last().unwrap_or_default());
            }
            daemon.cli(&["version"]).code == 0
        });
        daemon
    }

    #[track_caller]
    pub fn cli(&self, words: &[&str]) -> Output {
        call(&[&["docker", "--host", &format!("unix://{}", self.socket)], words].concat())
    }

    /// For the scenarios that come.
    pub fn keep(self) {
        *KEPT.lock().expect("no scenario runs beside another") = Some(self);
    }

    /// Ends it by a signal, and waits for its end.
    fn end(&mut self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.process.id() as i32), signal);
        let _ = self.process.wait();
    }
}

/// Told to stop, dockerd stops its containers as well, unless `live-restore` says otherwise.
impl Drop for Daemon {
    fn drop(&mut self) {
        self.end(Signal::SIGTERM);
    }
}

/// Ends the daemon by a signal, calls `meanwhile`, and starts it again: a daemon is there afterwards, whatever happens.
#[track_caller]
pub fn restart(signal: Signal, meanwhile: impl FnOnce()) {
    let mut kept = KEPT.lock().expect("no scenario runs beside another").take().expect("a daemon");
    kept.end(signal);
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(meanwhile));
    drop(kept);
    Daemon::start("dockerd", SOCKET, &[]).keep();
    if let Err(payload) = done {
        std::panic::resume_unwind(payload);
    }
}
