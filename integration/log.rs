//! The log file: what Podman reads as one object and containerd as a stream, and what stays on stderr.

use serde_json::Value;

use crate::harness::{Case, Sandbox, cases};

pub const CASES: &[Case] = cases![anyone:
    an_error_is_exactly_one_json_object,
    the_error_is_on_stderr_too,
    success_writes_nothing,
    the_log_is_appended_to,
    text_is_the_default,
    an_unknown_format_is_refused,
    debug_lines_have_their_level,
    the_object_names_field_call_and_errno,
    a_log_that_can_t_be_opened_is_an_error,
];

fn an_error_is_exactly_one_json_object(sb: &Sandbox) {
    let failing = sb.bundle().bind("/nonexistent/src".as_ref(), "/data", &[]).build();
    let outputs = [
        sb.call(["state", "ct-nobody"]).log("json").output(),
        sb.run_with(&failing, |call| call.log("json")),
        sb.run_with(&sb.bundle().args(["nonexist"]).build(), |call| call.log("json")),
    ];
    for output in outputs {
        output.fails();
        let object: Value = serde_json::from_str(&output.log).unwrap_or_else(|e| panic!("{e}: {:?}", output.log));
        assert_eq!(object["level"], "error");
        assert!(!object["msg"].as_str().unwrap().is_empty());
        let time = object["time"].as_str().unwrap();
        time::OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339).expect("time is RFC 3339");
        assert_eq!(output.log.lines().count(), 1);
    }
}

fn the_error_is_on_stderr_too(sb: &Sandbox) {
    let output = sb.call(["state", "ct-nobody"]).log("json").output();
    assert!(output.stderr.contains("does not exist"), "{output:?}");
    assert_eq!(output.stdout, "");
}

fn success_writes_nothing(sb: &Sandbox) {
    let output = sb.run_with(&sb.bundle().tool(["true"]).build(), |call| call.log("json"));
    assert_eq!(output.ok().log, "");
    assert_eq!(output.stderr, "");
}

fn the_log_is_appended_to(sb: &Sandbox) {
    let log = sb.path("log");
    std::fs::write(&log, "before\n").unwrap();
    let call = sb.call(["state", "ct-nobody"]).global(&["--log", log.to_str().unwrap(), "--log-format", "json"]);
    call.output().fails();
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.starts_with("before\n{") && text.ends_with("}\n"), "{text}");
}

fn text_is_the_default(sb: &Sandbox) {
    let log = sb.path("log");
    sb.call(["state", "ct-nobody"]).global(&["--log", log.to_str().unwrap()]).output().fails();
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.contains("does not exist") && !text.starts_with('{'), "{text}");
}

fn an_unknown_format_is_refused(sb: &Sandbox) {
    let output = sb.call(["list"]).global(&["--log-format", "xml"]).output();
    assert_ne!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("xml"), "{output:?}");
}

fn debug_lines_have_their_level(sb: &Sandbox) {
    let output = sb.run_with(&sb.bundle().tool(["true"]).build(), |call| call.log("json").global(&["--debug"]));
    let lines: Vec<Value> = output.ok().log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.is_empty());
    assert!(lines.iter().all(|line| line["level"] == "debug" || line["level"] == "info"), "{lines:?}");
}

fn the_object_names_field_call_and_errno(sb: &Sandbox) {
    sb.only_corten("has them");
    let failing = sb.bundle().bind("/nonexistent/src".as_ref(), "/data", &[]).build();
    let output = sb.run_with(&failing, |call| call.log("json"));
    let object: Value = serde_json::from_str(&output.log).unwrap();
    assert_eq!((&object["field"], &object["errno"]), (&"/mounts/6/source".into(), &2.into()));
    assert!(object["call"].as_str().is_some_and(|call| !call.is_empty()), "{object}");
    assert!(object["msg"].as_str().unwrap().contains("No such file or directory"), "{object}");
}

fn a_log_that_can_t_be_opened_is_an_error(sb: &Sandbox) {
    let output = sb.call(["list"]).global(&["--log", "/no/such/dir/log"]).output();
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("/no/such/dir/log"), "{output:?}");
}
