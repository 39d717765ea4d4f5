//! Many containers, and what an engine reports of them.

use super::{IMAGE, at_once};
use crate::scenario::{Scenario, World, scenarios, until};

pub const SCENARIOS: &[Scenario] = scenarios![
    fifty_containers_run_at_once,
    a_sick_container_is_found,
    events_tell_a_containers_life,
    a_listing_shows_what_runs,
    a_file_is_copied_in_and_out,
    changes_become_an_image,
];

/// How many: slower machines take fewer (`CORTEN_TEST_SCALE`, in percent).
fn crowd() -> usize {
    let percent = std::env::var("CORTEN_TEST_SCALE").ok().and_then(|text| text.parse::<usize>().ok()).unwrap_or(100);
    (50 * percent / 100).max(1)
}

fn fifty_containers_run_at_once(world: &World) {
    let names: Vec<String> = (0..crowd()).map(|i| format!("crowd{i}")).collect();
    std::thread::scope(|scope| {
        let started: Vec<_> = names
            .iter()
            .map(|name| {
                scope.spawn(|| world.cli(&["run", "-d", "--network", "none", "--name", name, IMAGE, "sleep", "1000"]))
            })
            .collect();
        for thread in started {
            thread.join().expect("a call").good();
        }
    });
    let running = world.cli(&["ps", "-q", "--filter", "name=crowd"]).good().lines().count();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let pids = world.cli(&[&["inspect", "--format", "{{.State.Pid}}"], &names[..]].concat()).good();
    world.cli(&[&["rm", "-f"], at_once(world), &names[..]].concat()).good();
    assert_eq!(running, crowd());
    let gone = pids.lines().filter(|pid| std::path::Path::new("/proc").join(pid).exists()).count();
    assert_eq!(gone, 0, "processes are left");
}

fn a_sick_container_is_found(world: &World) {
    let flags = ["--health-cmd", "test -e /tmp/well", "--health-interval", "1s", "--health-retries", "1"];
    let container = world.start("patient", &flags, "touch /tmp/well; sleep 100");
    let health = |wanted: &str| {
        // Without systemd nobody calls Podman's checks by the clock.
        if !world.is_docker() {
            container.call(&["healthcheck", "run"]);
        }
        container.inspect(".State.Health.Status") == wanted
    };
    until("it is healthy", 10, || health("healthy"));
    container.exec(&[], "rm /tmp/well").good();
    until("it is unhealthy", 10, || health("unhealthy"));
}

fn events_tell_a_containers_life(world: &World) {
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    let since = now();
    world.cli(&["run", "--name", "storied", IMAGE, "true"]).good();
    world.cli(&["rm", "storied"]).good();
    let until_then = (now() + 1).to_string();
    let told = world
        .cli(&["events", "--since", &since.to_string(), "--until", &until_then, "--filter", "container=storied"])
        .good();
    let ends =
        if world.is_docker() { ["create", "start", "die", "destroy"] } else { ["create", "start", "died", "remove"] };
    for event in ends {
        assert!(told.contains(&format!(" {event} ")), "no {event}: {told}");
    }
}

fn a_listing_shows_what_runs(world: &World) {
    let _container = world.start("listed", &[], "sleep 100");
    let said = world.cli(&["ps", "--format", "{{.Names}} {{.Status}}", "--filter", "name=listed"]).good();
    assert!(said.starts_with("listed Up"), "{said}");
}

fn a_file_is_copied_in_and_out(world: &World) {
    let container = world.start("copied", &[], "sleep 100");
    std::fs::write("/var/tmp/letter", "dear").expect("a file");
    world.cli(&["cp", "/var/tmp/letter", "copied:/tmp/letter"]).good();
    assert_eq!(container.exec(&[], "cat /tmp/letter && echo back >/tmp/answer").good(), "dear");
    world.cli(&["cp", "copied:/tmp/answer", "/var/tmp/answer"]).good();
    assert_eq!(std::fs::read_to_string("/var/tmp/answer").expect("the answer"), "back\n");
}

fn changes_become_an_image(world: &World) {
    let container = world.start("grown", &[], "echo grown >/grown; sleep 100");
    until("the file is there", 10, || container.exec(&[], "cat /grown").stdout == "grown\n");
    world.cli(&["commit", "grown", "tree"]).good();
    let said = world.cli(&["run", "--rm", "tree", "cat", "/grown"]);
    world.cli(&["rmi", "-f", "tree"]).good();
    assert_eq!(said.good(), "grown");
}
