//! What security modules are given: `process.apparmorProfile`, `process.selinuxLabel`, `linux.mountLabel`. A program's label that
//! nothing enforces would be a container without the confinement that its config names, so it is refused. Files' labels confine
//! nobody by themselves: where there are none, that is a warning of the root file system's plan.

use oci_spec::runtime::Process;

use super::{Facts, Findings};
use crate::field::Field;

/// The kernel takes a page and cuts off what is longer; `exec ` stands in front of a profile's name.
const LONGEST: usize = 4096 - "exec ".len();

/// AppArmor's word for no profile: where there is no AppArmor, that is what everybody has.
const UNCONFINED: &str = "unconfined";

/// The form of a process's labels; `at` is where the process stands in its file.
pub(super) fn of_process(process: &Process, at: &Field, found: &mut Findings) {
    let labels = [("apparmorProfile", process.apparmor_profile()), ("selinuxLabel", process.selinux_label())];
    for (name, label) in labels {
        if let Some(label) = label {
            check_form(label, at.key(name), found);
        }
    }
}

/// Whether the host has the modules that the labels are for.
pub(super) fn of_host(facts: &Facts, found: &mut Findings) {
    let process = facts.spec.process().as_ref();
    let profile = process.and_then(|process| process.apparmor_profile().as_deref());
    if profile.is_some_and(|profile| profile != UNCONFINED) && !facts.host.lsms.apparmor() {
        let why = "apparmor: config provided but apparmor not supported by this host";
        let hint = "remove the profile, or boot with AppArmor: /sys/module/apparmor/parameters/enabled says Y then";
        found.refuse(Field::at("/process/apparmorProfile"), why, hint);
    }
    if let Some(label) = facts.linux.and_then(|linux| linux.mount_label().as_deref()) {
        check_mount_label(label, found);
    }
    if process.is_some_and(|process| process.selinux_label().is_some()) && !facts.host.lsms.selinux() {
        let why = "selinux label is specified in config, but selinux is disabled or not supported by this host";
        let hint = "remove the label, or boot with SELinux and a policy: /sys/fs/selinux is mounted then";
        found.refuse(Field::at("/process/selinuxLabel"), why, hint);
    }
}

/// The kernel trims what it is given, and a line feed ends an SELinux label: another label would be in force than the one
/// in the config.
fn check_form(label: &str, at: Field, found: &mut Findings) {
    if label.trim() != label || label.contains('\n') {
        let why = format!("must be one line without white space around it, not {label:?}");
        found.refuse(at, why, "the kernel would cut it off and take the rest");
    } else if label.len() > LONGEST {
        let why = format!("must have at most {LONGEST} bytes, not {}", label.len());
        found.refuse(at, why, "the kernel would cut it off");
    }
}

/// It becomes `context="LABEL"` among a mount's options, where a quote would end it.
fn check_mount_label(label: &str, found: &mut Findings) {
    let at = Field::at("/linux/mountLabel");
    if label.contains('"') {
        found.refuse(
            at,
            "must not contain a quote",
            "write the label alone, for example system_u:object_r:container_file_t:s0",
        );
    } else {
        check_form(label, at, found);
    }
}
