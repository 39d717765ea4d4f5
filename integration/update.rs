//! update: limits change while the container lives, as a whole or not at all. What the kernel holds is read from the
//! files of whichever version has the controller, and by a reader that isn't ours (cgroups-rs).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use cgroups_rs::fs::{Cgroup, MaxValue, hierarchies};
use serde_json::json;

use crate::harness::{Case, Output, Sandbox, cases, skip};

pub const CASES: &[Case] = cases![
    flags_change_what_the_kernel_holds,
    stdin_and_a_file_change_what_the_kernel_holds,
    memory_and_cpu_change,
    a_file_changes_memory_and_cpu,
    memory_grows_and_shrinks_with_its_swap,
    no_limit_is_written_as_minus_one,
    a_quota_keeps_its_period,
    a_reservation_changes,
    burst_and_idle_change,
    the_cpus_and_nodes_change,
    a_real_time_budget_changes_in_version_1,
    the_weight_of_block_io_changes,
    an_update_with_a_refused_value_changes_nothing,
    a_limit_below_the_usage_changes_nothing,
    every_state_but_stopped_can_be_updated,
    an_update_of_nothing_changes_nothing,
    an_update_leaves_the_record_alone,
    spec_from_shows_the_limits_as_they_are_and_a_container_of_it_has_them,
    spec_from_knows_nothing_of_an_update_that_failed,
    devices_are_left_alone_with_a_warning,
    a_wrong_number_is_named_with_its_flag,
    what_is_wrong_in_a_file_is_named_with_its_line,
    limits_that_would_be_ignored_are_refused,
    a_container_without_control_groups_is_not_updated,
    an_unknown_container_does_not_exist,
];

/// The cgroups of a process, by controller; `""` is version 2, where the host has it.
struct Places(BTreeMap<String, (PathBuf, PathBuf)>);

impl Places {
    fn of(pid: i32) -> Places {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = |kind: &str, controller: &str| {
            mountinfo.lines().find_map(|line| {
                let (place, what) = line.split_once(" - ")?;
                let mut what = what.split(' ');
                let fits = what.next() == Some(kind)
                    && (controller.is_empty() || what.nth(1)?.split(',').any(|option| option == controller));
                fits.then(|| PathBuf::from(place.split(' ').nth(4).unwrap()))
            })
        };
        let mut places = BTreeMap::new();
        for line in fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap().lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next().unwrap(), parts.next().unwrap());
            let path = PathBuf::from(path.trim_start_matches('/'));
            for controller in controllers.split(',') {
                let kind = if controller.is_empty() { "cgroup2" } else { "cgroup" };
                if let Some(mount) = mount(kind, controller) {
                    places.insert(controller.to_owned(), (mount.join(&path), path.clone()));
                }
            }
        }
        Places(places)
    }

    /// The directory that has a controller's files; skips where the host lacks the controller.
    fn dir(&self, controller: &str) -> &Path {
        self.find(controller).unwrap_or_else(|| skip(format!("this host has no {controller} controller")))
    }

    fn find(&self, controller: &str) -> Option<&Path> {
        let unified = || {
            let (dir, _) = self.0.get("")?;
            let list = fs::read_to_string(dir.join("cgroup.controllers")).ok()?;
            list.split_whitespace().any(|name| name == controller).then_some(dir)
        };
        self.0.get(controller).map(|(dir, _)| dir).or_else(unified).map(PathBuf::as_path)
    }

    fn is_v1(&self, controller: &str) -> bool {
        self.0.contains_key(controller)
    }

    /// A value of whichever version has the controller.
    #[track_caller]
    fn value(&self, controller: &str, v1: &str, v2: &str) -> String {
        let name = if self.is_v1(controller) { v1 } else { v2 };
        let file = self.dir(controller).join(name);
        fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).trim().to_owned()
    }

    fn pids(&self) -> String {
        self.value("pids", "pids.max", "pids.max")
    }

    fn memory(&self) -> String {
        self.value("memory", "memory.limit_in_bytes", "memory.max")
    }

    /// Quota and period as version 2 writes them.
    fn quota(&self) -> String {
        match self.is_v1("cpu") {
            true => {
                let read = |name| self.value("cpu", name, name);
                format!("{} {}", read("cpu.cfs_quota_us").replace("-1", "max"), read("cpu.cfs_period_us"))
            }
            false => self.value("cpu", "", "cpu.max"),
        }
    }

    /// Every limit that an update could touch, by its file.
    fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        let limit = |name: &str| {
            [
                "pids.max",
                "memory.max",
                "memory.high",
                "memory.low",
                "memory.swap.max",
                "memory.swappiness",
                "cpu.max",
                "cpu.weight",
                "cpu.shares",
                "cpu.idle",
            ]
            .contains(&name)
                || ["limit_in_bytes", "_us", ".cpus", ".mems", "_device"].iter().any(|end| name.ends_with(end))
        };
        let dirs = self.0.values().map(|(dir, _)| dir);
        let files = dirs.flat_map(|dir| fs::read_dir(dir).unwrap().flatten()).map(|entry| entry.path());
        let files = files.filter(|file| limit(file.file_name().unwrap().to_str().unwrap()));
        files.map(|file| (file.clone(), fs::read_to_string(&file).unwrap_or_default())).collect()
    }

    /// The same cgroup as another reader knows it.
    fn foreign(&self, controller: &str) -> Cgroup {
        let path = &self.0.get(controller).or_else(|| self.0.get("")).unwrap().1;
        Cgroup::load(hierarchies::auto(), path)
    }
}

fn update(sb: &Sandbox, id: &str, words: &[&str]) -> Output {
    sb.call(["update"]).args(words).arg(id).output()
}

fn from_stdin(sb: &Sandbox, id: &str, resources: &serde_json::Value) -> Output {
    sb.call(["update", "--resources", "-"]).arg(id).input(&resources.to_string()).output()
}

/// A running container and its cgroups.
fn running(sb: &Sandbox) -> (String, Places) {
    let container = sb.started(&sb.bundle().tool(["pause"]).build());
    let places = Places::of(container.pid());
    (container.id, places)
}

fn flags_change_what_the_kernel_holds(sb: &Sandbox) {
    let (id, places) = running(sb);
    update(sb, &id, &["--pids-limit", "77"]).ok();
    assert_eq!(places.pids(), "77");
    let foreign = places.foreign("pids");
    assert_eq!(foreign.controller_of::<PidController>().unwrap().get_pid_max().unwrap(), MaxValue::Value(77));
    update(sb, &id, &["--pids-limit=-1"]).ok();
    assert_eq!(places.pids(), "max");
}

fn stdin_and_a_file_change_what_the_kernel_holds(sb: &Sandbox) {
    let (id, places) = running(sb);
    // As Docker and CRI-O write it, then as containerd and Podman do.
    from_stdin(sb, &id, &json!({"pids": {"limit": 31}})).ok();
    assert_eq!(places.pids(), "31");
    sb.call(["update", "--resources=-", &id]).input(r#"{"pids": {"limit": 32}}"#).output().ok();
    assert_eq!(places.pids(), "32");
    let file = sb.path("limits.json");
    fs::write(&file, r#"{"pids": {"limit": 33}}"#).unwrap();
    sb.call(["update", &format!("--resources={}", file.display()), &id]).output().ok();
    assert_eq!(places.pids(), "33");
    // A relative path is one from the working directory.
    fs::write(&file, r#"{"pids": {"limit": 34}}"#).unwrap();
    sb.call(["update", "-r", "limits.json", &id]).current_dir(sb.dir()).output().ok();
    assert_eq!(places.pids(), "34");
}

fn memory_and_cpu_change(sb: &Sandbox) {
    let (id, places) = running(sb);
    places.dir("memory");
    let words = ["--memory", "64M", "--cpu-quota", "50000", "--cpu-period", "200000", "--cpu-share", "512"];
    update(sb, &id, &words).ok();
    assert_eq!(places.memory(), (64 << 20).to_string());
    assert_eq!(places.quota(), "50000 200000");
    let shares = places.value("cpu", "cpu.shares", "cpu.weight");
    match places.is_v1("cpu") {
        true => assert_eq!(shares, "512"),
        // Half of the default share is less than the default weight, by whichever formula.
        false => assert!((1..100).contains(&shares.parse::<u32>().unwrap()), "{shares}"),
    }
    let memory = places.foreign("memory");
    assert_eq!(memory.controller_of::<MemController>().unwrap().memory_stat().limit_in_bytes, 64 << 20);
    let cpu = places.foreign("cpu");
    let cpu = cpu.controller_of::<CpuController>().unwrap();
    assert_eq!((cpu.cfs_quota().unwrap(), cpu.cfs_period().unwrap()), (50_000, 200_000));
}

fn a_file_changes_memory_and_cpu(sb: &Sandbox) {
    let (id, places) = running(sb);
    places.dir("memory");
    let cpuset = places.find("cpuset").is_some();
    let mut limits = json!({
        "memory": {"limit": 48 << 20, "reservation": 24 << 20},
        "cpu": {"quota": 30_000, "period": 100_000},
        "pids": {"limit": 12},
    });
    if cpuset {
        limits["cpu"]["cpus"] = "0".into();
        limits["cpu"]["mems"] = "0".into();
    }
    from_stdin(sb, &id, &limits).ok();
    assert_eq!(places.memory(), (48 << 20).to_string());
    assert_eq!(places.value("memory", "memory.soft_limit_in_bytes", "memory.low"), (24 << 20).to_string());
    assert_eq!((places.quota().as_str(), places.pids().as_str()), ("30000 100000", "12"));
    if cpuset {
        assert_eq!(places.value("cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    }
}

/// Memory alone can't grow beyond memory and swap together, nor the other way round, so the order counts.
fn memory_grows_and_shrinks_with_its_swap(sb: &Sandbox) {
    let (id, places) = running(sb);
    let swap = places.dir("memory").join(if places.is_v1("memory") {
        "memory.memsw.limit_in_bytes"
    } else {
        "memory.swap.max"
    });
    if !swap.exists() {
        skip("this kernel doesn't count swap");
    }
    for (memory, both) in [(64 << 20, 96 << 20), (128 << 20, 160 << 20), (32 << 20, 48 << 20)] {
        update(sb, &id, &["--memory", &memory.to_string(), "--memory-swap", &both.to_string()]).ok();
        assert_eq!(places.memory(), memory.to_string());
        // Version 2 counts swap alone.
        let expected: u64 = if places.is_v1("memory") { both } else { both - memory };
        assert_eq!(fs::read_to_string(&swap).unwrap().trim(), expected.to_string());
    }
}

fn no_limit_is_written_as_minus_one(sb: &Sandbox) {
    let (id, places) = running(sb);
    let before = places.memory();
    update(sb, &id, &["--memory", "64M"]).ok();
    update(sb, &id, &["--memory", "-1"]).ok();
    assert_eq!(places.memory(), before);
}

fn a_quota_keeps_its_period(sb: &Sandbox) {
    let (id, places) = running(sb);
    places.dir("cpu");
    update(sb, &id, &["--cpu-quota", "40000", "--cpu-period", "80000"]).ok();
    update(sb, &id, &["--cpu-quota", "20000"]).ok();
    assert_eq!(places.quota(), "20000 80000");
    update(sb, &id, &["--cpu-quota", "-1"]).ok();
    assert_eq!(places.quota(), "max 80000");
}

fn a_reservation_changes(sb: &Sandbox) {
    let (id, places) = running(sb);
    let reservation = || places.value("memory", "memory.soft_limit_in_bytes", "memory.low");
    assert_ne!(reservation(), (32 << 20).to_string());
    update(sb, &id, &["--memory-reservation", "32M"]).ok();
    assert_eq!(reservation(), (32 << 20).to_string());
}

fn burst_and_idle_change(sb: &Sandbox) {
    sb.only_corten("has these flags; older runtimes don't");
    let (id, places) = running(sb);
    let dir = places.dir("cpu");
    let (burst, idle) = (if places.is_v1("cpu") { "cpu.cfs_burst_us" } else { "cpu.max.burst" }, dir.join("cpu.idle"));
    if !dir.join(burst).exists() || !idle.exists() {
        skip("cpu.idle and the burst take Linux 5.15");
    }
    update(sb, &id, &["--cpu-quota", "50000", "--cpu-burst", "20000"]).ok();
    assert_eq!(fs::read_to_string(dir.join(burst)).unwrap(), "20000\n");
    for word in ["1", "0"] {
        update(sb, &id, &["--cpu-idle", word]).ok();
        assert_eq!(fs::read_to_string(&idle).unwrap().trim(), word);
    }
}

fn the_cpus_and_nodes_change(sb: &Sandbox) {
    let (id, places) = running(sb);
    let set = places.dir("cpuset");
    let own = |name: &str| fs::read_to_string(set.join(name)).unwrap().trim().to_owned();
    update(sb, &id, &["--cpuset-cpus", "0", "--cpuset-mems", "0"]).ok();
    assert_eq!((own("cpuset.cpus").as_str(), own("cpuset.mems").as_str()), ("0", "0"));
    let pid = sb.call(["state", &id]).output().json()["pid"].to_string();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for line in ["Cpus_allowed_list:\t0", "Mems_allowed_list:\t0"] {
        assert!(status.lines().any(|found| found == line), "{line} isn't in {status}");
    }
}

fn a_real_time_budget_changes_in_version_1(sb: &Sandbox) {
    let (id, places) = running(sb);
    let dir = places.dir("cpu");
    if !dir.join("cpu.rt_runtime_us").exists() {
        skip("no budget for real-time processes here (version 2, or no CONFIG_RT_GROUP_SCHED)");
    }
    update(sb, &id, &["--cpu-rt-period", "500000", "--cpu-rt-runtime", "1000"]).ok();
    let own = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!((own("cpu.rt_period_us"), own("cpu.rt_runtime_us")), ("500000\n".into(), "1000\n".into()));
}

fn the_weight_of_block_io_changes(sb: &Sandbox) {
    let (id, places) = running(sb);
    let dir = places.find("blkio").unwrap_or_else(|| places.dir("io"));
    let files = [
        ("blkio.weight", "300"),
        ("blkio.bfq.weight", "300"),
        ("io.bfq.weight", "default 300"),
        ("io.weight", "default 2930"),
    ];
    let Some((file, value)) = files.iter().find(|(file, _)| dir.join(file).exists()) else {
        update(sb, &id, &["--blkio-weight", "300"]).fails_with(&["--blkio-weight", "No such file or directory"]);
        skip("this kernel has no weights of block I/O")
    };
    update(sb, &id, &["--blkio-weight", "300"]).ok();
    let text = fs::read_to_string(dir.join(file)).unwrap();
    assert!(text.lines().any(|line| line == *value), "{file}: {text}");
}

fn an_update_with_a_refused_value_changes_nothing(sb: &Sandbox) {
    sb.only_corten("sets back what it has written");
    let (id, places) = running(sb);
    places.dir("memory");
    from_stdin(
        sb,
        &id,
        &json!({"memory": {"limit": 64 << 20}, "cpu": {"shares": 300, "quota": 50_000}, "pids": {"limit": 20}}),
    )
    .ok();
    let before = places.snapshot();
    // More processes than the kernel counts: the last limit that is written. A CPU that no machine has: one in the middle.
    let mut wrong = vec![
        json!({"memory": {"limit": 128 << 20}, "cpu": {"shares": 900, "quota": -1}, "pids": {"limit": 1_i64 << 40}}),
        json!({"memory": {"limit": 32 << 20}, "cpu": {"shares": 700, "quota": 20_000, "cpus": "0-4095"}, "pids": {"limit": 30}}),
    ];
    if places.find("cpuset").is_none() {
        wrong.truncate(1);
    }
    for limits in wrong {
        let output = from_stdin(sb, &id, &limits);
        output.fails_with(&["nothing was changed", "hint:"]);
        assert_eq!(places.snapshot(), before, "{limits}");
    }
}

fn a_limit_below_the_usage_changes_nothing(sb: &Sandbox) {
    sb.only_corten("sets back what it has written");
    let (id, places) = running(sb);
    places.dir("memory");
    from_stdin(sb, &id, &json!({"memory": {"limit": 64 << 20}, "cpu": {"shares": 300}})).ok();
    let before = places.snapshot();
    // Version 2 would kill the container rather than refuse, so it is asked not to.
    let limits =
        json!({"memory": {"limit": 4096, "reservation": 4096, "checkBeforeUpdate": true}, "cpu": {"shares": 700}});
    from_stdin(sb, &id, &limits).fails_with(&["memory", "hint:"]);
    assert_eq!(places.snapshot(), before);
    assert_eq!(sb.call(["state", &id]).output().json()["status"], "running");
}

fn every_state_but_stopped_can_be_updated(sb: &Sandbox) {
    let container = sb.create(&sb.bundle().tool(["pause"]).build());
    let (id, places) = (container.id.as_str(), Places::of(container.pid()));
    update(sb, id, &["--pids-limit", "41"]).ok();
    assert_eq!(places.pids(), "41");
    container.start();
    let (freezer, frozen, thawed) = match places.is_v1("freezer") {
        true => (places.dir("freezer").join("freezer.state"), "FROZEN", "THAWED"),
        false => (places.0[""].0.join("cgroup.freeze"), "1", "0"),
    };
    fs::write(&freezer, frozen).unwrap();
    let output = update(sb, id, &["--pids-limit", "42"]);
    let held = places.pids();
    fs::write(&freezer, thawed).unwrap();
    output.ok();
    assert_eq!(held, "42");
    container.stop();
    update(sb, id, &["--pids-limit", "43"]).fails_with(&["container not running"]);
}

fn an_update_of_nothing_changes_nothing(sb: &Sandbox) {
    let (id, places) = running(sb);
    let before = places.snapshot();
    let output = update(sb, &id, &[]);
    output.ok();
    if sb.flavour() == crate::harness::Flavour::Corten {
        assert!(output.stderr.contains("no limit was given"), "{output:?}");
    }
    from_stdin(sb, &id, &json!({})).ok();
    from_stdin(sb, &id, &json!({"pids": {}, "cpu": {}, "memory": {}})).ok();
    assert_eq!(places.snapshot(), before);
}

fn an_update_leaves_the_record_alone(sb: &Sandbox) {
    sb.only_corten("has this record");
    let (id, _) = running(sb);
    let record = || fs::read(sb.state_root().join(&id).join("state.json")).unwrap();
    let before = record();
    update(sb, &id, &["--pids-limit", "9"]).ok();
    assert_eq!(record(), before);
}

/// `linux.resources` that `spec --from` writes, and the file it is in, as the config of a bundle.
fn effective(sb: &Sandbox, id: &str) -> (serde_json::Value, PathBuf) {
    let bundle = sb.path(&format!("from-{}", sb.number()));
    fs::create_dir(&bundle).unwrap();
    sb.call(["spec", "--from", id, "--bundle"]).arg(&bundle).output().ok();
    let config: serde_json::Value = serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap();
    (config["linux"]["resources"].clone(), bundle)
}

fn spec_from_shows_the_limits_as_they_are_and_a_container_of_it_has_them(sb: &Sandbox) {
    sb.only_corten("has the flag");
    let resources = json!({"devices": [{"allow": false, "access": "rwm"}], "memory": {"limit": 64 << 20},
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000}, "pids": {"limit": 60}});
    let container = sb.started(&sb.bundle().set("/linux/resources", resources.clone()).tool(["pause"]).build());
    let places = Places::of(container.pid());
    places.dir("memory");
    assert_eq!(effective(sb, &container.id).0, resources, "as it was created");
    update(sb, &container.id, &["--memory", "48M"]).ok();
    update(sb, &container.id, &["--cpu-period", "200000"]).ok();
    from_stdin(sb, &container.id, &json!({"pids": {"limit": 30}, "cpu": {"quota": 70_000}, "memory": {"limit": 0}}))
        .ok();
    let expected = json!({"devices": [{"allow": false, "access": "rwm"}], "memory": {"limit": 48 << 20},
        "cpu": {"shares": 512, "quota": 70_000, "period": 200_000}, "pids": {"limit": 30}});
    let (now, bundle) = effective(sb, &container.id);
    assert_eq!(now, expected);
    assert_eq!((places.quota().as_str(), places.pids().as_str()), ("70000 200000", "30"));
    // The files in the words of the first container, since the second is in other directories.
    let limits = |places: &Places| -> BTreeMap<String, Vec<String>> {
        let mut limits: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (file, value) in places.snapshot() {
            limits.entry(file.file_name().unwrap().to_str().unwrap().to_owned()).or_default().push(value);
        }
        limits
    };
    let before = limits(&places);
    container.stop();
    assert_eq!(effective(sb, &container.id).0, expected, "a stopped container has a config as well");
    container.verb("delete").ok();
    let second = sb.started(&crate::harness::Bundle { dir: bundle });
    assert_eq!(limits(&Places::of(second.pid())), before);
    assert_eq!(effective(sb, &second.id).0, expected);
}

fn spec_from_knows_nothing_of_an_update_that_failed(sb: &Sandbox) {
    sb.only_corten("has the flag");
    let resources = json!({"pids": {"limit": 60}, "cpu": {"shares": 300}});
    let container = sb.started(&sb.bundle().set("/linux/resources", resources.clone()).tool(["pause"]).build());
    // More processes than the kernel counts: refused after the shares were written, and set back.
    let wrong = json!({"cpu": {"shares": 700}, "pids": {"limit": 1_i64 << 40}});
    from_stdin(sb, &container.id, &wrong).fails_with(&["nothing was changed"]);
    assert_eq!(effective(sb, &container.id).0, resources);
    update(sb, &container.id, &["--pids-limit", "61"]).ok();
    from_stdin(sb, &container.id, &wrong).fails_with(&["nothing was changed"]);
    assert_eq!(effective(sb, &container.id).0, json!({"pids": {"limit": 61}, "cpu": {"shares": 300}}));
}

fn devices_are_left_alone_with_a_warning(sb: &Sandbox) {
    sb.only_corten("warns");
    let (id, places) = running(sb);
    let output = from_stdin(sb, &id, &json!({"devices": [{"allow": true, "access": "rwm"}], "pids": {"limit": 51}}));
    output.ok();
    assert!(output.stderr.contains("devices: ignored"), "{output:?}");
    assert_eq!(places.pids(), "51");
}

fn a_wrong_number_is_named_with_its_flag(sb: &Sandbox) {
    sb.only_corten("has these words");
    let (id, _) = running(sb);
    for (flag, value) in [
        ("memory", "64X"),
        ("memory-reservation", "-5"),
        ("memory-swap", "1.2.3G"),
        ("cpu-quota", "much"),
        ("cpu-period", "-1"),
        ("pids-limit", "0x10"),
        ("blkio-weight", "65536"),
    ] {
        let output = update(sb, &id, &[&format!("--{flag}"), value]);
        output.fails_with(&[&format!("-{flag}"), &format!("\"{value}\"")]);
    }
    // What is a number and no limit.
    update(sb, &id, &["--cpu-period", "7"]).fails_with(&["--cpu-period: ", "not 7"]);
    update(sb, &id, &["--blkio-weight", "5"]).fails_with(&["--blkio-weight: ", "not 5"]);
}

fn what_is_wrong_in_a_file_is_named_with_its_line(sb: &Sandbox) {
    sb.only_corten("names lines");
    let (id, _) = running(sb);
    let text = "{\n  \"cpu\": {\n    \"period\": 7\n  }\n}\n";
    let file = sb.path("limits.json");
    fs::write(&file, text).unwrap();
    let output = sb.call(["update", "-r"]).arg(&file).arg(&id).output();
    output.fails_with(&["cpu.period: ", "limits.json line 3"]);
    let output = sb.call(["update", "-r", "-", &id]).input(text).output();
    output.fails_with(&["cpu.period: ", "stdin line 3"]);
    let output = sb.call(["update", "-r", "-", &id]).input("{\n\"pids\": {\"limit\": \"many\"}}").output();
    output.fails_with(&["pids.limit: ", "stdin line 2"]);
    sb.call(["update", "-r", "-", &id]).input("{").output().fails_with(&["stdin"]);
    sb.call(["update", "-r", "/nonexistent", &id]).output().fails_with(&["/nonexistent not found"]);
    // The kernel's own refusal speaks of the file as well.
    fs::write(&file, "{\n\"pids\":\n{\"limit\": 1099511627776}}").unwrap();
    let output = sb.call(["update", "-r"]).arg(&file).arg(&id).output();
    output.fails_with(&["pids.limit: ", "limits.json line 3", "pids.max"]);
    update(sb, &id, &["--pids-limit", "1099511627776"]).fails_with(&[
        "--pids-limit: ",
        "pids.max",
        "nothing was changed",
    ]);
}

fn limits_that_would_be_ignored_are_refused(sb: &Sandbox) {
    sb.only_corten("refuses them");
    let (id, places) = running(sb);
    let before = places.snapshot();
    update(sb, &id, &["--l3-cache-schema", "L3:0=f", "--pids-limit", "5"]).fails_with(&["--l3-cache-schema: "]);
    update(sb, &id, &["--mem-bw-schema", "MB:0=50"]).fails_with(&["--mem-bw-schema: "]);
    update(sb, &id, &["-r", "/dev/null", "--memory", "5M", "--pids-limit", "5"])
        .fails_with(&["--memory, --pids-limit", "--resources"]);
    assert_eq!(places.snapshot(), before);
    // These have been without effect for years, and every other runtime takes them.
    let output = update(sb, &id, &["--kernel-memory", "5M", "--kernel-memory-tcp", "5M"]);
    output.ok();
    assert!(output.stderr.contains("--kernel-memory: ignored"), "{output:?}");
}

fn a_container_without_control_groups_is_not_updated(sb: &Sandbox) {
    sb.only_corten("has the flag");
    let bundle = sb.bundle().tool(["pause"]).build();
    let container = sb.create_with(&bundle, |call| call.global(&["--cgroup-manager", "disabled"]));
    update(sb, &container.id, &["--pids-limit", "5"]).fails_with(&["has no control groups"]);
}

fn an_unknown_container_does_not_exist(sb: &Sandbox) {
    update(sb, "none", &["--pids-limit", "5"]).fails_with(&["does not exist"]);
    from_stdin(sb, "none", &json!({})).fails_with(&["does not exist"]);
}
