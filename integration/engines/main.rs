//! Runs Podman, containerd and Docker with corten as their runtime, and with runc for comparison. See README.md beside this file.
//!
//! Exit code 0: whatever passes with the first runtime passes with the last; 1: something doesn't; 2: not run.

#[path = "../apart.rs"]
mod apart;
mod call;
mod cli;
mod containerd;
mod cri;
mod docker;
#[path = "../groups.rs"]
mod groups;
mod machine;
mod podman;
mod report;
mod scenario;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use scenario::Engine;
use verdict::Totals;

const USAGE: &str = "engines [--engine NAME]... [--only WORD]... [--limit SECONDS] [--list | --engines] [--here] [RUNTIME[=PATH]]...
    --only takes the scenarios whose names contain WORD; runtimes are runc and corten if none is named: the first is what the
    last is compared with; `corten` is what this build made, others without a PATH those of the machines; --here makes no
    machine: this one is made for it";

/// The engines, in the order in which they run.
const ENGINES: &[&Engine] = &[&podman::ENGINE, &containerd::ENGINE, &cri::ENGINE, &docker::ENGINE];

/// Those of other machines than this driver makes: a virtual one with systemd runs them in itself (`--here`).
const ELSEWHERE: &[&Engine] = &[&podman::BY_SYSTEMD, &podman::ROOTLESS];

struct Request {
    engines: Vec<&'static Engine>,
    only: Vec<String>,
    limit: u32,
    list: bool,
    here: bool,
    runtimes: Vec<(String, Option<PathBuf>)>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some(("--stage", rest)) => return machine::stage(rest),
        Some(("--init", rest)) => return machine::init(rest),
        Some(("--scenarios", rest)) => return scenario::run_all(&[ENGINES, ELSEWHERE].concat(), rest),
        Some(("--engines", _)) => {
            ENGINES.iter().for_each(|engine| println!("{}", engine.name));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    match request(&arguments).and_then(|request| run(&request)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            eprintln!("engines: {message}");
            ExitCode::from(2)
        }
    }
}

fn request(arguments: &[String]) -> Result<Request, String> {
    let mut request =
        Request { engines: Vec::new(), only: Vec::new(), limit: 600, list: false, here: false, runtimes: Vec::new() };
    let mut runtimes = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--engine" => {
                let name = value()?;
                let found = ENGINES.iter().chain(ELSEWHERE).find(|engine| engine.name == name);
                request.engines.push(found.ok_or(format!("there is no engine {name}\n{USAGE}"))?);
            }
            "--only" => request.only.push(value()?.clone()),
            "--limit" => request.limit = value()?.parse().map_err(|_| format!("--limit needs seconds\n{USAGE}"))?,
            "--list" => request.list = true,
            "--here" => request.here = true,
            flag if flag.starts_with('-') => return Err(format!("unknown flag {flag}\n{USAGE}")),
            runtime => runtimes.push(runtime.to_owned()),
        }
    }
    if request.engines.is_empty() {
        request.engines = ENGINES.to_vec();
    }
    if runtimes.is_empty() {
        runtimes = vec!["runc".to_owned(), "corten".to_owned()];
    }
    let found: Result<_, String> = runtimes.iter().map(|word| runtime_of(word, request.here)).collect();
    request.runtimes = found?;
    Ok(request)
}

/// A runtime's name, and the file that the machines get; `None` means what they have.
fn runtime_of(word: &str, here: bool) -> Result<(String, Option<PathBuf>), String> {
    let (name, path) = match word.split_once('=') {
        Some((name, path)) => (name, Some(PathBuf::from(path))),
        None => (word, (word == "corten" && !here).then(|| env!("CARGO_BIN_EXE_corten").into())),
    };
    let path = path.map(|path| std::fs::canonicalize(&path).map_err(|error| format!("{}: {error}", path.display())));
    Ok((name.to_owned(), path.transpose()?))
}

/// What build.sh made, and where the engines' logs go.
fn built() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("engines")
}

fn run(request: &Request) -> Result<bool, String> {
    if request.list {
        for engine in &request.engines {
            engine.names().iter().for_each(|name| println!("{}::{name}", engine.name));
        }
        return Ok(true);
    }
    let root = built().join("root");
    if !request.here {
        if !nix::unistd::geteuid().is_root() {
            return Err("engines need root".to_owned());
        }
        if !root.exists() {
            return Err("there are no engines: run integration/engines/build.sh first".to_owned());
        }
        machine::sweep();
        machine::stop_when_interrupted();
    }
    let mut totals = Totals::default();
    for engine in &request.engines {
        let one = |name: &str, path: Option<&Path>| match request.here {
            true => machine::run_here(engine.name, name, &request.only, request.limit),
            false => machine::run(engine.name, name, path, &root, &request.only, request.limit),
        };
        // Each on a machine of its own, all at once: engines wait most of the time. On this machine one after the other.
        let results: Vec<_> = if request.here {
            request.runtimes.iter().map(|(name, path)| one(name, path.as_deref())).collect()
        } else {
            std::thread::scope(|scope| {
                let runtimes = request.runtimes.iter();
                let started: Vec<_> = runtimes.map(|(name, path)| scope.spawn(|| one(name, path.as_deref()))).collect();
                started.into_iter().map(|thread| thread.join().expect("a machine's thread")).collect()
            })
        };
        if machine::stopped() {
            return Err("interrupted".to_owned());
        }
        let names: Vec<&str> = request.runtimes.iter().map(|(name, _)| name.as_str()).collect();
        let mut scenarios = engine.names();
        if let Some((gone, _)) = engine.known.iter().find(|(known, _)| !scenarios.contains(known)) {
            return Err(format!("{}: there is no scenario {gone}, which is known to fail", engine.name));
        }
        scenarios.retain(|name| scenario::wanted(name, &request.only));
        if !request.only.is_empty() && scenarios.len() == 1 {
            return Err(format!("{}: no scenario's name contains {}", engine.name, request.only.join(" or ")));
        }
        totals.add(engine.name, &scenarios, engine.known, &names, &results);
    }
    Ok(totals.print())
}
