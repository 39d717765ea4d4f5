//! The process: who it is, what it may do, where it stands, what it inherits, and how its program is found.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

use serde_json::{Value, json};

use crate::harness::{Case, Flavour, Sandbox, cases, skip, words};

pub const CASES: &[Case] = cases![anyone:
    it_runs_as_the_user_and_groups_of_the_config,
    without_further_groups_it_has_none,
    the_umask_is_the_config_s_or_0022,
    capabilities_are_exactly_those_listed,
    without_capabilities_it_has_none,
    an_ordinary_user_keeps_ambient_capabilities_only,
    an_ambient_capability_that_can_t_be_raised_is_a_warning,
    an_unknown_capability_is_a_warning,
    resource_limits_are_set,
    an_unknown_resource_limit_is_refused,
    a_resource_limit_given_twice_is_refused,
    a_soft_limit_above_the_hard_one_is_refused,
    no_new_privileges_is_set_only_when_asked_for,
    the_oom_score_is_set_or_left_alone,
    a_lower_oom_score_needs_a_capability,
    host_and_domain_names_are_set,
    a_host_name_needs_a_uts_namespace,
    sysctls_are_written_in_both_spellings,
    the_domain_name_can_be_a_sysctl,
    sysctls_of_the_host_are_refused,
    a_sysctl_that_isn_t_there_is_named,
    personality_scheduler_and_io_priority_are_set,
    a_real_time_scheduler_has_its_priority_and_flags,
    a_deadline_scheduler_has_its_times,
    a_scheduler_that_makes_no_sense_is_refused,
    the_memory_policy_is_set,
    the_memory_policy_has_its_flags,
    it_has_a_session_keyring_of_its_own,
    the_caller_s_keyring_can_be_kept,
    the_working_directory_is_entered,
    a_missing_working_directory_is_made,
    a_relative_working_directory_is_refused,
    a_working_directory_in_another_process_s_files_is_refused,
    a_working_directory_that_only_the_user_may_enter_works,
    the_environment_is_the_config_s,
    home_comes_from_the_container_s_accounts,
    the_last_of_two_variables_wins,
    an_argument_may_be_anything,
    a_program_is_looked_up_in_the_container_s_path,
    a_program_that_can_t_be_run_is_an_error_of_create,
    a_script_is_run_by_its_interpreter,
    no_descriptor_leaks_in,
    a_waiting_init_holds_nothing_of_the_host,
    too_few_descriptors_leave_nothing_behind,
    preserved_descriptors_go_in,
    a_missing_preserved_descriptor_is_an_error,
    socket_activation_goes_in,
    socket_activation_of_another_process_stays_out,
    a_notify_socket_goes_in,
    no_signal_is_blocked_or_ignored,
    it_leads_a_session,
    stdin_of_a_created_container_is_its_caller_s,
];

fn it_runs_as_the_user_and_groups_of_the_config(sb: &Sandbox) {
    sb.needs_root();
    let user = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 27, 4_000_000]});
    let report = sb.probe(&sb.bundle().set("/process/user", user).build());
    assert_eq!(report["user"]["uids"], json!([1000, 1000, 1000]));
    assert_eq!(report["user"]["gids"], json!([1001, 1001, 1001]));
    let mut groups = words(&report["user"]["additionalGids"]);
    groups.retain(|g| g != "1001");
    assert_eq!(groups, ["5", "27", "4000000"]);
}

fn without_further_groups_it_has_none(sb: &Sandbox) {
    let report = sb.probe(&sb.bundle().set("/process/user", json!({"uid": 7, "gid": 8})).build());
    let mut groups = words(&report["user"]["additionalGids"]);
    groups.retain(|g| g != "8");
    assert_eq!(groups, Vec::<String>::new());
}

/// Golden value 4.
fn the_umask_is_the_config_s_or_0022(sb: &Sandbox) {
    sb.needs_root();
    let report = sb.probe(&sb.bundle().set("/process/user/umask", 63).build());
    assert_eq!(report["user"]["umask"], 0o077);
    let output = sb.run_with(&sb.bundle().build(), |call| call.under(&["sh", "-c", "umask 0111; exec \"$@\"", "sh"]));
    assert_eq!(output.ok().json()["user"]["umask"], 0o022);
}

fn capabilities_are_exactly_those_listed(sb: &Sandbox) {
    let (bounding, permitted, effective) =
        (["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"], ["CAP_CHOWN", "CAP_KILL"], ["CAP_CHOWN"]);
    // A program run as root regains every bounding capability by execve(2) unless it has no new privileges ... and
    // even then; so the sets can be told apart only for an ordinary user with ambient ones.
    let sets = json!({"bounding": bounding, "permitted": permitted, "effective": effective, "inheritable": effective, "ambient": effective});
    let user = json!({"uid": 1000, "gid": 1000});
    let report = sb.probe(&sb.bundle().set("/process/capabilities", sets).set("/process/user", user).build());
    let caps = &report["capabilities"];
    assert_eq!(caps["bounding"], json!(bounding));
    for set in ["effective", "permitted", "inheritable", "ambient"] {
        assert_eq!(caps[set], json!(["CAP_CHOWN"]), "{set}");
    }
    let report = sb.probe(&sb.bundle().capabilities(&["CAP_SYS_CHROOT", "CAP_MKNOD"]).build());
    assert_eq!(report["capabilities"]["effective"], json!(["CAP_SYS_CHROOT", "CAP_MKNOD"]));
    assert_eq!(report["capabilities"]["inheritable"], json!([]), "CVE-2022-29162");
    assert_eq!(report["capabilities"]["ambient"], json!([]));
}

/// Golden value 1.
fn without_capabilities_it_has_none(sb: &Sandbox) {
    sb.only_corten("drops all");
    let bundle = sb.bundle().edit(|config| _ = config["process"].as_object_mut().unwrap().remove("capabilities"));
    let output = sb.run(&bundle.build());
    let report = output.ok().json();
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        assert_eq!(report["capabilities"][set], json!([]), "{set}");
    }
    assert!(output.stderr.contains("process.capabilities"), "a warning names the field: {}", output.stderr);
}

fn an_ordinary_user_keeps_ambient_capabilities_only(sb: &Sandbox) {
    let all = json!(["CAP_NET_BIND_SERVICE", "CAP_KILL"]);
    let sets =
        json!({"bounding": all, "permitted": all, "effective": all, "inheritable": all, "ambient": ["CAP_KILL"]});
    let bundle = sb.bundle().set("/process/capabilities", sets).set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let report = sb.probe(&bundle.build());
    assert_eq!(report["capabilities"]["effective"], json!(["CAP_KILL"]));
    assert_eq!(report["capabilities"]["permitted"], json!(["CAP_KILL"]));
}

/// Golden value 8.
fn an_ambient_capability_that_can_t_be_raised_is_a_warning(sb: &Sandbox) {
    let sets = json!({"bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN"]});
    let bundle = sb.bundle().set("/process/capabilities", sets).set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let output = sb.run(&bundle.build());
    assert_eq!(output.ok().json()["capabilities"]["ambient"], json!([]));
    if sb.flavour() == Flavour::Corten {
        assert!(output.stderr.contains("CAP_CHOWN"), "a warning names it: {}", output.stderr);
    }
}

fn an_unknown_capability_is_a_warning(sb: &Sandbox) {
    let output = sb.run(&sb.bundle().capabilities(&["CAP_KILL", "CAP_FOO"]).build());
    assert_eq!(output.ok().json()["capabilities"]["effective"], json!(["CAP_KILL"]));
    assert!(output.stderr.contains("CAP_FOO"), "{}", output.stderr);
}

fn resource_limits_are_set(sb: &Sandbox) {
    let limits = json!([
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_NPROC", "soft": 1000, "hard": 2000},
        {"type": "RLIMIT_FSIZE", "soft": 1_000_000_000, "hard": 1_000_000_000},
        {"type": "RLIMIT_CPU", "soft": 60, "hard": 61}
    ]);
    let report = sb.probe(&sb.bundle().set("/process/rlimits", limits.clone()).build());
    for limit in limits.as_array().unwrap() {
        let set = &report["rlimits"][limit["type"].as_str().unwrap()];
        assert_eq!((&set["soft"], &set["hard"]), (&limit["soft"], &limit["hard"]), "{limit}");
    }
}

fn an_unknown_resource_limit_is_refused(sb: &Sandbox) {
    let limits = json!([{"type": "RLIMIT_TEST", "soft": 1, "hard": 1}]);
    sb.run(&sb.bundle().set("/process/rlimits", limits).build()).fails_with(&["RLIMIT_TEST"]);
    sb.assert_nothing_left();
}

/// Golden value 7.
fn a_resource_limit_given_twice_is_refused(sb: &Sandbox) {
    sb.only_corten("refuses it, as the spec has it");
    let limits = json!([{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}, {"type": "RLIMIT_CORE", "soft": 2, "hard": 2}]);
    let output = sb.run(&sb.bundle().set("/process/rlimits", limits).build());
    output.fails_with(&["process.rlimits[1]", "RLIMIT_CORE"]);
}

fn a_soft_limit_above_the_hard_one_is_refused(sb: &Sandbox) {
    let limits = json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]);
    sb.run(&sb.bundle().set("/process/rlimits", limits).build()).fails();
    sb.assert_nothing_left();
}

fn no_new_privileges_is_set_only_when_asked_for(sb: &Sandbox) {
    for (asked, is) in [(json!(true), true), (json!(false), false), (Value::Null, false)] {
        let bundle = sb.bundle().edit(|config| {
            let process = config["process"].as_object_mut().unwrap();
            process.remove("noNewPrivileges");
            if !asked.is_null() {
                process.insert("noNewPrivileges".to_owned(), asked);
            }
        });
        assert_eq!(sb.probe(&bundle.build())["noNewPrivileges"], is);
    }
}

fn the_oom_score_is_set_or_left_alone(sb: &Sandbox) {
    assert_eq!(sb.probe(&sb.bundle().set("/process/oomScoreAdj", 345).build())["oomScoreAdj"], 345);
    let own: i64 = fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    assert_eq!(sb.probe(&sb.bundle().build())["oomScoreAdj"], own);
    let report = sb.probe(&sb.bundle().user_namespace().set("/process/oomScoreAdj", 345).build());
    assert_eq!(report["oomScoreAdj"], 345);
}

fn a_lower_oom_score_needs_a_capability(sb: &Sandbox) {
    sb.needs_root();
    if corten::sys::inspect::capability_sets().bounding >> 24 & 1 == 0 {
        let output = sb.run(&sb.bundle().set("/process/oomScoreAdj", -500).build());
        output.fails();
        sb.assert_nothing_left();
        skip("the machine has no CAP_SYS_RESOURCE");
    }
    assert_eq!(sb.probe(&sb.bundle().set("/process/oomScoreAdj", -500).build())["oomScoreAdj"], -500);
}

fn host_and_domain_names_are_set(sb: &Sandbox) {
    let report = sb.probe(&sb.bundle().set("/hostname", "web.example").build());
    assert_eq!(report["hostname"], "web.example");
    sb.only_corten("sets the domain name");
    let report = sb.probe(&sb.bundle().set("/domainname", "nis.example").build());
    assert_eq!(report["domainname"], "nis.example");
}

fn a_host_name_needs_a_uts_namespace(sb: &Sandbox) {
    let before = nix::unistd::gethostname().unwrap();
    let output = sb.run(&sb.bundle().without_namespace("uts").build());
    output.fails_with(&["unable to set hostname without a private UTS namespace"]);
    assert_eq!(nix::unistd::gethostname().unwrap(), before);
    sb.assert_nothing_left();
}

/// Golden value 13.
fn sysctls_are_written_in_both_spellings(sb: &Sandbox) {
    let sysctls = json!({"kernel.msgmax": "65432", "net/ipv4/ip_forward": "1", "net.ipv4.ping_group_range": "0 7"});
    let tools = [
        "cat",
        "/proc/sys/kernel/msgmax",
        ";",
        "cat",
        "/proc/sys/net/ipv4/ip_forward",
        ";",
        "cat",
        "/proc/sys/net/ipv4/ping_group_range",
    ];
    let output = sb.run(&sb.bundle().set("/linux/sysctl", sysctls).tool(tools).build());
    assert_eq!(output.ok().lines(), ["65432", "1", "0\t7"]);
}

fn the_domain_name_can_be_a_sysctl(sb: &Sandbox) {
    sb.only_corten("writes it in a user namespace too");
    for bundle in [sb.bundle(), sb.bundle().user_namespace()] {
        let report = sb.probe(&bundle.set("/linux/sysctl", json!({"kernel/domainname": "nis.example"})).build());
        assert_eq!(report["domainname"], "nis.example");
    }
}

fn sysctls_of_the_host_are_refused(sb: &Sandbox) {
    let refused = [
        ("vm.swappiness", "uts"),
        ("kernel.hostname", "ipc"),
        ("kernel.msgmax", "ipc"),
        ("net.ipv4.ip_forward", "network"),
    ];
    for (name, without) in refused {
        let mut bundle = sb.bundle().set("/hostname", "").without_namespace(without);
        if without == "ipc" {
            bundle = bundle.without_mount("/dev/mqueue");
        }
        let output = sb.run(&bundle.set("/linux/sysctl", json!({name: "1"})).build());
        output.fails_with(&[name]);
        sb.assert_nothing_left();
    }
}

fn a_sysctl_that_isn_t_there_is_named(sb: &Sandbox) {
    let output = sb.run(&sb.bundle().set("/linux/sysctl", json!({"net.ipv4.nosuch": "1"})).build());
    output.fails_with(&["nosuch"]);
    sb.assert_nothing_left();
}

/// Golden value 15.
fn personality_scheduler_and_io_priority_are_set(sb: &Sandbox) {
    sb.only_corten("sets these");
    let bundle = sb.bundle().set("/linux/personality", json!({"domain": "LINUX32"}));
    let bundle = bundle.set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 5}));
    let report =
        sb.probe(&bundle.set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0})).build());
    assert_eq!(report["machine"], machine_of_linux32());
    assert_eq!((&report["scheduler"]["policy"], &report["scheduler"]["nice"]), (&json!("SCHED_BATCH"), &json!(5)));
    assert_eq!(report["ioPriority"]["class"], "IOPRIO_CLASS_IDLE");
    let best = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
    assert_eq!(sb.probe(&sb.bundle().set("/process/ioPriority", best.clone()).build())["ioPriority"], best);
}

/// What uname(2) says in that personality: not every kernel has a name for it (User-Mode Linux keeps its own).
fn machine_of_linux32() -> String {
    let output = std::process::Command::new("setarch").args(["linux32", "uname", "-m"]).output().expect("run setarch");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// sched_setattr(2) of a policy that not every machine gives to a container, or to a container's cgroup.
fn scheduled(sb: &Sandbox, scheduler: Value) -> Value {
    sb.needs_root();
    sb.only_corten("sets the scheduler");
    let mut bundle = sb.bundle().set("/process/scheduler", scheduler);
    // Version 1 gives a new cgroup no real-time budget at all, where it has one (CONFIG_RT_GROUP_SCHED).
    if fs::exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").unwrap_or(false) {
        bundle = bundle.set("/linux/resources/cpu", json!({"realtimeRuntime": 1000, "realtimePeriod": 1_000_000}));
    }
    let output = sb.run(&bundle.build());
    if output.code != 0 && output.stderr.contains("Operation not permitted") {
        skip("this machine lets nobody have a real-time policy (CAP_SYS_NICE, or the budget of the cgroup above)");
    }
    output.ok().json()["scheduler"].clone()
}

fn a_real_time_scheduler_has_its_priority_and_flags(sb: &Sandbox) {
    let asked = json!({"policy": "SCHED_FIFO", "priority": 7, "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
    let found = scheduled(sb, asked);
    assert_eq!((&found["policy"], &found["priority"], &found["flags"]), (&json!("SCHED_FIFO"), &json!(7), &json!(1)));
}

fn a_deadline_scheduler_has_its_times(sb: &Sandbox) {
    let asked =
        json!({"policy": "SCHED_DEADLINE", "runtime": 2_000_000, "deadline": 50_000_000, "period": 100_000_000});
    let found = scheduled(sb, asked.clone());
    for property in ["policy", "runtime", "deadline", "period"] {
        assert_eq!(found[property], asked[property], "{property}");
    }
}

fn a_scheduler_that_makes_no_sense_is_refused(sb: &Sandbox) {
    sb.only_corten("sets the scheduler");
    for scheduler in [
        json!({"policy": "SCHED_NONSENSE"}),
        json!({"policy": "SCHED_OTHER", "nice": 20}),
        json!({"policy": "SCHED_OTHER", "priority": 10}),
        json!({"policy": "SCHED_FIFO", "priority": 1000}),
        json!({"policy": "SCHED_BATCH", "runtime": 1_000_000}),
    ] {
        sb.run(&sb.bundle().set("/process/scheduler", scheduler).build()).fails_with(&["process.scheduler"]);
        sb.assert_nothing_left();
    }
}

/// Golden value 16.
fn the_memory_policy_is_set(sb: &Sandbox) {
    sb.only_corten("sets the memory policy");
    sb.needs_memory_policies();
    let policy = json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"});
    let report = sb.probe(&sb.bundle().set("/linux/memoryPolicy", policy).build());
    assert_eq!(report["memoryPolicy"], json!({"mode": "MPOL_INTERLEAVE", "nodes": [0]}));
    let policy = json!({"mode": "MPOL_LOCAL", "nodes": "0-7"});
    sb.run(&sb.bundle().set("/linux/memoryPolicy", policy).build()).fails_with(&["linux.memoryPolicy"]);
}

fn the_memory_policy_has_its_flags(sb: &Sandbox) {
    sb.only_corten("sets the memory policy");
    sb.needs_memory_policies();
    for flag in ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"] {
        let policy = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]});
        let report = sb.probe(&sb.bundle().set("/linux/memoryPolicy", policy).build());
        assert_eq!(report["memoryPolicy"], json!({"mode": format!("MPOL_BIND|{flag}"), "nodes": [0]}));
    }
}

fn it_has_a_session_keyring_of_its_own(sb: &Sandbox) {
    let container = sb.started(&sb.bundle().build());
    assert_eq!(container.report()["keyring"], format!("_ses.{}", container.id));
}

fn the_caller_s_keyring_can_be_kept(sb: &Sandbox) {
    let output = sb.run_with(&sb.bundle().build(), |call| call.arg("--no-new-keyring"));
    let keyring = output.ok().json()["keyring"].as_str().unwrap_or_default().to_owned();
    assert!(!keyring.starts_with("_ses.ct-"), "{keyring}");
}

fn the_working_directory_is_entered(sb: &Sandbox) {
    let report = sb.probe(&sb.bundle().dir("/srv/www").set("/process/cwd", "/srv/www").build());
    assert_eq!(report["cwd"], "/srv/www");
    let report = sb.probe(&sb.bundle().dir("/srv").symlink("/here", "srv").set("/process/cwd", "/here").build());
    assert_eq!(report["cwd"], "/srv");
}

fn a_missing_working_directory_is_made(sb: &Sandbox) {
    sb.needs_root();
    let bundle = sb
        .bundle()
        .set("/process/cwd", "/made/for/you")
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .build();
    assert_eq!(sb.probe(&bundle)["cwd"], "/made/for/you");
    let made = fs::metadata(bundle.in_rootfs("/made/for/you")).unwrap();
    assert_eq!((std::os::unix::fs::MetadataExt::uid(&made), made.permissions().mode() & 0o777), (0, 0o755));
}

fn a_relative_working_directory_is_refused(sb: &Sandbox) {
    sb.run(&sb.bundle().set("/process/cwd", "srv").build()).fails_with(&["must be an absolute path"]);
    sb.run(&sb.bundle().set("/process/cwd", "").build()).fails();
    sb.assert_nothing_left();
}

/// CVE-2024-21626: a descriptor of the host as the working directory.
fn a_working_directory_in_another_process_s_files_is_refused(sb: &Sandbox) {
    sb.only_corten("must not fall for CVE-2024-21626; Debian's runc 1.1.5 does");
    let host = sb.tree("host", &[("secret", "x")]);
    let redirect = format!("7<{}", host.display());
    for fd in 0..40 {
        let bundle = sb.bundle().set("/process/cwd", format!("/proc/self/fd/{fd}")).build();
        let output = sb.run_with(&bundle, |call| call.fds(&redirect));
        output.fails();
        sb.assert_nothing_left();
    }
}

fn a_working_directory_that_only_the_user_may_enter_works(sb: &Sandbox) {
    sb.needs_root();
    let bundle = sb.bundle().dir("/home/web").set("/process/cwd", "/home/web");
    let bundle = bundle.set("/process/user", json!({"uid": 1000, "gid": 1000})).build();
    fs::set_permissions(bundle.in_rootfs("/home/web"), fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(bundle.in_rootfs("/home/web"), Some(1000), Some(1000)).unwrap();
    assert_eq!(sb.probe(&bundle)["cwd"], "/home/web");
}

fn the_environment_is_the_config_s(sb: &Sandbox) {
    let env = json!(["PATH=/bin:/usr/bin", "A=1", "EMPTY=", "B=x=y z", "HOME=/here"]);
    let output = sb.run_with(&sb.bundle().set("/process/env", env).tool(["env"]).build(), |call| call.env("LEAK", "1"));
    assert_eq!(output.ok().lines(), ["PATH=/bin:/usr/bin", "A=1", "EMPTY=", "B=x=y z", "HOME=/here"]);
}

fn home_comes_from_the_container_s_accounts(sb: &Sandbox) {
    let home = |report: &Value| words(&report["env"]).iter().find_map(|e| e.strip_prefix("HOME=").map(str::to_owned));
    let of_user = |uid: u32| sb.bundle().set("/process/user", json!({"uid": uid, "gid": 0}));
    assert_eq!(home(&sb.probe(&of_user(0).build())).as_deref(), Some("/root"));
    assert_eq!(home(&sb.probe(&of_user(1000).build())).as_deref(), Some("/home/web"));
    assert_eq!(home(&sb.probe(&of_user(4242).build())).as_deref(), Some("/"));
    // Golden value 12: an empty HOME is as good as none.
    sb.only_corten("treats an empty HOME as none");
    let env = json!(["PATH=/bin", "HOME="]);
    assert_eq!(home(&sb.probe(&of_user(1000).set("/process/env", env).build())).as_deref(), Some("/home/web"));
}

fn the_last_of_two_variables_wins(sb: &Sandbox) {
    sb.only_corten("passes a variable once");
    let output =
        sb.run(&sb.bundle().set("/process/env", json!(["PATH=/bin", "A=1", "HOME=/", "A=2"])).tool(["env"]).build());
    let lines = output.ok().lines();
    assert_eq!(lines.iter().filter(|l| l.starts_with("A=")).collect::<Vec<_>>(), [&"A=2"]);
}

fn an_argument_may_be_anything(sb: &Sandbox) {
    let output = sb.run(&sb.bundle().tool(["echo", "", "a b", "\"$HOME\"", "*", "ünï", "\\n", "--"]).build());
    assert_eq!(output.ok().stdout, " a b \"$HOME\" * ünï \\n --\n");
}

fn a_program_is_looked_up_in_the_container_s_path(sb: &Sandbox) {
    let bundle =
        sb.bundle().args(["probe", "probe", "--", "exit", "3"]).set("/process/env", json!(["PATH=/sbin:/bin"])).build();
    assert_eq!(sb.run(&bundle).code, 3);
}

fn a_program_that_can_t_be_run_is_an_error_of_create(sb: &Sandbox) {
    // (args[0], what the message says; runc 1.1.5 has other words for the later ones)
    let cases = [
        ("nonexist", "exec: \"nonexist\": executable file not found in $PATH", true),
        ("/nonexist", "exec: \"/nonexist\": stat /nonexist: no such file or directory", true),
        ("", "exec: \"\": executable file not found in $PATH", true),
        ("/etc", "exec: \"/etc\": is a directory", false),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied", true),
    ];
    for (program, text, everywhere) in cases {
        let bundle = sb.bundle().args([program]).build();
        let output = sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(sb.id()).output();
        output.fails();
        if everywhere || sb.flavour() == Flavour::Corten {
            output.fails_with(&[text]);
        }
        sb.assert_nothing_left();
    }
    sb.run(&sb.bundle().args([]).build()).fails_with(&["args must not be empty"]);
}

fn a_script_is_run_by_its_interpreter(sb: &Sandbox) {
    let bundle =
        sb.bundle().busybox().file("/bin/script", "#!/bin/sh\necho script $1\n").args(["/bin/script", "one"]).build();
    fs::set_permissions(bundle.in_rootfs("/bin/script"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(sb.run(&bundle).ok().stdout, "script one\n");
}

fn open_fds(report: &Value) -> Vec<String> {
    report["fds"].as_object().unwrap().keys().cloned().collect()
}

fn no_descriptor_leaks_in(sb: &Sandbox) {
    let redirects = "3</etc/hostname 4</etc 5</etc/passwd 9</etc/group";
    let output = sb.run_with(&sb.bundle().build(), |call| call.fds(redirects));
    assert_eq!(open_fds(&output.ok().json()), ["0", "1", "2"]);
    let container = sb.create_with(&sb.bundle().build(), |call| call.fds(redirects));
    container.start();
    assert_eq!(open_fds(&container.report()), ["0", "1", "2"]);
}

fn too_few_descriptors_leave_nothing_behind(sb: &Sandbox) {
    sb.only_corten("needs so few");
    let bundle = sb.bundle().tool(["true"]).build();
    for limit in 3..12 {
        let script = format!("ulimit -n {limit}; exec \"$@\"");
        let output = sb.run_with(&bundle, |call| call.under(&["/bin/sh", "-c", &script, "sh"]));
        // What has a name can be deleted; what has none would stay for ever.
        for state in sb.states() {
            assert!(!state.starts_with('~'), "{limit}: {state}: {}", output.stderr);
            sb.call(["delete", "--force", &state]).output().ok();
        }
    }
    sb.assert_nothing_left();
}

/// CVE-2016-9962, CVE-2024-21626: whatever an init holds while it waits is there for years.
fn a_waiting_init_holds_nothing_of_the_host(sb: &Sandbox) {
    sb.needs_root();
    sb.only_corten("is asked for this");
    let donor = sb.started(&sb.bundle().tool(["pause"]).build());
    let joined = sb.bundle().namespace("pid", Some(&format!("/proc/{}/ns/pid", donor.pid())));
    for bundle in [sb.bundle().bind(sb.dir(), "/tmp", &["ro"]), joined] {
        let container = sb.create(&bundle.build());
        let open = fs::read_dir(format!("/proc/{}/fd", container.pid())).unwrap().flatten();
        let mut held: Vec<String> = open
            .filter(|fd| fd.file_name().to_string_lossy().parse::<i32>().unwrap() > 2)
            .map(|fd| fs::read_link(fd.path()).unwrap().to_string_lossy().into_owned())
            .collect();
        held.retain(|path| !path.ends_with("/exec.fifo"));
        assert_eq!(held, Vec::<String>::new());
    }
}

fn preserved_descriptors_go_in(sb: &Sandbox) {
    let output = sb.run_with(&sb.bundle().build(), |call| {
        call.fds("3</etc/hostname 4</etc/passwd 5</etc/group").args(["--preserve-fds", "2"])
    });
    let report = output.ok().json();
    assert_eq!(open_fds(&report), ["0", "1", "2", "3", "4"]);
    // In a chroot the path begins with that of the chroot: the file lies outside of the container's root.
    let file = |fd: &str| report["fds"][fd].as_str().unwrap_or_default().to_owned();
    assert!(file("3").ends_with("/etc/hostname") && file("4").ends_with("/etc/passwd"), "{} {}", file("3"), file("4"));
}

fn a_missing_preserved_descriptor_is_an_error(sb: &Sandbox) {
    sb.only_corten("looks before it opens descriptors of its own");
    let output = sb.run_with(&sb.bundle().build(), |call| call.fds("3</etc/hostname").args(["--preserve-fds", "4"]));
    output.fails_with(&["--preserve-fds"]);
    sb.assert_nothing_left();
}

fn socket_activation_goes_in(sb: &Sandbox) {
    let script = "export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:log; exec \"$@\" 3</etc/hostname 4</etc/passwd 5</etc/group";
    let output = sb.run_with(&sb.bundle().tool(["listen-fds", ";", "json"]).build(), |call| {
        call.under(&["/bin/sh", "-c", script, "sh"])
    });
    let lines = output.ok().lines();
    assert_eq!(lines[..2], ["LISTEN_PID=1", "LISTEN_FDS=2"]);
    assert!(lines[3].starts_with("3 /") && lines[3].ends_with("/etc/hostname"), "{}", lines[3]);
    assert!(lines[4].starts_with("4 /") && lines[4].ends_with("/etc/passwd"), "{}", lines[4]);
    assert_eq!(open_fds(&output.json_last()), ["0", "1", "2", "3", "4"]);
    if sb.flavour() == Flavour::Corten {
        assert_eq!(lines[2], "LISTEN_FDNAMES=web:log");
    }
}

/// sd_listen_fds(3): the variables count for the process that LISTEN_PID names, and not for what it starts.
fn socket_activation_of_another_process_stays_out(sb: &Sandbox) {
    let script = "export LISTEN_PID=1 LISTEN_FDS=1; exec \"$@\" 3</etc/hostname";
    let output = sb.run_with(&sb.bundle().build(), |call| call.under(&["/bin/sh", "-c", script, "sh"]));
    let report = output.ok().json();
    assert_eq!(open_fds(&report), ["0", "1", "2"]);
    assert!(!words(&report["env"]).iter().any(|variable| variable.starts_with("LISTEN_")));
}

fn a_notify_socket_goes_in(sb: &Sandbox) {
    // A socket's name has room for 108 bytes only.
    let path = sb.dir().parent().unwrap().join(format!("notify-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let bundle = sb.bundle().tool(["notify", "READY=1", ";", "pause"]).build();
    let id = sb.id();
    let call = sb.call(["run", "--bundle"]).arg(&bundle.dir).arg(&id).env("NOTIFY_SOCKET", &path);
    let mut running = call.spawn();
    let mut buffer = [0; 4096];
    let mut text = String::new();
    while !text.contains("READY=1") {
        let len = socket.recv(&mut buffer).expect("READY=1 comes through");
        text.push_str(&String::from_utf8_lossy(&buffer[..len]));
        text.push('\n');
    }
    sb.call(["kill", &id, "KILL"]).output().ok();
    assert_eq!(running.wait(), 137);
}

/// Neither a runtime's own handling of signals (a Rust program ignores SIGPIPE) nor its caller's is inherited: an engine that was
/// started by nohup(1) would take SIGHUP from every container.
fn no_signal_is_blocked_or_ignored(sb: &Sandbox) {
    sb.only_corten("resets what its caller ignores");
    // RTMIN is the first signal that isn't the C library's own.
    let ignoring = ["sh", "-c", "trap '' HUP USR1 TERM PIPE 34; exec \"$@\"", "sh"];
    let words = ["grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status"];
    let bundle = sb.bundle().busybox().args(words).build();
    let none = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
    let run = sb.call(["run", "--bundle"]).arg(&bundle.dir).arg(sb.id()).under(&ignoring);
    assert_eq!(run.output().ok().stdout, none);
    let container = sb.started(&sb.bundle().busybox().args(["/bin/sleep", "1000"]).build());
    let exec = sb.call(["exec", &container.id]).args(words).under(&ignoring);
    assert_eq!(exec.output().ok().stdout, none);
}

fn it_leads_a_session(sb: &Sandbox) {
    let report = sb.probe(&sb.bundle().build());
    assert_eq!(report["session"], 1);
}

fn stdin_of_a_created_container_is_its_caller_s(sb: &Sandbox) {
    let container = sb.create_with(&sb.bundle().tool(["read-line"]).build(), |call| call.input("hello\n"));
    container.start();
    container.wait();
    assert_eq!(container.output(), "got hello\n");
}
