//! `corten plan`: the place where it will stand.

use crate::cli::{BundleArgs, Globals};
use crate::error::{Error, Result};
use crate::log::Log;

pub fn run(_globals: &Globals, _args: BundleArgs, _log: &mut Log) -> Result<i32> {
    Err(Error::Usage("plan is not built yet".into()))
}
