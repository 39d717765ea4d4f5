//! `corten state`: the place where it will stand.

use crate::cli::{Globals, StateArgs};
use crate::error::{Error, Result};
use crate::log::Log;

pub fn run(_globals: &Globals, _args: StateArgs, _log: &mut Log) -> Result<i32> {
    Err(Error::Usage("state is not built yet".into()))
}
