//! `corten list`: the place where it will stand.

use crate::cli::{Globals, ListArgs};
use crate::error::{Error, Result};
use crate::log::Log;

pub fn run(_globals: &Globals, _args: ListArgs, _log: &mut Log) -> Result<i32> {
    Err(Error::Usage("list is not built yet".into()))
}
