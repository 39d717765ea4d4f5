//! Everything that helps to write a command line: the examples of the help run as they stand, mistakes come with what
//! was meant, and the manual pages can be read.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Bundle, Case, Output, Sandbox, cases};

pub const CASES: &[Case] = cases![
    every_example_of_the_help_runs,
    an_unknown_flag_is_one_line_on_stderr_and_help_on_stdout,
    a_misspelt_word_comes_with_what_was_meant,
    help_is_told_in_every_way_of_asking,
    the_manual_pages_can_be_read,
    the_completion_of_bash_completes,
];

/// The verbs that the overview lists.
fn verbs(sb: &Sandbox) -> Vec<String> {
    let overview = sb.call(["--help"]).bare().output();
    let lines = overview
        .ok()
        .stdout
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| !matches!(*name, "help" | "version")).map(str::to_owned).collect()
}

/// Help as lines of shell.
pub fn examples(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    lines
        .filter(|line| ["  corten ", "  echo "].iter().any(|word| line.starts_with(word)))
        .map(|line| line.trim().to_owned())
        .collect()
}

/// Runs a line as a shell would, with the sandbox's places in place of the machine's.
pub fn shell(sb: &Sandbox, line: &str) -> Output {
    let dir = sb.path("files");
    let dir = dir.to_str().unwrap();
    let mut line = line.to_owned();
    for place in ["/tmp/", "/etc/bash_completion.d/", "/usr/local/share/man/"] {
        line = line.replace(place, &format!("{dir}/"));
    }
    let script = format!("corten() {{ \"$program\" --root \"$root\" \"$@\"; }}\nprogram=$1 root=$3\nset -e\n{line}");
    let call = sb.call([]).under(&["/bin/sh", "-c", &script, "sh"]).env("HOME", dir);
    call.current_dir(sb.tree(&format!("here-{}", sb.number()), &[])).output()
}

/// The containers that an example speaks of.
fn prepare(sb: &Sandbox, verb: &str, bundle: &Bundle) {
    sb.call(["delete", "--force", "--regex", ""]).output().ok();
    let (exist, run) = match verb {
        "state" | "exec" | "spec" | "kill" | "pause" | "resume" | "list" | "ps" | "update" | "events" | "stats"
        | "mounts" => (true, true),
        "delete" => (true, false),
        _ => (false, false),
    };
    for id in ["web", "web-1"] {
        if exist {
            sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(id).output().ok();
        }
        if run {
            sb.call(["start", id]).output().ok();
        }
    }
}

fn every_example_of_the_help_runs(sb: &Sandbox) {
    sb.only_corten("has examples");
    let pausing = sb.bundle().tool(["pause"]).symlink("/bin/corten", "probe").build();
    let files = sb.tree("files", &[(".config/fish/completions/", "")]);
    let mut seen = 0;
    let verbs = verbs(sb);
    // These need criu: `checkpoint_life::the_examples_of_the_help_run`.
    let needs_criu = |verb: &&str| ["checkpoint", "restore"].contains(verb);
    for verb in verbs.iter().map(String::as_str).filter(|verb| !needs_criu(verb)).chain(["man", ""]) {
        let help = match verb {
            "" => sb.call(["help"]).bare().output(),
            verb => sb.call(["help", verb]).bare().output(),
        };
        for bundle in ["web", "mine", "demo"] {
            let _ = fs::remove_dir_all(files.join(bundle));
        }
        let examples = examples(&help.ok().stdout);
        assert!(!examples.is_empty(), "{verb}: {}", help.stdout);
        prepare(sb, verb, &pausing);
        for example in examples {
            // A signal may have ended it, and another example has it deleted.
            if ["kill", "delete"].contains(&verb) {
                prepare(sb, verb, &pausing);
            }
            let output = shell(sb, &example);
            assert_eq!(output.code, 0, "{example}\n{}{}", output.stdout, output.stderr);
            seen += 1;
        }
    }
    prepare(sb, "", &pausing);
    assert!(seen > 30, "{seen}");
}

fn an_unknown_flag_is_one_line_on_stderr_and_help_on_stdout(sb: &Sandbox) {
    sb.only_corten("does so");
    let output = sb.call(["create", "--frobnicate", "x"]).log("json").output();
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (1, "Incorrect Usage: flag provided but not defined: -frobnicate\n")
    );
    assert!(output.stdout.contains("--pid-file"), "{}", output.stdout);
    assert_eq!(output.log.lines().count(), 1, "{}", output.log);
}

fn a_misspelt_word_comes_with_what_was_meant(sb: &Sandbox) {
    sb.only_corten("guesses");
    let output = sb.call(["craete", "x"]).output();
    assert_eq!(output.code, 3, "{output:?}");
    assert!(output.stderr.contains("No help topic for 'craete'\n  hint: did you mean `corten create`?"), "{output:?}");
    sb.call(["create", "--bundel", "/b", "x"]).output().fails_with(&["-bundel", "hint: did you mean --bundle?"]);
    sb.call(["kill", "-9", "x"]).output().fails_with(&["corten kill ID 9"]);
}

fn help_is_told_in_every_way_of_asking(sb: &Sandbox) {
    sb.only_corten("has them all");
    for verb in verbs(sb) {
        let asked = sb.call(["help", &verb]).bare().output().ok().stdout.clone();
        for words in [[verb.as_str(), "--help"], [&verb, "-h"], [&verb, "-help"], ["-h", &verb]] {
            assert_eq!(sb.call(words).bare().output().ok().stdout, asked, "{words:?}");
        }
    }
}

fn the_manual_pages_can_be_read(sb: &Sandbox) {
    sb.only_corten("writes manual pages");
    let dir = sb.path("man");
    sb.call(["man"]).arg(&dir).output().ok();
    for verb in verbs(sb) {
        assert!(dir.join(format!("corten-{verb}.8")).exists(), "{verb}");
    }
    sb.needs_program("/usr/bin/groff", "groff-base");
    for page in fs::read_dir(&dir).unwrap().map(|item| item.unwrap().path()) {
        let text = rendered(&page);
        for heading in ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES", "EXIT STATUS", "SEE ALSO"] {
            assert!(text.contains(heading), "{}: {heading}", page.display());
        }
        // Every page that is named exists.
        let named = text.split(|c: char| c.is_whitespace() || c == ',').filter_map(|word| word.split_once("(8)"));
        for (name, _) in named.filter(|(name, _)| name.starts_with("corten")) {
            assert!(dir.join(format!("{name}.8")).exists(), "{}: {name}(8)", page.display());
        }
    }
}

/// A page as a terminal shows it; complaints of groff fail the test.
fn rendered(page: &Path) -> String {
    let output = Command::new("groff").args(["-man", "-Tutf8", "-ww", "-P-cbou"]).arg(page).output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && complaints.is_empty(), "{}: {complaints}", page.display());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn the_completion_of_bash_completes(sb: &Sandbox) {
    sb.only_corten("writes completions");
    sb.needs_program("/bin/bash", "bash");
    let script = sb.path("completion");
    fs::write(&script, &sb.call(["completion", "bash"]).output().ok().stdout).unwrap();
    let complete = |words: &str| {
        let ask = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); \
             _corten corten \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[*]}}\"",
            script.display()
        );
        let output = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(complete("corten cre"), "create");
    assert_eq!(complete("corten create --pid-"), "--pid-file");
    assert_eq!(complete("corten --log-f"), "--log-format");
}
