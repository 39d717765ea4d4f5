//! `linux.resources.devices`: nodes are really opened in containers. Where the host has the devices controller of version
//! 1 and a cgroup2 beside it, each test runs twice: as the host is, and with that controller out of sight, so that the
//! rules become a program.
//!
//! The devices 60:* and 61:* are reserved for experiments (Documentation/admin-guide/devices.txt): none has a driver, so
//! opening one that is allowed is ENXIO, and the refusal of control groups, which comes first, is EPERM.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use corten::cgroups::devices::attach;
use corten::cgroups::plan::devices::Rules;
use corten::field::Field;
use corten::host::cgroups::Layout;
use corten::sys::{bpf, file};
use serde_json::{Value, json};

use crate::harness::{Bundle, BundleBuilder, Case, Flavour, Output, Sandbox, cases, skip};

pub const CASES: &[Case] = cases![
    without_a_rule_only_the_default_devices_open,
    a_list_that_denies_all_leaves_the_default_devices,
    a_rule_opens_what_it_names_and_nothing_else,
    a_wildcard_opens_every_number,
    a_later_rule_wins,
    letters_of_several_rules_add_up,
    a_rule_about_all_types_is_about_both,
    what_allows_all_lets_every_device_open,
    a_device_can_be_denied_where_all_are_allowed,
    any_node_can_be_made_but_not_opened,
    a_hole_in_a_wildcard_is_held_by_a_program_and_refused_by_version_1,
    the_list_of_version_1_is_the_config_s,
    the_kernel_takes_programs_of_every_shape,
    a_program_takes_the_place_of_the_one_before_and_leaves_those_of_others,
];

const DENIED: &str = "EPERM";
/// Allowed, and there is no such device.
const OPENED: &str = "ENXIO";

fn deny_all() -> Value {
    json!({"allow": false, "access": "rwm"})
}

fn rule(allow: bool, kind: &str, major: u32, minor: Option<u32>, access: &str) -> Value {
    let mut rule = json!({"allow": allow, "type": kind, "major": major, "access": access});
    minor.into_iter().for_each(|minor| rule["minor"] = minor.into());
    rule
}

/// A bundle with nodes `/dev/c60-7` and the like in it.
fn bundle(sb: &Sandbox) -> BundleBuilder<'_> {
    let device = |kind: &str, major: u32, minor: u32| {
        let path = format!("/dev/{kind}{major}-{minor}");
        json!({"path": path, "type": kind, "major": major, "minor": minor, "fileMode": 0o666})
    };
    let devices = json!([device("c", 60, 7), device("c", 60, 8), device("c", 61, 7), device("b", 60, 7)]);
    sb.bundle().set("/linux/devices", devices)
}

/// Opens each of `NODE LETTERS` in a container with these rules, once for each way to rule.
#[track_caller]
fn expect(sb: &Sandbox, rules: Option<Value>, attempts: &[(&str, &str)]) {
    let mut words = Vec::new();
    for (attempt, _) in attempts {
        let (node, letters) = attempt.split_once(' ').expect("a node and letters");
        words.extend(["try".to_owned(), "open".to_owned(), format!("/dev/{node}"), letters.to_owned(), ";".to_owned()]);
    }
    let mut bundle = bundle(sb).tool(words.iter().map(String::as_str));
    if let Some(rules) = &rules {
        bundle = bundle.set("/linux/resources/devices", rules.clone());
    }
    let bundle = bundle.build();
    for wrapper in ways(sb) {
        let output = run_under(sb, &bundle, &wrapper);
        let outcomes: Vec<_> = attempts.iter().map(|(attempt, _)| *attempt).zip(output.ok().lines()).collect();
        assert_eq!(outcomes, attempts, "{rules:?} under {wrapper:?}");
    }
}

#[track_caller]
fn run_under(sb: &Sandbox, bundle: &Bundle, wrapper: &[String]) -> Output {
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    sb.run_with(bundle, |call| if wrapper.is_empty() { call } else { call.under(&wrapper) })
}

/// Under what to run: nothing, and what hides the controller of version 1 from the runtime alone.
fn ways(sb: &Sandbox) -> Vec<Vec<String>> {
    let mut ways = vec![Vec::new()];
    if sb.flavour() == Flavour::Corten {
        ways.extend(without_version_1());
    }
    ways
}

fn without_version_1() -> Option<Vec<String>> {
    let layout = Layout::probe();
    let devices = layout.v1("devices")?;
    layout.unified.as_ref()?;
    // In a mount namespace of its own, whose mounts don't spread.
    let script = format!("umount {} && exec \"$@\"", devices.mount.display());
    let words = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", &script, "sh"];
    Some(words.map(str::to_owned).to_vec())
}

fn without_a_rule_only_the_default_devices_open(sb: &Sandbox) {
    let attempts =
        [("null rw", "ok"), ("urandom r", "ok"), ("c60-7 r", DENIED), ("c60-7 w", DENIED), ("b60-7 r", DENIED)];
    expect(sb, None, &attempts);
}

fn a_list_that_denies_all_leaves_the_default_devices(sb: &Sandbox) {
    let attempts = [
        ("null rw", "ok"),
        ("zero rw", "ok"),
        ("full rw", "ok"),
        ("random rw", "ok"),
        ("urandom rw", "ok"),
        // The process has no controlling terminal.
        ("tty rw", "ENXIO"),
        ("ptmx rw", "ok"),
        ("c60-7 r", DENIED),
        ("b60-7 w", DENIED),
    ];
    expect(sb, Some(json!([deny_all()])), &attempts);
}

fn a_rule_opens_what_it_names_and_nothing_else(sb: &Sandbox) {
    let rules = json!([deny_all(), rule(true, "c", 60, Some(7), "r"), rule(true, "b", 60, Some(7), "rw")]);
    let attempts = [
        ("c60-7 r", OPENED),
        ("c60-7 w", DENIED),
        ("c60-7 rw", DENIED),
        ("c60-8 r", DENIED),
        ("c61-7 r", DENIED),
        ("b60-7 rw", OPENED),
    ];
    expect(sb, Some(rules), &attempts);
}

fn a_wildcard_opens_every_number(sb: &Sandbox) {
    let any_major = json!({"allow": true, "type": "c", "major": -1, "minor": 7, "access": "w"});
    let rules = json!([deny_all(), rule(true, "c", 60, None, "r"), any_major]);
    let attempts = [
        ("c60-7 r", OPENED),
        ("c60-8 r", OPENED),
        ("c60-8 w", DENIED),
        ("c61-7 w", OPENED),
        ("c61-7 r", DENIED),
        ("b60-7 r", DENIED),
    ];
    expect(sb, Some(rules), &attempts);
}

fn a_later_rule_wins(sb: &Sandbox) {
    let rules = json!([
        rule(true, "c", 61, Some(7), "rw"),
        deny_all(),
        rule(true, "c", 60, Some(7), "rw"),
        rule(false, "c", 60, Some(7), "w"),
        rule(false, "c", 60, Some(8), "rw"),
        rule(true, "c", 60, Some(8), "rw")
    ]);
    let attempts =
        [("c60-7 r", OPENED), ("c60-7 w", DENIED), ("c60-7 rw", DENIED), ("c60-8 rw", OPENED), ("c61-7 r", DENIED)];
    expect(sb, Some(rules), &attempts);
}

fn letters_of_several_rules_add_up(sb: &Sandbox) {
    sb.only_corten("grants a request by several rules");
    let rules = json!([deny_all(), rule(true, "c", 60, None, "r"), rule(true, "c", 60, Some(7), "w")]);
    expect(sb, Some(rules), &[("c60-7 rw", OPENED), ("c60-8 r", OPENED), ("c60-8 rw", DENIED)]);
}

fn a_rule_about_all_types_is_about_both(sb: &Sandbox) {
    sb.only_corten("heeds the numbers of a rule of type a");
    let rules = json!([deny_all(), rule(true, "a", 60, Some(7), "rw")]);
    expect(sb, Some(rules), &[("c60-7 rw", OPENED), ("b60-7 rw", OPENED), ("c60-8 r", DENIED)]);
}

fn what_allows_all_lets_every_device_open(sb: &Sandbox) {
    let rules = json!([deny_all(), {"allow": true, "access": "rwm"}]);
    expect(sb, Some(rules), &[("c60-7 rw", OPENED), ("b60-7 rw", OPENED), ("null rw", "ok")]);
}

fn a_device_can_be_denied_where_all_are_allowed(sb: &Sandbox) {
    let rules = json!([{"allow": true, "access": "rwm"}, rule(false, "c", 60, Some(7), "w")]);
    let attempts = [("c60-7 r", OPENED), ("c60-7 w", DENIED), ("c60-8 rw", OPENED), ("b60-7 rw", OPENED)];
    expect(sb, Some(rules), &attempts);
}

fn any_node_can_be_made_but_not_opened(sb: &Sandbox) {
    let words = ["try", "mknod", "/dev/mine", "61", "8", ";", "try", "open", "/dev/mine", "r"];
    let bundle = sb.bundle().capabilities(&["CAP_MKNOD"]).set("/linux/resources/devices", json!([deny_all()]));
    let bundle = bundle.tool(words).build();
    for wrapper in ways(sb) {
        let output = run_under(sb, &bundle, &wrapper);
        assert_eq!(output.ok().lines(), ["ok", DENIED], "{wrapper:?}");
    }
}

fn a_hole_in_a_wildcard_is_held_by_a_program_and_refused_by_version_1(sb: &Sandbox) {
    sb.only_corten("says what version 1 can't hold");
    let rules = json!([deny_all(), rule(true, "c", 60, None, "rw"), rule(false, "c", 60, Some(8), "w")]);
    let words = ["try", "open", "/dev/c60-8", "w", ";", "try", "open", "/dev/c60-7", "w"];
    let bundle = bundle(sb).set("/linux/resources/devices", rules).tool(words).build();
    for wrapper in ways(sb) {
        let output = run_under(sb, &bundle, &wrapper);
        if wrapper.is_empty() && Layout::probe().v1("devices").is_some() {
            output.fails_with(&["linux.resources.devices[2]", "version 1 can't hold", "c 60:8 w"]);
        } else {
            assert_eq!(output.ok().lines(), [DENIED, OPENED], "{wrapper:?}");
        }
    }
    sb.assert_nothing_left();
}

/// The kernel's own list of a container that waits for its start.
fn the_list_of_version_1_is_the_config_s(sb: &Sandbox) {
    let layout = Layout::probe();
    let Some(devices) = layout.v1("devices") else { skip("the host has no devices controller of version 1") };
    let rules = json!([deny_all(), rule(true, "c", 60, Some(7), "rw"), rule(true, "b", 60, None, "r")]);
    let container = sb.create(&bundle(sb).set("/linux/resources/devices", rules).build());
    let own = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    let own = own.lines().find_map(|line| line.split_once(":devices:/")).expect("the container's cgroup").1;
    let list = fs::read_to_string(devices.mount.join(own).join("devices.list")).unwrap();
    let mut list: Vec<_> = list.lines().collect();
    list.sort_unstable();
    let wanted = [
        "b *:* m",
        "b 60:* r",
        "c *:* m",
        "c 10:200 rwm",
        "c 136:* rwm",
        "c 1:3 rwm",
        "c 1:5 rwm",
        "c 1:7 rwm",
        "c 1:8 rwm",
        "c 1:9 rwm",
        "c 5:0 rwm",
        "c 5:2 rwm",
        "c 60:7 rw",
    ];
    assert_eq!(list, wanted);
}

// ---- Programs without a container -------------------------------------------------------------------------------

/// An empty cgroup of version 2, removed with the test.
struct Cgroup(PathBuf);

impl Cgroup {
    fn make(sb: &Sandbox) -> Cgroup {
        let Some(unified) = Layout::probe().unified else { skip("the host has no cgroup2") };
        let dir = unified.mount.join(sb.id());
        fs::create_dir(&dir).expect("make a cgroup");
        Cgroup(dir)
    }

    fn programs(&self) -> Vec<u32> {
        let dir = fs::File::open(&self.0).unwrap();
        bpf::device_programs(dir.as_raw_fd()).unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn program(rules: Value) -> Vec<[u8; 8]> {
    Rules::new(&serde_json::from_value::<Vec<_>>(rules).unwrap(), &Field::RUNTIME).program().0
}

/// Its verifier follows every branch, and refuses a jump astray, a register that is empty, code that is never reached.
fn the_kernel_takes_programs_of_every_shape(_: &Sandbox) {
    let mut all = Vec::new();
    for allow in [true, false] {
        for access in ["r", "w", "m", "rw", "rm", "wm", "rwm"] {
            for kind in ["a", "b", "c"] {
                for (major, minor) in [(-1, -1), (60, -1), (-1, 7), (4095, 1_048_575)] {
                    let rule = json!({"allow": allow, "type": kind, "major": major, "minor": minor, "access": access});
                    for default in [true, false] {
                        let list = json!([{"allow": default, "access": "rwm"}, rule]);
                        load(&program(list.clone()), &list);
                    }
                    all.push(rule);
                }
            }
        }
    }
    // As many as an engine will never write.
    all.extend((0..1000).map(|minor| rule(minor % 3 == 0, "b", 61, Some(minor), "rw")));
    all.extend((0..1000).map(|minor| rule(minor % 3 == 1, "b", 61, Some(minor), "r")));
    let list = Value::Array(all);
    load(&program(list.clone()), &json!("all of them"));
}

#[track_caller]
fn load(program: &[[u8; 8]], rules: &Value) {
    let loaded = bpf::load_device_program(program, c"corten_test").unwrap_or_else(|error| panic!("{rules}: {error:?}"));
    file::close(loaded);
}

fn a_program_takes_the_place_of_the_one_before_and_leaves_those_of_others(sb: &Sandbox) {
    let cgroup = Cgroup::make(sb);
    let path = CString::new(cgroup.0.to_str().unwrap()).unwrap();
    let opens = |letters: &str| open_inside(sb, &cgroup.0, letters);
    assert_eq!(opens("rw"), "ok");
    attach(&path, &program(json!([{"allow": true, "access": "rwm"}, rule(false, "c", 1, Some(11), "w")]))).unwrap();
    let first = cgroup.programs();
    assert_eq!((first.len(), opens("r").as_str(), opens("w").as_str()), (1, "ok", "EPERM"));
    attach(&path, &program(json!([{"allow": true, "access": "rwm"}, rule(false, "c", 1, Some(11), "r")]))).unwrap();
    let second = cgroup.programs();
    assert_eq!((second.len(), opens("r").as_str(), opens("w").as_str()), (1, "EPERM", "ok"));
    assert_ne!(first, second);

    let others = bpf::load_device_program(&program(json!([])), c"somebody").unwrap();
    let dir = fs::File::open(&cgroup.0).unwrap();
    let attached = bpf::attach_device_program(dir.as_raw_fd(), others, None);
    file::close(others);
    attached.unwrap();
    attach(&path, &program(json!([{"allow": true, "access": "rwm"}]))).unwrap();
    assert_eq!((cgroup.programs().len(), opens("r").as_str()), (2, "EPERM"));
}

/// Opens the kernel's log in the cgroup: a device that every host has and no default rule allows.
fn open_inside(sb: &Sandbox, cgroup: &Path, letters: &str) -> String {
    let script = "echo 0 > \"$1/cgroup.procs\" && exec \"$2\" probe -- try open /dev/kmsg \"$3\"";
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", script, "sh"])
        .args([cgroup, sb.probe_binary(), Path::new(letters)])
        .output()
        .expect("run the toolbox");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
