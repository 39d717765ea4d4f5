//! `corten exec ID COMMAND...`: one more process in a container, and, unless it is detached, corten stays until it ends.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::launch;
use crate::cli::{ExecArgs, Globals};
use crate::config::exec::{Changes, changed, completed, field_for};
use crate::config::{bundle, lenient, parse, validate};
use crate::container::exec::Entrance;
use crate::container::{ContainerId, Store};
use crate::error::{Doing, Error, Result, Violation, Warning};
use crate::field::Field;
use crate::host::Host;
use crate::log::Log;
use crate::plan::Plan;
use crate::plan::exec::{Entered, plan_exec};
use crate::process::foreground::{self, Signals};
use crate::process::launch::Launched;
use crate::request::{Mode, Request};
use crate::sys::tty;

pub fn run(globals: &Globals, args: ExecArgs, log: &mut Log) -> Result<i32> {
    let id = ContainerId::parse(&args.id)?;
    let store = Store::open(&globals.root)?;
    let entrance = Entrance::open(&store, &id, args.ignore_paused)?;
    let mut config = parse::config(PathBuf::from("config.json"), entrance.config()?)?;
    let host = Host::probe();
    let request = request(globals, &args, &host, entrance.record.no_new_keyring)?;
    let wanted = Wanted::read(&args)?;
    let mut warnings = wanted.warnings.clone();
    wanted.put_into(&mut config.spec, &config.bytes, &request, &host)?;
    let entered = Entered {
        init: entrance.pid,
        group: &entrance.record.group,
        rdt: entrance.record.rdt.as_ref(),
        below: &args.cgroup,
    };
    let plan = plan_exec(&config.spec, &host, &request, &entered).map_err(|found| wanted.refused(found))?;
    let plan = wanted.tell(plan);
    warnings.extend(plan.warnings.iter().cloned());
    let injections: Vec<_> = globals.fault.iter().map(launch::injection).collect();
    // From before the program, so that none that comes early is lost; until then they end corten, which may wait for a
    // container that is paused, and with it a process that hasn't become its program.
    let mut signals = None;
    let mut settled = || {
        signals = (!args.detach).then(Signals::block).transpose()?;
        Ok(())
    };
    let take_terminal = terminal(&config.spec) && request.console_socket.is_none();
    let launched = entrance.launch(&plan, &injections, take_terminal, &mut settled, &mut warnings);
    if let Ok(launched) = &launched {
        warnings.extend(launched.warnings.iter().cloned());
        log.debug(|| launch::timings(&plan, launched));
    }
    warnings.into_iter().for_each(|warning| log.warn(warning));
    let Launched { pid, console, .. } = launched?;
    let Some(signals) = signals else { return Ok(0) };
    let terminal = launch::terminal(console)?;
    log.succeeded();
    foreground::wait_for(pid, &signals, terminal, None).map(|end| end.code())
}

fn terminal(spec: &Spec) -> bool {
    spec.process().as_ref().is_some_and(|process| process.terminal() == Some(true))
}

fn request(globals: &Globals, args: &ExecArgs, host: &Host, no_new_keyring: bool) -> Result<Request> {
    let absolute = |path: &PathBuf| std::path::absolute(path).doing(|| format!("find {}", path.display()));
    Ok(Request {
        pid_file: args.pid_file.as_ref().map(absolute).transpose()?,
        console_socket: args.console_socket.as_ref().map(absolute).transpose()?,
        pidfd_socket: args.pidfd_socket.as_ref().map(absolute).transpose()?,
        no_new_keyring,
        preserve_fds: args.preserve_fds,
        rootless: globals.rootless.applies(host),
        terminal_size: tty::size(0),
        ..Request::new(&args.id, "", Mode::Exec { detach: args.detach })
    })
}

/// The process that is asked for, and how to speak of it.
enum Asked {
    Flags(Changes),
    File { process: Box<oci_spec::runtime::Process>, bytes: Vec<u8> },
}

struct Wanted {
    asked: Asked,
    warnings: Vec<Warning>,
}

impl Wanted {
    fn read(args: &ExecArgs) -> Result<Wanted> {
        let Some(path) = &args.process else {
            if args.command.is_empty() {
                return Err(Error::Usage(
                    "exec args cannot be empty: name a program, or a file with --process".to_owned(),
                ));
            }
            return Ok(Wanted { asked: Asked::Flags(changes(args)?), warnings: Vec::new() });
        };
        let bytes = bundle::read_json(path)?;
        let (process, warnings) = parse::process(path, &bytes)?;
        match validate::validate_process(&process, &bytes) {
            violations if violations.is_empty() => {
                Ok(Wanted { asked: Asked::File { process: Box::new(process), bytes }, warnings })
            }
            violations => Err(Error::Violations(violations)),
        }
    }

    /// Makes it the process of the container's spec, and judges what comes of it.
    fn put_into(&self, spec: &mut Spec, config: &[u8], request: &Request, host: &Host) -> Result {
        let process = match &self.asked {
            Asked::Flags(changes) => changed(spec, changes).map_err(|violation| self.refused(vec![violation]))?,
            Asked::File { process, .. } => completed(spec, (**process).clone()),
        };
        spec.set_process(Some(process));
        let whole = matches!(self.asked, Asked::Flags(_)).then_some(config);
        match validate::validate_exec(spec, request, host, whole) {
            violations if violations.is_empty() => Ok(()),
            violations => Err(self.refused(violations)),
        }
    }

    fn field(&self, field: &Field) -> Field {
        match &self.asked {
            Asked::Flags(changes) => field_for(field, Some(changes)),
            Asked::File { .. } => field_for(field, None),
        }
    }

    fn refused(&self, violations: Vec<Violation>) -> Error {
        let told =
            violations.into_iter().map(|found| Violation { field: self.field(&found.field), line: None, ..found });
        Error::Violations(match &self.asked {
            Asked::Flags(_) => told.collect(),
            Asked::File { bytes, .. } => lenient::with_lines(bytes, told.collect()),
        })
    }

    /// The plan in the caller's words.
    fn tell(&self, mut plan: Plan) -> Plan {
        for list in [&mut plan.host, &mut plan.stage_one, &mut plan.stage_two, &mut plan.ready, &mut plan.start] {
            list.iter_mut().for_each(|step| step.field = self.field(&step.field));
        }
        plan.warnings.iter_mut().for_each(|warning| warning.field = self.field(&warning.field));
        plan
    }
}

fn changes(args: &ExecArgs) -> Result<Changes> {
    let text = |word: &std::ffi::OsString| {
        let refuse =
            || Error::Usage(format!("{:?} is not UTF-8, which a process's arguments must be", Path::new(word)));
        word.to_str().map(str::to_owned).ok_or_else(refuse)
    };
    Ok(Changes {
        args: args.command.iter().map(text).collect::<Result<_>>()?,
        cwd: args.cwd.clone(),
        env: args.env.clone(),
        tty: args.tty,
        user: args.user,
        additional_gids: args.additional_gids.clone(),
        capabilities: args.cap.clone(),
        apparmor: args.apparmor.clone(),
        process_label: args.process_label.clone(),
        no_new_privs: args.no_new_privs.then_some(true),
    })
}
