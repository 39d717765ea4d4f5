//! `corten plan [--bundle DIR] [--json]`: every step that `create` would take, without taking one.

use serde::Serialize;

use super::{launch, print};
use crate::cli::{BundleArgs, Globals};
use crate::config::{self, locate};
use crate::error::{Error, Result};
use crate::fault::Stage;
use crate::host::Host;
use crate::log::Log;
use crate::plan::{self, Plan};

pub fn run(globals: &Globals, args: BundleArgs, log: &mut Log) -> Result<i32> {
    let bundle = launch::bundle(&args.bundle)?;
    let config = config::bundle::load(&bundle, args.config.as_deref())?;
    let host = Host::probe();
    let request = launch::dry_request(globals, &host, bundle, &config.spec);
    let plan = launch::plan(&config, &request, &host)?;
    launch::warnings(&config.warnings, &plan).into_iter().for_each(|warning| log.warn(warning));
    let text = if args.json { render_json(&plan)? } else { render_text(&plan, &config.bytes) };
    print(text.as_bytes())?;
    Ok(0)
}

/// What is said of a list, in the order in which the lists run.
const LISTS: [(Stage, &str); 8] = [
    (Stage::Host, "on the host, before clone"),
    (Stage::Adopt, "on the host, for the fresh child"),
    (Stage::StageOne, "in the child: namespaces and identity"),
    (Stage::StageTwo, "in the child: root file system and process"),
    (Stage::Mounted, "on the host, while the child waits with its root mounted"),
    (Stage::Ready, "on the host, when the child has set itself up"),
    (Stage::Start, "in the child, after `corten start`"),
    (Stage::Undo, "on the host, if any of this fails"),
];

/// The plan as text: the steps by their lists, each with the field that asked for it and its line. All lines are looked up
/// in one go: a config can have as many steps as it has lines.
pub fn render_text(plan: &Plan, config: &[u8]) -> String {
    let fields: Vec<_> = LISTS.iter().flat_map(|(stage, _)| plan.steps(*stage)).map(|step| &step.field).collect();
    let mut lines = locate::lines_of(config, &fields).into_iter();
    let launch = &plan.launch;
    let cloned = if launch.clone.is_empty() { "none".to_owned() } else { launch.clone.list() };
    let mut text = format!("clone with new namespaces: {cloned}\n");
    for (stage, what) in LISTS {
        let steps = plan.steps(stage);
        if steps.is_empty() {
            continue;
        }
        text.push_str(&format!("\n{} ({what})\n", stage.name()));
        for (index, step) in steps.iter().enumerate() {
            let place = match lines.next().flatten() {
                Some(line) => format!("  # {}, line {line}", step.field),
                None if step.field.pointer().is_empty() => String::new(),
                None => format!("  # {}", step.field),
            };
            text.push_str(&format!("{index:>4}  {}{place}\n", plan::render(&step.op)));
        }
    }
    text
}

/// One step in `--json`.
#[derive(Serialize)]
struct StepJson<'a> {
    step: String,
    /// JSON pointer; empty for what corten does unasked.
    field: &'a str,
    op: String,
}

fn render_json(plan: &Plan) -> Result<String> {
    let mut lists = serde_json::Map::new();
    let names = |kinds: crate::namespaces::Kinds| kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>();
    lists.insert("clone".into(), names(plan.launch.clone).into());
    for (stage, _) in LISTS {
        let steps: Vec<_> = plan.steps(stage).iter().map(step_json).collect();
        let steps = serde_json::to_value(steps).map_err(|error| Error::Usage(error.to_string()))?;
        lists.insert(stage.name().into(), steps);
    }
    serde_json::to_string_pretty(&lists).map(|text| text + "\n").map_err(|error| Error::Usage(error.to_string()))
}

fn step_json(step: &plan::Step) -> StepJson<'_> {
    StepJson { step: plan::render(&step.op), field: step.field.pointer(), op: plan::name(&step.op) }
}
