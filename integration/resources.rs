//! `linux.resources` on this host's control groups, whichever version has the controller: what corten has written is
//! read back by cgroups-rs, which shares no code with it, and where a limit can be felt, it is felt.

use std::fs;
use std::path::{Path, PathBuf};

use cgroups_rs::fs::blkio::BlkIoController;
use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::cpuset::CpuSetController;
use cgroups_rs::fs::hugetlb::HugeTlbController;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::net_cls::NetClsController;
use cgroups_rs::fs::pid::PidController;
use cgroups_rs::fs::rdma::RdmaController;
use corten::cgroups::plan::resources::plan_resources;
use corten::cgroups::{self, Group, Place, Version, current, make, reason};
use corten::field::Field;
use corten::host::cgroups::Layout;
use corten::plan;
use corten::slots::Slots;
use serde_json::{Value, json};

use crate::harness::{Bundle, Case, Sandbox, by_systemd, cases, skip};

pub const CASES: &[Case] = cases![
    memory_limits_are_what_the_config_says,
    buffers_of_tcp_are_limited_in_version_1,
    no_limit_of_memory_is_a_limit_of_nothing,
    a_container_beyond_its_memory_limit_is_killed,
    the_oom_killer_can_be_turned_off,
    cpu_shares_quota_and_period_are_what_the_config_says,
    a_quota_throttles,
    a_burst_and_the_idle_class_reach_the_scheduler,
    a_realtime_budget_is_given_in_version_1,
    the_cpus_and_nodes_of_the_config_are_those_that_the_container_sees,
    a_pids_limit_stops_forks,
    no_pids_at_all_is_a_limit_too,
    no_limit_of_pids_is_max,
    block_io_is_throttled_on_the_device,
    block_io_weights_reach_the_scheduler_that_has_them,
    block_io_weights_of_one_device_reach_its_scheduler,
    huge_pages_are_limited_in_use_and_reserved,
    packets_get_their_class_in_version_1,
    rdma_limits_are_what_the_config_says,
    unified_files_are_written_where_version_2_is,
    unified_without_version_2_is_refused,
    a_unified_file_of_a_controller_that_is_elsewhere_is_refused,
    a_controller_that_the_host_lacks_is_a_violation,
    what_a_version_has_nothing_for_is_a_warning,
    a_refused_value_names_field_file_value_and_errno,
    a_late_limit_that_is_refused_is_named_too,
    an_init_that_its_own_limit_kills_is_reported_so,
    limits_of_a_living_container_change_in_an_order_that_the_kernel_takes,
    a_memory_limit_below_what_is_in_use_says_how_much_that_is,
    limits_take_permission_and_say_so,
    nothing_is_left_after_a_limit_that_fails,
    all_resources_at_once_are_all_there,
];

/// The container's cgroup for one controller: its directory, and whether that is of version 2.
struct At {
    dir: PathBuf,
    v2: bool,
}

impl At {
    fn read(&self, name: &str) -> String {
        let file = self.dir.join(name);
        fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).trim_end().to_owned()
    }

    fn has(&self, name: &str) -> bool {
        self.dir.join(name).exists()
    }

    /// Whether the cgroup above, which is there before the container, has a file.
    fn above_has(&self, name: &str) -> bool {
        self.dir.with_file_name(name).exists()
    }
}

fn place(controller: &str, path: &str) -> Option<At> {
    let layout = Layout::probe();
    let name = relative(path);
    if let Some(hierarchy) = layout.v1(controller) {
        return Some(At { dir: hierarchy.mount.join(&name), v2: false });
    }
    let unified = layout.unified.filter(|unified| unified.controllers.iter().any(|known| known == controller))?;
    Some(At { dir: unified.mount.join(name), v2: true })
}

/// The place of a controller, or the end of the test by name.
fn need(controller: &str, path: &str) -> At {
    place(controller, path).unwrap_or_else(|| skip(format!("this host has no controller {controller}")))
}

fn need_block_io(path: &str) -> At {
    place("blkio", path).unwrap_or_else(|| need("io", path))
}

/// Whether every call of the suite makes its cgroups by systemd.
/// A cgroupsPath that is this sandbox's own, and is looked for when the test has ended.
fn own_path(sb: &Sandbox) -> String {
    match by_systemd() {
        true => format!("system.slice:ct:{}", sb.id().trim_start_matches("ct-")),
        false => format!("/{}", sb.id()),
    }
}

/// Where a cgroupsPath leads to in each hierarchy: `slice:prefix:name` is the scope `prefix-name` in the slice.
fn relative(path: &str) -> PathBuf {
    match path.split(':').collect::<Vec<_>>()[..] {
        [slice, prefix, name] => Path::new(slice).join(format!("{prefix}-{name}.scope")),
        _ => path.trim_start_matches('/').into(),
    }
}

fn bundle<'w>(sb: &Sandbox, path: &str, resources: Value, tool: impl IntoIterator<Item = &'w str>) -> Bundle {
    sb.bundle().tool(tool).set("/linux/cgroupsPath", path).set("/linux/resources", resources).build()
}

/// A whole disk of this machine, major and minor.
fn disk() -> (u64, u64) {
    let number = |dir: PathBuf| {
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
        // A disk without room takes no rules, and a loop device is somebody else's.
        let real = read("size").trim() != "0" && !dir.to_string_lossy().contains("/loop");
        let dev = read("dev");
        let (major, minor) = dev.trim().split_once(':')?;
        real.then(|| Some((major.parse().ok()?, minor.parse().ok()?))).flatten()
    };
    let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    disks.map(|disk| disk.path()).find_map(number).unwrap_or_else(|| skip("this machine has no disk"))
}

const MIB: i64 = 1 << 20;

fn memory_limits_are_what_the_config_says(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need("memory", &path);
    let mut memory = json!({"limit": 64 * MIB, "reservation": 32 * MIB, "swappiness": 7, "useHierarchy": true});
    let counts_swap = at.v2 || at.above_has("memory.memsw.limit_in_bytes");
    if counts_swap {
        memory["swap"] = json!(64 * MIB);
    }
    let container = sb.create(&bundle(sb, &path, json!({"memory": memory}), ["pause"]));
    let reader = MemController::new(at.dir.clone(), at.dir.clone(), at.v2);
    let found = reader.memory_stat();
    assert_eq!(found.limit_in_bytes, 64 * MIB);
    assert_eq!(found.soft_limit_in_bytes, 32 * MIB);
    match at.v2 {
        false => {
            assert_eq!(found.swappiness, 7);
            assert_eq!(at.read("memory.use_hierarchy"), "1");
            if counts_swap {
                assert_eq!(reader.memswap().limit_in_bytes, 64 * MIB);
            }
        }
        true if at.has("memory.swap.max") => assert_eq!(at.read("memory.swap.max"), "0"),
        true => {}
    }
    container.stop();
}

fn buffers_of_tcp_are_limited_in_version_1(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need("memory", &path);
    if at.v2 {
        skip("version 2 counts them with everything else");
    }
    if !at.above_has("memory.kmem.tcp.limit_in_bytes") {
        skip("this kernel doesn't count them apart");
    }
    let container = sb.create(&bundle(sb, &path, json!({"memory": {"kernelTCP": 8 * MIB}}), ["pause"]));
    assert_eq!(at.read("memory.kmem.tcp.limit_in_bytes"), (8 * MIB).to_string());
    container.stop();
}

fn no_limit_of_memory_is_a_limit_of_nothing(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need("memory", &path);
    let container = sb.create(&bundle(sb, &path, json!({"memory": {"limit": -1}}), ["pause"]));
    let found = MemController::new(at.dir.clone(), at.dir.clone(), at.v2).memory_stat();
    assert!(found.limit_in_bytes == -1 || found.limit_in_bytes > 1 << 60, "{}", found.limit_in_bytes);
    container.stop();
}

fn a_container_beyond_its_memory_limit_is_killed(sb: &Sandbox) {
    sb.needs_counters_of_the_dead();
    let path = own_path(sb);
    let at = need("memory", &path);
    let small = json!({"memory": {"limit": 24 * MIB}});
    let container = sb.create(&bundle(sb, &path, small.clone(), ["fill", "8"]));
    container.start();
    container.wait();
    assert_eq!(container.output().trim_end(), "filled", "what fits the limit is had");
    container.verb("delete").ok();
    // Swap would only make it slower: none is given where it is counted.
    let swap = at.v2 || at.above_has("memory.memsw.limit_in_bytes");
    let limits = if swap { json!({"memory": {"limit": 24 * MIB, "swap": 24 * MIB}}) } else { small };
    let container = sb.create(&bundle(sb, &path, limits, ["fill", "200"]));
    container.start();
    container.wait();
    assert_eq!(container.output(), "", "200 MiB can't be had in 24");
    let counts = at.read(if at.v2 { "memory.events" } else { "memory.oom_control" });
    let kills = counts.lines().find_map(|line| line.strip_prefix("oom_kill ")).map(|n| n.parse::<u32>().unwrap());
    // Kernels before 4.13 don't count.
    assert_ne!(kills, Some(0), "{counts}");
    container.verb("delete").ok();
}

fn the_oom_killer_can_be_turned_off(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need("memory", &path);
    if at.v2 {
        skip("version 2 can't turn the OOM killer off");
    }
    let resources = json!({"memory": {"limit": 64 * MIB, "disableOOMKiller": true}});
    let container = sb.create(&bundle(sb, &path, resources, ["pause"]));
    let found = MemController::new(at.dir.clone(), at.dir.clone(), false).memory_stat();
    assert!(found.oom_control.oom_kill_disable);
    container.stop();
}

fn cpu_shares_quota_and_period_are_what_the_config_says(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need("cpu", &path);
    let resources = json!({"cpu": {"shares": 2048, "quota": 30000, "period": 60000}});
    let container = sb.create(&bundle(sb, &path, resources, ["pause"]));
    let reader = CpuController::new(at.dir.clone(), at.dir.clone(), at.v2);
    // 10^((11² + 125·11) / 612 − 7 / 34) is 173.2.
    assert_eq!(reader.shares().unwrap(), if at.v2 { 174 } else { 2048 });
    assert_eq!((reader.cfs_quota().unwrap(), reader.cfs_period().unwrap()), (30_000, 60_000));
    container.stop();
}

fn a_quota_throttles(sb: &Sandbox) {
    sb.needs_counters_of_the_dead();
    let path = own_path(sb);
    let at = need("cpu", &path);
    let resources = json!({"cpu": {"quota": 2000, "period": 20000}});
    let container = sb.started(&bundle(sb, &path, resources, ["spin", "300"]));
    container.wait();
    let stat = CpuController::new(at.dir.clone(), at.dir.clone(), at.v2).cpu().stat;
    let throttled = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")).expect("cpu.stat counts");
    assert!(throttled.parse::<u32>().unwrap() > 0, "{stat}");
}

fn a_burst_and_the_idle_class_reach_the_scheduler(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need("cpu", &path);
    let container = sb.create(&bundle(sb, &path, json!({"cpu": {"quota": 50000, "burst": 20000}}), ["pause"]));
    let burst = if at.v2 { "cpu.max.burst" } else { "cpu.cfs_burst_us" };
    assert_eq!(at.read(burst), "20000");
    assert_eq!(CpuController::new(at.dir.clone(), at.dir.clone(), at.v2).cfs_quota().unwrap(), 50_000);
    if !at.has("cpu.idle") {
        skip("cpu.idle takes Linux 5.15");
    }
    assert_eq!(at.read("cpu.idle"), "0");
    container.stop();
    container.verb("delete").ok();
    let container = sb.create(&bundle(sb, &path, json!({"cpu": {"idle": 1, "shares": 512}}), ["pause"]));
    assert_eq!(at.read("cpu.idle"), "1");
    container.stop();
}

fn a_realtime_budget_is_given_in_version_1(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need("cpu", &path);
    if at.v2 {
        skip("version 2 has no budget for real-time processes");
    }
    if !at.above_has("cpu.rt_runtime_us") {
        skip("this kernel has no budget for real-time processes (CONFIG_RT_GROUP_SCHED)");
    }
    let resources = json!({"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 500_000}});
    let container = sb.create(&bundle(sb, &path, resources, ["pause"]));
    assert_eq!((at.read("cpu.rt_runtime_us"), at.read("cpu.rt_period_us")), ("1000".into(), "500000".into()));
    container.stop();
}

fn the_cpus_and_nodes_of_the_config_are_those_that_the_container_sees(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need("cpuset", &path);
    let resources = json!({"cpu": {"cpus": "0", "mems": "0"}});
    let container = sb.started(&bundle(sb, &path, resources, ["cat", "/proc/self/status"]));
    container.wait();
    let found = CpuSetController::new(at.dir.clone(), at.dir.clone(), at.v2).cpuset();
    assert_eq!((found.cpus, found.mems), (vec![(0, 0)], vec![(0, 0)]));
    let status = container.output();
    for line in ["Cpus_allowed_list:\t0", "Mems_allowed_list:\t0"] {
        assert!(status.lines().any(|found| found == line), "{line} isn't in {status}");
    }
}

fn a_pids_limit_stops_forks(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need("pids", &path);
    let tools = ["spawn", "2", ";", "try", "spawn", "1"];
    let container = sb.create(&bundle(sb, &path, json!({"pids": {"limit": 3}}), tools));
    let max = PidController::new(at.dir.clone(), at.dir.clone(), at.v2).get_pid_max().unwrap();
    assert_eq!(max.to_string(), "3");
    container.start();
    container.wait();
    let output = container.output();
    let lines: Vec<_> = output.lines().filter(|line| !line.starts_with("child")).collect();
    assert_eq!(lines, ["EAGAIN"], "{output}");
}

fn no_pids_at_all_is_a_limit_too(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need("pids", &path);
    let container = sb.create(&bundle(sb, &path, json!({"pids": {"limit": 0}}), ["try", "spawn", "1"]));
    let max = PidController::new(at.dir.clone(), at.dir.clone(), at.v2).get_pid_max().unwrap();
    assert_eq!(max.to_string(), "0");
    container.start();
    container.wait();
    assert_eq!(container.output(), "EAGAIN\n", "the init itself lives, and has no child");
}

fn no_limit_of_pids_is_max(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need("pids", &path);
    let container = sb.create(&bundle(sb, &path, json!({"pids": {"limit": -1}}), ["pause"]));
    let max = PidController::new(at.dir.clone(), at.dir.clone(), at.v2).get_pid_max().unwrap();
    assert_eq!(max.to_string(), "max");
    container.stop();
}

fn block_io_is_throttled_on_the_device(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need_block_io(&path);
    let (major, minor) = disk();
    let rule = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let resources = json!({"blockIO": {
        "throttleReadBpsDevice": rule(1 << 20), "throttleWriteBpsDevice": rule(2 << 20),
        "throttleReadIOPSDevice": rule(300), "throttleWriteIOPSDevice": rule(400)
    }});
    let container = sb.create(&bundle(sb, &path, resources, ["pause"]));
    if at.v2 {
        assert_eq!(at.read("io.max"), format!("{major}:{minor} rbps=1048576 wbps=2097152 riops=300 wiops=400"));
    } else {
        let found = BlkIoController::new(at.dir.clone(), at.dir.clone(), false).blkio().throttle;
        let rates = [found.read_bps_device, found.write_bps_device, found.read_iops_device, found.write_iops_device];
        let rates = rates.map(|rules| {
            let of_disk = rules.iter().filter(|rule| (rule.major, rule.minor) == (major as i16, minor as i16));
            of_disk.map(|rule| rule.data).collect::<Vec<_>>()
        });
        assert_eq!(rates, [vec![1 << 20], vec![2 << 20], vec![300], vec![400]]);
    }
    container.stop();
}

fn block_io_weights_reach_the_scheduler_that_has_them(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need_block_io(&path);
    let output = sb.call(["create", "--bundle"]);
    let bundle = bundle(sb, &path, json!({"blockIO": {"weight": 300}}), ["pause"]);
    let id = sb.id();
    let output = output.arg(&bundle.dir).arg(&id).output();
    if output.code != 0 {
        // The kernel has no scheduler with weights: then it says so.
        output.fails_with(&["linux.resources.blockIO.weight", "\"300\"", "No such file or directory", "bfq"]);
        sb.assert_nothing_left();
        skip("this kernel has no weights of block I/O");
    }
    let files: &[(&str, &str)] = match at.v2 {
        false => &[("blkio.weight", "300"), ("blkio.bfq.weight", "300")],
        true => &[("io.bfq.weight", "default 300"), ("io.weight", "default 2930")],
    };
    let (file, value) = files.iter().find(|(file, _)| at.has(file)).expect("one of the files is there");
    assert_eq!(at.read(file), *value, "{file}");
    sb.call(["kill"]).arg(&id).arg("KILL").output().ok();
}

/// A weight on one device, which only a scheduler with weights has (BFQ, or the cost model of version 2).
fn block_io_weights_of_one_device_reach_its_scheduler(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need_block_io(&path);
    let (major, minor) = disk();
    let weights = json!([{"major": major, "minor": minor, "weight": 400}]);
    let bundle = bundle(sb, &path, json!({"blockIO": {"weightDevice": weights}}), ["pause"]);
    let id = sb.id();
    let output = sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(&id).output();
    if output.code != 0 {
        // The kernel has no such file, or the disk another scheduler: then the field is named.
        output.fails_with(&["linux.resources.blockIO.weightDevice[0].weight", &format!("{major}:{minor} ")]);
        sb.assert_nothing_left();
        skip("no disk here has a scheduler with weights of its own");
    }
    let files: &[(&str, &str)] = match at.v2 {
        false => &[("blkio.weight_device", "400"), ("blkio.bfq.weight_device", "400")],
        true => &[("io.bfq.weight", "400"), ("io.weight", "3940")],
    };
    let (file, value) = files.iter().find(|(file, _)| at.has(file)).expect("one of the files is there");
    let line = format!("{major}:{minor} {value}");
    assert!(at.read(file).lines().any(|found| found == line), "{line} isn't in {file}: {}", at.read(file));
    sb.call(["kill"]).arg(&id).arg("KILL").output().ok();
}

fn huge_pages_are_limited_in_use_and_reserved(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need("hugetlb", &path);
    let container =
        sb.create(&bundle(sb, &path, json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 6 * MIB}]}), ["pause"]));
    let reader = HugeTlbController::new(at.dir.clone(), at.dir.clone(), at.v2);
    assert_eq!(reader.limit_in_bytes("2MB").unwrap(), 6 << 20);
    let reserved = if at.v2 { "hugetlb.2MB.rsvd.max" } else { "hugetlb.2MB.rsvd.limit_in_bytes" };
    if at.has(reserved) {
        assert_eq!(at.read(reserved), (6 * MIB).to_string());
    }
    container.stop();
}

fn packets_get_their_class_in_version_1(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need("net_cls", &path);
    let resources = json!({"network": {"classID": 0x10_0001, "priorities": [{"name": "lo", "priority": 9}]}});
    let _ = need("net_prio", &path);
    let container = sb.create(&bundle(sb, &path, resources, ["pause"]));
    assert_eq!(NetClsController::new(at.dir.clone(), at.dir.clone()).get_class().unwrap(), 0x10_0001);
    let map = need("net_prio", &path).read("net_prio.ifpriomap");
    assert!(map.lines().any(|line| line == "lo 9"), "{map}");
    container.stop();
}

fn rdma_limits_are_what_the_config_says(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need("rdma", &path);
    let devices = fs::read_dir("/sys/class/infiniband").into_iter().flatten().flatten();
    let Some(device) = devices.map(|device| device.file_name().to_string_lossy().into_owned()).next() else {
        skip("this machine has no RDMA device")
    };
    let resources = json!({"rdma": {device.clone(): {"hcaHandles": 3, "hcaObjects": 1000}}});
    let container = sb.create(&bundle(sb, &path, resources, ["pause"]));
    let max = RdmaController::new(at.dir.clone(), at.dir.clone()).max().unwrap();
    assert!(max.contains(&format!("{device} hca_handle=3 hca_object=1000")), "{max}");
    container.stop();
}

fn unified_files_are_written_where_version_2_is(sb: &Sandbox) {
    let path = own_path(sb);
    let Some(unified) = Layout::probe().unified else { skip("this host doesn't mount version 2") };
    let at = At { dir: unified.mount.join(relative(&path)), v2: true };
    let mut files = json!({"cgroup.max.depth": "4", "cgroup.max.descendants": "11"});
    for (controller, file, value) in
        [("memory", "memory.high", "67108864"), ("hugetlb", "hugetlb.2MB.max", "2097152"), ("pids", "pids.max", "77")]
    {
        if unified.controllers.iter().any(|name| name == controller) {
            files[file] = json!(value);
        }
    }
    let container = sb.create(&bundle(sb, &path, json!({"unified": files}), ["pause"]));
    for (file, value) in files.as_object().unwrap() {
        assert_eq!(json!(at.read(file)), *value, "{file}");
    }
    container.stop();
}

fn unified_without_version_2_is_refused(sb: &Sandbox) {
    if Layout::probe().unified.is_some() {
        skip("this host mounts version 2");
    }
    let path = own_path(sb);
    let bundle = bundle(sb, &path, json!({"unified": {"memory.high": "1"}}), ["pause"]);
    sb.run(&bundle).fails_with(&["invalid configuration: cannot use unified on cgroup v1"]);
    sb.assert_nothing_left();
}

fn a_unified_file_of_a_controller_that_is_elsewhere_is_refused(sb: &Sandbox) {
    if Layout::probe().unified.is_none() {
        skip("this host doesn't mount version 2");
    }
    let path = own_path(sb);
    let bundle = bundle(sb, &path, json!({"unified": {"nonsense.max": "1"}}), ["pause"]);
    sb.run(&bundle).fails_with(&["unknown controller ", "nonsense.max", "cgroup.controllers"]);
    sb.assert_nothing_left();
}

fn a_controller_that_the_host_lacks_is_a_violation(sb: &Sandbox) {
    let layout = Layout::probe();
    let path = own_path(sb);
    let (controller, field, resources) = if !layout.has("rdma") {
        ("rdma", "linux.resources.rdma.mlx", json!({"rdma": {"mlx": {"hcaHandles": 1}}}))
    } else if !layout.has("hugetlb") {
        ("hugetlb", "hugepageLimits[0].limit", json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2097152}]}))
    } else {
        skip("this host has every controller")
    };
    let words = format!("this host's control groups have no {controller} controller");
    sb.run(&bundle(sb, &path, resources, ["true"])).fails_with(&[field, &words, "hint: "]);
    sb.assert_nothing_left();
}

fn what_a_version_has_nothing_for_is_a_warning(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need("memory", &path);
    let resources = json!({"memory": {"limit": 64 * MIB, "kernel": MIB, "swappiness": 5}});
    let output = sb.run(&bundle(sb, &path, resources, ["true"]));
    output.ok();
    assert!(output.stderr.contains("linux.resources.memory.kernel: ignored"), "{}", output.stderr);
    assert_eq!(output.stderr.contains("linux.resources.memory.swappiness: ignored"), at.v2, "{}", output.stderr);
}

fn a_refused_value_names_field_file_value_and_errno(sb: &Sandbox) {
    let path = own_path(sb);
    let mut tried = 0;
    if let Some(at) = place("cpuset", &path) {
        let file = at.dir.join("cpuset.cpus").display().to_string();
        let output = sb.run(&bundle(sb, &path, json!({"cpu": {"cpus": "9999"}}), ["true"]));
        output.fails_with(&[
            "linux.resources.cpu.cpus",
            &file,
            "\"9999\"",
            "write: ",
            "hint: the numbers must be online",
        ]);
        tried += 1;
    }
    if let Some(at) = place("blkio", &path).or_else(|| place("io", &path)) {
        let file = at.dir.join(if at.v2 { "io.max" } else { "blkio.throttle.read_bps_device" }).display().to_string();
        let rule = json!([{"major": 4095, "minor": 1, "rate": 1000}]);
        let output = sb.run(&bundle(sb, &path, json!({"blockIO": {"throttleReadBpsDevice": rule}}), ["true"]));
        let field = "linux.resources.blockIO.throttleReadBpsDevice[0].rate";
        output.fails_with(&[field, &file, "4095:1 ", "No such device", "hint: major and minor"]);
        tried += 1;
    }
    if let Some(at) = place("hugetlb", &path) {
        let file = at.dir.join("hugetlb.3MB").display().to_string();
        let limits = json!([{"pageSize": "3MB", "limit": 3145728}]);
        let output = sb.run(&bundle(sb, &path, json!({"hugepageLimits": limits}), ["true"]));
        let field = "linux.resources.hugepageLimits[0].limit";
        output.fails_with(&[field, &file, "\"3145728\"", "No such file or directory", "/sys/kernel/mm/hugepages"]);
        tried += 1;
    }
    sb.assert_nothing_left();
    if tried == 0 {
        skip("this host has none of cpuset, blkio and hugetlb");
    }
}

fn a_late_limit_that_is_refused_is_named_too(sb: &Sandbox) {
    let path = own_path(sb);
    let _ = need("pids", &path);
    let output = sb.run(&bundle(sb, &path, json!({"pids": {"limit": 1_i64 << 40}}), ["true"]));
    output.fails_with(&["linux.resources.pids.limit", "pids.max", "\"1099511627776\"", "Invalid argument", "4194304"]);
    sb.assert_nothing_left();
}

fn an_init_that_its_own_limit_kills_is_reported_so(sb: &Sandbox) {
    sb.needs_counters_of_the_dead();
    let path = own_path(sb);
    let at = need("memory", &path);
    let mut memory = json!({"limit": 4096});
    if at.v2 || at.above_has("memory.memsw.limit_in_bytes") {
        memory["swap"] = json!(4096);
    }
    let output = sb.run(&bundle(sb, &path, json!({"memory": memory}), ["true"]));
    output.fails_with(&[
        "container init was OOM-killed (memory limit too low?)",
        "hint: ",
        "linux.resources.memory.limit",
    ]);
    sb.assert_nothing_left();
}

/// The container's cgroups as planning names them.
fn group(path: &str) -> Group {
    let layout = Layout::probe();
    let place = |version, controllers: &[String], mount: &Path| Place {
        version,
        controllers: controllers.to_vec(),
        mount: mount.to_owned(),
        path: relative(path),
        made: 0,
    };
    let v1 = layout.v1.iter().map(|hierarchy| place(Version::V1, &hierarchy.controllers, &hierarchy.mount));
    let v2 = layout.unified.iter().map(|unified| place(Version::V2, &unified.controllers, &unified.mount));
    Group { places: v1.chain(v2).collect(), unit: None }
}

/// Changes the limits of a living container, as `update` does; the first failure with all that is known of it.
fn change(path: &str, resources: Value) -> Result<(), String> {
    let group = group(path);
    let resources = serde_json::from_value(resources).unwrap();
    let limits = plan_resources(&resources, &Field::at("/r"), &group, &current::probe(&group));
    for step in limits.unwrap().into_steps() {
        let plan::Op::Cgroup(op) = &step.op else { panic!("{step:?}") };
        make::apply_host(op, &mut Slots::with_room(0))
            .map_err(|trouble| format!("{}: {trouble:?}: {:?}", cgroups::render(op), reason::reason(op, trouble)))?;
    }
    Ok(())
}

fn limits_of_a_living_container_change_in_an_order_that_the_kernel_takes(sb: &Sandbox) {
    let path = own_path(sb);
    let (memory, cpu) = (need("memory", &path), need("cpu", &path));
    let counts_swap = memory.v2 || memory.above_has("memory.memsw.limit_in_bytes");
    let limits = |mib: i64, quota: i64, period: i64, burst: i64| {
        let mut memory = json!({"limit": mib * MIB});
        if counts_swap {
            memory["swap"] = json!(mib * MIB);
        }
        json!({"memory": memory, "cpu": {"quota": quota, "period": period, "burst": burst}, "pids": {"limit": mib}})
    };
    let container = sb.create(&bundle(sb, &path, limits(32, 20_000, 40_000, 5_000), ["pause"]));
    // Up and down, with the burst and the period on either side of the quota.
    for (mib, quota, period, burst) in [
        (128, 90_000, 100_000, 60_000),
        (16, 10_000, 20_000, 2_000),
        (512, 1_000, 1_000_000, 0),
        (64, 50_000, 50_000, 50_000),
    ] {
        let limits = limits(mib, quota, period, burst);
        assert_eq!(change(&path, limits.clone()), Ok(()), "{limits}");
        let found = MemController::new(memory.dir.clone(), memory.dir.clone(), memory.v2).memory_stat();
        assert_eq!(found.limit_in_bytes, mib * MIB);
        let reader = CpuController::new(cpu.dir.clone(), cpu.dir.clone(), cpu.v2);
        assert_eq!((reader.cfs_quota().unwrap(), reader.cfs_period().unwrap() as i64), (quota, period));
    }
    // The half that isn't given stays.
    assert_eq!(change(&path, json!({"cpu": {"quota": 60000}})), Ok(()));
    let reader = CpuController::new(cpu.dir.clone(), cpu.dir.clone(), cpu.v2);
    assert_eq!((reader.cfs_quota().unwrap(), reader.cfs_period().unwrap()), (60_000, 50_000));
    assert_eq!(change(&path, json!({"memory": {"limit": -1}})), Ok(()));
    container.stop();
}

fn a_memory_limit_below_what_is_in_use_says_how_much_that_is(sb: &Sandbox) {
    let path = own_path(sb);
    let at = need("memory", &path);
    if at.v2 {
        skip("version 2 takes any limit and kills for it");
    }
    let swap = at.above_has("memory.memsw.limit_in_bytes");
    let mut memory = json!({"limit": 64 * MIB});
    if swap {
        memory["swap"] = json!(64 * MIB);
    }
    let container = sb.started(&bundle(sb, &path, json!({"memory": memory}), ["pause"]));
    let why = change(&path, json!({"memory": {"limit": 4096}})).unwrap_err();
    for words in
        ["memory.limit_in_bytes", "EBUSY", "unable to set memory limit to 4096 (current usage: ", ", peak usage: "]
    {
        assert!(why.contains(words), "{words} isn't in {why}");
    }
    let checked = json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}});
    let group = group(&path);
    let refused =
        plan_resources(&serde_json::from_value(checked).unwrap(), &Field::at("/r"), &group, &current::probe(&group));
    let why = refused.unwrap_err()[0].to_string();
    assert!(why.contains("rejecting memory limit 4096 <= usage "), "{why}");
    container.stop();
}

fn limits_take_permission_and_say_so(sb: &Sandbox) {
    sb.needs_program("/usr/bin/setpriv", "util-linux");
    let path = own_path(sb);
    let _ = need("pids", &path);
    let home = sb.tree("user", &[]);
    std::os::unix::fs::chown(&home, Some(1000), Some(1000)).unwrap();
    let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    let bundle = sb
        .bundle()
        .tool(["true"])
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .set("/linux/resources", json!({"pids": {"limit": 5}}))
        .build();
    let call = sb.call(["run", "--bundle"]).bare().shared().global(&["--root", home.join("state").to_str().unwrap()]);
    let call = call.under(&["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]);
    let output = call.env("XDG_RUNTIME_DIR", &home).arg(&bundle.dir).arg(sb.id()).output();
    output.fails_with(&[
        "unable to apply cgroup configuration",
        "permission denied",
        "rootless needs no limits + no cgrouppath when no permission is granted for cgroups",
        "Delegate=yes",
    ]);
    sb.assert_nothing_left();
}

/// The first limits hold, the last one fails, and all cgroups with their parents go.
fn nothing_is_left_after_a_limit_that_fails(sb: &Sandbox) {
    if by_systemd() {
        skip("with systemd the cgroups above are systemd's own");
    }
    let path = format!("{}/above/web", own_path(sb));
    let at = need("memory", &path);
    let rule = json!([{"major": 4095, "minor": 1, "rate": 1000}]);
    let _ = need_block_io(&path);
    let resources = json!({"memory": {"limit": 64 * MIB}, "blockIO": {"throttleReadBpsDevice": rule}});
    sb.run(&bundle(sb, &path, resources, ["true"])).fails();
    let top = at.dir.parent().and_then(Path::parent).expect("two above");
    assert!(!top.exists(), "{} is left", top.display());
    sb.assert_nothing_left();
}

/// One config with all that this host has; each controller answers with its own part.
fn all_resources_at_once_are_all_there(sb: &Sandbox) {
    let path = own_path(sb);
    let mut resources = json!({});
    let has = |controller: &str| place(controller, &path);
    if has("memory").is_some() {
        resources["memory"] = json!({"limit": 96 * MIB, "reservation": 48 * MIB});
    }
    if has("cpu").is_some() {
        resources["cpu"] = json!({"shares": 1024, "quota": 40000, "period": 80000});
    }
    if has("cpuset").is_some() {
        resources["cpu"]["cpus"] = json!("0");
    }
    if has("pids").is_some() {
        resources["pids"] = json!({"limit": 55});
    }
    if has("hugetlb").is_some() {
        resources["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 2 * MIB}]);
    }
    let container = sb.started(&bundle(sb, &path, resources, ["pause"]));
    let mut seen = 0;
    let mut check = |controller: &str, check: &dyn Fn(&At)| {
        if let Some(at) = place(controller, &path) {
            check(&at);
            seen += 1;
        }
    };
    check("memory", &|at| {
        let found = MemController::new(at.dir.clone(), at.dir.clone(), at.v2).memory_stat();
        assert_eq!((found.limit_in_bytes, found.soft_limit_in_bytes), (96 * MIB, 48 * MIB));
    });
    check("cpu", &|at| {
        let reader = CpuController::new(at.dir.clone(), at.dir.clone(), at.v2);
        assert_eq!(reader.shares().unwrap(), if at.v2 { 100 } else { 1024 });
        assert_eq!((reader.cfs_quota().unwrap(), reader.cfs_period().unwrap()), (40_000, 80_000));
    });
    check("cpuset", &|at| {
        assert_eq!(CpuSetController::new(at.dir.clone(), at.dir.clone(), at.v2).cpuset().cpus, [(0, 0)]);
    });
    check("pids", &|at| {
        let max = PidController::new(at.dir.clone(), at.dir.clone(), at.v2).get_pid_max().unwrap();
        assert_eq!(max.to_string(), "55");
    });
    check("hugetlb", &|at| {
        let reader = HugeTlbController::new(at.dir.clone(), at.dir.clone(), at.v2);
        assert_eq!(reader.limit_in_bytes("2MB").unwrap(), 2 << 20);
    });
    container.stop();
    container.verb("delete").ok();
    sb.assert_nothing_left();
    if seen == 0 {
        skip("this host has no controller");
    }
}
