//! `corten create`: the place where it will stand.

use crate::cli::{CreateArgs, Globals};
use crate::error::{Error, Result};
use crate::log::Log;

pub fn run(_globals: &Globals, _args: CreateArgs, _log: &mut Log) -> Result<i32> {
    Err(Error::Usage("create is not built yet".into()))
}
