//! `corten kill [--all] [--regex] ID [SIGNAL]`.

use std::path::Path;

use crate::container::kill::{kill, kill_matching};
use crate::container::{ContainerId, Store};
use crate::error::Result;

/// `id` is a regular expression over all ids with `regex`.
pub fn run(root: &Path, id: &str, signal: &str, all: bool, regex: bool) -> Result<i32> {
    let store = Store::open(root)?;
    match regex {
        true => kill_matching(&store, id, signal, all)?,
        false => kill(&store, &ContainerId::parse(id)?, signal, all)?,
    }
    Ok(0)
}
