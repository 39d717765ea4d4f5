//! Mounts: every type, every option's visible effect, the order, the targets that have to be made, what is refused.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use nix::mount::MsFlags;
use serde_json::{Value, json};

use crate::harness::{Case, Flavour, Sandbox, cases, mount_at, words};

pub const CASES: &[Case] = cases![anyone:
    every_flag_option_has_its_effect,
    a_later_option_takes_an_earlier_one_back,
    newer_flag_options_have_their_effect,
    flag_options_work_on_bind_mounts,
    an_option_that_is_no_flag_goes_to_the_file_system,
    a_wrong_file_system_option_is_an_error,
    a_directory_is_bound,
    a_file_is_bound,
    a_relative_source_is_below_the_bundle,
    a_relative_destination_is_below_the_root,
    missing_targets_are_made,
    a_bind_shows_what_is_mounted_below_only_if_recursive,
    ro_leaves_submounts_writable_and_rro_does_not,
    recursive_attributes_reach_submounts,
    propagation_options_set_the_mount_s_type,
    a_missing_source_is_named,
    an_unknown_option_of_a_bind_is_refused,
    the_root_itself_is_no_destination,
    mounts_are_made_in_their_order,
    a_mount_may_lie_inside_another,
    a_tmpfs_has_its_mode_and_size,
    a_tmpfs_without_a_mode_takes_the_directory_s,
    a_tmpfs_on_a_new_directory_is_for_everyone,
    tmpcopyup_keeps_what_was_there,
    devpts_is_an_instance_of_its_own,
    mqueue_and_sysfs_and_proc_are_what_they_say,
    proc_and_sys_need_real_directories,
    a_bind_below_proc_is_refused_unless_it_is_known,
    a_remount_changes_flags_only,
    a_remount_without_bind_changes_the_file_system_too,
    a_remount_of_nothing_is_explained,
    a_mode_among_joined_options_holds,
    options_of_a_tmpfs_on_a_bind_are_a_warning,
    sockets_fifos_and_devices_are_bound,
    missing_targets_are_made_under_a_read_only_root,
    a_shared_bind_reaches_the_host_only_if_the_root_is_shared,
    a_symlink_in_the_target_stays_inside,
    an_absolute_symlink_as_the_target_stays_inside,
    a_missing_target_behind_a_dangling_link_is_made_inside,
    ids_of_a_bind_are_mapped_to_the_user_namespace_s,
    ids_of_a_bind_are_mapped_by_the_mount_s_own_maps,
    a_recursive_id_map_reaches_submounts,
    an_id_map_of_one_kind_only_is_refused,
    a_symlink_can_be_copied,
    a_source_link_can_be_bound_itself,
    a_target_link_can_be_covered_itself,
    a_mount_with_locked_flags_keeps_them_in_a_user_namespace,
    an_unknown_file_system_is_an_error,
    the_same_source_may_be_bound_twice,
    a_hundred_mounts_are_no_problem,
];

fn options_at(report: &Value, destination: &str) -> Vec<String> {
    words(&mount_at(report, destination)["options"])
}

fn tmpfs(destination: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options})
}

/// What an option shows in mountinfo: the flag of the mount, or (`Super`) of the file system.
enum Shows {
    Flag(&'static str),
    NoFlag(&'static str),
    Super(&'static str),
}
use Shows::{Flag, NoFlag, Super};

const OPTIONS: &[(&str, Shows)] = &[
    ("ro", Flag("ro")),
    ("rw", Flag("rw")),
    ("nosuid", Flag("nosuid")),
    ("suid", NoFlag("nosuid")),
    ("nodev", Flag("nodev")),
    ("dev", NoFlag("nodev")),
    ("noexec", Flag("noexec")),
    ("exec", NoFlag("noexec")),
    ("noatime", Flag("noatime")),
    ("atime", NoFlag("noatime")),
    ("nodiratime", Flag("nodiratime")),
    ("diratime", NoFlag("nodiratime")),
    ("relatime", Flag("relatime")),
    ("strictatime", NoFlag("relatime")),
    ("nostrictatime", Flag("rw")),
    ("norelatime", Flag("rw")),
    ("sync", Super("sync")),
    ("async", Flag("rw")),
    ("dirsync", Super("dirsync")),
    ("mand", Flag("rw")),
    ("nomand", Flag("rw")),
];

fn check(report: &Value, destination: &str, option: &str, shows: &Shows) {
    let mount = mount_at(report, destination);
    let (flags, of_super) = (words(&mount["options"]), words(&mount["super"]));
    let (found, all) = match shows {
        Flag(flag) => (flags.iter().any(|f| f == flag), &flags),
        NoFlag(flag) => (!flags.iter().any(|f| f == flag), &flags),
        Super(flag) => (of_super.iter().any(|f| f == flag), &of_super),
    };
    assert!(found, "{option} on {destination} has no effect: {all:?}");
}

fn every_flag_option_has_its_effect(sb: &Sandbox) {
    let bundle = OPTIONS.iter().fold(sb.bundle(), |b, (option, _)| b.mount(tmpfs(&format!("/m/{option}"), &[option])));
    let report = sb.probe(&bundle.build());
    for (option, shows) in OPTIONS {
        check(&report, &format!("/m/{option}"), option, shows);
    }
}

fn a_later_option_takes_an_earlier_one_back(sb: &Sandbox) {
    const PAIRS: &[(&[&str], Shows)] = &[
        (&["ro", "rw"], Flag("rw")),
        (&["rw", "ro"], Flag("ro")),
        (&["noexec", "exec"], NoFlag("noexec")),
        (&["exec", "noexec"], Flag("noexec")),
        (&["nosuid", "suid"], NoFlag("nosuid")),
        (&["nodev", "dev"], NoFlag("nodev")),
        (&["noatime", "atime"], NoFlag("noatime")),
        (&["sync", "async"], Flag("rw")),
    ];
    let pairs = PAIRS.iter().enumerate();
    let bundle = pairs.clone().fold(sb.bundle(), |b, (n, (options, _))| b.mount(tmpfs(&format!("/m/{n}"), options)));
    let report = sb.probe(&bundle.build());
    for (n, (options, shows)) in pairs {
        check(&report, &format!("/m/{n}"), &options.join(","), shows);
    }
}

fn newer_flag_options_have_their_effect(sb: &Sandbox) {
    sb.only_corten("knows these");
    const NEWER: &[(&str, Shows)] = &[
        ("nosymfollow", Flag("nosymfollow")),
        ("symfollow", NoFlag("nosymfollow")),
        ("lazytime", Super("lazytime")),
        ("nolazytime", Flag("rw")),
        ("iversion", Flag("rw")),
        ("noiversion", Flag("rw")),
        ("silent", Flag("rw")),
        ("loud", Flag("rw")),
        ("defaults", Flag("rw")),
    ];
    let bundle = NEWER.iter().fold(sb.bundle(), |b, (option, _)| b.mount(tmpfs(&format!("/m/{option}"), &[option])));
    let report = sb.probe(&bundle.build());
    for (option, shows) in NEWER {
        check(&report, &format!("/m/{option}"), option, shows);
    }
}

fn flag_options_work_on_bind_mounts(sb: &Sandbox) {
    let source = sb.tmpfs("source");
    let flags = ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime"];
    let bundle = flags.iter().fold(sb.bundle(), |b, flag| b.bind(&source, &format!("/m/{flag}"), &[flag]));
    let report = sb.probe(&bundle.bind(&source, "/m/all", &flags).build());
    for flag in flags {
        assert!(options_at(&report, &format!("/m/{flag}")).contains(&flag.to_owned()), "{flag}");
        assert!(options_at(&report, "/m/all").contains(&flag.to_owned()), "{flag} of all");
    }
    // The source is untouched: flags belong to the mount.
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table.lines().find(|line| line.contains(source.to_str().unwrap())).unwrap();
    assert!(line.contains(" rw,relatime"), "{line}");
}

fn an_option_that_is_no_flag_goes_to_the_file_system(sb: &Sandbox) {
    let report = sb.probe(&sb.bundle().mount(tmpfs("/m", &["size=1m", "nr_inodes=77", "nodev"])).build());
    let of_super = words(&mount_at(&report, "/m")["super"]);
    assert!(
        of_super.contains(&"size=1024k".to_owned()) && of_super.contains(&"nr_inodes=77".to_owned()),
        "{of_super:?}"
    );
}

fn a_wrong_file_system_option_is_an_error(sb: &Sandbox) {
    let output = sb.run(&sb.bundle().mount(tmpfs("/m", &["no-such-option=1"])).build());
    output.fails();
    sb.assert_nothing_left();
    if sb.flavour() == Flavour::Corten {
        output.fails_with(&["mounts[6]", "no-such-option"]);
    }
}

fn a_directory_is_bound(sb: &Sandbox) {
    let source = sb.tree("source", &[("file", "from the host")]);
    let bundle =
        sb.bundle().bind(&source, "/data", &[]).tool(["cat", "/data/file", ";", "write", "/data/new", "from inside"]);
    assert_eq!(sb.run(&bundle.build()).ok().stdout, "from the host");
    assert_eq!(fs::read_to_string(source.join("new")).unwrap(), "from inside");
}

fn a_file_is_bound(sb: &Sandbox) {
    let source = sb.tree("source", &[("file", "from the host")]).join("file");
    let bundle = sb.bundle().bind(&source, "/etc/hosts", &["ro"]);
    let bundle = bundle.tool(["cat", "/etc/hosts", ";", "try", "write", "/etc/hosts", "x"]).build();
    assert_eq!(sb.run(&bundle).ok().stdout, "from the hostEROFS\n");
    assert_eq!(fs::metadata(bundle.in_rootfs("/etc/hosts")).unwrap().len(), 0, "the target is an empty file");
}

fn a_relative_source_is_below_the_bundle(sb: &Sandbox) {
    let bundle = sb.bundle().bind("data".as_ref(), "/data", &[]).tool(["cat", "/data/file"]).build();
    fs::create_dir(bundle.dir.join("data")).unwrap();
    fs::write(bundle.dir.join("data/file"), "near").unwrap();
    assert_eq!(sb.run(&bundle).ok().stdout, "near");
}

fn a_relative_destination_is_below_the_root(sb: &Sandbox) {
    let bundle = sb.bundle().mount(tmpfs("m/n", &["ro"])).build();
    assert!(options_at(&sb.probe(&bundle), "/m/n").contains(&"ro".to_owned()));
}

fn missing_targets_are_made(sb: &Sandbox) {
    sb.needs_root();
    let source = sb.tree("source", &[("file", "x"), ("dir/", "")]);
    let bundle = sb.bundle().bind(&source.join("file"), "/a/b/file", &[]).bind(&source.join("dir"), "/a/c/dir", &[]);
    let bundle = bundle.mount(tmpfs("/d/e", &[])).tool(["stat", "/a/b/file", "/a/c/dir"]).build();
    let output = sb.run(&bundle);
    let kinds: Vec<_> = output.ok().lines().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["file", "dir"]);
    let made = fs::metadata(bundle.in_rootfs("/d/e")).unwrap();
    assert_eq!((made.uid(), made.permissions().mode() & 0o777), (0, 0o755));
}

/// A tmpfs with another one mounted on its directory `sub`.
fn nested(sb: &Sandbox) -> std::path::PathBuf {
    let top = sb.tmpfs("nested");
    fs::create_dir(top.join("sub")).unwrap();
    sb.mount("tmpfs", &top.join("sub"), Some("tmpfs"), MsFlags::empty(), "");
    fs::write(top.join("sub/file"), "below").unwrap();
    top
}

fn a_bind_shows_what_is_mounted_below_only_if_recursive(sb: &Sandbox) {
    let top = nested(sb);
    let rbind = json!({"destination": "/r", "type": "none", "source": top, "options": ["rbind"]});
    let bundle = sb.bundle().bind(&top, "/b", &[]).mount(rbind);
    let bundle = bundle.tool(["ls", "/b/sub", ";", "echo", "--", ";", "ls", "/r/sub"]).build();
    assert_eq!(sb.run(&bundle).ok().lines(), ["--", "file"]);
}

/// Golden values 2 and 3.
fn ro_leaves_submounts_writable_and_rro_does_not(sb: &Sandbox) {
    let top = nested(sb);
    let bind = |to: &str, option: &str| json!({"destination": to, "type": "bind", "source": top, "options": ["rbind", option]});
    let bundle = sb.bundle().mount(bind("/ro", "ro")).mount(bind("/rro", "rro"));
    let report = sb.probe(&bundle.build());
    let first = |at: &str| options_at(&report, at)[0].clone();
    assert_eq!((first("/ro"), first("/ro/sub")), ("ro".to_owned(), "rw".to_owned()));
    assert_eq!((first("/rro"), first("/rro/sub")), ("ro".to_owned(), "ro".to_owned()));
}

fn recursive_attributes_reach_submounts(sb: &Sandbox) {
    let top = nested(sb);
    let mut options = vec![
        ("rnosuid", "nosuid"),
        ("rnodev", "nodev"),
        ("rnoexec", "noexec"),
        ("rnoatime", "noatime"),
        ("rnodiratime", "nodiratime"),
    ];
    if sb.flavour() == Flavour::Corten {
        options.push(("rnosymfollow", "nosymfollow"));
    }
    let bind = |option: &str| json!({"destination": format!("/m/{option}"), "type": "bind", "source": top, "options": ["rbind", option]});
    let bundle = options.iter().fold(sb.bundle(), |b, (option, _)| b.mount(bind(option)));
    // And back: the source has the flag, the recursive option clears it.
    let clears =
        [("rrw", "ro"), ("rsuid", "nosuid"), ("rdev", "nodev"), ("rexec", "noexec"), ("rstrictatime", "relatime")];
    let bundle = clears.iter().fold(bundle, |b, (option, _)| b.mount(bind(option)));
    let report = sb.probe(&bundle.build());
    for (option, flag) in options {
        for at in [format!("/m/{option}"), format!("/m/{option}/sub")] {
            assert!(options_at(&report, &at).contains(&flag.to_owned()), "{flag} on {at}");
        }
    }
    for (option, flag) in clears {
        for at in [format!("/m/{option}"), format!("/m/{option}/sub")] {
            assert!(!options_at(&report, &at).contains(&flag.to_owned()), "{flag} on {at}");
        }
    }
}

fn propagation_options_set_the_mount_s_type(sb: &Sandbox) {
    let top = nested(sb);
    for path in [top.clone(), top.join("sub")] {
        nix::mount::mount(None::<&str>, &path, None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
    }
    let kinds = ["shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable"];
    let bind = |kind: &str| json!({"destination": format!("/m/{kind}"), "type": "bind", "source": top, "options": ["rbind", kind]});
    let report = sb.probe(&kinds.iter().fold(sb.bundle(), |b, kind| b.mount(bind(kind))).build());
    let tags = |at: String| mount_at(&report, &at)["propagation"].to_string();
    for kind in kinds {
        let (top, sub) = (tags(format!("/m/{kind}")), tags(format!("/m/{kind}/sub")));
        let expect = |tags: &str| match kind.trim_start_matches('r') {
            "shared" => tags.contains("shared:"),
            "slave" => tags.contains("master:") && !tags.contains("shared:"),
            "unbindable" => tags.contains("unbindable"),
            _ => tags == "[]",
        };
        assert!(expect(&top), "{kind}: {top}");
        assert!(!kind.starts_with('r') || expect(&sub), "{kind} below: {sub}");
    }
}

fn a_missing_source_is_named(sb: &Sandbox) {
    let output = sb.run(&sb.bundle().bind("/nonexistent/src".as_ref(), "/data", &[]).build());
    assert!(output.fails().to_lowercase().contains("no such file or directory"), "{output:?}");
    output.fails_with(&["/nonexistent/src"]);
    sb.assert_nothing_left();
    if sb.flavour() == Flavour::Corten {
        output.fails_with(&["mounts[6].source", "config.json line ", "hint:"]);
    }
}

/// Golden value 19.
fn an_unknown_option_of_a_bind_is_refused(sb: &Sandbox) {
    sb.only_corten("refuses it");
    let source = sb.tree("source", &[]);
    sb.run(&sb.bundle().bind(&source, "/data", &["sizw=1m"]).build()).fails_with(&["mounts[6].options", "sizw=1m"]);
    sb.assert_nothing_left();
}

fn the_root_itself_is_no_destination(sb: &Sandbox) {
    let source = sb.tree("source", &[]);
    for destination in ["/", "/etc/..", "//"] {
        sb.run(&sb.bundle().bind(&source, destination, &[]).build()).fails();
        sb.assert_nothing_left();
    }
}

fn mounts_are_made_in_their_order(sb: &Sandbox) {
    let (a, b) = (sb.tree("a", &[("name", "first")]), sb.tree("b", &[("name", "second")]));
    let bundle = sb.bundle().bind(&a, "/data", &[]).bind(&b, "/data", &[]).tool(["cat", "/data/name"]).build();
    assert_eq!(sb.run(&bundle).ok().stdout, "second");
}

fn a_mount_may_lie_inside_another(sb: &Sandbox) {
    let source = sb.tree("source", &[("file", "inside")]);
    let bundle = sb.bundle().mount(tmpfs("/outer", &["mode=755"])).bind(&source, "/outer/inner", &["ro"]);
    let bundle = bundle.tool(["cat", "/outer/inner/file", ";", "try", "write", "/outer/file", "x"]).build();
    assert_eq!(sb.run(&bundle).ok().stdout, "insideok\n");
    assert!(!bundle.in_rootfs("/outer/inner").exists(), "the inner target was made in the tmpfs");
}

fn a_tmpfs_has_its_mode_and_size(sb: &Sandbox) {
    let bundle =
        sb.bundle().mount(tmpfs("/m", &["mode=1710", "size=64k", "uid=5", "gid=6"])).tool(["stat", "/m", ";", "json"]);
    let output = sb.run(&bundle.build());
    assert!(output.ok().stdout.starts_with("dir 1710 5 6 "), "{}", output.stdout);
    assert!(words(&mount_at(&output.json_last(), "/m")["super"]).contains(&"size=64k".to_owned()));
}

/// Podman's `--tmpfs` on a path that the image doesn't have, for a user that isn't root.
fn a_tmpfs_on_a_new_directory_is_for_everyone(sb: &Sandbox) {
    let bundle =
        sb.bundle().mount(tmpfs("/new", &["nosuid", "tmpcopyup"])).set("/process/user", json!({"uid": 7, "gid": 7}));
    sb.run(&bundle.tool(["write", "/new/file", "text"]).build()).ok();
}

fn a_tmpfs_without_a_mode_takes_the_directory_s(sb: &Sandbox) {
    let bundle = sb.bundle().dir("/m").mount(tmpfs("/m", &[])).tool(["stat", "/m"]).build();
    fs::set_permissions(bundle.in_rootfs("/m"), fs::Permissions::from_mode(0o710)).unwrap();
    assert!(sb.run(&bundle).ok().stdout.starts_with("dir 0710 "));
}

fn tmpcopyup_keeps_what_was_there(sb: &Sandbox) {
    let bundle = sb.bundle().file("/m/deep/file", "kept").symlink("/m/link", "deep/file");
    let bundle = bundle.mount(tmpfs("/m", &["tmpcopyup", "mode=755"]));
    let tools =
        ["cat", "/m/deep/file", ";", "cat", "/m/link", ";", "write", "/m/deep/file", "changed", ";", "statfs", "/m"];
    let bundle = bundle.tool(tools).build();
    assert_eq!(sb.run(&bundle).ok().stdout, "keptkept0x1021994 rw\n");
    assert_eq!(fs::read_to_string(bundle.in_rootfs("/m/deep/file")).unwrap(), "kept");
}

fn devpts_is_an_instance_of_its_own(sb: &Sandbox) {
    sb.needs_root();
    let report = sb.probe(&sb.bundle().build());
    let mount = mount_at(&report, "/dev/pts");
    assert_eq!(mount["type"], "devpts");
    let of_super = words(&mount["super"]);
    for option in ["gid=5", "mode=620", "ptmxmode=666"] {
        assert!(of_super.contains(&option.to_owned()), "{option}: {of_super:?}");
    }
    assert_eq!(sb.run(&sb.bundle().tool(["ls", "/dev/pts"]).build()).ok().stdout, "ptmx\n");
}

fn mqueue_and_sysfs_and_proc_are_what_they_say(sb: &Sandbox) {
    let report = sb.probe(&sb.bundle().build());
    for (destination, kind) in [("/dev/mqueue", "mqueue"), ("/sys", "sysfs"), ("/proc", "proc"), ("/dev/shm", "tmpfs")]
    {
        assert_eq!(mount_at(&report, destination)["type"], kind);
    }
    assert_eq!(options_at(&report, "/sys")[..4], ["ro", "nosuid", "nodev", "noexec"]);
}

fn proc_and_sys_need_real_directories(sb: &Sandbox) {
    for (link, target) in [("/proc", "/tmp"), ("/proc", "../../elsewhere"), ("/sys", "tmp")] {
        let bundle = sb.bundle().symlink(link, target).build();
        let output = sb.run(&bundle);
        output.fails();
        sb.assert_nothing_left();
        assert_eq!(fs::read_dir(bundle.in_rootfs("/tmp")).unwrap().count(), 0);
        if sb.flavour() == Flavour::Corten {
            output.fails_with(&["mounts["]);
        }
    }
}

fn a_bind_below_proc_is_refused_unless_it_is_known(sb: &Sandbox) {
    let file = sb.tree("source", &[("file", "faked\n")]).join("file");
    let bundle = sb.bundle().bind(&file, "/proc/meminfo", &[]).tool(["cat", "/proc/meminfo"]).build();
    assert_eq!(sb.run(&bundle).ok().stdout, "faked\n");
    for destination in ["/proc/sys/kernel/msgmax", "/proc/self/attr/exec", "/proc/keys"] {
        sb.run(&sb.bundle().bind(&file, destination, &[]).build()).fails();
        sb.assert_nothing_left();
    }
}

fn a_remount_changes_flags_only(sb: &Sandbox) {
    let remount =
        json!({"destination": "/m", "type": "bind", "source": "/", "options": ["bind", "remount", "ro", "nosuid"]});
    let bundle = sb.bundle().mount(tmpfs("/m", &["size=64k"])).mount(remount).build();
    let report = sb.probe(&bundle);
    let mount = mount_at(&report, "/m");
    assert!(
        words(&mount["options"]).contains(&"ro".to_owned()) && words(&mount["options"]).contains(&"nosuid".to_owned())
    );
    assert!(words(&mount["super"]).contains(&"size=64k".to_owned()));
    let at = |m: &&Value| m["destination"] == "/m";
    assert_eq!(report["mounts"].as_array().unwrap().iter().filter(at).count(), 1);
}

/// Runs with the kernel's mount calls and without them.
const KERNELS: &[&[&str]] = &[&[], &["--pretend-kernel-lacks", "new_mount_api,mount_setattr"]];

fn a_remount_without_bind_changes_the_file_system_too(sb: &Sandbox) {
    sb.only_corten("keeps the mount's other flags");
    for gaps in KERNELS {
        let bundle = sb.bundle().mount(tmpfs("/m", &["size=64k", "nosuid", "noatime"]));
        let bundle = bundle.mount(tmpfs("/m", &["remount", "size=128k", "ro"])).build();
        let report = sb.run_with(&bundle, |call| call.global(gaps)).ok().json();
        let of_super = words(&mount_at(&report, "/m")["super"]);
        assert!(of_super.contains(&"size=128k".to_owned()) && of_super.contains(&"rw".to_owned()), "{of_super:?}");
        assert_eq!(options_at(&report, "/m"), ["ro", "nosuid", "noatime"], "{gaps:?}");
    }
    let source = sb.tree("source", &[]);
    let bundle = sb.bundle().bind(&source, "/m", &[]).bind(&source, "/m", &["remount", "sizw=1"]);
    sb.run(&bundle.build()).fails_with(&["mounts[7].options", "sizw=1"]);
    sb.assert_nothing_left();
}

fn a_remount_of_nothing_is_explained(sb: &Sandbox) {
    let output = sb.run(&sb.bundle().mount(tmpfs("/nothing", &["remount", "bind", "ro"])).build());
    output.fails();
    sb.assert_nothing_left();
    if sb.flavour() == Flavour::Corten {
        output.fails_with(&["mounts[6]", "an earlier mount"]);
    }
}

fn a_mode_among_joined_options_holds(sb: &Sandbox) {
    let bundle = sb.bundle().dir("/m").mount(tmpfs("/m", &["size=1m,mode=711"])).tool(["stat", "/m"]).build();
    assert!(sb.run(&bundle).ok().stdout.starts_with("dir 0711 "));
}

fn options_of_a_tmpfs_on_a_bind_are_a_warning(sb: &Sandbox) {
    sb.only_corten("warns of them");
    let source = sb.tree("source", &[("file", "here")]);
    let bundle = sb.bundle().bind(&source, "/data", &["mode=755", "size=1k"]).tool(["cat", "/data/file"]).build();
    let output = sb.run(&bundle);
    assert_eq!(output.ok().stdout, "here");
    for word in ["mounts[6].options[1]", "mode=755", "mounts[6].options[2]", "size=1k", "no effect"] {
        assert!(output.stderr.contains(word), "{word}: {}", output.stderr);
    }
}

fn sockets_fifos_and_devices_are_bound(sb: &Sandbox) {
    let source = sb.tree("s", &[]);
    nix::unistd::mkfifo(&source.join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    // A socket's name has room for 108 bytes only.
    let socket = sb.dir().parent().unwrap().join(format!("bound-{}", std::process::id()));
    drop(std::os::unix::net::UnixDatagram::bind(&socket).unwrap());
    for (gaps, user) in KERNELS.iter().flat_map(|gaps| [(gaps, false), (gaps, true)]) {
        if sb.flavour() != Flavour::Corten && !gaps.is_empty() {
            continue;
        }
        let bundle = if user { sb.bundle().user_namespace() } else { sb.bundle() };
        let bundle = bundle.bind(&source.join("fifo"), "/m/fifo", &["ro"]).bind(&socket, "/m/socket", &[]);
        let bundle = bundle.bind("/dev/null".as_ref(), "/m/null", &[]);
        let output = sb.run_with(&bundle.tool(["stat", "/m/fifo", "/m/socket", "/m/null"]).build(), |c| c.global(gaps));
        let lines = output.ok().lines();
        let kinds: Vec<_> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(kinds, ["fifo", "socket", "char"], "{gaps:?} {user}");
    }
    fs::remove_file(socket).unwrap();
}

fn missing_targets_are_made_under_a_read_only_root(sb: &Sandbox) {
    let source = sb.tree("source", &[("file", "x")]);
    for user in [false, true] {
        let bundle = if user { sb.bundle().user_namespace() } else { sb.bundle() };
        let bundle = bundle.set("/root/readonly", true).bind(&source, "/a/b", &[]).mount(tmpfs("/c/d", &[]));
        let words = ["cat", "/a/b/file", ";", "try", "write", "/new", "x", ";", "try", "write", "/c/d/new", "x"];
        assert_eq!(sb.run(&bundle.tool(words).build()).ok().stdout, "xEROFS\nok\n");
    }
}

/// What the container mounts below a shared bind is seen outside for `rootfsPropagation` shared, and only then.
fn a_shared_bind_reaches_the_host_only_if_the_root_is_shared(sb: &Sandbox) {
    sb.only_corten("makes the whole tree a slave or private first");
    let shared = sb.tmpfs("shared");
    nix::mount::mount(None::<&str>, &shared, None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
    fs::create_dir(shared.join("sub")).unwrap();
    let seen = |propagation: &str, option: &str, flags: &[&str]| {
        let bundle = sb.bundle().bind(&shared, "/mnt", &[option]).set("/linux/rootfsPropagation", propagation);
        let bundle = bundle.capabilities(&["CAP_SYS_ADMIN"]).tool(["mount", "tmpfs", "/mnt/sub", "tmpfs"]).build();
        sb.run_with(&bundle, |call| call.args(flags)).ok();
        nix::mount::umount2(&shared.join("sub"), nix::mount::MntFlags::MNT_DETACH).is_ok()
    };
    for flags in [&[][..], &["--no-pivot"]] {
        assert!(seen("shared", "shared", flags) && seen("rshared", "rshared", flags), "{flags:?}");
        assert!(!seen("", "rshared", flags) && !seen("slave", "shared", flags), "{flags:?}");
        assert!(!seen("shared", "slave", flags) && !seen("rshared", "private", flags), "{flags:?}");
    }
    assert!(!seen("private", "rshared", &[]));
}

fn a_symlink_in_the_target_stays_inside(sb: &Sandbox) {
    let victim = sb.tree("victim", &[]);
    let source = sb.tree("source", &[("file", "here")]);
    let bundle = sb.bundle().symlink("/link", &victim).bind(&source, "/link/data", &[]);
    let inside = victim.join("data/file");
    let bundle = bundle.tool(["cat", inside.to_str().unwrap()]).build();
    assert_eq!(sb.run(&bundle).ok().stdout, "here");
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0, "the host's directory was touched");
}

fn an_absolute_symlink_as_the_target_stays_inside(sb: &Sandbox) {
    let victim = sb.tree("victim", &[("file", "host")]);
    let source = sb.tree("source", &[("file", "here")]);
    let bundle = sb.bundle().symlink("/data", &victim).bind(&source, "/data", &[]).tool(["cat", "/data/file"]).build();
    assert_eq!(sb.run(&bundle).ok().stdout, "here");
    assert_eq!(fs::read_to_string(victim.join("file")).unwrap(), "host");
}

fn a_missing_target_behind_a_dangling_link_is_made_inside(sb: &Sandbox) {
    let source = sb.tree("source", &[("file", "here")]);
    let outside = sb.path("outside");
    let bundle = sb.bundle().symlink("/data", &outside).bind(&source, "/data", &[]).tool(["cat", "/data/file"]).build();
    let output = sb.run(&bundle);
    // Following it inside the root and refusing it are both safe; making it outside is not.
    assert!(output.code == 1 || output.stdout == "here", "{output:?}");
    assert!(!outside.exists());
}

/// Golden value 5.
fn ids_of_a_bind_are_mapped_to_the_user_namespace_s(sb: &Sandbox) {
    sb.only_corten("has idmapped mounts");
    let source = sb.tree("source", &[("file", "")]);
    let bundle = sb.bundle().user_namespace().bind(&source, "/plain", &[]).bind(&source, "/mapped", &["idmap"]);
    let output = sb.run(&bundle.tool(["stat", "/plain/file", "/mapped/file", ";", "write", "/mapped/new", ""]).build());
    let lines = output.ok().lines();
    assert!(lines[0].starts_with("file 0644 65534 65534 "), "{lines:?}");
    assert!(lines[1].starts_with("file 0644 0 0 "), "{lines:?}");
    assert_eq!(fs::metadata(source.join("new")).unwrap().uid(), 0);
}

fn ids_of_a_bind_are_mapped_by_the_mount_s_own_maps(sb: &Sandbox) {
    sb.needs_root();
    sb.only_corten("has idmapped mounts");
    let source = sb.tree("source", &[("file", "")]);
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 10}]);
    let mount = json!({"destination": "/mapped", "type": "bind", "source": source, "options": ["bind"],
        "uidMappings": map, "gidMappings": map});
    let output = sb.run(&sb.bundle().mount(mount).tool(["stat", "/mapped/file"]).build());
    assert!(output.ok().stdout.starts_with("file 0644 5000 5000 "), "{}", output.stdout);
}

fn a_recursive_id_map_reaches_submounts(sb: &Sandbox) {
    sb.only_corten("has idmapped mounts");
    // Both of the sandbox's own file system: a tmpfs takes no id map before Linux 6.3.
    let (top, other) = (sb.tree("top", &[("sub/", "")]), sb.tree("other", &[("file", "")]));
    sb.mount(other.to_str().unwrap(), &top.join("sub"), None, MsFlags::MS_BIND, "");
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 10}]);
    let mount = |to: &str, option: &str| json!({"destination": to, "type": "bind", "source": top, "options": ["rbind", option], "uidMappings": map, "gidMappings": map});
    let bundle = sb.bundle().mount(mount("/one", "idmap")).mount(mount("/all", "ridmap"));
    let output = sb.run(&bundle.tool(["stat", "/one/sub/file", "/all/sub/file"]).build());
    let lines = output.ok().lines();
    assert!(lines[0].starts_with("file 0644 0 0 ") && lines[1].starts_with("file 0644 5000 5000 "), "{lines:?}");
}

fn an_id_map_of_one_kind_only_is_refused(sb: &Sandbox) {
    sb.only_corten("has idmapped mounts");
    let source = sb.tree("source", &[]);
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 10}]);
    let mount = json!({"destination": "/m", "type": "bind", "source": source, "options": ["bind"], "uidMappings": map});
    sb.run(&sb.bundle().mount(mount).build()).fails_with(&["mounts[6]", "gidMappings"]);
    sb.assert_nothing_left();
}

fn a_symlink_can_be_copied(sb: &Sandbox) {
    sb.only_corten("has copy-symlink");
    let source = sb.tree("source", &[]);
    symlink("/run/target", source.join("link")).unwrap();
    let bundle = sb.bundle().bind(&source.join("link"), "/copy", &["copy-symlink"]).tool(["readlink", "/copy"]).build();
    assert_eq!(sb.run(&bundle).ok().stdout, "/run/target\n");
}

fn a_source_link_can_be_bound_itself(sb: &Sandbox) {
    sb.only_corten("has src-nofollow");
    let source = sb.tree("source", &[("file", "followed")]);
    symlink("file", source.join("link")).unwrap();
    let bundle = sb.bundle().file("/target", "").symlink("/target-link", "gone");
    let bundle = bundle.bind(&source.join("link"), "/target-link", &["src-nofollow", "dest-nofollow"]);
    assert_eq!(sb.run(&bundle.tool(["readlink", "/target-link"]).build()).ok().stdout, "file\n");
}

fn a_target_link_can_be_covered_itself(sb: &Sandbox) {
    sb.only_corten("has dest-nofollow");
    let source = sb.tree("source", &[("link-text", "")]);
    symlink("new", source.join("link")).unwrap();
    let bundle = sb.bundle().file("/old", "untouched").symlink("/link", "old");
    let bundle = bundle.bind(&source.join("link"), "/link", &["src-nofollow", "dest-nofollow"]);
    assert_eq!(sb.run(&bundle.tool(["readlink", "/link", ";", "cat", "/old"]).build()).ok().stdout, "new\nuntouched");
}

/// In a user namespace the flags of the host's mount are locked: `ro` must not try to drop them.
fn a_mount_with_locked_flags_keeps_them_in_a_user_namespace(sb: &Sandbox) {
    sb.only_corten("keeps a locked noatime");
    let source = sb.path("locked");
    fs::create_dir(&source).unwrap();
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
    sb.mount("tmpfs", &source, Some("tmpfs"), flags, "");
    let report = sb.probe(&sb.bundle().user_namespace().bind(&source, "/m", &["ro"]).build());
    let options = options_at(&report, "/m");
    for flag in ["ro", "nosuid", "nodev", "noexec", "noatime"] {
        assert!(options.contains(&flag.to_owned()), "{flag}: {options:?}");
    }
}

fn an_unknown_file_system_is_an_error(sb: &Sandbox) {
    let mount = json!({"destination": "/m", "type": "nosuchfs", "source": "none"});
    let output = sb.run(&sb.bundle().mount(mount).build());
    output.fails();
    sb.assert_nothing_left();
    if sb.flavour() == Flavour::Corten {
        output.fails_with(&["mounts[6]", "nosuchfs"]);
    }
}

fn the_same_source_may_be_bound_twice(sb: &Sandbox) {
    let source = sb.tree("source", &[("file", "x")]);
    let bundle = sb.bundle().bind(&source, "/a", &[]).bind(&source, "/b", &["ro"]);
    let bundle = bundle.tool(["try", "write", "/a/file", "y", ";", "try", "write", "/b/file", "z"]).build();
    assert_eq!(sb.run(&bundle).ok().lines(), ["ok", "EROFS"]);
}

fn a_hundred_mounts_are_no_problem(sb: &Sandbox) {
    let source = sb.tree("source", &[("file", "x")]);
    let bundle = (0..100).fold(sb.bundle(), |b, n| b.bind(&source, &format!("/m/{n}"), &["ro", "nosuid"]));
    let report = sb.probe(&bundle.build());
    assert_eq!(
        report["mounts"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|m| m["destination"].as_str().unwrap().starts_with("/m/"))
            .count(),
        100
    );
}
