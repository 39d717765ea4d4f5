//! Whole plans as text: for configs that engines really write, and for a few of our own, every step in its order. The
//! texts stand in `golden/`; a change of planning shows there as a diff that a person can judge. No root needed.
//!
//! `UPDATE_GOLDEN=1 cargo test --test golden_plans` writes them anew.

mod planning;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use corten::config::{Config, parse};
use corten::error::Violation;
use corten::fault::Stage;
use corten::host::Host;
use corten::host::cgroups::Layout;
use corten::plan::exec::{Entered, plan_exec};
use corten::plan::mounts::{Visited, plan_add};
use corten::plan::{self, Plan};
use corten::request::{Mode, Request};

use planning::{plan_of, request};

/// A config below `fixtures/`, and how it is run.
struct Case {
    /// Also the name of the golden file.
    name: &'static str,
    config: &'static str,
    adjust: fn(&mut Request, &mut Host),
}

const fn case(name: &'static str, config: &'static str) -> Case {
    Case { name, config, adjust: |_, _| {} }
}

const CASES: [Case; 28] = [
    case("docker-hello", "recorded/docker-28-hello.json"),
    Case {
        name: "docker-hello-on-v1",
        config: "recorded/docker-28-hello.json",
        adjust: |_, host| host.cgroups = Layout::fixture_v1(),
    },
    case("docker-privileged", "recorded/docker-28-privileged.json"),
    case("docker-tty-shell", "recorded/docker-28-tty-shell.json"),
    Case {
        name: "docker-device-and-cgroup-rule-hybrid",
        config: "recorded/docker-28-device-and-cgroup-rule.json",
        adjust: |_, host| host.cgroups = corten::host::cgroups::Layout::fixture_hybrid(),
    },
    case("podman-userns-uidmap", "recorded/podman-5-userns-uidmap.json"),
    case("podman-pod-member", "recorded/podman-5-pod-member.json"),
    case("podman-hooks", "recorded/podman-5-hooks.json"),
    Case {
        name: "containerd-no-pivot",
        config: "recorded/containerd-2-no-pivot.json",
        adjust: |request, _| request.no_pivot = true,
    },
    case("containerd-userns", "recorded/containerd-2-userns.json"),
    case("cri-container-security", "recorded/cri-containerd-1.6-container-security.json"),
    case("cri-mounts-devices-tty", "recorded/cri-containerd-1.6-mounts-devices-tty.json"),
    case("cri-o-userns-container", "recorded/cri-o-userns-container.json"),
    case("cgroup-namespace", "own/cgroup-namespace.json"),
    Case {
        name: "cgroup-namespace-on-hybrid",
        config: "own/cgroup-namespace.json",
        adjust: |_, host| host.cgroups = Layout::fixture_hybrid(),
    },
    case("no-mount-namespace", "own/no-mount-namespace.json"),
    case("joined-user-and-pid", "own/joined-user-and-pid.json"),
    case("new-user-beside-joins", "own/new-user-beside-joins.json"),
    case("selinux", "own/selinux.json"),
    case("time-offsets", "own/time-offsets.json"),
    case("whole-process", "own/whole-process.json"),
    Case {
        name: "whole-process-in-run",
        config: "own/whole-process.json",
        adjust: |request, _| {
            request.mode = Mode::Run { detach: false, keep: false };
            request.console_socket = None;
            request.no_new_keyring = true;
            request.preserve_fds = 2;
            request.listen_fds = 1;
        },
    },
    Case {
        name: "rootless-joined-user-and-pid",
        config: "own/joined-user-and-pid.json",
        adjust: |_, host| (host.euid, host.egid) = (1000, 1000),
    },
    Case { name: "resources-v1", config: "own/resources.json", adjust: |_, host| host.cgroups = Layout::fixture_v1() },
    Case {
        name: "resources-unified",
        config: "own/resources.json",
        adjust: |_, host| host.cgroups = Layout::fixture_unified(),
    },
    Case {
        name: "resources-hybrid",
        config: "own/resources.json",
        adjust: |_, host| host.cgroups = Layout::fixture_hybrid(),
    },
    Case {
        name: "unified-files",
        config: "own/unified-files.json",
        adjust: |_, host| host.cgroups = Layout::fixture_unified(),
    },
    Case { name: "rootless", config: "own/rootless.json", adjust: |_, host| (host.euid, host.egid) = (1000, 1000) },
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("integration").join(name)
}

fn parsed(path: &Path, bytes: Vec<u8>) -> Config {
    parse::config(path.to_owned(), bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn case_plan(case: &Case) -> (Config, Request, Plan) {
    let path = folder("fixtures").join(case.config);
    let config = parsed(&path, fs::read(&path).unwrap());
    let terminal = config.spec.process().as_ref().is_some_and(|process| process.terminal().unwrap_or(false));
    let (mut request, mut host) = (request(terminal), Host::fixture());
    (case.adjust)(&mut request, &mut host);
    let plan =
        plan_of(&config, &request, &host).unwrap_or_else(|violations| panic!("{}: {}", case.name, words(&violations)));
    (config, request, plan)
}

fn words(violations: &[Violation]) -> String {
    violations.iter().map(Violation::to_string).collect::<Vec<_>>().join("\n")
}

/// `stage  index  sentence  # field`, a line a step.
fn render(case: &Case, plan: &Plan) -> String {
    let mut text = format!("# {}\n", case.config);
    let launch = &plan.launch;
    let cloned = if launch.clone.is_empty() { "none".to_owned() } else { launch.clone.list() };
    writeln!(text, "# clone with new namespaces: {cloned}").unwrap();
    for stage in Stage::ALL {
        for (index, step) in plan.steps(stage).iter().enumerate() {
            let field = step.field.pointer();
            let field = if field.is_empty() { String::new() } else { format!("  # {field}") };
            writeln!(text, "{:<9} {index:>3}  {}{field}", stage.name(), plan::render(&step.op)).unwrap();
        }
    }
    for candidate in &plan.exec.candidates {
        writeln!(text, "# candidate: {}", candidate.to_string_lossy()).unwrap();
    }
    for warning in &plan.warnings {
        writeln!(text, "# warning: {warning}").unwrap();
    }
    text
}

#[test]
fn plans_are_what_they_were() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut changed = String::new();
    for case in &CASES {
        let (_, _, plan) = case_plan(case);
        let text = render(case, &plan);
        let file = folder("golden").join(format!("{}.txt", case.name));
        if update {
            fs::write(&file, &text).unwrap();
            continue;
        }
        let golden = fs::read_to_string(&file).unwrap_or_default();
        if golden != text {
            writeln!(changed, "{}:\n{}", case.name, difference(&golden, &text)).unwrap();
        }
    }
    assert!(changed.is_empty(), "{changed}UPDATE_GOLDEN=1 writes the files anew, if this is as it should be");
}

/// The lines between the first and the last that differ, old ones before new ones.
fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let rest = |lines: &[&str], other: &[&str]| {
        let ends = lines.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
        lines.len() - ends.min(lines.len().min(other.len()) - same)
    };
    let (old_end, new_end) = (rest(&old, &new), rest(&new, &old));
    let marked = |mark: char, lines: &[&str]| lines.iter().map(|line| format!("  {mark} {line}\n")).collect::<String>();
    marked('-', &old[same..old_end]) + &marked('+', &new[same..new_end])
}

#[test]
fn every_golden_file_has_its_case() {
    let known = |name: &str| CASES.iter().any(|case| name == format!("{}.txt", case.name));
    let entries = fs::read_dir(folder("golden")).unwrap();
    let stray: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).filter(|n| !known(n)).collect();
    assert!(stray.is_empty(), "{stray:?}");
}

/// Nothing of the machine that wrote the files is in them.
#[test]
fn golden_files_are_the_same_on_every_machine() {
    let here = std::env::current_dir().unwrap();
    for case in &CASES {
        let (_, _, plan) = case_plan(case);
        let text = render(case, &plan);
        for place in [here.to_str().unwrap(), env!("CARGO_MANIFEST_DIR")] {
            assert!(!text.contains(place), "{} has {place}", case.name);
        }
    }
}

/// The rules of order that `plan_properties` checks for made-up configs hold for recorded ones, all of them.
#[test]
fn every_recorded_config_keeps_the_rules() {
    let mut planned = 0;
    for entry in fs::read_dir(folder("fixtures/recorded")).unwrap() {
        let path = entry.unwrap().path();
        let config = parsed(&path, fs::read(&path).unwrap());
        let terminal = config.spec.process().as_ref().is_some_and(|process| process.terminal().unwrap_or(false));
        let request = request(terminal);
        match plan_of(&config, &request, &Host::fixture()) {
            Ok(plan) => {
                planning::check(&plan, &config, &request).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
                planned += 1;
                // As `exec` without flags would plan it.
                let request = Request { mode: Mode::Exec { detach: true }, ..request };
                let entered = Entered { init: 42, group: &plan.group, rdt: None, below: &[] };
                let plan = plan_exec(&config.spec, &Host::fixture(), &request, &entered)
                    .unwrap_or_else(|violations| panic!("{}: {}", path.display(), words(&violations)));
                planning::check_exec(&plan, &Host::fixture())
                    .unwrap_or_else(|why| panic!("exec, {}: {why}", path.display()));
                // The mounts of an engine, as those of a container that is there.
                let visited = Visited { spec: &config.spec, init: 42, group: entered.group };
                let added = plan_add(&visited, &Host::fixture(), &request)
                    .unwrap_or_else(|violations| panic!("mounts, {}: {}", path.display(), words(&violations)));
                planning::check_mounts(&added.plan).unwrap_or_else(|why| panic!("mounts, {}: {why}", path.display()));
            }
            Err(violations) => panic!("{}: {}", path.display(), words(&violations)),
        }
    }
    assert!(planned > 40, "{planned} configs");
    for case in &CASES {
        let (config, request, plan) = case_plan(case);
        planning::check(&plan, &config, &request).unwrap_or_else(|why| panic!("{}: {why}", case.name));
    }
}
