//! Configs put together from parts at random: planning never panics, and every plan it makes keeps the rules of
//! `planning.rs`. No root needed.

mod large;
mod planning;

use std::cell::Cell;
use std::path::PathBuf;

use corten::config::{Config, parse};
use corten::host::Host;
use corten::plan;
use corten::plan::exec::{Entered, plan_exec};
use corten::plan::mounts::{Visited, plan_add, plan_retreat};
use corten::request::{Mode, Request, Resctrl};
use planning::{check, check_exec, check_mounts, plan_of, request};
use proptest::prelude::*;
use proptest::test_runner::{Config as Settings, TestCaseError, TestRunner};
use serde_json::{Value, json};

/// How many configs a test makes.
const CASES: u32 = 600;

const KINDS: [&str; 8] = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];
const HOOKS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// The parts of a config, each a switch.
#[derive(Clone, Debug)]
struct Parts {
    /// By kind: kept, new or joined.
    namespaces: [u8; 8],
    mounts: u16,
    devices: u8,
    /// How the process is: see [`process`].
    process: u16,
    /// By kind: how many.
    hooks: [u8; 6],
    /// See [`linux`].
    linux: u8,
    /// See [`adjusted`].
    request: u8,
    uid: u32,
    rootless: bool,
    /// Leaves in what the namespaces make impossible, so that planning sees it.
    unruly: bool,
}

fn parts() -> impl Strategy<Value = Parts> {
    let namespaces = prop::array::uniform8(prop_oneof![3 => Just(1u8), 1 => Just(0), 1 => Just(2)]);
    let hooks = prop::array::uniform6(prop_oneof![3 => Just(0u8), 1 => 1..3u8]);
    let switches = (any::<u16>(), any::<u8>(), any::<u16>(), any::<u8>(), any::<u8>());
    let rest = (prop_oneof![Just(0u32), Just(1000)], prop::bool::weighted(0.15), prop::bool::weighted(0.1));
    (namespaces, hooks, switches, rest).prop_map(|(namespaces, hooks, switches, (uid, rootless, unruly))| {
        let (mounts, devices, process, linux, request) = switches;
        Parts { namespaces, mounts, devices, process, hooks, linux, request, uid, rootless, unruly }
    })
}

impl Parts {
    fn wants(&self, kind: &str) -> u8 {
        KINDS.iter().position(|known| *known == kind).map_or(0, |at| self.namespaces[at])
    }

    /// Whether something that needs a new namespace of this kind may be in the config.
    fn may(&self, kind: &str) -> bool {
        self.unruly || self.wants(kind) == 1
    }
}

/// The elements of `all` whose bit is set.
fn chosen(all: &[Value], bits: u16) -> Vec<Value> {
    all.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, value)| value.clone()).collect()
}

fn mounts(parts: &Parts) -> Vec<Value> {
    let all = [
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "ro"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "gid=5"]}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "nosuid"]}),
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}),
        json!({"destination": "/data", "type": "bind", "source": "/srv/data", "options": ["rbind", "rro", "rslave"]}),
        json!({"destination": "/etc/hosts", "source": "./hosts", "options": ["bind", "ro"]}),
        json!({"destination": "/cache", "type": "tmpfs", "options": ["size=1m,mode=700", "tmpcopyup"]}),
        json!({"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind"]}),
        json!({"destination": "/proc/uptime", "type": "bind", "source": "/srv/uptime", "options": ["bind"]}),
        json!({"destination": "/mapped", "type": "bind", "source": "/srv", "options": ["bind", "idmap"],
            "uidMappings": [{"containerID": 0, "hostID": 5000, "size": 10}],
            "gidMappings": [{"containerID": 0, "hostID": 5000, "size": 10}]}),
        json!({"destination": "relative/path", "type": "tmpfs"}),
        json!({"destination": "/data", "options": ["remount", "ro", "bind"]}),
        json!({"destination": "/odd", "type": "bind", "source": "/x", "options": ["bind", "mode=1"]}),
        json!({"destination": "/", "type": "tmpfs"}),
    ];
    // The last three are refused as they stand, so they are for the unruly.
    chosen(&all, if parts.unruly { parts.mounts } else { parts.mounts & 0xfff & !(u16::from(parts.rootless) << 10) })
}

fn process(parts: &Parts) -> Option<Value> {
    let on = |bit: u16| parts.process >> bit & 1 == 1;
    if parts.process & 0xf == 0xf {
        return None;
    }
    let user = json!({"uid": parts.uid, "gid": parts.uid});
    let mut process = json!({"cwd": "/srv/app", "args": ["server", "-v"], "user": user, "env": ["PATH=/bin:/usr/bin"]});
    let mut set = |bit: u16, pointer: &str, value: Value| {
        if on(bit) {
            process[pointer] = value;
        }
    };
    set(4, "terminal", json!(true));
    set(5, "oomScoreAdj", json!(100));
    let limits = json!([
        {"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}
    ]);
    set(6, "rlimits", limits);
    let caps = json!(["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mut sets = json!({"bounding": caps, "effective": caps, "permitted": caps});
    if on(7) {
        sets["inheritable"] = caps.clone();
        sets["ambient"] = caps;
    }
    set(8, "capabilities", sets);
    set(9, "noNewPrivileges", json!(true));
    set(10, "scheduler", json!({"policy": "SCHED_BATCH", "nice": 5}));
    set(11, "ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 3}));
    set(12, "consoleSize", json!({"height": 25, "width": 80}));
    set(13, "env", json!(["HOME=/root"]));
    set(14, "args", json!(["/bin/server"]));
    if on(15) {
        process["user"]["additionalGids"] = json!([4, 20]);
        process["user"]["umask"] = json!(18);
    }
    Some(process)
}

fn linux(parts: &Parts) -> Value {
    let on = |bit: u8| parts.linux >> bit & 1 == 1;
    let namespaces: Vec<Value> = KINDS
        .iter()
        .zip(parts.namespaces)
        .filter(|(_, want)| *want > 0)
        .map(|(kind, want)| match want {
            1 => json!({"type": kind}),
            _ => json!({"type": kind, "path": format!("/proc/4242/ns/{kind}")}),
        })
        .collect();
    let mut linux = json!({"namespaces": namespaces});
    if parts.wants("user") == 1 {
        let host = if parts.rootless { 1000 } else { 100_000 };
        let size = if parts.rootless { 1 } else { 65_536 };
        linux["uidMappings"] = json!([{"containerID": 0, "hostID": host, "size": size}]);
        linux["gidMappings"] = linux["uidMappings"].clone();
    }
    if parts.may("time") && on(0) {
        linux["timeOffsets"] = json!({"boottime": {"secs": 5}, "monotonic": {"secs": -1, "nanosecs": 3}});
    }
    let mut sysctl = serde_json::Map::new();
    if parts.may("network") && on(1) {
        sysctl.insert("net.ipv4.ip_forward".into(), json!("1"));
    }
    if parts.may("ipc") && on(1) {
        sysctl.insert("kernel.shmmax".into(), json!("1000"));
    }
    linux["sysctl"] = sysctl.into();
    if parts.may("network") && !parts.rootless && on(6) {
        linux["netDevices"] = json!({"eth7": {"name": "e"}, "eth8": {}});
    }
    if on(7) {
        linux["intelRdt"] = json!({"closID": "gold", "schemata": ["L3:0=f"], "enableMonitoring": true});
    }
    if parts.may("mount") {
        if on(2) {
            linux["maskedPaths"] = json!(["/proc/kcore", "/sys/firmware"]);
        }
        if on(3) {
            linux["readonlyPaths"] = json!(["/proc/sys", "/proc/bus"]);
        }
        if on(4) && !(on(5) && parts.request & 1 == 1) {
            linux["rootfsPropagation"] = json!(if on(5) { "rprivate" } else { "rshared" });
        }
    }
    let devices = [
        json!({"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}),
        json!({"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 438}),
        json!({"path": "/srv/pipe", "type": "p"}),
        json!({"path": "/dev/sdz", "type": "b", "major": 8, "minor": 1, "uid": 1, "gid": 1}),
    ];
    linux["devices"] = chosen(&devices, parts.devices.into()).into();
    let rules = [
        json!({"allow": false, "access": "rwm"}),
        json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}),
        json!({"allow": false, "type": "b", "major": 8, "access": "w"}),
    ];
    linux["resources"] = json!({"devices": chosen(&rules, (parts.devices >> 4).into())});
    if on(7) || parts.mounts >> 15 == 1 {
        linux["seccomp"] = seccomp(parts.mounts >> 13);
    }
    if on(6) {
        linux["personality"] = json!({"domain": "LINUX32"});
    }
    linux
}

/// A filter, with an agent or without.
fn seccomp(bits: u16) -> Value {
    let mut seccomp = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
        "syscalls": [{"names": ["read", "mkdir", "no_such_call"], "action": "SCMP_ACT_ALLOW"}]});
    if bits & 1 == 1 {
        seccomp["listenerPath"] = json!("/run/agent.sock");
        seccomp["syscalls"][0]["action"] = json!("SCMP_ACT_NOTIFY");
    }
    if bits & 2 == 2 {
        seccomp["flags"] = json!(["SECCOMP_FILTER_FLAG_LOG"]);
    }
    seccomp
}

fn config(parts: &Parts) -> Config {
    let hook = |kind: &str, index: u8| json!({"path": format!("/opt/{kind}-{index}"), "timeout": 1 + index});
    let hooks: serde_json::Map<String, Value> = HOOKS
        .iter()
        .zip(parts.hooks)
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| ((*kind).to_owned(), (0..count).map(|index| hook(kind, index)).collect()))
        .collect();
    let mut text = json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs", "readonly": parts.may("mount") && parts.linux & 128 != 0},
        "hooks": hooks,
        "linux": linux(parts)
    });
    if parts.may("mount") {
        text["mounts"] = mounts(parts).into();
    }
    if parts.may("uts") && parts.devices & 128 != 0 {
        text["hostname"] = json!("web");
        text["domainname"] = json!("example.org");
    }
    if let Some(process) = process(parts) {
        text["process"] = process;
    }
    parse::config(PathBuf::from("config.json"), text.to_string().into_bytes()).unwrap()
}

/// The command line and the host that go along with a config.
fn adjusted(parts: &Parts, config: &Config) -> (Request, Host) {
    let on = |bit: u8| parts.request >> bit & 1 == 1;
    let terminal = config.spec.process().as_ref().is_some_and(|process| process.terminal().unwrap_or(false));
    let mut request = request(terminal);
    request.no_pivot = on(0);
    if on(1) {
        request.mode = Mode::Run { detach: on(2), keep: false };
        request.console_socket = request.console_socket.filter(|_| on(2));
    }
    request.no_new_keyring = on(3);
    request.preserve_fds = u32::from(parts.request >> 4 & 3);
    request.listen_fds = u32::from(on(6));
    request.resctrl = Some(Resctrl { mount: "/sys/fs/resctrl".into(), pretended: false });
    let mut host = Host::fixture();
    if parts.rootless {
        (host.euid, host.egid, host.effective) = (1000, 1000, 0);
    }
    (request, host)
}

fn run(name: &'static str, test: impl Fn(Parts) -> Result<(), TestCaseError>) {
    let settings = Settings { cases: CASES, failure_persistence: None, test_name: Some(name), ..Settings::default() };
    if let Err(error) = TestRunner::new(settings).run(&parts(), test) {
        panic!("{error}");
    }
}

#[test]
fn every_plan_keeps_the_rules() {
    let planned = Cell::new(0);
    run("every_plan_keeps_the_rules", |parts| {
        let config = config(&parts);
        let (request, host) = adjusted(&parts, &config);
        if let Ok(plan) = plan_of(&config, &request, &host) {
            planned.set(planned.get() + 1);
            check(&plan, &config, &request).map_err(TestCaseError::fail)?;
        }
        Ok(())
    });
    assert!(planned.get() > CASES / 2, "only {} of {CASES} configs could be planned", planned.get());
}

/// One more process, as the container's own is, in a container of any kind.
#[test]
fn every_plan_of_an_exec_keeps_the_rules() {
    let planned = Cell::new(0);
    run("every_plan_of_an_exec_keeps_the_rules", |parts| {
        let config = config(&parts);
        let (request, host) = adjusted(&parts, &config);
        let Ok(container) = plan_of(&config, &request, &host) else { return Ok(()) };
        if config.spec.process().is_none() {
            return Ok(());
        }
        let request = Request { mode: Mode::Exec { detach: true }, ..request };
        let entered = Entered { init: 42, group: &container.group, rdt: container.rdt.as_ref(), below: &[] };
        if let Ok(plan) = plan_exec(&config.spec, &host, &request, &entered) {
            planned.set(planned.get() + 1);
            check_exec(&plan, &host).map_err(TestCaseError::fail)?;
        }
        Ok(())
    });
    assert!(planned.get() > CASES / 2, "only {} of {CASES} could be planned", planned.get());
}

#[test]
fn every_plan_of_more_mounts_keeps_the_rules() {
    let planned = Cell::new(0);
    run("every_plan_of_more_mounts_keeps_the_rules", |parts| {
        let config = config(&parts);
        let (request, host) = adjusted(&parts, &config);
        let Ok(container) = plan_of(&config, &request, &host) else { return Ok(()) };
        let visited = Visited { spec: &config.spec, init: 42, group: &container.group };
        let Ok(added) = plan_add(&visited, &host, &request) else { return Ok(()) };
        planned.set(planned.get() + 1);
        check_mounts(&added.plan).map_err(TestCaseError::fail)?;
        let back = plan_retreat(&visited, &host, &added.plan);
        let off = |plan: &corten::plan::Plan, steps: &[plan::Step]| {
            let detach = |step: &&plan::Step| plan::name(&step.op) == "rootfs.DetachMount";
            assert!(plan.slots >= added.plan.slots);
            steps.iter().filter(detach).cloned().collect::<Vec<_>>()
        };
        prop_assert_eq!(off(&back, &back.stage_two), off(&added.plan, &added.plan.undo));
        Ok(())
    });
    assert!(planned.get() > CASES / 4, "only {} of {CASES} could be planned", planned.get());
}

/// Planning trusts nothing that validation has said: it refuses on its own, or plans, and does so again the same way.
#[test]
fn planning_never_panics_and_always_says_the_same() {
    run("planning_never_panics_and_always_says_the_same", |mut parts| {
        parts.unruly = true;
        let config = config(&parts);
        let (request, host) = adjusted(&parts, &config);
        let texts = |_| format!("{:?}", plan::plan(&config.spec, &host, &request));
        let [first, second] = [(), ()].map(texts);
        prop_assert_eq!(first, second);
        Ok(())
    });
}
