//! What the sources keep to, whoever writes them: the rules of ARCHITECTURE.md that a compiler doesn't know. Read from
//! the text of `src/`, so the tests need neither root nor a kernel of any kind.
//!
//! A table below is the rule. Whoever needs an entry more writes down why, where the next reader finds it.

mod completeness_table;
mod cve_table;
mod engines_page;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use regex_lite::Regex;
use sources::{Modules, Source, find_word};

fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(sources::read_all)
}

fn none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

// ---- Planning is pure -------------------------------------------------------------------------------------------

/// Numbers and texts of nix that a pure function may use.
const PURE_OF_NIX: [&str; 1] = ["nix::errno"];

/// A plan is made of what it is given: it neither looks at the machine nor changes it.
#[test]
fn planning_is_pure() {
    let modules = Modules::new(sources());
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| is_planning(source)) {
        for word in ["std::fs", "std::env", "std::process", "std::net", "std::io", "unsafe"] {
            if let Some(at) = find_word(&source.code, word) {
                found.push(format!("{} names {word}", source.place(at)));
            }
        }
        for import in source.imports() {
            let path = import.path.join("::");
            if path.starts_with("nix") && !PURE_OF_NIX.iter().any(|pure| path.starts_with(pure)) {
                found.push(format!("src/{} names {path}", source.path));
            }
        }
        for (file, _) in modules.mentions(source, &source.code).iter().filter(|(file, _)| domain(file) == "sys") {
            found.push(format!("src/{} names crate::{}", source.path, file.module));
        }
        if source.code.contains("crate::sys") {
            found.push(format!("src/{} names crate::sys", source.path));
        }
    }
    none(&found, "a plan may not touch the machine");
}

fn is_planning(source: &Source) -> bool {
    // The second row is what the plans are made with.
    source.path.ends_with("plan.rs") && !source.path.starts_with("commands/")
        || source.path.contains("/plan/")
        || source.path.starts_with("plan/")
        || ["annotations.rs", "devices.rs", "properties.rs", "unit.rs"]
            .iter()
            .any(|name| source.path == format!("cgroups/systemd/{name}"))
        || [
            "namespaces/idmap.rs",
            "process/capabilities.rs",
            "process/environment.rs",
            "process/labels.rs",
            "rootfs/options.rs",
            "field.rs",
        ]
        .contains(&source.path.as_str())
}

// ---- Code that runs after clone ---------------------------------------------------------------------------------

/// Where the code that runs after clone begins. What it leads to is found by following the names.
const AFTER_CLONE: [&str; 1] = ["process/init.rs"];

/// Functions in the files of the child that run in the host process, before clone or without one.
const ON_THE_HOST: [(&str, &[&str], &str); 8] = [
    ("fault.rs", &["detail_text", "name"], "words of a fault, for the host's report"),
    ("process/console.rs", &["connect"], "a step of the host's list"),
    ("process/init.rs", &["is_exec"], "asked by the host"),
    ("rootfs/apply/mod.rs", &["apply_host", "locate", "make_id_namespace"], "steps of the host's list"),
    ("slots.rs", &["with_room"], "the table is allocated before clone"),
    ("sys/exec.rs", &["new"], "argv and envp are built before clone"),
    ("sys/kernel.rs", &["pretend_lacks"], "set from the command line"),
    ("sys/socket.rs", &["own", "receive_last"], "what the host receives"),
];

/// Files whose types the child reads and whose functions are the host's, but for the ones named here.
const VOCABULARY: [(&str, &[&str]); 7] = [
    ("cgroups/mod.rs", &[]),
    ("namespaces/idmap.rs", &[]),
    ("namespaces/mod.rs", &["flag"]),
    ("plan.rs", &["steps", "ordinal"]),
    ("process/mod.rs", &[]),
    ("rootfs/mod.rs", &[]),
    ("rootfs/options.rs", &["is_empty"]),
];

/// What allocates, may panic, formats, or asks the environment. The heap of a cloned child may be locked for ever, and
/// a panic would unwind through a copy of the host's state.
const NOT_AFTER_CLONE: [&str; 37] = [
    ".unwrap(",
    ".expect(",
    ".unwrap_err(",
    "panic!",
    "unreachable!",
    "todo!",
    "unimplemented!",
    "assert!",
    "assert_eq!",
    "assert_ne!",
    "debug_assert!",
    "format!",
    "write!",
    "println!",
    "eprintln!",
    "print!",
    "dbg!",
    "vec!",
    "String",
    "Vec::",
    "Box::",
    "Rc",
    "Arc",
    "CString::",
    ".to_string(",
    ".to_owned(",
    ".to_vec(",
    ".collect(",
    ".collect::",
    ".push(",
    ".clone()",
    "std::env",
    "std::fs",
    "std::thread",
    "OwnedFd",
    "Mutex",
    "HashMap",
];

/// The files of the child, with the code in them that runs there.
fn child_code() -> BTreeMap<&'static str, String> {
    let modules = Modules::new(sources());
    let mut code: BTreeMap<&str, String> = BTreeMap::new();
    let mut waiting: Vec<&Source> = sources().iter().filter(|s| AFTER_CLONE.contains(&s.path.as_str())).collect();
    while let Some(source) = waiting.pop() {
        if code.contains_key(source.path.as_str()) || VOCABULARY.iter().any(|(path, _)| *path == source.path) {
            continue;
        }
        let host = ON_THE_HOST.iter().find(|(path, ..)| *path == source.path).map_or(&[][..], |(_, host, _)| host);
        let own = source.without(host);
        waiting.extend(modules.mentions(source, &own).into_iter().map(|(file, _)| file));
        code.insert(&source.path, own);
    }
    code
}

fn source(path: &str) -> &'static Source {
    sources().iter().find(|source| source.path == path).unwrap_or_else(|| panic!("src/{path} is gone"))
}

#[test]
fn code_after_clone_neither_allocates_nor_panics() {
    let mut found = Vec::new();
    for (path, code) in child_code() {
        found.extend(forbidden(source(path), &code));
    }
    for (path, functions) in VOCABULARY {
        let source = source(path);
        for function in source.functions().iter().filter(|f| functions.contains(&f.name.as_str())) {
            found.extend(forbidden(source, &source.code[function.body.clone()]));
        }
    }
    none(&found, "no heap, no panic, no formatting after clone");
}

fn forbidden(source: &Source, code: &str) -> Vec<String> {
    // An empty vector has no heap, and what is imported isn't yet used.
    let code = Regex::new(r"\bVec::new\(\)|\buse [^;]+;").unwrap().replace_all(code, |found: &regex_lite::Captures| {
        found[0].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect::<String>()
    });
    let own_push = source.functions().iter().any(|function| function.name == "push");
    let words = NOT_AFTER_CLONE.iter().filter(|word| !(own_push && **word == ".push("));
    let named = words.filter_map(|word| find_word(&code, word).map(|at| (*word, at)));
    // A number that stands there can be counted; a variable may be too large.
    let index = Regex::new(r"[\w\])]\[[^\]]*[a-zA-Z_][^\]]*\]").unwrap();
    let indexed = index.find_iter(&code).map(|found| (found.as_str(), found.start()));
    let show = |(what, at): (&str, usize)| {
        let line = code[..at].matches('\n').count() + 1;
        format!("src/{}:{line} has {what}", source.path)
    };
    named.chain(indexed).map(show).collect()
}

#[test]
fn code_after_clone_knows_no_json() {
    let mut found = Vec::new();
    for (path, code) in child_code() {
        for word in ["oci_spec", "serde_json", "serde", "crate::config"] {
            if let Some(at) = find_word(&code, word) {
                found.push(format!("{} names {word}", source(path).place(at)));
            }
        }
    }
    none(&found, "JSON ends at the plan");
}

/// The list is followed from its beginning, so a new file is found by itself. If the thread were lost, the tests above
/// would pass without looking at anything: these files stand for its ends.
#[test]
fn the_code_that_runs_after_clone_is_found() {
    let code = child_code();
    for path in [
        "cgroups/apply.rs",
        "fault.rs",
        "namespaces/apply.rs",
        "process/apply.rs",
        "process/console.rs",
        "process/cwd.rs",
        "process/executable.rs",
        "process/page.rs",
        "process/start_hook.rs",
        "process/sync.rs",
        "rootfs/apply/copyup.rs",
        "rootfs/apply/mask.rs",
        "rootfs/apply/target.rs",
        "slots.rs",
        "sys/mount.rs",
        "sys/property.rs",
        "sys/seccomp.rs",
    ] {
        assert!(code.contains_key(path), "src/{path} is not reached from {AFTER_CLONE:?}");
    }
    for path in code.keys() {
        assert!(!path.starts_with("config/") && !path.starts_with("commands/"), "src/{path} runs after clone?");
    }
}

/// A vocabulary file is the host's but for the functions in its row: the child calls no other by path.
#[test]
fn the_child_calls_nothing_of_the_hosts_words() {
    let modules = Modules::new(sources());
    let mut found = Vec::new();
    for (path, code) in child_code() {
        for (file, rest) in modules.mentions(source(path), &code) {
            let Some((_, allowed)) = VOCABULARY.iter().find(|(vocabulary, _)| *vocabulary == file.path) else {
                continue;
            };
            let Some(last) = rest.last().filter(|last| last.starts_with(|c: char| c.is_ascii_lowercase())) else {
                continue;
            };
            if !allowed.contains(&last.as_str()) {
                found.push(format!("src/{path} calls {}::{}", file.module, rest.join("::")));
            }
        }
    }
    none(&found, "these functions belong to the host process");
}

/// Every exception above is still one: a function that is gone takes its entry along.
#[test]
fn no_exception_outlives_its_function() {
    let mut gone = Vec::new();
    let rows = ON_THE_HOST.iter().map(|(path, functions, _)| (*path, *functions)).chain(VOCABULARY);
    for (path, functions) in rows {
        let known: Vec<String> = source(path).functions().into_iter().map(|function| function.name).collect();
        let missing = functions.iter().filter(|name| !known.iter().any(|known| known == *name));
        gone.extend(missing.map(|name| format!("src/{path} has no fn {name}")));
    }
    none(&gone, "an exception without a function");
}

// ---- Who may use whom -------------------------------------------------------------------------------------------

fn domain(source: &Source) -> &str {
    source.module.split("::").next().unwrap_or_default()
}

/// The four domains, and every way from one into another. Planning a process asks what namespaces there are; the
/// interpreter, on both sides, hands a step to the domain that knows it; a report asks a domain for its hints.
const DOMAINS: [&str; 4] = ["namespaces", "cgroups", "rootfs", "process"];
const BETWEEN_DOMAINS: [(&str, &str, &str); 24] = [
    ("process/init.rs", "cgroups/apply.rs", "apply"),
    ("process/init.rs", "namespaces/apply.rs", "apply"),
    // What it finds is a warning, and those are the interpreter's to send.
    ("process/init.rs", "namespaces/apply.rs", "has_map"),
    ("process/init.rs", "namespaces/mod.rs", "Op"),
    ("process/init.rs", "rootfs/apply/mod.rs", "apply"),
    // Devices that have been moved go back unless the launch goes well.
    ("process/launch.rs", "namespaces/mod.rs", "Op"),
    ("process/launch.rs", "namespaces/netdev.rs", "Devices"),
    ("process/locate.rs", "rootfs/apply/mod.rs", "locate"),
    ("process/locate.rs", "rootfs/mod.rs", "Op"),
    ("process/plan.rs", "namespaces/mod.rs", "Kind"),
    ("process/plan.rs", "namespaces/plan.rs", "Want"),
    ("process/plan.rs", "namespaces/plan.rs", "Wants"),
    // The terminal is the process's, the mount on /dev/console the root file system's.
    ("process/plan.rs", "rootfs/mod.rs", "Op"),
    ("process/report.rs", "cgroups/mod.rs", "Op"),
    ("process/report.rs", "cgroups/reason.rs", "hint"),
    ("process/report.rs", "cgroups/reason.rs", "reason"),
    ("process/report.rs", "rootfs/mod.rs", "Op"),
    ("process/report.rs", "rootfs/mod.rs", "hint"),
    ("process/report.rs", "rootfs/mod.rs", "reason"),
    ("process/steps.rs", "cgroups/adopt.rs", "apply_adopt"),
    ("process/steps.rs", "cgroups/make.rs", "apply_host"),
    ("process/steps.rs", "namespaces/adopt.rs", "apply_adopt"),
    ("process/steps.rs", "namespaces/apply.rs", "apply_host"),
    ("process/steps.rs", "rootfs/apply/mod.rs", "apply_host"),
];

#[test]
fn the_domains_know_each_other_only_where_they_must() {
    let modules = Modules::new(sources());
    let mut edges = BTreeSet::new();
    for source in sources().iter().filter(|source| DOMAINS.contains(&domain(source))) {
        for (target, rest) in modules.mentions(source, &source.code) {
            if DOMAINS.contains(&domain(target)) && domain(source) != domain(target) {
                // The module alone, as `use crate::rootfs` names it, is nothing yet.
                edges.extend(rest.first().map(|name| (source.path.as_str(), target.path.as_str(), name.clone())));
            }
        }
    }
    let allowed: BTreeSet<_> = BETWEEN_DOMAINS.iter().map(|&(from, to, name)| (from, to, name.to_owned())).collect();
    let show = |(from, to, name): &(&str, &str, String)| format!("src/{from} uses {name} of src/{to}");
    none(
        &edges.difference(&allowed).map(show).collect::<Vec<_>>(),
        "a way between two domains that isn't in the table",
    );
    none(&allowed.difference(&edges).map(show).collect::<Vec<_>>(), "no longer so: take it out of the table");
}

/// The parts of corten, each with all that it may use beside itself.
const USES: [(&str, &[&str]); 22] = [
    ("cgroups", &["error", "fault", "field", "host", "plan", "request", "slots", "sys"]),
    // `sys` for the names of the calls that a test can take away.
    // `criu` for the words that its flags may have.
    ("cli", &["criu", "error", "explain", "fault", "host", "log", "request", "sys"]),
    (
        "commands",
        &[
            "cgroups",
            "cli",
            "config",
            "container",
            "criu",
            "error",
            "explain",
            "fault",
            "field",
            "host",
            "log",
            "namespaces",
            "plan",
            "process",
            "request",
            "rootfs",
            "sys",
            "toolbox",
        ],
    ),
    ("config", &["error", "fault", "field", "host", "request"]),
    (
        "container",
        &["cgroups", "criu", "error", "fault", "field", "host", "plan", "process", "request", "slots", "sys"],
    ),
    // `process` for the search of a program.
    ("criu", &["cgroups", "error", "fault", "field", "host", "plan", "process", "rootfs", "sys"]),
    ("error", &["fault", "field"]),
    ("explain", &["error", "fault", "field"]),
    ("fault", &[]),
    ("field", &[]),
    ("host", &["sys"]),
    ("log", &["error", "explain", "fault", "field"]),
    ("main", &["cli", "commands", "config", "error", "explain", "host", "log", "seal", "sys"]),
    ("namespaces", &["error", "fault", "field", "host", "plan", "request", "slots", "sys"]),
    ("plan", &["cgroups", "error", "fault", "field", "host", "namespaces", "process", "request", "rootfs", "slots"]),
    (
        "process",
        &["cgroups", "error", "fault", "field", "host", "namespaces", "plan", "request", "rootfs", "slots", "sys"],
    ),
    ("request", &[]),
    ("rootfs", &["error", "fault", "field", "host", "plan", "request", "slots", "sys"]),
    ("seal", &["error", "fault", "sys"]),
    ("slots", &["fault"]),
    ("sys", &["fault"]),
    ("toolbox", &["fault", "sys"]),
];

#[test]
fn every_part_uses_only_what_it_may() {
    let modules = Modules::new(sources());
    let mut found = BTreeSet::new();
    for source in sources().iter().filter(|source| source.path != "lib.rs") {
        let part = if source.path == "main.rs" { "main" } else { domain(source) };
        let Some((_, allowed)) = USES.iter().find(|(name, _)| *name == part) else {
            found.insert(format!("src/{} belongs to no part in the table", source.path));
            continue;
        };
        for (target, _) in modules.mentions(source, &source.code) {
            if domain(target) != part && !allowed.contains(&domain(target)) {
                found.insert(format!("src/{} uses {}", source.path, target.module));
            }
        }
    }
    none(&found.into_iter().collect::<Vec<_>>(), "who may use whom");
}

// ---- System calls -----------------------------------------------------------------------------------------------

/// How far above an `unsafe` its reason may stand: at the beginning of the statement that it is part of.
const NEAR: usize = 4;

#[test]
fn unsafe_code_stands_in_sys_alone_and_gives_its_reason() {
    let mut found = Vec::new();
    let word = Regex::new(r"\bunsafe\b").unwrap();
    for source in sources() {
        let lines: Vec<&str> = source.raw.lines().collect();
        for at in word.find_iter(&source.code).map(|found| found.start()) {
            let place = source.place(at);
            if domain(source) != "sys" {
                found.push(format!("{place} is outside of src/sys"));
            }
            // `unsafe fn` has a section of its documentation instead.
            let declares = source.code[at..].starts_with("unsafe fn");
            let reason = if declares { "# Safety" } else { "SAFETY:" };
            if !is_explained(&lines, source.line(at) - 1, reason) {
                found.push(format!("{place} has no {reason}"));
            }
        }
    }
    none(&found, "unsafe");
}

/// Whether the comment closest above line `at` has the words.
fn is_explained(lines: &[&str], at: usize, words: &str) -> bool {
    let is_comment = |line: &&str| line.trim_start().starts_with("//");
    let above = lines[..at].iter().rev();
    let skipped = above.clone().take(NEAR).take_while(|line| !is_comment(line)).count();
    above.skip(skipped).take_while(|line| is_comment(line)).any(|line| line.contains(words))
}

/// Calls that make descriptors and leave them open over execve unless they are told otherwise. Those of the standard
/// library are told so by it; pidfd_open(2) and openat2's and nix's like are told by flags.
const MAKES_A_DESCRIPTOR: [&str; 25] = [
    "libc::open",
    "libc::openat",
    "libc::SYS_openat2",
    "libc::socket",
    "libc::socketpair",
    "libc::accept4",
    "libc::pipe2",
    "libc::dup3",
    "libc::memfd_create",
    "libc::epoll_create1",
    "libc::eventfd",
    "libc::timerfd_create",
    "libc::signalfd",
    "libc::inotify_init1",
    "libc::recvmsg",
    "libc::SYS_open_tree",
    "libc::SYS_fsopen",
    "libc::SYS_fsmount",
    "libc::SYS_fspick",
    "TIOCGPTPEER",
    "memfd_create(",
    "openat(",
    "open(path, OFlag",
    "pipe2(",
    "SignalFd::with_flags(",
];

/// Calls that can't be told.
const NEVER: [&str; 13] = [
    "libc::pipe",
    "libc::dup2",
    "libc::dup",
    "libc::accept",
    "libc::creat",
    "libc::epoll_create",
    "libc::F_DUPFD",
    "libc::inotify_init",
    "unistd::pipe",
    "unistd::dup",
    "FcntlArg::F_DUPFD",
    "libc::open_by_handle_at",
    "libc::popen",
];

/// What is meant to outlive execve, and what makes nothing.
const EXCEPT: [(&str, &str, &str); 3] = [
    ("sys/descriptor.rs", "libc::dup2", "stdio of a program is put in its place right before execve"),
    ("sys/spawn.rs", "libc::dup2", "the same for programs on the host"),
    ("sys/mount.rs", "libc::SYS_open_tree in open_tree_exists", "is refused by every kernel"),
];

#[test]
fn every_descriptor_is_close_on_exec_from_birth() {
    let mut found = Vec::new();
    for source in sources() {
        let except = |what: &str| EXCEPT.iter().any(|(path, call, _)| *path == source.path && *call == what);
        let code = without_imports(&source.code);
        for call in NEVER.into_iter().filter(|call| !except(call)) {
            found.extend(find_word(&code, call).map(|at| format!("{} calls {call}", source.place(at))));
        }
        let with_flag = Regex::new(r"\bconst (\w+)[^;]*CLOEXEC").unwrap();
        let flags: Vec<String> = with_flag.captures_iter(&code).map(|found| found[1].to_owned()).collect();
        for call in MAKES_A_DESCRIPTOR {
            for at in all_words(&code, call) {
                // A constant stands outside of any function.
                let Some(function) = source.function_at(at) else { continue };
                let body = &code[function.body.clone()];
                let told = body.contains("CLOEXEC") || flags.iter().any(|flag| find_word(body, flag).is_some());
                if !told && !except(&format!("{call} in {}", function.name)) {
                    found.push(format!("{} calls {call} in fn {} without CLOEXEC", source.place(at), function.name));
                }
            }
        }
    }
    none(&found, "close-on-exec");
}

/// The code with its `use` lines blanked out.
fn without_imports(code: &str) -> String {
    let blank = |import: &regex_lite::Captures| -> String {
        import[0].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect()
    };
    Regex::new(r"\buse [^;]+;").unwrap().replace_all(code, blank).into_owned()
}

fn all_words(code: &str, word: &str) -> Vec<usize> {
    let mut places = Vec::new();
    let mut from = 0;
    while let Some(at) = find_word(&code[from..], word) {
        places.push(from + at);
        from += at + word.len();
    }
    places
}

// ---- Words and sizes --------------------------------------------------------------------------------------------

/// Who may write to the terminal at all: the edge, the log, and the program inside a container.
const SPEAKS: [&str; 3] = ["main.rs", "log.rs", "toolbox/"];

#[test]
fn errors_are_rendered_in_one_place() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !SPEAKS.iter().any(|speaker| source.path.starts_with(speaker))) {
        for word in ["println!", "eprintln!", "print!", "eprint!", "dbg!", "stderr()"] {
            found.extend(find_word(&source.code, word).map(|at| format!("{} has {word}", source.place(at))));
        }
    }
    none(&found, "what goes wrong is returned, and told once, at the edge");
}

/// The most lines of a file, tests apart.
const LONGEST: usize = 450;

#[test]
fn no_file_is_too_long_to_be_read_at_once() {
    let length = |source: &Source| {
        let tests = source.raw.find("\n#[cfg(test)]\nmod tests {").unwrap_or(source.raw.len());
        source.raw[..tests].lines().count()
    };
    let long = sources().iter().map(|source| (length(source), source)).filter(|(lines, _)| *lines > LONGEST);
    let found: Vec<_> = long.map(|(lines, source)| format!("src/{} has {lines} lines", source.path)).collect();
    none(&found, "split it");
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = sources().iter().filter(|source| !source.raw.starts_with("//! "));
    let found: Vec<_> = silent.map(|source| format!("src/{}", source.path)).collect();
    none(&found, "a file opens with a paragraph for who opens it first");
}
