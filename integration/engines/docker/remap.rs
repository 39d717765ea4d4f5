//! A daemon whose containers live in a user namespace.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use serde_json::json;

use super::daemon::Daemon;
use super::{ARCHIVE, builds, config};
use crate::call::call_with;
use crate::cli::IMAGE;
use crate::scenario::{Scenario, World, scenarios};

pub const SCENARIOS: &[Scenario] = scenarios![containers_of_a_remapping_daemon_are_root_nowhere_else];

const ROOT: u32 = 500_000;

/// A second daemon, since it is the whole daemon that remaps.
fn containers_of_a_remapping_daemon_are_root_nowhere_else(world: &World) {
    let append = |file: &str, line: String| {
        let before = fs::read_to_string(file).unwrap_or_default();
        fs::write(file, before + &line + "\n").expect(file);
    };
    append("/etc/passwd", format!("mapped:x:{ROOT}:{ROOT}::/:/bin/false"));
    append("/etc/group", format!("mapped:x:{ROOT}:"));
    append("/etc/subuid", format!("mapped:{ROOT}:65536"));
    append("/etc/subgid", format!("mapped:{ROOT}:65536"));
    let more = json!({"userns-remap": "mapped", "data-root": "/var/tmp/remap", "exec-root": "/run/remap",
        "pidfile": "/run/remap.pid", "bridge": "none", "iptables": false, "ip6tables": false});
    fs::write("/etc/docker/remap.json", config(world, &more).to_string()).expect("remap.json");
    // The other way to tell BuildKit of a runtime: its link in PATH.
    fs::create_dir_all("/var/tmp/bin").expect("a directory");
    symlink(builds::RUNTIME, "/var/tmp/bin/runc").expect("a link");
    let path = format!("/var/tmp/bin:{}", std::env::var("PATH").expect("a path"));
    let flags = ["--config-file", "/etc/docker/remap.json"];
    let daemon = Daemon::start_with(("PATH", &path), "remap", "/run/remap.sock", &flags);
    daemon.cli(&["import", ARCHIVE, IMAGE]).good();
    let run =
        |flags: &[&str], script: &str| daemon.cli(&[&["run", "--rm"], flags, &[IMAGE, "sh", "-c", script]].concat());

    let said = run(&[], "id -u; cat /proc/self/uid_map; touch /new && stat -c %u /new").good();
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "500000", "65536", "0"], "{said}");

    daemon.cli(&["run", "-d", "--name", "mapped", IMAGE, "sleep", "100"]).good();
    let pid = daemon.cli(&["inspect", "--format", "{{.State.Pid}}", "mapped"]).good();
    assert_eq!(fs::metadata(format!("/proc/{pid}")).expect("its process").uid(), ROOT);
    assert_eq!(daemon.cli(&["exec", "-u", "alice", "mapped", "id", "-u"]).good(), "1000");
    let own = fs::read_link("/proc/self/ns/user").expect("a namespace");
    assert_ne!(fs::read_link(format!("/proc/{pid}/ns/user")).expect("a namespace"), own);
    daemon.cli(&["rm", "-f", "mapped"]).good();

    // What root has made is not root's outside, and what is root's outside is nobody's inside.
    fs::create_dir_all("/var/tmp/open").expect("a directory");
    fs::write("/var/tmp/open/theirs", "").expect("a file");
    std::os::unix::fs::chown("/var/tmp/open", Some(ROOT), Some(ROOT)).expect("chown");
    let said = run(&["-v", "/var/tmp/open:/data"], "touch /data/mine; stat -c %u /data/theirs").good();
    assert_eq!(said, "65534");
    assert_eq!(fs::metadata("/var/tmp/open/mine").expect("the file").uid(), ROOT);

    assert_eq!(run(&["-v", "kept:/data", "--tmpfs", "/here"], "touch /data/a /here/a && echo ok").good(), "ok");
    assert_eq!(run(&["--sysctl", "net.ipv4.ip_forward=1"], "cat /proc/sys/net/ipv4/ip_forward").good(), "1");
    let said = run(&["--userns", "host"], "cat /proc/self/uid_map").good();
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["0", "0", "4294967295"], "{said}");

    let recipe =
        format!("FROM {IMAGE}\nRUN --network=none cat /proc/self/uid_map >/map && id -u >>/map\nCMD cat /map\n");
    let words = ["env", "DOCKER_BUILDKIT=1", "docker", "--host", "unix:///run/remap.sock", "build", "-t", "map", "-"];
    let _ = fs::remove_file(builds::LOG);
    call_with(&words, &recipe).good();
    let asked = fs::read_to_string(builds::LOG).expect("what the runtime was asked");
    assert!(asked.contains(" run --bundle /var/tmp/remap/"), "{asked}");
    let said = daemon.cli(&["run", "--rm", "map"]).good();
    assert!(said.contains("500000") && said.ends_with("\n0"), "{said}");
}
