//! Tests of the command line: what engines write, what people mistype.

use clap::Command;

use super::*;
use crate::fault::Stage;

fn argv(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn run(line: &str) -> Invocation {
    match parse(argv(line)) {
        Ok(Parsed::Run(invocation)) => *invocation,
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str) -> Box<Refused> {
    match parse(argv(line)) {
        Err(refused) => refused,
        other => panic!("{line}: {other:?}"),
    }
}

fn help(line: &str) -> String {
    match parse(argv(line)) {
        Ok(Parsed::Help(text)) => text,
        other => panic!("{line}: {other:?}"),
    }
}

/// An argv and the text that must refuse it.
fn assert_refused(cases: &[(&str, &str)]) {
    for (line, text) in cases {
        assert_eq!(refused(line).error.to_string(), *text, "{line}");
    }
}

#[test]
fn the_definition_is_consistent() {
    whole().debug_assert();
    for entry in VERBS {
        entry.command().debug_assert();
    }
}

#[test]
fn what_containerd_writes_is_understood() {
    let invocation = run(
        "--root /run/containerd/runc/default --log /run/b/log.json --log-format json --systemd-cgroup \
                          --rootless=false create --bundle /run/b --pid-file /run/b/init.pid --console-socket /tmp/pty.sock \
                          --pidfd-socket /tmp/pidfd.sock --no-pivot --no-new-keyring --detach --preserve-fds 2 web",
    );
    let Globals { root, log, cgroup_driver, rootless, .. } = invocation.globals;
    assert_eq!(root, Path::new("/run/containerd/runc/default"));
    let expected =
        log::Settings { file: Some("/run/b/log.json".into()), format: log::Format::Json, level: log::Level::Info };
    assert_eq!(log, expected);
    assert_eq!((cgroup_driver, rootless), (CgroupDriver::Systemd, Rootless::False));
    let Verb::Create(CreateArgs { launch, .. }) = invocation.verb else { panic!("not create") };
    assert_eq!((launch.id.as_str(), launch.bundle.as_path()), ("web", Path::new("/run/b")));
    assert_eq!(launch.pid_file.as_deref(), Some(Path::new("/run/b/init.pid")));
    assert_eq!(launch.console_socket.as_deref(), Some(Path::new("/tmp/pty.sock")));
    assert_eq!(launch.pidfd_socket.as_deref(), Some(Path::new("/tmp/pidfd.sock")));
    assert_eq!((launch.no_pivot, launch.no_new_keyring, launch.preserve_fds), (true, true, 2));
}

#[test]
fn what_podman_buildkit_and_cri_o_write_is_understood() {
    let invocation = run("--log-format=json --log /run/u/oci-log run --bundle /b --keep -no-subreaper web");
    let Verb::Run(args) = invocation.verb else { panic!("not run") };
    assert!(args.keep && args.no_subreaper && !args.detach);
    let Verb::Kill(args) = run("--root=/run/crio kill -a web 9").verb else { panic!("not kill") };
    assert_eq!((args.all, args.id.as_str(), args.signal.as_str()), (true, "web", "9"));
    let Verb::List(args) = run("list --format=json").verb else { panic!("not list") };
    assert_eq!((args.format.as_str(), args.quiet), ("json", false));
    let Verb::Delete(args) = run("delete --force web").verb else { panic!("not delete") };
    assert!(args.force && !args.regex);
}

#[test]
fn long_flags_may_have_one_dash() {
    let invocation = run("-root /r -log-format=json -debug create -pid-file /p -no-pivot web");
    assert_eq!(invocation.globals.root, Path::new("/r"));
    assert_eq!((invocation.globals.log.format, invocation.globals.log.level), (log::Format::Json, log::Level::Debug));
    let Verb::Create(args) = invocation.verb else { panic!("not create") };
    assert_eq!((args.launch.pid_file.as_deref(), args.launch.no_pivot), (Some(Path::new("/p")), true));
}

#[test]
fn clusters_of_short_flags_stay_clusters() {
    let Verb::Delete(args) = run("delete -rf x").verb else { panic!("not delete") };
    assert!(args.force && args.regex);
    for line in ["run -db /b web", "run -db/b web", "run -db=/b web", "run -d -b /b web", "run web --bundle=/x -d -b/b"]
    {
        let Verb::Run(args) = run(line).verb else { panic!("not run") };
        assert_eq!((args.detach, args.launch.bundle.as_path()), (true, Path::new("/b")), "{line}");
    }
}

#[test]
fn the_value_of_a_flag_is_never_taken_for_a_flag() {
    let invocation = run("--log -debug --criu --help create --pid-file --root -b -- web");
    assert_eq!(invocation.globals.log.file.as_deref(), Some(Path::new("-debug")));
    assert_eq!(invocation.globals.criu.as_deref(), Some(Path::new("--help")));
    assert_eq!(invocation.globals.log.level, log::Level::Info);
    let Verb::Create(args) = invocation.verb else { panic!("not create") };
    assert_eq!(args.launch.pid_file.as_deref(), Some(Path::new("--root")));
    assert_eq!(args.launch.bundle, Path::new("--"));
}

#[test]
fn after_two_dashes_nothing_is_a_flag() {
    let Verb::State(args) = run("state -- -x").verb else { panic!("not state") };
    assert_eq!(args.id, "-x");
    let Verb::Kill(args) = run("kill --all -- -x --help").verb else { panic!("not kill") };
    assert_eq!((args.id.as_str(), args.signal.as_str(), args.all), ("-x", "--help", true));
}

#[test]
fn flags_may_follow_arguments_and_globals_may_follow_the_verb() {
    let invocation = run("kill web KILL -a --root /r --debug");
    assert_eq!((invocation.globals.root.as_path(), invocation.globals.log.level), (Path::new("/r"), log::Level::Debug));
    let Verb::Kill(args) = invocation.verb else { panic!("not kill") };
    assert!(args.all);
}

#[test]
fn the_verb_s_own_flag_hides_a_global_one_of_the_same_name() {
    let invocation = run("--rootless true spec --rootless");
    assert_eq!(invocation.globals.rootless, Rootless::True);
    let Verb::Spec(args) = invocation.verb else { panic!("not spec") };
    assert!(args.rootless);
}

#[test]
fn a_repeated_flag_counts_as_it_was_given_last() {
    let invocation =
        run("--root /a --root /b --debug --debug=false create -b /x --bundle /y --no-pivot --no-pivot=0 web");
    assert_eq!((invocation.globals.root.as_path(), invocation.globals.log.level), (Path::new("/b"), log::Level::Info));
    let Verb::Create(args) = invocation.verb else { panic!("not create") };
    assert_eq!((args.launch.bundle.as_path(), args.launch.no_pivot), (Path::new("/y"), false));
}

#[test]
fn test_only_flags_are_typed_and_hidden() {
    let globals = run("--fault stage_two:3:EBUSY --fault undo:0 --pretend-kernel-lacks openat2,new_mount_api,mount_setattr,clone3,close_range,pidfd state x").globals;
    let faults: Vec<_> = globals.fault.iter().map(|fault| (fault.stage, fault.step)).collect();
    assert_eq!(faults, [(Stage::StageTwo, 3), (Stage::Undo, 0)]);
    assert_eq!(globals.pretend_kernel_lacks.len(), 6);
    assert_eq!(globals.pretend_kernel_lacks[..2], [KernelCall::Openat2, KernelCall::NewMountApi]);
    let help = help("--help");
    for hidden in ["--fault", "--pretend", " man ", " probe "] {
        assert!(!help.contains(hidden), "{hidden} in {help}");
    }
}

#[test]
fn an_unknown_flag_is_named_with_one_dash_and_followed_by_the_verb_s_help() {
    assert_refused(&[
        ("--foo", "flag provided but not defined: -foo"),
        ("create --foo web", "flag provided but not defined: -foo"),
        ("create -x web", "flag provided but not defined: -x"),
        ("create --foo=bar web", "flag provided but not defined: -foo"),
        ("create -foo web", "flag provided but not defined: -foo"),
        ("create -bundel /b web", "flag provided but not defined: -bundel"),
        ("state --no-pivot web", "flag provided but not defined: -no-pivot"),
    ]);
    let refused = refused("create --foo web");
    assert_eq!(refused.error.exit_code(), 1);
    let text = refused.text();
    assert_eq!(text, "Incorrect Usage: flag provided but not defined: -foo\n");
    assert!(refused.help.contains("--no-new-keyring"), "{}", refused.help);
}

#[test]
fn a_misspelt_word_comes_with_what_was_probably_meant() {
    for (line, meant) in [
        ("create --bundel /b web", "did you mean --bundle?"),
        ("create -pidfile /p web", "did you mean --pid-file?"),
        ("list --log-fromat json", "did you mean --log-format?"),
        ("--rot /r list", "did you mean --root?"),
        ("kill -9 web", "the signal stands behind the container, without a dash: corten kill ID 9"),
        ("kill web -KILL", "the signal stands behind the container, without a dash: corten kill ID KILL"),
        ("craete web", "did you mean `corten create`? `corten --help` lists the commands"),
        ("help runn", "did you mean `corten run`? `corten --help` lists the commands"),
    ] {
        assert_eq!(refused(line).report().hint, meant, "{line}");
    }
    // No guess is better than a wild one, and flags for tests are nobody's meaning.
    assert_eq!(refused("list --frobnicate").report().hint, "");
    assert_eq!(refused("list --falt").report().hint, "");
}

#[test]
fn the_help_beside_a_mistake_is_of_where_it_stands() {
    assert!(refused("--foo create web").help.contains("--systemd-cgroup"));
    assert!(refused("create --foo web").help.contains("--pid-file"));
}

#[test]
fn globals_are_checked_without_a_command_too() {
    assert_refused(&[
        ("--log-format xml", "invalid log-format: xml"),
        ("--rootless list", "invalid value \"list\" for flag -rootless: must be one of true, false, auto"),
    ]);
}

#[test]
fn a_wrong_command_line_still_says_where_its_log_is() {
    let log = refused("--foo --log /tmp/l --log-format json state").log;
    assert_eq!((log.file.as_deref(), log.format), (Some(Path::new("/tmp/l")), log::Format::Json));
    let log = refused("--log /tmp/l state").log;
    assert_eq!(log.file.as_deref(), Some(Path::new("/tmp/l")));
    let log = refused("--log /tmp/l nonsense").log;
    assert_eq!(log.file.as_deref(), Some(Path::new("/tmp/l")));
}

#[test]
fn an_unknown_command_has_its_own_exit_code() {
    assert_refused(&[
        ("foo", "No help topic for 'foo'"),
        ("foo --whatever", "No help topic for 'foo'"),
        ("--debug foo -x y", "No help topic for 'foo'"),
        ("foo --help", "No help topic for 'foo'"),
        ("help foo", "No help topic for 'foo'"),
    ]);
    assert_eq!(refused("foo").error.exit_code(), 3);
    assert_eq!(
        refused("f\x1boo").text(),
        "corten: No help topic for 'f\\u{1b}oo'\n  hint: `corten --help` lists the commands\n"
    );
}

#[test]
fn the_number_of_arguments_is_checked_against_the_definition() {
    assert_refused(&[
        ("create", "\"create\" requires exactly 1 argument(s)"),
        ("create a b", "\"create\" requires exactly 1 argument(s)"),
        ("state a b", "\"state\" requires exactly 1 argument(s)"),
        ("kill", "\"kill\" requires a minimum of 1 argument(s)"),
        ("kill a b c", "\"kill\" requires a maximum of 2 argument(s)"),
        ("list a", "\"list\" requires exactly 0 argument(s)"),
        ("features a", "\"features\" requires exactly 0 argument(s)"),
        ("demo a b", "\"demo\" requires a maximum of 1 argument(s)"),
    ]);
    let refused = refused("create");
    assert_eq!(refused.error.exit_code(), 1);
    assert_eq!(
        refused.text(),
        "corten: \"create\" requires exactly 1 argument(s)\n  hint: usage: corten create [OPTIONS] <ID>\n"
    );
}

#[test]
fn a_flag_without_its_value_is_named() {
    assert_refused(&[
        ("--log", "flag needs an argument: -log"),
        ("create web --bundle", "flag needs an argument: -bundle"),
        ("create web -b", "flag needs an argument: -bundle"),
        ("create --bundle= web", "flag needs an argument: -bundle"),
    ]);
    assert!(refused("create web -b").text().starts_with("Incorrect Usage: flag needs an argument: -bundle\n"));
}

#[test]
fn wrong_values_are_refused_with_the_values_that_would_do() {
    assert_refused(&[
        ("--root / list", "--root argument should not be set to /"),
        ("--log-format xml list", "invalid log-format: xml"),
        ("--debug=maybe list", "invalid boolean value \"maybe\" for -debug: parse error"),
        (
            "--cgroup-manager x list",
            "invalid value \"x\" for flag -cgroup-manager: must be one of cgroupfs, systemd, disabled",
        ),
        ("create --preserve-fds x web", "invalid value \"x\" for flag -preserve-fds: invalid digit found in string"),
        ("create --preserve-fds -1 web", "invalid value \"-1\" for flag -preserve-fds: -1 is not in 0..=4294967295"),
        ("completion csh", "invalid value \"csh\" for <SHELL>: must be one of bash, elvish, fish, powershell, zsh"),
        (
            "--fault x:1 list",
            "invalid value \"x:1\" for flag -fault: the stages are host, adopt, stage_one, stage_two, mounted, ready, start, undo",
        ),
    ]);
}

#[test]
fn help_is_everywhere_and_every_verb_has_examples() {
    let overview = help("");
    assert!(overview.starts_with("A low-level OCI container runtime"), "{overview}");
    assert_eq!(overview, help("--help"));
    assert_eq!(overview, help("-h"));
    assert_eq!(overview, help("help"));
    for entry in VERBS {
        let text = help(&format!("{} --help", entry.name));
        assert_eq!(text, help(&format!("help {}", entry.name)));
        assert_eq!(text, help(&format!("-h {} some thing", entry.name)));
        assert!(
            text.starts_with(entry.about) && text.trim_end().ends_with(entry.examples.lines().last().unwrap_or("?")),
            "{text}"
        );
        assert!(text.contains(&format!("Usage: corten {}", entry.name)), "{text}");
        assert_eq!(overview.contains(&format!("\n  {} ", entry.name)), !entry.hidden, "{} in {overview}", entry.name);
    }
}

#[test]
fn what_is_observed_and_how_often_is_understood() {
    let Verb::Events(args) = run("--root /r events --interval=10s web").verb else { panic!("not events") };
    assert_eq!((args.id.as_str(), args.interval.as_secs(), args.stats), ("web", 10, false));
    let Verb::Events(args) = run("events -stats -interval 1m30s web").verb else { panic!("not events") };
    assert_eq!((args.interval.as_secs(), args.stats), (90, true));
    let Verb::Events(args) = run("events web").verb else { panic!("not events") };
    assert_eq!(args.interval.as_secs(), 5);
    let Verb::Stats(args) = run("stats").verb else { panic!("not stats") };
    assert!(args.ids.is_empty());
    let Verb::Stats(args) = run("stats --json a b --no-stream c").verb else { panic!("not stats") };
    assert_eq!((args.ids, args.no_stream, args.json), (["a", "b", "c"].map(str::to_owned).to_vec(), true, true));
    assert_refused(&[("events", "\"events\" requires exactly 1 argument(s)")]);
}

/// The examples of the help are lines that corten itself understands.
#[test]
fn every_example_of_the_help_parses() {
    let mut seen = 0;
    let texts = VERBS.iter().map(|entry| entry.examples).chain([OVERVIEW_EXAMPLES]);
    for line in texts.flat_map(str::lines).skip_while(|line| line.starts_with("Examples")) {
        let Some(line) = line.strip_prefix("  corten ") else { continue };
        for command in line.split(" && corten ") {
            let words = command.split("  ").next().unwrap().split([' ', '>']).filter(|word| !word.is_empty());
            let words = words.map(|word| OsString::from(word.trim_matches('\'')));
            // What stands behind `>` and `|` is for the shell.
            let count = if command.contains('>') { 2 } else { usize::MAX };
            let parsed = parse(words.take(count).take_while(|word| word != "#" && word != "|"));
            assert!(matches!(parsed, Ok(Parsed::Run(_))), "{command}: {parsed:?}");
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn the_version_is_asked_for_in_every_customary_way() {
    for line in ["--version", "-v", "-V", "-version", "version", "--root /r --version", "--version create"] {
        assert!(matches!(parse(argv(line)), Ok(Parsed::Version)), "{line}");
    }
}

#[test]
fn the_config_that_errors_point_into_is_known_before_the_command_runs() {
    let path = |line: &str| run(line).config_path();
    assert_eq!(path("create -b /b web").as_deref(), Some(Path::new("/b/config.json")));
    assert_eq!(path("run -b /b -f other.json web").as_deref(), Some(Path::new("/b/other.json")));
    assert_eq!(path("check -b /b -f /etc/c.json").as_deref(), Some(Path::new("/etc/c.json")));
    assert!(path("create web").is_some_and(|path| path.is_absolute()));
    assert_eq!(path("state web"), None);
}

/// The walk knows shorts and longs by their definition only; a verb must not use one of the globals' letters.
#[test]
fn the_verbs_that_enter_a_container_are_marked_in_the_table() {
    let verb = |words: &[&str]| match parse(words.iter().map(Into::into)) {
        Ok(Parsed::Run(invocation)) => invocation.verb,
        other => panic!("{words:?}: {other:?}"),
    };
    for words in [&["create", "x"][..], &["run", "x"], &["demo"]] {
        assert!(verb(words).enters_a_container(), "{words:?}");
    }
    for words in
        [&["start", "x"][..], &["state", "x"], &["kill", "x"], &["delete", "x"], &["list"], &["plan"], &["man"]]
    {
        assert!(!verb(words).enters_a_container(), "{words:?}");
    }
}

#[test]
fn no_verb_shadows_a_global_flag_by_accident() {
    let names = |command: &Command| -> Vec<String> {
        let long = command.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned));
        let short = command.get_arguments().filter_map(|arg| arg.get_short().map(String::from));
        long.chain(short).collect()
    };
    let globals = names(&globals::definition());
    for entry in VERBS {
        let shadowed: Vec<String> = names(&entry.command()).into_iter().filter(|name| globals.contains(name)).collect();
        let expected: &[&str] = if entry.name == "spec" { &["rootless"] } else { &[] };
        assert_eq!(shadowed, expected, "{}", entry.name);
    }
}

#[test]
fn what_follows_the_id_of_ps_is_not_ours() {
    let ps = |line: &str| match run(line).verb {
        Verb::Ps(args) => (args.format, args.id, args.options.join(&OsString::from(" ")).into_string().unwrap()),
        other => panic!("{line}: {other:?}"),
    };
    let expect = |format: &str, options: &str| (format.to_owned(), "web".to_owned(), options.to_owned());
    assert_eq!(ps("ps web"), expect("table", ""));
    assert_eq!(ps("ps --format json web"), expect("json", ""));
    assert_eq!(ps("ps --format table web -ef"), expect("table", "-ef"));
    assert_eq!(ps("ps -f table web -o pid,cmd --format x --debug"), expect("table", "-o pid,cmd --format x --debug"));
    assert_eq!(ps("ps web -- --help"), expect("table", "-- --help"));
    assert_eq!(ps("ps -- web -ef"), expect("table", "-ef"));
    assert_eq!(refused("ps").error.to_string(), "\"ps\" requires a minimum of 1 argument(s)");
    assert!(help("ps --help").contains("PS OPTIONS"));
}

#[test]
fn an_update_names_the_file_that_its_limits_come_from() {
    assert_eq!(run("update web").config_path(), None);
    assert_eq!(run("update --resources - web").config_path(), Some("stdin".into()));
    assert_eq!(run("update -r /l.json web").config_path(), Some("/l.json".into()));
}
