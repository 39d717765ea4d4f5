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
    man_shows_the_pages,
    the_completion_of_bash_completes,
    the_completion_of_fish_completes,
    the_completion_of_zsh_completes,
    no_completion_offers_a_flag_that_is_for_tests,
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

/// Help as lines of shell: all that stands behind the word, so that no example is passed over.
pub fn examples(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1).filter(|line| !line.trim().is_empty());
    let shell = |line: &str| {
        assert!(["  corten ", "  echo "].iter().any(|word| line.starts_with(word)), "no line of shell: {line:?}");
        line.trim().to_owned()
    };
    lines.map(shell).collect()
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
    let mut every: Vec<&str> = corten::cli::VERBS.iter().map(|entry| entry.name).collect();
    let hidden: Vec<&str> = every.iter().copied().filter(|name| !verbs.iter().any(|verb| verb == name)).collect();
    assert_eq!(hidden, ["man"], "the overview leaves verbs out");
    // These need criu: `checkpoint_life::the_examples_of_the_help_run`.
    every.retain(|verb| !["checkpoint", "restore"].contains(verb));
    every.push("");
    for verb in every {
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

/// Section 8 as a user's `man` formats it, with its own warnings.
fn man_shows_the_pages(sb: &Sandbox) {
    sb.only_corten("writes manual pages");
    sb.needs_program("/usr/bin/man", "man-db");
    sb.needs_program("/usr/bin/groff", "groff-base");
    let dir = sb.path("man");
    sb.call(["man"]).arg(&dir).output().ok();
    for entry in corten::cli::VERBS {
        let page = dir.join(format!("corten-{}.8", entry.name));
        let mut man = Command::new("man");
        // A width that all examples fit: they are shown as they stand.
        let man = man.args(["--warnings=w", "--local-file"]).arg(&page).env("LC_ALL", "C.UTF-8").env("MANWIDTH", "130");
        let output = man.output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && complaints.is_empty(), "{}: {complaints}", page.display());
        let text = String::from_utf8_lossy(&output.stdout).replace('\u{2010}', "-");
        assert!(text.contains(&format!("corten-{}", entry.name)) && text.contains("EXAMPLES"), "{text}");
    }
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

fn the_completion_of_fish_completes(sb: &Sandbox) {
    sb.only_corten("writes completions");
    sb.needs_program("/usr/bin/fish", "fish");
    let script = sb.path("completion.fish");
    fs::write(&script, &sb.call(["completion", "fish"]).output().ok().stdout).unwrap();
    let complete = |line: &str| {
        let ask = format!("source {}; complete --do-complete '{line}'", script.display());
        let output = Command::new("fish").args(["--no-config", "-c", &ask]).env("HOME", sb.dir()).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete("corten cre"), ["create"]);
    assert_eq!(complete("corten create --pid-"), ["--pid-file"]);
    assert_eq!(complete("corten --log-f"), ["--log-format"]);
}

/// Types into an interactive zsh, which completes at the tab and then runs what stands there: a function that says it.
const TYPE_IN_ZSH: &str = r#"
zmodload zsh/zpty
zpty inner zsh -f -i
zpty -w inner "PS1= PS2=; autoload -Uz compinit; compinit -D -u; source $1; corten() { print RUN:\$* }; print REA''DY"
zpty -r inner out '*READY*'
for words in "$@[2,-1]"; do
  zpty -w -n inner "corten $words"$'\t\n'
  zpty -r inner out '*RUN:*'$'\n'
  print -r -- "${${out##*RUN:}%%[[:space:]]#}"
done
"#;

fn the_completion_of_zsh_completes(sb: &Sandbox) {
    sb.only_corten("writes completions");
    sb.needs_program("/usr/bin/zsh", "zsh");
    sb.needs_program("/usr/bin/timeout", "coreutils");
    let (script, typist) = (sb.path("_corten"), sb.path("type.zsh"));
    fs::write(&script, &sb.call(["completion", "zsh"]).output().ok().stdout).unwrap();
    fs::write(&typist, TYPE_IN_ZSH).unwrap();
    let mut zsh = Command::new("timeout");
    let zsh = zsh.args(["20", "zsh", "-f"]).args([&typist, &script]).args(["cre", "create --pid-f", "--log-f"]);
    let output = zsh.env("HOME", sb.dir()).stdin(std::process::Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines, ["create", "create --pid-file", "--log-format"], "{output:?}");
}

fn no_completion_offers_a_flag_that_is_for_tests(sb: &Sandbox) {
    sb.only_corten("writes completions");
    for shell in ["bash", "fish", "zsh"] {
        let script = sb.call(["completion", shell]).output().ok().stdout.clone();
        assert!(script.contains("log-format"), "{shell}: {script}");
        // The last two as fish has them.
        for flag in ["--fault", "--pretend", "-l fault", "-l pretend"] {
            let line = script.lines().find(|line| line.contains(flag));
            assert_eq!(line, None, "{shell}: {flag}");
        }
    }
}
