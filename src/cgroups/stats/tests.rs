//! Fixture trees of each layout, and the JSON that has to come out.

use std::path::Path;

use super::*;

/// A cgroup with these files in a directory of its own.
fn place(root: &Path, version: Version, controllers: &[&str], files: &[(&str, &str)]) -> Place {
    let path = Path::new(controllers.first().copied().unwrap_or("unified")).join("web");
    let dir = root.join(&path);
    std::fs::create_dir_all(&dir).unwrap();
    for (name, text) in files {
        std::fs::write(dir.join(name), text).unwrap();
    }
    let controllers = controllers.iter().map(|name| name.to_string()).collect();
    Place { version, controllers, mount: root.to_owned(), path, made: 0 }
}

fn json(places: Vec<Place>) -> String {
    let group = Group { places, unit: None };
    serde_json::to_string(&probe(&group).unwrap()).unwrap()
}

const ZERO: &str = concat!(
    r#"{"cpu":{"usage":{"kernel":0,"user":0},"throttling":{}},"#,
    r#""cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"#,
    r#""memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0},"#,
    r#""memory":{"usage":{"limit":0,"failcnt":0},"swap":{"limit":0,"failcnt":0},"kernel":{"limit":0,"failcnt":0},"#,
    r#""kernelTCP":{"limit":0,"failcnt":0}},"pids":{},"blkio":{},"hugetlb":{},"intel_rdt":{},"network_interfaces":null}"#
);

#[test]
fn a_container_without_cgroups_has_used_nothing() {
    assert_eq!(json(Vec::new()), ZERO);
}

#[test]
fn controllers_without_files_are_left_out() {
    let root = tempfile::tempdir().unwrap();
    let controllers = ["cpu", "cpuacct", "cpuset", "memory", "blkio", "pids", "hugetlb"];
    let v1 = controllers.map(|name| place(root.path(), Version::V1, &[name], &[]));
    assert_eq!(json(v1.to_vec()), ZERO);
    let v2 = place(root.path(), Version::V2, &["cpu", "cpuset", "io", "memory", "pids", "hugetlb"], &[]);
    assert_eq!(json(vec![v2]), ZERO);
    // A cgroup that went is no failure either.
    let gone = Place { path: "no/such".into(), ..place(root.path(), Version::V2, &["memory", "hugetlb"], &[]) };
    assert_eq!(json(vec![gone]), ZERO);
}

#[test]
fn version_1_is_read_from_all_its_hierarchies() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let places = vec![
        place(root, Version::V1, &["cpu"], &[("cpu.stat", "nr_periods 10\nnr_throttled 3\nthrottled_time 9000\n")]),
        place(
            root,
            Version::V1,
            &["cpuacct"],
            &[
                ("cpuacct.usage", "7864239\n"),
                ("cpuacct.usage_percpu", "7335713 528526 \n"),
                ("cpuacct.usage_all", "cpu user system\n0 4000000 8000000\n1 0 1\n"),
                ("cpuacct.stat", "user 2\nsystem 7\n"),
            ],
        ),
        place(
            root,
            Version::V1,
            &["cpuset"],
            &[
                ("cpuset.cpus", "0-1\n"),
                ("cpuset.mems", "0\n"),
                ("cpuset.cpu_exclusive", "1\n"),
                ("cpuset.sched_load_balance", "1\n"),
                ("cpuset.sched_relax_domain_level", "-1\n"),
            ],
        ),
        place(
            root,
            Version::V1,
            &["memory"],
            &[
                ("memory.stat", "cache 12288\nrss 65536\n"),
                ("memory.limit_in_bytes", "33554432\n"),
                ("memory.usage_in_bytes", "368640\n"),
                ("memory.max_usage_in_bytes", "2150400\n"),
                ("memory.failcnt", "5\n"),
                ("memory.memsw.limit_in_bytes", "9223372036854771712\n"),
                ("memory.memsw.usage_in_bytes", "368641\n"),
                ("memory.memsw.max_usage_in_bytes", "0\n"),
                ("memory.memsw.failcnt", "0\n"),
                ("memory.kmem.tcp.limit_in_bytes", "7\n"),
            ],
        ),
        place(
            root,
            Version::V1,
            &["blkio"],
            &[
                ("blkio.bfq.io_service_bytes_recursive", "Total 0\n"),
                ("blkio.bfq.io_serviced_recursive", "Total 0\n"),
                ("blkio.throttle.io_service_bytes_recursive", "8:0 Read 4096\n8:0 Write 0\nTotal 4096\n"),
                ("blkio.throttle.io_serviced_recursive", "8:0 Read 1\nTotal 1\n"),
                ("blkio.throttle.io_service_bytes", "8:0 Read 1111\nTotal 1111\n"),
            ],
        ),
        place(root, Version::V1, &["pids"], &[("pids.current", "3\n"), ("pids.max", "20\n")]),
        place(
            root,
            Version::V1,
            &["hugetlb"],
            &[
                ("hugetlb.2MB.usage_in_bytes", "2097152\n"),
                ("hugetlb.2MB.max_usage_in_bytes", "4194304\n"),
                ("hugetlb.2MB.failcnt", "1\n"),
                ("hugetlb.2MB.rsvd.usage_in_bytes", "9\n"),
            ],
        ),
    ];
    let expected = concat!(
        r#"{"cpu":{"usage":{"total":7864239,"percpu":[7335713,528526],"percpu_kernel":[8000000,1],"#,
        r#""percpu_user":[4000000,0],"kernel":70000000,"user":20000000},"#,
        r#""throttling":{"periods":10,"throttledPeriods":3,"throttledTime":9000}},"#,
        r#""cpuset":{"cpus":[0,1],"cpu_exclusive":1,"mems":[0],"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"#,
        r#""memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":1,"#,
        r#""sched_relax_domain_level":-1},"#,
        r#""memory":{"cache":12288,"usage":{"limit":33554432,"usage":368640,"max":2150400,"failcnt":5},"#,
        r#""swap":{"limit":9223372036854771712,"usage":368641,"failcnt":0},"kernel":{"limit":0,"failcnt":0},"#,
        r#""kernelTCP":{"limit":7,"failcnt":0},"raw":{"cache":12288,"rss":65536}},"#,
        r#""pids":{"current":3,"limit":20},"#,
        r#""blkio":{"ioServiceBytesRecursive":[{"major":8,"op":"Read","value":4096},{"major":8,"op":"Write"}],"#,
        r#""ioServicedRecursive":[{"major":8,"op":"Read","value":1}]},"#,
        r#""hugetlb":{"2MB":{"usage":2097152,"max":4194304,"failcnt":1}},"intel_rdt":{},"network_interfaces":null}"#
    );
    assert_eq!(json(places), expected);
}

#[test]
fn version_2_has_the_same_form() {
    let root = tempfile::tempdir().unwrap();
    let pressure =
        "some avg10=2.28 avg60=21.00 avg300=0.50 total=160\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
    let files = [
        (
            "cpu.stat",
            "usage_usec 500\nuser_usec 300\nsystem_usec 200\nnr_periods 4\nnr_throttled 1\nthrottled_usec 70\nnr_bursts 0\n",
        ),
        ("cpu.pressure", pressure),
        ("cpuset.cpus", "\n"),
        ("cpuset.cpus.effective", "0,2-3\n"),
        ("cpuset.mems.effective", "0\n"),
        ("memory.stat", "anon 4096\nfile 8192\n"),
        ("memory.current", "20480\n"),
        ("memory.peak", "40960\n"),
        ("memory.max", "max\n"),
        ("memory.swap.current", "4096\n"),
        ("memory.swap.max", "1000\n"),
        ("pids.current", "2\n"),
        ("pids.max", "max\n"),
        ("io.stat", "8:16 rbytes=1024 wbytes=2048 rios=3 wios=4 dbytes=0 dios=0\n254:0\n"),
        ("hugetlb.1GB.current", "0\n"),
        ("hugetlb.1GB.events", "max 6\n"),
        ("hugetlb.1GB.rsvd.current", "0\n"),
    ];
    let unified = place(root.path(), Version::V2, &["cpu", "cpuset", "io", "memory", "pids", "hugetlb"], &files);
    let expected = concat!(
        r#"{"cpu":{"usage":{"total":500000,"kernel":200000,"user":300000},"#,
        r#""throttling":{"periods":4,"throttledPeriods":1,"throttledTime":70000},"#,
        r#""psi":{"some":{"avg10":2.28,"avg60":21,"avg300":0.5,"total":160},"full":{"avg10":0,"avg60":0,"avg300":0,"total":0}}},"#,
        r#""cpuset":{"cpus":[0,2,3],"cpu_exclusive":0,"mems":[0],"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"#,
        r#""memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"#,
        r#""sched_relax_domain_level":0},"#,
        r#""memory":{"cache":8192,"usage":{"limit":18446744073709551615,"usage":20480,"max":40960,"failcnt":0},"#,
        r#""swap":{"limit":18446744073709551615,"usage":24576,"failcnt":0},"kernel":{"limit":0,"failcnt":0},"#,
        r#""kernelTCP":{"limit":0,"failcnt":0},"raw":{"anon":4096,"file":8192}},"pids":{"current":2},"#,
        r#""blkio":{"ioServiceBytesRecursive":[{"major":8,"minor":16,"op":"Read","value":1024},"#,
        r#"{"major":8,"minor":16,"op":"Write","value":2048}],"#,
        r#""ioServicedRecursive":[{"major":8,"minor":16,"op":"Read","value":3},{"major":8,"minor":16,"op":"Write","value":4}]},"#,
        r#""hugetlb":{"1GB":{"failcnt":6}},"intel_rdt":{},"network_interfaces":null}"#
    );
    assert_eq!(json(vec![unified]), expected);
}

#[test]
fn on_a_hybrid_host_each_controller_is_read_where_it_is() {
    let root = tempfile::tempdir().unwrap();
    let files = [
        ("hugetlb.2MB.current", "2097152\n"),
        ("cpu.stat", "usage_usec 1\nuser_usec 1\nsystem_usec 0\n"),
        ("memory.pressure", "some avg10=1.00 avg60=0.00 avg300=0.00 total=9\n"),
    ];
    let unified = place(root.path(), Version::V2, &["hugetlb"], &files);
    let memory = place(root.path(), Version::V1, &["memory"], &[("memory.usage_in_bytes", "77\n")]);
    let cpuacct = place(root.path(), Version::V1, &["cpuacct"], &[("cpuacct.usage", "1234567\n")]);
    let group = Group { places: vec![memory, cpuacct, unified.clone()], unit: None };
    let stats = probe(&group).unwrap();
    assert_eq!(stats.cpu.usage.total, 1_234_567);
    assert_eq!(stats.memory.usage.usage, 77);
    assert_eq!(stats.memory.psi.unwrap().some.total, 9);
    assert_eq!(stats.hugetlb["2MB"].usage, 2_097_152);
    // The core of version 2 counts CPU time where no controller of version 1 does.
    let core = probe(&Group { places: vec![unified], unit: None }).unwrap();
    assert_eq!(core.cpu.usage.total, 1000);
}

#[test]
fn processes_are_counted_where_no_controller_does() {
    let root = tempfile::tempdir().unwrap();
    let unified = place(root.path(), Version::V2, &["cpu"], &[("cgroup.procs", "12\n13\n")]);
    assert_eq!(probe(&Group { places: vec![unified], unit: None }).unwrap().pids, Pids { current: 2, limit: 0 });
}

#[test]
fn a_file_that_cant_be_read_is_named() {
    let root = tempfile::tempdir().unwrap();
    let place = place(root.path(), Version::V2, &["memory"], &[]);
    std::fs::create_dir(place.dir().join("memory.stat")).unwrap();
    let error = probe(&Group { places: vec![place], unit: None }).unwrap_err().to_string();
    assert!(error.contains("memory/web/memory.stat: read: Is a directory"), "{error}");
}

#[test]
fn the_bytes_of_an_operation_are_summed_over_the_devices() {
    let table = lines::blkio("8:0 Read 4\n8:0 Write 9\n8:16 Read 6\nTotal 19\n");
    let blkio = Blkio { io_service_bytes_recursive: table, ..Blkio::default() };
    assert_eq!((blkio.bytes("Read"), blkio.bytes("Write"), blkio.bytes("Discard")), (10, 9, 0));
}
