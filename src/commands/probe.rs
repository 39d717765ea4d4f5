//! `corten probe`: the place where it will stand.

use crate::cli::{Globals, ProbeArgs};
use crate::error::{Error, Result};
use crate::log::Log;

pub fn run(_globals: &Globals, _args: ProbeArgs, _log: &mut Log) -> Result<i32> {
    Err(Error::Usage("probe is not built yet".into()))
}
