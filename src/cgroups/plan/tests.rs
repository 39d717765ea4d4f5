use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn place(version: Version, controllers: &str, path: &str) -> Place {
    let controllers = controllers.split(' ').map(str::to_owned).collect();
    Place { version, controllers, mount: PathBuf::from("/c"), path: path.into(), made: 0 }
}

fn v1() -> Group {
    let all = "cpuset cpu cpuacct blkio memory devices freezer net_cls net_prio hugetlb pids rdma";
    Group { places: vec![place(Version::V1, all, "1")], unit: None }
}

fn v2() -> Group {
    Group { places: vec![place(Version::V2, "cpuset cpu io memory hugetlb pids rdma", "2")], unit: None }
}

/// Everything of version 1 but hugetlb and cpu, which version 2 has.
fn hybrid() -> Group {
    let places = vec![place(Version::V2, "hugetlb cpu", "2"), place(Version::V1, "memory blkio cpuset pids", "1")];
    Group { places, unit: None }
}

fn plan_with(resources: Value, group: &Group, current: &Current) -> Result<Limits, Vec<Violation>> {
    let resources = serde_json::from_value(resources).unwrap();
    plan_resources(&resources, &Field::at("/r"), group, current)
}

fn plan(resources: Value, group: &Group) -> Limits {
    plan_with(resources, group, &Current::fresh()).unwrap()
}

/// `VERSION/FILE=VALUE`; `?` marks a file that may be missing, `|` another choice.
fn writes(limits: &Limits) -> Vec<String> {
    let show = |file: &CString, value: &CString| {
        format!("{}={}", file.to_str().unwrap().trim_start_matches("/c/"), value.to_str().unwrap())
    };
    let step = |step: &Step| match &step.op {
        crate::plan::Op::Cgroup(Op::Write { file, value }) => show(file, value),
        crate::plan::Op::Cgroup(Op::WriteIfPresent { file, value }) => format!("?{}", show(file, value)),
        crate::plan::Op::Cgroup(Op::WriteFirst { choices }) => {
            choices.iter().map(|(file, value)| show(file, value)).collect::<Vec<_>>().join("|")
        }
        other => panic!("{other:?}"),
    };
    let late = limits.late.iter().map(|late| format!("late {}", show(&late.file, &late.value)));
    limits.steps.iter().map(step).chain(late).collect()
}

fn refused(resources: Value, group: &Group) -> Vec<(String, String)> {
    let violations = plan_with(resources, group, &Current::fresh()).unwrap_err();
    violations.into_iter().map(|violation| (violation.field.pointer().to_owned(), violation.why)).collect()
}

fn warned(resources: Value, group: &Group) -> Vec<String> {
    plan(resources, group).warnings.iter().map(|warning| warning.field.pointer().to_owned()).collect()
}

#[test]
fn memory_has_the_files_of_its_version() {
    let memory = json!({"memory": {
        "limit": 1000, "swap": 3000, "reservation": 500, "kernelTCP": 700, "swappiness": 10, "disableOOMKiller": true,
        "useHierarchy": true
    }});
    let all = plan(memory.clone(), &v1());
    assert_eq!(
        writes(&all),
        [
            "1/memory.limit_in_bytes=1000",
            "1/memory.memsw.limit_in_bytes=3000",
            "1/memory.soft_limit_in_bytes=500",
            "1/memory.kmem.tcp.limit_in_bytes=700",
            "1/memory.swappiness=10",
            "1/memory.oom_control=1",
            "1/memory.use_hierarchy=1",
        ]
    );
    assert!(all.warnings.is_empty());
    assert_eq!(all.steps[1].field.pointer(), "/r/memory/swap");
    assert_eq!(
        writes(&plan(memory.clone(), &v2())),
        ["2/memory.swap.max=2000", "2/memory.max=1000", "2/memory.low=500"]
    );
    assert_eq!(warned(memory, &v2()), ["/r/memory/kernelTCP", "/r/memory/swappiness", "/r/memory/disableOOMKiller"]);
    let odd = json!({"memory": {"kernel": 5000, "useHierarchy": false}});
    for group in [v1(), v2()] {
        assert_eq!(warned(odd.clone(), &group), ["/r/memory/kernel", "/r/memory/useHierarchy"]);
    }
}

#[test]
fn no_limit_of_memory_is_none_of_swap() {
    let none = json!({"memory": {"limit": -1}});
    assert_eq!(writes(&plan(none.clone(), &v1())), ["1/memory.limit_in_bytes=-1", "?1/memory.memsw.limit_in_bytes=-1"]);
    assert_eq!(writes(&plan(none, &v2())), ["?2/memory.swap.max=max", "2/memory.max=max"]);
    let no_swap = json!({"memory": {"limit": 4096, "swap": 4096}});
    assert_eq!(writes(&plan(no_swap, &v2())), ["?2/memory.swap.max=0", "2/memory.max=4096"]);
    let any_swap = json!({"memory": {"limit": 4096, "swap": -1, "reservation": -1}});
    assert_eq!(writes(&plan(any_swap, &v2())), ["?2/memory.swap.max=max", "2/memory.max=4096", "2/memory.low=max"]);
}

#[test]
fn swap_that_contradicts_the_limit_is_refused_in_both_versions() {
    for group in [v1(), v2()] {
        let alone = refused(json!({"memory": {"swap": 4096}}), &group);
        assert!(alone[0].1.contains("unable to set swap limit without memory limit"), "{alone:?}");
        let below = refused(json!({"memory": {"limit": 8192, "swap": 4096}}), &group);
        assert_eq!(below[0].0, "/r/memory/swap");
        assert!(below[0].1.contains("memory+swap limit should be >= memory limit"), "{below:?}");
        let negative = refused(json!({"memory": {"limit": -7}}), &group);
        assert_eq!(negative[0].0, "/r/memory/limit");
    }
}

#[test]
fn a_limit_below_what_is_in_use_is_refused_when_the_config_wants_that() {
    let current = Current { memory_limit: Some(1 << 30), memory_usage: 5000, ..Current::fresh() };
    let memory = |check: bool| json!({"memory": {"limit": 4096, "swap": 4096, "checkBeforeUpdate": check}});
    for group in [v1(), v2()] {
        let violations = plan_with(memory(true), &group, &current).unwrap_err();
        let why: Vec<_> = violations.iter().map(|violation| violation.why.as_str()).collect();
        assert_eq!(
            why,
            ["rejecting memory+swap limit 4096 <= usage 5000", "rejecting memory limit 4096 <= usage 5000"]
        );
        assert!(plan_with(memory(false), &group, &current).is_ok());
        assert!(plan_with(memory(true), &group, &Current::fresh()).is_ok());
    }
}

#[test]
fn cpu_has_the_files_of_its_version() {
    let cpu = json!({"cpu": {
        "shares": 1024, "quota": 20000, "period": 50000, "burst": 1000, "idle": 0, "realtimeRuntime": 5000,
        "realtimePeriod": 900000, "cpus": "0-1", "mems": "0"
    }});
    assert_eq!(
        writes(&plan(cpu.clone(), &v1())),
        [
            "1/cpu.shares=1024",
            "1/cpu.cfs_period_us=50000",
            "1/cpu.cfs_quota_us=20000",
            "1/cpu.cfs_burst_us=1000",
            "1/cpu.rt_runtime_us=5000",
            "1/cpu.rt_period_us=900000",
            "1/cpuset.cpus=0-1",
            "1/cpuset.mems=0",
        ]
    );
    assert_eq!(
        writes(&plan(cpu.clone(), &v2())),
        ["2/cpu.weight=100", "2/cpu.max=20000 50000", "2/cpu.max.burst=1000", "2/cpuset.cpus=0-1", "2/cpuset.mems=0"]
    );
    assert_eq!(warned(cpu, &v2()), ["/r/cpu/realtimeRuntime", "/r/cpu/realtimePeriod"]);
}

#[test]
fn the_half_of_cpu_max_that_is_not_given_stays() {
    let current = Current { cpu_quota: Some(30_000), cpu_period: 60_000, ..Current::fresh() };
    let max = |cpu: Value, current: &Current| writes(&plan_with(json!({"cpu": cpu}), &v2(), current).unwrap());
    assert_eq!(max(json!({"quota": 10000}), &current), ["2/cpu.max=10000 60000"]);
    assert_eq!(max(json!({"period": 20000}), &current), ["2/cpu.max=30000 20000"]);
    assert_eq!(max(json!({"quota": -1}), &current), ["2/cpu.max=max 60000"]);
    assert_eq!(max(json!({"quota": 10000}), &Current::fresh()), ["2/cpu.max=10000 100000"]);
    assert_eq!(max(json!({"period": 20000}), &Current::fresh()), ["2/cpu.max=max 20000"]);
}

#[test]
fn an_idle_cgroup_gets_no_weight() {
    let idle = json!({"cpu": {"idle": 1, "shares": 512}});
    assert_eq!(writes(&plan(idle.clone(), &v1())), ["1/cpu.idle=1"]);
    assert_eq!(warned(idle, &v2()), ["/r/cpu/shares"]);
    let busy = Current { cpu_idle: true, ..Current::fresh() };
    let both = plan_with(json!({"cpu": {"idle": 0, "shares": 512}}), &v1(), &busy).unwrap();
    assert_eq!(writes(&both), ["1/cpu.idle=0", "1/cpu.shares=512"]);
}

#[test]
fn shares_that_the_kernel_would_change_silently_are_named() {
    let many = json!({"cpu": {"shares": 1_000_000}});
    assert_eq!(writes(&plan(many.clone(), &v1())), ["1/cpu.shares=262144"]);
    assert_eq!(warned(many, &v2()), ["/r/cpu/shares"]);
    assert_eq!(writes(&plan(json!({"cpu": {"shares": 1}}), &v2())), ["2/cpu.weight=1"]);
}

#[test]
fn pids_are_limited_late_and_zero_is_a_limit() {
    for (limit, value) in [(100, "100"), (0, "0"), (-1, "max")] {
        let limits = plan(json!({"pids": {"limit": limit}}), &v2());
        assert_eq!(writes(&limits), [format!("late 2/pids.max={value}")]);
        let steps = limits.into_steps();
        assert_eq!(writes(&Limits { steps, ..Limits::default() }), [format!("2/pids.max={value}")]);
    }
}

#[test]
fn block_io_has_the_files_of_its_version() {
    let rule = |rate: u64| json!([{"major": 8, "minor": 16, "rate": rate}]);
    let block_io = json!({"blockIO": {
        "weight": 500, "leafWeight": 300, "weightDevice": [{"major": 8, "minor": 0, "weight": 10, "leafWeight": 20}],
        "throttleReadBpsDevice": rule(1000), "throttleWriteBpsDevice": rule(0), "throttleReadIOPSDevice": rule(30),
        "throttleWriteIOPSDevice": rule(40)
    }});
    assert_eq!(
        writes(&plan(block_io.clone(), &v1())),
        [
            "1/blkio.weight=500|1/blkio.bfq.weight=500",
            "1/blkio.leaf_weight=300",
            "1/blkio.weight_device=8:0 10|1/blkio.bfq.weight_device=8:0 10",
            "1/blkio.leaf_weight_device=8:0 20",
            "1/blkio.throttle.read_bps_device=8:16 1000",
            "1/blkio.throttle.write_bps_device=8:16 0",
            "1/blkio.throttle.read_iops_device=8:16 30",
            "1/blkio.throttle.write_iops_device=8:16 40",
        ]
    );
    let unified = plan(block_io.clone(), &v2());
    assert_eq!(
        writes(&unified),
        [
            "2/io.bfq.weight=500|2/io.weight=4950",
            "2/io.bfq.weight=8:0 10|2/io.weight=8:0 1",
            "2/io.max=8:16 rbps=1000",
            "2/io.max=8:16 wbps=max",
            "2/io.max=8:16 riops=30",
            "2/io.max=8:16 wiops=40",
        ]
    );
    assert_eq!(unified.steps[2].field.pointer(), "/r/blockIO/throttleReadBpsDevice/0/rate");
    assert_eq!(warned(block_io, &v2()), ["/r/blockIO/leafWeight", "/r/blockIO/weightDevice/0/leafWeight"]);
}

#[test]
fn huge_pages_are_limited_in_use_and_reserved() {
    let pages = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]});
    assert_eq!(
        writes(&plan(pages.clone(), &v1())),
        ["1/hugetlb.2MB.limit_in_bytes=4194304", "?1/hugetlb.2MB.rsvd.limit_in_bytes=4194304"]
    );
    assert_eq!(writes(&plan(pages, &v2())), ["2/hugetlb.2MB.max=4194304", "?2/hugetlb.2MB.rsvd.max=4194304"]);
}

#[test]
fn network_marks_exist_in_version_1_alone() {
    let network = json!({"network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]}});
    assert_eq!(writes(&plan(network.clone(), &v1())), ["1/net_cls.classid=1048577", "1/net_prio.ifpriomap=eth0 5"]);
    assert_eq!(warned(network.clone(), &v2()), ["/r/network/classID", "/r/network/priorities/0"]);
    let lacking = refused(network, &hybrid());
    assert_eq!(
        lacking[0],
        ("/r/network/classID".into(), "this host's control groups have no net_cls controller".into())
    );
}

#[test]
fn rdma_devices_come_in_the_order_of_their_names() {
    let rdma = json!({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "mlx4_0": {"hcaObjects": 1000}}});
    for (group, version) in [(v1(), 1), (v2(), 2)] {
        let lines = ["mlx4_0 hca_object=1000", "mlx5_1 hca_handle=3 hca_object=10000"];
        assert_eq!(writes(&plan(rdma.clone(), &group)), lines.map(|line| format!("{version}/rdma.max={line}")));
    }
    assert_eq!(warned(json!({"rdma": {"mlx4_0": {}}}), &v2()), ["/r/rdma/mlx4_0"]);
}

#[test]
fn unified_files_are_written_as_they_stand_in_the_order_of_their_names() {
    let unified = json!({"unified": {
        "memory.high": "1000000", "io.max": "8:0 rbps=1\n8:16 wbps=2\n", "cgroup.max.depth": "4", "pids.max": "0"
    }});
    let all = plan(unified, &v2());
    assert_eq!(
        writes(&all),
        [
            "2/cgroup.max.depth=4",
            "2/io.max=8:0 rbps=1",
            "2/io.max=8:16 wbps=2",
            "2/memory.high=1000000",
            "late 2/pids.max=0",
        ]
    );
    assert_eq!(all.steps[3].field.pointer(), "/r/unified/memory.high");
}

#[test]
fn unified_needs_version_2_and_the_controller_there() {
    let unified = json!({"unified": {"memory.high": "1"}});
    let on_v1 = refused(unified.clone(), &v1());
    assert_eq!(on_v1, [("/r/unified".into(), "invalid configuration: cannot use unified on cgroup v1".into())]);
    assert!(plan(json!({"unified": {}}), &v1()).steps.is_empty());
    let on_hybrid = refused(unified, &hybrid());
    assert_eq!(on_hybrid[0].0, "/r/unified/memory.high");
    assert!(on_hybrid[0].1.starts_with("unknown controller \"memory\""), "{on_hybrid:?}");
    assert!(refused(json!({"unified": {"high": "1"}}), &v2())[0].1.contains("unknown controller "));
    assert_eq!(writes(&plan(json!({"unified": {"hugetlb.2MB.max": "0"}}), &hybrid())), ["2/hugetlb.2MB.max=0"]);
    for name in ["cgroup.procs", "cgroup.kill", "cgroup.subtree_control"] {
        assert!(refused(json!({"unified": {name: "1"}}), &v2())[0].1.contains("no limit"), "{name}");
    }
}

/// On a host with both versions each controller is served where it is.
#[test]
fn the_place_of_a_controller_decides_its_files() {
    let mixed = json!({
        "cpu": {"shares": 2, "cpus": "0", "realtimeRuntime": 1000}, "memory": {"limit": 4096, "swappiness": 1},
        "hugepageLimits": [{"pageSize": "1GB", "limit": 1}], "blockIO": {"weight": 10}
    });
    let limits = plan(mixed, &hybrid());
    assert_eq!(
        writes(&limits),
        [
            "1/memory.limit_in_bytes=4096",
            "1/memory.swappiness=1",
            "2/cpu.weight=1",
            "1/cpuset.cpus=0",
            "1/blkio.weight=10|1/blkio.bfq.weight=10",
            "2/hugetlb.1GB.max=1",
            "?2/hugetlb.1GB.rsvd.max=1",
        ]
    );
    assert_eq!(limits.warnings.len(), 1, "{:?}", limits.warnings);
}

#[test]
fn what_engines_write_for_nothing_is_nothing() {
    let nothing = json!({
        "memory": {"limit": 0, "swap": 0, "reservation": 0, "kernel": 0, "kernelTCP": 0, "disableOOMKiller": false},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "burst": 0, "idle": 0, "realtimeRuntime": 0, "realtimePeriod": 0,
                "cpus": "", "mems": ""},
        "blockIO": {"weight": 0, "leafWeight": 0, "weightDevice": []},
        "network": {"classID": 0, "priorities": []}, "hugepageLimits": [], "rdma": {}, "unified": {}
    });
    for group in [v1(), v2(), Group::default()] {
        assert_eq!(plan(nothing.clone(), &group), Limits::default());
    }
}

/// Every property of a host without control groups is a violation of its own.
#[test]
fn a_controller_that_the_host_lacks_is_never_passed_over() {
    let all = json!({
        "memory": {"limit": 4096, "reservation": 1, "kernelTCP": 1, "swappiness": 1, "disableOOMKiller": true, "useHierarchy": true},
        "cpu": {"shares": 2, "quota": 1000, "idle": 1, "realtimePeriod": 1, "cpus": "0", "mems": "0"},
        "pids": {"limit": 1},
        "blockIO": {"weight": 10, "leafWeight": 10, "weightDevice": [{"major": 8, "minor": 0, "weight": 10, "leafWeight": 10}],
                    "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}], "network": {"classID": 1, "priorities": [{"name": "a", "priority": 1}]},
        "rdma": {"a": {"hcaHandles": 1}}, "unified": {"memory.high": "1"}
    });
    assert_eq!(refused(all, &Group::default()).len(), 23);
}

// ---- The order of a change, against the kernel's rules -----------------------------------------------------------

/// What the kernel holds, with `u64::MAX` for no limit.
#[derive(Clone, Debug)]
struct Kernel {
    memory: u64,
    sum: u64,
    quota: u64,
    period: u64,
    burst: u64,
    rt_runtime: u64,
    rt_period: u64,
    /// The largest share of a processor that the cgroup above allows.
    above: f64,
}

impl Kernel {
    /// The rules of mem_cgroup_resize_max, tg_set_cfs_bandwidth and tg_rt_schedulable.
    fn is_legal(&self) -> bool {
        let share = if self.quota == u64::MAX { 0.0 } else { self.quota as f64 / self.period as f64 };
        self.memory <= self.sum
            && (self.quota == u64::MAX || self.burst <= self.quota)
            && share <= self.above
            && self.rt_runtime <= self.rt_period
    }

    fn write(&mut self, file: &str, value: &str) {
        let number = |text: &str| if text == "-1" || text == "max" { u64::MAX } else { text.parse().unwrap() };
        match file {
            "memory.limit_in_bytes" => self.memory = number(value),
            "memory.memsw.limit_in_bytes" => self.sum = number(value),
            "cpu.cfs_quota_us" => self.quota = number(value),
            "cpu.cfs_period_us" => self.period = number(value),
            "cpu.cfs_burst_us" | "cpu.max.burst" => self.burst = number(value),
            "cpu.rt_runtime_us" => self.rt_runtime = number(value),
            "cpu.rt_period_us" => self.rt_period = number(value),
            "cpu.max" => {
                let (quota, period) = value.split_once(' ').unwrap();
                (self.quota, self.period) = (number(quota), number(period));
            }
            _ => {}
        }
    }

    fn current(&self) -> Current {
        let limit = |number: u64| (number != u64::MAX).then_some(number);
        Current {
            memory_limit: limit(self.memory),
            memory_swap: limit(self.sum),
            cpu_quota: limit(self.quota),
            cpu_period: self.period,
            cpu_burst: self.burst,
            realtime_period: self.rt_period,
            ..Current::fresh()
        }
    }
}

fn kernels() -> impl Strategy<Value = Kernel> {
    let limit = || prop_oneof![1 => Just(u64::MAX), 3 => 1u64..50];
    let cpu = (prop_oneof![1 => Just(u64::MAX), 3 => 1u64..50], 1u64..50, 0u64..50);
    (limit(), limit(), cpu, 0u64..50, 1u64..50).prop_map(
        |(memory, sum, (quota, period, burst), rt_runtime, rt_period)| {
            let (sum, burst, rt_runtime) = (sum.max(memory), burst.min(quota), rt_runtime.min(rt_period));
            Kernel { memory, sum, quota, period, burst, rt_runtime, rt_period, above: 100.0 }
        },
    )
}

fn share(kernel: &Kernel) -> f64 {
    if kernel.quota == u64::MAX { 0.0 } else { kernel.quota as f64 / kernel.period as f64 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, max_global_rejects: 40_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// From any state to any other that the kernel takes, no write on the way is one that it refuses.
    #[test]
    fn no_change_passes_a_state_that_the_kernel_refuses(
        before in kernels(),
        memory in prop::option::of(prop_oneof![Just(-1i64), 1i64..50]),
        swap in prop::option::of(prop_oneof![Just(-1i64), 1i64..50]),
        cpu in (prop::option::of(prop_oneof![Just(-1i64), 1i64..50]), prop::option::of(1u64..50), prop::option::of(0u64..50)),
        rt in (prop::option::of(1i64..50), prop::option::of(1u64..50)),
        unified in any::<bool>(),
    ) {
        prop_assert!(before.is_legal());
        let resources = json!({
            "memory": {"limit": memory, "swap": swap},
            "cpu": {"quota": cpu.0, "period": cpu.1, "burst": cpu.2, "realtimeRuntime": rt.0, "realtimePeriod": rt.1}
        });
        // What is asked for, as a state.
        let number = |number: i64| u64::try_from(number).unwrap_or(u64::MAX);
        let mut after = before.clone();
        after.memory = memory.map_or(before.memory, number);
        after.sum = swap.map_or(if memory == Some(-1) { u64::MAX } else { before.sum }, number);
        after.quota = cpu.0.map_or(before.quota, number);
        after.period = cpu.1.unwrap_or(before.period);
        after.burst = cpu.2.unwrap_or(before.burst);
        after.rt_runtime = rt.0.map_or(before.rt_runtime, number);
        after.rt_period = rt.1.unwrap_or(before.rt_period);
        // The cgroup above allows just what both ends need.
        let above = share(&before).max(share(&after));
        after.above = above;
        prop_assume!(after.is_legal());
        let mut kernel = Kernel { above, ..before.clone() };
        let group = if unified { v2() } else { v1() };
        let Ok(limits) = plan_with(resources, &group, &before.current()) else {
            // Refused is a sum without a limit alone, which means nothing.
            prop_assert!(swap.is_some_and(|swap| swap > 0) && after.memory == u64::MAX || unified);
            return Ok(());
        };
        for write in writes(&limits) {
            let (file, value) = write.trim_start_matches('?').split_once('=').unwrap();
            kernel.write(file.split_once('/').unwrap().1, value);
            prop_assert!(kernel.is_legal() || unified && kernel.memory > kernel.sum, "{:?} after {}: {:?}", before, write, kernel);
        }
        prop_assert_eq!((kernel.quota, kernel.period, kernel.burst), (after.quota, after.period, after.burst));
        if !unified {
            prop_assert_eq!((kernel.memory, kernel.sum), (after.memory, after.sum));
            prop_assert_eq!((kernel.rt_runtime, kernel.rt_period), (after.rt_runtime, after.rt_period));
        }
    }
}
