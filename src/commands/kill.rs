//! `corten kill`: the place where it will stand.

use crate::cli::{Globals, KillArgs};
use crate::error::{Error, Result};
use crate::log::Log;

pub fn run(_globals: &Globals, _args: KillArgs, _log: &mut Log) -> Result<i32> {
    Err(Error::Usage("kill is not built yet".into()))
}
