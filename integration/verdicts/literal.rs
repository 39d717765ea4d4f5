//! A profile read literally: what `linux.seccomp` says about one system call. It reads the JSON itself, knows nothing of
//! corten's types, and takes only the numbers of system calls from libseccomp.
//!
//! Where the specification is silent, this is what the runtimes and libseccomp's manual agree on:
//!
//! - The native architecture always counts as listed; any other that isn't listed is killed.
//! - An entry whose action is the default's says nothing (libseccomp refuses such a rule, runtimes leave it out).
//! - Names that nobody knows say nothing.
//! - The arguments of an entry must all match; but if one argument occurs twice, each comparison is an entry of its own.
//! - An entry without arguments outranks those with; of several without, the first counts.
//! - Entries with arguments that match the same call and disagree: either may count. The specification doesn't say which.
//! - The 32-bit ABIs pass the low halves of arguments, and only these are compared.
//! - On i386, sockets and System V IPC have two ways in, and a rule is for both. Through socketcall(2) and ipc(2) the
//!   first argument is the operation, so a comparison of the first argument is lost there.

use std::collections::{BTreeSet, HashMap, HashSet};

use libseccomp::{ScmpArch, ScmpSyscall};
use serde_json::Value;

pub const KILL_THREAD: u32 = 0;
pub const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
/// What a system call that is newer than the profile gets.
pub const ENOSYS: u32 = ERRNO | 38;

pub const AUDIT_X86_64: u32 = 0xc000_003e;
pub const AUDIT_I386: u32 = 0x4000_0003;
pub const AUDIT_AARCH64: u32 = 0xc000_00b7;
pub const AUDIT_ARM: u32 = 0x4000_0028;
pub const AUDIT_RISCV64: u32 = 0xc000_00f3;
/// Numbers from here on are x32's.
pub const X32_BIT: u32 = 0x4000_0000;

/// An ABI: its name in the specification, what the kernel calls it, and whether it passes 32 bits an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Abi {
    pub name: &'static str,
    pub audit: u32,
    pub scmp: ScmpArch,
    narrow: bool,
}

const fn abi(name: &'static str, audit: u32, scmp: ScmpArch, narrow: bool) -> Abi {
    Abi { name, audit, scmp, narrow }
}

/// All that this reader knows.
pub const ABIS: [Abi; 6] = [
    abi("SCMP_ARCH_X86_64", AUDIT_X86_64, ScmpArch::X8664, false),
    abi("SCMP_ARCH_X32", AUDIT_X86_64, ScmpArch::X32, true),
    abi("SCMP_ARCH_X86", AUDIT_I386, ScmpArch::X86, true),
    abi("SCMP_ARCH_AARCH64", AUDIT_AARCH64, ScmpArch::Aarch64, false),
    abi("SCMP_ARCH_ARM", AUDIT_ARM, ScmpArch::Arm, true),
    abi("SCMP_ARCH_RISCV64", AUDIT_RISCV64, ScmpArch::Riscv64, false),
];

pub const SOCKETCALL: u32 = 102;
pub const IPC: u32 = 117;

/// i386: the operation's number of socketcall(2), its name, and the number of the system call that does the same
/// (linux/net.h, arch/x86/entry/syscalls/syscall_32.tbl).
const SOCKET: [(u64, &str, Option<u32>); 20] = [
    (1, "socket", Some(359)),
    (2, "bind", Some(361)),
    (3, "connect", Some(362)),
    (4, "listen", Some(363)),
    (5, "accept", None),
    (6, "getsockname", Some(367)),
    (7, "getpeername", Some(368)),
    (8, "socketpair", Some(360)),
    (9, "send", None),
    (10, "recv", None),
    (11, "sendto", Some(369)),
    (12, "recvfrom", Some(371)),
    (13, "shutdown", Some(373)),
    (14, "setsockopt", Some(366)),
    (15, "getsockopt", Some(365)),
    (16, "sendmsg", Some(370)),
    (17, "recvmsg", Some(372)),
    (18, "accept4", Some(364)),
    (19, "recvmmsg", Some(337)),
    (20, "sendmmsg", Some(345)),
];

/// i386: the same for ipc(2) (linux/ipc.h).
const SYSV: [(u64, &str, Option<u32>); 12] = [
    (1, "semop", None),
    (2, "semget", Some(393)),
    (3, "semctl", Some(394)),
    (4, "semtimedop", None),
    (11, "msgsnd", Some(400)),
    (12, "msgrcv", Some(401)),
    (13, "msgget", Some(399)),
    (14, "msgctl", Some(402)),
    (21, "shmat", Some(397)),
    (22, "shmdt", Some(398)),
    (23, "shmget", Some(395)),
    (24, "shmctl", Some(396)),
];

#[derive(Clone, Debug, PartialEq)]
struct Comparison {
    index: usize,
    operator: String,
    value: u64,
    two: u64,
}

impl Comparison {
    fn is_turned_round(&self) -> bool {
        matches!(self.operator.as_str(), "SCMP_CMP_NE" | "SCMP_CMP_LT" | "SCMP_CMP_LE")
    }

    fn is_always_so(&self, narrow: bool) -> bool {
        let mask = if narrow { self.value & 0xffff_ffff } else { self.value };
        self.operator == "SCMP_CMP_MASKED_EQ" && mask == 0
    }

    fn holds(&self, args: &[u64; 6], narrow: bool) -> bool {
        let width = |value: u64| if narrow { value & 0xffff_ffff } else { value };
        let (arg, value, two) = (width(args[self.index]), width(self.value), width(self.two));
        match self.operator.as_str() {
            "SCMP_CMP_NE" => arg != value,
            "SCMP_CMP_LT" => arg < value,
            "SCMP_CMP_LE" => arg <= value,
            "SCMP_CMP_EQ" => arg == value,
            "SCMP_CMP_GE" => arg >= value,
            "SCMP_CMP_GT" => arg > value,
            // "Matches when the masked argument value is equal to the masked datum value", seccomp_rule_add(3).
            "SCMP_CMP_MASKED_EQ" => arg & value == two & value,
            other => panic!("the profile has no operator {other}"),
        }
    }
}

/// What counts for one number of one ABI.
#[derive(Clone, Debug)]
struct Rule {
    action: u32,
    all: Vec<Comparison>,
}

#[derive(Debug)]
pub struct Profile {
    default: u32,
    abis: Vec<Abi>,
    rules: HashMap<(Abi, u32), Vec<Rule>>,
    /// The largest number that a name of the profile has.
    newest: HashMap<Abi, u32>,
    /// Where a rule is for a name that has no number there: a call of other architectures, or one that i386 knows as an
    /// operation of socketcall(2) or ipc(2) alone.
    numberless: HashSet<Abi>,
}

/// An action as the kernel sees it.
pub fn action(name: &str, errno: Option<u64>) -> u32 {
    let errno = errno.unwrap_or(1) as u32;
    match name {
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => KILL_THREAD,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_ERRNO" => ERRNO | errno,
        "SCMP_ACT_NOTIFY" => 0x7fc0_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | errno,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_ALLOW" => ALLOW,
        other => panic!("the profile has no action {other}"),
    }
}

/// An array that may be absent.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> &str {
    value.as_str().expect("a word")
}

/// The number that `name` has in `abi`, if it is a system call there.
pub fn number(abi: Abi, name: &str) -> Option<u32> {
    ScmpSyscall::from_name_by_arch(name, abi.scmp).ok().and_then(|call| u32::try_from(call.as_raw_syscall()).ok())
}

/// Whether libseccomp has heard of `name` at all.
fn known(name: &str) -> bool {
    ScmpSyscall::from_name(name).is_ok()
}

impl Profile {
    /// `seccomp` is the object of that name, well-formed.
    pub fn read(seccomp: &Value) -> Self {
        let default = action(word(&seccomp["defaultAction"]), seccomp["defaultErrnoRet"].as_u64());
        let listed: BTreeSet<&str> = list(&seccomp["architectures"]).iter().map(word).collect();
        let unread = listed.iter().find(|name| ABIS.iter().all(|abi| abi.name != **name));
        assert_eq!(unread, None, "this reader doesn't know the architecture");
        let native = ScmpArch::native();
        let abis: Vec<Abi> =
            ABIS.iter().filter(|abi| abi.scmp == native || listed.contains(abi.name)).copied().collect();
        let mut profile =
            Self { default, abis, rules: HashMap::new(), newest: HashMap::new(), numberless: HashSet::new() };
        for entry in list(&seccomp["syscalls"]) {
            profile.add(entry);
        }
        profile
    }

    fn add(&mut self, entry: &Value) {
        let action = action(word(&entry["action"]), entry["errnoRet"].as_u64());
        let mut all = Vec::new();
        for arg in list(&entry["args"]) {
            let index = arg["index"].as_u64().expect("an index") as usize;
            let (value, two) = (arg["value"].as_u64().expect("a value"), arg["valueTwo"].as_u64().unwrap_or(0));
            all.push(Comparison { index, operator: word(&arg["op"]).to_owned(), value, two });
        }
        let twice = all.iter().enumerate().any(|(at, one)| all[..at].iter().any(|other| other.index == one.index));
        let alternatives: Vec<Vec<Comparison>> =
            if twice { all.into_iter().map(|one| vec![one]).collect() } else { vec![all] };
        for name in list(&entry["names"]).iter().map(word).filter(|name| known(name)) {
            for abi in self.abis.clone() {
                if let Some(number) = number(abi, name).filter(|number| *number > 0) {
                    let newest = self.newest.entry(abi).or_default();
                    *newest = number.max(*newest);
                }
                if action != self.default {
                    alternatives.iter().for_each(|all| self.rule(abi, name, action, all));
                }
            }
        }
    }

    fn rule(&mut self, abi: Abi, name: &str, action: u32, all: &[Comparison]) {
        let rules = &mut self.rules;
        let mut add = |number, mut all: Vec<Comparison>| {
            // A mask without bits compares nothing: an entry with that alone is one without arguments.
            all.retain(|one| !one.is_always_so(abi.narrow));
            rules.entry((abi, number)).or_default().push(Rule { action, all });
        };
        let shared = SOCKET.iter().map(|row| (SOCKETCALL, row)).chain(SYSV.iter().map(|row| (IPC, row)));
        let shared = shared.into_iter().find(|(_, row)| abi.scmp == ScmpArch::X86 && row.1 == name);
        let Some((through, (operation, _, direct))) = shared else {
            match number(abi, name) {
                Some(number) => add(number, all.to_vec()),
                None => drop(self.numberless.insert(abi)),
            }
            return;
        };
        match direct {
            Some(direct) => add(*direct, all.to_vec()),
            None => drop(self.numberless.insert(abi)),
        }
        let mut behind: Vec<_> = all.iter().filter(|one| one.index != 0).cloned().collect();
        behind.push(Comparison { index: 0, operator: "SCMP_CMP_EQ".to_owned(), value: *operation, two: 0 });
        add(through, behind);
    }

    /// Which ABI the kernel's pair of numbers means, if the profile has it.
    ///
    /// Everything from bit 30 on is x32's but -1, the number by which a tracer says that a call is skipped.
    fn abi(&self, audit: u32, nr: u32) -> Option<Abi> {
        let x32 = audit == AUDIT_X86_64 && nr >= X32_BIT && nr != u32::MAX;
        self.abis.iter().find(|abi| abi.audit == audit && (abi.scmp == ScmpArch::X32) == x32).copied()
    }

    /// Whether the call is newer than all that the profile names, so that the program should be told that it isn't there:
    /// the caller then takes an older one. Only where the default is a refusal; a log or a tracer does no harm.
    pub fn is_newer(&self, audit: u32, nr: u32) -> bool {
        if matches!(self.default & 0xffff_0000, 0x7ff0_0000 | 0x7ffc_0000 | ALLOW) {
            return false;
        }
        let x32 = audit == AUDIT_X86_64 && nr & X32_BIT != 0;
        let mut newest = self.newest.iter().filter(|(abi, _)| abi.audit == audit);
        newest.any(|(abi, newest)| (abi.scmp == ScmpArch::X32) == x32 && nr > *newest)
    }

    /// What may happen to the call: one answer, or several where entries disagree. Without the rule of [`Self::is_newer`].
    pub fn verdicts(&self, audit: u32, nr: u32, args: &[u64; 6]) -> BTreeSet<u32> {
        let Some(abi) = self.abi(audit, nr) else {
            return BTreeSet::from([KILL_THREAD]);
        };
        let rules = self.rules.get(&(abi, nr)).map_or(&[][..], Vec::as_slice);
        if let Some(first) = rules.iter().find(|rule| rule.all.is_empty()) {
            return BTreeSet::from([first.action]);
        }
        let matching = rules.iter().filter(|rule| rule.all.iter().all(|one| one.holds(args, abi.narrow)));
        let found: BTreeSet<u32> = matching.map(|rule| rule.action).collect();
        if found.is_empty() { BTreeSet::from([self.default]) } else { found }
    }

    /// Whether libseccomp is known to compile rules like these wrong, with its tree and without, so that its programs and
    /// the profile may differ. Measured with 2.5.4, see `libseccomp_misjudges_ranges`: several rules for one call compare
    /// the same argument, one of them by "less" or "not equal", which it turns round, and either the high halves of the
    /// values differ or one of the rules compares a second argument. "At most 8, or at least 2^32 + 2" lets 9 pass. Calls
    /// share parts of the program, so other calls may get a wrong answer too.
    pub fn is_misjudged(&self) -> bool {
        self.rules.iter().any(|((abi, _), rules)| clash(rules, abi.narrow))
    }

    /// Whether libseccomp may forget to load the number where it doesn't build its tree, see
    /// `libseccomp_forgets_the_number_without_its_tree`: a rule is for a name that has no number there (socketcall on x86_64,
    /// accept on i386), and it comes first in the program.
    pub fn has_numberless(&self) -> bool {
        !self.numberless.is_empty()
    }

    /// The arguments that rules for this number compare, each with the values at which an answer could change.
    pub fn edges(&self, audit: u32, nr: u32) -> Vec<(usize, Vec<u64>)> {
        let Some(abi) = self.abi(audit, nr) else { return Vec::new() };
        let mut edges: Vec<(usize, BTreeSet<u64>)> = Vec::new();
        for one in self.rules.get(&(abi, nr)).into_iter().flatten().flat_map(|rule| &rule.all) {
            let at = edges.iter().position(|(index, _)| *index == one.index).unwrap_or_else(|| {
                edges.push((one.index, BTreeSet::new()));
                edges.len() - 1
            });
            edges[at].1.extend(around(one));
        }
        edges.into_iter().map(|(index, values)| (index, values.into_iter().collect())).collect()
    }

    /// All numbers that the profile says something about, with their architecture.
    pub fn numbers(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.rules.keys().map(|(abi, number)| (abi.audit, *number))
    }
}

/// See [`Profile::is_misjudged`].
fn clash(rules: &[Rule], narrow: bool) -> bool {
    let two = |one: &Rule, other: &Rule| {
        let chained = one.all.len() > 1 || other.all.len() > 1;
        let same = |a: &Comparison, b: &Comparison| {
            let halves = !narrow && a.value >> 32 != b.value >> 32;
            a.index == b.index && (chained || halves) && (a.is_turned_round() || b.is_turned_round())
        };
        one.all.iter().any(|a| other.all.iter().any(|b| same(a, b)))
    };
    rules.iter().enumerate().any(|(at, one)| rules[..at].iter().any(|other| two(one, other)))
}

/// The values around those of a comparison: below, at and above, with other high halves, with bits in and out of the mask.
fn around(one: &Comparison) -> Vec<u64> {
    let high = 1u64 << 32;
    let mut values = vec![0, u64::MAX, 0xffff_ffff];
    let (value, two) = (one.value, one.two);
    values.extend([value.wrapping_sub(1), value, value.wrapping_add(1)]);
    values.extend([value | high, value ^ high, value & 0xffff_ffff, value ^ 0xffff_ffff_0000_0000]);
    if one.operator == "SCMP_CMP_MASKED_EQ" {
        let lowest = value & value.wrapping_neg();
        let highest = if value == 0 { 0 } else { 1 << (63 - value.leading_zeros()) };
        values.extend([
            two,
            two & value,
            two | !value,
            !value,
            two ^ lowest,
            two ^ highest,
            lowest,
            highest,
            two | high,
        ]);
    }
    values
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn first(profile: &Profile, audit: u32, nr: u32, args: &[u64]) -> u32 {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        let verdicts = profile.verdicts(audit, nr, &all);
        assert_eq!(verdicts.len(), 1, "{verdicts:?}");
        *verdicts.first().unwrap()
    }

    fn profile(arches: &[&str], default: &str, syscalls: Value) -> Profile {
        Profile::read(&json!({"defaultAction": default, "architectures": arches, "syscalls": syscalls}))
    }

    #[test]
    fn every_operator_reads_as_it_is_written() {
        let table = [
            ("NE", 5, [true, false, true]),
            ("LT", 5, [true, false, false]),
            ("LE", 5, [true, true, false]),
            ("EQ", 5, [false, true, false]),
            ("GE", 5, [false, true, true]),
            ("GT", 5, [false, false, true]),
            // 4 = 0b100, 5 = 0b101, 6 = 0b110: the lowest bit is set in the middle one only.
            ("MASKED_EQ", 1, [false, true, false]),
        ];
        for (operator, value, holds) in table {
            let one = Comparison { index: 0, operator: format!("SCMP_CMP_{operator}"), value, two: 1 };
            let found = [4, 5, 6].map(|arg| one.holds(&[arg, 0, 0, 0, 0, 0], false));
            assert_eq!(found, holds, "{operator}");
        }
    }

    #[test]
    fn arguments_are_a_conjunction_unless_one_occurs_twice() {
        let eq = |index, value| json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"});
        let both = json!([{"names": ["mkdir"], "action": "SCMP_ACT_ALLOW", "args": [eq(0, 1), eq(1, 2)]}]);
        let both = profile(&[], "SCMP_ACT_ERRNO", both);
        assert_eq!(first(&both, AUDIT_X86_64, 83, &[1, 2]), ALLOW);
        assert_eq!(first(&both, AUDIT_X86_64, 83, &[1, 3]), ERRNO | 1);
        let either = json!([{"names": ["mkdir"], "action": "SCMP_ACT_ALLOW", "args": [eq(0, 1), eq(0, 2), eq(1, 7)]}]);
        let either = profile(&[], "SCMP_ACT_ERRNO", either);
        for (args, verdict) in [([1, 0], ALLOW), ([2, 0], ALLOW), ([9, 7], ALLOW), ([9, 0], ERRNO | 1)] {
            assert_eq!(first(&either, AUDIT_X86_64, 83, &args), verdict, "{args:?}");
        }
    }

    #[test]
    fn sockets_of_i386_have_two_ways_in() {
        let not_40 = json!([{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]);
        let rules = json!([{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": not_40}]);
        let sockets = profile(&["SCMP_ARCH_X86"], "SCMP_ACT_ERRNO", rules);
        assert_eq!(first(&sockets, AUDIT_I386, 359, &[40]), ERRNO | 1);
        assert_eq!(first(&sockets, AUDIT_I386, 359, &[2]), ALLOW);
        assert_eq!(first(&sockets, AUDIT_I386, SOCKETCALL, &[1]), ALLOW);
        assert_eq!(first(&sockets, AUDIT_I386, SOCKETCALL, &[2]), ERRNO | 1);
        assert_eq!(first(&sockets, AUDIT_X86_64, 41, &[40]), ERRNO | 1);
    }

    #[test]
    fn only_low_halves_count_in_32_bit_abis() {
        let rules = json!([{"names": ["personality"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}]);
        let all = profile(&["SCMP_ARCH_X86", "SCMP_ARCH_X32"], "SCMP_ACT_ERRNO", rules);
        let arg = [8 | 1 << 32];
        assert_eq!(first(&all, AUDIT_X86_64, 135, &arg), ERRNO | 1);
        assert_eq!(first(&all, AUDIT_X86_64, X32_BIT | 135, &arg), ALLOW);
        assert_eq!(first(&all, AUDIT_I386, 136, &arg), ALLOW);
    }

    #[test]
    fn what_is_not_listed_is_killed_and_what_is_newer_is_not_there() {
        let rules = json!([{"names": ["mkdir", "no_such_call"], "action": "SCMP_ACT_ALLOW"}]);
        let native = profile(&[], "SCMP_ACT_ERRNO", rules.clone());
        assert_eq!(first(&native, AUDIT_I386, 39, &[]), KILL_THREAD);
        assert_eq!(first(&native, AUDIT_X86_64, X32_BIT | 83, &[]), KILL_THREAD);
        assert!(native.is_newer(AUDIT_X86_64, 84) && !native.is_newer(AUDIT_X86_64, 83));
        assert!(!native.is_newer(AUDIT_I386, 500) && !native.is_newer(AUDIT_X86_64, X32_BIT | 500));
        for default in ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"] {
            assert!(!profile(&[], default, rules.clone()).is_newer(AUDIT_X86_64, 84), "{default}");
        }
        let three = profile(&["SCMP_ARCH_X32"], "SCMP_ACT_KILL_PROCESS", rules);
        assert!(three.is_newer(AUDIT_X86_64, X32_BIT | 84) && !three.is_newer(AUDIT_X86_64, X32_BIT | 83));
    }

    #[test]
    fn entries_that_disagree_leave_a_choice() {
        let eq = |index, value| json!([{"index": index, "value": value, "op": "SCMP_CMP_EQ"}]);
        let rules = json!([
            {"names": ["mkdir"], "action": "SCMP_ACT_ALLOW", "args": eq(0, 1)},
            {"names": ["mkdir"], "action": "SCMP_ACT_TRAP", "args": eq(1, 1)},
            {"names": ["rmdir"], "action": "SCMP_ACT_TRAP", "args": eq(0, 1)},
            {"names": ["rmdir"], "action": "SCMP_ACT_LOG"},
        ]);
        let torn = profile(&[], "SCMP_ACT_ERRNO", rules);
        assert_eq!(torn.verdicts(AUDIT_X86_64, 83, &[1, 1, 0, 0, 0, 0]).len(), 2);
        assert_eq!(first(&torn, AUDIT_X86_64, 83, &[1, 0]), ALLOW);
        assert_eq!(first(&torn, AUDIT_X86_64, 84, &[1]), 0x7ffc_0000);
    }
}
