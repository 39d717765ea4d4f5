//! `corten run`: the place where it will stand.

use crate::cli::{Globals, RunArgs};
use crate::error::{Error, Result};
use crate::log::Log;

pub fn run(_globals: &Globals, _args: RunArgs, _log: &mut Log) -> Result<i32> {
    Err(Error::Usage("run is not built yet".into()))
}
