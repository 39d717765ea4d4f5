//! The effects of this domain on the fresh child, which waits meanwhile: only the systemd driver has any, as a scope can't
//! be without a process. Runs in the host process, so it may allocate; nothing that runs after clone may come here.

use std::path::Path;

use nix::errno::Errno;

use super::file::{read, write};
use super::make::{fill_cpuset, make_dirs, refuse_inhabited};
use super::{Move, Op, make, rdt, systemd};
use crate::error::Result;
use crate::fault::{Call, Effect, Trouble};
use crate::slots::Slots;

/// Carries out a step of the adopt list on the child `pid`. The outer error is one that no errno tells.
pub fn apply_adopt(op: &Op, pid: i32, slots: &mut Slots) -> Result<Effect> {
    Ok(match op {
        Op::StartUnit(start) => return systemd::start(start, pid).map(Ok),
        Op::Move(step) => apply_move(step, pid),
        Op::MakeClass { rdt, schemata } => rdt::make(rdt, schemata),
        Op::EnterClass { rdt } => rdt::enter(rdt, pid),
        op => make::apply_host(op, slots),
    })
}

fn apply_move(step: &Move, pid: i32) -> Effect {
    let dir = step.mount.join(&step.path);
    if is_member(&dir, pid)? {
        return Ok(());
    }
    if step.must_be_there {
        return Err(Trouble::new(Call::CheckCgroup, Errno::ESRCH));
    }
    if !make_dirs(&step.mount, &step.path)? {
        refuse_inhabited(&dir)?;
    }
    if step.fill_cpuset {
        fill_cpuset(&step.mount, &step.path)?;
    }
    write(&dir.join("cgroup.procs"), pid.to_string().as_bytes())
}

/// Whether the process is in the cgroup; in one that isn't there it is not.
fn is_member(dir: &Path, pid: i32) -> Effect<bool> {
    match read(&dir.join("cgroup.procs")) {
        Ok(procs) => Ok(procs.lines().any(|line| line.parse() == Ok(pid))),
        Err(trouble) if matches!(trouble.errno, Errno::ENOENT | Errno::ENODEV) => Ok(false),
        Err(trouble) => Err(trouble),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_is_elsewhere_than_planned_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("a")).unwrap();
        std::fs::write(root.path().join("a/cgroup.procs"), "7\n12\n").unwrap();
        let step = |path: &str| Move {
            hierarchy: "unified".into(),
            mount: root.path().to_owned(),
            path: path.into(),
            fill_cpuset: false,
            must_be_there: true,
        };
        assert_eq!(apply_move(&step("a"), 12), Ok(()));
        let elsewhere = Err(Trouble::new(Call::CheckCgroup, Errno::ESRCH));
        assert_eq!(apply_move(&step("a"), 1), elsewhere);
        assert_eq!(apply_move(&step("b"), 12), elsewhere);
    }
}
