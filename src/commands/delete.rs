//! `corten delete [--force] [--regex] ID`.

use crate::cli::{DeleteArgs, Globals};
use crate::container::delete::{delete, delete_matching};
use crate::container::{ContainerId, Store};
use crate::error::Result;
use crate::log::Log;

/// `id` is a regular expression over all ids with `regex`.
pub fn run(globals: &Globals, args: DeleteArgs, log: &mut Log) -> Result<i32> {
    let store = Store::open(&globals.root)?;
    let mut warnings = Vec::new();
    let result = match args.regex {
        true => delete_matching(&store, &args.id, args.force, &mut warnings),
        false => ContainerId::parse(&args.id).and_then(|id| delete(&store, &id, args.force, &mut warnings)),
    };
    warnings.into_iter().for_each(|warning| log.warn(warning));
    result.map(|()| 0)
}
