//! Labels of security modules: AppArmor's profile, SELinux's labels. What is asked for is in force or an error, wherever
//! /proc is and whatever it holds. The tests bring profiles of their own and unload them again.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::harness::{Bundle, BundleBuilder, Case, Lines, Sandbox, SocketServer, cases, skip};

pub const CASES: &[Case] = cases![
    a_profile_on_a_host_without_apparmor_is_an_error,
    no_confinement_is_what_a_host_without_apparmor_gives,
    a_programs_label_on_a_host_without_selinux_is_an_error,
    a_label_of_mounts_on_a_host_without_selinux_is_a_warning,
    a_profile_is_in_force,
    a_profile_is_in_force_for_a_user_and_without_new_privileges,
    a_profile_is_in_force_in_a_user_namespace,
    a_profile_is_in_force_after_create_and_start,
    a_profile_is_in_force_on_a_terminal,
    no_confinement_is_a_profile_too,
    a_profile_that_is_not_loaded_is_an_error,
    a_proc_of_the_image_does_not_swallow_the_profile,
    start_container_hooks_run_under_the_profile,
    a_profile_that_can_not_be_set_leaves_nothing,
    exec_runs_under_the_profile_that_it_is_given,
    exec_runs_under_the_label_that_it_is_given,
    a_selinux_label_is_in_force,
    mounts_have_the_selinux_label,
    a_selinux_label_that_the_policy_lacks_is_an_error,
    a_selinux_label_that_can_not_be_set_leaves_nothing,
];

fn apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
}

fn selinux() -> bool {
    fs::exists("/sys/fs/selinux/enforce").unwrap_or(false)
        && fs::read_to_string("/proc/self/attr/current").is_ok_and(|label| label.contains(':'))
}

pub fn needs_apparmor(sb: &Sandbox) {
    if !apparmor() {
        skip("AppArmor isn't active on this machine");
    }
    sb.needs_program("/sbin/apparmor_parser", "apparmor");
}

/// The suite's own policy, which the lane uml-selinux loads: no other is sure to have these labels.
fn needs_selinux() {
    if !selinux() {
        skip("SELinux isn't active on this machine");
    }
    if !fs::read_to_string("/proc/self/attr/current").is_ok_and(|label| label.starts_with("u:base_r:")) {
        skip("the SELinux policy of this machine isn't the suite's");
    }
}

/// A loaded profile that allows all but what is below /denied; unloaded with this.
pub struct Profile {
    pub name: String,
    text: String,
}

impl Profile {
    pub fn load() -> Profile {
        static LOADED: AtomicU32 = AtomicU32::new(0);
        let number = LOADED.fetch_add(1, Ordering::Relaxed);
        let name = format!("corten-suite-{}-{number}", std::process::id());
        let rules = "file, capability, network, unix, signal, ptrace, mount, umount, deny /denied/** rwklm,";
        let text = format!("profile {name} flags=(attach_disconnected) {{ {rules} }}\n");
        parser("--add", &text);
        Profile { name, text }
    }

    /// What the kernel says of a process in it.
    pub fn current(&self) -> String {
        format!("{} (enforce)", self.name)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        parser("--remove", &self.text);
    }
}

fn parser(action: &str, text: &str) {
    let mut call = Command::new("/sbin/apparmor_parser");
    let call = call.args([action, "--quiet", "--skip-cache"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = call.spawn().expect("run apparmor_parser");
    child.stdin.take().expect("its stdin").write_all(text.as_bytes()).expect("hand the profile over");
    let output = child.wait_with_output().expect("wait for apparmor_parser");
    assert!(output.status.success(), "{action}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Tries to read what the profile denies, and tells the profile.
const LOOK: [&str; 6] = ["try", "cat", "/denied/secret", ";", "cat", "/proc/self/attr/current"];

fn looking(sb: &Sandbox) -> BundleBuilder<'_> {
    sb.bundle().file("/denied/secret", "secret\n").tool(LOOK)
}

fn under<'a>(bundle: BundleBuilder<'a>, profile: &Profile) -> BundleBuilder<'a> {
    bundle.set("/process/apparmorProfile", profile.name.as_str())
}

/// The lines of a container that looked: refused, and in the profile.
#[track_caller]
fn assert_confined(output: &str, profile: &Profile) {
    let lines: Vec<_> = output.lines().map(|line| line.trim_end_matches(['\0', '\r'])).collect();
    assert_eq!(lines, ["EACCES", profile.current().as_str()]);
}

/// Without a profile the same container may read the file: so it is the profile that refuses.
fn a_profile_is_in_force(sb: &Sandbox) {
    needs_apparmor(sb);
    let profile = Profile::load();
    let free = sb.run(&looking(sb).build());
    assert!(free.ok().stdout.starts_with("secret\n"), "{free:?}");
    for no_new_privileges in [true, false] {
        let bundle = under(looking(sb), &profile).set("/process/noNewPrivileges", no_new_privileges).build();
        assert_confined(&sb.run(&bundle).ok().stdout, &profile);
    }
    sb.assert_nothing_left();
}

fn a_profile_is_in_force_for_a_user_and_without_new_privileges(sb: &Sandbox) {
    needs_apparmor(sb);
    let profile = Profile::load();
    for no_new_privileges in [true, false] {
        let bundle = under(looking(sb), &profile)
            .set("/process/user", json!({"uid": 1000, "gid": 1000}))
            .set("/process/noNewPrivileges", no_new_privileges)
            .capabilities(&[]);
        assert_confined(&sb.run(&bundle.build()).ok().stdout, &profile);
    }
}

fn a_profile_is_in_force_in_a_user_namespace(sb: &Sandbox) {
    needs_apparmor(sb);
    let profile = Profile::load();
    for no_new_privileges in [true, false] {
        let bundle =
            under(looking(sb), &profile).user_namespace().set("/process/noNewPrivileges", no_new_privileges).build();
        assert_confined(&sb.run(&bundle).ok().stdout, &profile);
    }
}

fn a_profile_is_in_force_after_create_and_start(sb: &Sandbox) {
    needs_apparmor(sb);
    let profile = Profile::load();
    let container = sb.create(&under(looking(sb), &profile).build());
    container.start();
    container.wait();
    assert_confined(&container.output(), &profile);
}

fn a_profile_is_in_force_on_a_terminal(sb: &Sandbox) {
    needs_apparmor(sb);
    let profile = Profile::load();
    let server = SocketServer::new(sb);
    let bundle = under(looking(sb), &profile).set("/process/terminal", true).build();
    let container = sb.create_with(&bundle, |call| call.arg("--console-socket").arg(server.path()));
    let mut received = server.receive();
    container.start();
    let mut lines = Lines::new(received.fds.remove(0));
    let both = [lines.next_line(), lines.next_line()].map(Option::unwrap_or_default);
    assert_confined(&both.join("\n"), &profile);
}

fn no_confinement_is_a_profile_too(sb: &Sandbox) {
    needs_apparmor(sb);
    let bundle = sb.bundle().set("/process/apparmorProfile", "unconfined").tool(["cat", "/proc/self/attr/current"]);
    assert_eq!(sb.run(&bundle.build()).ok().stdout.trim_end_matches(['\0', '\n']), "unconfined");
}

fn a_profile_that_is_not_loaded_is_an_error(sb: &Sandbox) {
    needs_apparmor(sb);
    for bundle in [sb.bundle(), sb.bundle().user_namespace()] {
        let bundle = bundle.set("/process/apparmorProfile", "corten-suite-absent").tool(["true"]).build();
        let output = sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(sb.id()).output();
        output.fails_with(&["apparmor"]);
        if sb.flavour() == crate::harness::Flavour::Corten {
            output.fails_with(&[
                "process.apparmorProfile: run the program under AppArmor profile corten-suite-absent: write: No such file",
                "hint: no profile of this name is loaded",
                "apparmor_parser",
            ]);
        }
        sb.assert_nothing_left();
    }
}

/// CVE-2019-16884: an image brings a /proc of its own, whose files take the label and do nothing with it.
fn a_proc_of_the_image_does_not_swallow_the_profile(sb: &Sandbox) {
    needs_apparmor(sb);
    let profile = Profile::load();
    let names = ["self", "thread-self", "1"].map(|process| format!("{process}/attr"));
    let files: Vec<_> = names.iter().flat_map(|dir| [format!("{dir}/exec"), format!("{dir}/apparmor/exec")]).collect();
    let hostile = |bundle: BundleBuilder<'_>| -> Bundle {
        files.iter().fold(bundle, |bundle, file| bundle.file(&format!("/proc/{file}"), "")).build()
    };
    let look = ["try", "cat", "/denied/secret"];
    let bundle = hostile(under(looking(sb), &profile).without_mount("/proc").tool(look));
    assert_eq!(sb.run(&bundle).ok().stdout, "EACCES\n");
    for file in &files {
        let wrote = fs::read_to_string(bundle.in_rootfs(&format!("proc/{file}"))).unwrap();
        assert_eq!(wrote, "", "the label went into the image's /proc/{file}");
    }
    // As a volume there it is refused.
    let contents: Vec<_> = files.iter().map(|file| (file.as_str(), "")).collect();
    let volume = sb.tree("proc", &contents);
    for mount in [
        json!({"destination": "/proc", "type": "bind", "source": volume, "options": ["bind"]}),
        json!({"destination": "/proc", "type": "tmpfs", "source": "tmpfs"}),
    ] {
        let bundle = under(looking(sb), &profile).without_mount("/proc").mount(mount).tool(look).build();
        sb.run(&bundle).fails_with(&["proc"]);
        sb.assert_nothing_left();
    }
}

/// What the hook is comes out of the image, as the program does.
fn start_container_hooks_run_under_the_profile(sb: &Sandbox) {
    needs_apparmor(sb);
    sb.only_corten("decides it so");
    let profile = Profile::load();
    let hook = json!({"path": "/bin/probe", "args": ["probe", "probe", "--", "cat", "/denied/secret"]});
    let free = sb.create(&looking(sb).hook("startContainer", hook.clone()).build());
    free.start();
    let container = sb.create(&under(looking(sb), &profile).hook("startContainer", hook).build());
    container.verb("start").fails_with(&["error running startContainer hook #0: exit status 1", "ermission denied"]);
    // A hook's execve uses up the label of the hook alone.
    let hook = json!({"path": "/bin/probe", "args": ["probe", "probe", "--", "true"]});
    let container = sb.create(&under(looking(sb), &profile).hook("startContainer", hook).build());
    container.start();
    container.wait();
    assert_confined(&container.output(), &profile);
}

fn steps_of(sb: &Sandbox, bundle: &Bundle, module: &str) -> Vec<(usize, Value)> {
    let plan = sb.call(["plan", "--json", "--bundle"]).arg(&bundle.dir).output().ok().json();
    let steps = plan["stage_two"].as_array().expect("the list of stage two").clone().into_iter().enumerate();
    steps.filter(|(_, step)| step["op"].as_str().is_some_and(|op| op.contains(module))).collect()
}

fn a_profile_that_can_not_be_set_leaves_nothing(sb: &Sandbox) {
    needs_apparmor(sb);
    sb.only_corten("has faults");
    let profile = Profile::load();
    let bundle = under(looking(sb), &profile).build();
    let steps = steps_of(sb, &bundle, "AppArmor");
    let [(index, step)] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!(step["field"], "/process/apparmorProfile");
    for (suffix, words) in [("", "process.apparmorProfile: "), (":kill", "was killed by")] {
        let output = sb.run_with(&bundle, |call| call.global(&["--fault", &format!("stage_two:{index}{suffix}")]));
        output.fails_with(&[words, "run the program under AppArmor profile"]);
        sb.assert_nothing_left();
    }
}

fn exec_runs_under_the_profile_that_it_is_given(sb: &Sandbox) {
    needs_apparmor(sb);
    let profile = Profile::load();
    let container = sb.started(&sb.bundle().file("/denied/secret", "x").tool(["pause"]).build());
    let call = sb.call(["exec", "--apparmor", &profile.name, &container.id, "/bin/probe", "probe", "--"]);
    assert_confined(&call.args(LOOK).output().ok().stdout, &profile);
}

fn exec_runs_under_the_label_that_it_is_given(sb: &Sandbox) {
    needs_selinux();
    let container = sb.started(&sb.bundle().tool(["pause"]).set("/linux/mountLabel", FILES).build());
    let call = sb.call(["exec", "--process-label", PROGRAM, &container.id, "/bin/probe", "probe", "--"]);
    let output = call.args(["cat", "/proc/self/attr/current"]).output();
    assert_eq!(output.ok().stdout.trim_end_matches(['\0', '\r', '\n']), PROGRAM);
}

fn a_profile_on_a_host_without_apparmor_is_an_error(sb: &Sandbox) {
    sb.only_corten("has these words");
    if apparmor() {
        skip("AppArmor is active on this machine");
    }
    let bundle = sb.bundle().set("/process/apparmorProfile", "docker-default").tool(["true"]).build();
    assert_refused(sb, &bundle, "process.apparmorProfile: apparmor: config provided but apparmor not supported");
}

#[track_caller]
fn assert_refused(sb: &Sandbox, bundle: &Bundle, words: &str) {
    let field = words.split(':').next().unwrap_or_default().rsplit('.').next().unwrap_or_default();
    let text = fs::read_to_string(bundle.config_path()).unwrap();
    let line = text.lines().position(|line| line.contains(&format!("\"{field}\""))).expect("the field has a line") + 1;
    for verb in ["create", "run"] {
        let output = sb.call([verb, "--bundle"]).arg(&bundle.dir).arg(sb.id()).output();
        output.fails_with(&[words, &format!("line {line}"), "hint: remove the "]);
        sb.assert_nothing_left();
    }
}

fn no_confinement_is_what_a_host_without_apparmor_gives(sb: &Sandbox) {
    sb.only_corten("decides it so");
    if apparmor() {
        skip("AppArmor is active on this machine");
    }
    let bundle = sb.bundle().set("/process/apparmorProfile", "unconfined").tool(["true"]).build();
    let output = sb.run(&bundle);
    output.ok();
    assert!(!output.stderr.contains("apparmor"), "{output:?}");
}

fn a_programs_label_on_a_host_without_selinux_is_an_error(sb: &Sandbox) {
    sb.only_corten("has these words");
    if selinux() {
        skip("SELinux is active on this machine");
    }
    let words = "selinux label is specified in config, but selinux is disabled or not supported";
    let bundle = sb.bundle().tool(["true"]).set("/process/selinuxLabel", "system_u:system_r:container_t:s0").build();
    assert_refused(sb, &bundle, &format!("process.selinuxLabel: {words}"));
}

/// A label of files confines nobody by itself, and a host without SELinux has none.
fn a_label_of_mounts_on_a_host_without_selinux_is_a_warning(sb: &Sandbox) {
    sb.only_corten("decides it so");
    if selinux() {
        skip("SELinux is active on this machine");
    }
    let bundle = sb.bundle().tool(["true"]).set("/linux/mountLabel", "system_u:object_r:container_file_t:s0").build();
    let output = sb.run(&bundle);
    output.ok();
    assert!(output.stderr.contains("linux.mountLabel: has no effect: SELinux isn't active"), "{output:?}");
}

/// What the policy of the lane uml-selinux has (fixtures/selinux) beside `u:base_r:base_t:s0`, which everybody has.
const PROGRAM: &str = "u:base_r:container_t:s0:c1";
const FILES: &str = "u:base_r:container_file_t:s0:c1";

fn labelled<'a>(sb: &'a Sandbox, words: &[&str]) -> BundleBuilder<'a> {
    sb.bundle().tool(words.iter().copied()).set("/process/selinuxLabel", PROGRAM).set("/linux/mountLabel", FILES)
}

fn a_selinux_label_is_in_force(sb: &Sandbox) {
    needs_selinux();
    let current = ["cat", "/proc/self/attr/current"];
    let assert_in_force = |output: &str| assert_eq!(output.trim_end_matches(['\0', '\r', '\n']), PROGRAM);
    for no_new_privileges in [true, false] {
        let bundle = labelled(sb, &current).set("/process/noNewPrivileges", no_new_privileges);
        assert_in_force(&sb.run(&bundle.build()).ok().stdout);
        let user = labelled(sb, &current)
            .set("/process/user", json!({"uid": 1000, "gid": 1000}))
            .set("/process/noNewPrivileges", no_new_privileges);
        assert_in_force(&sb.run(&user.build()).ok().stdout);
    }
    assert_in_force(&sb.run(&labelled(sb, &current).user_namespace().build()).ok().stdout);
    let hook = json!({"path": "/bin/probe", "args": ["probe", "probe", "--", "cat", "/proc/self/attr/current", ";", "exit", "3"]});
    let container = sb.create(&labelled(sb, &current).hook("startContainer", hook).build());
    container.verb("start").fails_with(&["startContainer hook #0: exit status 3", PROGRAM]);
    let container = sb.create(&labelled(sb, &current).build());
    container.start();
    container.wait();
    assert_in_force(&container.output());
}

fn mounts_have_the_selinux_label(sb: &Sandbox) {
    needs_selinux();
    sb.needs_program("/usr/bin/python3", "python3-minimal");
    for flags in [&[][..], &["--pretend-kernel-lacks", "new_mount_api"]] {
        let bundle =
            labelled(sb, &["pause"]).set("/linux/maskedPaths", json!(["/proc/bus", "/sys/firmware", "/proc/fs"]));
        let container = sb.create_with(&bundle.build(), |call| call.global(flags));
        let look = "import os, sys\nfor path in sys.argv[1:]: print(os.getxattr(path, 'security.selinux').decode().rstrip('\\0'))";
        let root = format!("/proc/{}/root", container.pid());
        let places = ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/proc/fs", "/proc", "/bin"];
        let paths = places.map(|place| format!("{root}{place}"));
        let output = Command::new("/usr/bin/python3").args(["-c", look]).args(paths).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let others = ["u:base_r:base_t:s0"; 2];
        assert_eq!(text.lines().collect::<Vec<_>>(), [&[FILES; 5][..], &others].concat(), "{output:?}");
    }
}

fn a_selinux_label_that_the_policy_lacks_is_an_error(sb: &Sandbox) {
    needs_selinux();
    sb.only_corten("has these words");
    let bundle = sb.bundle().set("/process/selinuxLabel", "no_u:no_r:no_t:s0").tool(["true"]).build();
    let words = ["process.selinuxLabel: ", "write: Invalid argument", "hint: the loaded SELinux policy"];
    sb.run_with(&bundle, |call| call.arg("--no-new-keyring")).fails_with(&words);
    sb.run(&bundle).fails_with(&words);
    sb.run(&bundle).fails_with(&["make keyrings with SELinux label"]);
    let bundle = sb.bundle().set("/linux/mountLabel", "no_u:no_r:no_t:s0").tool(["true"]).build();
    sb.run(&bundle).fails_with(&["context=no_u:no_r:no_t:s0", "Invalid argument"]);
    sb.assert_nothing_left();
}

fn a_selinux_label_that_can_not_be_set_leaves_nothing(sb: &Sandbox) {
    needs_selinux();
    sb.only_corten("has faults");
    let bundle = labelled(sb, &["true"]).build();
    let steps = steps_of(sb, &bundle, "Selinux");
    let queues = steps_of(sb, &bundle, "LabelQueues");
    assert_eq!((steps.len(), queues.len()), (3, 1));
    for (index, step) in steps.iter().chain(&queues) {
        let field = step["field"].as_str().unwrap().trim_start_matches('/').replace('/', ".");
        for (suffix, words) in [("", field.as_str()), (":kill", "was killed by")] {
            let output = sb.run_with(&bundle, |call| call.global(&["--fault", &format!("stage_two:{index}{suffix}")]));
            output.fails_with(&[words]);
            sb.assert_nothing_left();
        }
    }
}
