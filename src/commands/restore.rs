//! `corten restore ID`: brings a dumped container back, and, unless it is detached, stays until it ends and deletes it.

use super::checkpoint::{absolute, refuse_joined};
use super::launch;
use crate::cli::{Globals, RestoreArgs};
use crate::config;
use crate::container::create::Creation;
use crate::container::restore::{self, Restoration, Restored};
use crate::container::{ContainerId, Store, delete};
use crate::criu::plan::ManageCgroups;
use crate::criu::plan::mounts::attached;
use crate::error::Result;
use crate::host::Host;
use crate::log::Log;
use crate::plan::restore::plan_restore;
use crate::process::foreground::{self, Signals};
use crate::request::{Mode, Request};

pub fn run(globals: &Globals, args: RestoreArgs, log: &mut Log) -> Result<i32> {
    let host = Host::probe();
    launch::require_root(&host, "a restore")?;
    if args.detach {
        return bring_back(globals, &args, &host, log).map(|_| 0);
    }
    let signals = Signals::block()?;
    if !args.no_subreaper {
        foreground::become_subreaper()?;
    }
    let Restored { record, pid, terminal } = bring_back(globals, &args, &host, log)?;
    log.succeeded();
    let end = foreground::wait_for(pid, &signals, terminal, None);
    let mut warnings = Vec::new();
    let (store, id) = (Store::open(&globals.root)?, ContainerId::parse(&record.id)?);
    let deleted = delete::delete(&store, &id, true, &mut warnings);
    warnings.into_iter().for_each(|warning| log.warn(warning));
    deleted?;
    end.map(|end| end.code())
}

fn bring_back(globals: &Globals, args: &RestoreArgs, host: &Host, log: &mut Log) -> Result<Restored> {
    ContainerId::parse(&args.id)?;
    let bundle = launch::bundle(&args.bundle)?;
    let config = config::bundle::load(&bundle, None)?;
    refuse_joined(&config.spec)?;
    let request = Request {
        pid_file: args.pid_file.as_deref().map(absolute).transpose()?,
        console_socket: args.console_socket.as_deref().map(absolute).transpose()?,
        no_subreaper: args.no_subreaper,
        cgroup_driver: globals.cgroup_driver,
        resctrl: launch::resctrl(globals, &config.spec),
        ..Request::new(&args.id, bundle, Mode::Restore { detach: args.detach })
    };
    let whole = launch::plan(&config, &request, host)?;
    let restore = args.restore();
    let plan = plan_restore(&whole, restore.common.manage_cgroups == ManageCgroups::Ignore);
    launch::warnings(&config.warnings, &plan).into_iter().for_each(|warning| log.warn(warning));
    let injections: Vec<_> = globals.fault.iter().map(launch::injection).collect();
    let (images, work) = (absolute(&args.criu.image_path)?, absolute(args.criu.work())?);
    let restoration = Restoration {
        creation: Creation {
            spec: &config.spec,
            config: &config.bytes,
            request: &request,
            plan: &plan,
            injections: &injections,
        },
        attached: attached(&whole),
        layout: &host.cgroups,
        restore: &restore,
        images: &images,
        work: &work,
        criu: globals.criu.as_deref(),
    };
    let mut warnings = Vec::new();
    let restored = restore::restore(&mut Store::open(&globals.root)?, &restoration, &mut warnings);
    warnings.into_iter().for_each(|warning| log.warn(warning));
    restored
}
