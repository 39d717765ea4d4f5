//! `corten kill [--all] [--regex] ID [SIGNAL]`.

use crate::cli::{Globals, KillArgs};
use crate::container::kill::{kill, kill_matching};
use crate::container::{ContainerId, Store};
use crate::error::Result;
use crate::log::Log;

/// `id` is a regular expression over all ids with `regex`.
pub fn run(globals: &Globals, args: KillArgs, _log: &mut Log) -> Result<i32> {
    let store = Store::open(&globals.root)?;
    match args.regex {
        true => kill_matching(&store, &args.id, &args.signal, args.all)?,
        false => kill(&store, &ContainerId::parse(&args.id)?, &args.signal, args.all)?,
    }
    Ok(0)
}
