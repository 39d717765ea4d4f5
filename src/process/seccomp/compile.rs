//! From a [`Filter`] to a [`Program`], by libseccomp. Runs in the host process before clone, so neither the container's
//! limits nor its filter can be in the way.

use std::fs::File;
use std::io::{Read, Seek};
use std::str::FromStr;

use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall, ScmpVersion};
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::plan::ARCHITECTURES;
use super::program::Program;
use super::{Action, Architecture, Comparison, Condition, Filter, Refused, Rule, enosys, ranges};

/// Grows with every change of what is made of a filter, so that no program of an older corten is taken for a newer one's.
const VERSION: u32 = 2;

/// Everything that the program depends on: the key of the cache. Names come with their lengths, so that no two filters have
/// one key, and as they are: to write hundreds of them as text takes a tenth of a millisecond.
pub fn key(filter: &Filter) -> Vec<u8> {
    let Filter { default, architectures, rules } = filter;
    let library = ScmpVersion::current().map(|v| (v.major, v.minor, v.micro)).unwrap_or_default();
    let mut key = format!("{VERSION} {library:?} {:?} {default:?} {architectures:?}", ScmpArch::native()).into_bytes();
    for Rule { names, action, conditions } in rules {
        key.extend(format!("\n{action:?} {conditions:?} {}:", names.len()).into_bytes());
        for name in names {
            key.extend((name.len() as u32).to_ne_bytes());
            key.extend(name.as_bytes());
        }
    }
    key
}

/// Compiles.
pub fn compile(filter: &Filter) -> Result<Program, Refused> {
    let mut context = ScmpFilterContext::new(action(filter.default)).map_err(refused("the default action"))?;
    let architectures = architectures(filter);
    for (architecture, arch) in &architectures {
        context.add_arch(*arch).map_err(refused(architecture.name))?;
    }
    // A binary search over the numbers, in place of a test for each: a quarter of the time to load, and faster at every
    // system call. Nor may it be done without: the linear program of libseccomp 2.5.4 forgets to load the number where the
    // first rule is for a name that the architecture lacks. Libraries before 2.5 don't have it.
    context.set_ctl_optimize(2).map_err(refused("the search tree"))?;
    for (index, rule) in filter.rules.iter().enumerate() {
        add(&mut context, filter.default, rule)
            .map_err(|(name, error)| refused(format!("syscalls[{index}] ({name})"))(error))?;
    }
    let filter_program = export(&context)?;
    let too_long = |length: usize| Refused {
        why: format!("the program has {length} instructions, and the kernel takes {}", super::program::LONGEST),
        errno: Errno::E2BIG,
    };
    let mut instructions = match enosys::is_needed(filter.default) {
        true => enosys::prologue(&enosys::largest(filter, &architectures)),
        false => Vec::new(),
    };
    instructions.extend(ranges::shorten(filter_program.instructions()));
    let length = instructions.len();
    Program::new(instructions).ok_or_else(|| too_long(length))
}

/// The machine's own architecture first, then those of the filter, none twice.
fn architectures(filter: &Filter) -> Vec<(Architecture, ScmpArch)> {
    let known = |architecture: &Architecture| Some((*architecture, ScmpArch::from_str(architecture.name).ok()?));
    let native = ARCHITECTURES.iter().map(|(_, known)| known);
    let native = native.filter_map(known).find(|(_, arch)| *arch == ScmpArch::native());
    let mut all: Vec<(Architecture, ScmpArch)> = native.into_iter().collect();
    for (architecture, arch) in filter.architectures.iter().filter_map(known) {
        if !all.iter().any(|(_, other)| *other == arch) {
            all.push((architecture, arch));
        }
    }
    all
}

/// Adds a rule for each of the names; an error comes with the name that it is about.
fn add<'r>(context: &mut ScmpFilterContext, default: Action, rule: &'r Rule) -> Result<(), (&'r str, SeccompError)> {
    // The library refuses a rule that changes nothing.
    if rule.action == default {
        return Ok(());
    }
    let conditions: Vec<ScmpArgCompare> = rule.conditions.iter().map(condition).collect();
    let twice =
        |condition: &Condition| rule.conditions.iter().filter(|other| other.argument == condition.argument).count() > 1;
    // Conditions hold together, but for the library no argument can have two of them. What profiles mean who write that, and
    // what runc makes of it, is that any of the conditions is enough.
    let any_is_enough = rule.conditions.iter().any(twice);
    for name in &rule.names {
        // A profile is written for many machines and versions: what this library doesn't know can't be called by name.
        let Ok(syscall) = ScmpSyscall::from_name(name) else { continue };
        let mut add = |conditions: &[ScmpArgCompare]| {
            let added = match conditions {
                [] => context.add_rule(action(rule.action), syscall),
                conditions => context.add_rule_conditional(action(rule.action), syscall, conditions),
            };
            added.map(|_| ()).map_err(|error| (name.as_str(), error))
        };
        match any_is_enough {
            true => conditions.iter().try_for_each(|condition| add(&[*condition]))?,
            false => add(&conditions)?,
        }
    }
    Ok(())
}

fn condition(condition: &Condition) -> ScmpArgCompare {
    let comparison = match condition.comparison {
        Comparison::NotEqual => ScmpCompareOp::NotEqual,
        Comparison::Less => ScmpCompareOp::Less,
        Comparison::LessOrEqual => ScmpCompareOp::LessOrEqual,
        Comparison::Equal => ScmpCompareOp::Equal,
        Comparison::GreaterOrEqual => ScmpCompareOp::GreaterEqual,
        Comparison::Greater => ScmpCompareOp::Greater,
        Comparison::MaskedEqual(mask) => ScmpCompareOp::MaskedEqual(mask),
    };
    ScmpArgCompare::new(condition.argument, comparison, condition.value)
}

fn action(action: Action) -> ScmpAction {
    match action {
        Action::KillThread => ScmpAction::KillThread,
        Action::KillProcess => ScmpAction::KillProcess,
        Action::Trap => ScmpAction::Trap,
        Action::Errno(number) => ScmpAction::Errno(number.into()),
        Action::Notify => ScmpAction::Notify,
        Action::Trace(message) => ScmpAction::Trace(message),
        Action::Log => ScmpAction::Log,
        Action::Allow => ScmpAction::Allow,
    }
}

/// What the library made of the rules. It writes to a descriptor only.
fn export(context: &ScmpFilterContext) -> Result<Program, Refused> {
    let os = |errno: Errno| Refused { why: "the program can't be exported".to_owned(), errno };
    let io = |error: std::io::Error| os(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)));
    let mut file = File::from(memfd_create(c"seccomp", MFdFlags::MFD_CLOEXEC).map_err(os)?);
    context.export_bpf(&file).map_err(refused("the program"))?;
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(io)?;
    Program::from_bytes(&bytes).ok_or_else(|| {
        let why =
            format!("libseccomp wrote a program of {} instructions that the kernel doesn't take", bytes.len() / 8);
        Refused { why, errno: Errno::E2BIG }
    })
}

fn refused(what: impl Into<String>) -> impl FnOnce(SeccompError) -> Refused {
    let what = what.into();
    move |error| {
        let errno = error.sysrawrc().map_or(Errno::EINVAL, |number| Errno::from_raw(number.abs()));
        match errno {
            Errno::EEXIST => {
                let why = format!("{what}: an earlier entry has another action for the same call and arguments");
                Refused { why, errno }
            }
            errno => Refused { why: format!("{what}: libseccomp: {error}"), errno },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(names: &[&str], action: Action, conditions: Vec<Condition>) -> Rule {
        Rule { names: names.iter().map(|name| name.to_string()).collect(), action, conditions }
    }

    fn filter(rules: Vec<Rule>) -> Filter {
        Filter { default: Action::Errno(1), architectures: Vec::new(), rules }
    }

    #[test]
    fn names_that_nobody_knows_are_left_out() {
        let with = filter(vec![rule(&["read", "no_such_call"], Action::Allow, vec![])]);
        let without = filter(vec![rule(&["read"], Action::Allow, vec![])]);
        assert_eq!(compile(&with).unwrap(), compile(&without).unwrap());
    }

    #[test]
    fn a_rule_that_says_what_holds_anyway_is_left_out() {
        let with = filter(vec![rule(&["open"], Action::Errno(1), vec![]), rule(&["read"], Action::Allow, vec![])]);
        compile(&with).unwrap();
    }

    #[test]
    fn two_actions_for_the_same_call_and_arguments_are_refused_with_its_name() {
        let condition = Condition { argument: 0, comparison: Comparison::Equal, value: 3 };
        let twice = filter(vec![
            rule(&["write"], Action::Allow, vec![condition]),
            rule(&["read", "write"], Action::Log, vec![condition]),
        ]);
        let refused = compile(&twice).unwrap_err();
        assert_eq!(refused.errno, Errno::EEXIST);
        assert!(refused.why.starts_with("syscalls[1] (write): an earlier entry"), "{}", refused.why);
    }

    #[test]
    fn a_filter_with_more_than_the_kernel_takes_is_refused() {
        let conditions = |value| vec![Condition { argument: 1, comparison: Comparison::Greater, value }];
        let rules = (0..1500u64).map(|n| rule(&["ioctl"], Action::Allow, conditions(n << 33 | n))).collect();
        assert_eq!(compile(&filter(rules)).unwrap_err().errno, Errno::E2BIG);
    }

    #[test]
    fn the_key_has_everything_that_the_program_depends_on() {
        let one = filter(vec![rule(&["read"], Action::Allow, vec![])]);
        let other = Filter { default: Action::Errno(2), ..one.clone() };
        assert_ne!(key(&one), key(&other));
        assert_ne!(key(&one), key(&filter(vec![rule(&["write"], Action::Allow, vec![])])));
        assert_eq!(key(&one), key(&one.clone()));
        // Where one name ends and the next begins is a part of it.
        let names = |names: &[&str]| key(&filter(vec![rule(names, Action::Allow, vec![])]));
        let all = [names(&["ab", "c"]), names(&["a", "bc"]), names(&["abc"]), names(&["ab", "c", ""]), names(&[])];
        assert!((1..all.len()).all(|at| !all[..at].contains(&all[at])));
    }

    #[test]
    fn every_architecture_of_the_specification_is_known_to_the_library() {
        for (_, architecture) in ARCHITECTURES {
            ScmpArch::from_str(architecture.name).unwrap();
        }
    }
}
