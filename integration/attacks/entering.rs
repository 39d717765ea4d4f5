//! What comes into a container by `exec` is a target for those who are in there already: the runtime's own program
//! (CVE-2019-5736), and what it holds of the host until it is its own program (CVE-2016-9962).

use std::fs;

use serde_json::Value;

use super::executable::{IMAGES, Program, assert_refused, attack, strong};
use crate::harness::{Case, Sandbox, cases, scaled, words};

pub const CASES: &[Case] = cases![
    the_runtime_s_own_program_as_a_later_process_can_t_be_changed,
    who_waits_for_exec_with_the_runtime_s_link_as_a_shell_can_t_change_it,
    who_looks_for_an_exec_can_t_change_its_program,
    who_watches_an_exec_from_inside_sees_nothing_of_the_host,
    who_may_trace_all_finds_no_way_to_the_host_in_an_exec,
];

/// The later process is the runtime itself, in the container's hands.
fn the_runtime_s_own_program_as_a_later_process_can_t_be_changed(sb: &Sandbox) {
    sb.only_corten("is its own toolbox");
    for (image, flags) in IMAGES {
        for user_namespace in [false, true] {
            let bundle = strong(sb.bundle()).tool(["pause"]);
            let bundle = if user_namespace { bundle.user_namespace() } else { bundle };
            let container = sb.started(&bundle.build());
            let program = Program::new(sb);
            let call = sb.call(["exec", &container.id]).args(attack(&["/proc/self/exe", "probe", "--"]));
            let output = call.program(&program.path).global(flags).output();
            program.assert_untouched();
            assert_refused(&output, image);
        }
    }
}

/// The image's shell is a script for the runtime's link, as in the first exploit.
fn who_waits_for_exec_with_the_runtime_s_link_as_a_shell_can_t_change_it(sb: &Sandbox) {
    sb.only_corten("is its own toolbox");
    for (image, flags) in IMAGES {
        let bundle = strong(sb.bundle()).tool(["pause"]).file("/bin/sh", "#!/proc/self/exe probe\n").build();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(bundle.in_rootfs("/bin/sh"), fs::Permissions::from_mode(0o755)).unwrap();
        let container = sb.started(&bundle);
        let program = Program::new(sb);
        let call = sb.call(["exec", &container.id]).args(attack(&["/bin/sh"]));
        let output = call.program(&program.path).global(flags).output();
        program.assert_untouched();
        assert_refused(&output, image);
    }
}

/// A program of the container goes for /proc/*/exe of all that comes in.
fn who_looks_for_an_exec_can_t_change_its_program(sb: &Sandbox) {
    sb.only_corten("is its own toolbox");
    for (image, flags) in IMAGES {
        let program = Program::new(sb);
        let bundle = strong(sb.bundle()).tool(["prowl", "/tmp/stop", "/bin/probe"]).build();
        let (mut prowler, id) = sb.run_in_background(&bundle, &[]);
        prowler.lines.expect_line("ready");
        for _ in 0..scaled(60) {
            let call = sb.call(["exec", &id, "/bin/probe", "probe", "--", "true"]);
            call.program(&program.path).global(flags).output().ok();
        }
        fs::write(bundle.in_rootfs("/tmp/stop"), "").unwrap();
        let loot: Value = serde_json::from_str(&prowler.lines.next_line().unwrap()).unwrap();
        assert_eq!(prowler.wait(), 0);
        program.assert_untouched();
        let seen = if image == "clone" { "/" } else { "/memfd:corten (deleted)" };
        assert!(words(&loot["programs"]).iter().all(|program| program == seen), "another image was seen: {loot}");
        let harmless =
            |change: &String| image == "copy" && (change.starts_with("chmod") || change.starts_with("chown"));
        assert!(words(&loot["changed"]).iter().all(harmless), "{loot}");
    }
    sb.assert_nothing_left();
}

/// CVE-2016-9962: the container's root has every right in its user namespace, and in there CAP_SYS_PTRACE over all. None of
/// the programs is executed, so whatever is seen is of the set-up.
fn who_watches_an_exec_from_inside_sees_nothing_of_the_host(sb: &Sandbox) {
    sb.only_corten("is its own toolbox");
    let rights = ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"];
    let bundle = sb.bundle().user_namespace().capabilities(&rights);
    let bundle = bundle.tool(["prowl", "/tmp/stop", "/bin/probe"]).build();
    let (mut prowler, id) = sb.run_in_background(&bundle, &[]);
    prowler.lines.expect_line("ready");
    let host = sb.tree("host", &[("secret", "x")]);
    for round in 0..scaled(100) {
        // With and without a change of user, which makes a process one that may be looked into.
        let user = if round % 2 == 0 { "0" } else { "1000" };
        let call = sb.call(["exec", "--user", user, &id, "/bin/probe", "probe", "--", "true"]);
        let call = call.fds(&format!("3<{0} 4<{0}", host.display())).global(&["--fault", "start:1"]);
        let output = call.output();
        assert!(output.code == 255 && output.stderr.contains("execute /bin/probe"), "{output:?}");
    }
    fs::write(bundle.in_rootfs("/tmp/stop"), "").unwrap();
    let loot: Value = serde_json::from_str(&prowler.lines.next_line().unwrap()).unwrap();
    assert_eq!(prowler.wait(), 0);
    for kind in ["programs", "changed", "descriptors", "directories"] {
        assert_eq!(words(&loot[kind]), [] as [String; 0], "{kind}: {loot}");
    }
    assert_eq!(loot["traced"], 0, "{loot}");
    sb.assert_nothing_left();
}

/// With CAP_SYS_PTRACE and without a user namespace one may look at any process in there, also at corten's on its way: it has
/// no root, working directory or descriptor of the host by then.
fn who_may_trace_all_finds_no_way_to_the_host_in_an_exec(sb: &Sandbox) {
    sb.only_corten("is its own toolbox");
    let rights = ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"];
    let bundle = sb.bundle().busybox().capabilities(&rights).file("/inside", "");
    // Every process's root, its descriptors, and what is above each of them: has any of them what only the host has?
    let host = sb.dir().display();
    let script = format!(
        "echo ready; while [ ! -e /tmp/stop ]; do for p in /proc/[2-9]* /proc/1?*; do for d in $p/root $p/cwd $p/fd/*; do \
         for up in . .. ../.. ../../..; do [ -e $d/$up{host} ] && echo found $d/$up; done; done; done; done; echo done"
    );
    let bundle = bundle.dir("/tmp").args(["sh", "-c", &script]).build();
    let (mut prowler, id) = sb.run_in_background(&bundle, &[]);
    prowler.lines.expect_line("ready");
    for _ in 0..scaled(60) {
        let call = sb.call(["exec", &id, "/bin/busybox", "true"]).global(&["--fault", "start:1"]);
        assert_eq!(call.output().code, 255);
    }
    fs::write(bundle.in_rootfs("/tmp/stop"), "").unwrap();
    assert_eq!(prowler.lines.next_line().as_deref(), Some("done"));
    assert_eq!(prowler.wait(), 0);
}
