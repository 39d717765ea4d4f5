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
    a_label_on_a_host_without_selinux_is_an_error,
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
    a_selinux_label_is_in_force,
    a_selinux_label_that_the_policy_lacks_is_an_error,
];

fn apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
}

fn selinux() -> bool {
    fs::exists("/sys/fs/selinux/enforce").unwrap_or(false)
        && fs::read_to_string("/proc/self/attr/current").is_ok_and(|label| label.contains(':'))
}

fn needs_apparmor(sb: &Sandbox) {
    if !apparmor() {
        skip("AppArmor isn't active on this machine");
    }
    sb.needs_program("/sbin/apparmor_parser", "apparmor");
}

fn needs_selinux() {
    if !selinux() {
        skip("SELinux isn't active on this machine");
    }
}

/// A loaded profile that allows all but what is below /denied; unloaded with this.
struct Profile {
    name: String,
    text: String,
}

impl Profile {
    fn load() -> Profile {
        static LOADED: AtomicU32 = AtomicU32::new(0);
        let number = LOADED.fetch_add(1, Ordering::Relaxed);
        let name = format!("corten-suite-{}-{number}", std::process::id());
        let rules = "file, capability, network, unix, signal, ptrace, mount, umount, deny /denied/** rwklm,";
        let text = format!("profile {name} flags=(attach_disconnected) {{ {rules} }}\n");
        parser("--add", &text);
        Profile { name, text }
    }

    /// What the kernel says of a process in it.
    fn current(&self) -> String {
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

fn a_label_on_a_host_without_selinux_is_an_error(sb: &Sandbox) {
    sb.only_corten("has these words");
    if selinux() {
        skip("SELinux is active on this machine");
    }
    let words = "selinux label is specified in config, but selinux is disabled or not supported";
    for (pointer, field) in [("/process/selinuxLabel", "process.selinuxLabel"), ("/linux/mountLabel", "linux.mountLabel")]
    {
        let bundle = sb.bundle().set(pointer, "system_u:system_r:container_t:s0").tool(["true"]).build();
        assert_refused(sb, &bundle, &format!("{field}: {words}"));
    }
}

/// The label that this process has, in which the policy of the machine surely lets it start programs.
fn own_label() -> String {
    fs::read_to_string("/proc/self/attr/current").unwrap().trim_end_matches(['\0', '\n']).to_owned()
}

fn a_selinux_label_is_in_force(sb: &Sandbox) {
    needs_selinux();
    // Another type or level than the caller's, where the machine says which.
    let label = std::env::var("CORTEN_TEST_SELINUX_LABEL").unwrap_or_else(|_| own_label());
    let bundle = sb.bundle().set("/process/selinuxLabel", label.as_str()).tool(["cat", "/proc/self/attr/current"]);
    let output = sb.run(&bundle.build());
    assert_eq!(output.ok().stdout.trim_end_matches(['\0', '\n']), label);
    sb.assert_nothing_left();
}

fn a_selinux_label_that_the_policy_lacks_is_an_error(sb: &Sandbox) {
    needs_selinux();
    sb.only_corten("has these words");
    let bundle = sb.bundle().set("/process/selinuxLabel", "no_u:no_r:no_t:s0").tool(["true"]).build();
    let words = ["process.selinuxLabel: ", "write: Invalid argument", "hint: the loaded SELinux policy"];
    sb.run_with(&bundle, |call| call.arg("--no-new-keyring")).fails_with(&words);
    sb.run(&bundle).fails_with(&words);
    sb.assert_nothing_left();
}
