//! Tests of the rendering: the layout, and the fragments that engines match.

use nix::errno::Errno;

use super::*;
use crate::fault::{Call, Stage};

fn step() -> Error {
    Error::Step {
        stage: Stage::StageTwo,
        index: 7,
        sentence: "bind /nonexistent/src on /data".into(),
        field: Field::item("/mounts", 3, "/source"),
        trouble: Trouble::new(Call::OpenTree, Errno::ENOENT),
        detail: String::new(),
        hint: String::new(),
    }
}

fn context<'a>() -> Context<'a> {
    let line_of: fn(&[u8], &Field) -> Option<usize> = |_, field| (field.pointer() == "/mounts/3/source").then_some(214);
    Context { config: Some((Path::new("/b/config.json"), b"{}")), line_of, ..Context::of("create", Some("web")) }
}

#[test]
fn a_failed_step_names_the_property_its_line_the_call_and_the_next_step() {
    let report = render(&step(), &context());
    assert_eq!(
        report.text(),
        "corten: create web: mounts[3].source: bind /nonexistent/src on /data: open_tree: No such file or directory\n\
         \x20       config.json line 214\n\
         \x20 hint: the source of a bind mount must exist on the host first\n"
    );
    assert_eq!((report.call, report.errno), (Some("open_tree"), Some(2)));
    assert_eq!(report.field, Some(Field::item("/mounts", 3, "/source")));
}

#[test]
fn an_error_s_own_hint_comes_before_the_table() {
    let mut error = step();
    if let Error::Step { hint, .. } = &mut error {
        *hint = "mkdir it".into();
    }
    assert_eq!(render(&error, &context()).hint, "mkdir it");
}

#[test]
fn what_could_not_be_undone_stands_behind_the_error_whose_facts_stay() {
    let left = |error| Error::LeftOver { error: Box::new(error), left: "could not set back /a".into() };
    let report = render(&left(step()), &context());
    assert!(report.message.ends_with(": No such file or directory; could not set back /a"), "{}", report.message);
    let plain = render(&step(), &context());
    assert_eq!(
        (report.line, report.hint, report.field, report.call, report.errno),
        (plain.line, plain.hint, plain.field, plain.call, plain.errno)
    );
    let damaged = render(&left(Error::DamagedState { id: "web".into(), why: "no JSON".into() }), &context());
    assert!(damaged.hint.contains("corten delete --force"), "{damaged:?}");
}

#[test]
fn further_violations_stand_below_with_their_lines() {
    let mut second = Violation::new(Field::at("/process/args"), "args must not be empty");
    second.line = Some(12);
    let error = Error::Violations(vec![
        Violation::new(Field::at("/process/cwd"), "Cwd must be an absolute path, not \"tmp\"").hint("write /tmp"),
        second,
    ]);
    let text = render(&error, &context()).text();
    assert_eq!(
        text,
        "corten: create web: process.cwd: Cwd must be an absolute path, not \"tmp\" (and 1 more; `corten check` lists all)\n\
         \x20       process.args: args must not be empty (config.json line 12)\n\
         \x20 hint: write /tmp\n"
    );
}

#[test]
fn a_violation_that_knows_its_line_is_believed() {
    let mut violation = Violation::new(Field::item("/mounts", 3, "/source"), "no");
    violation.line = Some(9);
    let report = render(&Error::Violations(vec![violation]), &context());
    assert_eq!(report.line, Some(("config.json".into(), 9)));
}

#[test]
fn a_syntax_error_points_at_its_line_without_a_field() {
    let error = Error::Syntax { path: "/b/config.json".into(), line: 3, why: "expected `,` at column 7".into() };
    let report = render(&error, &context());
    assert_eq!(report.line, Some(("config.json".into(), 3)));
    assert_eq!(report.field, None);
}

#[test]
fn control_characters_from_a_container_do_not_reach_the_terminal() {
    let error = Error::Hook {
        kind: "createRuntime",
        index: 0,
        how: "exit status 3".into(),
        stdout: String::new(),
        stderr: "first\n\tsecond\x1b[2J\n".into(),
        field: Field::item("/hooks/createRuntime", 0, ""),
    };
    let message = render(&error, &context()).message;
    assert_eq!(
        message,
        "create web: error running createRuntime hook #0: exit status 3, stdout: , stderr: first second\\u{1b}[2J"
    );
}

#[test]
fn the_long_ids_of_engines_are_shortened_in_the_message() {
    let id = "0123456789abcdef".repeat(4);
    let report = render(&Error::NoSuchContainer { id: id.clone() }, &Context::of("state", Some(&id)));
    assert_eq!(report.message, "state 0123456789ab: container does not exist");
    let report = render(&Error::EmptyId, &Context::of("state", Some("")));
    assert_eq!(report.message, "state: container id cannot be empty");
}

#[test]
fn a_usage_error_stands_alone() {
    let report = render(&Error::Usage("\"create\" requires exactly 1 argument(s)".into()), &context());
    assert_eq!(report.message, "\"create\" requires exactly 1 argument(s)");
}

/// What containerd, Podman, Docker, CRI-O and scripts look for in a message.
#[test]
fn every_message_keeps_the_fragment_that_engines_match() {
    let program = |why: &str, errno| Error::Executable {
        arg0: "nope".into(),
        why: why.into(),
        trouble: Trouble::new(Call::FindExecutable, errno),
        field: Field::at("/process/args/0"),
    };
    let status = |text: &str| Error::WrongStatus(text.into());
    let violation = |why: &str| Error::Violations(vec![Violation::new(Field::at("/process"), why)]);
    let cases: Vec<(Error, &str)> = vec![
        (Error::NoSuchContainer { id: "web".into() }, "container does not exist"),
        (Error::AlreadyExists { id: "web".into() }, "container with given ID already exists"),
        (Error::BadId { id: "a/b".into() }, "invalid container ID format"),
        (Error::EmptyId, "container id cannot be empty"),
        (Error::UnknownSignal("FOO".into()), "unknown signal \"FOO\""),
        (Error::UnknownCommand("foo".into()), "No help topic for 'foo'"),
        (Error::Usage("flag provided but not defined: -x".into()), "flag provided but not defined: -x"),
        (Error::NoConfig { path: "config.json".into() }, "JSON specification file config.json not found"),
        (status("container not running"), "container not running"),
        (status("cannot delete container c1 that is not stopped: running"), "that is not stopped: running"),
        (status("cannot start an already running container"), "cannot start an already running container"),
        (status("cannot start a container that has stopped"), "cannot start a container that has stopped"),
        (violation("args must not be empty"), "args must not be empty"),
        (
            program("executable file not found in $PATH", Errno::ENOENT),
            "exec: \"nope\": executable file not found in $PATH",
        ),
        (program("stat /nope: no such file or directory", Errno::ENOENT), "no such file or directory"),
        (program("permission denied", Errno::EACCES), "permission denied"),
        (program("is a directory", Errno::EISDIR), "exec: \"nope\": is a directory"),
        (step(), "No such file or directory"),
        (Error::os("x", Trouble::new(Call::Kill, Errno::ESRCH)), "No such process"),
        (Error::os("x", Trouble::new(Call::Mount, Errno::EPERM)), "Operation not permitted"),
        (Error::os("x", Trouble::new(Call::Open, Errno::EACCES)), "Permission denied"),
        (Error::os("x", Trouble::new(Call::MoveMount, Errno::ENOTDIR)), "Not a directory"),
    ];
    for (error, fragment) in cases {
        let message = render(&error, &Context::of("create", Some("web"))).message;
        assert!(message.contains(fragment), "{message:?} lacks {fragment:?}");
        assert!(!message.contains('\n'));
    }
}
