//! Runs the validation programs of runtime-tools against runtimes, and compares what the first came to with the list of known
//! failures. See README.md beside this file; the programs are built by programs.sh.
//!
//! Prints a line for each program as cargo's tests have it, where those that fail as known are ignored. Exit code 0: nothing
//! failed that isn't known, and nothing passed that is known to fail; 101: something did; 2: not run; 77: can't run here.

#[path = "../integration/apart.rs"]
mod apart;
mod documents;
#[path = "../integration/groups.rs"]
mod groups;
mod known;
mod stage;
mod table;
mod tap;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use known::{Known, Outcome};
use libtest_mimic::{Arguments, Completion, Trial};
use table::Column;
use tap::Assertion;

const USAGE: &str = "conformance [--only PROGRAM]... [--limit SECONDS] [--list | --possible] [NAME[=PATH]]...
    NAME is looked for on PATH, corten is what this build made; the first is held to known-failures.toml
    --only documents: the documents that corten writes; --possible: says what is in the way of a run, exit code 77";

/// Without these every program says the same: that it needs them.
const NEEDED: &[&str] = &["v1 cpu", "v1 cpuset", "v1 memory", "v1 pids", "v1 devices", "v1 blkio", "capability 21"];

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
        Some(("--documents", rest)) => return documents::main(rest),
        Some(("--possible", _)) => {
            return in_the_way().map_or(ExitCode::SUCCESS, |fact| {
                println!("{fact}");
                ExitCode::from(77)
            });
        }
        _ => {}
    }
    match request(&arguments).and_then(|request| run(&request)) {
        Ok(code) => code,
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

/// The fact of the machine because of which the programs can't run.
fn in_the_way() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("the programs need root".to_owned());
    }
    let lacking: Vec<&str> = NEEDED.iter().copied().filter(|fact| !has(fact)).collect();
    (!lacking.is_empty()).then(|| {
        format!("this machine lacks what the programs need: {} (README.md of oci-conformance)", lacking.join(", "))
    })
}

fn run(request: &Request) -> Result<ExitCode, String> {
    let built = built();
    let documents = request.runtimes[0].0 == "corten"
        && (request.only.is_empty() || request.only.iter().any(|name| name == documents::NAME));
    let only: Vec<String> = request.only.iter().filter(|name| *name != documents::NAME).cloned().collect();
    let mut programs = programs(&built, &only)?;
    if documents && only.len() < request.only.len() && only.is_empty() {
        programs.clear();
    }
    if request.list {
        println!("{}", programs.join("\n"));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(fact) = in_the_way() {
        println!("{fact}");
        return Ok(ExitCode::from(77));
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
        let path = built.join("programs").join(program);
        for (runtime, column) in request.runtimes.iter().zip(&mut columns) {
            column.results.push(one(&built, dir.path(), program, &path, runtime, request.limit)?);
        }
        eprintln!("{program}");
    }
    let mut trials: Vec<Trial> = programs
        .iter()
        .zip(&columns[0].results)
        .map(|(program, result)| trial(program, known.judge(program, result).outcome(table::passed(result))))
        .collect();
    let mut details = table::details(&programs, &columns);
    if documents {
        let path = dir.path().join(documents::NAME);
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        stage::script(&path, &[&this, Path::new("--documents"), &built]).map_err(|error| error.to_string())?;
        let result = one(&built, dir.path(), documents::NAME, &path, &request.runtimes[0], request.limit)?;
        for it in &result {
            let outcome = known.one(documents::NAME, it).outcome(table::passed(std::slice::from_ref(it)));
            trials.push(trial(&format!("{}: {}", documents::NAME, it.name), outcome));
        }
        for line in known.unseen(documents::NAME, &result) {
            trials.push(trial(documents::NAME, Outcome::Failed(line)));
        }
        let columns = [Column { results: vec![result], ..column("corten", Path::new("")) }];
        details += &table::details(&[documents::NAME.to_owned()], &columns);
    }
    let gone = |failure: &&known::Failure| {
        failure.program != documents::NAME && !built.join("programs").join(&failure.program).exists()
    };
    if let Some(failure) = known.failure.iter().find(gone) {
        trials.push(trial(&failure.program, Outcome::Failed("known-failures.toml has it: no such program".to_owned())));
    }
    if columns.len() > 1 {
        println!("{}", table::render(&programs, &columns));
    }
    let report = built.join("report.txt");
    fs::write(&report, &details).map_err(|error| format!("{}: {error}", report.display()))?;
    let arguments = Arguments { test_threads: Some(1), ..Arguments::default() };
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

/// A test whose outcome is known already. The reasons of those that are left out stand in lines that scripts/test.sh collects.
fn trial(name: &str, outcome: Outcome) -> Trial {
    if let Outcome::Ignored(reason) = &outcome {
        println!("skipped {name}: {reason}");
    }
    Trial::ignorable_test(name, move || match outcome {
        Outcome::Passed => Ok(Completion::Completed),
        Outcome::Ignored(_) => Ok(Completion::ignored()),
        Outcome::Failed(why) => Err(why.into()),
    })
}

fn column(name: &str, path: &Path) -> Column {
    let version = Command::new(path).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    let version = String::from_utf8_lossy(&version);
    let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    Column { name: name.to_owned(), version: number.unwrap_or_default().to_owned(), results: Vec::new() }
}

/// Runs one program in a place of its own.
fn one(
    built: &Path,
    dir: &Path,
    program: &str,
    path: &Path,
    (name, runtime): &(String, PathBuf),
    limit: u32,
) -> Result<Vec<Assertion>, String> {
    let run = || -> std::io::Result<Vec<Assertion>> {
        let output = built.join("output").join(name);
        fs::create_dir_all(&output)?;
        let (out, err) = (output.join(format!("{program}.stdout")), output.join(format!("{program}.stderr")));
        let place = stage::Place::new(&dir.join(format!("{name}-{program}")), built, runtime)?;
        let files = (fs::File::create(&out)?, fs::File::create(&err)?);
        let end = place.run(path, name == "crun", limit, files.0, files.1)?;
        let text = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let said = text(&err)?;
        let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last_words = lines[lines.len().saturating_sub(6)..].join("\n");
        Ok(tap::parse(&text(&out)?, end, &last_words))
    };
    run().map_err(|error| format!("{program} with {name}: {error}"))
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
