//! What the runtime says of itself (`features`, `--version`, `--help`) and the config it proposes (`spec`).

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Case, Flavour, Sandbox, cases, tool, words};

pub const CASES: &[Case] = cases![
    the_version_is_as_engines_parse_it,
    features_name_what_engines_ask_for,
    spec_writes_a_config_that_runs,
    spec_never_overwrites,
    spec_for_an_ordinary_user_has_a_user_namespace,
    spec_can_bring_a_root_file_system,
    help_names_every_command,
    the_demo_shows_a_container,
    the_demo_keeps_a_directory_that_was_named,
    the_config_of_a_container_can_be_had_and_makes_its_like,
    the_config_of_no_container_can_t_be_had,
];

fn the_version_is_as_engines_parse_it(sb: &Sandbox) {
    for flag in ["--version", "-v"] {
        let output = sb.call([flag]).bare().output();
        let lines = output.ok().lines();
        let name = if sb.flavour() == Flavour::Corten { "corten" } else { "runc" };
        assert!(lines[0].starts_with(&format!("{name} version ")), "{lines:?}");
        assert!(lines[1..].iter().all(|line| !line.contains("version")), "{lines:?}");
        for key in ["commit: ", "spec: ", "libseccomp: "] {
            assert!(lines.iter().any(|line| line.starts_with(key)), "{key}{lines:?}");
        }
    }
}

fn features_name_what_engines_ask_for(sb: &Sandbox) {
    let features = sb.call(["features"]).output().ok().json();
    for option in ["rro", "ro", "rbind", "nosuid", "tmpcopyup", "runbindable"] {
        assert!(words(&features["mountOptions"]).contains(&option.to_owned()), "{option}");
    }
    let mut sorted = words(&features["mountOptions"]);
    sorted.sort();
    sorted.dedup();
    assert_eq!(words(&features["mountOptions"]), sorted);
    assert_eq!(words(&features["hooks"]).len(), 6);
    let namespaces = words(&features["linux"]["namespaces"]);
    assert!(namespaces.contains(&"user".to_owned()));
    assert_eq!(features["ociVersionMin"], "1.0.0");
    sb.only_corten("has the newer keys");
    assert_eq!(namespaces.len(), 8);
    assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true);
    for option in ["idmap", "ridmap", "copy-symlink", "src-nofollow", "dest-nofollow", "nosymfollow"] {
        assert!(words(&features["mountOptions"]).contains(&option.to_owned()), "{option}");
    }
    assert!(words(&features["linux"]["capabilities"]).contains(&"CAP_CHECKPOINT_RESTORE".to_owned()));
}

fn spec_writes_a_config_that_runs(sb: &Sandbox) {
    let bundle = sb.bundle().build();
    fs::remove_file(bundle.config_path()).unwrap();
    sb.call(["spec", "--bundle"]).arg(&bundle.dir).output().ok();
    let mut config: Value = serde_json::from_slice(&fs::read(bundle.config_path()).unwrap()).unwrap();
    config["process"]["args"] = tool(["echo", "from spec"]);
    config["process"]["terminal"] = json!(false);
    fs::write(bundle.config_path(), config.to_string()).unwrap();
    assert_eq!(sb.run(&bundle).ok().stdout, "from spec\n");
}

fn spec_never_overwrites(sb: &Sandbox) {
    let bundle = sb.bundle().build();
    let before = fs::read(bundle.config_path()).unwrap();
    let output = sb.call(["spec"]).current_dir(&bundle.dir).output();
    output.fails_with(&["File config.json exists. Remove it first"]);
    assert_eq!(fs::read(bundle.config_path()).unwrap(), before);
}

fn spec_for_an_ordinary_user_has_a_user_namespace(sb: &Sandbox) {
    let dir = sb.tree("rootless", &[("rootfs/", "")]);
    sb.call(["spec", "--rootless"]).current_dir(&dir).output().ok();
    let config: Value = serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
    let kinds: Vec<_> = config["linux"]["namespaces"].as_array().unwrap().iter().map(|ns| ns["type"].clone()).collect();
    assert!(kinds.contains(&json!("user")), "{kinds:?}");
    assert_eq!(config["linux"]["uidMappings"][0]["size"], 1);
}

fn spec_can_bring_a_root_file_system(sb: &Sandbox) {
    sb.only_corten("has spec --with-rootfs");
    let dir = sb.tree("bundle", &[]);
    sb.call(["spec", "--with-rootfs", "--bundle"]).arg(&dir).output().ok();
    let mut config: Value = serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
    config["process"]["terminal"] = json!(false);
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let output = sb.call(["run", "--bundle"]).arg(&dir).arg(sb.id()).output();
    assert!(output.ok().stdout.contains("pid 1"), "{output:?}");
}

fn help_names_every_command(sb: &Sandbox) {
    let output = sb.call(["--help"]).bare().output();
    for command in ["create", "start", "run", "state", "kill", "delete", "list", "spec", "features"] {
        assert!(output.ok().stdout.contains(command), "{command}");
    }
}

fn the_demo_shows_a_container(sb: &Sandbox) {
    sb.only_corten("has a demo");
    let output = sb.call(["demo"]).output();
    let text = &output.ok().stdout;
    for line in ["pid 1", "corten-demo", "namespaces", "/proc", "On the host"] {
        assert!(text.contains(line), "{line:?} isn't in {text}");
    }
}

fn the_demo_keeps_a_directory_that_was_named(sb: &Sandbox) {
    sb.only_corten("has a demo");
    let dir = sb.path("demo");
    fs::create_dir(&dir).unwrap();
    sb.call(["demo"]).arg(&dir).output().ok();
    assert!(dir.join("config.json").exists() && dir.join("rootfs/bin/corten").exists());
}

/// What corten filled in is written out, so a container of that config is the same.
fn the_config_of_a_container_can_be_had_and_makes_its_like(sb: &Sandbox) {
    sb.only_corten("has the flag");
    let bundle = sb.bundle().tool(["json", ";", "pause"]).set("/annotations", json!({"org.example.a": "b"})).build();
    let container = sb.started(&bundle);
    let first = crate::exec::said(&container);
    // The bundle's may have been changed meanwhile.
    fs::write(bundle.config_path(), "{}").unwrap();
    let text = sb.call(["spec", "--from", &container.id, "--file", "-"]).output().ok().stdout.clone();
    let config: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(config["root"]["path"], bundle.in_rootfs("").to_str().unwrap().trim_end_matches('/'));
    assert_eq!(config["annotations"]["org.example.a"], "b");
    assert_eq!(
        (&config["process"]["user"]["umask"], &config["process"]["capabilities"]["ambient"]),
        (&json!(18), &json!([]))
    );
    assert!(config["linux"]["devices"].as_array().unwrap().iter().any(|device| device["path"] == "/dev/urandom"));
    let first_key = text.lines().nth(1).unwrap();
    assert!(first_key.contains("ociVersion"), "people read it: {first_key}");
    container.stop();
    container.verb("delete").ok();
    let again = sb.path("again");
    fs::create_dir(&again).unwrap();
    fs::write(again.join("config.json"), &text).unwrap();
    let output = sb.call(["check", "--bundle"]).arg(&again).output();
    output.ok();
    let second = sb.started(&crate::harness::Bundle { dir: again });
    let report = crate::exec::said(&second);
    for property in ["user", "capabilities", "devices", "mounts", "env", "hostname", "rlimits", "noNewPrivileges"] {
        assert_eq!(report[property], first[property], "{property}");
    }
}

fn the_config_of_no_container_can_t_be_had(sb: &Sandbox) {
    sb.only_corten("has the flag");
    sb.call(["spec", "--from", "none", "--file", "-"]).output().fails_with(&["container does not exist"]);
    sb.call(["spec", "--from", "none", "--rootless"]).output().fails_with(&["--from", "for a new one"]);
}
