//! Builds: with the old builder, whose steps are containers, and with BuildKit, which calls a runtime by itself.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::call::{Output, call, call_with};
use crate::cli::IMAGE;
use crate::scenario::{Scenario, World, scenarios, until};

pub const SCENARIOS: &[Scenario] = scenarios![
    the_old_builder_builds,
    the_old_builders_steps_are_the_runtimes,
    buildkit_builds,
    buildkits_steps_are_the_runtimes,
    a_step_that_fails_is_told,
    a_step_has_mounts,
    a_secret_is_there_for_one_step,
    a_step_without_network_has_none,
    stages_are_built_from_each_other,
    a_build_that_is_broken_off_leaves_nothing,
];

/// What BuildKit runs its steps with: it asks no daemon.json. It takes `runc` from PATH, or what a variable of dockerd says.
pub const RUNTIME: &str = "/usr/local/bin/builders-runtime";
pub const VARIABLE: &str = "DOCKER_BUILDKIT_RUNC_COMMAND";
/// What was asked of it.
pub const LOG: &str = "/var/log/engines/builders-runtime.log";

const RECIPE: &str = "FROM busybox
ENV COLOUR=rust
RUN echo $COLOUR >/colour && id -u >>/colour
WORKDIR /made/here
USER alice
RUN id -u >/tmp/who && pwd >>/tmp/who
CMD [\"cat\", \"/colour\", \"/tmp/who\"]
";

/// `docker build` of a recipe without a context, and with nothing kept from builds before.
#[track_caller]
fn build(kit: bool, flags: &[&str], recipe: &str) -> Output {
    let kit = format!("DOCKER_BUILDKIT={}", u8::from(kit));
    call_with(&[&["env", &kit, "docker", "build", "--no-cache"], flags, &["-"]].concat(), recipe)
}

#[track_caller]
fn builds(world: &World, kit: bool) {
    build(kit, &["-t", "painted"], RECIPE).good();
    let said = world.cli(&["run", "--rm", "painted"]);
    world.cli(&["rmi", "-f", "painted"]).good();
    assert_eq!(said.good(), "rust\n0\n1000\n/made/here");
}

fn the_old_builder_builds(world: &World) {
    builds(world, false);
}

fn the_old_builders_steps_are_the_runtimes(world: &World) {
    let recipe = format!("FROM {IMAGE}\nRUN echo a step of its own\n");
    build(false, &["--rm=false", "-t", "kept"], &recipe).good();
    let id = world.cli(&["ps", "-a", "-q", "-n", "1", "--no-trunc"]).good();
    let (runtime, command) = (world.inspect(&id, ".HostConfig.Runtime"), world.inspect(&id, ".Args"));
    world.cli(&["rm", &id]).good();
    world.cli(&["rmi", "-f", "kept"]).good();
    assert!(command.contains("a step of its own"), "{command}");
    assert_eq!(runtime, world.runtime);
}

fn buildkit_builds(world: &World) {
    builds(world, true);
}

/// A test of the tests: that program is what BuildKit calls.
fn buildkits_steps_are_the_runtimes(_world: &World) {
    let _ = fs::remove_file(LOG);
    let said = build(true, &["--progress", "plain"], &format!("FROM {IMAGE}\nRUN cut -d: -f3 /proc/self/cgroup\n"));
    let asked = fs::read_to_string(LOG).unwrap_or_default();
    let call =
        asked.lines().find(|line| line.contains(" run --bundle ")).unwrap_or_else(|| panic!("no run: {asked}; {said}"));
    let id = call.split(' ').next_back().unwrap_or_default();
    assert!(said.stderr.contains(&format!("/docker/buildkit/{id}")), "{id}: {said}");
}

fn a_step_that_fails_is_told(_world: &World) {
    let flags: [(bool, &[&str]); 2] = [(false, &[]), (true, &["--progress", "plain"])];
    for (kit, flags) in flags {
        let said = build(kit, flags, &format!("FROM {IMAGE}\nRUN echo the reason >&2; exit 23\n")).bad();
        let all = format!("{}{}", said.stdout, said.stderr);
        assert!(all.contains("the reason") && all.contains("23"), "{said}");
    }
}

fn a_step_has_mounts(world: &World) {
    let recipe = format!(
        "FROM {IMAGE} AS other
RUN echo from another >/there
FROM {IMAGE}
RUN --mount=type=cache,target=/cache echo one >>/cache/lines
RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/scratch --mount=type=bind,from=other,source=/there,target=/here \
    (cat /cache/lines /here; grep -c '^tmpfs /scratch' /proc/self/mounts; touch /here 2>&1) >/said; true
CMD cat /said; ls -d /cache/lines
"
    );
    build(true, &["-t", "mounted"], &recipe).good();
    let said = world.cli(&["run", "--rm", "mounted"]);
    world.cli(&["rmi", "-f", "mounted"]).good();
    world.cli(&["builder", "prune", "-f", "-a"]).good();
    assert!(said.stdout.starts_with("one\nfrom another\n1\n") && said.stdout.contains("Read-only"), "{said}");
    said.bad().says("/cache/lines");
}

fn a_secret_is_there_for_one_step(world: &World) {
    fs::write("/var/tmp/secret", "hidden words").expect("a file");
    let recipe = format!(
        "FROM {IMAGE}\nRUN --mount=type=secret,id=word,uid=1000,mode=0400 stat -c '%u %a' /run/secrets/word >/said && wc -c </run/secrets/word >>/said\nCMD cat /said /run/secrets/word\n"
    );
    build(true, &["--secret", "id=word,src=/var/tmp/secret", "-t", "kept"], &recipe).good();
    let said = world.cli(&["run", "--rm", "kept"]);
    world.cli(&["rmi", "-f", "kept"]).good();
    assert_eq!(said.stdout, "1000 400\n12\n", "{said}");
}

fn a_step_without_network_has_none(_world: &World) {
    let recipe = format!(
        "FROM {IMAGE}\nRUN --network=none ls -1 /sys/class/net | sed 's/^/link-/'\nRUN ls -1 /sys/class/net | sed 's/^/second-/'\n"
    );
    let said = build(true, &["--progress", "plain"], &recipe);
    assert!(said.stderr.contains("link-lo") && !said.stderr.contains("link-eth0"), "{said}");
    assert!(said.stderr.contains("second-eth0"), "{said}");
    said.good();
}

fn stages_are_built_from_each_other(world: &World) {
    let recipe = format!(
        "FROM {IMAGE} AS first\nRUN mkdir /out && echo made >/out/thing && chown alice /out/thing\nFROM {IMAGE}\nCOPY --from=first /out /in\nRUN stat -c %U /in/thing >>/in/thing\nCMD cat /in/thing\n"
    );
    for kit in [false, true] {
        build(kit, &["-t", "staged"], &recipe).good();
        let said = world.cli(&["run", "--rm", "staged"]);
        world.cli(&["rmi", "-f", "staged"]).good();
        let said = said.good();
        assert!(said == "made\nalice" || (!kit && said == "made\nroot"), "{said}");
    }
}

/// Who presses ^C means the step as well.
fn a_build_that_is_broken_off_leaves_nothing(_world: &World) {
    fs::create_dir_all("/var/tmp/broken").expect("a directory");
    fs::write("/var/tmp/broken/Dockerfile", format!("FROM {IMAGE}\nRUN exec sleep 54321\n")).expect("a recipe");
    let there = || call(&["pgrep", "-f", "^sleep 54321"]).code == 0;
    let mut command = Command::new("docker");
    command.args(["build", "--no-cache", "/var/tmp/broken"]).env("DOCKER_BUILDKIT", "1").process_group(0);
    let mut builder = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("docker");
    until("the step runs", 20, there);
    killpg(Pid::from_raw(builder.id() as i32), Signal::SIGINT).expect("kill");
    assert!(!builder.wait().expect("its end").success());
    until("the step is gone", 20, || !there());
    until("its groups are gone", 10, || {
        call(&["find", "/sys/fs/cgroup", "-path", "*/docker/buildkit/*", "-type", "d"]).good().is_empty()
    });
}
