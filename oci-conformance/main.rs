//! Runs the validation programs of runtime-tools against runtimes, and compares what the first came to with the list of known
//! failures. See README.md beside this file; the programs are built by programs.sh.
//!
//! Exit code 0: nothing failed that isn't known, and nothing passed that is known to fail; 1: something did; 2: not run.

#[path = "../integration/apart.rs"]
mod apart;
#[path = "../integration/groups.rs"]
mod groups;
mod known;
mod stage;
mod table;
mod tap;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use known::{Judgement, Known};
use table::Column;
use tap::Assertion;

const USAGE: &str = "conformance [--only PROGRAM]... [--limit SECONDS] [--list] [NAME[=PATH]]...
    NAME is looked for on PATH, corten is what this build made; the first is held to known-failures.toml";

struct Request {
    only: Vec<String>,
    limit: u32,
    list: bool,
    runtimes: Vec<(String, PathBuf)>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some(("--stage", rest)) => return stage::stage(rest),
        Some(("--init", rest)) => return stage::init(rest),
        _ => {}
    }
    match request(&arguments).and_then(|request| run(&request)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            eprintln!("conformance: {message}");
            ExitCode::from(2)
        }
    }
}

fn request(arguments: &[String]) -> Result<Request, String> {
    let mut request = Request { only: Vec::new(), limit: 120, list: false, runtimes: Vec::new() };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--only" => request.only.push(value()?.clone()),
            "--limit" => request.limit = value()?.parse().map_err(|_| format!("--limit needs seconds\n{USAGE}"))?,
            "--list" => request.list = true,
            flag if flag.starts_with('-') => return Err(format!("unknown flag {flag}\n{USAGE}")),
            runtime => match find(runtime) {
                Some(found) => request.runtimes.push(found),
                None => eprintln!("conformance: {runtime} isn't installed: left out"),
            },
        }
    }
    if request.runtimes.is_empty() {
        request.runtimes.push(("corten".to_owned(), env!("CARGO_BIN_EXE_corten").into()));
    }
    Ok(request)
}

fn find(runtime: &str) -> Option<(String, PathBuf)> {
    if let Some((name, path)) = runtime.split_once('=') {
        return fs::canonicalize(path).ok().map(|path| (name.to_owned(), path));
    }
    if runtime == "corten" {
        return Some((runtime.to_owned(), env!("CARGO_BIN_EXE_corten").into()));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(runtime)).find(|path| path.is_file())?;
    Some((runtime.to_owned(), found))
}

/// What programs.sh made, and where the reports go.
fn built() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("conformance")
}

fn programs(built: &Path, only: &[String]) -> Result<Vec<String>, String> {
    let list =
        fs::read_dir(built.join("programs")).map_err(|_| "no programs: run oci-conformance/programs.sh first")?;
    let names = list.flatten().map(|item| item.file_name().to_string_lossy().into_owned());
    let mut programs: Vec<String> = names.filter(|name| only.is_empty() || only.contains(name)).collect();
    programs.sort();
    match only.iter().find(|name| !programs.contains(name)) {
        Some(unknown) => Err(format!("there is no program {unknown}")),
        None => Ok(programs),
    }
}

fn run(request: &Request) -> Result<bool, String> {
    let built = built();
    let programs = programs(&built, &request.only)?;
    if request.list {
        println!("{}", programs.join("\n"));
        return Ok(true);
    }
    if !nix::unistd::geteuid().is_root() {
        return Err("the programs need root".to_owned());
    }
    let text = include_str!("known-failures.toml");
    let known = Known::parse(text).map_err(|error| format!("known-failures.toml: {error}"))?.on(has);

    let dir = tempfile::Builder::new().prefix("corten-conformance-").tempdir().map_err(|error| error.to_string())?;
    // Containers with a user namespace have to reach their root file system.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(dir.path(), open).map_err(|error| error.to_string())?;
    stage::sweep();
    let mut columns: Vec<Column> = request.runtimes.iter().map(|(name, path)| column(name, path)).collect();
    for program in &programs {
        for ((name, path), column) in request.runtimes.iter().zip(&mut columns) {
            let result = one(&built, dir.path(), program, name, path, request.limit);
            column.results.push(result.map_err(|error| format!("{program} with {name}: {error}"))?);
        }
        eprintln!("{program}");
    }

    println!("{}", table::render(&programs, &columns));
    let judgement = judge(&programs, &columns[0], &known);
    let details = format!("{}\nknown\n  {}\n", table::details(&programs, &columns), judgement.known.join("\n  "));
    let report = built.join("report.txt");
    fs::write(&report, &details).map_err(|error| format!("{}: {error}", report.display()))?;
    for line in &judgement.new {
        println!("failed: {line}");
    }
    for line in &judgement.stale {
        println!("out of date: {line}");
    }
    let (known, new) = (judgement.known.len(), judgement.new.len());
    println!("{}: {known} known failures, {new} new, {} out of date", columns[0].name, judgement.stale.len());
    Ok(judgement.new.is_empty() && judgement.stale.is_empty())
}

/// What the first runtime did that the list doesn't say. Entries of programs that this run left out aren't looked at.
fn judge(programs: &[String], column: &Column, known: &Known) -> Judgement {
    let results = programs.iter().zip(&column.results).map(|(name, result)| (name.as_str(), result.as_slice()));
    let mut judgement = known.judge(results);
    let gone = |program: &str| !built().join("programs").join(program).exists();
    let listed = known.failure.iter().map(|failure| failure.program.as_str());
    judgement.stale.extend(listed.filter(|program| gone(program)).map(|program| format!("{program}: no such program")));
    judgement
}

fn column(name: &str, path: &Path) -> Column {
    let version = Command::new(path).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    let version = String::from_utf8_lossy(&version);
    let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    Column { name: name.to_owned(), version: number.unwrap_or_default().to_owned(), results: Vec::new() }
}

fn one(
    built: &Path,
    dir: &Path,
    program: &str,
    name: &str,
    path: &Path,
    limit: u32,
) -> std::io::Result<Vec<Assertion>> {
    let output = built.join("output").join(name);
    fs::create_dir_all(&output)?;
    let (out, err) = (output.join(format!("{program}.stdout")), output.join(format!("{program}.stderr")));
    let place = stage::Place::new(&dir.join(format!("{name}-{program}")), built, path)?;
    let files = (fs::File::create(&out)?, fs::File::create(&err)?);
    let end = place.run(&built.join("programs").join(program), name == "crun", limit, files.0, files.1)?;
    let text = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let said = text(&err)?;
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last_words = lines[lines.len().saturating_sub(6)..].join("\n");
    Ok(tap::parse(&text(&out)?, end, &last_words))
}

/// Whether the machine has what an entry of known-failures.toml says it lacks. An unknown fact is one that no machine has:
/// the entry stays in force.
fn has(fact: &str) -> bool {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    match fact.split_once(' ').unwrap_or((fact, "")) {
        ("selinux", _) => Path::new("/sys/fs/selinux/enforce").exists(),
        ("apparmor", _) => text("/sys/module/apparmor/parameters/enabled").starts_with('Y'),
        ("file", path) => Path::new(path).exists(),
        ("v1", controller) => text("/proc/self/mountinfo").lines().any(|line| {
            line.split_once(" - cgroup ")
                .is_some_and(|(_, options)| options.split([',', ' ']).any(|it| it == controller))
        }),
        ("capability", number) => {
            let status = text("/proc/self/status");
            let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
            let bounding = bounding.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0);
            number.parse().is_ok_and(|number: u32| bounding >> number & 1 == 1)
        }
        _ => false,
    }
}
