//! `corten pause ID`.

use crate::cli::{Globals, PauseArgs};
use crate::container::pause::pause;
use crate::container::{ContainerId, Store};
use crate::error::Result;
use crate::log::Log;

pub fn run(globals: &Globals, args: PauseArgs, _log: &mut Log) -> Result<i32> {
    pause(&Store::open(&globals.root)?, &ContainerId::parse(&args.id)?).map(|()| 0)
}
