//! `corten delete`: the place where it will stand.

use crate::cli::{DeleteArgs, Globals};
use crate::error::{Error, Result};
use crate::log::Log;

pub fn run(_globals: &Globals, _args: DeleteArgs, _log: &mut Log) -> Result<i32> {
    Err(Error::Usage("delete is not built yet".into()))
}
