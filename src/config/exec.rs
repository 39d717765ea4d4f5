//! The process of an `exec`: the container's own with what the command line says instead, or a file's. Pure.
//!
//! A file need not repeat what the container confines its processes with: what it leaves out (capabilities, profile and
//! label, no_new_privs, limits, scheduling) is the container's, so that nobody gets more by saying less.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Process, Spec};

use crate::error::Violation;
use crate::field::Field;

/// What the command line says of the process, in place of the container's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    pub args: Vec<String>,
    pub cwd: Option<String>,
    /// `NAME=value`, beside the container's.
    pub env: Vec<String>,
    pub tty: bool,
    /// Without a gid the container's stays.
    pub user: Option<(u32, Option<u32>)>,
    /// Beside the container's.
    pub additional_gids: Vec<u32>,
    /// Beside the container's, with or without `CAP_`; never inheritable (CVE-2022-29162).
    pub capabilities: Vec<String>,
    pub apparmor: Option<String>,
    pub process_label: Option<String>,
    pub no_new_privs: Option<bool>,
}

/// The container's process, changed.
///
/// # Errors
/// A container without a process has none to change; a capability that nobody knows.
pub fn changed(spec: &Spec, changes: &Changes) -> Result<Process, Violation> {
    let mut process = spec.process().clone().ok_or_else(|| {
        Violation::new(Field::at("/process"), "the container has no process whose place another could take")
            .hint("give a whole process with --process")
    })?;
    process.set_args(Some(changes.args.clone())).set_terminal(Some(changes.tty));
    // That of the container's terminal; this one has its caller's.
    process.set_console_size(None);
    if let Some(cwd) = &changes.cwd {
        process.set_cwd(PathBuf::from(cwd));
    }
    if !changes.env.is_empty() {
        let own = process.env().iter().flatten();
        process.set_env(Some(own.chain(&changes.env).cloned().collect()));
    }
    let user = process.user_mut();
    if let Some((uid, gid)) = changes.user {
        user.set_uid(uid);
        if let Some(gid) = gid {
            user.set_gid(gid);
        }
    }
    if !changes.additional_gids.is_empty() {
        let own = user.additional_gids().iter().flatten();
        user.set_additional_gids(Some(own.chain(&changes.additional_gids).copied().collect()));
    }
    if !changes.capabilities.is_empty() {
        let added = changes.capabilities.iter().map(|name| capability(name)).collect::<Result<Vec<_>, _>>()?;
        let own = process.capabilities().clone().unwrap_or_else(no_capabilities);
        process.set_capabilities(Some(with(own, &added)));
    }
    if changes.apparmor.is_some() {
        process.set_apparmor_profile(changes.apparmor.clone().filter(|profile| !profile.is_empty()));
    }
    if changes.process_label.is_some() {
        process.set_selinux_label(changes.process_label.clone().filter(|label| !label.is_empty()));
    }
    if changes.no_new_privs.is_some() {
        process.set_no_new_privileges(changes.no_new_privs);
    }
    Ok(process)
}

fn no_capabilities() -> LinuxCapabilities {
    let mut none = LinuxCapabilities::default();
    none.set_bounding(None).set_effective(None).set_inheritable(None).set_permitted(None).set_ambient(None);
    none
}

fn capability(name: &str) -> Result<Capability, Violation> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    serde_json::from_value(serde_json::Value::String(full)).map_err(|_| {
        Violation::new(Field::at("--cap"), format!("unknown capability {name:?}"))
            .hint("capabilities(7) lists them; CAP_ may be left away")
    })
}

/// Inheritable stays as it is; what is not inheritable can't be ambient either.
fn with(mut own: LinuxCapabilities, added: &[Capability]) -> LinuxCapabilities {
    let join = |set: &Option<Capabilities>| Some(set.iter().flatten().chain(added).copied().collect::<Capabilities>());
    let (bounding, effective, permitted) = (join(own.bounding()), join(own.effective()), join(own.permitted()));
    own.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    own
}

/// A file's process, with the container's where it is silent.
pub fn completed(spec: &Spec, mut process: Process) -> Process {
    let Some(own) = spec.process() else { return process };
    if process.capabilities().is_none() {
        process.set_capabilities(own.capabilities().clone());
    }
    if process.apparmor_profile().is_none() {
        process.set_apparmor_profile(own.apparmor_profile().clone());
    }
    if process.selinux_label().is_none() {
        process.set_selinux_label(own.selinux_label().clone());
    }
    if process.no_new_privileges().is_none() {
        process.set_no_new_privileges(own.no_new_privileges());
    }
    if process.rlimits().is_none() {
        process.set_rlimits(own.rlimits().clone());
    }
    if process.oom_score_adj().is_none() {
        process.set_oom_score_adj(own.oom_score_adj());
    }
    if process.scheduler().is_none() {
        process.set_scheduler(own.scheduler().clone());
    }
    if process.io_priority().is_none() {
        process.set_io_priority(*own.io_priority());
    }
    if process.exec_cpu_affinity().is_none() {
        process.set_exec_cpu_affinity(own.exec_cpu_affinity().clone());
    }
    process
}

/// A field of the process in the caller's words: a place in its file, or the flag that stands for it.
pub fn field_for(field: &Field, changes: Option<&Changes>) -> Field {
    let pointer = field.pointer();
    let Some(rest) = pointer.strip_prefix("/process").filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
        return field.clone();
    };
    let Some(changes) = changes else { return Field::recorded(rest.to_owned()) };
    let flags = [
        ("/args", "COMMAND", true),
        ("/cwd", "--cwd", changes.cwd.is_some()),
        ("/env", "--env", !changes.env.is_empty()),
        ("/terminal", "--tty", changes.tty),
        ("/user/uid", "--user", changes.user.is_some()),
        ("/user/gid", "--user", changes.user.is_some_and(|(_, gid)| gid.is_some())),
        ("/user/additionalGids", "--additional-gids", !changes.additional_gids.is_empty()),
        ("/capabilities", "--cap", !changes.capabilities.is_empty()),
        ("/apparmorProfile", "--apparmor", changes.apparmor.is_some()),
        ("/selinuxLabel", "--process-label", changes.process_label.is_some()),
        ("/noNewPrivileges", "--no-new-privs", changes.no_new_privs.is_some()),
    ];
    let of = |property: &str| Path::new(rest).starts_with(property);
    let flag = flags.into_iter().find(|(property, _, given)| *given && of(property));
    flag.map_or_else(|| field.clone(), |(_, flag, _)| Field::at(flag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec() -> Spec {
        serde_json::from_value(json!({"ociVersion": "1.3.0", "process": {
            "args": ["init"], "cwd": "/srv", "env": ["PATH=/bin", "A=1"], "terminal": true,
            "consoleSize": {"height": 10, "width": 20},
            "user": {"uid": 5, "gid": 6, "additionalGids": [7]},
            "capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"],
                "inheritable": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN"]},
            "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}],
            "apparmorProfile": "p", "selinuxLabel": "u:r:t:s0", "noNewPrivileges": true, "oomScoreAdj": 100,
            "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 3},
            "scheduler": {"policy": "SCHED_BATCH"}, "execCPUAffinity": {"initial": "0"},
        }}))
        .unwrap()
    }

    fn value(process: &Process) -> Value {
        serde_json::to_value(process).unwrap()
    }

    fn sorted(set: &Value) -> Vec<&str> {
        let mut names: Vec<_> = set.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn without_flags_it_is_the_containers_own_process_but_for_terminal_and_program() {
        let process = changed(&spec(), &Changes { args: vec!["ls".into()], ..Changes::default() }).unwrap();
        let mut expected = value(spec().process().as_ref().unwrap());
        expected["args"] = json!(["ls"]);
        expected["terminal"] = json!(false);
        expected.as_object_mut().unwrap().remove("consoleSize");
        assert_eq!(value(&process), expected);
    }

    #[test]
    fn every_flag_changes_its_property() {
        let changes = Changes {
            args: vec!["ls".into(), "-l".into()],
            cwd: Some("/tmp".into()),
            env: vec!["A=2".into(), "B=3".into()],
            tty: true,
            user: Some((1, None)),
            additional_gids: vec![8, 9],
            capabilities: vec!["net_admin".into(), "CAP_SYS_TIME".into()],
            apparmor: Some("q".into()),
            process_label: Some("u:r:other:s0".into()),
            no_new_privs: Some(false),
        };
        let process = value(&changed(&spec(), &changes).unwrap());
        assert_eq!(process["args"], json!(["ls", "-l"]));
        assert_eq!(process["cwd"], "/tmp");
        assert_eq!(process["env"], json!(["PATH=/bin", "A=1", "A=2", "B=3"]));
        assert_eq!(process["terminal"], true);
        assert_eq!((&process["user"]["uid"], &process["user"]["gid"]), (&json!(1), &json!(6)));
        assert_eq!(process["user"]["additionalGids"], json!([7, 8, 9]));
        for set in ["bounding", "permitted", "effective"] {
            assert_eq!(sorted(&process["capabilities"][set]), ["CAP_KILL", "CAP_NET_ADMIN", "CAP_SYS_TIME"], "{set}");
        }
        assert_eq!(process["capabilities"]["inheritable"], json!(["CAP_CHOWN"]), "CVE-2022-29162");
        assert_eq!(process["capabilities"]["ambient"], json!(["CAP_CHOWN"]));
        assert_eq!((&process["apparmorProfile"], &process["selinuxLabel"]), (&json!("q"), &json!("u:r:other:s0")));
        assert_eq!(process["noNewPrivileges"], false);
        let both = Changes { user: Some((1, Some(2))), ..changes.clone() };
        assert_eq!(value(&changed(&spec(), &both).unwrap())["user"]["gid"], 2);
        let unknown = Changes { capabilities: vec!["CAP_FLY".into()], ..changes };
        assert_eq!(changed(&spec(), &unknown).unwrap_err().to_string(), "--cap: unknown capability \"CAP_FLY\"");
    }

    #[test]
    fn who_says_less_in_a_file_gets_no_more() {
        let own = value(spec().process().as_ref().unwrap());
        let file: Process =
            serde_json::from_value(json!({"args": ["ls"], "cwd": "/", "user": {"uid": 0, "gid": 0}})).unwrap();
        let process = value(&completed(&spec(), file));
        for property in [
            "capabilities",
            "apparmorProfile",
            "selinuxLabel",
            "noNewPrivileges",
            "rlimits",
            "oomScoreAdj",
            "scheduler",
            "ioPriority",
            "execCPUAffinity",
        ] {
            assert_eq!(process[property], own[property], "{property}");
        }
        assert_eq!((&process["user"]["uid"], process.get("env")), (&json!(0), None), "these are the file's alone");
        let given = json!({"args": ["ls"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "noNewPrivileges": false, "rlimits": [],
            "capabilities": {"bounding": ["CAP_KILL"]}, "oomScoreAdj": 0});
        let file: Process = serde_json::from_value(given.clone()).unwrap();
        let process = value(&completed(&spec(), file));
        for property in ["noNewPrivileges", "rlimits", "oomScoreAdj"] {
            assert_eq!(process[property], given[property], "{property}");
        }
    }

    #[test]
    fn fields_are_told_in_the_callers_words() {
        let told = |pointer: &'static str, changes: Option<&Changes>| {
            field_for(&Field::at(pointer), changes).pointer().to_owned()
        };
        assert_eq!(told("/process/user/uid", None), "/user/uid", "a place in the file");
        assert_eq!(told("/linux/seccomp", None), "/linux/seccomp", "the container's");
        let changes = Changes { cwd: Some("x".into()), env: vec!["A".into()], ..Changes::default() };
        assert_eq!(told("/process/cwd", Some(&changes)), "--cwd");
        assert_eq!(told("/process/env/3", Some(&changes)), "--env");
        assert_eq!(told("/process/args/0", Some(&changes)), "COMMAND");
        assert_eq!(told("/process/user/uid", Some(&changes)), "/process/user/uid", "not given, so the container's");
        assert_eq!(told("/processes", None), "/processes");
    }
}
