//! Podman and buildah, with the driver cgroupfs and no daemon.

use std::fs;
use std::path::Path;

use crate::call::{call, call_with};
use crate::cli::{self, IMAGE};
use crate::scenario::{Engine, Scenario, World, scenarios, skip, until};

pub const ENGINE: Engine = Engine { name: "podman", program: "podman", start, scenarios: ALL, known: &[] };

/// Control groups made by systemd: for a machine that has it as its first process.
pub const BY_SYSTEMD: Engine = Engine {
    name: "podman-systemd",
    program: "podman",
    start: |world| configure(world, Path::new("/etc/containers"), "systemd", NO_FIREWALL),
    scenarios: ALL,
    known: &[],
};

/// An ordinary user's Podman, with control groups by the user's systemd.
pub const ROOTLESS: Engine = Engine {
    name: "podman-rootless",
    program: "podman",
    start: |world| {
        let home = std::env::var_os("HOME").expect("a home");
        configure(world, &Path::new(&home).join(".config/containers"), "systemd", NO_FIREWALL);
    },
    scenarios: ALL,
    known: &[(
        "a_network_has_an_address",
        "pasta gives a container the addresses of the host's own interface, and the machine has none but loopback",
    )],
};

const ALL: &[&[&[Scenario]]] = &[cli::SUBJECTS, &[SCENARIOS]];

const SCENARIOS: &[Scenario] = scenarios![
    a_pod_shares_its_namespaces,
    a_user_namespace_is_the_containers_own,
    every_container_gets_ids_of_its_own,
    a_volume_is_idmapped,
    a_root_file_system_needs_no_image,
    descriptors_are_handed_on,
    a_hook_of_the_engines_is_called,
    an_image_is_built_with_the_runtime,
    buildah_runs_a_command_with_the_runtime,
    a_pod_is_played_from_kubernetes_yaml,
    the_runtime_is_the_one_that_runs,
    a_container_outlives_its_callers,
    a_checkpoint_is_restored,
];

/// `/etc/containers/containers.conf`, as docs/engines.md shows it.
const CONTAINERS_CONF: &str = include_str!("containers.conf");

/// The virtual machines' kernels have no tables for packets.
const NO_FIREWALL: &str = "[network]\nfirewall_driver = \"none\"\n";

/// With the driver cgroupfs, on a machine without systemd.
fn start(world: &World) {
    configure(world, Path::new("/etc/containers"), "cgroupfs", "");
}

/// What the tests add to CONTAINERS_CONF is what their machines ask for: no journal, no pause image in reach, and hard limits that
/// root may not raise.
fn configure(world: &World, place: &Path, manager: &str, more: &str) {
    let World { runtime, path, .. } = world;
    fs::create_dir_all(place).expect("a directory");
    let ours = CONTAINERS_CONF.replace("/usr/local/bin/corten", path).replace("corten", runtime);
    let added =
        format!("cgroup_manager = \"{manager}\"\nevents_logger = \"file\"\ninfra_image = \"localhost/pause\"\n");
    let limits =
        "[containers]\nlog_driver = \"k8s-file\"\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
    let text = format!("{}\n{limits}{more}", ours.replacen("[engine]\n", &format!("[engine]\n{added}"), 1));
    fs::write(place.join("containers.conf"), text).expect("containers.conf");
    fs::write(place.join("policy.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).expect("policy.json");
    // Podman 5 warns of version 1 with every call.
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("PODMAN_IGNORE_CGROUPSV1_WARNING", "1") };
    let archive = "/usr/share/engines/image.tar";
    world.cli(&["import", "--quiet", archive, IMAGE]).good();
    // What holds the namespaces of a pod.
    world.cli(&["import", "--quiet", "--change", "ENTRYPOINT [\"sleep\",\"100000\"]", archive, "pause"]).good();
    assert_eq!(world.cli(&["info", "--format", "{{.Host.OCIRuntime.Name}}"]).good(), *runtime);
}

fn a_pod_shares_its_namespaces(world: &World) {
    world.cli(&["pod", "create", "--name", "pea"]).good();
    let one = world.start("pea1", &["--pod", "pea"], "sleep 100");
    let two = world.start("pea2", &["--pod", "pea"], "sleep 100");
    let links = "for n in net ipc uts; do readlink /proc/self/ns/$n; done";
    let same = (one.exec(&[], links).good(), two.exec(&[], links).good());
    let mounts =
        (one.exec(&[], "readlink /proc/self/ns/mnt").good(), two.exec(&[], "readlink /proc/self/ns/mnt").good());
    drop((one, two));
    world.cli(&["pod", "rm", "-f", "-t", "0", "pea"]).good();
    assert_eq!(same.0, same.1);
    assert_ne!(mounts.0, mounts.1);
}

/// The ids of `--uidmap` are the host's for root, and for an ordinary user those of the range that newuidmap gives.
fn first_id() -> u32 {
    if is_root() { 200_000 } else { 20_000 }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn a_user_namespace_is_the_containers_own(world: &World) {
    let first = first_id();
    let map = format!("0:{first}:5000");
    let container = world.start(
        "mapped",
        &["--uidmap", &map, "--gidmap", &map],
        "id -u; cat /proc/self/uid_map; touch /tmp/mine; sleep 100",
    );
    container.until_it_says(&first.to_string());
    assert!(container.logs().starts_with("0\n"), "{}", container.logs());
    let status = fs::read_to_string(format!("/proc/{}/status", container.inspect(".State.Pid"))).expect("its process");
    // subuid(5) of the machine's user begins with 100000, which is id 1 in Podman's own namespace.
    let outside = if is_root() { first } else { 100_000 + first - 1 };
    assert!(status.contains(&format!("Uid:\t{outside}\t")), "{status}");
    assert_eq!(container.exec(&[], "stat -c %u:%g /tmp/mine").good(), "0:0");
}

fn every_container_gets_ids_of_its_own(world: &World) {
    if is_root() {
        fs::write("/etc/subuid", "containers:1000000:1000000\n").expect("subuid");
        fs::write("/etc/subgid", "containers:1000000:1000000\n").expect("subgid");
    }
    let map = |name| world.start(name, &["--userns", "auto:size=1000"], "sleep 100");
    let (one, two) = (map("auto1"), map("auto2"));
    let (first, second) =
        (one.exec(&[], "cat /proc/self/uid_map").good(), two.exec(&[], "cat /proc/self/uid_map").good());
    assert_ne!(first, second);
    assert!(first.ends_with(" 1000"), "{first}");
}

fn a_volume_is_idmapped(world: &World) {
    if !is_root() {
        skip("an ordinary user may not map the ids of the host's file systems");
    }
    fs::create_dir_all("/var/tmp/owned").expect("a directory");
    let flags = ["--uidmap", "0:200000:5000", "--gidmap", "0:200000:5000", "-v", "/var/tmp/owned:/data:idmap"];
    world.run(&flags, "touch /data/file && stat -c %u /data/file").good();
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/var/tmp/owned/file").expect("the file"));
    assert_eq!(owner, 0, "root inside is root on the disk, through the mapping of the mount");
}

fn a_root_file_system_needs_no_image(world: &World) {
    fs::create_dir_all("/var/tmp/tree").expect("a directory");
    call(&["tar", "-xf", "/usr/share/engines/image.tar", "-C", "/var/tmp/tree"]).good();
    assert_eq!(
        world.cli(&["run", "--rm", "--rootfs", "/var/tmp/tree", "echo", "from a folder"]).good(),
        "from a folder"
    );
}

fn descriptors_are_handed_on(world: &World) {
    let line = format!("exec 3</etc/hostname; {} run --rm --preserve-fds 1 {IMAGE} sh -c 'cat <&3'", world.program);
    assert_eq!(call(&["bash", "-c", &line]).good(), fs::read_to_string("/etc/hostname").expect("hostname").trim_end());
}

/// oci-hooks(5): the engine puts these into config.json, the runtime calls them with the state on stdin.
fn a_hook_of_the_engines_is_called(world: &World) {
    fs::create_dir_all("/var/tmp/hooks").expect("a directory");
    let hook = r#"{"version":"1.0.0","hook":{"path":"/usr/bin/tee","args":["tee","/var/tmp/hooked"]},
        "when":{"always":true},"stages":["createRuntime"]}"#;
    fs::write("/var/tmp/hooks/tee.json", hook).expect("a hook");
    world.cli(&["--hooks-dir", "/var/tmp/hooks", "run", "--rm", IMAGE, "true"]).good();
    let state: serde_json::Value =
        serde_json::from_str(&fs::read_to_string("/var/tmp/hooked").expect("what the hook read")).expect("a state");
    assert!(state["pid"].as_i64().is_some_and(|pid| pid > 0) && state["bundle"].is_string(), "{state}");
}

const RECIPE: &str = "FROM busybox\nENV COLOUR=rust\nRUN echo $COLOUR >/colour && id -u >>/colour\nUSER alice\nCMD [\"cat\", \"/colour\"]\n";

fn an_image_is_built_with_the_runtime(world: &World) {
    call_with(&["podman", "build", "--quiet", "--isolation", "oci", "--pull=never", "-t", "painted", "-"], RECIPE)
        .good();
    let said = world.cli(&["run", "--rm", "painted"]);
    world.cli(&["rmi", "-f", "painted"]).good();
    assert_eq!(said.good(), "rust\n0");
}

fn buildah_runs_a_command_with_the_runtime(world: &World) {
    let name = call(&["buildah", "from", "--pull=never", IMAGE]).good();
    let said = call(&[
        "buildah",
        "run",
        "--runtime",
        &world.path,
        "--isolation",
        "oci",
        &name,
        "--",
        "sh",
        "-c",
        "echo built; exit 4",
    ]);
    call(&["buildah", "rm", &name]).good();
    assert_eq!((said.stdout.as_str(), said.code), ("built\n", 4), "{said}");
}

const POD: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: played
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: localhost/busybox:latest
    imagePullPolicy: Never
    command: [sleep, '1000']
    resources:
      limits:
        memory: 64Mi
    securityContext:
      runAsUser: 1000
";

fn a_pod_is_played_from_kubernetes_yaml(world: &World) {
    fs::write("/var/tmp/pod.yaml", POD).expect("a file");
    let played = world.cli(&["kube", "play", "/var/tmp/pod.yaml"]);
    let user = world.cli(&["exec", "played-main", "id", "-u"]);
    let down = world.cli(&["pod", "rm", "-f", "-t", "0", "played"]);
    played.good();
    assert_eq!(user.good(), "1000");
    down.good();
}

/// A test of the tests: the engine must not fall back to another runtime.
fn the_runtime_is_the_one_that_runs(world: &World) {
    let container = world.start("who", &[], "sleep 100");
    let id = container.inspect(".Id");
    let list = call(&[world.path.as_str(), "list", "-q"]).good();
    assert!(list.lines().any(|line| line == id), "{} doesn't know {id}: {list}", world.path);
}

/// There is no daemon to restart: the monitor keeps a container when all of Podman's processes are gone.
fn a_container_outlives_its_callers(world: &World) {
    let container = world.start("alone", &[], "i=0; while true; do i=$((i+1)); echo $i; sleep 0.05; done");
    container.until_it_says("3");
    let parent = fs::read_to_string(format!("/proc/{}/status", container.inspect(".State.ConmonPid"))).expect("conmon");
    assert!(parent.contains("Name:\tconmon"), "{parent}");
    let seen = container.logs().lines().count();
    until("it goes on", 10, || container.logs().lines().count() > seen);
}

fn a_checkpoint_is_restored(world: &World) {
    let check = call(&["criu", "check"]);
    if check.code != 0 {
        skip("criu can't work here: `criu check` fails on this kernel");
    }
    let container =
        world.start("frozen", &["--network", "none"], "i=0; while true; do i=$((i+1)); echo $i; sleep 0.1; done");
    container.until_it_says("3");
    container.call(&["container", "checkpoint"]).good();
    assert_eq!(container.status(), "exited");
    container.call(&["container", "restore"]).good();
    let before = container.logs().lines().count();
    until("it counts on", 10, || container.logs().lines().count() > before + 2);
    let lines: Vec<u32> = container.logs().lines().filter_map(|line| line.parse().ok()).collect();
    assert!(lines.windows(2).all(|two| two[1] == two[0] + 1), "{lines:?}");
}
