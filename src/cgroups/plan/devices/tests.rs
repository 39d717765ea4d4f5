//! Three ways to the same answer: the rules taken literally, the program in an interpreter, and the files of version 1 in
//! a model of the kernel's list.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::host::cgroups::Layout;

fn given(rules: &Value) -> Vec<LinuxDeviceCgroup> {
    serde_json::from_value(rules.clone()).unwrap()
}

fn rules(rules: &Value) -> Rules {
    Rules::new(&given(rules), &Field::at("/linux/resources/devices"))
}

// ---- The rules, taken literally ---------------------------------------------------------------------------------

/// Whether all letters are allowed: the last rule of the config and the defaults that speaks of one decides on it.
fn literally(given: &[LinuxDeviceCgroup], kind: Kind, major: u32, minor: u32, asked: Access) -> bool {
    let is = |own: Option<i64>, number: u32| own.is_none_or(|own| own == -1 || own == i64::from(number));
    let letter_allowed = |bit: Access, letter: char| {
        let mut allowed = false;
        for rule in given {
            let of_kind = match rule.typ() {
                None | Some(LinuxDeviceType::A) => true,
                Some(LinuxDeviceType::B) => kind == Kind::Block,
                _ => kind == Kind::Char,
            };
            if of_kind
                && is(rule.major(), major)
                && is(rule.minor(), minor)
                && rule.access().as_deref().unwrap().contains(letter)
            {
                allowed = rule.allow();
            }
        }
        let usual = matches!((major, minor), (1, 3 | 5 | 7 | 8 | 9) | (5, 0 | 2) | (10, 200) | (136, _));
        allowed || bit == Access::MKNOD || kind == Kind::Char && usual
    };
    Access::LETTERS.iter().filter(|(bit, _)| asked.contains(*bit)).all(|(bit, letter)| letter_allowed(*bit, *letter))
}

// ---- The program, interpreted -----------------------------------------------------------------------------------

/// Runs a program as the kernel does, and stops where its verifier would: at a register that nobody has set, at a jump
/// that leads out or back.
fn interpret(Program(program): &Program, kind: Kind, major: u32, minor: u32, asked: Access) -> bool {
    let kind: u32 = if kind == Kind::Block { 1 } else { 2 };
    let request = [u32::from(asked.0) << 16 | kind, major, minor];
    let mut registers: [Option<u64>; 11] = [None; 11];
    let mut at = 0;
    for _ in 0..=program.len() {
        let [code, operands, o0, o1, v0, v1, v2, v3] = program[at];
        let (dst, src) = (usize::from(operands & 15), usize::from(operands >> 4));
        let offset = i16::from_ne_bytes([o0, o1]);
        let value = i32::from_ne_bytes([v0, v1, v2, v3]) as i64 as u64;
        let set = |register: usize| registers[register].expect("a register that is set");
        let mut jump = 0;
        let result = match code {
            0x61 => {
                assert_eq!((src, offset % 4), (1, 0));
                Some(u64::from(request[usize::try_from(offset).unwrap() / 4]))
            }
            0xbf => Some(set(src)),
            0xb7 => Some(value),
            0x57 => Some(set(dst) & value),
            0x4f => Some(set(dst) | set(src)),
            0x67 => Some(set(dst) << value),
            0x77 => Some(set(dst) >> value),
            0xc7 => Some((set(dst) as i64 >> value) as u64),
            0x05 | 0x15 | 0x55 | 0x45 => {
                let taken = match code {
                    0x05 => true,
                    0x15 => set(dst) == value,
                    0x55 => set(dst) != value,
                    _ => set(dst) & value != 0,
                };
                assert!(offset >= 0);
                jump = if taken { offset as usize } else { 0 };
                None
            }
            0x95 => return set(0) == 1,
            other => panic!("instruction {other:#x}"),
        };
        if result.is_some() {
            registers[dst] = result;
        }
        at += 1 + jump;
    }
    panic!("a program without an end");
}

// ---- Version 1, modelled ----------------------------------------------------------------------------------------

/// A cgroup of the devices controller below one that allows everything: what security/device_cgroup.c does with a
/// line, and with a request.
struct Kernel {
    allow: bool,
    exceptions: Vec<(char, Option<u32>, Option<u32>, u8)>,
}

impl Kernel {
    /// Takes the steps as they come, lines by the descriptor that was opened for them.
    fn of(steps: &[Step]) -> Kernel {
        let mut kernel = Kernel { allow: true, exceptions: Vec::new() };
        let mut open = None;
        let name = |file: &CString| file.to_str().unwrap().rsplit('/').next().unwrap().to_owned();
        for step in steps {
            let crate::plan::Op::Cgroup(op) = &step.op else { panic!("{step:?}") };
            match op {
                Op::Write { file, value } => kernel.write(&name(file), value.to_str().unwrap()),
                Op::OpenLimit { file, .. } => open = Some(name(file)),
                Op::RuleDevice { value, allow, last, .. } => {
                    let file = open.as_ref().expect("an open file");
                    assert_eq!(*file, if *allow { "devices.allow" } else { "devices.deny" });
                    kernel.write(file, value.to_str().unwrap());
                    if *last {
                        open = None;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(open, None, "the file stays open");
        kernel
    }

    fn write(&mut self, file: &str, line: &str) {
        let allow = file == "devices.allow";
        if line == "a" {
            *self = Kernel { allow, exceptions: Vec::new() };
            return;
        }
        let [kind, numbers, access] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (major, minor) = numbers.split_once(':').unwrap();
        let number = |text: &str| (text != "*").then(|| text.parse().unwrap());
        let access =
            Access::LETTERS.iter().filter(|(_, letter)| access.contains(*letter)).fold(0, |all, l| all | l.0.0);
        assert_ne!(access, 0);
        assert_ne!(allow, self.allow, "this would take an exception away");
        let key = (kind.parse().unwrap(), number(major), number(minor));
        match self.exceptions.iter_mut().find(|(k, major, minor, _)| (*k, *major, *minor) == key) {
            Some((.., known)) => *known |= access,
            None => self.exceptions.push((key.0, key.1, key.2, access)),
        }
    }

    fn allows(&self, kind: Kind, major: u32, minor: u32, asked: Access) -> bool {
        let mut matching = self.exceptions.iter().filter(|(k, own_major, own_minor, _)| {
            *k == kind.letter() && own_major.is_none_or(|m| m == major) && own_minor.is_none_or(|m| m == minor)
        });
        match self.allow {
            true => !matching.any(|(.., access)| access & asked.0 != 0),
            false => matching.any(|(.., access)| asked.0 & !access == 0),
        }
    }
}

// ---- All three, on rules at random ------------------------------------------------------------------------------

const MAJORS: [u32; 7] = [1, 5, 8, 9, 10, 136, 4095];
const MINORS: [u32; 11] = [0, 2, 3, 4, 5, 7, 8, 9, 200, 1000, 1048575];
/// What the kernel asks for: a node is made or opened, never both at once.
const REQUESTS: [Access; 4] = [Access::MKNOD, Access::READ, Access::WRITE, Access(Access::READ.0 | Access::WRITE.0)];

fn devices() -> impl Iterator<Item = (Kind, u32, u32)> {
    let numbers = MAJORS.into_iter().flat_map(|major| MINORS.into_iter().map(move |minor| (major, minor)));
    numbers.flat_map(|(major, minor)| Kind::ALL.map(|kind| (kind, major, minor)))
}

fn any_rule() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![Just(None), Just(Some("a")), Just(Some("c")), Just(Some("b"))];
    let number =
        |numbers: &'static [i64]| prop_oneof![2 => Just(None), 3 => prop::sample::select(numbers).prop_map(Some)];
    let access = prop_oneof![3 => Just("rwm"), 1 => prop::sample::select(&["r", "w", "m", "rw", "wm", "mr"][..])];
    (any::<bool>(), kind, number(&[1, 5, 8, 136, -1]), number(&[0, 3, 4, -1]), access).prop_map(
        |(allow, kind, major, minor, access)| {
            let mut rule = json!({"allow": allow, "access": access});
            kind.into_iter().for_each(|kind| rule["type"] = kind.into());
            major.into_iter().for_each(|major| rule["major"] = major.into());
            minor.into_iter().for_each(|minor| rule["minor"] = minor.into());
            rule
        },
    )
}

/// Lists as engines write them, with a rule about all in front, and wilder ones.
fn any_rules() -> impl Strategy<Value = Value> {
    let list = prop::collection::vec(any_rule(), 0..7);
    let first = prop_oneof![Just(None), Just(Some(false)), Just(Some(true))];
    (first, list).prop_map(|(first, mut list)| {
        first.into_iter().for_each(|allow| list.insert(0, json!({"allow": allow, "access": "rwm"})));
        Value::Array(list)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_program_says_what_the_rules_say(list in any_rules()) {
        let given = given(&list);
        let program = Rules::new(&given, &Field::RUNTIME).program();
        for (kind, major, minor) in devices() {
            for asked in (0..8).map(Access) {
                let expected = literally(&given, kind, major, minor, asked);
                let answer = interpret(&program, kind, major, minor, asked);
                prop_assert_eq!(answer, expected, "{}: {} {}:{} {}", list, kind.letter(), major, minor, asked);
            }
        }
    }

    #[test]
    fn version_1_holds_what_the_rules_say_or_refuses_what_it_cannot_hold(list in any_rules()) {
        let given = given(&list);
        match planned(&list, Layout::fixture_v1()) {
            Ok(plan) => {
                let kernel = Kernel::of(&plan.steps);
                for (kind, major, minor) in devices() {
                    for asked in REQUESTS {
                        let expected = literally(&given, kind, major, minor, asked);
                        let answer = kernel.allows(kind, major, minor, asked);
                        prop_assert_eq!(answer, expected, "{}: {} {}:{} {}", list, kind.letter(), major, minor, asked);
                    }
                }
            }
            Err(violation) => {
                prop_assert!(violation.field.pointer().starts_with("/linux/resources/devices/"), "{violation:?}");
                prop_assert!(!is_representable(&given, true) && !is_representable(&given, false), "{list}: {violation}");
            }
        }
    }
}

/// Whether exceptions to a default can say it, found by trying every exception there is.
fn is_representable(given: &[LinuxDeviceCgroup], default: bool) -> bool {
    // Nobody names 9 and 4095, 1000 and 1048575: they stand for the numbers that no exception can name.
    let (unnamed_majors, unnamed_minors) = ([9, 4095], [1000, 1048575]);
    let differs = |kind, major, minor, bit| literally(given, kind, major, minor, bit) != default;
    Kind::ALL.into_iter().all(|kind| {
        Access::LETTERS.iter().all(|(bit, _)| {
            let full = |majors: &[u32], minors: &[u32]| {
                majors.iter().all(|major| minors.iter().all(|minor| differs(kind, *major, *minor, *bit)))
            };
            MAJORS.iter().all(|major| {
                MINORS.iter().all(|minor| {
                    !differs(kind, *major, *minor, *bit)
                        || !unnamed_majors.contains(major) && !unnamed_minors.contains(minor)
                        || !unnamed_majors.contains(major) && full(&[*major], &MINORS)
                        || !unnamed_minors.contains(minor) && full(&MAJORS, &[*minor])
                        || full(&MAJORS, &MINORS)
                })
            })
        })
    })
}

/// Jumps reach 32,767 instructions: in a longer program the answers stand in several places.
#[test]
fn a_program_may_be_longer_than_a_jump() {
    let rule = |minor: u32| json!({"allow": minor % 3 == 0, "type": "b", "major": 2048 + minor % 2000, "minor": minor, "access": "rw"});
    let list = Value::Array((0..20_000).map(rule).collect());
    let rules =
        Rules { list: given(&list).iter().map(|rule| Rule::of(rule, Field::RUNTIME)).collect(), ..rules(&json!([])) };
    let program = rules.program();
    assert!(program.0.len() > 40_000);
    for minor in [0, 1, 2, 3, 7_000, 7_001, 15_000, 19_998, 19_999] {
        let answer = |major, asked| interpret(&program, Kind::Block, major, minor, asked);
        assert_eq!(answer(2048 + minor % 2000, Access::READ), minor % 3 == 0, "{minor}");
        assert!(!answer(2047, Access::READ) && !answer(2048 + minor % 2000, Access::MKNOD), "{minor}");
    }
}

// ---- What comes of some lists -----------------------------------------------------------------------------------

fn planned(list: &Value, layout: Layout) -> Result<DevicePlan, Violation> {
    planned_on(list, Host { cgroups: layout, ..Host::fixture() })
}

fn planned_on(list: &Value, host: Host) -> Result<DevicePlan, Violation> {
    use crate::request::{Mode, Request};
    let spec = serde_json::from_value(json!({"ociVersion": "1.3.0", "linux": {"cgroupsPath": "/web"}})).unwrap();
    let group = super::super::path::plan_group(&spec, &host, &Request::new("web", "/b", Mode::Create)).unwrap();
    plan_devices(&given(list), &Field::at("/linux/resources"), &host, &group, &mut SlotCounter::default())
}

fn sentences(plan: &DevicePlan) -> Vec<String> {
    plan.steps.iter().map(|step| format!("{} # {}", crate::plan::render(&step.op), step.field.pointer())).collect()
}

const DENY_ALL: &str = r#"{"allow": false, "access": "rwm"}"#;

#[test]
fn on_version_1_the_default_comes_first_and_the_exceptions_follow_in_order() {
    let deny: Value = serde_json::from_str(DENY_ALL).unwrap();
    let fuse = json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"});
    let plan = planned(&json!([deny, fuse]), Layout::fixture_hybrid()).unwrap();
    let dir = "/sys/fs/cgroup/devices/web";
    assert_eq!(
        sentences(&plan),
        [
            format!("write \"a\" to {dir}/devices.deny # /linux/resources/devices/0"),
            format!("open {dir}/devices.allow # /linux/resources/devices/0"),
            // Without the letter of the default below, which nobody asks for together with these.
            "allow device c 10:229 rw # /linux/resources/devices/1".to_owned(),
            "allow device c *:* m, if the cgroup above has it # ".to_owned(),
            "allow device b *:* m, if the cgroup above has it # ".to_owned(),
            "allow device c 1:3 rwm, if the cgroup above has it # ".to_owned(),
            "allow device c 1:5 rwm, if the cgroup above has it # ".to_owned(),
            "allow device c 1:7 rwm, if the cgroup above has it # ".to_owned(),
            "allow device c 1:8 rwm, if the cgroup above has it # ".to_owned(),
            "allow device c 1:9 rwm, if the cgroup above has it # ".to_owned(),
            "allow device c 5:0 rwm, if the cgroup above has it # ".to_owned(),
            "allow device c 5:2 rwm, if the cgroup above has it # ".to_owned(),
            "allow device c 10:200 rwm, if the cgroup above has it # ".to_owned(),
            "allow device c 136:* rwm, if the cgroup above has it # ".to_owned(),
        ]
    );
}

#[test]
fn on_version_1_a_rule_reads_as_in_the_config() {
    let rule = |major: u32, access: &str| json!({"allow": true, "type": "b", "major": major, "access": access});
    let list = json!([rule(8, "rw"), rule(9, "r"), rule(10, "rwm"), rule(11, "m")]);
    let plan = planned(&list, Layout::fixture_v1()).unwrap();
    let asked = |step: &&Step| step.field.pointer().starts_with("/linux/resources/devices/");
    let lines: Vec<String> = plan.steps.iter().filter(asked).map(|step| crate::plan::render(&step.op)).collect();
    // What the default gives to every node isn't said again.
    assert_eq!(lines, ["allow device b 8:* rw", "allow device b 9:* r", "allow device b 10:* rwm"]);
}

#[test]
fn on_version_2_it_is_one_step_that_says_all() {
    let loop_device = json!({"allow": true, "type": "b", "major": 7, "minor": 1, "access": "r"});
    let list = json!([serde_json::from_str::<Value>(DENY_ALL).unwrap(), loop_device]);
    let plan = planned(&list, Layout::fixture_unified()).unwrap();
    assert_eq!(
        sentences(&plan),
        [
            "rule devices in /sys/fs/cgroup/web: deny all but b 7:1 r, c *:* m, b *:* m, c 1:3 rwm, c 1:5 rwm, c 1:7 rwm, \
             c 1:8 rwm, c 1:9 rwm, c 5:0 rwm, c 5:2 rwm, c 10:200 rwm, c 136:* rwm # /linux/resources/devices/0"
        ]
    );
}

#[test]
fn without_a_rule_all_but_the_defaults_is_denied() {
    let absent = rules(&json!([]));
    let denied = rules(&json!([serde_json::from_str::<Value>(DENY_ALL).unwrap()]));
    assert_eq!(absent.list, denied.list);
    assert_eq!((absent.allow, absent.list.len()), (false, DEFAULTS.len()));
    assert_eq!(absent.field, Field::RUNTIME);
}

#[test]
fn what_allows_all_takes_one_write_on_version_1_and_nothing_on_version_2() {
    let list = json!([serde_json::from_str::<Value>(DENY_ALL).unwrap(), {"allow": true, "type": "a", "access": "mrw"}]);
    let v1 = planned(&list, Layout::fixture_v1()).unwrap();
    assert_eq!(
        sentences(&v1),
        ["write \"a\" to /sys/fs/cgroup/devices/web/devices.allow # /linux/resources/devices/1"]
    );
    assert_eq!(planned(&list, Layout::fixture_unified()).unwrap(), DevicePlan::default());
}

#[test]
fn rules_that_say_nothing_new_leave_no_trace() {
    let deny: Value = serde_json::from_str(DENY_ALL).unwrap();
    let dev_null = json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"});
    let no_fuse = json!({"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm"});
    let often = rules(&json!([deny, dev_null, dev_null, no_fuse, deny, dev_null, dev_null, no_fuse]));
    assert_eq!(often.list.len(), DEFAULTS.len());
    assert_eq!(often.field, Field::item("/linux/resources/devices", 4, ""));
}

#[test]
fn version_1_refuses_a_hole_in_a_wildcard_and_names_the_rule() {
    let disks = json!({"allow": true, "type": "b", "major": 8, "access": "rw"});
    let but_the_first = json!({"allow": false, "type": "b", "major": 8, "minor": 0, "access": "w"});
    let list = json!([serde_json::from_str::<Value>(DENY_ALL).unwrap(), disks, but_the_first]);
    let violation = planned(&list, Layout::fixture_hybrid()).unwrap_err();
    assert_eq!(violation.field.pointer(), "/linux/resources/devices/2");
    assert_eq!(
        violation.why,
        "control groups of version 1 can't hold \"deny b 8:0 w\" as a part of \"allow b 8:* rw\""
    );
    assert!(planned(&list, Layout::fixture_unified()).is_ok());
}

#[test]
fn a_number_beyond_the_kernels_is_told_and_never_becomes_a_wildcard() {
    let rule = json!([{"allow": true, "type": "c", "major": 1, "minor": u32::MAX, "access": "rwm"}]);
    for layout in [Layout::fixture_v1(), Layout::fixture_unified()] {
        let plan = planned(&rule, layout).unwrap();
        assert_eq!(plan.warnings[0].field.pointer(), "/linux/resources/devices/0");
        assert!(sentences(&plan).iter().all(|step| !step.contains("4294967295") && !step.contains("c 1:*")));
    }
}

#[test]
fn who_may_not_rule_devices_is_told_if_the_config_denies_any() {
    let deny = json!([serde_json::from_str::<Value>(DENY_ALL).unwrap()]);
    let nested = |cgroups| Host { in_user_namespace: true, cgroups, ..Host::fixture() };
    let weak = |cgroups| Host { effective: 0, cgroups, ..Host::fixture() };
    for layout in [Layout::fixture_v1(), Layout::fixture_unified()] {
        for host in [nested(layout.clone()), weak(layout)] {
            let plan = planned_on(&deny, host.clone()).unwrap();
            assert_eq!(plan.steps, []);
            assert_eq!(plan.warnings.len(), 1);
            assert_eq!(plan.warnings[0].field.pointer(), "/linux/resources/devices");
            assert_eq!(planned_on(&json!([]), host).unwrap(), DevicePlan::default());
        }
    }
    // CAP_BPF and CAP_NET_ADMIN.
    let able = Host { effective: 1 << 39 | 1 << 12, cgroups: Layout::fixture_unified(), ..Host::fixture() };
    assert_eq!(planned_on(&deny, able).unwrap().steps.len(), 1);
}

#[test]
fn a_host_without_any_hierarchy_for_devices_can_only_allow() {
    let mut layout = Layout::fixture_v1();
    layout.v1.retain(|hierarchy| hierarchy.controllers != ["devices"]);
    let deny = json!([serde_json::from_str::<Value>(DENY_ALL).unwrap()]);
    assert_eq!(planned(&deny, layout.clone()).unwrap_err().field.pointer(), "/linux/resources/devices");
    assert_eq!(planned(&json!([{"allow": true, "access": "rwm"}]), layout).unwrap(), DevicePlan::default());
}
