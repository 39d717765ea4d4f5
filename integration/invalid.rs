//! Bad input: each is refused with a message that names the field and the line, and leaves nothing behind.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Case, Flavour, Sandbox, cases};

pub const CASES: &[Case] = cases![
    every_bad_value_is_refused_with_its_field,
    a_missing_required_field_is_named,
    a_wrong_type_is_named_with_its_line,
    what_is_no_json_is_refused_with_its_line,
    all_violations_come_at_once,
    check_is_silent_about_a_good_bundle,
    unknown_properties_are_ignored_and_named_in_a_debug_line,
    an_unknown_version_is_refused,
    a_config_that_is_no_file_is_refused,
];

type Edit = fn(&mut Value);

/// (what is wrong, the edit, the field as the message has it, whether other runtimes refuse it too)
const BAD: &[(&str, Edit, &str, bool)] = &[
    ("relative cwd", |c| c["process"]["cwd"] = json!("tmp"), "process.cwd", true),
    ("empty cwd", |c| c["process"]["cwd"] = json!(""), "process.cwd", true),
    ("empty args", |c| c["process"]["args"] = json!([]), "process.args", true),
    ("NUL in args", |c| c["process"]["args"][1] = json!("a\0b"), "process.args[1]", false),
    ("NUL in env", |c| c["process"]["env"] = json!(["A=\0"]), "process.env[0]", false),
    ("env without =", |c| c["process"]["env"] = json!(["PATH=/bin", "A"]), "process.env[1]", false),
    ("NUL in cwd", |c| c["process"]["cwd"] = json!("/a\0"), "process.cwd", false),
    ("NUL in a destination", |c| c["mounts"][1]["destination"] = json!("/a\0"), "mounts[1].destination", false),
    ("empty destination", |c| c["mounts"][1]["destination"] = json!(""), "mounts[1].destination", false),
    (
        "duplicate namespace",
        |c| push(&mut c["linux"]["namespaces"], json!({"type": "pid"})),
        "linux.namespaces[5]",
        true,
    ),
    (
        "unknown namespace",
        |c| push(&mut c["linux"]["namespaces"], json!({"type": "moon"})),
        "linux.namespaces[5]",
        true,
    ),
    (
        "relative namespace path",
        |c| c["linux"]["namespaces"][1]["path"] = json!("ns/net"),
        "linux.namespaces[1].path",
        false,
    ),
    ("duplicate rlimit", |c| c["process"]["rlimits"] = json!([nofile(), nofile()]), "process.rlimits[1]", false),
    (
        "unknown rlimit",
        |c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]),
        "process.rlimits[0]",
        true,
    ),
    ("hostname without uts", |c| drop_namespace(c, "uts"), "hostname", true),
    ("domainname without uts", |c| domainname_without_uts(c), "domainname", false),
    (
        "sysctl of ipc without ipc",
        |c| sysctl_without(c, "kernel.msgmax", "ipc"),
        "linux.sysctl[\"kernel.msgmax\"]",
        true,
    ),
    (
        "sysctl of net without net",
        |c| sysctl_without(c, "net.core.somaxconn", "network"),
        "linux.sysctl[\"net.core.somaxconn\"]",
        true,
    ),
    (
        "sysctl of the host",
        |c| c["linux"]["sysctl"] = json!({"vm.swappiness": "1"}),
        "linux.sysctl[\"vm.swappiness\"]",
        true,
    ),
    ("sysctl with ..", |c| c["linux"]["sysctl"] = json!({"net/../vm/swappiness": "1"}), "linux.sysctl", false),
    ("overlapping uid maps", |c| maps(c, json!([map(0, 1000, 10), map(5, 2000, 10)])), "linux.uidMappings[1]", false),
    ("overlapping host ids", |c| maps(c, json!([map(0, 1000, 10), map(10, 1005, 10)])), "linux.uidMappings[1]", false),
    ("uid map of size 0", |c| maps(c, json!([map(0, 1000, 0)])), "linux.uidMappings[0].size", false),
    (
        "maps without a user namespace",
        |c| c["linux"]["uidMappings"] = json!([map(0, 0, 1)]),
        "linux.uidMappings",
        false,
    ),
    ("user namespace without maps", |c| push(&mut c["linux"]["namespaces"], json!({"type": "user"})), "linux", true),
    ("unknown propagation", |c| c["linux"]["rootfsPropagation"] = json!("wild"), "linux.rootfsPropagation", true),
    ("relative masked path", |c| c["linux"]["maskedPaths"] = json!(["proc/keys"]), "linux.maskedPaths[0]", false),
    ("relative read-only path", |c| c["linux"]["readonlyPaths"] = json!(["proc/sys"]), "linux.readonlyPaths[0]", false),
    (
        "device without a type",
        |c| c["linux"]["devices"] = json!([{"path": "/dev/x", "type": ""}]),
        "linux.devices[0].type",
        true,
    ),
    (
        "relative device path",
        |c| c["linux"]["devices"] = json!([{"path": "dev/x", "type": "c", "major": 1, "minor": 3}]),
        "linux.devices[0].path",
        false,
    ),
    ("relative hook", |c| c["hooks"] = json!({"poststop": [{"path": "x"}]}), "hooks.poststop[0].path", false),
    ("empty root path", |c| c["root"]["path"] = json!(""), "root.path", true),
    (
        "offset without a time namespace",
        |c| c["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 1}}),
        "linux.timeOffsets",
        false,
    ),
    ("oom score out of range", |c| c["process"]["oomScoreAdj"] = json!(1001), "process.oomScoreAdj", true),
    (
        "unknown I/O class",
        |c| c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_X", "priority": 0}),
        "process.ioPriority",
        false,
    ),
    (
        "I/O level out of range",
        |c| c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 8}),
        "process.ioPriority.priority",
        false,
    ),
    ("unknown personality", |c| c["linux"]["personality"] = json!({"domain": "VMS"}), "linux.personality", false),
    ("unknown memory mode", |c| c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_X"}), "linux.memoryPolicy", false),
];

fn nofile() -> Value {
    json!({"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20})
}

fn map(container: u32, host: u32, size: u32) -> Value {
    json!({"containerID": container, "hostID": host, "size": size})
}

fn push(array: &mut Value, item: Value) {
    array.as_array_mut().unwrap().push(item);
}

fn maps(config: &mut Value, maps: Value) {
    push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
    config["linux"]["uidMappings"] = maps;
    config["linux"]["gidMappings"] = json!([map(0, 1000, 100)]);
}

fn drop_namespace(config: &mut Value, kind: &str) {
    config["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != kind);
}

fn domainname_without_uts(config: &mut Value) {
    config.as_object_mut().unwrap().remove("hostname");
    config["domainname"] = json!("example");
    drop_namespace(config, "uts");
}

fn sysctl_without(config: &mut Value, name: &str, namespace: &str) {
    drop_namespace(config, namespace);
    config["linux"]["sysctl"] = json!({name: "1"});
}

/// The line, counted from 1, on which the last key of the field stands, if that is easy to tell.
fn names_a_line(text: &str) -> bool {
    text.contains("config.json line ") || text.contains("(line ")
}

fn every_bad_value_is_refused_with_its_field(sb: &Sandbox) {
    let corten = sb.flavour() == Flavour::Corten;
    let mut wrong = Vec::new();
    for (what, edit, field, everywhere) in BAD {
        if !corten && !everywhere {
            continue;
        }
        let bundle = sb.bundle().tool(["true"]).edit(edit).build();
        let output = sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(sb.id()).output();
        sb.assert_nothing_left();
        if output.code != 1 {
            wrong.push(format!("{what}: exit code {}", output.code));
        } else if corten && !output.stderr.contains(field) {
            wrong.push(format!("{what}: {field} isn't in {}", output.stderr.trim_end()));
        } else if corten && !names_a_line(&output.stderr) {
            wrong.push(format!("{what}: no line in {}", output.stderr.trim_end()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn a_missing_required_field_is_named(sb: &Sandbox) {
    sb.only_corten("names the field");
    let required = [
        "/ociVersion",
        "/root",
        "/root/path",
        "/process/cwd",
        "/process/args",
        "/process/user/uid",
        "/mounts/1/destination",
        "/linux/namespaces/2/type",
    ];
    for pointer in required {
        let bundle = sb.bundle().edit(|config| {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            config.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
        });
        let output = sb.run(&bundle.build());
        let key = pointer.rsplit('/').next().unwrap();
        output.fails_with(&[key]);
        sb.assert_nothing_left();
    }
}

fn a_wrong_type_is_named_with_its_line(sb: &Sandbox) {
    let wrong: &[(&str, Value, &str)] = &[
        ("/process/args", json!("true"), "process.args"),
        ("/process/user/uid", json!("root"), "process.user.uid"),
        ("/process/terminal", json!(1), "process.terminal"),
        ("/mounts/0/options", json!("ro"), "mounts[0].options"),
        ("/mounts", json!({}), "mounts"),
        ("/linux/namespaces/0/type", json!(7), "linux.namespaces[0].type"),
        ("/root/readonly", json!("yes"), "root.readonly"),
        ("/process/oomScoreAdj", json!(1.5), "process.oomScoreAdj"),
    ];
    for (pointer, value, field) in wrong {
        let bundle = sb.bundle().set(pointer, value.clone()).build();
        let output = sb.run(&bundle);
        output.fails();
        sb.assert_nothing_left();
        if sb.flavour() == Flavour::Corten {
            output.fails_with(&[field]);
            assert!(names_a_line(&output.stderr), "{field}: {}", output.stderr);
        }
    }
}

fn what_is_no_json_is_refused_with_its_line(sb: &Sandbox) {
    for text in ["null", "", "{", "[]", "{\"ociVersion\": \"1.0.2\",\n\"root\": }", "\u{0}"] {
        if text == "null" && sb.flavour() != Flavour::Corten {
            continue; // runc 1.1.5 panics
        }
        let bundle = sb.bundle().write(text);
        let output = sb.run(&bundle);
        output.fails();
        sb.assert_nothing_left();
        if sb.flavour() == Flavour::Corten {
            assert!(output.stderr.contains("line"), "{text:?}: {}", output.stderr);
        }
    }
}

fn all_violations_come_at_once(sb: &Sandbox) {
    sb.only_corten("has check");
    let bundle = sb.bundle().set("/process/cwd", "tmp").set("/process/rlimits", json!([nofile(), nofile()]));
    let bundle = bundle
        .set("/linux/sysctl", json!({"vm.swappiness": "1"}))
        .set("/hooks/poststop", json!([{"path": "x"}]))
        .build();
    let output = sb.call(["check", "--bundle"]).arg(&bundle.dir).output();
    assert_eq!(output.code, 1, "{output:?}");
    let text = format!("{}{}", output.stdout, output.stderr);
    for field in ["process.cwd", "process.rlimits[1]", "linux.sysctl[\"vm.swappiness\"]", "hooks.poststop[0].path"] {
        assert!(text.contains(field), "{field} isn't in {text}");
    }
    // The line is the one on which the value really stands.
    let config = fs::read_to_string(bundle.config_path()).unwrap();
    let line = 1 + config.lines().position(|line| line.contains("\"cwd\"")).unwrap();
    let said = text.lines().skip_while(|l| !l.contains("process.cwd")).take(2).collect::<Vec<_>>().join(" ");
    assert!(said.contains(&line.to_string()), "line {line} isn't in {said}");
    sb.run(&bundle).fails_with(&["and 3 more"]);
}

fn check_is_silent_about_a_good_bundle(sb: &Sandbox) {
    sb.only_corten("has check");
    let bundle = sb.bundle().build();
    sb.call(["check", "--bundle"]).arg(&bundle.dir).output().ok();
}

fn unknown_properties_are_ignored_and_named_in_a_debug_line(sb: &Sandbox) {
    let bundle =
        sb.bundle().set("/process/argz", json!(["x"])).set("/linux/rootPropagation", "shared").tool(["true"]).build();
    sb.run(&bundle).ok();
    sb.only_corten("names them");
    let output = sb.run_with(&bundle, |call| call.global(&["--debug"]));
    let said = &output.ok().stderr;
    assert!(said.contains("process.argz") && said.contains("linux.rootPropagation"), "{said}");
}

fn an_unknown_version_is_refused(sb: &Sandbox) {
    sb.only_corten("checks the version");
    for version in ["invalid", "", "2.0.0", "1", "1.0", "0.9.0", "9.9.9"] {
        sb.run(&sb.bundle().set("/ociVersion", version).tool(["true"]).build()).fails_with(&["ociVersion"]);
        sb.assert_nothing_left();
    }
    for version in ["1.0.0", "1.0.2-dev", "1.2.1", "1.3.0", "1.99.0+build"] {
        sb.run(&sb.bundle().set("/ociVersion", version).tool(["true"]).build()).ok();
    }
}

fn a_config_that_is_no_file_is_refused(sb: &Sandbox) {
    let bundle = sb.bundle().build();
    fs::remove_file(bundle.config_path()).unwrap();
    fs::create_dir(bundle.config_path()).unwrap();
    sb.run(&bundle).fails();
    sb.assert_nothing_left();
}
