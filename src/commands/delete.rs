//! `corten delete [--force] [--regex] ID`.

use std::path::Path;

use crate::container::delete::{delete, delete_matching};
use crate::container::{ContainerId, Store, Warning};
use crate::error::Result;

/// `id` is a regular expression over all ids with `regex`.
pub fn run(root: &Path, id: &str, force: bool, regex: bool, warnings: &mut Vec<Warning>) -> Result<i32> {
    let store = Store::open(root)?;
    match regex {
        true => delete_matching(&store, id, force, warnings)?,
        false => delete(&store, &ContainerId::parse(id)?, force, warnings)?,
    }
    Ok(0)
}
