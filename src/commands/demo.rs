//! `corten demo`: the place where it will stand.

use crate::cli::{DemoArgs, Globals};
use crate::error::{Error, Result};
use crate::log::Log;

pub fn run(_globals: &Globals, _args: DemoArgs, _log: &mut Log) -> Result<i32> {
    Err(Error::Usage("demo is not built yet".into()))
}
