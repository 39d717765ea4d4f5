//! What to do next, for errors that don't bring a hint: a table from errno, call and property to one sentence.
//!
//! The first rule that fits wins, so special ones stand above general ones. A hint is only worth its line when it says
//! something that the errno's own words don't.

use nix::errno::Errno;

use crate::error::Error;
use crate::fault::{self, Call, Trouble};
use crate::field::Field;

/// Who asks.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Anyone,
    Rootless,
}
use Who::{Anyone, Rootless};

struct Rule {
    errno: Errno,
    /// Any of these; empty is any call.
    calls: &'static [Call],
    /// How the field's pointer begins; empty is any field.
    field: &'static str,
    who: Who,
    hint: &'static str,
}

const fn rule(errno: Errno, calls: &'static [Call], field: &'static str, who: Who, hint: &'static str) -> Rule {
    Rule { errno, calls, field, who, hint }
}

const NAMESPACES: &[Call] = &[Call::Clone, Call::Unshare, Call::Fork];
const MOUNTS: &[Call] =
    &[Call::Mount, Call::Fsopen, Call::Fsconfig, Call::Fsmount, Call::OpenTree, Call::MoveMount, Call::MountSetattr];
const PATHS: &[Call] =
    &[Call::Open, Call::Openat2, Call::OpenTree, Call::Mount, Call::Stat, Call::Statx, Call::Mkdir, Call::Mknod];
const IDS: &[Call] = &[Call::Setuid, Call::Setgid, Call::Setgroups, Call::Chown];

#[rustfmt::skip]
static RULES: &[Rule] = &[
    // Namespaces: clone(2), unshare(2), user_namespaces(7), namespaces(7).
    rule(Errno::ENOSPC, NAMESPACES, "", Anyone, "a limit of namespaces is reached: raise the sysctl user.max_user_namespaces (or user.max_pid_namespaces, user.max_net_namespaces, ...)"),
    rule(Errno::EUSERS, NAMESPACES, "", Anyone, "user namespaces can be nested 32 deep"),
    rule(Errno::EPERM, NAMESPACES, "", Rootless, "without privileges config.json must ask for a user namespace (see `corten spec --rootless`); if it does, the host keeps them from unprivileged users: see the sysctls kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns"),
    rule(Errno::EPERM, NAMESPACES, "", Anyone, "making a namespace takes CAP_SYS_ADMIN; without it add a user namespace, see `corten spec --rootless`"),
    rule(Errno::EINVAL, NAMESPACES, "", Anyone, "this kernel lacks one of the namespaces in linux.namespaces: compare them with /proc/self/ns"),
    rule(Errno::EINVAL, &[Call::Setns], "", Anyone, "the path doesn't lead to a namespace of this type, or the process is in that user namespace already"),
    rule(Errno::EPERM, &[Call::Setns], "", Rootless, "joining a namespace takes CAP_SYS_ADMIN in the user namespace that owns it; an ordinary user enters a container of his when its program runs, not before `start`"),
    rule(Errno::EPERM, &[Call::Setns], "", Anyone, "joining a namespace takes CAP_SYS_ADMIN in the user namespace that owns it"),
    rule(Errno::EBUSY, &[Call::CheckNamespace], "", Anyone, "the container is in corten's own mount namespace, so that a mount in it would be the host's"),
    rule(Errno::EACCES, &[Call::Open], "/linux/namespaces", Rootless, "an ordinary user enters a container of his when its program runs, not before `start`"),
    rule(Errno::EINVAL, &[Call::CheckNamespace], "", Anyone, "the path must be a namespace of this type, such as /proc/PID/ns/net: `readlink` shows what it is, and for a bind mount `findmnt`"),
    rule(Errno::ENOENT, &[Call::Open, Call::Openat2, Call::Stat], "/linux/namespaces", Anyone, "the process that the namespace belonged to has ended, or nobody has made the namespace yet (`ip netns add`, `unshare`)"),
    rule(Errno::EPERM, &[Call::MapIds], "/linux/uidMappings", Anyone, "newuidmap allows the caller's own id and the ranges that /etc/subuid gives to the caller, by a line such as `NAME:100000:65536`: see subuid(5)"),
    rule(Errno::EPERM, &[Call::MapIds], "/linux/gidMappings", Anyone, "newgidmap allows the caller's own group and the ranges that /etc/subgid gives to the caller, by a line such as `NAME:100000:65536`: see subgid(5)"),
    rule(Errno::ENOENT, &[Call::MapIds], "", Anyone, "newuidmap and newgidmap must be in $PATH: install the package uidmap (shadow-utils elsewhere)"),
    rule(Errno::ERANGE, &[Call::Write], "/linux/timeOffsets", Anyone, "an offset must not put the container's clock below zero or beyond what the kernel can count: see time_namespaces(7)"),
    rule(Errno::EPERM, &[Call::Write], "/linux/uidMappings", Anyone, "ids other than the caller's own take newuidmap and a range in /etc/subuid"),
    rule(Errno::EPERM, &[Call::Write], "/linux/gidMappings", Anyone, "ids other than the caller's own take newgidmap and a range in /etc/subgid"),
    rule(Errno::EINVAL, &[Call::Write], "/linux/uidMappings", Anyone, "ranges must not overlap, on either side, and there can be 340"),
    rule(Errno::EINVAL, &[Call::Write], "/linux/gidMappings", Anyone, "ranges must not overlap, on either side, and there can be 340"),
    rule(Errno::EPERM, &[Call::Sethostname, Call::Setdomainname], "", Anyone, "a name of its own takes a uts namespace"),

    // Root file system and mounts: mount(2), move_mount(2), pivot_root(2).
    rule(Errno::EINVAL, &[Call::PivotRoot], "", Anyone, "the host's root is an initial ramdisk, or root.path isn't a mount of its own: try --no-pivot"),
    rule(Errno::EBUSY, &[Call::PivotRoot], "", Anyone, "root.path must not be the host's own root"),
    rule(Errno::ENOENT, PATHS, "/root", Anyone, "root.path is relative to the bundle; `corten spec --with-rootfs` makes a root file system to start from"),
    rule(Errno::EROFS, &[Call::Mkdir, Call::Mknod, Call::Open, Call::Openat2], "", Anyone, "the place doesn't exist and the file system is read-only: make it in the image"),
    rule(Errno::ENOENT, PATHS, "/mounts", Anyone, "the source of a bind mount must exist on the host first"),
    rule(Errno::ENOSYS, &[Call::OpenTree, Call::Fsopen, Call::MoveMount], "", Anyone, "mounting in a container that is there takes open_tree(2) and the calls beside it, which a seccomp filter around corten may hide"),
    rule(Errno::ENOSYS, &[Call::Statx], "", Anyone, "telling one mount from another takes Linux 5.8"),
    rule(Errno::ENODEV, MOUNTS, "", Anyone, "this kernel doesn't know the file system type: /proc/filesystems lists the known ones"),
    rule(Errno::ENOTBLK, MOUNTS, "/mounts", Anyone, "this file system type needs a block device as its source; for a directory use type `bind`"),
    rule(Errno::ENOTDIR, &[], "/mounts", Anyone, "a directory mounts on a directory only, and a file on a file: look at both ends"),
    rule(Errno::ELOOP, &[], "/mounts", Anyone, "a symbolic link stands where none may be followed"),
    rule(Errno::EXDEV, &[Call::Openat2], "", Anyone, "the path leads out of the root file system"),
    rule(Errno::EBUSY, MOUNTS, "", Anyone, "the source, or the mount point, is in use by another mount"),
    rule(Errno::EPERM, MOUNTS, "/mounts", Rootless, "an unprivileged user can't clear the nosuid, nodev, noexec or ro of an existing mount, and mounts a sysfs only in a network namespace of its own: `corten spec --rootless` shows what works"),
    rule(Errno::EPERM, MOUNTS, "", Anyone, "mounting takes CAP_SYS_ADMIN, and a security module may forbid it"),
    rule(Errno::EINVAL, MOUNTS, "/mounts", Anyone, "the kernel refuses an option or the kind of source; `dmesg` often names it"),
    rule(Errno::EPERM, &[Call::Mknod], "", Anyone, "making device nodes takes CAP_MKNOD in the initial user namespace"),
    rule(Errno::ENOENT, &[], "/linux/sysctl", Anyone, "this kernel has no such sysctl, or it doesn't belong to a namespace"),
    rule(Errno::EINVAL, &[Call::Write], "/linux/sysctl", Anyone, "the kernel doesn't take this value: compare it with what the file under /proc/sys holds"),
    rule(Errno::EACCES, &[], "/linux/sysctl", Anyone, "only sysctls of the container's own namespaces can be written"),

    // Security modules: proc_pid_attr(5), aa_change_onexec(2), setexeccon(3).
    rule(Errno::ENOENT, &[Call::Write], "/process/apparmorProfile", Anyone, "no profile of this name is loaded: load its file with `apparmor_parser -r`; /sys/kernel/security/apparmor/profiles lists the loaded ones"),
    rule(Errno::EACCES, &[Call::Write], "/process/apparmorProfile", Anyone, "corten itself runs under an AppArmor profile that has no change_profile rule for this one: see /proc/self/attr/current and dmesg"),
    rule(Errno::EINVAL, &[Call::Write], "/process/apparmorProfile", Anyone, "AppArmor takes this for no name of a profile"),
    rule(Errno::EINVAL, &[Call::Write], "/process/selinuxLabel", Anyone, "the loaded SELinux policy has no such label: it must have a user, role, type and level of the policy, such as system_u:system_r:container_t:s0"),
    rule(Errno::EACCES, &[Call::Write], "/process/selinuxLabel", Anyone, "the SELinux policy doesn't let corten's own domain set labels (setexec, setkeycreate): see the audit log"),
    rule(Errno::EINVAL, &[Call::Setxattr], "/linux/mountLabel", Anyone, "the loaded SELinux policy has no such label: it must have a user, role, type and level of the policy, such as system_u:object_r:container_file_t:s0"),

    // Identity and limits: setgroups(2), capabilities(7), setrlimit(2).
    rule(Errno::EPERM, &[Call::Setgroups], "", Anyone, "a user namespace without newgidmap forbids setgroups: leave out process.user.additionalGids"),
    rule(Errno::EINVAL, IDS, "", Anyone, "the id has no mapping in the user namespace: extend linux.uidMappings and linux.gidMappings"),
    rule(Errno::EPERM, &[Call::Prlimit], "", Anyone, "raising a hard limit takes CAP_SYS_RESOURCE in the initial user namespace, and RLIMIT_NOFILE can't exceed the sysctl fs.nr_open"),
    rule(Errno::EPERM, &[Call::Capset, Call::Ambient], "", Anyone, "a capability that the caller hasn't got can't be given (see CapBnd in /proc/self/status), and an inheritable one must be in bounding too"),
    rule(Errno::EACCES, &[Call::Write], "/process/oomScoreAdj", Anyone, "lowering the score takes CAP_SYS_RESOURCE"),

    // Device rules: cgroup-v1/devices.rst, bpf(2).
    rule(Errno::EPERM, &[Call::Write], "/linux/resources/devices", Anyone, "a cgroup can't allow what the one above denies: see devices.list there; the devices controller takes CAP_SYS_ADMIN as well"),
    rule(Errno::EINVAL, &[Call::Write], "/linux/resources/devices", Anyone, "the rules of a cgroup with others below it can't be set anew: choose another linux.cgroupsPath, or remove those"),
    rule(Errno::EPERM, &[Call::BpfLoad], "", Anyone, "a device program takes CAP_SYS_ADMIN, or CAP_BPF and CAP_NET_ADMIN, and a seccomp filter around corten may hide bpf(2)"),
    // Filters: seccomp(2).
    rule(Errno::EACCES, &[Call::Seccomp], "", Anyone, "without process.noNewPrivileges a filter takes CAP_SYS_ADMIN: set it to true"),
    rule(Errno::EINVAL, &[Call::Seccomp], "", Anyone, "this kernel lacks seccomp filters (CONFIG_SECCOMP_FILTER), or one of linux.seccomp.flags: `corten features` names those it has"),
    rule(Errno::EBUSY, &[Call::Seccomp], "", Anyone, "corten's caller has a filter with a listener, and the kernel has one listener for a process"),
    rule(Errno::ENOMEM, &[Call::Seccomp], "", Anyone, "the filters of a process and its callers may have 32768 instructions together"),
    rule(Errno::EEXIST, &[Call::CompileFilter], "", Anyone, "leave one of the two entries"),
    rule(Errno::E2BIG, &[Call::CompileFilter], "", Anyone, "the kernel takes 4096 instructions: compare fewer arguments, or name fewer architectures"),
    rule(Errno::EDOM, &[Call::CompileFilter], "", Anyone, "architectures of the other byte order can't stand in one filter with the machine's own: take them out of linux.seccomp.architectures"),
    rule(Errno::ENOENT, &[Call::Connect], "/linux/seccomp", Anyone, "the seccomp agent must listen on linux.seccomp.listenerPath before `create`"),
    rule(Errno::ECONNREFUSED, &[Call::Connect], "/linux/seccomp", Anyone, "the seccomp agent must listen on linux.seccomp.listenerPath before `create`"),
    rule(Errno::EPERM, &[Call::PidfdGetfd], "", Anyone, "taking the listener out of the init takes CAP_SYS_PTRACE"),
    rule(Errno::ENOSYS, &[Call::BpfLoad, Call::BpfQuery], "", Anyone, "this kernel lacks bpf(2), CONFIG_BPF_SYSCALL, or a seccomp filter around corten hides it"),
    rule(Errno::EINVAL, &[Call::BpfLoad, Call::BpfAttach], "", Anyone, "device programs take Linux 4.15 and CONFIG_CGROUP_BPF"),
    rule(Errno::E2BIG, &[Call::BpfLoad], "", Anyone, "the kernel checks programs up to a size only: rule with wildcards in place of thousands of devices"),
    rule(Errno::EPERM, &[Call::BpfAttach], "", Anyone, "a cgroup above has a device program that allows none below it: `bpftool cgroup tree` shows it"),

    rule(Errno::EINVAL, &[Call::SetMempolicy], "", Anyone, "the nodes must exist, have memory and be allowed to the caller: see /sys/devices/system/node/has_memory and Mems_allowed in /proc/self/status"),
    rule(Errno::EPERM, &[Call::SchedSetattr], "", Anyone, "a real-time or deadline policy, or a lower nice, takes CAP_SYS_NICE; a control group without real-time budget refuses it too"),
    rule(Errno::EPERM, &[Call::Ioprio], "", Anyone, "the class IOPRIO_CLASS_RT takes CAP_SYS_NICE or CAP_SYS_ADMIN"),

    // The program: execve(2).
    rule(Errno::ENOENT, &[Call::FindExecutable], "", Anyone, "the program must be in the root file system: a path from its root, or a name that the PATH in process.env leads to"),
    rule(Errno::EACCES, &[Call::FindExecutable], "", Anyone, "the file must be executable for process.user, and its mount not noexec"),
    rule(Errno::EISDIR, &[Call::FindExecutable, Call::Exec], "", Anyone, "process.args[0] must name the program, not its directory"),
    rule(Errno::ENOENT, &[Call::Exec], "", Anyone, "the file exists, but what runs it doesn't: the root file system lacks the dynamic loader (`file` names it) or the program of the #! line, which may end in a carriage return"),
    rule(Errno::ENOEXEC, &[Call::Exec], "", Anyone, "the file is for another machine (`file` tells), damaged, or a script without a #! line"),
    rule(Errno::EACCES, &[Call::Exec], "", Anyone, "process.user may not execute the file, its mount is noexec, or a security module forbids it: dmesg or the audit log tells"),
    rule(Errno::EPERM, &[Call::Exec], "", Anyone, "a security module forbids the program, or the change to its label, which process.noNewPrivileges restricts: dmesg or the audit log tells"),
    rule(Errno::E2BIG, &[Call::Exec], "", Anyone, "process.args and process.env are too long together"),
    rule(Errno::ENOENT, &[Call::Chdir, Call::CheckCwd], "", Anyone, "process.cwd must exist in the root file system"),
    rule(Errno::ENOTDIR, &[], "/process/cwd", Anyone, "process.cwd must be a directory, and a file stands there or on the way"),
    rule(Errno::EROFS, &[], "/process/cwd", Anyone, "process.cwd doesn't exist and can't be made in a read-only file system: make it in the image"),
    rule(Errno::EACCES, &[Call::Chdir, Call::CheckCwd], "", Anyone, "process.user may not enter process.cwd"),

    // Sockets, descriptors, and what has nothing to do with the config.
    rule(Errno::ENOENT, &[Call::Connect], "", Anyone, "somebody must listen on the socket before `create`"),
    rule(Errno::ECONNREFUSED, &[Call::Connect], "", Anyone, "nobody listens there: start who shall receive before `create`, and see that the path is a socket"),
    rule(Errno::EINVAL, &[Call::Connect], "", Anyone, "the path of a unix socket can have 107 bytes: choose a shorter one"),
    rule(Errno::EBADF, &[Call::CheckFd], "", Anyone, "every descriptor that LISTEN_FDS and --preserve-fds count, one after another from 3 on, must be open"),
    rule(Errno::ENOENT, &[], "--log", Anyone, "the directory of the log file must exist"),
    rule(Errno::EACCES, &[], "--log", Anyone, "the caller must be allowed to write there: choose another place with --log"),
    rule(Errno::ENOENT, &[], "--pid-file", Anyone, "the directory of the pid file must exist"),
    rule(Errno::ENOTDIR, &[], "--pid-file", Anyone, "--pid-file must name a file in a directory that exists"),
    rule(Errno::EISDIR, &[], "--pid-file", Anyone, "--pid-file must name a file, and a directory stands there"),
    rule(Errno::EACCES, &[], "--root", Anyone, "an ordinary user keeps containers in $XDG_RUNTIME_DIR/corten: set XDG_RUNTIME_DIR to a directory of the user's own, or choose one with --root"),
    rule(Errno::ENOTDIR, &[], "--root", Anyone, "--root must be a directory, which is made when it doesn't exist"),
    rule(Errno::ENAMETOOLONG, &[], "--root", Anyone, "file systems take names of up to 255 bytes: choose a shorter id"),
    rule(Errno::ENOENT, &[], "--bundle", Anyone, "--bundle names the directory that holds config.json"),
    rule(Errno::ENOTDIR, &[], "--bundle", Anyone, "--bundle names the directory that holds config.json"),
    rule(Errno::EMFILE, &[], "", Anyone, "the limit of open files is reached: see `ulimit -n`"),
    rule(Errno::ENFILE, &[], "", Anyone, "the host's limit of open files is reached: see the sysctl fs.file-max"),
    rule(Errno::EAGAIN, NAMESPACES, "", Anyone, "a limit of processes is reached: see `ulimit -u` and the pids limit of the caller's control group"),
    rule(Errno::ENOMEM, NAMESPACES, "", Anyone, "the host is out of memory, or the pid namespace that is joined has lost its first process"),
    rule(Errno::ENOSYS, &[], "", Anyone, "the kernel hasn't got this call, or a seccomp filter around corten hides it"),
];

/// The next step for an error; empty when there is nothing to add.
pub fn find(error: &Error, field: Option<&Field>, trouble: Option<Trouble>, rootless: bool) -> &'static str {
    if let Some(trouble) = trouble {
        // The other two ways in which a mount is asked for: in a list of them, and by a flag.
        let pointer = match field.map(Field::pointer).unwrap_or_default() {
            "--mount" => "/mounts",
            listed if listed.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => "/mounts",
            pointer => pointer,
        };
        let fits = |rule: &&Rule| {
            rule.errno == trouble.errno
                && (rule.calls.is_empty() || rule.calls.contains(&trouble.call))
                && pointer.starts_with(rule.field)
                && (rule.who == Anyone || rootless)
        };
        return RULES.iter().find(fits).map_or("", |rule| rule.hint);
    }
    match error {
        Error::UnknownCommand(_) => "`corten --help` lists the commands",
        Error::BadId { .. } => "an id is made of letters, digits, `_`, `+`, `-` and `.`",
        Error::NoSuchContainer { .. } => {
            "`corten list` shows the containers under the state root; --root chooses another"
        }
        Error::AlreadyExists { .. } => "`corten list` shows it, `corten delete` removes it",
        Error::WrongStatus(text) if text.contains("not stopped") => {
            "`corten kill` stops it, `corten delete --force` does both"
        }
        Error::UnknownSignal(_) => "`kill -l` lists the signals",
        Error::NoConfig { path } if path.is_absolute() => "a relative --config begins at the bundle directory",
        Error::NoConfig { .. } => "--bundle names the directory of config.json; `corten spec` writes one to start from",
        Error::Hook { kind, how, .. } => of_hook(kind, how),
        Error::LeftOver { error, .. } => find(error, field, trouble, rootless),
        Error::DamagedState { .. } => "`corten delete --force` removes what is left of it",
        _ => "",
    }
}

/// A hook that ran and failed has said why itself.
fn of_hook(kind: &str, how: &str) -> &'static str {
    let inside = kind == "startContainer";
    match how {
        how if how.starts_with("timed out") => {
            "the hook's `timeout` is in seconds; without one it may take as long as it likes"
        }
        how if how.ends_with(fault::words(Errno::ENOENT)) => {
            "only startContainer hooks are looked up in the container: this path must exist on the host, and so must what its #! line names"
        }
        how if how.ends_with(fault::words(Errno::EACCES)) => "the hook's file must be executable",
        how if how.ends_with(fault::words(Errno::ENOEXEC)) => {
            "the hook is for another machine, or a script without a #! line"
        }
        "exit status 127" if inside => {
            "startContainer hooks are looked up in the container: the path must exist in the root file system"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(call: Call, errno: Errno, field: Field, rootless: bool) -> &'static str {
        let trouble = Trouble::new(call, errno);
        find(&Error::os("x", trouble), Some(&field), Some(trouble), rootless)
    }

    #[test]
    fn the_same_errno_has_another_reason_for_another_caller() {
        let source = Field::item("/mounts", 3, "/source");
        assert!(hint(Call::Mount, Errno::EPERM, source.clone(), true).contains("unprivileged"));
        assert!(hint(Call::Mount, Errno::EPERM, source, false).contains("CAP_SYS_ADMIN"));
    }

    #[test]
    fn the_field_decides_between_rules_of_one_errno() {
        let source = hint(Call::OpenTree, Errno::ENOENT, Field::item("/mounts", 3, "/source"), false);
        assert!(source.contains("source of a bind mount"), "{source}");
        let root = hint(Call::OpenTree, Errno::ENOENT, Field::at("/root/path"), false);
        assert!(root.contains("relative to the bundle"), "{root}");
        assert_eq!(hint(Call::OpenTree, Errno::ENOENT, Field::RUNTIME, false), "");
    }

    #[test]
    fn no_rule_is_hidden_behind_an_earlier_one() {
        for (i, later) in RULES.iter().enumerate() {
            let calls = if later.calls.is_empty() { &[Call::None][..] } else { later.calls };
            let reachable = calls.iter().any(|call| {
                RULES[..i].iter().all(|earlier| {
                    earlier.errno != later.errno
                        || !(earlier.calls.is_empty() || earlier.calls.contains(call))
                        || !later.field.starts_with(earlier.field)
                        || (earlier.who == Rootless && later.who == Anyone)
                })
            });
            assert!(reachable, "{}", later.hint);
        }
    }

    #[test]
    fn hints_are_one_sentence_without_a_full_stop() {
        for rule in RULES {
            assert!(!rule.hint.ends_with('.') || rule.hint.ends_with("..."), "{}", rule.hint);
            assert!(!rule.hint.contains('\n'));
        }
    }
}
