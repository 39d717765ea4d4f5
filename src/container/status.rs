//! What state a container is in, from facts, and which verb may be used in which state. Both are pure; the facts are
//! gathered by [`dir`](super::dir).

use crate::error::{Error, Result};

/// The status of runtime-spec (runtime.md, "State"), with the `paused` that engines know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// `create` is at work.
    Creating,
    /// The init waits at the exec fifo.
    Created,
    Running,
    /// Created or running, and frozen.
    Paused,
    /// The init is gone.
    Stopped,
}

impl Status {
    pub const ALL: [Status; 5] = [Status::Creating, Status::Created, Status::Running, Status::Paused, Status::Stopped];

    pub fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// What can be seen of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// state.json says that `create` hasn't finished.
    pub creating: bool,
    /// Somebody holds the container's lock; a `create` that died doesn't.
    pub locked: bool,
    /// The recorded init lives.
    pub init_alive: bool,
    /// The exec fifo is still there: `start` removes it.
    pub fifo: bool,
    /// The freezer of the container's cgroup was told to freeze.
    pub frozen: bool,
}

/// The status that follows.
pub fn status(facts: &Facts) -> Status {
    match *facts {
        // Without its creator a half-made container is what is left of it: an init at most.
        Facts { creating: true, locked: false, init_alive: false, .. } => Status::Stopped,
        Facts { creating: true, .. } => Status::Creating,
        Facts { init_alive: false, .. } => Status::Stopped,
        // What waits at the fifo can be frozen there.
        Facts { frozen: true, .. } => Status::Paused,
        Facts { fifo: true, .. } => Status::Created,
        Facts { fifo: false, .. } => Status::Running,
    }
}

/// A use of a container that depends on its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Start,
    Kill,
    /// `kill --all`, which containerd uses after the end of a container that shares its pid namespace.
    KillAll,
    Delete,
    DeleteForce,
    Exec,
    Pause,
    Resume,
    Update,
    Checkpoint,
    Mounts,
}

/// Says no with the words that engines match (containerd: `container not running`).
pub fn permit(verb: Verb, status: Status, id: &str) -> Result<()> {
    const NOT_RUNNING: &str = "container not running";
    const NOT_PAUSED: &str = "container not paused";
    use Status::{Created, Creating, Paused, Running, Stopped};
    let name = status.name();
    let refusal = match (verb, status) {
        (Verb::Start, Created) => return Ok(()),
        (Verb::Start, Running) => "cannot start an already running container".to_owned(),
        (Verb::Start, Stopped) => "cannot start a container that has stopped".to_owned(),
        (Verb::Start, Creating | Paused) => format!("cannot start a container in the {name} state"),

        (Verb::Kill | Verb::KillAll, Created | Running | Paused) => return Ok(()),
        (Verb::KillAll, Stopped) => return Ok(()),
        (Verb::Kill | Verb::KillAll, Creating | Stopped) => NOT_RUNNING.to_owned(),

        (Verb::Delete, Created | Stopped) => return Ok(()),
        (Verb::Delete, Creating | Running | Paused) => {
            format!("cannot delete container {id} that is not stopped: {name}")
        }
        (Verb::DeleteForce, _) => return Ok(()),

        (Verb::Exec, Created | Running) => return Ok(()),
        (Verb::Exec, Paused) => "cannot exec in a paused container (use --ignore-paused to override)".to_owned(),
        (Verb::Exec, Creating | Stopped) => format!("cannot exec in a {name} container"),

        (Verb::Pause, Created | Running) => return Ok(()),
        (Verb::Pause, Creating | Paused | Stopped) => NOT_RUNNING.to_owned(),
        (Verb::Resume, Paused) => return Ok(()),
        (Verb::Resume, Creating | Created | Running | Stopped) => NOT_PAUSED.to_owned(),
        (Verb::Update | Verb::Mounts, Created | Running | Paused) => return Ok(()),
        (Verb::Update | Verb::Mounts, Creating | Stopped) => NOT_RUNNING.to_owned(),
        (Verb::Checkpoint, Running | Paused) => return Ok(()),
        (Verb::Checkpoint, Creating | Created | Stopped) => {
            format!("Container cannot be checkpointed in {name} state")
        }
    };
    Err(Error::WrongStatus(refusal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_answers_for_every_status() {
        const OK: &str = "";
        let not_running = "container not running";
        let not_paused = "container not paused";
        // Columns: creating, created, running, paused, stopped.
        #[rustfmt::skip]
        let table: [(Verb, [&str; 5]); 11] = [
            (Verb::Start, [
                "cannot start a container in the creating state", OK, "cannot start an already running container",
                "cannot start a container in the paused state", "cannot start a container that has stopped",
            ]),
            (Verb::Kill, [not_running, OK, OK, OK, not_running]),
            (Verb::KillAll, [not_running, OK, OK, OK, OK]),
            (Verb::Delete, [
                "cannot delete container web that is not stopped: creating", OK,
                "cannot delete container web that is not stopped: running",
                "cannot delete container web that is not stopped: paused", OK,
            ]),
            (Verb::DeleteForce, [OK; 5]),
            (Verb::Exec, [
                "cannot exec in a creating container", OK, OK,
                "cannot exec in a paused container (use --ignore-paused to override)",
                "cannot exec in a stopped container",
            ]),
            (Verb::Pause, [not_running, OK, OK, not_running, not_running]),
            (Verb::Resume, [not_paused, not_paused, not_paused, OK, not_paused]),
            (Verb::Update, [not_running, OK, OK, OK, not_running]),
            (Verb::Checkpoint, [
                "Container cannot be checkpointed in creating state",
                "Container cannot be checkpointed in created state", OK, OK,
                "Container cannot be checkpointed in stopped state",
            ]),
            (Verb::Mounts, [not_running, OK, OK, OK, not_running]),
        ];
        for (verb, row) in table {
            for (status, expected) in Status::ALL.into_iter().zip(row) {
                let answer = permit(verb, status, "web").map_or_else(|e| e.to_string(), |()| OK.to_owned());
                assert_eq!(answer, expected, "{verb:?} in {status:?}");
            }
        }
    }

    #[test]
    fn the_status_follows_from_the_facts() {
        // creating, locked, init alive, fifo, frozen
        let cases = [
            ([true, true, false, false, false], Status::Creating),
            ([true, true, true, true, false], Status::Creating),
            ([true, false, false, false, false], Status::Stopped),
            ([true, false, false, true, false], Status::Stopped),
            ([true, false, true, true, false], Status::Creating),
            ([false, false, true, true, false], Status::Created),
            ([false, true, true, true, false], Status::Created),
            ([false, false, true, false, false], Status::Running),
            ([false, true, true, false, false], Status::Running),
            ([false, false, false, true, false], Status::Stopped),
            ([false, true, false, false, false], Status::Stopped),
            ([false, false, true, false, true], Status::Paused),
            ([false, false, true, true, true], Status::Paused),
            ([false, false, false, false, true], Status::Stopped),
            ([true, true, true, true, true], Status::Creating),
        ];
        for ([creating, locked, init_alive, fifo, frozen], expected) in cases {
            let facts = Facts { creating, locked, init_alive, fifo, frozen };
            assert_eq!(status(&facts), expected, "{facts:?}");
        }
    }
}
