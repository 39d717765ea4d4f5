//! The table of the README that lists every verb and flag of runc and every property of runtime-spec says the truth: each
//! test that it names exists, each flag is one that corten takes, each property one that it reads, none of either is left
//! out, and a row without a tick says why.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use clap::Command;
use corten::cli::{VERBS, whole};
use corten::config::schema::{CONFIG, Kind};

use super::cve_table::{is_test, tests_of, top};

/// A row: what it is about, whether it has a tick, the tests behind it, and what is said of it.
struct Row {
    name: String,
    tick: bool,
    tests: String,
    note: String,
}

/// The verbs of runc 1.5, as its manual has them; `""` is runc itself. Flags that corten has beside these are its own.
const RUNC: [(&str, &[&str]); 18] = [
    ("", &["root", "log", "log-format", "debug", "systemd-cgroup", "rootless", "criu", "help", "version"]),
    (
        "checkpoint",
        &[
            "image-path",
            "work-path",
            "parent-path",
            "leave-running",
            "tcp-established",
            "tcp-skip-in-flight",
            "link-remap",
            "ext-unix-sk",
            "shell-job",
            "lazy-pages",
            "status-fd",
            "page-server",
            "file-locks",
            "pre-dump",
            "manage-cgroups-mode",
            "empty-ns",
            "auto-dedup",
        ],
    ),
    ("create", &["bundle", "console-socket", "pidfd-socket", "pid-file", "no-pivot", "no-new-keyring", "preserve-fds"]),
    ("delete", &["force"]),
    ("events", &["interval", "stats"]),
    (
        "exec",
        &[
            "console-socket",
            "pidfd-socket",
            "cwd",
            "env",
            "tty",
            "user",
            "additional-gids",
            "process",
            "detach",
            "pid-file",
            "process-label",
            "apparmor",
            "no-new-privs",
            "cap",
            "preserve-fds",
            "cgroup",
            "ignore-paused",
        ],
    ),
    ("features", &[]),
    ("kill", &["all"]),
    ("list", &["format", "quiet"]),
    ("pause", &[]),
    ("ps", &["format"]),
    (
        "restore",
        &[
            "console-socket",
            "image-path",
            "work-path",
            "tcp-established",
            "ext-unix-sk",
            "shell-job",
            "file-locks",
            "manage-cgroups-mode",
            "bundle",
            "detach",
            "pid-file",
            "no-subreaper",
            "no-pivot",
            "empty-ns",
            "auto-dedup",
            "lazy-pages",
            "lsm-profile",
            "lsm-mount-context",
        ],
    ),
    ("resume", &[]),
    (
        "run",
        &[
            "bundle",
            "console-socket",
            "pidfd-socket",
            "pid-file",
            "detach",
            "keep",
            "no-subreaper",
            "no-pivot",
            "no-new-keyring",
            "preserve-fds",
        ],
    ),
    ("spec", &["bundle", "rootless"]),
    ("start", &[]),
    ("state", &[]),
    (
        "update",
        &[
            "resources",
            "memory",
            "memory-reservation",
            "memory-swap",
            "cpu-period",
            "cpu-quota",
            "cpu-burst",
            "cpu-share",
            "cpu-idle",
            "cpu-rt-period",
            "cpu-rt-runtime",
            "cpuset-cpus",
            "cpuset-mems",
            "blkio-weight",
            "pids-limit",
            "l3-cache-schema",
            "mem-bw-schema",
            "kernel-memory",
            "kernel-memory-tcp",
        ],
    ),
];

/// The rows below a heading of the README, up to the next one.
fn rows(heading: &str) -> Vec<Row> {
    let text = fs::read_to_string(top().join("README.md")).unwrap();
    let part = text.split_once(&format!("{heading}\n")).unwrap_or_else(|| panic!("no {heading} in the README")).1;
    let part = part.lines().take_while(|line| !line.starts_with('#'));
    let rows: Vec<Row> = part.filter(|line| line.starts_with("| `")).map(row).collect();
    assert!(rows.len() > 20, "{heading}: the table isn't read");
    rows
}

fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
    let [name, tick, tests, note] = cells[..] else { panic!("a row has four cells: {line}") };
    assert!(tick.is_empty() || tick == "✓", "{line}");
    let name = name.trim_matches('`').to_owned();
    Row { name, tick: tick == "✓", tests: tests.to_owned(), note: note.to_owned() }
}

const VERB_TABLE: &str = "### Verbs and flags of runc 1.5";
const PROPERTY_TABLE: &str = "### Properties of runtime-spec 1.3 for Linux";

fn none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn every_test_of_the_table_exists() {
    let mut found = Vec::new();
    for row in [rows(VERB_TABLE), rows(PROPERTY_TABLE)].into_iter().flatten() {
        for test in tests_of(&row.tests).into_iter().filter(|test| !is_test(test)) {
            found.push(format!("{}: {test}", row.name));
        }
    }
    none(found, "no such test");
}

#[test]
fn a_tick_has_a_test_and_a_row_without_one_a_reason() {
    let silent = |row: &Row| match row.tick {
        true => tests_of(&row.tests).is_empty(),
        false => row.note.is_empty(),
    };
    let rows = [rows(VERB_TABLE), rows(PROPERTY_TABLE)].into_iter().flatten();
    none(rows.filter(silent).map(|row| row.name).collect(), "a row says nothing");
}

/// `run --bundle`, `--root`, `run`, as rows name them.
fn names_of(verb: &str, flags: &[&str]) -> Vec<String> {
    let alone = (!verb.is_empty()).then(|| verb.to_owned());
    alone.into_iter().chain(flags.iter().map(|flag| format!("{verb} --{flag}").trim_start().to_owned())).collect()
}

#[test]
fn every_verb_and_flag_of_runc_has_one_row_and_no_other() {
    let listed: Vec<String> = rows(VERB_TABLE).into_iter().map(|row| row.name).collect();
    let known: BTreeSet<String> = RUNC.iter().flat_map(|(verb, flags)| names_of(verb, flags)).collect();
    let count = |name: &String| listed.iter().filter(|listed| *listed == name).count();
    none(known.iter().filter(|name| count(name) != 1).cloned().collect(), "one row each");
    none(listed.into_iter().filter(|name| !known.contains(name)).collect(), "no flag of runc's");
}

fn flags_of(command: &Command) -> BTreeSet<String> {
    command.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned).collect()
}

/// corten's own definition, hidden flags with it.
fn defined() -> BTreeMap<String, BTreeSet<String>> {
    let own = VERBS.iter().map(|entry| (entry.name.to_owned(), flags_of(&entry.command())));
    own.chain([(String::new(), flags_of(&whole()))]).collect()
}

#[test]
fn corten_takes_every_flag_of_the_table() {
    let defined = defined();
    let mut found = Vec::new();
    for (verb, flags) in RUNC {
        let Some(own) = defined.get(verb) else {
            found.extend(names_of(verb, &[]));
            continue;
        };
        found.extend(flags.iter().filter(|flag| !own.contains(**flag)).flat_map(|flag| names_of(verb, &[flag])));
    }
    none(found, "corten doesn't know");
}

/// The verbs and flags that corten has beside runc's: named, so that none of runc's is taken for one of them.
const OWN: [(&str, &[&str]); 15] = [
    ("", &["log-level", "cgroup-manager", "fault", "patience", "pretend-kernel-lacks", "pretend-resctrl"]),
    ("create", &["config", "no-subreaper", "detach"]),
    ("run", &["config"]),
    ("checkpoint", &["network-lock"]),
    ("restore", &["tcp-close"]),
    ("kill", &["regex"]),
    ("delete", &["regex"]),
    ("spec", &["file", "from", "with-rootfs"]),
    ("mounts", &["mount", "any", "format"]),
    ("stats", &["no-stream", "json"]),
    ("plan", &["bundle", "config", "json"]),
    ("check", &["bundle", "config", "json"]),
    ("demo", &[]),
    ("completion", &[]),
    ("man", &[]),
];

#[test]
fn a_flag_without_a_row_is_known_for_cortens_own() {
    let mut known: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (verb, flags) in RUNC.iter().chain(&OWN) {
        known.entry(verb).or_default().extend(flags.iter());
    }
    let mut found = Vec::new();
    for (verb, flags) in defined() {
        let Some(known) = known.get(verb.as_str()) else {
            found.push(verb);
            continue;
        };
        found.extend(
            flags.iter().filter(|flag| !known.contains(flag.as_str())).flat_map(|flag| names_of(&verb, &[flag])),
        );
    }
    none(found, "neither a row of the table nor named as corten's own");
}

/// Every property with a value of its own, as the table spells it: `mounts[].source`, `linux.rdma.*.hcaHandles`. The six
/// kinds of hooks are one, and so are the sections of other systems.
fn leaves(kind: &Kind, at: &str, into: &mut BTreeSet<String>) {
    match kind {
        Kind::Object(properties) => {
            for property in *properties {
                let name = match at {
                    "" => property.name.to_owned(),
                    "hooks" => {
                        // That the kind itself works is a row as well.
                        into.insert(format!("hooks.{}", property.name));
                        "hooks.*".to_owned()
                    }
                    at => format!("{at}.{}", property.name),
                };
                leaves(&property.kind, &name, into);
            }
        }
        Kind::List(inner) => match inner {
            Kind::Object(_) => leaves(inner, &format!("{at}[]"), into),
            _ => drop(into.insert(at.to_owned())),
        },
        Kind::Map(inner) => match inner {
            Kind::Object(_) => leaves(inner, &format!("{at}.*"), into),
            _ => drop(into.insert(at.to_owned())),
        },
        Kind::Free => {}
        _ => drop(into.insert(at.to_owned())),
    }
}

#[test]
fn every_property_of_the_schema_has_one_row_and_no_other() {
    let mut known = BTreeSet::new();
    leaves(&CONFIG, "", &mut known);
    assert!(known.len() > 150 && known.contains("linux.resources.memory.checkBeforeUpdate"), "{known:#?}");
    let listed: Vec<String> = rows(PROPERTY_TABLE).into_iter().map(|row| row.name).collect();
    let count = |name: &String| listed.iter().filter(|listed| *listed == name).count();
    none(known.iter().filter(|name| count(name) != 1).cloned().collect(), "one row each");
    none(listed.into_iter().filter(|name| !known.contains(name)).collect(), "no property of the schema");
}
