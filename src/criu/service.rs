//! Talks with criu. The program is started for one request (`criu swrk`, criu.org/RPC), as corten's own child: it inherits
//! stdio and what a restore hands down, and it ends with the request, or with corten.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use prost::Message;

use super::log;
use super::rpc::{Features, Notify, Opts, Req, ReqType, Resp};
use crate::error::{Error, Result};
use crate::fault::{Call, Effect, Trouble};
use crate::field::Field;
use crate::process::executable;
use crate::sys::spawn::{self, Child, Spawn, With};
use crate::sys::{descriptor, socket};

/// Where programs are when `$PATH` says nothing.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The most that an answer can have, in bytes.
const ANSWER: usize = 64 * 1024;

/// A point where criu waits for its caller.
#[derive(Debug)]
pub enum Point {
    /// Restore: the namespaces are there and empty; the first process, in corten's pid namespace, lives in them.
    SetupNamespaces(i32),
    /// Restore: the other end of the container's terminal.
    Terminal(OwnedFd),
    /// Restore: all is there and stands still.
    Restored(i32),
    /// Restore: the network is open again, and all stands still for the last time.
    BeforeResume,
    /// Any other, which is passed over.
    Other,
}

/// How criu is started.
#[derive(Debug, Default)]
pub struct Start<'a> {
    /// Where it is; looked for in `$PATH` otherwise.
    pub program: Option<&'a Path>,
    /// It and what it restores get corten's own stdio.
    pub stdio: bool,
    /// Descriptors that it gets beside.
    pub kept: &'a [BorrowedFd<'a>],
}

/// A running criu.
#[derive(Debug)]
pub struct Service {
    child: Child,
    /// `None` once everything is said.
    socket: Option<OwnedFd>,
}

impl Service {
    /// Starts criu, which then waits for its request.
    ///
    /// # Errors
    /// [`Error::Os`] when there is no such program.
    pub fn start(start: &Start) -> Result<Service> {
        let failed = |trouble| Error::os("start criu", trouble);
        let program = find(start.program)?;
        let (ours, theirs) = socket::pair().map_err(failed)?;
        let (ours, theirs) = (socket::own(ours), socket::own(theirs));
        let argv = [b"criu".to_vec(), b"swrk".to_vec(), theirs.as_raw_fd().to_string().into_bytes()];
        let invalid = |_| failed(Trouble::new(Call::Exec, Errno::EINVAL));
        let argv = spawn::strings(argv).map_err(invalid)?;
        let envp = spawn::strings(environment()).map_err(invalid)?;
        let mut kept = start.kept.to_vec();
        kept.push(theirs.as_fd());
        let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
        let null = null.map_err(|error| Error::io("open /dev/null", Call::Open, &error))?;
        let stdio = if start.stdio { descriptor::stdio() } else { [null.as_fd(); 3] };
        // Its own terminal and its caller's are one only where it restores something there; else no ctrl-c may end it halfway.
        let umask = (!start.stdio).then_some(0o077);
        let with = With { kept: &kept, same_group: start.stdio, umask };
        let spawned = Spawn { path: &program, argv: &argv, envp: &envp, stdio, cwd: None, join: None, with };
        let doing = || format!("execute {}", program.to_string_lossy());
        let child = spawn::spawn(&spawned).map_err(|trouble| Error::os(doing(), trouble))?;
        Ok(Service { child, socket: Some(ours) })
    }

    /// criu itself, in corten's pid namespace.
    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// Waits until criu says something; `false` when it has ended in silence. The processes that it was making still have its
    /// end of the socket then, and wait for it for ever.
    fn says_more(&self, socket: &OwnedFd) -> Result<bool> {
        // `None` on kernels before 5.3, where the end of the socket must do.
        let mut watched = vec![PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        watched.extend(self.child.pidfd().map(|ended| PollFd::new(ended, PollFlags::POLLIN)));
        loop {
            match poll(&mut watched, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::os("wait for criu", Trouble::new(Call::Poll, errno))),
                // What it has said before its end comes first.
                Ok(_) => return Ok(watched.first().is_some_and(|socket| socket.any().unwrap_or(false))),
            }
        }
    }

    /// Sends the request and waits for the answer. `at` is called at every point where criu waits; its error ends the request.
    ///
    /// # Errors
    /// That of `at`; [`Error::Os`] when criu can't be spoken to. An answer that says no is an answer.
    pub fn ask(mut self, req: &Req, at: &mut dyn FnMut(Point) -> Result) -> Result<Option<Resp>> {
        let spoken = |trouble| Error::os("speak with criu", trouble);
        let Some(socket) = self.socket.take() else { return Ok(None) };
        let mut refused = None;
        // criu that has gone leaves a socket that takes nothing more: its answer, if there was one, is read all the same.
        let say = |req: &Req| match socket::send(socket.as_raw_fd(), &req.encode_to_vec()) {
            Err(Trouble { errno: Errno::EPIPE | Errno::ECONNRESET, .. }) => Ok(()),
            said => said.map_err(spoken),
        };
        say(req)?;
        let answer = loop {
            if !self.says_more(&socket)? {
                break None;
            }
            let Some((resp, descriptor)) = receive(&socket)? else { break None };
            if resp.r#type() != ReqType::Notify {
                break Some(resp);
            }
            let told = at(point(resp.notify.unwrap_or_default(), descriptor));
            say(&Req { notify_success: Some(told.is_ok()), ..Req::of(ReqType::Notify) })?;
            refused = refused.or(told.err());
        };
        // After a dump ahead criu waits for more, until nobody is there who could ask.
        drop(socket);
        self.child.wait(true).map_err(|trouble| Error::os("wait for criu", trouble))?;
        refused.map_or(Ok(answer), Err)
    }
}

/// Removes a log of before: its errors would be told as those of now.
pub fn forget_log(log: &Path) -> Result {
    match std::fs::remove_file(log) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", log.display()), Call::Unlink, &error))
        }
        _ => Ok(()),
    }
}

/// Asks for the options' dump or restore.
pub fn request(kind: ReqType, opts: Opts) -> Req {
    Req { opts: Some(opts), ..Req::of(kind) }
}

/// What criu and the kernel can do of these.
pub fn features(program: Option<&Path>, wanted: Features) -> Result<Features> {
    let service = Service::start(&Start { program, ..Start::default() })?;
    let req = Req { features: Some(wanted), ..Req::of(ReqType::FeatureCheck) };
    let answer = service.ask(&req, &mut |_| Ok(()))?;
    match answer {
        Some(Resp { success: true, features, .. }) => Ok(features.unwrap_or_default()),
        answer => Err(failure("ask what criu and the kernel can do", answer.as_ref(), Path::new(""))),
    }
}

fn receive(socket: &OwnedFd) -> Result<Option<(Resp, Option<OwnedFd>)>> {
    let mut bytes = vec![0; ANSWER];
    let (size, descriptor) =
        socket::receive_with(socket.as_raw_fd(), &mut bytes).map_err(|trouble| Error::os("hear from criu", trouble))?;
    let descriptor = descriptor.map(socket::own);
    if size == 0 {
        return Ok(None);
    }
    let strange = |_| Error::os("understand criu", Trouble::new(Call::Read, Errno::EBADMSG));
    Resp::decode(&bytes[..size]).map(|resp| Some((resp, descriptor))).map_err(strange)
}

fn point(notify: Notify, descriptor: Option<OwnedFd>) -> Point {
    match (notify.script.as_deref(), notify.pid, descriptor) {
        (Some("setup-namespaces"), Some(pid), _) => Point::SetupNamespaces(pid),
        (Some("post-restore"), Some(pid), _) => Point::Restored(pid),
        (Some("pre-resume"), ..) => Point::BeforeResume,
        (Some("orphan-pts-master"), _, Some(master)) => Point::Terminal(master),
        _ => Point::Other,
    }
}

/// An answer that says no, or none at all, as an error: with the lines of criu's log that tell why.
pub fn failure(doing: &str, answer: Option<&Resp>, log: &Path) -> Error {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let mut lines = log::errors(&text);
    let said = answer.and_then(|resp| resp.cr_errmsg.clone()).map(|text| text.trim().to_owned());
    let said = said.filter(|text| !text.is_empty());
    if lines.is_empty() {
        // criu had not got as far as its log.
        lines.extend(log::errors(said.as_deref().unwrap_or_default()));
        lines.extend(said.filter(|_| lines.is_empty()));
    }
    let hint = log::hint(&lines);
    let mut lines = lines.into_iter();
    let why = lines.next().unwrap_or_else(|| match answer.and_then(|resp| resp.cr_errno) {
        Some(errno) if errno > 0 => crate::fault::words(Errno::from_raw(errno)).to_owned(),
        _ if answer.is_none() => "it ended without an answer".to_owned(),
        _ => "it failed without a reason".to_owned(),
    });
    let mut more: Vec<String> = lines.collect();
    more.extend(log.exists().then(|| format!("the whole log: {}", log.display())));
    Error::Criu { doing: doing.to_owned(), why, more, hint }
}

fn environment() -> impl Iterator<Item = Vec<u8>> {
    std::env::vars_os().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
}

/// A program that is looked for in `$PATH`.
pub fn find_program(name: &str) -> Option<CString> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
    first(std::env::split_paths(&path).map(|dir| dir.join(name))).ok()
}

fn first(candidates: impl Iterator<Item = PathBuf>) -> Effect<CString> {
    let mut paths: Vec<_> = candidates.filter_map(|path| CString::new(path.into_os_string().as_bytes()).ok()).collect();
    executable::find(&paths).map(|number| paths.swap_remove(number))
}

/// criu by its path.
fn find(given: Option<&Path>) -> Result<CString> {
    let missing = Trouble::new(Call::FindExecutable, Errno::ENOENT);
    let found = match given {
        Some(path) => first(std::iter::once(path.to_owned())),
        None => find_program("criu").ok_or(missing),
    };
    match found {
        Ok(path) => Ok(path),
        Err(trouble) => {
            let doing = format!("find {}", given.map_or_else(|| "criu".to_owned(), |path| path.display().to_string()));
            let error = Error::os(doing, trouble).field(Field::at("--criu"));
            Err(error.hint("a checkpoint and its restore are made by criu: install it, or say where it is with --criu"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program that stands for criu.
    fn pretended(script: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("criu");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_criu_that_ends_without_a_word_has_given_no_answer() {
        let (_dir, program) = pretended("test \"$1\" = swrk && test -S /proc/self/fd/$2 && exit 0; exit 1");
        let service = Service::start(&Start { program: Some(&program), ..Start::default() }).unwrap();
        assert_eq!(service.ask(&Req::of(ReqType::Version), &mut |_| Ok(())).unwrap(), None);
    }

    #[test]
    fn a_criu_that_is_not_there_is_told_with_the_flag() {
        let error = Service::start(&Start { program: Some(Path::new("/nowhere/criu")), ..Start::default() });
        let error = error.unwrap_err();
        assert!(error.to_string().starts_with("find /nowhere/criu"), "{error}");
        assert!(matches!(error, Error::Os { field, .. } if field == Field::at("--criu")));
    }

    #[test]
    fn a_failure_tells_the_cause_first_and_where_the_log_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dump.log");
        std::fs::write(&path, "(00.1) Error (criu/a.c:1): cause\n(00.2) Error (criu/b.c:2): Dumping FAILED.\n")
            .unwrap();
        let Error::Criu { why, more, .. } = failure("dump web", None, &path) else { panic!() };
        assert_eq!(why, "cause");
        assert_eq!(more, ["Dumping FAILED.".to_owned(), format!("the whole log: {}", path.display())]);
    }

    #[test]
    fn before_there_is_a_log_criu_says_it_in_its_answer() {
        let nowhere = Path::new("/nowhere/dump.log");
        let why = |resp: Resp| match failure("dump web", Some(&resp), nowhere) {
            Error::Criu { why, .. } => why,
            other => panic!("{other}"),
        };
        let said = |text: &str| Resp { cr_errmsg: Some(text.to_owned()), ..Resp::default() };
        assert_eq!(why(said("Error (criu/a.c:1): no caps\n")), "no caps");
        assert_eq!(why(said("no caps\n")), "no caps");
        assert_eq!(why(Resp { cr_errno: Some(1), ..Resp::default() }), "Operation not permitted");
        assert_eq!(why(Resp::default()), "it failed without a reason");
    }
}
