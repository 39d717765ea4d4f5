//! Control groups inside the container: what it sees in /sys/fs/cgroup, with which flags, and what it may do there. The
//! tests ask the machine for its layout, so they hold on version 1, on hybrid hosts and on version 2 alone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use corten::host::cgroups::Layout;
use serde_json::{Value, json};

use crate::harness::{Bundle, BundleBuilder, Case, Sandbox, cases, mount_at, skip, tool, words};
use crate::namespaces::{rootless, run_as_ordinary_user};

pub const CASES: &[Case] = cases![
    every_mount_of_control_groups_has_the_config_s_flags,
    flags_of_the_config_are_kept_and_not_only_the_usual,
    without_a_cgroup_namespace_the_container_finds_its_own_cgroup,
    in_a_cgroup_namespace_the_container_is_at_the_root,
    read_only_is_read_only,
    a_cgroup_namespace_and_a_writable_mount_let_the_container_make_cgroups,
    the_mapped_root_gets_its_cgroup_of_version_2_and_none_of_its_limits,
    a_user_namespace_gets_control_groups_too,
    a_joined_cgroup_namespace_shows_its_own_root,
    an_ordinary_user_sees_control_groups_and_can_not_write_to_others,
    without_control_groups_the_caller_s_are_shown,
    links_at_the_destination_lead_nowhere_else,
    a_file_at_the_destination_is_told,
    an_unknown_option_is_refused_by_name,
    old_kernels_mount_them_the_same_way,
];

fn layout() -> Layout {
    let layout = Layout::probe();
    if layout == Layout::default() {
        skip("the machine has no control groups mounted");
    }
    layout
}

/// Where the container has each hierarchy, and /proc/self/cgroup's word for it.
fn places(layout: &Layout) -> Vec<(String, String)> {
    let at = |name: &str| format!("/sys/fs/cgroup/{name}");
    if layout.is_unified() {
        return vec![("/sys/fs/cgroup".to_owned(), String::new())];
    }
    let v1 = layout.v1.iter().map(|hierarchy| (at(&hierarchy.name()), hierarchy.controllers.join(",")));
    v1.chain(layout.unified.iter().map(|_| (at("unified"), String::new()))).collect()
}

fn with_cgroups<'a>(bundle: BundleBuilder<'a>, options: &[&str]) -> BundleBuilder<'a> {
    bundle.mount(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}))
}

fn bundle<'a>(sb: &'a Sandbox, options: &[&str]) -> BundleBuilder<'a> {
    with_cgroups(sb.bundle(), options)
}

const USUAL: [&str; 5] = ["nosuid", "noexec", "nodev", "relatime", "ro"];

/// The path of the process in a hierarchy, from the report's /proc/self/cgroup.
fn path_in(report: &Value, controllers: &str) -> String {
    let lines = words(&report["cgroups"]);
    let line = lines.iter().find(|line| line.split(':').nth(1) == Some(controllers));
    line.and_then(|line| line.splitn(3, ':').nth(2)).unwrap_or_else(|| panic!("{controllers}: {lines:?}")).to_owned()
}

/// The first place of a hierarchy where a container may make cgroups without further ado: not cpuset, which takes more
/// than a directory, and not version 2 beside others, which not every runtime enters.
fn one_place(layout: &Layout) -> String {
    let places = places(layout);
    places.iter().find(|(_, controllers)| controllers == "pids" || controllers.is_empty()).unwrap().0.clone()
}

fn every_mount_of_control_groups_has_the_config_s_flags(sb: &Sandbox) {
    let layout = layout();
    let before = host_mounts();
    for namespace in [false, true] {
        let mut bundle = bundle(sb, &USUAL);
        if namespace {
            bundle = bundle.namespace("cgroup", None);
        }
        let report = sb.probe(&bundle.build());
        let mut all: Vec<String> = places(&layout).into_iter().map(|(at, _)| at).collect();
        all.push("/sys/fs/cgroup".to_owned());
        for at in all {
            let options = words(&mount_at(&report, &at)["options"]);
            for flag in USUAL {
                assert!(options.iter().any(|option| option == flag), "{at} lacks {flag}: {options:?}");
            }
        }
        assert_eq!(host_mounts(), before, "the host's mounts and file systems are as they were");
    }
}

/// The host's mounts of control groups, with the flags of mounts and file systems.
fn host_mounts() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().filter(|line| line.contains(" - cgroup")).map(str::to_owned).collect()
}

fn flags_of_the_config_are_kept_and_not_only_the_usual(sb: &Sandbox) {
    let layout = layout();
    for namespace in [false, true] {
        let mut bundle = bundle(sb, &["noatime", "rprivate"]);
        if namespace {
            bundle = bundle.namespace("cgroup", None);
        }
        let report = sb.probe(&bundle.build());
        for (at, _) in places(&layout) {
            let mount = mount_at(&report, &at);
            let flags = words(&mount["options"]);
            assert!(flags.contains(&"noatime".to_owned()) && flags.contains(&"rw".to_owned()), "{at}: {flags:?}");
            assert!(words(&mount["propagation"]).is_empty(), "{at}: {mount}");
        }
    }
}

fn without_a_cgroup_namespace_the_container_finds_its_own_cgroup(sb: &Sandbox) {
    let layout = layout();
    let report = sb.probe(&bundle(sb, &USUAL).build());
    for (at, controllers) in places(&layout) {
        let own = path_in(&report, &controllers);
        let root = mount_at(&report, &at)["root"].as_str().unwrap().to_owned();
        if layout.is_unified() {
            // The whole tree: what /proc/self/cgroup says exists below.
            assert_eq!(root, "/", "{at}");
        } else {
            assert_eq!(root, own, "{at} shows the container's own");
        }
        let kind = if controllers.is_empty() { "cgroup2" } else { "cgroup" };
        assert_eq!(mount_at(&report, &at)["type"], kind, "{at}");
    }
    let procs = format!("{}/cgroup.procs", one_place(&layout));
    if !layout.is_unified() {
        let output = sb.run(&bundle(sb, &USUAL).tool(["cat", &procs]).build());
        assert!(output.ok().lines().contains(&"1"), "{output:?}");
    }
}

fn in_a_cgroup_namespace_the_container_is_at_the_root(sb: &Sandbox) {
    let layout = layout();
    let report = sb.probe(&bundle(sb, &USUAL).namespace("cgroup", None).build());
    for (at, controllers) in places(&layout) {
        assert_eq!(path_in(&report, &controllers), "/", "{controllers}");
        assert_eq!(mount_at(&report, &at)["root"], "/", "{at}");
    }
    let procs = format!("{}/cgroup.procs", one_place(&layout));
    let output = sb.run(&bundle(sb, &USUAL).namespace("cgroup", None).tool(["cat", &procs]).build());
    assert_eq!(output.ok().lines(), ["1"], "its own cgroup is the root of what it sees");
}

fn read_only_is_read_only(sb: &Sandbox) {
    let layout = layout();
    for namespace in [false, true] {
        for (at, _) in places(&layout) {
            let (new, procs) = (format!("{at}/new"), format!("{at}/cgroup.procs"));
            let tools =
                ["try", "mkdir", &new, ";", "try", "append", &procs, "1", ";", "try", "mkdir", "/sys/fs/cgroup/x"];
            let mut bundle = bundle(sb, &["ro"]).tool(tools);
            if namespace {
                bundle = bundle.namespace("cgroup", None);
            }
            assert_eq!(sb.run(&bundle.build()).ok().lines(), ["EROFS", "EROFS", "EROFS"], "{at}");
        }
    }
}

fn a_cgroup_namespace_and_a_writable_mount_let_the_container_make_cgroups(sb: &Sandbox) {
    let layout = layout();
    let at = one_place(&layout);
    let (new, procs) = (format!("{at}/web/sub"), format!("{at}/web/cgroup.procs"));
    let tools = ["mkdir", &new, ";", "append", &procs, "1", ";", "cat", "/proc/self/cgroup"];
    let bundle = bundle(sb, &["rw"]).namespace("cgroup", None).tool(tools).build();
    let output = sb.run(&bundle);
    assert!(output.ok().lines().iter().any(|line| line.ends_with(":/web")), "{output:?}");
    sb.assert_nothing_left();
}

/// The container's cgroup of version 2 as the host sees it: directory and file below it.
fn unified_cgroup(layout: &Layout, pid: i32) -> PathBuf {
    let Some(unified) = &layout.unified else { skip("the machine has no control groups of version 2") };
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    unified.mount.join(path)
}

fn the_mapped_root_gets_its_cgroup_of_version_2_and_none_of_its_limits(sb: &Sandbox) {
    sb.only_corten("gives the cgroup away whoever makes it");
    let layout = layout();
    let place = if layout.is_unified() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/unified" };
    let new = format!("{place}/sub");
    let tools = ["mkdir", &new, ";", "pause"];
    for (options, owner) in [(["rw"], 100_000), (["ro"], 0)] {
        let bundle = bundle(sb, &options).user_namespace().namespace("cgroup", None);
        let pause = if owner == 0 { bundle.tool(["pause"]) } else { bundle.tool(tools) };
        let container = sb.started(&pause.build());
        let dir = unified_cgroup(&layout, container.pid());
        let uid = |name: &str| fs::metadata(dir.join(name)).unwrap().uid();
        assert_eq!(
            (uid("."), uid("cgroup.procs"), uid("cgroup.subtree_control")),
            (owner, owner, owner),
            "{options:?}"
        );
        assert_eq!(uid("cgroup.max.depth"), 0, "a limit isn't the container's to change");
        container.stop();
        assert_eq!(container.verb("delete").code, 0);
    }
    sb.assert_nothing_left();
}

fn a_user_namespace_gets_control_groups_too(sb: &Sandbox) {
    let layout = layout();
    for namespace in [false, true] {
        let mut bundle = bundle(sb, &USUAL).user_namespace();
        if namespace {
            bundle = bundle.namespace("cgroup", None);
        }
        let report = sb.probe(&bundle.build());
        for (at, _) in places(&layout) {
            assert!(words(&mount_at(&report, &at)["options"]).contains(&"ro".to_owned()), "{at}");
        }
    }
}

fn a_joined_cgroup_namespace_shows_its_own_root(sb: &Sandbox) {
    sb.only_corten("mounts version 2 beside version 1");
    let layout = layout();
    let donor = sb.started(&sb.bundle().namespace("cgroup", None).tool(["pause"]).build());
    let joined = |kind| format!("/proc/{}/ns/{kind}", donor.pid());
    let procs = format!("{}/cgroup.procs", one_place(&layout));
    // In the donor's pid namespace too, or its process would have no number to be read.
    let bundle = bundle(sb, &USUAL).namespace("cgroup", Some(&joined("cgroup"))).namespace("pid", Some(&joined("pid")));
    let output = sb.run(&bundle.tool(["cat", &procs]).build());
    assert_eq!(output.ok().lines(), ["1"], "the donor, and not the container, whose cgroup lies outside: {output:?}");
}

/// Without a cgroup of its own, as the caller may not make one here, the container is in the caller's.
fn an_ordinary_user_sees_control_groups_and_can_not_write_to_others(sb: &Sandbox) {
    sb.only_corten("shows control groups to a container without privileges");
    let layout = layout();
    for (namespace, options) in [(false, ["nosuid", "ro"]), (true, ["nosuid", "ro"]), (false, ["nosuid", "rw"])] {
        let mut bundle = with_cgroups(rootless(sb), &options);
        if namespace {
            bundle = bundle.namespace("cgroup", None);
        }
        let output = run_as_ordinary_user(sb, &bundle.build());
        let report = output.ok().json();
        // The whole tree is nothing that the caller may lend for writing (CVE-2023-25809).
        let flag = if layout.is_unified() { "ro" } else { options[1] };
        for (at, _) in places(&layout) {
            let mount = mount_at(&report, &at);
            assert!(words(&mount["options"]).contains(&flag.to_owned()), "{at}: {mount}");
            assert!(mount["type"].as_str().unwrap().starts_with("cgroup"), "{at}: {mount}");
        }
        let warned = output.stderr.contains("is mounted read-only");
        assert_eq!(warned, layout.is_unified() && options[1] == "rw", "{output:?}");
    }
}

fn without_control_groups_the_caller_s_are_shown(sb: &Sandbox) {
    sb.only_corten("can do without");
    let layout = layout();
    for namespace in [false, true] {
        let mut bundle = bundle(sb, &USUAL);
        if namespace {
            bundle = bundle.namespace("cgroup", None);
        }
        let output = sb.run_with(&bundle.build(), |call| call.global(&["--cgroup-manager", "disabled"]));
        let report = output.ok().json();
        for (at, _) in places(&layout) {
            assert!(words(&mount_at(&report, &at)["options"]).contains(&"ro".to_owned()), "{at}");
        }
    }
}

fn run_tool(sb: &Sandbox, bundle: BundleBuilder<'_>, words: &[&str]) -> crate::harness::Output {
    let bundle: Bundle = bundle.set("/process/args", tool(words.iter().copied())).build();
    sb.run(&bundle)
}

/// The mounts of this test and of the machine, without those that other tests come and go with.
fn mounts_of_ours(sb: &Sandbox) -> Vec<String> {
    let (own, all) = (sb.dir().to_str().unwrap(), sb.dir().parent().unwrap().to_str().unwrap());
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| line.contains(own) || !line.contains(all)).map(str::to_owned).collect()
}

fn links_at_the_destination_lead_nowhere_else(sb: &Sandbox) {
    layout();
    let outside = sb.tree("outside", &[("file", "untouched")]);
    let before = fs::read_dir(&outside).unwrap().count();
    let mounts = mounts_of_ours(sb);
    let relative = format!("../../../../../../../../..{}", outside.display());
    for target in [outside.to_str().unwrap(), relative.as_str(), "/proc/1/root"] {
        for namespace in [false, true] {
            // Without a sysfs the place is the image's own, with a link in it at each of two depths.
            for link in ["/sys/fs/cgroup", "/sys/fs"] {
                let mut bundle = with_cgroups(sb.bundle().without_mount("/sys").symlink(link, target), &["ro"]);
                if namespace {
                    bundle = bundle.namespace("cgroup", None);
                }
                let output = run_tool(sb, bundle, &["true"]);
                assert!(output.code <= 1, "{output:?}");
                assert_eq!(fs::read_dir(&outside).unwrap().count(), before, "{link} to {target}");
                assert_eq!(mounts_of_ours(sb), mounts, "{link} to {target}");
                sb.assert_nothing_left();
            }
        }
    }
}

fn a_file_at_the_destination_is_told(sb: &Sandbox) {
    sb.only_corten("names the field");
    layout();
    let bundle = with_cgroups(sb.bundle().without_mount("/sys").file("/sys/fs/cgroup", ""), &["ro"]);
    run_tool(sb, bundle, &["true"]).fails_with(&["mounts[5]", "/sys/fs/cgroup"]);
    sb.assert_nothing_left();
}

fn an_unknown_option_is_refused_by_name(sb: &Sandbox) {
    sb.only_corten("names the field");
    let output = sb.run(&bundle(sb, &["ro", "nosiud"]).build());
    output.fails_with(&["mounts[6].options[1]", "nosiud", "hint: "]);
    sb.assert_nothing_left();
}

fn old_kernels_mount_them_the_same_way(sb: &Sandbox) {
    sb.only_corten("can pretend");
    let layout = layout();
    for (namespace, lacking) in
        [(false, "new_mount_api"), (true, "new_mount_api"), (false, "mount_setattr"), (true, "mount_setattr")]
    {
        let mut bundle = bundle(sb, &USUAL);
        if namespace {
            bundle = bundle.namespace("cgroup", None);
        }
        let bundle = bundle.build();
        let report = sb.run_with(&bundle, |call| call.global(&["--pretend-kernel-lacks", lacking])).ok().json();
        for (at, _) in places(&layout) {
            let options = words(&mount_at(&report, &at)["options"]);
            for flag in USUAL {
                assert!(options.iter().any(|option| option == flag), "{at} lacks {flag}: {options:?}");
            }
        }
    }
}
