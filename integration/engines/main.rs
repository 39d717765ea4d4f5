//! Runs Podman, containerd and Docker with corten as their runtime, and with runc for comparison. See README.md beside this file.
//!
//! Exit code 0: whatever passes with the first runtime passes with the last; 1: something doesn't; 2: not run.

#[path = "../apart.rs"]
mod apart;
mod call;
mod cli;
mod containerd;
mod cri;
#[path = "../groups.rs"]
mod groups;
mod machine;
mod podman;
mod scenario;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use scenario::Engine;
use verdict::Totals;

const USAGE: &str = "engines [--engine NAME]... [--only WORD]... [--limit SECONDS] [--list] [RUNTIME[=PATH]]...
    --only takes the scenarios whose names contain WORD; runtimes are runc and corten if none is named: the first is what the
    last is compared with; `corten` is what this build made, others without a PATH those of the machines";

/// The engines, in the order in which they run.
const ENGINES: &[&Engine] = &[&podman::ENGINE, &containerd::ENGINE, &cri::ENGINE];

struct Request {
    engines: Vec<&'static Engine>,
    only: Vec<String>,
    limit: u32,
    list: bool,
    runtimes: Vec<(String, Option<PathBuf>)>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some(("--stage", rest)) => return machine::stage(rest),
        Some(("--init", rest)) => return machine::init(rest),
        Some(("--scenarios", rest)) => return scenario::run_all(ENGINES, rest),
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
    let mut request = Request { engines: Vec::new(), only: Vec::new(), limit: 600, list: false, runtimes: Vec::new() };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--engine" => {
                let name = value()?;
                let found = ENGINES.iter().find(|engine| engine.name == name);
                request.engines.push(found.ok_or(format!("there is no engine {name}\n{USAGE}"))?);
            }
            "--only" => request.only.push(value()?.clone()),
            "--limit" => request.limit = value()?.parse().map_err(|_| format!("--limit needs seconds\n{USAGE}"))?,
            "--list" => request.list = true,
            flag if flag.starts_with('-') => return Err(format!("unknown flag {flag}\n{USAGE}")),
            runtime => request.runtimes.push(runtime_of(runtime)?),
        }
    }
    if request.engines.is_empty() {
        request.engines = ENGINES.to_vec();
    }
    if request.runtimes.is_empty() {
        request.runtimes = vec![runtime_of("runc")?, runtime_of("corten")?];
    }
    Ok(request)
}

fn runtime_of(word: &str) -> Result<(String, Option<PathBuf>), String> {
    let (name, path) = match word.split_once('=') {
        Some((name, path)) => (name, Some(PathBuf::from(path))),
        None => (word, (word == "corten").then(|| env!("CARGO_BIN_EXE_corten").into())),
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
            for scenario in engine.scenarios.iter().flat_map(|(_, list)| list.iter()) {
                println!("{}::{}", engine.name, scenario.name);
            }
        }
        return Ok(true);
    }
    if !nix::unistd::geteuid().is_root() {
        return Err("engines need root".to_owned());
    }
    let root = built().join("root");
    if !root.exists() {
        return Err("there are no engines: run integration/engines/build.sh first".to_owned());
    }
    machine::sweep();
    let mut totals = Totals::default();
    for engine in &request.engines {
        // Each on a machine of its own, all at once: engines wait most of the time.
        let results = std::thread::scope(|scope| {
            let started: Vec<_> = request
                .runtimes
                .iter()
                .map(|(name, path)| {
                    let root = &root;
                    scope.spawn(move || {
                        machine::run(engine.name, name, path.as_deref(), root, &request.only, request.limit)
                    })
                })
                .collect();
            started.into_iter().map(|thread| thread.join().expect("a machine's thread")).collect::<Vec<_>>()
        });
        let names: Vec<&str> = request.runtimes.iter().map(|(name, _)| name.as_str()).collect();
        totals.add(engine, &names, &results, &request.only);
    }
    Ok(totals.print())
}
