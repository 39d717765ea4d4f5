//! `linux.resources.devices`: which devices a container may open and make. Pure.
//!
//! The rules of the config count in their order, a later one before an earlier one, and every letter of `access` for
//! itself: who asks to read and write gets it when the last rule about reading this device allows it, and the last rule
//! about writing. That is all that this file knows of their meaning; `exceptions.rs` and `program.rs` bring it into the
//! forms that the two versions of control groups take.

use std::ffi::CString;
use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::super::group::{Group, Place, Version};
use super::super::{DeviceProgram, Op};
use super::exceptions::Exceptions;
use super::program::Program;
use crate::error::{Violation, Warning};
use crate::field::Field;
use crate::host::Host;
use crate::plan::Step;
use crate::slots::SlotCounter;

/// The type of a device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Char,
    Block,
}

impl Kind {
    pub const ALL: [Kind; 2] = [Kind::Char, Kind::Block];

    /// `c` or `b`.
    pub fn letter(self) -> char {
        match self {
            Kind::Char => 'c',
            Kind::Block => 'b',
        }
    }
}

/// What is done with a device, as bits; the kernel's own (BPF_DEVCG_ACC_* of linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(pub u8);

impl Access {
    pub const NONE: Access = Access(0);
    pub const MKNOD: Access = Access(1);
    pub const READ: Access = Access(2);
    pub const WRITE: Access = Access(4);
    pub const ALL: Access = Access(7);
    /// In the order in which people write them.
    pub const LETTERS: [(Access, char); 3] = [(Access::READ, 'r'), (Access::WRITE, 'w'), (Access::MKNOD, 'm')];

    fn parse(letters: &str) -> Access {
        let bits = Access::LETTERS.iter().filter(|(_, letter)| letters.contains(*letter));
        Access(bits.fold(0, |all, (bit, _)| all | bit.0))
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is in this.
    pub fn contains(self, other: Access) -> bool {
        other.0 & !self.0 == 0
    }

    pub fn and(self, other: Access) -> Access {
        Access(self.0 & other.0)
    }

    pub fn or(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }

    pub fn without(self, other: Access) -> Access {
        Access(self.0 & !other.0)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = Access::LETTERS.iter().filter(|(bit, _)| self.contains(*bit));
        letters.map(|(_, letter)| letter).try_for_each(|letter| write!(f, "{letter}"))
    }
}

/// One rule; `None` is any.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub allow: bool,
    pub kind: Option<Kind>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// Never empty.
    pub access: Access,
    /// Who asked for it; [`Field::RUNTIME`] for a default.
    pub field: Field,
}

impl Rule {
    fn of(rule: &LinuxDeviceCgroup, field: Field) -> Rule {
        // Validation has refused other types, negative numbers but -1, and other letters.
        let kind = match rule.typ() {
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(Kind::Char),
            Some(LinuxDeviceType::B) => Some(Kind::Block),
            _ => None,
        };
        let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        Rule {
            allow: rule.allow(),
            kind,
            major: number(rule.major()),
            minor: number(rule.minor()),
            access: Access::parse(rule.access().as_deref().unwrap_or_default()),
            field,
        }
    }

    /// The rule speaks of every device and everything that can be done with it.
    fn is_about_all(&self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == Access::ALL
    }

    /// The kernel's device numbers have 12 and 20 bits (linux/kdev_t.h). Beyond them there is nothing to rule about; a
    /// minor of 4294967295 would even be taken for "any" by version 1.
    fn is_possible(&self) -> bool {
        self.major.is_none_or(|major| major < 1 << 12) && self.minor.is_none_or(|minor| minor < 1 << 20)
    }

    /// Whether the rule has a word on this device.
    pub fn matches(&self, kind: Kind, major: u32, minor: u32) -> bool {
        self.kind.is_none_or(|own| own == kind)
            && self.major.is_none_or(|own| own == major)
            && self.minor.is_none_or(|own| own == minor)
    }

    /// Whether this says something of all that `other` speaks of.
    fn covers(&self, other: &Rule) -> bool {
        (self.kind.is_none() || self.kind == other.kind)
            && (self.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || self.minor == other.minor)
            && self.access.contains(other.access)
    }

    /// Whether there is something that both speak of.
    fn meets(&self, other: &Rule) -> bool {
        fn meet<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
            a.is_none() || b.is_none() || a == b
        }
        meet(self.kind, other.kind)
            && meet(self.major, other.major)
            && meet(self.minor, other.minor)
            && !self.access.and(other.access).is_empty()
    }
}

/// As the files of version 1 have it: `c 1:3 rwm`, `b *:* m`; `a` is both types.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        let kind = self.kind.map_or('a', Kind::letter);
        write!(f, "{kind} {}:{} {}", number(self.major), number(self.minor), self.access)
    }
}

/// What every container may do: make any node, which lets it open nothing, and use the devices that each has in /dev
/// (runtime-spec, config-linux.md, "Default Devices"), pseudo terminals, and the tunnel device, which programs make and
/// open without an engine's knowing.
const DEFAULTS: [(Kind, Option<u32>, Option<u32>, Access); 11] = [
    (Kind::Char, None, None, Access::MKNOD),
    (Kind::Block, None, None, Access::MKNOD),
    // null, zero, full, random, urandom, tty, ptmx, net/tun, pts/*
    (Kind::Char, Some(1), Some(3), Access::ALL),
    (Kind::Char, Some(1), Some(5), Access::ALL),
    (Kind::Char, Some(1), Some(7), Access::ALL),
    (Kind::Char, Some(1), Some(8), Access::ALL),
    (Kind::Char, Some(1), Some(9), Access::ALL),
    (Kind::Char, Some(5), Some(0), Access::ALL),
    (Kind::Char, Some(5), Some(2), Access::ALL),
    (Kind::Char, Some(10), Some(200), Access::ALL),
    (Kind::Char, Some(136), None, Access::ALL),
];

/// The rules of a container, in their order, with those left out that say nothing any more.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// What holds where no rule of the list has a word.
    pub allow: bool,
    /// Who asked for that.
    pub field: Field,
    pub list: Vec<Rule>,
    /// Rules about numbers that no device can have; nothing is lost without them.
    impossible: Vec<Field>,
}

impl Rules {
    /// The config's rules, with the defaults behind them, so that no config can take /dev/null away. `at` is where the
    /// list stands.
    ///
    /// Without any rule all is denied but the defaults. The spec doesn't say so; but the list is one of what is
    /// *allowed*, engines that leave it out count on a container without devices, and a forgotten list must not be the
    /// host's disks.
    pub fn new(given: &[LinuxDeviceCgroup], at: &Field) -> Rules {
        let mut rules = Rules { allow: false, field: Field::RUNTIME, list: Vec::new(), impossible: Vec::new() };
        for (i, rule) in given.iter().enumerate() {
            rules.add(Rule::of(rule, at.index(i)));
        }
        for (kind, major, minor, access) in DEFAULTS {
            rules.add(Rule { allow: true, kind: Some(kind), major, minor, access, field: Field::RUNTIME });
        }
        rules
    }

    fn add(&mut self, rule: Rule) {
        if rule.is_about_all() {
            self.allow = rule.allow;
            self.field = rule.field;
            self.list.clear();
        } else if !rule.is_possible() {
            self.impossible.push(rule.field);
        } else {
            self.list.retain(|earlier| !rule.covers(earlier));
            let changes = rule.allow != self.allow
                || self.list.iter().any(|earlier| earlier.allow != rule.allow && earlier.meets(&rule));
            if changes {
                self.list.push(rule);
            }
        }
    }

    /// Whether a container may do all that the host may.
    pub fn allow_all(&self) -> bool {
        self.allow && self.list.is_empty()
    }

    /// The same as a default and the exceptions to it, in no order: all that version 1 and systemd know.
    ///
    /// # Errors
    /// There is no such form: a wildcard with a hole in it, for example.
    pub fn exceptions(&self) -> Result<Exceptions, Violation> {
        Exceptions::of(self)
    }

    /// The same as a program for version 2.
    pub fn program(&self) -> Program {
        Program::of(self)
    }
}

/// `deny all but c 1:3 rwm, b *:* m`, or rule by rule where one undoes a part of another.
impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |allow: bool| if allow { "allow" } else { "deny" };
        let mixed = self.list.iter().any(|rule| rule.allow == self.allow);
        write!(f, "{} all", word(self.allow))?;
        for (i, rule) in self.list.iter().enumerate() {
            match (mixed, i) {
                (true, _) => write!(f, ", {} {rule}", word(rule.allow))?,
                (false, 0) => write!(f, " but {rule}")?,
                (false, _) => write!(f, ", {rule}")?,
            }
        }
        Ok(())
    }
}

/// What the rules come to on a host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DevicePlan {
    /// On the host, before anyone enters.
    pub steps: Vec<Step>,
    pub warnings: Vec<Warning>,
}

/// Brings the rules to the container's cgroup: to the files of version 1 where the host has that controller, else as
/// a program to the cgroup of version 2. `at` is where the resources stand.
///
/// # Errors
/// A rule that version 1 can't hold, or one that no hierarchy of this host can.
pub fn plan_devices(
    given: &[LinuxDeviceCgroup],
    at: &Field,
    host: &Host,
    group: &Group,
    slots: &mut SlotCounter,
) -> Result<DevicePlan, Violation> {
    let at = at.key("devices");
    let rules = Rules::new(given, &at);
    let mut plan = DevicePlan::default();
    for field in &rules.impossible {
        let text = "no device has this number (majors end at 4095, minors at 1048575): the rule does nothing";
        plan.warnings.push(Warning::new(field.clone(), text));
    }
    let place = group.find("devices").or_else(|| group.unified());
    if let Some(lack) = lacks(host, place) {
        if given.iter().any(|rule| !rule.allow()) {
            plan.warnings.push(Warning::new(at, format!("not applied, every device stays as it is: {lack}")));
        }
        return Ok(plan);
    }
    match place {
        Some(place) if place.version == Version::V1 => plan.steps = write_files(&rules, place, slots)?,
        // A program that allows everything is none.
        Some(_) if rules.allow_all() => {}
        Some(place) => {
            let field = rules.field.clone();
            let program = rules.program();
            let attach = Op::AttachDevices(Box::new(DeviceProgram { dir: c_string(place, ""), rules, program }));
            plan.steps.push(Step::new(attach, field));
        }
        None if given.iter().all(LinuxDeviceCgroup::allow) => {}
        None => {
            let why = "this host has neither the devices controller of version 1 nor a cgroup of version 2";
            let hint = "mount cgroup2, or leave the devices open with one rule {\"allow\": true, \"access\": \"rwm\"}";
            return Err(Violation::new(at, why).hint(hint));
        }
    }
    Ok(plan)
}

/// Why the caller has no power over devices; `None` if it has. Both versions want it in the initial user namespace
/// (kernel/bpf/syscall.c, security/device_cgroup.c), so a container of an unprivileged user, which can't make a device
/// node either and gets at no device that the user couldn't open before, does without.
fn lacks(host: &Host, place: Option<&Place>) -> Option<&'static str> {
    const NET_ADMIN: u64 = 1 << 12;
    const SYS_ADMIN: u64 = 1 << 21;
    const BPF: u64 = 1 << 39;
    let has = |all: u64| host.effective & all == all;
    match place.map(|place| place.version) {
        _ if host.in_user_namespace => Some("device rules can't be set from inside a user namespace"),
        Some(Version::V1) if !has(SYS_ADMIN) => Some("the devices controller takes CAP_SYS_ADMIN"),
        Some(Version::V2) if !has(SYS_ADMIN) && !has(BPF | NET_ADMIN) => {
            Some("a device program takes CAP_SYS_ADMIN, or CAP_BPF and CAP_NET_ADMIN")
        }
        _ => None,
    }
}

/// Version 1: first the default, which empties the list as well, then the exceptions by one descriptor.
fn write_files(rules: &Rules, place: &Place, slots: &mut SlotCounter) -> Result<Vec<Step>, Violation> {
    let Exceptions { allow, list } = rules.exceptions()?;
    let file = |allow: bool| c_string(place, if allow { "devices.allow" } else { "devices.deny" });
    let value = CString::from(c"a");
    let mut steps = vec![Step::new(Op::Write { file: file(allow), value }, rules.field.clone())];
    if list.is_empty() {
        return Ok(steps);
    }
    let slot = slots.take();
    steps.push(Step::new(Op::OpenLimit { file: file(!allow), slot }, rules.field.clone()));
    let last = list.len() - 1;
    for (i, rule) in list.into_iter().enumerate() {
        let value = CString::new(rule.to_string()).unwrap_or_default();
        // A default that the cgroup above doesn't have can't be given, and nobody has asked for it.
        let optional = rule.allow && rule.field == Field::RUNTIME;
        let write = Op::RuleDevice { slot, allow: rule.allow, value, optional, last: i == last };
        steps.push(Step::new(write, rule.field));
    }
    Ok(steps)
}

fn c_string(place: &Place, name: &str) -> CString {
    let dir = place.dir();
    let path = if name.is_empty() { dir } else { dir.join(name) };
    CString::new(path.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
#[path = "devices/tests.rs"]
mod tests;
