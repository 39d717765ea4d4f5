//! Real configs, as engines wrote them: each is planned, without touching the host.

use std::fs;
use std::path::PathBuf;

use crate::harness::{Case, Sandbox, cases, skip};

pub const CASES: &[Case] = cases![anyone: every_recorded_config_is_planned, every_recorded_config_is_well_formed];

fn recorded() -> Vec<PathBuf> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/fixtures/recorded");
    let mut files: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().map(|item| item.path()).collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "json"));
    files.sort();
    if files.is_empty() {
        skip("there are no recorded configs");
    }
    files
}

fn every_recorded_config_is_well_formed(_: &Sandbox) {
    for file in recorded() {
        let config: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert!(config["ociVersion"].is_string(), "{}", file.display());
    }
}

fn every_recorded_config_is_planned(sb: &Sandbox) {
    sb.needs_cgroupfs();
    sb.only_corten("has a plan");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut wrong = Vec::new();
    for file in recorded() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let bundle = sb.tree(&name, &[]);
        fs::copy(&file, bundle.join("config.json")).unwrap();
        let output = sb.call(["plan", "--json", "--bundle"]).arg(&bundle).output();
        // A machine without a controller can't hold its limits, and says so.
        if output.stderr.contains("this host's control groups have no ") {
            continue;
        }
        if output.code != 0 {
            wrong.push(format!("{name}: {}", output.stderr.trim_end()));
            continue;
        }
        let plan = output.json();
        let steps = |list: &str| plan[list].as_array().map_or(0, Vec::len);
        if steps("stage_two") < 3 || steps("start") == 0 {
            wrong.push(format!("{name}: {} steps in stage two, {} at the start", steps("stage_two"), steps("start")));
        }
        if fs::read_dir(&bundle).unwrap().count() != 1 {
            wrong.push(format!("{name}: something was made in the bundle"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
    assert!(!sb.state_root().exists());
}
