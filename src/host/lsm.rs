//! Which security modules are at work. A rule asks when a config has a label, and only then is anything read: most have
//! none, and a start shouldn't pay for the question.

use std::fs;
use std::sync::OnceLock;

use crate::sys::{file, path};

/// linux/magic.h
const SELINUX_MAGIC: i64 = 0xf97c_ff8c;

/// The modules that a config can give a label for.
#[derive(Clone, Debug, Default)]
pub struct Lsms {
    apparmor: OnceLock<bool>,
    selinux: OnceLock<bool>,
}

impl Lsms {
    /// A machine for tests.
    pub fn fixture(apparmor: bool, selinux: bool) -> Lsms {
        Lsms { apparmor: OnceLock::from(apparmor), selinux: OnceLock::from(selinux) }
    }

    /// AppArmor is active.
    pub fn apparmor(&self) -> bool {
        *self.apparmor.get_or_init(probe_apparmor)
    }

    /// SELinux is active and has a policy.
    pub fn selinux(&self) -> bool {
        *self.selinux.get_or_init(probe_selinux)
    }
}

fn probe_apparmor() -> bool {
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| is_yes(&text))
}

/// A boolean parameter of a module.
fn is_yes(text: &[u8]) -> bool {
    text.first() == Some(&b'Y')
}

/// As is_selinux_enabled(3) has it: its file system is mounted, and not read-only, which tells a container that the host's
/// policy is none of its business. Without a policy the kernel takes every label and means `kernel` by it, so that counts
/// as none.
fn probe_selinux() -> bool {
    let Ok(fd) = path::open(path::CWD, c"/sys/fs/selinux", libc::O_PATH | libc::O_DIRECTORY, 0) else { return false };
    let (magic, flags) = (file::magic(fd), file::mount_flags(fd));
    file::close(fd);
    let mounted = magic == Ok(SELINUX_MAGIC) && flags.is_ok_and(|flags| flags & libc::ST_RDONLY == 0);
    mounted && fs::read("/proc/self/attr/current").is_ok_and(|label| is_of_a_policy(&label))
}

/// A label of a policy has at least user, role and type; before one is loaded there are only the kernel's own words.
fn is_of_a_policy(label: &[u8]) -> bool {
    label.contains(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_says_yes_with_its_first_letter() {
        assert!(is_yes(b"Y\n"));
        assert!(!is_yes(b"N\n"));
        assert!(!is_yes(b""));
    }

    #[test]
    fn a_kernel_without_a_policy_has_no_labels() {
        assert!(is_of_a_policy(b"system_u:system_r:container_runtime_t:s0\0"));
        assert!(!is_of_a_policy(b"kernel\0"));
        assert!(!is_of_a_policy(b"unconfined\n"));
    }

    #[test]
    fn a_fixture_is_never_asked_of_the_machine() {
        let lsms = Lsms::fixture(true, false);
        assert!(lsms.apparmor() && !lsms.selinux());
        assert!(lsms.clone().apparmor());
    }
}
