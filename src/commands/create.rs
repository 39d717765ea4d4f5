//! `corten create ID`: makes a container whose program waits for `start`.

use super::launch;
use crate::cli::{CreateArgs, Globals};
use crate::error::Result;
use crate::log::Log;
use crate::request::Mode;

pub fn run(globals: &Globals, args: CreateArgs, log: &mut Log) -> Result<i32> {
    let request = launch::request(args.launch.clone(), Mode::Create, true)?;
    launch::create(globals, &args.launch, &request, log)?;
    Ok(0)
}
