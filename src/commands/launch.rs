//! What `create` and `run` have in common: from the command line to a container.

use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use crate::cgroups::rdt;
use crate::cli::{FaultPoint, Globals, LaunchArgs};
use crate::config::{self, Config};
use crate::container::create::{self, Creation};
use crate::container::{self, ContainerId, Record, Store};
use crate::error::{Doing, Error, Result, Warning};
use crate::fault::Stage;
use crate::field::Field;
use crate::host::Host;
use crate::log::Log;
use crate::plan::{self, Plan};
use crate::process::init::Injection;
use crate::process::launch::Launched;
use crate::process::notify;
use crate::request::{CgroupDriver, Mode, NotifyAddress, NotifySocket, Request, Resctrl};
use crate::sys::{socket, tty};

/// The request behind a command line.
pub fn request(args: LaunchArgs, mode: Mode, no_subreaper: bool) -> Result<Request> {
    let absolute = |path: PathBuf| std::path::absolute(&path).doing(|| format!("find {}", path.display()));
    Ok(Request {
        id: args.id,
        bundle: bundle(&args.bundle)?,
        mode,
        pid_file: args.pid_file.map(absolute).transpose()?,
        console_socket: args.console_socket.map(absolute).transpose()?,
        pidfd_socket: args.pidfd_socket.map(absolute).transpose()?,
        no_pivot: args.no_pivot,
        no_new_keyring: args.no_new_keyring,
        preserve_fds: args.preserve_fds,
        listen_fds: crate::request::listen_fds(),
        listen_fd_names: std::env::var("LISTEN_FDNAMES").ok(),
        // Filled in by `create`, which knows the container's directory.
        notify_socket: None,
        // These depend on the host.
        resctrl: None,
        cgroup_driver: CgroupDriver::default(),
        rootless: false,
        no_subreaper,
        terminal_size: tty::size(0),
    })
}

/// The request of `plan` and `check`: a `create` that has a console socket if the config wants a terminal.
pub fn dry_request(globals: &Globals, host: &Host, bundle: PathBuf, spec: &Spec) -> Request {
    let terminal = spec.process().as_ref().is_some_and(|process| process.terminal().unwrap_or(false));
    Request {
        console_socket: terminal.then(|| PathBuf::from("CONSOLE-SOCKET")),
        cgroup_driver: globals.cgroup_driver,
        resctrl: resctrl(globals, spec),
        rootless: globals.rootless.applies(host),
        ..Request::new("ID", bundle, Mode::Create)
    }
}

/// The file system of resource control, looked for only when the config asks for it.
pub(super) fn resctrl(globals: &Globals, spec: &Spec) -> Option<Resctrl> {
    spec.linux().as_ref().and_then(|linux| linux.intel_rdt().as_ref())?;
    match &globals.pretend_resctrl {
        Some(dir) => Some(Resctrl { mount: dir.clone(), pretended: true }),
        None => rdt::probe_mount().map(|mount| Resctrl { mount, pretended: false }),
    }
}

/// What criu does takes rights that no ordinary user has.
pub(super) fn require_root(host: &Host, what: &str) -> Result {
    match host.rootless() {
        true => Err(Error::WrongStatus(format!("{what} takes root: criu can't do it for an ordinary user"))),
        false => Ok(()),
    }
}

/// The bundle as an absolute path without symbolic links.
pub fn bundle(path: &Path) -> Result<PathBuf> {
    let canonical = path.canonicalize().doing(|| format!("chdir {}", path.display()));
    canonical.map_err(|error| error.field(Field::at("--bundle")))
}

/// Reads, validates and plans.
pub fn plan(config: &Config, request: &Request, host: &Host) -> Result<Plan> {
    let violations = config::validate::validate(config, request, host);
    if !violations.is_empty() {
        return Err(Error::Violations(violations));
    }
    plan::plan(&config.spec, host, request)
        .map_err(|violations| Error::Violations(config::lenient::with_lines(&config.bytes, violations)))
}

/// What the config and the plan warn of. Where both have a word on one property, the plan knows more: it knows the host.
pub fn warnings(of_config: &[Warning], plan: &Plan) -> Vec<Warning> {
    let also_planned = |warning: &&Warning| plan.warnings.iter().any(|planned| planned.field == warning.field);
    let mut warnings: Vec<_> = of_config.iter().filter(|warning| !also_planned(warning)).cloned().collect();
    warnings.extend(plan.warnings.iter().cloned());
    warnings
}

/// Creates the container; what is worth a warning goes to the log.
pub fn create(globals: &Globals, args: &LaunchArgs, request: &Request, log: &mut Log) -> Result<(Record, Launched)> {
    // Refused before anything is read, as engines expect.
    ContainerId::parse(&request.id)?;
    let config = config::bundle::load(&request.bundle, args.config.as_deref())?;
    let host = Host::probe();
    let request = &Request {
        notify_socket: notify_socket(globals, &request.id, &config.spec, log),
        cgroup_driver: globals.cgroup_driver,
        resctrl: resctrl(globals, &config.spec),
        rootless: globals.rootless.applies(&host),
        ..request.clone()
    };
    let plan = plan(&config, request, &host)?;
    log.debug(|| unknown_properties(&config));
    warnings(&config.warnings, &plan).into_iter().for_each(|warning| log.warn(warning));
    let injections: Vec<_> = globals.fault.iter().map(injection).collect();
    let creation =
        Creation { spec: &config.spec, config: &config.bytes, request, plan: &plan, injections: &injections };
    let mut store = Store::open(&globals.root)?;
    let mut warnings = Vec::new();
    let created = create::create(&mut store, &creation, &mut warnings);
    if let Ok((_, launched)) = &created {
        warnings.extend(launched.warnings.iter().cloned());
        log.debug(|| timings(&plan, launched));
    }
    warnings.into_iter().for_each(|warning| log.warn(warning));
    created
}

/// The caller's NOTIFY_SOCKET; one that can't be used is a warning and counts as none.
pub fn notify_address(log: &mut Log) -> Option<NotifyAddress> {
    let given = std::env::var_os("NOTIFY_SOCKET").filter(|value| !value.is_empty())?;
    let refuse = |why| log.warn(notify::warning(format!("{why}, so nobody is told when the container is ready")));
    NotifyAddress::parse(&given).map_err(refuse).ok()
}

fn notify_socket(globals: &Globals, id: &str, spec: &Spec, log: &mut Log) -> Option<NotifySocket> {
    let dir = globals.root.join(id).join(container::notify::DIR);
    let planned = notify::plan_notify(notify_address(log)?, dir, spec);
    planned.unwrap_or_else(|warning| {
        log.warn(warning);
        None
    })
}

fn unknown_properties(config: &Config) -> String {
    let unknown = config::schema::unknown_properties(&config.bytes);
    let names: Vec<_> = unknown.iter().map(ToString::to_string).collect();
    match names.is_empty() {
        true => "config.json has no unknown properties".to_owned(),
        false => format!("config.json has unknown properties, which are ignored: {}", names.join(", ")),
    }
}

/// How long each of the child's steps took, as far as it has come: one line, so that the log stays one entry.
pub(super) fn timings(plan: &Plan, launched: &Launched) -> String {
    let steps = [Stage::StageOne, Stage::StageTwo, Stage::Start].map(|stage| plan.steps(stage)).concat();
    let begun: Vec<_> = (0..steps.len()).map(|ordinal| launched.page.time(ordinal)).collect();
    let took = steps.iter().zip(begun.windows(2)).filter(|(_, times)| times[0] > 0 && times[1] > times[0]);
    let words = took.map(|(step, times)| format!("{} {} µs", plan::render(&step.op), (times[1] - times[0]) / 1000));
    format!("steps of the new process: {}", words.collect::<Vec<_>>().join("; "))
}

pub(super) fn injection(point: &FaultPoint) -> Injection {
    Injection { stage: point.stage, step: point.step, how: point.how }
}

/// The master of a terminal, out of corten's own socket.
pub(super) fn terminal(console: Option<RawFd>) -> Result<Option<OwnedFd>> {
    console.map(|socket| socket::receive_last(socket).doing(|| "receive the terminal")).transpose()
}
