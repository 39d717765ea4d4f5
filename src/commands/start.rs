//! `corten start ID`.

use super::launch;
use crate::cli::{Globals, StartArgs};
use crate::container::start::start;
use crate::container::{ContainerId, Store};
use crate::error::Result;
use crate::log::Log;
use crate::process::report::left_fault;

pub fn run(globals: &Globals, args: StartArgs, log: &mut Log) -> Result<i32> {
    let id = ContainerId::parse(&args.id)?;
    let mut warnings = Vec::new();
    let notify = launch::notify_address(log);
    let result = start(&Store::open(&globals.root)?, &id, &left_fault, notify, &mut warnings);
    warnings.into_iter().for_each(|warning| log.warn(warning));
    result.map(|()| 0)
}
