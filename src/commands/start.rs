//! `corten start ID`.

use std::path::Path;

use crate::container::start::{StartFault, start};
use crate::container::{ContainerId, Store, Warning};
use crate::error::Result;

pub fn run(root: &Path, id: &str, fault: StartFault, warnings: &mut Vec<Warning>) -> Result<i32> {
    let id = ContainerId::parse(id)?;
    start(&Store::open(root)?, &id, fault, warnings)?;
    Ok(0)
}
