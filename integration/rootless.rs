//! What an ordinary user's containers have that root's have too: limits, where the machine delegates a cgroup to him.
//! Every other file whose tests are for anyone runs as that user as well (`integration/vm/`, the lane `uml-rootless`).

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::harness::{Case, Container, Sandbox, cases, skip};

pub const CASES: &[Case] = cases![anyone:
    a_limit_holds,
    a_container_is_in_a_cgroup_of_its_own,
    a_container_without_limits_needs_no_cgroup,
];

/// The directory of a container's cgroup that has the files of pids.
fn pids_cgroup(container: &Container) -> PathBuf {
    let lines = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    let line = |wanted: &str| {
        lines.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|name| name == wanted).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    match line("pids") {
        Some(path) => PathBuf::from("/sys/fs/cgroup/pids").join(path),
        None => PathBuf::from("/sys/fs/cgroup").join(line("").expect("every process is in a cgroup")),
    }
}

/// Skips for an ordinary user to whom nobody has delegated a cgroup: he can make none beside his own.
fn needs_delegation() {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let above = PathBuf::from("/sys/fs/cgroup").join(own);
    let may = |dir: &std::path::Path| nix::unistd::access(dir, nix::unistd::AccessFlags::W_OK).is_ok();
    if !nix::unistd::geteuid().is_root() && !above.parent().is_some_and(may) {
        skip("no cgroup is delegated to this user");
    }
}

fn a_limit_holds(sb: &Sandbox) {
    needs_delegation();
    let bundle = sb.bundle().set("/linux/resources", json!({"pids": {"limit": 23}})).tool(["pause"]).build();
    let container = sb.started(&bundle);
    let max = fs::read_to_string(pids_cgroup(&container).join("pids.max")).unwrap();
    assert_eq!(max.trim(), "23");
    container.stop();
    container.verb("delete").ok();
    sb.assert_nothing_left();
}

fn a_container_is_in_a_cgroup_of_its_own(sb: &Sandbox) {
    needs_delegation();
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    let group = pids_cgroup(&container);
    let inside: Vec<i32> =
        fs::read_to_string(group.join("cgroup.procs")).unwrap().lines().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(inside, [container.pid()]);
    sb.call(["delete", "--force"]).arg(&container.id).output().ok();
    assert!(!group.exists(), "{} is still there", group.display());
}

fn a_container_without_limits_needs_no_cgroup(sb: &Sandbox) {
    sb.only_corten("has --cgroup-manager disabled");
    let bundle = sb.bundle().tool(["exit", "3"]).build();
    let output = sb.run_with(&bundle, |call| call.global(&["--cgroup-manager", "disabled"]));
    assert_eq!(output.code, 3, "{output:?}");
}
