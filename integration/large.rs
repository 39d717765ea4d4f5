//! Configs of a size that nobody writes: each is refused or planned in a time that grows with its size, not with the square
//! of it, and so is what is told of it. `LARGE_BYTES` sets their size; what corten reads at most is 4 MiB.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use corten::commands::{launch, plan::render_text};
use corten::config::validate::{Unread, judge_the_rest};
use corten::config::{parse, schema, warn};
use corten::error::Error;
use corten::explain;
use corten::host::Host;
use corten::host::cgroups::Layout;
use corten::request::{CgroupDriver, Mode, Request};

/// A fifth of what is read. The square of what such a file can hold takes minutes in a build for tests.
const BYTES: usize = 800 << 10;

/// For a slow machine with much else to do. A second is usual.
const PATIENCE: Duration = Duration::from_secs(30);

fn bytes() -> usize {
    std::env::var("LARGE_BYTES").ok().and_then(|bytes| bytes.parse().ok()).unwrap_or(BYTES)
}

/// `before`, as many items as fit, `after`; `#` in an item is its number.
fn filled(before: &str, item: &str, after: &str) -> String {
    repeated(before, item, ",", after)
}

/// The same without commas: one long string.
fn run_on(before: &str, item: &str, after: &str) -> String {
    repeated(before, item, "", after)
}

fn repeated(before: &str, item: &str, between: &str, after: &str) -> String {
    let mut text = before.to_owned();
    let room = bytes() - after.len();
    let mut number = 0;
    loop {
        let next = item.replace('#', &number.to_string());
        if text.len() + next.len() + 1 > room {
            break;
        }
        if number > 0 {
            text.push_str(between);
        }
        text.push_str(&next);
        number += 1;
    }
    text + after
}

const HEAD: &str = r#"{"ociVersion":"1.3.0","root":{"path":"rootfs"},"#;
const RUN: &str = r#""process":{"cwd":"/","args":["sh"],"user":{"uid":0,"gid":0}}"#;
const PRIVATE: &str = r#""linux":{"namespaces":[{"type":"mount"},{"type":"network"},{"type":"ipc"}]"#;

/// A list at the top, in `linux` or in `process`, and the ends around it.
fn top(property: &str, item: &str) -> String {
    filled(&format!("{HEAD}{RUN},{PRIVATE}}},\"{property}\":["), item, "]}")
}

fn linux(open: &str, item: &str, close: &str) -> String {
    filled(&format!("{HEAD}{RUN},{PRIVATE},{open}"), item, &format!("{close}}}}}"))
}

fn process(open: &str, item: &str, close: &str) -> String {
    let before = format!(r#"{HEAD}{PRIVATE}}},"process":{{"cwd":"/","args":["sh"],"user":{{"uid":0,"gid":0}},{open}"#);
    filled(&before, item, &format!("{close}}}}}"))
}

/// Whether it may be planned, and the text.
fn documents() -> Vec<(&'static str, String)> {
    let users = r#"{"type":"user"}],"uidMappings":[{"containerID":0,"hostID":5,"size":9}],"gidMappings":["#;
    let mapped = format!(
        r#"{HEAD}"process":{{"cwd":"/","args":["sh"],"user":{{"uid":0,"gid":0,"additionalGids":[1,2,3]}}}},"linux":{{"namespaces":[{users}"#
    );
    vec![
        ("mounts", top("mounts", r#"{"destination":"/a#","type":"tmpfs"}"#)),
        ("mounts that say nothing", top("mounts", r#"{"destination":"a"}"#)),
        ("mounts of cgroups", top("mounts", r#"{"destination":"/a#","type":"cgroup"}"#)),
        ("mounts with wrong options", top("mounts", r#"{"destination":"/a","source":"/","options":["bind","x"]}"#)),
        (
            "options of a mount",
            filled(
                &format!(r#"{HEAD}{RUN},{PRIVATE}}},"mounts":[{{"destination":"/a","type":"tmpfs","options":["#),
                "\"a#=1\"",
                "]}]}",
            ),
        ),
        (
            "options joined with commas",
            filled(
                &format!(r#"{HEAD}{RUN},{PRIVATE}}},"mounts":[{{"destination":"/a","type":"tmpfs","options":["a"#),
                "b#",
                "\"]}]}",
            ),
        ),
        (
            "options that exclude each other",
            filled(
                &format!(r#"{HEAD}{RUN},{PRIVATE}}},"mounts":[{{"destination":"/a","source":"/","options":["#),
                r#""sync","async","rbind","rslave""#,
                "]}]}",
            ),
        ),
        ("environment", process("\"env\":[", "\"a#=\"", "]")),
        ("environment without values", process("\"env\":[", "\"a#\"", "]")),
        ("groups", process("\"x\":[", "#", "]")),
        ("groups beside many mappings", filled(&mapped, r#"{"containerID":#,"hostID":#,"size":1}"#, "]}}")),
        ("limits", process("\"rlimits\":[", r#"{"type":"RLIMIT_CORE","soft":1,"hard":1}"#, "]")),
        ("limits without numbers", process("\"rlimits\":[", r#"{"type":"RLIMIT_CORE"}"#, "]")),
        ("capabilities", process("\"capabilities\":{\"bounding\":[", "\"CAP_X#\"", "]}")),
        ("a word that is unknown", process("\"rlimits\":[", r#"{"type":"RLIMIT_COR#","soft":1,"hard":1}"#, "]")),
        ("hooks", filled(&format!(r#"{HEAD}{RUN},{PRIVATE}}},"hooks":{{"prestart":["#), r#"{"path":"/a"}"#, "]}}")),
        (
            "hooks after the end",
            filled(&format!(r#"{HEAD}{RUN},{PRIVATE}}},"hooks":{{"poststop":["#), r#"{"path":"/a"}"#, "]}}"),
        ),
        ("devices", linux("\"devices\":[", r##"{"path":"/a#","type":"p"}"##, "]")),
        ("devices with one path", linux("\"devices\":[", r##"{"path":"/a","type":"c","major":1,"minor":#}"##, "]")),
        (
            "device rules",
            linux(
                "\"resources\":{\"devices\":[",
                r#"{"allow":true,"type":"c","major":1,"minor":#,"access":"r"}"#,
                "]}",
            ),
        ),
        (
            "block devices",
            linux("\"resources\":{\"blockIO\":{\"weightDevice\":[", r#"{"major":8,"minor":#,"weight":10}"#, "]}}"),
        ),
        ("huge pages", linux("\"resources\":{\"hugepageLimits\":[", r##"{"pageSize":"#KB","limit":1}"##, "]}")),
        ("files of version 2", linux("\"resources\":{\"unified\":{", r#""memory.a#":"1""#, "}}")),
        ("masked paths", linux("\"maskedPaths\":[", "\"/a#\"", "]")),
        ("kernel parameters", linux("\"sysctl\":{", "\"net.a#\":\"1\"", "}")),
        ("kernel parameters of the host", linux("\"sysctl\":{", "\"a#\":\"1\"", "}")),
        ("network devices without a name", linux("\"netDevices\":{", "\"a b#\":{}", "}")),
        ("namespaces", filled(&format!("{HEAD}{RUN},\"linux\":{{\"namespaces\":["), r#"{"type":"pid"}"#, "]}}")),
        (
            "syscalls",
            linux(
                r#""seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":["#,
                r#"{"names":["read"],"action":"SCMP_ACT_LOG"}"#,
                "]}",
            ),
        ),
        (
            "conditions",
            linux(
                r#""seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","args":["#,
                r#"{"index":1,"value":#,"op":"SCMP_CMP_EQ"}"#,
                "]}]}",
            ),
        ),
        ("annotations", filled(&format!("{HEAD}{RUN},{PRIVATE}}},\"annotations\":{{"), "\"a#\":\"\"", "}}")),
        (
            "properties of a unit",
            filled(&format!("{HEAD}{RUN},{PRIVATE}}},\"annotations\":{{"), "\"org.systemd.property.a#\":\"1\"", "}}"),
        ),
        (
            "a value with brackets",
            run_on(
                &format!("{HEAD}{RUN},{PRIVATE}}},\"annotations\":{{\"org.systemd.property.Abc\":\""),
                "[[[[[[[[[[[[[[[[",
                "\"}}",
            ),
        ),
        (
            "a value with types",
            run_on(
                &format!("{HEAD}{RUN},{PRIVATE}}},\"annotations\":{{\"org.systemd.property.Abc\":\""),
                "[@as ",
                "\"}}",
            ),
        ),
        ("unknown properties", filled(&format!("{HEAD}{RUN},{PRIVATE}}},"), "\"a#\":1", "}")),
        ("one property many times", filled(&format!("{HEAD}{RUN},{PRIVATE}}},"), "\"hostname\":\"a\"", "}")),
        ("wrong types", top("mounts", "1")),
        ("nulls", top("mounts", "null")),
        ("empty objects", top("mounts", "{}")),
        ("nested arrays", top("foreign", "[[[[[[[[]]]]]]]]")),
        ("nesting without an end", run_on(&format!("{HEAD}\"mounts\":"), "[[[[[[[[[[[[[[[[", "")),
        ("a number with many digits", run_on(&format!("{HEAD}{RUN},\"hostname\":1"), "1111111111111111", "}")),
        ("a string", run_on(&format!("{HEAD}{RUN},{PRIVATE}}},\"hostname\":\""), "aaaaaaaaaaaaaaaaaaaa", "\"}")),
        ("NUL characters", process("\"env\":[", "\"a=\\u0000\"", "]")),
        ("lines", top("mounts", "\n{\"destination\":\"\"}")),
    ]
}

fn requests() -> Vec<(Host, Request)> {
    let systemd = Request { cgroup_driver: CgroupDriver::Systemd, ..Request::new("web", "/bundle", Mode::Create) };
    let user = Host { euid: 1000, egid: 1000, effective: 0, ..Host::fixture() };
    let old = Host { cgroups: Layout::fixture_v1(), ..Host::fixture() };
    let run = Request::new("web", "/bundle", Mode::Create);
    vec![(Host::fixture(), systemd), (old, run.clone()), (user, run)]
}

/// All that `create`, `plan`, `check` and `--debug` do with a config, for several hosts; the answer is how it ended.
fn judged(text: &str) -> String {
    let bytes = text.as_bytes().to_vec();
    let explained = |error: &Error| {
        let report = explain::render(error, &explain::Context::of("create", Some("web")));
        assert!(!report.message.is_empty());
        report.message.chars().take(100).collect::<String>()
    };
    schema::unknown_with_advice(&bytes);
    let config = match parse::config(PathBuf::from("config.json"), bytes.clone()) {
        Ok(config) => config,
        Err(error) => {
            let words = explained(&error);
            if let Error::Violations(complaints) = error {
                let [(host, request), ..] = &requests()[..] else { unreachable!() };
                judge_the_rest(Unread { path: "config.json".into(), bytes, complaints }, request, host);
            }
            return format!("unread: {words}");
        }
    };
    let mut words = String::new();
    for (host, request) in requests() {
        warn::of_host(&config.spec, &host);
        match launch::plan(&config, &request, &host) {
            Ok(plan) => {
                assert!(plan.child_steps() < 3 * usize::from(u16::MAX));
                words = format!("planned: {} bytes", render_text(&plan, &config.bytes).len());
            }
            Err(error) => words = format!("refused: {}", explained(&error)),
        }
    }
    words
}

#[test]
fn a_config_of_any_size_is_judged_in_bounded_time() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let documents = documents();
    std::thread::scope(|scope| {
        for part in documents.chunks(documents.len().div_ceil(threads)) {
            scope.spawn(move || {
                for (name, text) in part {
                    assert!(text.len() > bytes() / 2, "{name} has only {} bytes", text.len());
                    let begun = Instant::now();
                    let words = judged(text);
                    println!("{:>6} ms  {name}: {words}", begun.elapsed().as_millis());
                    assert!(begun.elapsed() < PATIENCE, "{name} took {:?}: {words}", begun.elapsed());
                }
            });
        }
    });
}

/// The numbers of steps and slots have 16 bits. One that came round again would be another step's.
#[test]
fn more_steps_than_can_be_numbered_are_refused() {
    let list = |count: usize| {
        let paths: Vec<String> = (0..count).map(|number| format!("\"/a{number}\"")).collect();
        format!("{HEAD}{RUN},{PRIVATE},\"maskedPaths\":[{}]}}}}", paths.join(","))
    };
    let plan = |text: String| {
        let config = parse::config(PathBuf::from("config.json"), text.into_bytes()).unwrap();
        launch::plan(&config, &Request::new("web", "/bundle", Mode::Create), &Host::fixture())
    };
    let plain = plan(list(0)).unwrap().stage_two.len();
    let most = usize::from(u16::MAX) - plain;
    assert_eq!(plan(list(most)).unwrap().stage_two.len(), usize::from(u16::MAX));
    let error = plan(list(most + 1)).unwrap_err().to_string();
    assert!(error.contains("linux.maskedPaths: asks for") && error.contains("only 65535 can be numbered"), "{error}");
}
