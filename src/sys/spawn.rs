//! Starts a program of the host side (a hook, newuidmap) with nothing of corten left on it: default signals, an empty
//! signal mask, no descriptor but stdio; optionally inside the namespaces of another process.
//!
//! Everything between fork and execve runs in `child`: no heap, no panic path, `_exit` only. A step that fails there
//! comes home through a close-on-exec pipe as numbers, so the caller learns which call failed and why.

use std::ffi::CStr;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd;

use super::pidfd;
use crate::fault::{Call, Effect, Trouble};

/// Strings in the form that execve(2) reads: NUL-terminated, with a null pointer at the end.
#[derive(Debug)]
pub struct Strings {
    /// Owns what `pointers` points to; never changed after `new`.
    _owned: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl Strings {
    pub fn new(strings: Vec<CString>) -> Strings {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
        Strings { _owned: strings, pointers }
    }
}

/// The namespaces that a spawned program is put into.
#[derive(Debug)]
pub struct Join<'a> {
    /// The process whose namespaces these are.
    pub pidfd: Option<BorrowedFd<'a>>,
    /// CLONE_NEW* bits of every namespace that is not the caller's own already.
    pub namespaces: libc::c_int,
    /// The same, one by one and in the order to join them, for kernels whose setns(2) takes no pidfd (before 5.8).
    pub files: &'a [(BorrowedFd<'a>, libc::c_int)],
    /// What `/` is to that process. Joining a mount namespace leads to the namespace's own root, which is another one
    /// when the caller has been chrooted.
    pub root: Option<BorrowedFd<'a>>,
}

/// A program to start. All descriptors are the caller's.
#[derive(Debug)]
pub struct Spawn<'a> {
    pub path: &'a CStr,
    pub argv: &'a Strings,
    pub envp: &'a Strings,
    /// Become descriptors 0, 1 and 2. They must not be 0, 1 or 2 already, unless each is so in its own place.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Changed to after the namespaces are joined.
    pub cwd: Option<&'a CStr>,
    pub join: Option<Join<'a>>,
    pub with: With<'a>,
}

/// What only some programs get.
#[derive(Clone, Copy, Debug, Default)]
pub struct With<'a> {
    /// Descriptors beside stdio, under the numbers that they have here.
    pub kept: &'a [BorrowedFd<'a>],
    /// What files that it makes don't get of their modes; the caller's when not given.
    pub umask: Option<u32>,
    /// It stays in the caller's process group, so that the caller's terminal is its own too.
    pub same_group: bool,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Exited(i32),
    Killed(i32),
}

/// A started program: our child, leader of a process group of its own, reaped at the latest when dropped.
#[derive(Debug)]
pub struct Child {
    pid: libc::pid_t,
    pidfd: Option<OwnedFd>,
    end: Option<End>,
}

impl Child {
    /// Takes over a child of ours that nobody has reaped yet: its pid can't be reused before we do.
    fn adopt(pid: libc::pid_t) -> Child {
        // Kernels before 5.3 have no pidfd; the caller then polls with a bound.
        Child { pid, pidfd: pidfd::open(pid).ok(), end: None }
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Becomes readable when the program has ended; `None` on kernels before 5.3.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// How the program ended, if it has; waits for that when `block`.
    pub fn wait(&mut self, block: bool) -> Effect<Option<End>> {
        if self.end.is_some() {
            return Ok(self.end);
        }
        let mut status = 0;
        let flags = if block { 0 } else { libc::WNOHANG };
        loop {
            // SAFETY: waitpid writes one int through the pointer; the pid is that of an unreaped child of ours.
            match unsafe { libc::waitpid(self.pid, &mut status, flags) } {
                0 => return Ok(None),
                pid if pid == self.pid => break,
                _ => match Errno::last() {
                    Errno::EINTR => continue,
                    errno => return Err(Trouble::new(Call::Wait, errno)),
                },
            }
        }
        self.end = Some(match libc::WIFSIGNALED(status) {
            true => End::Killed(libc::WTERMSIG(status)),
            false => End::Exited(libc::WEXITSTATUS(status)),
        });
        Ok(self.end)
    }

    /// SIGKILL for the program and everything it started in its process group; nothing once it is reaped, because the
    /// number may then be somebody else's.
    pub fn kill_group(&self) {
        if self.end.is_none() {
            // SAFETY: kill takes integers. The leader is our unreaped child, so the group's number can't be reused; a
            // leader that has not reached its setpgid yet is hit by the second call. ESRCH is the only other outcome.
            unsafe {
                libc::kill(-self.pid, libc::SIGKILL);
                libc::kill(self.pid, libc::SIGKILL);
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.end.is_none() {
            self.kill_group();
            // A zombie that can't be reaped can't be reported from here either.
            self.wait(true).ok();
        }
    }
}

/// What the child sends home: nothing at all when execve succeeds.
const REPORT: usize = 8;
/// In the place of a call's number: the value is the pid of the process that goes on as the program.
const MOVED: u16 = u16::MAX;

/// Starts the program and returns once it has reached execve. The trouble is that of the first call that failed,
/// whether here or in the child.
pub fn spawn(what: &Spawn) -> Effect<Child> {
    let (report, child_report) = unistd::pipe2(OFlag::O_CLOEXEC).map_err(|errno| Trouble::new(Call::Pipe, errno))?;
    // Whatever arrives meanwhile waits: no handler of ours may run in the child.
    let before = SignalMask::block_all();
    // SAFETY: the child runs `child`, which only makes system calls and never returns; every buffer it reads was
    // made before. That is sound even when this process has other threads.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: this is the new process, as `child` demands.
        unsafe { child(what, child_report.as_raw_fd()) }
    }
    let failed = Errno::last();
    before.restore();
    if pid < 0 {
        return Err(Trouble::new(Call::Fork, failed));
    }
    drop(child_report);
    let mut child = Child::adopt(pid);
    let mut failure = None;
    // To the end of the pipe: the process that moved on may report its failure before the one that stays behind has
    // told its pid, and a child that nobody knows of would never be reaped.
    while let Some((call, value)) = read_report(&report)? {
        if call == MOVED {
            let moved = Child::adopt(value);
            child.wait(true)?;
            child = moved;
        } else {
            failure = Some(Trouble::new(Call::from_u16(call), Errno::from_raw(value)));
        }
    }
    match failure {
        None => Ok(child),
        Some(trouble) => {
            child.wait(true)?;
            Err(trouble)
        }
    }
}

/// One report, or `None` at the end of the pipe: execve has closed the other end, or its owner has died.
fn read_report(pipe: &OwnedFd) -> Effect<Option<(u16, i32)>> {
    let mut bytes = [0u8; REPORT];
    loop {
        match unistd::read(pipe, &mut bytes) {
            Ok(REPORT) => break,
            Ok(_) => return Ok(None),
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(Trouble::new(Call::Read, errno)),
        }
    }
    let [c0, c1, _, _, v0, v1, v2, v3] = bytes;
    Ok(Some((u16::from_ne_bytes([c0, c1]), i32::from_ne_bytes([v0, v1, v2, v3]))))
}

/// The signal mask of the calling thread, kept to be put back.
struct SignalMask(libc::sigset_t);

impl SignalMask {
    fn block_all() -> SignalMask {
        // SAFETY: both sets are ours and initialised by sigfillset and pthread_sigmask; neither call can fail with
        // these arguments.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            SignalMask(before)
        }
    }

    fn restore(self) {
        // SAFETY: the set came from pthread_sigmask.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut());
        }
    }
}

/// The child's way to execve.
///
/// # Safety
/// Only in a process that has just been forked: it never returns and changes everything.
unsafe fn child(what: &Spawn, report: RawFd) -> ! {
    // SAFETY: handed on from the caller.
    let trouble = unsafe { become_program(what, report) };
    send_report(report, trouble.call as u16, trouble.errno as i32);
    // SAFETY: _exit ends the process without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

fn send_report(pipe: RawFd, call: u16, value: i32) {
    let [c0, c1] = call.to_ne_bytes();
    let [v0, v1, v2, v3] = value.to_ne_bytes();
    let bytes = [c0, c1, 0, 0, v0, v1, v2, v3];
    // SAFETY: the buffer has REPORT bytes; a pipe takes so few at once or not at all.
    unsafe {
        libc::write(pipe, bytes.as_ptr().cast(), REPORT);
    }
}

/// The errno of the last call, named.
fn trouble(call: Call) -> Trouble {
    Trouble::new(call, Errno::last())
}

/// Returns only when a step fails.
///
/// # Safety
/// As for [`child`].
unsafe fn become_program(what: &Spawn, report: RawFd) -> Trouble {
    // SAFETY: for the whole body: system calls with integers and with pointers to buffers made before fork, all of which
    // live until execve or _exit.
    unsafe {
        if !what.with.same_group && libc::setpgid(0, 0) != 0 {
            return trouble(Call::Setsid);
        }
        if let Some(join) = &what.join {
            if let Err(trouble) = enter(join, report) {
                return trouble;
            }
        }
        if let Some(cwd) = what.cwd {
            if libc::chdir(cwd.as_ptr()) != 0 {
                return trouble(Call::Chdir);
            }
        }
        for (target, source) in what.stdio.iter().enumerate() {
            if libc::dup2(source.as_raw_fd(), target as libc::c_int) < 0 {
                return trouble(Call::Dup);
            }
        }
        // Everything of ours is O_CLOEXEC already; this is for what corten itself inherited. Kernels before 5.11 don't
        // know the flag, and there is no second way that is worth a loop over a million numbers.
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        if let Some(mask) = what.with.umask {
            libc::umask(mask);
        }
        for kept in what.with.kept {
            if libc::fcntl(kept.as_raw_fd(), libc::F_SETFD, 0) != 0 {
                return trouble(Call::Fcntl);
            }
        }
        default_signals();
        libc::execve(what.path.as_ptr(), what.argv.pointers.as_ptr(), what.envp.pointers.as_ptr());
        trouble(Call::Exec)
    }
}

/// Default dispositions and an empty mask: both would survive execve.
///
/// # Safety
/// As for [`child`].
unsafe fn default_signals() {
    super::wait::default_dispositions();
    // SAFETY: sigset_t is filled by sigemptyset before it is used; the pointers live through the calls.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Joins the namespaces; in a pid namespace of its own the program must be a new process, which becomes our parent's
/// child (CLONE_PARENT), and this one ends.
///
/// # Safety
/// As for [`child`].
unsafe fn enter(join: &Join, report: RawFd) -> Effect {
    // SAFETY: system calls with integers; clone without a stack and without CLONE_VM is a fork.
    unsafe {
        // At once by pidfd: the kernel checks every namespace before it enters any, and gets their order right.
        let by_pidfd = join.pidfd.is_some_and(|pidfd| libc::setns(pidfd.as_raw_fd(), join.namespaces) == 0);
        if !by_pidfd {
            for (file, kind) in join.files {
                if libc::setns(file.as_raw_fd(), *kind) != 0 {
                    return Err(trouble(Call::Setns));
                }
            }
        }
        if join.namespaces & libc::CLONE_NEWUSER != 0 {
            become_root_inside()?;
        }
        if let Some(root) = join.root {
            if libc::fchdir(root.as_raw_fd()) != 0 {
                return Err(trouble(Call::Fchdir));
            }
            if libc::chroot(c".".as_ptr()) != 0 {
                return Err(trouble(Call::Chroot));
            }
        }
        if join.namespaces & libc::CLONE_NEWPID != 0 {
            match libc::syscall(libc::SYS_clone, libc::CLONE_PARENT | libc::SIGCHLD, 0, 0, 0, 0) {
                0 => {
                    if libc::setpgid(0, 0) != 0 {
                        return Err(trouble(Call::Setsid));
                    }
                }
                pid if pid > 0 => {
                    send_report(report, MOVED, pid as i32);
                    libc::_exit(0);
                }
                _ => return Err(trouble(Call::Clone)),
            }
        }
    }
    Ok(())
}

/// Takes the ids of the joined user namespace's root, as the container's init has them. A namespace that maps no 0
/// leaves the ids unmapped (EINVAL), and one without setgroups keeps the groups (EPERM): both are the container's wish.
///
/// # Safety
/// As for [`child`].
unsafe fn become_root_inside() -> Effect {
    // SAFETY: raw calls, because the C library would synchronise threads that this process doesn't have.
    unsafe {
        libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>());
        if libc::syscall(libc::SYS_setresgid, 0, 0, 0) != 0 && Errno::last() != Errno::EINVAL {
            return Err(trouble(Call::Setgid));
        }
        if libc::syscall(libc::SYS_setresuid, 0, 0, 0) != 0 && Errno::last() != Errno::EINVAL {
            return Err(trouble(Call::Setuid));
        }
    }
    Ok(())
}

/// Strings as execve wants them; an interior NUL can't be passed on and is InvalidInput.
pub fn strings<S: Into<Vec<u8>>>(strings: impl IntoIterator<Item = S>) -> io::Result<Strings> {
    let owned = strings.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>()?;
    Ok(Strings::new(owned))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;

    fn run(script: &str, join: Option<Join>) -> (Effect<End>, String) {
        let null = File::open("/dev/null").unwrap();
        let (read, write) = unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        let argv = strings(["/bin/sh", "-c", script]).unwrap();
        let envp = strings(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]).unwrap();
        let stdio = [null.as_fd(), write.as_fd(), write.as_fd()];
        let child = spawn(&Spawn {
            path: c"/bin/sh",
            argv: &argv,
            envp: &envp,
            stdio,
            cwd: Some(c"/"),
            join,
            with: With::default(),
        });
        drop(write);
        let mut text = String::new();
        File::from(read).read_to_string(&mut text).unwrap();
        (child.and_then(|mut child| child.wait(true)).map(|end| end.unwrap()), text)
    }

    #[test]
    fn a_program_starts_with_default_signals_and_only_stdio() {
        let leak = File::open("/dev/null").unwrap();
        nix::fcntl::fcntl(&leak, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
        let (end, text) = run("grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/$$/fd; pwd", None);
        assert_eq!(end, Ok(End::Exited(0)));
        assert!(text.contains("SigBlk:\t0000000000000000"), "{text}");
        assert!(text.contains("SigIgn:\t0000000000000000"), "{text}");
        assert!(text.contains("\n0\n1\n2\n/\n"), "{text}");
    }

    #[test]
    fn exit_codes_and_signals_are_told_apart() {
        assert_eq!(run("exit 7", None).0, Ok(End::Exited(7)));
        assert_eq!(run("kill -9 $$", None).0, Ok(End::Killed(9)));
    }

    #[test]
    fn a_program_that_cannot_run_names_the_call() {
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let none = strings::<&str>([]).unwrap();
        let stdio = [null.as_fd(); 3];
        let spawn_at =
            |path, cwd| spawn(&Spawn { path, argv: &none, envp: &none, stdio, cwd, join: None, with: With::default() });
        assert_eq!(spawn_at(c"/nonexistent", None).unwrap_err(), Trouble::new(Call::Exec, Errno::ENOENT));
        assert_eq!(spawn_at(c"/bin/true", Some(c"/nowhere")).unwrap_err(), Trouble::new(Call::Chdir, Errno::ENOENT));
    }

    #[test]
    fn a_dropped_program_is_killed_with_its_group() {
        let null = File::open("/dev/null").unwrap();
        let (read, write) = unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        let argv = strings(["sh", "-c", "sleep 600 & wait"]).unwrap();
        let envp = strings(["PATH=/usr/bin:/bin"]).unwrap();
        let stdio = [null.as_fd(), write.as_fd(), write.as_fd()];
        let child = spawn(&Spawn {
            path: c"/bin/sh",
            argv: &argv,
            envp: &envp,
            stdio,
            cwd: None,
            join: None,
            with: With::default(),
        })
        .unwrap();
        drop(write);
        drop(child);
        let mut text = String::new();
        // Ends only when no process of the group holds the pipe any more.
        File::from(read).read_to_string(&mut text).unwrap();
    }
}
