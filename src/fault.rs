//! What a failed system call looks like, from the call itself to the message of fixed size that a child sends home.
//!
//! Code that runs after clone can neither allocate nor format, so trouble travels as numbers: which call, which errno,
//! which step of which list. The host looks the step up in the same plan and turns it into words (`explain.rs`).

use nix::errno::Errno;

macro_rules! calls {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// The system call (or check) that failed. The number is what crosses the control socket.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Call { $($variant),+ }

        impl Call {
            const ALL: &'static [Call] = &[$(Call::$variant),+];

            /// The name that a man page has: `openat2`, `mount_setattr`.
            pub fn name(self) -> &'static str {
                match self { $(Call::$variant => $name),+ }
            }
        }
    };
}

calls! {
    None = "(no call)", Injected = "(injected fault)", Accept = "accept", Access = "faccessat2", Bind = "bind", Capset = "capset",
    Chdir = "chdir", Chmod = "fchmod", Chown = "fchownat", Chroot = "chroot", Clone = "clone3", Close = "close",
    CloseRange = "close_range", Connect = "connect", Dup = "dup3", Exec = "execve", Fchdir = "fchdir", Fcntl = "fcntl",
    Fork = "fork", Fsconfig = "fsconfig", Fsmount = "fsmount", Fsopen = "fsopen", Fstat = "fstat", Fstatfs = "fstatfs",
    Getcwd = "getcwd", Getdents = "getdents64", Ioctl = "ioctl", Ioprio = "ioprio_set", Keyctl = "keyctl", Kill = "kill", Mkdir = "mkdirat",
    Mknod = "mknodat", Mmap = "mmap", Mount = "mount", MountSetattr = "mount_setattr", MoveMount = "move_mount",
    Open = "openat", Openat2 = "openat2", OpenTree = "open_tree", Personality = "personality", Pidfd = "pidfd_open",
    Pipe = "pipe2", PivotRoot = "pivot_root", Poll = "ppoll", Prctl = "prctl", Prlimit = "prlimit64", Read = "read",
    Readlink = "readlinkat", Rmdir = "rmdir", Recvmsg = "recvmsg", SchedSetattr = "sched_setattr", Sendmsg = "sendmsg",
    SetMempolicy = "set_mempolicy", Setdomainname = "setdomainname", Setgid = "setresgid", Setgroups = "setgroups",
    Sethostname = "sethostname", Setns = "setns", Setsid = "setsid", Setuid = "setresuid", Sigaction = "rt_sigaction",
    Sigprocmask = "rt_sigprocmask", Socket = "socketpair", Spawn = "posix_spawn", Stat = "fstatat", Symlink = "symlinkat", Umount = "umount2",
    Unlink = "unlinkat", Unshare = "unshare", Wait = "waitid", Write = "write", Memfd = "memfd_create", Statx = "statx",
    Rename = "renameat", Seccomp = "seccomp", PidfdGetfd = "pidfd_getfd", Execveat = "execveat", Sendfile = "sendfile", Setxattr = "setxattr", Flock = "flock", Sched = "sched_setaffinity",
    GetLink = "netlink(RTM_GETLINK)", SetLink = "netlink(RTM_SETLINK)", GetAddress = "netlink(RTM_GETADDR)", NewAddress = "netlink(RTM_NEWADDR)",
    BpfLoad = "bpf(BPF_PROG_LOAD)", BpfAttach = "bpf(BPF_PROG_ATTACH)", BpfQuery = "bpf(BPF_PROG_QUERY)",
    // Not calls but checks of corten's own, so that a fault can name them.
    FindExecutable = "(search in $PATH)", CheckFilesystem = "(check of the file system)", CheckDevice = "(check of the device)",
    CheckCwd = "(check of the working directory)", CheckNamespace = "(check of the namespace)", CheckCgroup = "(check of the cgroup)", CheckClass = "(check of the class of service)", Hook = "(hook)",
    CompileFilter = "(compilation of the filter)", CheckTarget = "(check of the mount target)", CheckMount = "(check of what is mounted)", MapIds = "(newuidmap or newgidmap)", CheckMap = "(check of the id map)", CheckFd = "(check of the inherited descriptor)", Ambient = "prctl(PR_CAP_AMBIENT)",
}

impl Call {
    /// The call behind a number from the control socket; an unknown number is [`Call::None`].
    pub fn from_u16(number: u16) -> Call {
        Call::ALL.get(number as usize).copied().unwrap_or(Call::None)
    }
}

/// A failed call: what every effect of corten returns. Plain numbers, so it can be made and carried after clone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub call: Call,
    pub errno: Errno,
}

impl Trouble {
    pub const fn new(call: Call, errno: Errno) -> Trouble {
        Trouble { call, errno }
    }
}

/// In which way a fault that a test asked for shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    /// The step returns this error.
    Errno(Errno),
    /// The process dies, as by the kernel's memory killer.
    Kill,
    /// The process stops, as by the SIGSTOP of somebody who sees it.
    Stop,
}

/// What an effect returns.
pub type Effect<T = ()> = Result<T, Trouble>;

/// What an errno means, in the words of strerror(3): they are what people search for, and nix has older ones of a few.
/// No heap, so code that runs after clone can say them too.
pub fn words(errno: Errno) -> &'static str {
    match errno {
        Errno::EIO => "Input/output error",
        Errno::EBADF => "Bad file descriptor",
        Errno::EAGAIN => "Resource temporarily unavailable",
        Errno::ENOMEM => "Cannot allocate memory",
        Errno::EXDEV => "Invalid cross-device link",
        Errno::ENFILE => "Too many open files in system",
        Errno::ENOTTY => "Inappropriate ioctl for device",
        Errno::EDOM => "Numerical argument out of domain",
        Errno::ERANGE => "Numerical result out of range",
        Errno::EDEADLK => "Resource deadlock avoided",
        Errno::ENOLCK => "No locks available",
        Errno::ELOOP => "Too many levels of symbolic links",
        Errno::ENETRESET => "Network dropped connection on reset",
        Errno::EBADMSG => "Bad message",
        Errno::EILSEQ => "Invalid or incomplete multibyte or wide character",
        Errno::EOPNOTSUPP => "Operation not supported",
        Errno::EDQUOT => "Disk quota exceeded",
        errno => errno.desc(),
    }
}

/// Names the call behind an errno: `nix::unistd::setsid().during(Call::Setsid)?`.
pub trait During<T> {
    /// Attaches the call's name to its errno.
    fn during(self, call: Call) -> Effect<T>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, call: Call) -> Effect<T> {
        self.map_err(|errno| Trouble { call, errno })
    }
}

/// Which list of the plan a step stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// In the host process, before clone.
    Host,
    /// In the host process, on the cloned child: id maps, limits that only the host may raise.
    Adopt,
    /// The child's first code: namespaces and identity.
    StageOne,
    /// Inside the namespaces: root file system and process properties.
    StageTwo,
    /// In the host process, while the child waits with its root file system mounted and not yet entered: hooks.
    Mounted,
    /// In the host process, on the child that has set itself up: limits that its set-up must not meet.
    Ready,
    /// After `start` has opened the exec fifo, up to execve.
    Start,
    /// What takes a half-made container down again.
    Undo,
}

impl Stage {
    pub const ALL: [Stage; 8] = [
        Stage::Host,
        Stage::Adopt,
        Stage::StageOne,
        Stage::StageTwo,
        Stage::Mounted,
        Stage::Ready,
        Stage::Start,
        Stage::Undo,
    ];

    /// The name in plans, traces and fault specifications.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Host => "host",
            Stage::Adopt => "adopt",
            Stage::StageOne => "stage_one",
            Stage::StageTwo => "stage_two",
            Stage::Mounted => "mounted",
            Stage::Ready => "ready",
            Stage::Start => "start",
            Stage::Undo => "undo",
        }
    }

    pub fn from_u8(number: u8) -> Option<Stage> {
        Stage::ALL.get(number as usize).copied()
    }
}

/// Bytes of detail that a fault can carry: the first lines a hook wrote, for example.
pub const DETAIL: usize = 512;

/// A failure on its way home from a child: fixed size, no heap. `detail` is padded with NUL.
#[derive(Clone, Copy)]
pub struct Fault {
    pub stage: Stage,
    pub step: u16,
    pub call: u16,
    pub errno: i32,
    pub detail: [u8; DETAIL],
}

impl Fault {
    /// The size of a fault as bytes.
    pub const SIZE: usize = 12 + DETAIL;

    pub fn new(stage: Stage, step: u16, trouble: Trouble) -> Fault {
        Fault { stage, step, call: trouble.call as u16, errno: trouble.errno as i32, detail: [0; DETAIL] }
    }

    /// The failed call with its errno.
    pub fn trouble(&self) -> Trouble {
        Trouble { call: Call::from_u16(self.call), errno: Errno::from_raw(self.errno) }
    }

    /// The detail as text, without its padding; bytes that are no UTF-8 are replaced.
    pub fn detail_text(&self) -> String {
        let end = self.detail.iter().position(|&b| b == 0).unwrap_or(DETAIL);
        String::from_utf8_lossy(&self.detail[..end]).into_owned()
    }

    pub fn to_bytes(&self) -> [u8; Fault::SIZE] {
        let mut bytes = [0; Fault::SIZE];
        bytes[0] = self.stage as u8;
        bytes[2..4].copy_from_slice(&self.step.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.call.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.errno.to_ne_bytes());
        bytes[12..].copy_from_slice(&self.detail);
        bytes
    }

    /// Reads a fault; `None` when the stage is none of ours (a foreign or torn message).
    pub fn from_bytes(bytes: &[u8; Fault::SIZE]) -> Option<Fault> {
        let mut detail = [0; DETAIL];
        detail.copy_from_slice(&bytes[12..]);
        Some(Fault {
            stage: Stage::from_u8(bytes[0])?,
            step: u16::from_ne_bytes([bytes[2], bytes[3]]),
            call: u16::from_ne_bytes([bytes[4], bytes[5]]),
            errno: i32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
            detail,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_survives_the_way_home() {
        let mut fault = Fault::new(Stage::StageTwo, 31, Trouble::new(Call::MoveMount, Errno::EBUSY));
        fault.detail[..5].copy_from_slice(b"/data");
        let back = Fault::from_bytes(&fault.to_bytes()).unwrap();
        assert_eq!((back.stage, back.step), (Stage::StageTwo, 31));
        assert_eq!(back.trouble(), Trouble::new(Call::MoveMount, Errno::EBUSY));
        assert_eq!(back.detail_text(), "/data");
    }

    #[test]
    fn an_errno_has_the_words_of_the_c_library() {
        for number in 1..=133 {
            let errno = Errno::from_raw(number);
            if errno != Errno::UnknownErrno {
                let library = std::io::Error::from_raw_os_error(number).to_string();
                assert_eq!(library, format!("{} (os error {number})", words(errno)));
            }
        }
    }

    #[test]
    fn every_call_keeps_its_number() {
        for (number, call) in Call::ALL.iter().enumerate() {
            assert_eq!(Call::from_u16(number as u16), *call);
        }
        assert_eq!(Call::from_u16(u16::MAX), Call::None);
    }

    #[test]
    fn a_message_of_an_unknown_stage_is_no_fault() {
        let mut bytes = Fault::new(Stage::Start, 0, Trouble::new(Call::Exec, Errno::ENOENT)).to_bytes();
        bytes[0] = 99;
        assert!(Fault::from_bytes(&bytes).is_none());
    }
}
