//! `corten resume ID`.

use crate::cli::{Globals, ResumeArgs};
use crate::container::pause::resume;
use crate::container::{ContainerId, Store};
use crate::error::Result;
use crate::log::Log;

pub fn run(globals: &Globals, args: ResumeArgs, _log: &mut Log) -> Result<i32> {
    resume(&Store::open(&globals.root)?, &ContainerId::parse(&args.id)?).map(|()| 0)
}
