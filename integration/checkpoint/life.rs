//! The way of a container through its images: where it goes on, what is recorded of it, and what is refused.

use std::fs;

use serde_json::json;

use super::{Counting, checkpoint, counting_bundle, criu, restoring};
use crate::events::place;
use crate::harness::cgroups::cgroups_named;
use crate::harness::{Case, Lines, Sandbox, cases, pipe};
use crate::killing::wait_until;

pub const CASES: &[Case] = cases![
    a_container_goes_on_where_it_was_dumped,
    a_container_that_is_left_running_goes_on_beside_its_images,
    a_dump_comes_back_under_another_name_from_another_bundle,
    the_limits_are_those_of_the_bundle,
    a_cgroup_that_the_container_made_comes_back_with_its_members,
    every_way_to_manage_cgroups_ends_in_the_containers_own,
    a_paused_container_is_dumped_and_stays_paused,
    only_a_running_container_is_dumped,
    an_id_that_is_taken_is_not_restored,
    hooks_run_around_both,
    a_foreground_restore_ends_with_the_program,
    flags_about_corten_itself_change_nothing_for_the_container,
    a_restored_container_is_one_for_every_verb,
    the_examples_of_the_help_run,
];

fn a_container_goes_on_where_it_was_dumped(sb: &Sandbox) {
    let bundle = counting_bundle(sb).build();
    let mut before = Counting::run(sb, &bundle, &[]);
    before.say("one", 1);
    before.say("two", 2);
    let images = sb.path("images");
    checkpoint(sb, &before.id, &images, &[]).ok();
    sb.call(["state", &before.id]).output().fails_with(&["container does not exist"]);
    assert!(cgroups_named(&before.id).is_empty(), "its cgroups are gone with it");
    let pid_file = sb.path("pid");
    let flags = ["--pid-file", pid_file.to_str().unwrap()];
    let mut after = Counting::restore(sb, &bundle, before.id.clone(), &images, &flags);
    after.say("three", 3);
    let state = sb.call(["state", &after.id]).output().ok().json();
    assert_eq!(state["status"], "running");
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), state["pid"].to_string());
    sb.call(["delete", "--force", &after.id]).output().ok();
    sb.assert_nothing_left();
}

fn a_container_that_is_left_running_goes_on_beside_its_images(sb: &Sandbox) {
    let bundle = counting_bundle(sb).build();
    let mut container = Counting::run(sb, &bundle, &[]);
    container.say("one", 1);
    let pid = sb.call(["state", &container.id]).output().ok().json()["pid"].clone();
    checkpoint(sb, &container.id, &sb.path("images"), &["--leave-running"]).ok();
    container.say("two", 2);
    assert_eq!(sb.call(["state", &container.id]).output().ok().json()["pid"], pid);
    let mut twin = Counting::restore(sb, &bundle, sb.id(), &sb.path("images"), &[]);
    twin.say("other", 2);
    container.say("three", 3);
}

fn a_dump_comes_back_under_another_name_from_another_bundle(sb: &Sandbox) {
    let (here, there) = (sb.tree("here", &[("name", "here")]), sb.tree("there", &[("name", "there")]));
    // The place of the mount is a link in the first root file system, and missing in the second.
    let bound = |source: &std::path::Path| counting_bundle(sb).bind(source, "/data/deep", &["rbind"]);
    let bundle = bound(&here).symlink("/data", "/srv").dir("/srv/deep").build();
    let mut container = Counting::run(sb, &bundle, &[]);
    container.say("one", 1);
    checkpoint(sb, &container.id, &sb.path("images"), &[]).ok();
    let other = bound(&there).symlink("/data", "/srv").build();
    let mut restored = Counting::restore(sb, &other, sb.id(), &sb.path("images"), &[]);
    restored.say("two", 2);
    let seen = sb.call(["exec", &restored.id, "/bin/probe", "probe", "--", "cat", "/data/deep/name"]).output();
    assert_eq!(seen.ok().stdout.trim(), "there");
    assert_eq!(cgroups_named(&container.id), Vec::<std::path::PathBuf>::new());
    assert!(!cgroups_named(&restored.id).is_empty());
}

fn the_limits_are_those_of_the_bundle(sb: &Sandbox) {
    let limited = |pids: u64| counting_bundle(sb).set("/linux/resources", json!({"pids": {"limit": pids}}));
    let container = Counting::run(sb, &limited(50).build(), &[]);
    checkpoint(sb, &container.id, &sb.path("images"), &[]).ok();
    let mut restored = Counting::restore(sb, &limited(60).build(), container.id.clone(), &sb.path("images"), &[]);
    restored.say("one", 1);
    let pid = sb.call(["state", &restored.id]).output().ok().json()["pid"].as_i64().unwrap() as i32;
    let Some(place) = place(pid, "pids") else { crate::harness::skip("no hierarchy has the controller pids") };
    assert!(place.dir.to_string_lossy().contains(&restored.id), "{}", place.dir.display());
    assert_eq!(fs::read_to_string(place.dir.join("pids.max")).unwrap().trim(), "60");
}

fn a_cgroup_that_the_container_made_comes_back_with_its_members(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["spawn", "1", ";", "count-lines"]).build();
    let container = Counting::run(sb, &bundle, &[]);
    let pid = |id: &str| {
        let init = sb.call(["state", id]).output().ok().json()["pid"].as_i64().unwrap() as i32;
        let all = sb.call(["ps", "--format", "json", id]).output().ok().json();
        let mut others = all.as_array().unwrap().iter().filter_map(|pid| pid.as_i64()).map(|pid| pid as i32);
        others.find(|pid| *pid != init).expect("a child")
    };
    let child = pid(&container.id);
    let Some(before) = place(child, "pids") else { crate::harness::skip("no hierarchy has the controller pids") };
    fs::create_dir(before.dir.join("inner")).unwrap();
    fs::write(before.dir.join("inner/cgroup.procs"), child.to_string()).unwrap();
    checkpoint(sb, &container.id, &sb.path("images"), &[]).ok();
    let mut restored = Counting::restore(sb, &bundle, sb.id(), &sb.path("images"), &[]);
    restored.say("one", 1);
    let places = fs::read_to_string(format!("/proc/{}/cgroup", pid(&restored.id))).unwrap();
    let inner = |line: &str| line.ends_with("/inner") && line.contains(&restored.id);
    assert_eq!(places.lines().filter(|line| inner(line)).count(), 1, "{places}");
}

fn every_way_to_manage_cgroups_ends_in_the_containers_own(sb: &Sandbox) {
    let bundle = counting_bundle(sb).build();
    for mode in ["soft", "full", "ignore"] {
        let container = Counting::run(sb, &bundle, &[]);
        let (images, flags) = (sb.path(mode), ["--manage-cgroups-mode", mode]);
        checkpoint(sb, &container.id, &images, &flags).ok();
        let mut restored = Counting::restore(sb, &bundle, sb.id(), &images, &flags);
        restored.say("one", 1);
        let pid = sb.call(["state", &restored.id]).output().ok().json()["pid"].clone();
        let places = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let (own, all) =
            (cgroups_named(&restored.id), places.lines().filter(|line| line.contains(&restored.id)).count());
        assert_eq!(all, own.len(), "{mode}: {places}");
        sb.call(["delete", "--force", &restored.id]).output().ok();
    }
    let container = Counting::run(sb, &bundle, &[]);
    checkpoint(sb, &container.id, &sb.path("strict"), &[]).ok();
    // corten has made the cgroup by then, and strict wants none to be there.
    let refused =
        restoring(sb, &bundle, &sb.path("strict"), &["--manage-cgroups-mode", "strict"]).arg(sb.id()).output();
    refused.fails_with(&["restore the container: criu: cg: "]);
    let wrong = restoring(sb, &bundle, &sb.path("strict"), &["--manage-cgroups-mode", "loose"]).arg(sb.id()).output();
    wrong.fails_with(&["manage-cgroups-mode", "soft, full, strict, ignore"]);
    sb.assert_nothing_left();
}

fn a_paused_container_is_dumped_and_stays_paused(sb: &Sandbox) {
    let bundle = counting_bundle(sb).build();
    let mut container = Counting::run(sb, &bundle, &[]);
    container.say("one", 1);
    sb.call(["pause", &container.id]).output().ok();
    checkpoint(sb, &container.id, &sb.path("images"), &["--leave-running"]).ok();
    assert_eq!(sb.call(["state", &container.id]).output().json()["status"], "paused");
    sb.call(["resume", &container.id]).output().ok();
    container.say("two", 2);
    let mut restored = Counting::restore(sb, &bundle, sb.id(), &sb.path("images"), &[]);
    restored.say("other", 2);
}

fn only_a_running_container_is_dumped(sb: &Sandbox) {
    criu(sb);
    let bundle = sb.bundle().tool(["pause"]).build();
    let container = sb.create(&bundle);
    let dump = || checkpoint(sb, &container.id, &sb.path("images"), &[]);
    dump().fails_with(&["Container cannot be checkpointed in created state"]);
    container.start();
    container.stop();
    dump().fails_with(&["Container cannot be checkpointed in stopped state"]);
    checkpoint(sb, "ct-nobody", &sb.path("images"), &[]).fails_with(&["container does not exist"]);
    assert!(!sb.path("images").exists(), "nothing was written");
}

fn an_id_that_is_taken_is_not_restored(sb: &Sandbox) {
    let bundle = counting_bundle(sb).build();
    let mut container = Counting::run(sb, &bundle, &[]);
    checkpoint(sb, &container.id, &sb.path("images"), &["--leave-running"]).ok();
    let refused = restoring(sb, &bundle, &sb.path("images"), &["--detach"]).arg(&container.id).output();
    refused.fails_with(&["container with given ID already exists"]);
    container.say("one", 1);
}

fn hooks_run_around_both(sb: &Sandbox) {
    let log = sb.path("hooks");
    let hook = |name: &str| {
        let script = format!("echo {name} $(sed 's/.*\"status\":\"\\([a-z]*\\)\".*/\\1/') >>{}", log.display());
        json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
    };
    let mut bundle = counting_bundle(sb);
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        bundle = bundle.hook(kind, hook(kind));
    }
    let bundle = bundle.build();
    let lines = || fs::read_to_string(&log).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    let container = Counting::run(sb, &bundle, &[]);
    let begun = lines().len();
    assert_eq!(begun, 4);
    checkpoint(sb, &container.id, &sb.path("images"), &[]).ok();
    assert_eq!(lines()[begun..], ["poststop stopped"]);
    // The network is new, so what makes it runs again; what is in the container is as it was.
    let mut restored = Counting::restore(sb, &bundle, container.id.clone(), &sb.path("images"), &[]);
    restored.say("one", 1);
    assert_eq!(lines()[begun + 1..], ["prestart created", "createRuntime creating"]);
}

fn a_foreground_restore_ends_with_the_program(sb: &Sandbox) {
    criu(sb);
    let bundle = sb.bundle().tool(["signal-echo", "7"]).build();
    let (id, (output, stdout)) = (sb.id(), pipe());
    sb.call(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&id).stdout(stdout).output().ok();
    Lines::new(output).expect_line("ready");
    checkpoint(sb, &id, &sb.path("images"), &[]).ok();
    let mut running = restoring(sb, &bundle, &sb.path("images"), &[]).arg(&id).spawn();
    let state = || sb.call(["state", &id]).output();
    wait_until("it is back", || state().stdout.contains("running"));
    running.signal(nix::sys::signal::Signal::SIGUSR1);
    running.lines.expect_line("SIGUSR1");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(running.wait(), 7, "{}", running.stderr());
    state().fails_with(&["container does not exist"]);
    sb.assert_nothing_left();
}

fn flags_about_corten_itself_change_nothing_for_the_container(sb: &Sandbox) {
    criu(sb);
    let bundle = sb.bundle().tool(["signal-echo", "0"]).build();
    let (id, (output, stdout)) = (sb.id(), pipe());
    sb.call(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&id).stdout(stdout).output().ok();
    Lines::new(output).expect_line("ready");
    checkpoint(sb, &id, &sb.path("images"), &["--leave-running"]).ok();
    sb.call(["delete", "--force", &id]).output().ok();
    for flags in [&[][..], &["--no-subreaper", "--no-pivot"]] {
        let mut running = restoring(sb, &bundle, &sb.path("images"), flags).arg(&id).spawn();
        wait_until("it is back", || sb.call(["state", &id]).output().stdout.contains("running"));
        running.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(running.wait(), 0, "{}", running.stderr());
    }
}

fn a_restored_container_is_one_for_every_verb(sb: &Sandbox) {
    let bundle = counting_bundle(sb).set("/annotations", json!({"org.example": "x"})).build();
    let container = Counting::run(sb, &bundle, &[]);
    checkpoint(sb, &container.id, &sb.path("images"), &[]).ok();
    let mut restored = Counting::restore(sb, &bundle, container.id.clone(), &sb.path("images"), &[]);
    restored.say("one", 1);
    let id = restored.id.clone();
    assert_eq!(sb.call(["state", &id]).output().json()["annotations"]["org.example"], "x");
    assert_eq!(sb.call(["ps", "--format", "json", &id]).output().json().as_array().unwrap().len(), 1);
    let report = sb.call(["exec", &id, "/bin/probe", "probe", "--", "json"]).output().ok().json();
    assert_eq!(report["hostname"], "corten-test");
    sb.call(["pause", &id]).output().ok();
    sb.call(["resume", &id]).output().ok();
    sb.call(["update", "--pids-limit", "40", &id]).output().ok();
    // Dumped once more.
    checkpoint(sb, &id, &sb.path("again"), &[]).ok();
    let mut again = Counting::restore(sb, &bundle, id.clone(), &sb.path("again"), &[]);
    again.say("two", 2);
    sb.call(["kill", &id, "KILL"]).output().ok();
    wait_until("it is stopped", || sb.call(["state", &id]).output().stdout.contains("stopped"));
    sb.call(["delete", &id]).output().ok();
    sb.assert_nothing_left();
}

fn the_examples_of_the_help_run(sb: &Sandbox) {
    criu(sb);
    let bundle = sb.bundle().tool(["pause"]).symlink("/bin/corten", "probe").build();
    let files = sb.tree("files", &[]);
    std::os::unix::fs::symlink(&bundle.dir, files.join("web")).unwrap();
    std::os::unix::fs::symlink(criu(sb), files.join("criu")).unwrap();
    let mut outputs = Vec::new();
    for verb in ["checkpoint", "restore"] {
        let help = sb.call(["help", verb]).bare().output();
        let examples = crate::help::examples(&help.ok().stdout);
        assert!(examples.len() > 1, "{verb}: {}", help.stdout);
        for example in examples {
            if example.contains("checkpoint") {
                sb.call(["delete", "--force", "web"]).output().ok();
                let run = sb.call(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg("web");
                let (reader, stdout) = pipe();
                outputs.push(reader);
                run.stdout(stdout).output().ok();
                let _ = fs::remove_dir_all(files.join("images"));
            }
            let example = example.replace("corten ", "corten --criu /tmp/criu ");
            let output = crate::help::shell(sb, &example);
            if output.stderr.contains("lacks the tracking of memory") {
                continue;
            }
            assert_eq!(output.code, 0, "{example}\n{}{}", output.stdout, output.stderr);
        }
    }
}
