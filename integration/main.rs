//! The end-to-end suite: real containers, made by the runtime under test, looked at from inside and outside.
//!
//! One file a subject. See `harness` for how a test is written and how to run the suite against another runtime.

mod attacks;
mod cgroup_mounts;
mod checkpoint;
mod device_rules;
mod devices;
mod events;
mod exec;
mod faults;
mod features_spec;
mod fixtures;
mod freezer;
mod golden;
mod harness;
mod help;
mod hooks;
mod idmapped;
mod invalid;
mod joining;
mod killing;
mod labels;
mod lifecycle;
mod live;
mod locked;
mod log;
mod masks;
mod mistakes;
mod mounts;
mod namespaces;
mod netdevices;
mod notify;
mod pivot;
mod process;
mod ps;
mod rdt;
mod removal;
mod resources;
mod rootless;
mod run;
mod same_limits;
mod seccomp;
mod stats;
mod systemd;
mod terminal;
mod update;

/// Every test file with its tests.
pub const FILES: &[(&str, &[harness::Case])] = &[
    ("attacks_descriptors", attacks::descriptors::CASES),
    ("attacks_entering", attacks::entering::CASES),
    ("attacks_executable", attacks::executable::CASES),
    ("attacks_links", attacks::links::CASES),
    ("attacks_procfs", attacks::procfs::CASES),
    ("attacks_races", attacks::races::CASES),
    ("cgroup_mounts", cgroup_mounts::CASES),
    ("checkpoint_ends", checkpoint::ends::CASES),
    ("checkpoint_flags", checkpoint::flags::CASES),
    ("checkpoint_life", checkpoint::life::CASES),
    ("checkpoint_world", checkpoint::world::CASES),
    ("device_rules", device_rules::CASES),
    ("devices", devices::CASES),
    ("events", events::CASES),
    ("exec_entry", exec::entry::CASES),
    ("exec_faults", exec::faults::CASES),
    ("exec_process", exec::process::CASES),
    ("faults", faults::CASES),
    ("features_spec", features_spec::CASES),
    ("fixtures", fixtures::CASES),
    ("freezer", freezer::CASES),
    ("golden", golden::CASES),
    ("help", help::CASES),
    ("hooks", hooks::CASES),
    ("idmapped", idmapped::CASES),
    ("invalid", invalid::CASES),
    ("joining", joining::CASES),
    ("killing", killing::CASES),
    ("labels", labels::CASES),
    ("lifecycle", lifecycle::CASES),
    ("live_attacks", live::attacks::CASES),
    ("live_faults", live::faults::CASES),
    ("live_forms", live::forms::CASES),
    ("live_removal", live::removal::CASES),
    ("locked", locked::CASES),
    ("log", log::CASES),
    ("masks", masks::CASES),
    ("mistakes", mistakes::CASES),
    ("mounts", mounts::CASES),
    ("namespaces", namespaces::CASES),
    ("netdevices", netdevices::CASES),
    ("notify", notify::CASES),
    ("pivot", pivot::CASES),
    ("process", process::CASES),
    ("ps", ps::CASES),
    ("rdt", rdt::CASES),
    ("removal", removal::CASES),
    ("resources", resources::CASES),
    ("rootless", rootless::CASES),
    ("run", run::CASES),
    ("same_limits", same_limits::CASES),
    ("seccomp", seccomp::CASES),
    ("stats", stats::CASES),
    ("systemd", systemd::CASES),
    ("systemd_user", systemd::OF_A_USER),
    ("terminal", terminal::CASES),
    ("update", update::CASES),
];

fn main() -> std::process::ExitCode {
    harness::main(FILES)
}
