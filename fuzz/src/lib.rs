//! What the fuzz targets share: hosts and requests to plan for, the rules that whatever comes out must keep, and a
//! mutator that knows JSON.

pub mod filter;
pub mod mutate;
// The rules of every plan, as the property tests have them.
#[path = "../../integration/planning.rs"]
pub mod planning;

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use corten::cgroups::Group;
use corten::commands::launch;
use corten::commands::plan::render_text;
use corten::config::exec::completed;
use corten::config::{Config, validate};
use corten::error::{Error, Violation};
use corten::fault::Stage;
use corten::host::Host;
use corten::host::cgroups::Layout;
use corten::plan::exec::{Entered, plan_exec};
use corten::plan::Plan;
use corten::plan::mounts::{Visited, plan_add};
use corten::request::{CgroupDriver, Mode, NotifyAddress, NotifySocket, Request, Resctrl};
use oci_spec::runtime::{Mount, Process, Spec};

/// Hosts, by their number in an input.
pub fn host(number: u8) -> Host {
    let root = |cgroups: Layout| Host { cgroups, ..Host::fixture() };
    let user = |cgroups: Layout| Host { euid: 1000, egid: 1000, effective: 0, ..root(cgroups) };
    match number % 8 {
        0 => Host::fixture(),
        1 => root(Layout::fixture_v1()),
        2 => root(Layout::fixture_hybrid()),
        3 => user(Layout::fixture_unified()),
        4 => Host { in_user_namespace: true, ..Host::fixture() },
        5 => user(Layout::fixture_v1()),
        6 => Host { systemd: false, ..root(Layout { v1: Vec::new(), unified: None }) },
        _ => Host { in_user_namespace: true, bounding: 0x3fff, last_capability: 37, ..root(Layout::fixture_hybrid()) },
    }
}

/// Requests, by their number in an input. A config that wants a terminal has a console socket in most.
pub fn request(number: u8, terminal: bool) -> Request {
    let base = |mode| Request {
        resctrl: Some(Resctrl { mount: "/sys/fs/resctrl".into(), pretended: false }),
        console_socket: terminal.then(|| "/run/console.sock".into()),
        ..Request::new("web", "/bundle", mode)
    };
    let run = |detach| base(Mode::Run { detach, keep: false });
    match number % 8 {
        0 => base(Mode::Create),
        1 => Request { console_socket: None, terminal_size: Some((25, 80)), ..run(false) },
        2 => run(true),
        3 => Request { cgroup_driver: CgroupDriver::Systemd, ..base(Mode::Create) },
        4 => Request { cgroup_driver: CgroupDriver::Systemd, rootless: true, ..run(true) },
        5 => Request { no_pivot: true, rootless: true, no_new_keyring: true, ..base(Mode::Create) },
        6 => Request { cgroup_driver: CgroupDriver::Disabled, ..base(Mode::Create) },
        _ => Request {
            preserve_fds: 3,
            listen_fds: 2,
            listen_fd_names: Some("a:b".into()),
            notify_socket: NotifyAddress::parse(OsStr::new("@notify"))
                .ok()
                .map(|address| NotifySocket { address, dir: PathBuf::from("/run/corten/web/notify") }),
            ..base(Mode::Create)
        },
    }
}

/// An input may begin with a line of two digits, the numbers of the host and of the request; the rest is the document.
pub fn choice(input: &[u8]) -> ((u8, u8), &[u8]) {
    match input {
        [host @ b'0'..=b'9', request @ b'0'..=b'9', b'\n', rest @ ..] => ((host - b'0', request - b'0'), rest),
        all => ((0, 0), all),
    }
}

/// Every violation names a place, and what is in config.json has a line there.
pub fn complaints_lead_somewhere(violations: &[Violation]) {
    for violation in violations {
        assert!(!violation.field.pointer().is_empty(), "a complaint about nothing: {violation}");
        assert!(!violation.field.is_config() || violation.line.is_some(), "no line: {violation}");
        assert!(!violation.why.is_empty());
    }
}

/// Every violation has its place, every error words.
pub fn judge_error(error: &Error) {
    if let Error::Violations(violations) = error {
        assert!(!violations.is_empty(), "an error without a reason");
        complaints_lead_somewhere(violations);
    }
    let context = corten::explain::Context::of("create", Some("web"));
    assert!(!corten::explain::render(error, &context).message.is_empty());
}

/// The rules of order cost the square of the steps, so they are asked of plans of a usual size.
const USUAL: usize = 300;

/// Plans as `create` and `plan` do, and judges what comes out. The answer is what a person would see.
pub fn plan(config: &Config, request: &Request, host: &Host) -> String {
    let plan = match launch::plan(config, request, host) {
        Ok(plan) => plan,
        Err(error) => {
            judge_error(&error);
            return error.to_string();
        }
    };
    let steps: usize = Stage::ALL.into_iter().map(|stage| plan.steps(stage).len()).sum();
    assert!(steps <= 8 * usize::from(u16::MAX), "{steps} steps can't be numbered");
    if steps <= USUAL {
        planning::check(&plan, config, request).unwrap_or_else(|why| panic!("{why}"));
    }
    stays_inside(&plan);
    render_text(&plan, &config.bytes)
}

/// Plans an `exec` of this process in a container with all properties; what came of it.
pub fn exec_plan(process: Process, host: &Host) -> String {
    static CONTAINER: std::sync::OnceLock<Option<Spec>> = std::sync::OnceLock::new();
    let container = CONTAINER.get_or_init(|| serde_json::from_value(mutate::full().clone()).ok());
    let Some(mut spec) = container.clone() else { panic!("the config with everything can't be read") };
    let completed = completed(&spec, process);
    spec.set_process(Some(completed));
    let request = Request { console_socket: None, ..Request::new("web", "", Mode::Exec { detach: false }) };
    let violations = validate::validate_exec(&spec, &request, host, None);
    complaints_lead_somewhere(&violations);
    if !violations.is_empty() {
        return format!("{violations:?}");
    }
    let entered = Entered { init: 42, group: &Group::default(), rdt: None, below: &[] };
    match plan_exec(&spec, host, &request, &entered) {
        Ok(plan) => {
            planning::check_exec(&plan, host).unwrap_or_else(|why| panic!("{why}"));
            format!("{plan:?}")
        }
        Err(violations) => format!("{violations:?}"),
    }
}

/// Plans these mounts for a container with all properties that runs; what came of it.
pub fn mounts_plan(mounts: Vec<Mount>, host: &Host) -> String {
    let Ok(mut spec) = serde_json::from_value::<Spec>(mutate::full().clone()) else {
        panic!("the config with everything can't be read")
    };
    spec.set_mounts(Some(mounts));
    let request = Request::new("web", "/bundle", Mode::Exec { detach: true });
    let visited = Visited { spec: &spec, init: 42, group: &Group::default() };
    match plan_add(&visited, host, &request) {
        Ok(added) => {
            planning::check_mounts(&added.plan).unwrap_or_else(|why| panic!("{why}"));
            format!("{:?}", added.plan)
        }
        Err(violations) => format!("{violations:?}"),
    }
}

/// Nothing in the plan leads out of the hierarchies.
fn stays_inside(plan: &Plan) {
    group_stays_inside(&plan.group);
}

/// The cgroups of a group are below the mounts of their hierarchies, and none is the root itself.
pub fn group_stays_inside(group: &Group) {
    for place in &group.places {
        assert!(is_below(&place.path), "{:?} leads out", place.path);
        assert!(place.dir().starts_with(&place.mount), "{:?} isn't below {:?}", place.dir(), place.mount);
    }
    if let Some(unit) = &group.unit {
        for name in [&unit.name, &unit.slice] {
            assert!(!name.is_empty() && !name.contains(['/', '\0', '\n']), "{name:?} is no name of a unit");
        }
        assert!(unit.name.len() <= 255 && unit.slice.len() <= 255, "the names of {unit:?} are too long");
    }
}

fn is_below(path: &Path) -> bool {
    path.components().next().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)))
}
