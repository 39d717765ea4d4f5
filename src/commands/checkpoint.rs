//! `corten checkpoint ID`: dumps a container by criu.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::launch;
use crate::cli::{CheckpointArgs, Globals};
use crate::config::parse;
use crate::container::checkpoint::{Subject, Target};
use crate::container::{ContainerId, Store};
use crate::criu;
use crate::error::{Doing, Error, Result, Violation};
use crate::field::Field;
use crate::host::Host;
use crate::log::Log;
use crate::plan;
use crate::request::{CgroupDriver, Mode, Request};
use crate::sys::descriptor;

pub fn run(globals: &Globals, args: CheckpointArgs, log: &mut Log) -> Result<i32> {
    let id = ContainerId::parse(&args.id)?;
    let host = Host::probe();
    launch::require_root(&host, "a checkpoint")?;
    check(&args)?;
    let subject = Subject::open(&Store::open(&globals.root)?, &id)?;
    let config = parse::config(PathBuf::from("config.json"), subject.config()?)?;
    let request = Request {
        // Where they are is on record.
        cgroup_driver: CgroupDriver::Disabled,
        resctrl: launch::resctrl(globals, &config.spec),
        ..Request::new(&args.id, subject.bundle(), Mode::Restore { detach: true })
    };
    refuse_joined(&config.spec)?;
    let plan = plan::plan(&config.spec, &host, &request).map_err(Error::Violations)?;
    let (images, work) = (absolute(&args.criu.image_path)?, absolute(args.criu.work())?);
    let dump = args.dump();
    let target = Target {
        dump: &dump,
        images: &images,
        work: &work,
        criu: globals.criu.as_deref(),
        status_fd: args.status_fd,
        layout: &host.cgroups,
    };
    let mut warnings = Vec::new();
    let dumped = subject.dump(&config.spec, &plan, &target, &mut warnings);
    warnings.into_iter().for_each(|warning| log.warn(warning));
    dumped.map(|()| 0)
}

/// Namespaces that criu would make anew, where the config joins one, are refused before anything is written.
pub(super) fn refuse_joined(spec: &Spec) -> Result {
    match criu::plan::refuse_joined(spec) {
        found if found.is_empty() => Ok(()),
        found => Err(Error::Violations(found)),
    }
}

pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).doing(|| format!("find {}", path.display()))
}

/// What is wrong with the flags, before the container is looked at.
fn check(args: &CheckpointArgs) -> Result {
    let refuse = |flag, why: String, hint: &str| {
        Err(Error::Violations(vec![Violation::new(Field::at(flag), why).hint(hint.to_owned())]))
    };
    if let Some(parent) = &args.parent_path {
        if parent.is_absolute() {
            let why = format!("must be relative to --image-path, not {parent:?}");
            return refuse("--parent-path", why, "criu keeps it as a link beside the images");
        }
    }
    if let Some(fd) = args.status_fd.filter(|fd| *fd < 0 || descriptor::is_cloexec(*fd).is_err()) {
        return refuse(
            "--status-fd",
            format!("descriptor {fd} isn't open"),
            "the caller opens it, such as by `3>file`",
        );
    }
    Ok(())
}
