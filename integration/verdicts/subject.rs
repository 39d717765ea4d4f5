//! What is judged: corten's own way from `linux.seccomp` to the bytes that a container loads, through the cache and back. The
//! only file here that knows it.

use std::fs::File;
use std::os::fd::AsFd;

use corten::process::seccomp::plan::plan_filter;
use corten::process::seccomp::{cache, compile, prepare, program};
use oci_spec::runtime::LinuxSeccomp;
use serde_json::Value;

use super::bpf::Program;

/// The program fresh from the compiler, and the one that comes back from the cache.
pub struct Subject {
    pub fresh: Program,
    pub cached: Program,
}

/// The program of `linux.seccomp`, in a state root of its own.
pub fn compile(seccomp: &Value) -> Result<Subject, String> {
    let filter = plan_filter(&serde_json::from_value::<LinuxSeccomp>(seccomp.clone()).map_err(|e| e.to_string())?);
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let root = File::open(dir.path()).map_err(|error| error.to_string())?;
    let (fresh, trouble) = prepare(&filter, Some(root.as_fd())).map_err(|refused| refused.why)?;
    assert_eq!(trouble, None, "the program is kept");
    let cached = cache::find(root.as_fd(), &compile::key(&filter)).expect("the program was kept");
    let read = |program: &program::Program| Program::parse(&program.to_bytes()).map_err(|flaw| flaw.to_string());
    Ok(Subject { fresh: read(&fresh)?, cached: read(&cached)? })
}
