//! Each rule once, as a change to a config that breaks none.

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::parse::tests::recorded;

/// A config with every namespace that breaks no rule.
fn sound() -> Value {
    let namespaces = ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"];
    json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "hostname": "h",
        "process": {
            "terminal": false, "user": {"uid": 0, "gid": 0}, "args": ["/bin/sh"], "env": ["PATH=/bin", "EMPTY="], "cwd": "/",
            "capabilities": {},
        },
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "hooks": {"prestart": [{"path": "/bin/true"}], "poststop": [{"path": "/bin/true", "timeout": 5}]},
        "linux": {
            "namespaces": namespaces.map(|typ| json!({"type": typ})),
            "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
            "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
        },
    })
}

fn request() -> Request {
    Request::new("c", "/bundle", Mode::Create)
}

fn parsed(document: &Value) -> Config {
    parse::config(PathBuf::from("config.json"), serde_json::to_vec_pretty(document).unwrap()).unwrap()
}

fn judged(document: &Value, request: &Request, host: &Host) -> Vec<String> {
    let found = validate(&parsed(document), request, host);
    assert!(found.iter().all(|violation| !violation.hint.is_empty()), "each violation has a hint: {found:#?}");
    assert!(found.iter().all(|violation| violation.line.is_some() == violation.field.is_config()), "{found:#?}");
    found.iter().map(Violation::to_string).collect()
}

/// Puts a value at a pointer, making objects on the way; null removes; `-` appends to an array.
fn set(document: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    if document.pointer(parent).is_none() {
        set(document, parent, json!({}));
    }
    let name = name.replace("~1", "/").replace("~0", "~");
    match document.pointer_mut(parent).unwrap() {
        Value::Array(list) if name == "-" => list.push(value),
        Value::Array(list) => list[name.parse::<usize>().unwrap()] = value,
        Value::Object(map) if value.is_null() => {
            map.remove(&name);
        }
        Value::Object(map) => {
            map.insert(name, value);
        }
        other => panic!("{pointer}: {other}"),
    }
}

fn changed(changes: &[(&str, Value)]) -> Value {
    let mut document = sound();
    changes.iter().for_each(|(pointer, value)| set(&mut document, pointer, value.clone()));
    document
}

/// The one violation that these changes lead to.
fn refused(changes: &[(&str, Value)]) -> String {
    match judged(&changed(changes), &request(), &Host::fixture()).as_slice() {
        [only] => only.clone(),
        all => panic!("not one violation after {changes:?}: {all:#?}"),
    }
}

fn accepted(changes: &[(&str, Value)]) {
    assert_eq!(judged(&changed(changes), &request(), &Host::fixture()), [""; 0], "after {changes:?}");
}

/// Each line of a table: the pointer, the value put there, and the start of field and text of the violation.
fn each_is_refused(table: &[(&str, Value, &str)]) {
    for (pointer, value, expected) in table {
        let found = refused(&[(pointer, value.clone())]);
        assert!(found.contains(expected), "{pointer} = {value}: expected {expected:?}, found {found:?}");
    }
}

/// An existing namespace in place of the new one.
fn without(typ: &str) -> Vec<(&'static str, Value)> {
    let namespaces = sound()["linux"]["namespaces"].as_array().unwrap().clone();
    let left: Vec<Value> = namespaces.into_iter().filter(|namespace| namespace["type"] != typ).collect();
    vec![("/linux/namespaces", json!(left))]
}

#[test]
fn the_sound_config_breaks_no_rule() {
    accepted(&[]);
}

#[test]
fn every_recorded_config_breaks_no_rule() {
    for (name, bytes) in recorded() {
        let config = parse::config(PathBuf::from(name), bytes.clone()).unwrap();
        let terminal = config.spec.process().as_ref().and_then(|process| process.terminal()) == Some(true);
        let request = Request { console_socket: terminal.then(|| PathBuf::from("/s")), ..request() };
        assert_eq!(validate(&config, &request, &Host::fixture()), [], "{name}");
        assert_eq!(config.warnings, [], "{name}");
    }
}

#[test]
fn the_top_of_the_file_is_judged() {
    each_is_refused(&[
        ("/ociVersion", json!("invalid"), "ociVersion: must be a SemVer version"),
        ("/ociVersion", json!("9.9.9"), "ociVersion: only versions 1.x.y are supported"),
        ("/ociVersion", json!(null), "ociVersion: is required"),
        ("/root", json!(null), "root: is required on Linux"),
        ("/root", json!({}), "root.path: must not be empty"),
        ("/annotations", json!({"": "x"}), "annotations: has an empty key"),
    ]);
    accepted(&[("/annotations", json!({"a": "", "b": "x"}))]);
}

#[test]
fn a_process_may_be_absent_for_create_but_not_for_run() {
    let document = changed(&[("/process", json!(null))]);
    assert_eq!(judged(&document, &request(), &Host::fixture()), [""; 0]);
    let run = Request { mode: Mode::Run { detach: true, keep: false }, ..request() };
    assert_eq!(judged(&document, &run, &Host::fixture()), ["process: process property must not be empty"]);
}

#[test]
fn the_process_is_judged() {
    each_is_refused(&[
        ("/process/args", json!(null), "process.args: args must not be empty"),
        ("/process/args", json!([]), "process.args: args must not be empty"),
        ("/process/cwd", json!(null), "process.cwd: Cwd property must not be empty"),
        ("/process/cwd", json!(""), "process.cwd: Cwd property must not be empty"),
        ("/process/cwd", json!("tmp"), "process.cwd: Cwd must be an absolute path"),
        ("/process/env/-", json!("A"), "process.env[2]: invalid environment variable: missing '='"),
        ("/process/env/-", json!("=a"), "process.env[2]: invalid environment variable: name cannot be empty"),
        ("/process/oomScoreAdj", json!(1001), "process.oomScoreAdj: must be from -1000 to 1000"),
        ("/process/oomScoreAdj", json!(-1001), "process.oomScoreAdj: must be from -1000 to 1000"),
        ("/process/user/umask", json!(512), "process.user.umask: must be at most 0777"),
        (
            "/process/ioPriority",
            json!({"class": "IOPRIO_CLASS_RT", "priority": 8}),
            "ioPriority.priority: must be from 0 to 7",
        ),
        ("/process/ioPriority", json!({"priority": 1}), "process.ioPriority.class: is required"),
        ("/process/execCPUAffinity", json!({"initial": "3-1"}), "execCPUAffinity.initial: must be a list of CPUs"),
        ("/process/execCPUAffinity", json!({"final": "9999"}), "execCPUAffinity.final: must be a list of CPUs"),
    ]);
    accepted(&[
        ("/process/args", json!([""])),
        ("/process/user/umask", json!(0o777)),
        ("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE"})),
        ("/process/execCPUAffinity", json!({"initial": "0-3,7", "final": ""})),
        ("/process/consoleSize", json!({"height": 70000, "width": 1})),
    ]);
}

#[test]
fn rlimits_are_judged() {
    let limit = |typ: &str, soft: u64, hard: u64| json!({"type": typ, "soft": soft, "hard": hard});
    each_is_refused(&[
        (
            "/process/rlimits",
            json!([limit("RLIMIT_CORE", 0, 0), limit("RLIMIT_NOFILE", 1, 2), limit("RLIMIT_CORE", 0, 0)]),
            "process.rlimits[2].type: RLIMIT_CORE stands already in rlimits[0]",
        ),
        (
            "/process/rlimits",
            json!([limit("RLIMIT_CPU", 2, 1)]),
            "rlimits[0].soft: the soft limit 2 is above the hard limit 1",
        ),
        ("/process/rlimits", json!([{"type": "RLIMIT_CPU", "hard": 1}]), "process.rlimits[0].soft: is required"),
        ("/process/rlimits", json!([{"type": "RLIMIT_CPU", "soft": 0}]), "process.rlimits[0].hard: is required"),
    ]);
    accepted(&[("/process/rlimits", json!([limit("RLIMIT_CORE", 0, 0), limit("RLIMIT_AS", u64::MAX, u64::MAX)]))]);
}

#[test]
fn ids_must_be_mapped() {
    each_is_refused(&[
        ("/process/user/uid", json!(65536), "process.user.uid: 65536 is not mapped"),
        ("/process/user/gid", json!(70000), "process.user.gid: 70000 is not mapped"),
        ("/process/user/additionalGids", json!([1, 80000]), "process.user.additionalGids[1]: 80000 is not mapped"),
    ]);
    accepted(&[("/process/user", json!({"uid": 65535, "gid": 1, "additionalGids": [2, 65535]}))]);
}

#[test]
fn a_caller_who_maps_only_its_own_group_has_no_additional_groups() {
    let own = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    let document = changed(&[("/linux/gidMappings", own.clone()), ("/process/user/additionalGids", json!([0]))]);
    let rootless = Host { euid: 1000, egid: 1000, ..Host::fixture() };
    let found = judged(&document, &request(), &rootless);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("process.user.additionalGids: setgroups is denied"), "{found:?}");
    assert_eq!(judged(&document, &request(), &Host::fixture()), [""; 0], "root may");
    let document = changed(&[("/linux/gidMappings", own), ("/process/user/additionalGids", json!([]))]);
    assert_eq!(judged(&document, &request(), &rootless), [""; 0]);
}

#[test]
fn the_scheduler_is_judged_by_policy() {
    let scheduler = |rest: Value, policy: &str| {
        let mut scheduler = rest;
        scheduler["policy"] = json!(policy);
        scheduler
    };
    each_is_refused(&[
        ("/process/scheduler", scheduler(json!({"nice": 20}), "SCHED_OTHER"), "scheduler.nice: must be from -20 to 19"),
        (
            "/process/scheduler",
            scheduler(json!({"nice": -21}), "SCHED_BATCH"),
            "scheduler.nice: must be from -20 to 19",
        ),
        (
            "/process/scheduler",
            scheduler(json!({"priority": 1}), "SCHED_IDLE"),
            "scheduler.priority: can only be given for",
        ),
        (
            "/process/scheduler",
            scheduler(json!({"priority": 100}), "SCHED_FIFO"),
            "scheduler.priority: must be from 1 to 99",
        ),
        ("/process/scheduler", scheduler(json!({}), "SCHED_RR"), "scheduler.priority: must be from 1 to 99"),
        (
            "/process/scheduler",
            scheduler(json!({"period": 5}), "SCHED_OTHER"),
            "scheduler.period: can only be given for SCHED_DEADLINE",
        ),
        ("/process/scheduler", scheduler(json!({}), "SCHED_ISO"), "scheduler.policy: SCHED_ISO is reserved"),
        (
            "/process/scheduler",
            scheduler(json!({"runtime": 1000, "deadline": 2000}), "SCHED_DEADLINE"),
            "scheduler.runtime: must be at least 1024",
        ),
        (
            "/process/scheduler",
            scheduler(json!({"runtime": 3000, "deadline": 2000}), "SCHED_DEADLINE"),
            "scheduler.deadline: 2000 must not be below the runtime 3000",
        ),
        (
            "/process/scheduler",
            scheduler(json!({"runtime": 2000, "deadline": 3000, "period": 2500}), "SCHED_DEADLINE"),
            "scheduler.period: 2500 must not be below the deadline 3000",
        ),
    ]);
    let deadline =
        json!({"policy": "SCHED_DEADLINE", "runtime": 42000, "deadline": 1000000, "flags": ["SCHED_FLAG_DL_OVERRUN"]});
    accepted(&[("/process/scheduler", deadline.clone())]);
    accepted(&[("/process/scheduler", json!({"policy": "SCHED_FIFO", "priority": 99}))]);
    let found = refused(&[("/process/scheduler", deadline), ("/linux/resources/cpu", json!({"cpus": "0"}))]);
    assert_eq!(found, "process.scheduler: process scheduler can't be used together with AllowedCPUs");
}

#[test]
fn the_terminal_and_the_console_socket_belong_together() {
    let no_socket = "--console-socket: cannot allocate tty if corten will detach without setting console socket";
    let no_use = "--console-socket: cannot use console socket if corten will not detach or allocate tty";
    let foreground = Mode::Run { detach: false, keep: false };
    let detached = Mode::Run { detach: true, keep: false };
    for (mode, terminal, socket, expected) in [
        (Mode::Create, true, false, Some(no_socket)),
        (detached, true, false, Some(no_socket)),
        (foreground, true, false, None),
        (Mode::Create, true, true, None),
        (detached, true, true, None),
        (foreground, true, true, Some(no_use)),
        (Mode::Create, false, true, Some(no_use)),
        (detached, false, true, Some(no_use)),
        (Mode::Create, false, false, None),
    ] {
        let document = changed(&[("/process/terminal", json!(terminal))]);
        let request = Request { mode, console_socket: socket.then(|| PathBuf::from("/s")), ..request() };
        let found = judged(&document, &request, &Host::fixture());
        assert_eq!(found, Vec::from_iter(expected), "{mode:?} {terminal} {socket}");
    }
}

#[test]
fn a_console_counts_its_cells_in_16_bits() {
    let document =
        changed(&[("/process/terminal", json!(true)), ("/process/consoleSize", json!({"height": 65536, "width": 80}))]);
    let request = Request { console_socket: Some(PathBuf::from("/s")), ..request() };
    let found = judged(&document, &request, &Host::fixture());
    assert_eq!(found, ["process.consoleSize.height: must be at most 65535, not 65536"]);
}

#[test]
fn mounts_are_judged() {
    let mount = |destination: &str, typ: &str| json!({"destination": destination, "type": typ, "source": "/x"});
    each_is_refused(&[
        ("/mounts/-", mount("", "tmpfs"), "mounts[1].destination: must not be empty"),
        ("/mounts/-", mount("/a/..", "tmpfs"), "mounts[1].destination: cannot mount on /"),
        (
            "/mounts/-",
            mount("/proc", "tmpfs"),
            "mounts[1].destination: \"/proc\" cannot be mounted because it is not of type proc",
        ),
        ("/mounts/-", mount("/proc/kcore", "bind"), "\"/proc/kcore\" cannot be mounted because it is inside /proc"),
        (
            "/mounts/-",
            mount("/proc/self/../cpuinfo/x", "bind"),
            "\"/proc/cpuinfo/x\" cannot be mounted because it is inside",
        ),
        ("/mounts/-", json!({"destination": "/x", "type": "bind"}), "mounts[1].source: is required for a bind mount"),
        (
            "/mounts/-",
            json!({"destination": "/x", "options": ["rbind"], "source": ""}),
            "mounts[1].source: is required",
        ),
        ("/mounts/-", json!({"destination": "/x", "source": "y"}), "mounts[1].type: is required"),
    ]);
    for fine in [
        mount("/proc/meminfo", "bind"),
        mount("/proc", "bind"),
        mount("/procfs/x", "tmpfs"),
        mount("data", "tmpfs"),
        json!({"destination": "/x", "options": ["bind", "remount", "ro"]}),
        json!({"destination": "/x", "options": ["rslave"]}),
    ] {
        accepted(&[("/mounts/-", fine)]);
    }
    let many = vec![mount("/x", "tmpfs"); 16_385];
    assert!(refused(&[("/mounts", json!(many))]).starts_with("mounts: has 16385 mounts"));
}

#[test]
fn hooks_are_judged() {
    each_is_refused(&[
        ("/hooks/prestart/-", json!({"path": "true"}), "hooks.prestart[1].path: must be an absolute path"),
        ("/hooks/createRuntime", json!([{"path": ""}]), "hooks.createRuntime[0].path: must be an absolute path"),
        (
            "/hooks/createContainer",
            json!([{"path": "/x", "timeout": 0}]),
            "hooks.createContainer[0].timeout: must be greater",
        ),
        (
            "/hooks/startContainer",
            json!([{"path": "/x", "timeout": -1}]),
            "hooks.startContainer[0].timeout: must be greater",
        ),
        (
            "/hooks/poststart",
            json!([{"path": "/x", "env": ["A"]}]),
            "hooks.poststart[0].env[0]: invalid environment variable",
        ),
        (
            "/hooks/poststop",
            json!([{"path": "/x", "env": ["=A"]}]),
            "hooks.poststop[0].env[0]: invalid environment variable",
        ),
    ]);
}

#[test]
fn namespaces_are_judged() {
    each_is_refused(&[
        (
            "/linux/namespaces/-",
            json!({"type": "pid", "path": "/p"}),
            "linux.namespaces[8].type: duplicated ns: the type pid",
        ),
        ("/linux/namespaces/1/path", json!("ns/net"), "linux.namespaces[1].path: must be an absolute path"),
        ("/hostname", json!("h".repeat(65)), "hostname: must have at most 64 bytes"),
    ]);
    accepted(&[("/hostname", json!("h".repeat(64))), ("/domainname", json!("d"))]);
}

#[test]
fn what_needs_a_namespace_is_refused_without_it() {
    for (typ, pointer, value, expected) in [
        ("uts", "/hostname", json!("h"), "hostname: unable to set hostname without a private UTS namespace"),
        (
            "mount",
            "/linux/maskedPaths",
            json!(["/x"]),
            "maskedPaths: unable to restrict sys entries without a private MNT namespace",
        ),
        (
            "mount",
            "/linux/readonlyPaths",
            json!(["/x"]),
            "readonlyPaths: unable to restrict sys entries without a private MNT",
        ),
        (
            "time",
            "/linux/timeOffsets",
            json!({"boottime": {"secs": 1}}),
            "unable to set time offsets without a new time namespace",
        ),
        (
            "network",
            "/linux/netDevices",
            json!({"eth0": {}}),
            "unable to move network devices without a private NET namespace",
        ),
        (
            "network",
            "/linux/sysctl",
            json!({"net.core.somaxconn": "1"}),
            "is not allowed in the host's network namespace",
        ),
        ("ipc", "/linux/sysctl", json!({"kernel.shmmax": "1"}), "is not allowed in the host's ipc namespace"),
        ("ipc", "/linux/sysctl", json!({"fs.mqueue.msg_max": "1"}), "is not allowed in the host's ipc namespace"),
    ] {
        accepted(&[(pointer, value.clone())]);
        let mut changes = without(typ);
        changes.push((pointer, value));
        assert!(refused(&changes).contains(expected), "{typ} {pointer}: {}", refused(&changes));
    }
    let mut changes = without("uts");
    changes.extend([("/hostname", json!(null)), ("/domainname", json!("d"))]);
    assert_eq!(refused(&changes), "domainname: unable to set domainname without a private UTS namespace");
    changes[2] = ("/domainname", json!(""));
    accepted(&changes);
}

#[test]
fn paths_inside_must_be_absolute() {
    each_is_refused(&[
        ("/linux/maskedPaths", json!(["/a", "b"]), "linux.maskedPaths[1]: must be an absolute path"),
        ("/linux/readonlyPaths", json!([""]), "linux.readonlyPaths[0]: must be an absolute path"),
    ]);
}

#[test]
fn time_offsets_are_judged() {
    let joined = ("/linux/namespaces/7/path", json!("/proc/1/ns/time"));
    let found = refused(&[joined, ("/linux/timeOffsets", json!({"boottime": {"secs": 1}}))]);
    assert!(found.contains("without a new time namespace"), "{found}");
    each_is_refused(&[
        (
            "/linux/timeOffsets",
            json!({"realtime": {"secs": 1}}),
            "linux.timeOffsets.realtime: \"realtime\" is no clock",
        ),
        ("/linux/timeOffsets", json!({"monotonic": {"nanosecs": 1_000_000_000}}), "monotonic.nanosecs: must be below"),
    ]);
    accepted(&[("/linux/timeOffsets", json!({"monotonic": {"secs": -5, "nanosecs": 999_999_999}}))]);
}

#[test]
fn network_devices_are_judged() {
    each_is_refused(&[
        (
            "/linux/netDevices",
            json!({"eth0": {"name": "a/b"}}),
            "netDevices.eth0.name: \"a/b\" is no name of a network device",
        ),
        ("/linux/netDevices", json!({"a name": {}}), "\"a name\" is no name of a network device"),
        ("/linux/netDevices", json!({"eth0": {"name": "sixteen-letters-"}}), "is no name of a network device"),
        (
            "/linux/netDevices",
            json!({"eth0": {"name": "x"}, "eth1": {"name": "x"}}),
            "netDevices.eth1: the name \"x\" is already that of",
        ),
        ("/linux/netDevices", json!({"eth0": {"name": "eth1"}, "eth1": {}}), "the name \"eth1\" is already that of"),
    ]);
    accepted(&[("/linux/netDevices", json!({"eth0": {"name": "c%d"}, "eth1": {"name": "c%d"}, "eth2": {}}))]);
    let rootless = Host { euid: 1000, ..Host::fixture() };
    let found = judged(&changed(&[("/linux/netDevices", json!({"eth0": {}}))]), &request(), &rootless);
    assert_eq!(found, ["linux.netDevices: network devices are not supported for rootless containers"]);
}

#[test]
fn id_mappings_are_judged() {
    let map = |ranges: &[(u32, u32, u32)]| {
        json!(ranges.iter().map(|(c, h, s)| json!({"containerID": c, "hostID": h, "size": s})).collect::<Vec<_>>())
    };
    each_is_refused(&[
        ("/linux/uidMappings", map(&[(0, 1000, 1), (1, 2000, 0)]), "linux.uidMappings[1].size: must not be 0"),
        (
            "/linux/gidMappings",
            map(&[(0, 1000, 5), (4, 2000, 5)]),
            "gidMappings[1].containerID: overlaps mapping 0: both cover the id 4",
        ),
        (
            "/linux/uidMappings",
            map(&[(0, 1000, 5), (5, 1004, 5)]),
            "uidMappings[1].hostID: overlaps mapping 0: both cover the id 1004",
        ),
        (
            "/linux/uidMappings",
            map(&[(0, 9, 1), (100, 1000, 50), (10, 2000, 5), (110, 3000, 5)]),
            "uidMappings[3].containerID: overlaps",
        ),
        (
            "/linux/uidMappings",
            map(&[(0, 1, 1), (4294967295, 7, 1)]),
            "uidMappings[1].containerID: 1 ids from 4294967295 on reach beyond",
        ),
        (
            "/linux/uidMappings",
            map(&[(0, 4294967000, 500)]),
            "uidMappings[0].hostID: 500 ids from 4294967000 on reach beyond 32 bits",
        ),
        ("/linux/uidMappings", json!([{"hostID": 5, "size": 1}]), "linux.uidMappings[0].containerID: is required"),
        ("/linux/uidMappings", json!([{"containerID": 0, "size": 1}]), "linux.uidMappings[0].hostID: is required"),
        ("/linux/uidMappings", json!(null), "linux.uidMappings: user namespaces enabled, but no uid mappings found"),
        ("/linux/gidMappings", json!([]), "linux.gidMappings: user namespaces enabled, but no gid mappings found"),
        (
            "/mounts/-",
            json!({"destination": "/x", "type": "bind", "source": "/x", "uidMappings": map(&[(0, 1, 0)])}),
            "mounts[1].uidMappings[0].size: must not be 0",
        ),
    ]);
    accepted(&[("/linux/uidMappings", map(&[(5, 100, 5), (0, 0, 5), (10, 4294967290, 5)]))]);
}

#[test]
fn too_many_mappings_are_refused_by_count_and_by_length() {
    let maps = |count: u32, step: u32| {
        let ranges = (0..count).map(|i| json!({"containerID": i * step, "hostID": i * step, "size": 1}));
        changed(&[("/linux/uidMappings", Value::from_iter(ranges))])
    };
    let found = |document| judged(&document, &request(), &Host::fixture()).join("\n");
    assert_eq!(found(maps(340, 2)), "");
    assert!(found(maps(341, 2)).contains("has 341 mappings; the kernel takes 340"));
    // More than 16 bits can count (CVE-2021-43784).
    let found = found(maps(4000, 1_000_000));
    assert!(found.contains("has 4000 mappings") && found.contains("makes a map of"), "{found}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn few_mappings_of_long_numbers_can_be_too_long() {
    let ranges = (0..200).map(|i| json!({"containerID": if i == 0 { 0 } else { 1_000_000_000 + i }, "hostID": 2_000_000_000u32 + i, "size": 1}));
    let found = refused(&[("/linux/uidMappings", Value::from_iter(ranges))]);
    assert!(found.contains("the kernel takes 4095"), "{found}");
}

#[test]
fn mappings_go_with_a_user_namespace_only() {
    let found = judged(&changed(&without("user")), &request(), &Host::fixture());
    assert_eq!(
        found,
        [
            "linux.gidMappings: gid mappings specified, but user namespaces are not enabled",
            "linux.uidMappings: uid mappings specified, but user namespaces are not enabled",
        ]
    );
    let joined = ("/linux/namespaces/5/path", json!("/proc/1/ns/user"));
    accepted(std::slice::from_ref(&joined));
    accepted(&[
        joined,
        ("/linux/uidMappings", json!(null)),
        ("/linux/gidMappings", json!(null)),
        ("/process/user/uid", json!(99999)),
    ]);
}

#[test]
fn sysctls_outside_the_containers_namespaces_are_refused() {
    for (name, expected) in [
        (
            "kernel.hostname",
            "sysctl \"kernel.hostname\" is not allowed as it conflicts with the OCI \"hostname\" field",
        ),
        (
            "kernel/hostname",
            "sysctl \"kernel.hostname\" is not allowed as it conflicts with the OCI \"hostname\" field",
        ),
        ("kernel.panic", "sysctl \"kernel.panic\" is not in a separate kernel namespace"),
        ("vm/swappiness", "is not in a separate kernel namespace"),
        ("network.x", "is not in a separate kernel namespace"),
        ("net/../kernel/panic", "leads out of /proc/sys"),
        ("net.//.kernel.panic", "leads out of /proc/sys"),
        ("net..ipv4", "has an empty part"),
        ("", "has an empty part"),
    ] {
        let found = refused(&[("/linux/sysctl", json!({name: "1"}))]);
        assert!(found.starts_with("linux.sysctl") && found.contains(expected), "{name}: {found}");
    }
    let fine = json!({"net.ipv4.ip_forward": "1", "net/ipv4/conf/eth0.1/rp_filter": "0", "kernel.shm_rmid_forced": "1",
        "kernel.domainname": "d", "user.max_user_namespaces": "5"});
    accepted(&[("/linux/sysctl", fine.clone())]);
    let found = refused(&[("/linux/sysctl", fine), ("/domainname", json!("d"))]);
    assert!(
        found.contains("\"kernel.domainname\" is not allowed as it conflicts with the OCI \"domainname\" field"),
        "{found}"
    );
}

#[test]
fn devices_are_judged() {
    let device = |path: &str, typ: &str, major: i64| json!({"path": path, "type": typ, "major": major, "minor": 7});
    each_is_refused(&[
        ("/linux/devices", json!([device("dev/x", "c", 1)]), "linux.devices[0].path: must be an absolute path"),
        ("/linux/devices", json!([{"type": "p"}]), "linux.devices[0].path: is required"),
        ("/linux/devices", json!([device("/dev/x", "a", 1)]), "linux.devices[0].type: must be c, b, u or p"),
        ("/linux/devices", json!([device("/dev/x", "c", 4096)]), "linux.devices[0].major: must be from 0 to 4095"),
        ("/linux/devices", json!([device("/dev/x", "b", -1)]), "linux.devices[0].major: must be from 0 to 4095"),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "c", "major": 1}]), "linux.devices[0].minor: is required"),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "u", "minor": 1}]), "linux.devices[0].major: is required"),
        (
            "/linux/devices",
            json!([{"path": "/dev/x", "type": "p", "fileMode": 65536}]),
            "fileMode: must be a file mode",
        ),
        (
            "/linux/devices",
            json!([device("/dev/x", "c", 1), device("/dev/x", "c", 2)]),
            "linux.devices[1].path: \"/dev/x\" stands already in devices[0]",
        ),
    ]);
    accepted(&[(
        "/linux/devices",
        json!([device("/dev/x", "c", 0), device("/dev/x", "c", 0), device("/dev/p", "p", 99999),
            {"path": "/dev/q", "type": "p", "fileMode": 0o20666}]),
    )]);
}

#[test]
fn resources_are_judged() {
    each_is_refused(&[
        (
            "/linux/resources/devices",
            json!([{"allow": true}]),
            "devices[0].access: device access at 0 field cannot be empty",
        ),
        (
            "/linux/resources/devices",
            json!([{"allow": true, "access": "rx"}]),
            "devices[0].access: must be made of r, w and m",
        ),
        (
            "/linux/resources/devices",
            json!([{"allow": true, "access": "r", "type": "p"}]),
            "devices[0].type: must be a, c or b",
        ),
        ("/linux/resources/devices", json!([{"access": "r", "major": -2}]), "devices[0].major: -2 is no device number"),
        (
            "/linux/resources/memory",
            json!({"limit": 10, "swap": 5}),
            "memory.swap: memory+swap limit 5 must not be below",
        ),
        ("/linux/resources/memory", json!({"swappiness": 201}), "memory.swappiness: must be from 0 to 200"),
        ("/linux/resources/cpu", json!({"period": 999}), "cpu.period: must be from 1000 to 1000000"),
        ("/linux/resources/cpu", json!({"quota": 999}), "cpu.quota: must be at least 1000"),
        ("/linux/resources/cpu", json!({"quota": 2000, "burst": 2001}), "cpu.burst: must not be above the quota 2000"),
        ("/linux/resources/cpu", json!({"idle": 2}), "cpu.idle: must be 0 or 1"),
        ("/linux/resources/cpu", json!({"cpus": "all"}), "cpu.cpus: must be a list of numbers"),
        ("/linux/resources/cpu", json!({"mems": "../x"}), "cpu.mems: must be a list of numbers"),
        ("/linux/resources/blockIO", json!({"weight": 9}), "blockIO.weight: must be from 10 to 1000"),
        (
            "/linux/resources/blockIO",
            json!({"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 1001}]}),
            "weightDevice[0].leafWeight: must be from 10",
        ),
        (
            "/linux/resources/hugepageLimits",
            json!([{"pageSize": "../../x", "limit": 1}]),
            "hugepageLimits[0].pageSize: must be a size",
        ),
        (
            "/linux/resources/hugepageLimits",
            json!([{"pageSize": "02MB", "limit": 1}]),
            "hugepageLimits[0].pageSize: must be a size",
        ),
        ("/linux/resources/hugepageLimits", json!([{"pageSize": "2MB", "limit": -1}]), "limit: must not be negative"),
        ("/linux/resources/hugepageLimits", json!([{"pageSize": "2MB"}]), "hugepageLimits[0].limit: is required"),
        ("/linux/resources/network", json!({"priorities": [{"priority": 1}]}), "priorities[0].name: \"\" is no name"),
        (
            "/linux/resources/unified",
            json!({"../memory.max": "1"}),
            "\"../memory.max\" is not the name of a file in a cgroup",
        ),
        ("/linux/resources/unified", json!({"": "1"}), "\"\" is not the name of a file in a cgroup"),
    ]);
    accepted(&[(
        "/linux/resources",
        json!({"devices": [{"allow": true, "type": "", "major": -1, "access": "m"}], "pids": {"limit": 0},
            "memory": {"limit": -1, "swap": -1}, "cpu": {"shares": 2, "quota": -1, "period": 0, "burst": 5, "cpus": "0-1"},
            "blockIO": {"weight": 0}, "hugepageLimits": [{"pageSize": "1GB", "limit": 0}], "unified": {"memory.high": "max"}}),
    )]);
}

#[test]
fn seccomp_is_judged() {
    let seccomp = |default: &str, syscall: Value| json!({"defaultAction": default, "syscalls": [syscall]});
    let allow = json!({"names": ["x"], "action": "SCMP_ACT_ALLOW"});
    each_is_refused(&[
        (
            "/linux/seccomp",
            seccomp("SCMP_ACT_NOTIFY", allow.clone()),
            "SCMP_ACT_NOTIFY cannot be used as default action",
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1}),
            "defaultErrnoRet: can't be used with SCMP_ACT_KILL",
        ),
        (
            "/linux/seccomp",
            seccomp("SCMP_ACT_ERRNO", json!({"names": ["x"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1})),
            "syscalls[0].errnoRet: can't be used with SCMP_ACT_ALLOW",
        ),
        (
            "/linux/seccomp",
            seccomp("SCMP_ACT_ERRNO", json!({"names": [], "action": "SCMP_ACT_ALLOW"})),
            "names: must name at least one",
        ),
        (
            "/linux/seccomp",
            seccomp("SCMP_ACT_ALLOW", json!({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"})),
            "needs linux.seccomp.listenerPath",
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/s", "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"}]}),
            "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}),
            "listenerMetadata: must not be given without",
        ),
        (
            "/linux/seccomp",
            seccomp(
                "SCMP_ACT_ALLOW",
                json!({"names": ["x"], "action": "SCMP_ACT_KILL", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}),
            ),
            "syscalls[0].args[0].index: must be from 0 to 5",
        ),
    ]);
    accepted(&[("/linux/seccomp", seccomp("SCMP_ACT_ERRNO", allow))]);
}

#[test]
fn the_memory_policy_is_judged_as_the_kernel_does() {
    let policy = |mode: &str, nodes: &str, flags: &[&str]| json!({"mode": mode, "nodes": nodes, "flags": flags});
    each_is_refused(&[
        (
            "/linux/memoryPolicy",
            policy("MPOL_DEFAULT", "0-7", &[]),
            "invalid memory policy: mode requires 0 nodes but got 8",
        ),
        (
            "/linux/memoryPolicy",
            policy("MPOL_LOCAL", "1,1", &[]),
            "invalid memory policy: mode requires 0 nodes but got 1",
        ),
        (
            "/linux/memoryPolicy",
            policy("MPOL_BIND", "", &[]),
            "memoryPolicy.nodes: invalid memory policy: mode requires at least one",
        ),
        (
            "/linux/memoryPolicy",
            policy("MPOL_BIND", "x", &[]),
            "invalid memory policy: nodes must be a list of numbers",
        ),
        ("/linux/memoryPolicy", policy("MPOL_BIND", "1024", &[]), "above the kernel's limit 1023"),
        (
            "/linux/memoryPolicy",
            policy("MPOL_BIND", "0", &["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]),
            "memoryPolicy.flags: invalid memory policy: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other",
        ),
        ("/linux/memoryPolicy", policy("MPOL_INTERLEAVE", "0", &["MPOL_F_NUMA_BALANCING"]), "goes with MPOL_BIND"),
        (
            "/linux/memoryPolicy",
            policy("MPOL_PREFERRED", "", &["MPOL_F_STATIC_NODES"]),
            "nothing for the flags to apply to",
        ),
    ]);
    accepted(&[("/linux/memoryPolicy", policy("MPOL_PREFERRED", "", &[]))]);
    accepted(&[("/linux/memoryPolicy", policy("MPOL_BIND", "0-3,7", &["MPOL_F_NUMA_BALANCING"]))]);
    accepted(&[("/linux/memoryPolicy", json!({"mode": "MPOL_DEFAULT"}))]);
}

#[test]
fn the_rest_of_the_linux_section_is_judged() {
    each_is_refused(&[
        ("/linux/cgroupsPath", json!("/a/../b"), "linux.cgroupsPath: must not lead upwards"),
        ("/linux/rootfsPropagation", json!("sharedd"), "rootfsPropagation must be one of shared, rshared"),
        ("/linux/intelRdt", json!({"closID": ".."}), "intelRdt.closID: \"..\" is not the name of a directory"),
        ("/linux/intelRdt", json!({"closID": "a/b"}), "intelRdt.closID: \"a/b\" is not the name of a directory"),
        ("/linux/intelRdt", json!({"schemata": ["L3:0=f", "a\nb"]}), "intelRdt.schemata[1]: must be one line"),
    ]);
    for propagation in ["shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable", ""]
    {
        accepted(&[("/linux/rootfsPropagation", json!(propagation))]);
    }
    accepted(&[("/linux/cgroupsPath", json!("system.slice:corten:a..b")), ("/linux/intelRdt", json!({"closID": "/"}))]);
    let no_pivot = Request { no_pivot: true, ..request() };
    let found = judged(&changed(&[("/linux/rootfsPropagation", json!("rprivate"))]), &no_pivot, &Host::fixture());
    assert_eq!(found, ["linux.rootfsPropagation: rootfsPropagation of private is not safe with --no-pivot"]);
}

#[test]
fn a_label_is_one_line_that_the_kernel_takes_whole() {
    for (pointer, name) in [
        ("/process/apparmorProfile", "process.apparmorProfile"),
        ("/process/selinuxLabel", "process.selinuxLabel"),
        ("/linux/mountLabel", "linux.mountLabel"),
    ] {
        for label in [" ", "a ", "\na", "a\nb"] {
            let why = format!("{name}: must be one line without white space around it, not {label:?}");
            assert_eq!(refused(&[(pointer, json!(label))]), why);
        }
        let found = refused(&[(pointer, json!("x".repeat(4092)))]);
        assert_eq!(found, format!("{name}: must have at most 4091 bytes, not 4092"));
        accepted(&[(pointer, json!("x".repeat(4091)))]);
        accepted(&[(pointer, json!(""))]);
    }
    let found = refused(&[("/linux/mountLabel", json!("a\",size=1"))]);
    assert_eq!(found, "linux.mountLabel: must not contain a quote");
}

#[test]
fn a_programs_label_that_the_host_has_no_module_for_is_refused() {
    use crate::host::lsm::Lsms;
    let document = changed(&[
        ("/process/apparmorProfile", json!("docker-default")),
        ("/process/selinuxLabel", json!("u:r:t:s0")),
        ("/linux/mountLabel", json!("u:r:t:s0")),
    ]);
    let on = |apparmor, selinux| Host { lsms: Lsms::fixture(apparmor, selinux), ..Host::fixture() };
    let fields = |host: &Host| -> Vec<String> {
        let found = judged(&document, &request(), host);
        let mut fields: Vec<_> = found.iter().map(|text| text.split(':').next().unwrap().to_owned()).collect();
        fields.sort();
        fields
    };
    assert_eq!(fields(&on(true, true)), [""; 0]);
    assert_eq!(fields(&on(true, false)), ["process.selinuxLabel"], "files' labels confine nobody");
    assert_eq!(fields(&on(false, true)), ["process.apparmorProfile"]);
    let unconfined = changed(&[("/process/apparmorProfile", json!("unconfined"))]);
    assert_eq!(judged(&unconfined, &request(), &on(false, false)), [""; 0]);
}

#[test]
fn a_nul_character_is_refused_wherever_the_kernel_would_read_it() {
    let why = "must not contain a NUL character";
    for (pointer, value) in [
        ("/process/args/0", json!("/bin/s\0h")),
        ("/process/env/0", json!("A=\0")),
        ("/process/cwd", json!("/\0")),
        ("/root/path", json!("root\0fs")),
        ("/hostname", json!("\0")),
        ("/mounts/0/source", json!("a\0")),
        ("/mounts/0/options", json!(["r\0o"])),
        ("/linux/sysctl", json!({"net.core.somaxconn": "\0"})),
        ("/linux/namespaces/0/path", json!("/\0")),
        ("/linux/cgroupsPath", json!("/\0")),
        ("/hooks/prestart/0/path", json!("/\0")),
        ("/process/apparmorProfile", json!("\0")),
    ] {
        let found = refused(&[(pointer, value)]);
        assert!(found.ends_with(why), "{pointer}: {found}");
    }
    accepted(&[("/annotations", json!({"a": "\0"})), ("/foreign", json!("\0")), ("/hostname", json!("\\u0000"))]);
}

#[test]
fn every_violation_is_named_at_once_in_the_order_of_the_lines() {
    let text = br#"{
        "ociVersion": "x",
        "process": {
            "cwd": "tmp",
            "terminal": true,
            "user": {},
            "rlimits": [{"type": "RLIMIT_CPU", "soft": 1}]
        },
        "hostname": "h"
    }"#;
    let config = parse::config(PathBuf::from("config.json"), text.to_vec()).unwrap();
    let found = validate(&config, &request(), &Host::fixture());
    let found: Vec<_> = found.iter().map(|violation| (violation.line, violation.field.pointer())).collect();
    assert_eq!(
        found,
        [
            (None, "--console-socket"),
            (Some(1), "/root"),
            (Some(2), "/ociVersion"),
            (Some(3), "/process/args"),
            (Some(4), "/process/cwd"),
            (Some(7), "/process/rlimits/0/hard"),
            (Some(7), "/process/rlimits/0/soft"),
            (Some(9), "/hostname"),
        ]
    );
}

#[test]
fn a_config_without_a_linux_section_has_no_hostname_of_its_own() {
    let found = judged(&changed(&[("/linux", json!(null))]), &request(), &Host::fixture());
    assert_eq!(found, ["hostname: unable to set hostname without a private UTS namespace"]);
}

#[test]
fn a_bundle_is_judged_by_schema_and_rules_together() {
    let bundle = tempfile::tempdir().unwrap();
    let document = changed(&[
        ("/process/env/-", json!(7)),
        ("/process/cwd", json!("tmp")),
        ("/process/rlimits", json!([{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}])),
        ("/root", json!({"path": 1})),
        ("/linux/sysctl", json!({"kernel.panic": "1"})),
    ]);
    std::fs::write(bundle.path().join("config.json"), serde_json::to_vec_pretty(&document).unwrap()).unwrap();
    let request = Request { bundle: bundle.path().to_owned(), ..request() };
    let (found, _) = judge(None, &request, &Host::fixture()).unwrap();
    let mut fields: Vec<_> = found.iter().map(|violation| violation.field.pointer()).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["/linux/sysctl/kernel.panic", "/process/cwd", "/process/env/2", "/process/rlimits/0/type", "/root/path"]
    );
    assert!(found.iter().all(|violation| violation.line.is_some()));
    assert!(found.is_sorted_by_key(|violation| violation.line));
}

#[test]
fn the_files_of_exec_and_update_are_judged_in_their_own_terms() {
    let bytes = br#"{"args": [], "cwd": "x", "env": ["A\u0000=b"]}"#;
    let (process, _) = parse::process(Path::new("p.json"), bytes).unwrap();
    let found: Vec<_> = validate_process(&process, bytes).iter().map(|v| v.field.to_string()).collect();
    assert_eq!(found, ["args", "cwd", "env[0]"]);
    let bytes = br#"{"cpu": {"period": 1}}"#;
    let resources = parse::resources(Path::new("-"), bytes).unwrap();
    let found: Vec<_> = validate_resources(&resources, bytes).iter().map(|v| v.field.to_string()).collect();
    assert_eq!(found, ["cpu.period"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn bent_configs_are_judged_without_a_panic(
        file in 0usize..48, at in any::<prop::sample::Index>(),
        by in prop::sample::select(vec!["0", "4294967295", "-1", "\"\"", "\"/\"", "\"\\u0000\"", "[]", "\"..\"", "\"0-7\""]),
    ) {
        // Replaces one string or number of the file by another value.
        let text = String::from_utf8_lossy(&recorded()[file].1);
        let scalars: Vec<_> = text.match_indices(": ").filter(|(i, _)| !text[i + 2..].starts_with(['{', '['])).collect();
        prop_assume!(!scalars.is_empty());
        let start = scalars[at.index(scalars.len())].0 + 2;
        let end = start + text[start..].find(['\n', ',']).unwrap_or(0);
        let bent = format!("{}{by}{}", &text[..start], &text[end..]);
        if let Ok(config) = parse::config(PathBuf::from("config.json"), bent.into_bytes()) {
            for violation in validate(&config, &request(), &Host::fixture()) {
                prop_assert!(!violation.why.is_empty() && !violation.hint.is_empty());
                prop_assert!(violation.line.is_some() || !violation.field.is_config());
            }
        }
    }
}

/// The model reads an absent number as 0, which would be no limit where one was meant.
#[test]
fn a_block_device_without_its_numbers_is_refused() {
    let of = |device: Value| refused(&[("/linux/resources/blockIO", json!({"throttleReadBpsDevice": [device]}))]);
    assert!(of(json!({"major": 8, "minor": 1})).contains("throttleReadBpsDevice[0].rate: is required"));
    assert!(of(json!({"major": 8, "rate": 5})).contains("throttleReadBpsDevice[0].minor: is required"));
    accepted(&[(
        "/linux/resources/blockIO",
        json!({"throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}]}),
    )]);
    let weights = json!({"weightDevice": [{"minor": 1, "weight": 10}]});
    assert!(refused(&[("/linux/resources/blockIO", weights)]).contains("weightDevice[0].major: is required"));
}

/// These lists are bounded: what is made of them grows with more than their length.
#[test]
fn more_mounts_device_rules_or_syscalls_than_anyone_has_are_refused() {
    let syscalls = |names: usize, args: usize| {
        let condition = json!({"index": 1, "value": 1, "op": "SCMP_CMP_EQ"});
        let entry = json!({"names": vec!["read"; names], "action": "SCMP_ACT_LOG", "args": vec![condition; args]});
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [entry]}))
    };
    accepted(&[syscalls(2048, 0)]);
    assert!(refused(&[syscalls(2049, 0)]).contains("syscalls: comes to 2049 rules"));
    assert!(refused(&[syscalls(41, 50)]).contains("syscalls: comes to 2050 rules"));
    let mounts = |count: usize| ("/mounts", vec![json!({"destination": "/a", "type": "tmpfs"}); count].into());
    let rules = |count: usize| {
        let rule = json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"});
        ("/linux/resources", json!({"devices": vec![rule; count]}))
    };
    accepted(&[mounts(4096), rules(1024)]);
    assert!(refused(&[mounts(4097)]).contains("mounts: has 4097 mounts; corten makes 4096 at most"));
    assert!(refused(&[rules(1025)]).contains("resources.devices: has 1025 rules; corten takes 1024"));
}
