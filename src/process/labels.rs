//! Plans what a process gets from security modules: an AppArmor profile, SELinux labels of the program and of its session
//! keyring. Pure.
//!
//! The kernel keeps a label for the next execve (proc_pid_attr(5)). It is set while the child still has all its rights: a
//! kernel that restricts unprivileged changes (kernel.apparmor_restrict_unprivileged_unconfined) would else give less than
//! the profile's own name, and without new privileges a module allows fewer changes. A fork inherits it, so startContainer
//! hooks, which come out of the container's image as the program does, run under it as well.

use std::ffi::CString;

use oci_spec::runtime::Process;

use super::Op;
use crate::field::Field;
use crate::host::Host;
use crate::plan::Step;

/// AppArmor's profile for no confinement, which every process has where there is no AppArmor.
const UNCONFINED: &str = "unconfined";

/// The labels that the program gets by execve.
pub fn plan_exec_labels(process: &Process, host: &Host) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(profile) = process.apparmor_profile() {
        // Under AppArmor it is a change like any other, because corten itself may run in a profile.
        if profile != UNCONFINED || host.lsms.apparmor() {
            let op = Op::AppArmor { profile: profile.clone(), text: c_string(format!("exec {profile}")) };
            steps.push(Step::new(op, Field::at("/process/apparmorProfile")));
        }
    }
    if let Some(label) = process.selinux_label() {
        let op = Op::SelinuxExec { label: c_string(label.clone()) };
        steps.push(Step::new(op, Field::at("/process/selinuxLabel")));
    }
    steps
}

/// What stands around the step that makes the session keyring: the program could not read a key of corten's own label.
pub fn plan_keyring_label(process: Option<&Process>, keyring: Step) -> Vec<Step> {
    let Some(label) = process.and_then(|process| process.selinux_label().clone()) else { return vec![keyring] };
    let field = Field::at("/process/selinuxLabel");
    let set = Op::SelinuxKeyring { label: c_string(label) };
    vec![Step::new(set, field.clone()), keyring, Step::new(Op::SelinuxKeyringEnd, field)]
}

/// Validation has refused NUL bytes before.
fn c_string(text: String) -> CString {
    CString::new(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::lsm::Lsms;
    use serde_json::json;

    fn process(labels: serde_json::Value) -> Process {
        let mut process = json!({"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}});
        process.as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
        serde_json::from_value(process).unwrap()
    }

    fn steps(labels: serde_json::Value, host: &Host) -> Vec<String> {
        let steps = plan_exec_labels(&process(labels), host);
        steps.iter().map(|step| format!("{} | {}", step.field.pointer(), crate::plan::render(&step.op))).collect()
    }

    #[test]
    fn a_profile_is_asked_for_in_the_kernel_s_words() {
        let steps = plan_exec_labels(&process(json!({"apparmorProfile": "docker-default"})), &Host::fixture());
        let op = Op::AppArmor { profile: "docker-default".into(), text: c"exec docker-default".into() };
        assert_eq!(steps, [Step::new(op, Field::at("/process/apparmorProfile"))]);
    }

    #[test]
    fn without_labels_there_is_nothing_to_do() {
        assert_eq!(steps(json!({}), &Host::fixture()), [""; 0]);
        let keyring = Step::new(Op::SessionKeyring { name: c"_ses.c".into() }, Field::RUNTIME);
        assert_eq!(plan_keyring_label(Some(&process(json!({}))), keyring.clone()), std::slice::from_ref(&keyring));
        assert_eq!(plan_keyring_label(None, keyring.clone()), [keyring]);
    }

    #[test]
    fn no_confinement_takes_no_step_where_nobody_is_confined() {
        let unconfined = json!({"apparmorProfile": "unconfined"});
        let without = Host { lsms: Lsms::fixture(false, false), ..Host::fixture() };
        assert_eq!(steps(unconfined.clone(), &without), [""; 0]);
        let words = "/process/apparmorProfile | run the program under AppArmor profile unconfined";
        assert_eq!(steps(unconfined, &Host::fixture()), [words]);
    }

    #[test]
    fn the_keyring_has_the_program_s_label_and_nothing_after_it() {
        let keyring = Step::new(Op::SessionKeyring { name: c"_ses.c".into() }, Field::RUNTIME);
        let given = process(json!({"selinuxLabel": "u:r:t:s0"}));
        let ops: Vec<_> = plan_keyring_label(Some(&given), keyring.clone()).into_iter().map(|step| step.op).collect();
        let set = Op::SelinuxKeyring { label: c"u:r:t:s0".into() };
        assert_eq!(ops, [set.into(), keyring.op, Op::SelinuxKeyringEnd.into()]);
    }
}
