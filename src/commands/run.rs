//! `corten run ID`: creates a container, starts it, and, unless it is detached, stays until it ends and deletes it.

use super::launch;
use crate::cli::{Globals, RunArgs};
use crate::container::{ContainerId, Record, Store, Warning, delete, notify, start};
use crate::error::Result;
use crate::log::Log;
use crate::process::foreground::{self, Signals};
use crate::process::launch::Launched;
use crate::request::Mode;

pub fn run(globals: &Globals, args: RunArgs, log: &mut Log) -> Result<i32> {
    let mode = Mode::Run { detach: args.detach, keep: args.keep };
    let request = launch::request(args.launch.clone(), mode, args.no_subreaper)?;
    if args.detach {
        let (record, Launched { notify, .. }) = launch::create(globals, &args.launch, &request, log)?;
        started(globals, &record, log)?;
        let mut warnings = Vec::new();
        let waited = notify::wait_until_ready(notify, &record, None, &mut warnings);
        tell(warnings, log);
        return waited.map(|()| 0);
    }
    let signals = Signals::block()?;
    if !request.no_subreaper {
        foreground::become_subreaper()?;
    }
    let (record, Launched { pid, console, notify, .. }) = launch::create(globals, &args.launch, &request, log)?;
    started(globals, &record, log)?;
    let mut warnings = Vec::new();
    let relay = notify::relay(notify, &record, None, None, &mut warnings);
    tell(warnings, log);
    let end = launch::terminal(console).and_then(|terminal| {
        log.succeeded();
        foreground::wait_for(pid, &signals, terminal, relay)
    });
    if !args.keep {
        let mut warnings = Vec::new();
        // Somebody may have deleted it meanwhile, and that is no failure of this run.
        let (store, id) = (Store::open(&globals.root)?, ContainerId::parse(&record.id)?);
        let deleted = delete::delete(&store, &id, true, &mut warnings);
        tell(warnings, log);
        deleted?;
    }
    end.map(|end| end.code())
}

/// The poststart hooks; one that fails stops the container.
fn started(globals: &Globals, record: &Record, log: &mut Log) -> Result {
    let mut warnings = Vec::new();
    let (store, id) = (Store::open(&globals.root)?, ContainerId::parse(&record.id)?);
    let result = start::started(&store, &id, record, &mut warnings);
    tell(warnings, log);
    result
}

fn tell(warnings: Vec<Warning>, log: &mut Log) {
    warnings.into_iter().for_each(|warning| log.warn(warning));
}
