//! The runtime's own binary as a target (CVE-2019-5736): a container has it for its program, its interpreter or its hook,
//! or looks for it in the pid namespace that the runtime comes into. Each test gives corten a copy that may be lost.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{BundleBuilder, Case, Output, Sandbox, cases, runtime_path, scaled};

pub const CASES: &[Case] = cases![anyone:
    the_runtime_s_own_program_can_t_be_written,
    the_runtime_s_own_program_can_t_be_given_away,
    a_clone_of_the_runtime_s_mount_can_t_be_made_writable,
    a_script_whose_interpreter_is_the_runtime_s_link_can_t_change_it,
    a_link_to_the_runtime_s_program_can_t_change_it,
    a_hook_in_the_container_that_is_the_runtime_s_program_can_t_change_it,
    who_looks_for_the_runtime_in_a_shared_pid_namespace_can_t_change_it,
    whoever_waits_for_a_container_runs_from_the_sealed_image_too,
    what_the_caller_hands_down_reaches_the_sealed_image,
    a_process_keeps_its_name_in_the_sealed_image,
    a_program_that_can_t_be_sealed_enters_no_container,
    an_ordinary_user_needs_no_seal_for_root_s_program,
    a_verb_that_enters_no_container_is_not_executed_twice,
];

/// A copy of the runtime, and what it was.
pub struct Program {
    pub path: PathBuf,
    before: (u32, u32, u32, u64, u64, (i64, i64)),
}

/// What can be seen of a file. The time of the last change of anything can't be set back by anyone.
fn facts(path: &Path) -> (u32, u32, u32, u64, u64, (i64, i64)) {
    let meta = fs::metadata(path).unwrap();
    (meta.mode(), meta.uid(), meta.gid(), meta.nlink(), meta.size(), (meta.ctime(), meta.ctime_nsec()))
}

impl Program {
    pub fn new(sb: &Sandbox) -> Program {
        let path = sb.path(&format!("corten-{}", sb.number()));
        // By another process: whoever is forked while this one has it open for writing would keep it from being executed.
        let copied = std::process::Command::new("cp").arg(runtime_path()).arg(&path).status().unwrap();
        assert!(copied.success());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let before = facts(&path);
        Program { path, before }
    }

    #[track_caller]
    pub fn assert_untouched(&self) {
        assert_eq!(facts(&self.path), self.before, "mode, owner, links, size or time of change of the host's program");
        assert!(
            fs::read(&self.path).unwrap() == fs::read(runtime_path()).unwrap(),
            "the host's program has other bytes"
        );
    }
}

/// The images that corten can run from, as what it has to do without: nothing, or the clone of a mount.
pub const IMAGES: [(&str, &[&str]); 2] = [("clone", &[]), ("copy", &["--pretend-kernel-lacks", "mount_setattr"])];

/// Every call that changes a file, on the program that runs; `try` prints what came of it.
const ATTEMPTS: [&[&str]; 12] = [
    &["append", "/proc/self/exe", "overwritten"],
    &["write", "/proc/self/exe", "overwritten"],
    &["open", "/proc/self/exe", "rw"],
    &["truncate", "/proc/self/exe"],
    &["chmod", "666", "/proc/self/exe"],
    &["chmod", "6777", "/proc/self/exe"],
    &["chown", "1000", "/proc/self/exe"],
    &["touch", "/proc/self/exe"],
    &["link", "/proc/self/exe", "/tmp/link"],
    &["rename", "/tmp/mine", "/proc/self/exe"],
    &["rm", "/proc/self/exe"],
    &["rename", "/proc/self/exe", "/tmp/away"],
];

/// All of them, after these words.
pub fn attack<'a>(first: &[&'a str]) -> Vec<&'a str> {
    let tries = ATTEMPTS.iter().flat_map(|words| [&["try"], *words, &[";"]].concat());
    first.iter().copied().chain(tries).chain(["echo", "attacked"]).collect()
}

/// The capabilities with which the kernel lets one change others' files.
const STRONG: [&str; 6] =
    ["CAP_CHOWN", "CAP_FOWNER", "CAP_FSETID", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"];

pub fn strong<'a>(bundle: BundleBuilder<'a>) -> BundleBuilder<'a> {
    bundle.capabilities(&STRONG).file("/tmp/mine", "mine")
}

/// Runs the bundle with each image, with the real root's user and in a user namespace.
fn with_each_image<'a>(
    sb: &'a Sandbox,
    build: impl Fn(BundleBuilder<'a>) -> BundleBuilder<'a>,
    check: impl Fn(&Output, &str),
) {
    sb.only_corten("is its own toolbox");
    let root = nix::unistd::geteuid().is_root();
    // An ordinary user can't clone a mount, and his default bundle has a user namespace already.
    let images = IMAGES.iter().filter(|(image, _)| root || *image == "copy");
    for (image, flags) in images.copied() {
        for user_namespace in if root { &[false, true][..] } else { &[false] } {
            let bundle = strong(sb.bundle());
            let bundle = if *user_namespace { bundle.user_namespace() } else { bundle };
            let program = Program::new(sb);
            let output = sb.run_with(&build(bundle).build(), |call| call.program(&program.path).global(flags));
            program.assert_untouched();
            check(&output, image);
            fs::remove_file(&program.path).unwrap();
            sb.assert_nothing_left();
        }
    }
}

/// No attempt on the clone may say `ok`. A copy is the container's own: its mode and times may change, its bytes may not.
#[track_caller]
pub fn assert_refused(output: &Output, image: &str) {
    let lines = output.ok().lines();
    assert_eq!(lines.last(), Some(&"attacked"), "{output:?}");
    for (attempt, result) in ATTEMPTS.iter().zip(&lines) {
        let harmless = image == "copy" && ["chmod", "chown", "touch"].contains(&attempt[0]);
        assert!(harmless || *result != "ok", "{attempt:?} on a {image}: {output:?}");
    }
}

/// The container's program is the runtime itself.
fn the_runtime_s_own_program_can_t_be_written(sb: &Sandbox) {
    let args = [
        "/proc/self/exe",
        "probe",
        "--",
        "try",
        "append",
        "/proc/self/exe",
        "overwritten",
        ";",
        "readlink",
        "/proc/self/exe",
    ];
    with_each_image(
        sb,
        |bundle| bundle.args(args),
        |output, image| {
            let lines = output.ok().lines();
            assert!(["EROFS", "ETXTBSY", "EPERM", "EACCES"].contains(&lines[0]), "{output:?}");
            let name = if image == "clone" { "/" } else { "/memfd:corten (deleted)" };
            assert_eq!(lines[1], name, "the image is another than this test is about");
        },
    );
}

/// The other half of CVE-2019-5736: mode and owner, and every other call.
fn the_runtime_s_own_program_can_t_be_given_away(sb: &Sandbox) {
    let args = attack(&["/proc/self/exe", "probe", "--"]);
    with_each_image(sb, |bundle| bundle.args(args.iter().copied()), assert_refused);
}

/// With CAP_SYS_ADMIN of the real root even: the clone belongs to no mount namespace, so nobody can change or copy it.
fn a_clone_of_the_runtime_s_mount_can_t_be_made_writable(sb: &Sandbox) {
    sb.needs_root();
    let attempts: [&[&str]; 4] = [
        &["remount", "/proc/self/exe"],
        &["thaw", "/proc/self/exe"],
        &["clone", "/proc/self/exe"],
        &["bind", "/proc/self/exe", "/tmp/mine"],
    ];
    let tries = attempts.iter().flat_map(|words| [&["try"], *words, &[";"]].concat());
    let args: Vec<&str> =
        ["/proc/self/exe", "probe", "--"].into_iter().chain(tries).chain(["echo", "attacked"]).collect();
    with_each_image(
        sb,
        |bundle| bundle.args(args.iter().copied()),
        |output, image| {
            if image == "clone" {
                assert_eq!(output.ok().lines(), ["EINVAL", "EINVAL", "EINVAL", "EINVAL", "attacked"]);
            }
        },
    );
}

/// CVE-2019-5736 by an image that has a script for its program.
fn a_script_whose_interpreter_is_the_runtime_s_link_can_t_change_it(sb: &Sandbox) {
    let args = attack(&["/bin/script"]);
    let with_script = |bundle| {
        let bundle = BundleBuilder::file(bundle, "/bin/script", "#!/proc/self/exe probe\n");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(bundle.in_rootfs("/bin/script"), mode).unwrap();
        bundle.args(args.iter().copied())
    };
    with_each_image(sb, with_script, assert_refused);
}

/// CVE-2019-5736 by a link in the image.
fn a_link_to_the_runtime_s_program_can_t_change_it(sb: &Sandbox) {
    for target in ["/proc/self/exe", "../proc/self/exe", "/proc/1/exe", "/proc/thread-self/exe"] {
        let args = attack(&["/bin/link", "probe", "--"]);
        with_each_image(sb, |bundle| bundle.symlink("/bin/link", target).args(args.iter().copied()), assert_refused);
    }
}

/// CVE-2019-5736 by a hook whose path is resolved in the container, while the init is still corten's.
fn a_hook_in_the_container_that_is_the_runtime_s_program_can_t_change_it(sb: &Sandbox) {
    let args = attack(&["corten", "probe", "--", "write", "/tmp/hook-has-run", "x", ";"]);
    let hook = json!({"path": "/proc/self/exe", "args": args});
    with_each_image(
        sb,
        |bundle| bundle.hook("startContainer", hook.clone()).tool(["cat", "/tmp/hook-has-run"]),
        |output, _| assert_eq!(output.ok().stdout, "x", "the hook hasn't run"),
    );
}

/// CVE-2019-5736 as a race: a program that goes for /proc/*/exe of all that comes into its pid namespace.
fn who_looks_for_the_runtime_in_a_shared_pid_namespace_can_t_change_it(sb: &Sandbox) {
    sb.only_corten("is its own toolbox");
    sb.needs_root();
    for (image, flags) in IMAGES {
        let program = Program::new(sb);
        let bundle = strong(sb.bundle()).tool(["prowl", "/tmp/stop", "/bin/probe"]).build();
        let (mut prowler, id) = sb.run_in_background(&bundle, &[]);
        prowler.lines.expect_line("ready");
        let pid = sb.call(["state", &id]).output().ok().json()["pid"].as_i64().unwrap();
        let joined = sb.bundle().namespace("pid", Some(&format!("/proc/{pid}/ns/pid"))).tool(["true"]).build();
        for _ in 0..scaled(40) {
            sb.run_with(&joined, |call| call.program(&program.path).global(flags)).ok();
        }
        // One that waits for `start` can be looked at for as long as one likes.
        let container = sb.create_with(&joined, |call| call.program(&program.path).global(flags));
        fs::write(bundle.in_rootfs("/tmp/stop"), "").unwrap();
        let loot: Value = serde_json::from_str(&prowler.lines.next_line().unwrap()).unwrap();
        assert_eq!(prowler.wait(), 0);
        sb.call(["delete", "--force", &container.id]).output().ok();
        program.assert_untouched();
        let programs = crate::harness::words(&loot["programs"]);
        let seen = if image == "clone" { "/" } else { "/memfd:corten (deleted)" };
        assert_eq!(programs, [seen], "the runtime was seen, and in its image only: {loot}");
        let changed = crate::harness::words(&loot["changed"]);
        let harmless =
            |change: &String| image == "copy" && (change.starts_with("chmod") || change.starts_with("chown"));
        assert!(changed.iter().all(harmless), "{loot}");
    }
    sb.assert_nothing_left();
}

fn image_of(pid: i32) -> String {
    fs::read_link(format!("/proc/{pid}/exe")).unwrap().to_string_lossy().into_owned()
}

/// The runtime of a foreground `run` is there for as long as the container is.
fn whoever_waits_for_a_container_runs_from_the_sealed_image_too(sb: &Sandbox) {
    sb.only_corten("is asked for this");
    sb.needs_root();
    let bundle = sb.bundle().tool(["pause"]).build();
    let (mut running, id) = sb.run_in_background(&bundle, &[]);
    running.lines.expect_line("ready");
    assert_eq!(image_of(running.pid()), "/");
    sb.call(["kill", &id, "KILL"]).output().ok();
    running.wait();
    let container = sb.create(&bundle);
    assert_eq!(image_of(container.pid()), "/");
}

/// Numbers of descriptors, socket activation, environment and arguments are those of the first execve.
fn what_the_caller_hands_down_reaches_the_sealed_image(sb: &Sandbox) {
    sb.only_corten("is asked for this");
    let script = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" 3</etc/hostname 4</etc/passwd 5</etc/group 8</etc";
    let bundle = sb.bundle().tool(["listen-fds", ";", "json"]).build();
    for (_, flags) in IMAGES {
        let output = sb.run_with(&bundle, |call| {
            call.under(&["/bin/sh", "-c", script, "sh"]).global(flags).args(["--preserve-fds", "1"])
        });
        assert_eq!(output.ok().lines()[..2], ["LISTEN_PID=1", "LISTEN_FDS=1"]);
        let report = output.json_last();
        let fds: Vec<_> = report["fds"].as_object().unwrap().iter().skip(3).collect();
        let ends = |at: usize, name: &str| fds[at].1.as_str().unwrap().ends_with(name);
        assert!(fds.len() == 2 && ends(0, "/etc/hostname") && ends(1, "/etc/passwd"), "{fds:?}");
        // What was promised isn't there, and no descriptor of corten's own may stand in for it.
        let output =
            sb.run_with(&bundle, |call| call.fds("3</etc/hostname").global(flags).args(["--preserve-fds", "2"]));
        output.fails_with(&["--preserve-fds"]);
    }
    // Hooks get the environment that the caller gave, and nothing more.
    let file = sb.path("environment");
    let script = format!("env >{}", file.display());
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["ONLY=this"]});
    let bundle = sb.bundle().hook("createRuntime", hook).tool(["env"]).build();
    let output = sb.run(&bundle);
    assert_eq!(output.ok().lines(), ["PATH=/bin", "HOME=/root"]);
    let text = fs::read_to_string(&file).unwrap();
    let names: Vec<_> = text.lines().filter_map(|line| line.split('=').next()).collect();
    assert!(names.iter().all(|name| ["ONLY", "PWD", "_", "SHLVL"].contains(name)), "{text}");
}

/// Before Linux 6.14 an execveat leaves the number of a descriptor as the name.
fn a_process_keeps_its_name_in_the_sealed_image(sb: &Sandbox) {
    sb.only_corten("is executed twice");
    let other = sb.path("a-runtime");
    symlink(runtime_path(), &other).unwrap();
    for (_, flags) in IMAGES {
        let bundle = sb.bundle().tool(["pause"]).build();
        let id = sb.id();
        let call = sb.call(["run", "--bundle"]).arg(&bundle.dir).arg(&id).global(flags).program(&other);
        let mut running = call.spawn();
        running.lines.expect_line("ready");
        let name = fs::read_to_string(format!("/proc/{}/comm", running.pid())).unwrap();
        let line = fs::read_to_string(format!("/proc/{}/cmdline", running.pid())).unwrap();
        assert_eq!(name, "a-runtime\n");
        assert!(line.starts_with(other.to_str().unwrap()), "{line}");
        sb.call(["kill", &id, "KILL"]).output().ok();
        running.wait();
    }
}

fn a_program_that_can_t_be_sealed_enters_no_container(sb: &Sandbox) {
    sb.only_corten("pretends that calls are missing");
    sb.needs_root();
    let bundle = sb.bundle().tool(["true"]).build();
    for verb in ["create", "run"] {
        for lacking in ["new_mount_api,memfd", "mount_setattr,memfd"] {
            let call = sb.call([verb, "--bundle"]).arg(&bundle.dir).arg(sb.id());
            let output = call.global(&["--pretend-kernel-lacks", lacking]).output();
            output.fails_with(&["seal corten's own program", "memfd_create", "hint: "]);
            sb.assert_nothing_left();
        }
    }
    sb.call(["list"]).global(&["--pretend-kernel-lacks", "mount_setattr,memfd"]).output().ok();
}

/// What the debug log of a call says of the image; the bundle that is named isn't there.
fn image_in_log(sb: &Sandbox, program: &Path, wrapper: &[&str]) -> String {
    let call = sb.call(["run", "--bundle", "/nonexistent", "none"]).global(&["--debug"]).program(program);
    let output = call.under(wrapper).output();
    let line = output.stderr.lines().find(|line| line.contains("corten runs from")).map(str::to_owned);
    line.unwrap_or_else(|| panic!("{output:?}"))
}

/// A caller whose containers can't be root has no way to a program of root's; his own program is another matter.
fn an_ordinary_user_needs_no_seal_for_root_s_program(sb: &Sandbox) {
    sb.only_corten("is asked for this");
    sb.needs_root();
    sb.needs_program("/usr/bin/setpriv", "util-linux");
    let user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--inh-caps=-all"];
    let program = Program::new(sb).path;
    assert!(image_in_log(sb, &program, &user).contains("can't have"));
    assert!(
        image_in_log(sb, &program, &["setpriv", "--no-new-privs"]).contains("read-only clone"),
        "the caller is root"
    );
    fs::set_permissions(&program, fs::Permissions::from_mode(0o775)).unwrap();
    assert!(image_in_log(sb, &program, &user).contains("sealed copy"), "the group may write");
    std::os::unix::fs::chown(&program, Some(1000), Some(1000)).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(image_in_log(sb, &program, &user).contains("sealed copy"), "it is the caller's own");
}

/// The name that the kernel has executed a process by (getauxval(3), AT_EXECFN), out of its memory.
fn executed_by_descriptor(pid: i32) -> bool {
    let words = fs::read(format!("/proc/{pid}/auxv")).unwrap();
    let number = |at: usize| u64::from_ne_bytes(words[at..at + 8].try_into().unwrap());
    let pair = (0..words.len() / 16).map(|index| (number(index * 16), number(index * 16 + 8)));
    let address = pair.into_iter().find(|(kind, _)| *kind == libc::AT_EXECFN).expect("there is a name").1;
    let mut name = [0u8; 8];
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&memory, &mut name, address).unwrap();
    &name == b"/dev/fd/"
}

/// The second execve is paid by the verbs that need it.
fn a_verb_that_enters_no_container_is_not_executed_twice(sb: &Sandbox) {
    sb.only_corten("is executed twice");
    sb.needs_root();
    let bundle = sb.bundle().tool(["pause"]).build();
    let (mut running, id) = sb.run_in_background(&bundle, &[]);
    running.lines.expect_line("ready");
    assert!(executed_by_descriptor(running.pid()));
    // It stays until the container ends, so that it can be looked at.
    let mut events = sb.call(["events", "--interval", "100ms"]).arg(&id).spawn();
    events.lines.next_line().unwrap();
    assert!(!executed_by_descriptor(events.pid()));
    assert_eq!(image_of(events.pid()), fs::canonicalize(runtime_path()).unwrap().to_str().unwrap());
    for verb in [vec!["state", &id], vec!["list"], vec!["features"], vec!["ps", &id], vec!["kill", &id, "KILL"]] {
        let output = sb.call(verb).global(&["--debug"]).output();
        assert!(!output.ok().stderr.contains("corten runs from"), "{output:?}");
    }
    running.wait();
    events.wait();
}
