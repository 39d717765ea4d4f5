//! Tools that live and die: an init that waits, one that shows the signals it gets, children, zombies and orphans.
//!
//! As process 1 of a pid namespace a program gets no default action for signals, and every orphan becomes its child;
//! the waiting tools therefore take signals by sigwait(3) and reap.

use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::files::{one, two};
use super::{Entry, Failure, Next, Outcome, entry, print};
use crate::sys::wait::End;

pub(super) const TOOLS: &[Entry] = &[
    entry("true", "", |_| Ok(Next::On)),
    entry("exit", "CODE", |args| Ok(Next::Leave(one(args, "exit CODE")?.parse()?))),
    entry("sleep", "SECONDS", |args| {
        std::thread::sleep(std::time::Duration::from_secs(one(args, "sleep SECONDS")?.parse()?));
        Ok(Next::On)
    }),
    entry("burn", "MILLISECONDS  use that much time of a CPU", burn),
    entry("eat", "MIB  take that much memory and keep it", eat),
    entry("pause", "  wait until SIGTERM or SIGINT, reap children", |_| pause()),
    entry("signal-echo", "CODE  print each signal's name, leave with CODE on SIGTERM", signal_echo),
    entry("count-lines", "  number the lines of stdin, which are counted in memory alone", |_| count_lines()),
    entry("lock", "FILE  take its lock (flock) and keep it", lock),
    entry("send-lines", "SOCKET  send each line of stdin to a unix socket, as a datagram", send_lines),
    entry("kill", "PID SIGNAL", send),
    entry("kill-self", "SIGNAL  (with its default action)", kill_self),
    entry("spawn", "N  start N children that wait", spawn),
    entry("orphan", "N  N grandchildren that wait, their parents gone", orphan),
    entry("zombie", "  a child that has ended and isn't reaped", zombie),
    entry("reap", "  wait for every child", |_| reap_all()),
    entry("unshare", "KIND...  (user mnt pid net ipc uts cgroup)", unshare),
    entry("child", "TOOL...  run a tool in a child and wait for it", child),
    entry("exec", "PROGRAM ARG...  (replaces this process)", exec),
    entry("syscall", "NUMBER ARGUMENT...  (three at most, in a child)", syscall),
    entry("fill", "MIB  use that much memory, and print `filled`", fill),
    entry("spin", "MILLISECONDS  use the processor, by the clock on the wall", |args| {
        let span = std::time::Duration::from_millis(one(args, "spin MILLISECONDS")?.parse()?);
        let begin = std::time::Instant::now();
        while begin.elapsed() < span {
            std::hint::spin_loop();
        }
        Ok(Next::On)
    }),
    entry("record", "FILE [EXIT]  append report and stdin as one JSON line to FILE: a hook for tests", record),
];

/// This same binary as a toolbox command: by its path, which a sealed corten doesn't have, by the link to it, or, where
/// there is no /proc, by the name it was called by.
fn toolbox(tool: &[&str]) -> Command {
    let link = std::path::PathBuf::from("/proc/self/exe");
    let exe = [std::env::current_exe().unwrap_or_default(), link].into_iter().find(|path| path.is_file());
    let program = exe.map_or_else(|| std::env::args_os().next().unwrap_or_default(), Into::into);
    let mut command = Command::new(program);
    command.args(["probe", "--"]).args(tool);
    command
}

fn burn(args: &[&str]) -> Outcome {
    use nix::sys::resource::{UsageWho, getrusage};
    let wanted = one(args, "burn MILLISECONDS")?.parse::<i64>()? * 1000;
    loop {
        let used = getrusage(UsageWho::RUSAGE_SELF)?;
        let microseconds = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
        if microseconds(used.user_time()) + microseconds(used.system_time()) >= wanted {
            return Ok(Next::On);
        }
    }
}

fn eat(args: &[&str]) -> Outcome {
    // Filled with something, because a page of zeroes takes no memory until it is written to.
    let bytes = vec![1u8; one(args, "eat MIB")?.parse::<usize>()? << 20];
    std::mem::forget(std::hint::black_box(bytes));
    Ok(Next::On)
}

fn pause() -> Outcome {
    let all = SigSet::all();
    all.thread_block()?;
    print("ready")?;
    loop {
        match all.wait()? {
            Signal::SIGTERM | Signal::SIGINT => return Ok(Next::Leave(0)),
            Signal::SIGCHLD => reap_ended(),
            _ => {}
        }
    }
}

/// Reaps every child that has ended, without waiting.
fn reap_ended() {
    while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..))) {}
}

fn signal_echo(args: &[&str]) -> Outcome {
    let code = one(args, "signal-echo CODE")?.parse()?;
    let all = SigSet::all();
    all.thread_block()?;
    print("ready")?;
    loop {
        let signal = all.wait()?;
        print(signal.as_str())?;
        if signal == Signal::SIGTERM {
            return Ok(Next::Leave(code));
        }
    }
}

/// What was counted before a checkpoint goes on after it.
fn count_lines() -> Outcome {
    print("ready")?;
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        print(&format!("{} {}", number + 1, line?))?;
    }
    Ok(Next::On)
}

fn lock(args: &[&str]) -> Outcome {
    let file = std::fs::File::create(one(args, "lock FILE")?)?;
    let held =
        nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
    std::mem::forget(held);
    Ok(Next::On)
}

fn send_lines(args: &[&str]) -> Outcome {
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    socket.connect(one(args, "send-lines SOCKET")?)?;
    print("ready")?;
    for line in std::io::stdin().lock().lines() {
        socket.send(line?.as_bytes())?;
    }
    Ok(Next::On)
}

fn signal_named(name: &str) -> Result<Signal, Failure> {
    let full = if name.starts_with("SIG") { name.to_owned() } else { format!("SIG{name}") };
    Ok(full.parse::<Signal>()?)
}

fn send(args: &[&str]) -> Outcome {
    let (pid, signal) = two(args, "kill PID SIGNAL")?;
    kill(Pid::from_raw(pid.parse()?), signal_named(signal)?)?;
    Ok(Next::On)
}

fn kill_self(args: &[&str]) -> Outcome {
    let signal = signal_named(one(args, "kill-self SIGNAL")?)?;
    kill(nix::unistd::getpid(), signal)?;
    Ok(Next::On)
}

/// A waiting child, once it has said that it is ready.
fn waiting_child(tool: &[&str]) -> Result<Child, Failure> {
    let mut child = toolbox(tool).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    if let Some(out) = child.stdout.as_mut() {
        std::io::BufReader::new(out).read_line(&mut String::new())?;
    }
    Ok(child)
}

fn syscall(args: &[&str]) -> Outcome {
    let numbers = args.iter().map(|arg| arg.parse::<u64>()).collect::<Result<Vec<_>, _>>()?;
    let [number, rest @ ..] = numbers.as_slice() else { return Err(Failure::usage("syscall NUMBER ARGUMENT...")) };
    let mut arguments = [0; 3];
    arguments.iter_mut().zip(rest).for_each(|(place, given)| *place = *given);
    match crate::sys::attempt::attempt(*number as i64, arguments).map_err(|trouble| trouble.errno)? {
        End::Exited(0) => Ok(Next::On),
        End::Exited(errno) => Err(Errno::from_raw(errno).into()),
        End::Killed(signal) => {
            let name = Signal::try_from(signal).map_or_else(|_| signal.to_string(), |signal| signal.to_string());
            Err(Failure { text: name, errno: None })
        }
    }
}

fn spawn(args: &[&str]) -> Outcome {
    for _ in 0..one(args, "spawn N")?.parse::<u32>()? {
        let child = waiting_child(&["pause"])?;
        print(&format!("child {}", child.id()))?;
    }
    Ok(Next::On)
}

fn orphan(args: &[&str]) -> Outcome {
    for _ in 0..one(args, "orphan N")?.parse::<u32>()? {
        let parent = toolbox(&["spawn", "1"]).stdin(Stdio::null()).status()?;
        if !parent.success() {
            return Err(Failure { text: format!("the parent ended with {parent}"), errno: Some(Errno::ECHILD) });
        }
    }
    Ok(Next::On)
}

fn zombie(_: &[&str]) -> Outcome {
    let child = toolbox(&["true"]).stdin(Stdio::null()).spawn()?;
    let pid = Pid::from_raw(child.id() as i32);
    // WNOWAIT leaves the child behind as the zombie that this tool is for.
    nix::sys::wait::waitid(nix::sys::wait::Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
    print(&format!("zombie {pid}"))
}

fn reap_all() -> Outcome {
    loop {
        match waitpid(None, None) {
            Ok(status) => print(&format!("{status:?}"))?,
            Err(Errno::ECHILD) => return Ok(Next::On),
            Err(errno) => return Err(errno.into()),
        };
    }
}

fn unshare(args: &[&str]) -> Outcome {
    use nix::sched::CloneFlags;
    const KINDS: &[(&str, CloneFlags)] = &[
        ("user", CloneFlags::CLONE_NEWUSER),
        ("mnt", CloneFlags::CLONE_NEWNS),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("net", CloneFlags::CLONE_NEWNET),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ];
    let mut flags = CloneFlags::empty();
    for arg in args {
        let found = KINDS.iter().find(|(name, _)| name == arg);
        flags |= found.ok_or_else(|| Failure::usage("unshare user|mnt|pid|net|ipc|uts|cgroup..."))?.1;
    }
    nix::sched::unshare(flags)?;
    Ok(Next::On)
}

fn child(args: &[&str]) -> Outcome {
    let status = toolbox(args).status()?;
    Ok(if status.success() { Next::On } else { Next::Leave(status.code().unwrap_or(1)) })
}

fn exec(args: &[&str]) -> Outcome {
    let (program, rest) = args.split_first().ok_or_else(|| Failure::usage("exec PROGRAM ARG..."))?;
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Err(Command::new(program).args(rest).exec().into())
}

/// Every page is written, so that the kernel has to find it.
fn fill(args: &[&str]) -> Outcome {
    const PAGE: usize = 4096;
    let mut memory = vec![0u8; one(args, "fill MIB")?.parse::<usize>()? << 20];
    memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    print(if std::hint::black_box(&memory).is_empty() { "nothing" } else { "filled" })
}

fn record(args: &[&str]) -> Outcome {
    let (path, code) = match args {
        [path] => (path, 0),
        [path, code] => (path, code.parse()?),
        _ => return Err(Failure::usage("record FILE [EXIT]")),
    };
    let mut stdin = String::new();
    std::io::Read::read_to_string(&mut std::io::stdin(), &mut stdin)?;
    let mut report = super::report::collect();
    report["stdin"] = stdin.into();
    let line = format!("{report}\n");
    std::fs::OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())?;
    Ok(Next::Leave(code))
}
