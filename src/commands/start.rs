//! `corten start`: the place where it will stand.

use crate::cli::{Globals, StartArgs};
use crate::error::{Error, Result};
use crate::log::Log;

pub fn run(_globals: &Globals, _args: StartArgs, _log: &mut Log) -> Result<i32> {
    Err(Error::Usage("start is not built yet".into()))
}
