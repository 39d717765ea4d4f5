//! The systemd driver: a container's processes become a transient scope of a systemd manager, so that systemd knows whom
//! the cgroups belong to and leaves them alone (systemd.io/CGROUP_DELEGATION). D-Bus is spoken only when the driver was
//! asked for, and only after clone: nothing of it is ever in a container's process, and no thread is left behind.

pub mod annotations;
mod bus;
mod devices;
pub mod plan;
pub mod properties;
pub mod unit;

use std::path::PathBuf;
use std::time::Duration;

use self::bus::{Manager, Refused};
use self::properties::Property;
use super::group::{Group, Unit, Version};
use super::remove::Members;
use super::{file, members};
use crate::error::{Doing, Error, Result, SystemdTrouble};
use crate::field::Field;

/// How long systemd may take for all of one request. A scope is there in milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A transient unit to be started for a process.
#[derive(Clone, Debug, PartialEq)]
pub struct StartUnit {
    pub unit: Unit,
    /// Beside the process: what the unit is like.
    pub properties: Vec<Property>,
}

/// The host, on the fresh child: has the unit started with the process `pid` in it, and waits until it is there.
pub fn start(start: &StartUnit, pid: i32) -> Result {
    let StartUnit { unit, properties } = start;
    with_manager(unit, "start", async |manager: &Manager| manager.start(unit, properties, pid).await)
}

/// Refuses a unit that somebody else is in: it would be taken for the container's when it has to be taken down. Looked at
/// before anything is made.
pub fn refuse_taken(group: &Group) -> Result {
    let Some(unit) = &group.unit else { return Ok(()) };
    match group.places.iter().filter(|place| place.is_systemds()).any(members::is_inhabited) {
        true => Err(refuse(unit, "start", &Refused::Exists)),
        false => Ok(()),
    }
}

/// Ends the unit and waits until it is gone. One that is gone already is fine. Members that are to be killed get no time;
/// a scope would ask them to end and wait for a minute and a half.
pub fn stop(unit: &Unit, members: Members) -> Result {
    let kill = members == Members::Kill;
    with_manager(unit, "stop", async |manager: &Manager| manager.stop(&unit.name, kill).await)
}

/// Tells systemd of the limits that the files of the unit's cgroups hold, if there is a unit. systemd writes its own
/// rounded ones there at once, so the exact ones are written again.
pub fn tell(group: &Group) -> Result {
    let Some(unit) = &group.unit else { return Ok(()) };
    let mut files: Files = Vec::new();
    for place in group.places.iter().filter(|place| place.is_systemds()) {
        for name in properties::known_files(place.version) {
            let path = place.dir().join(name);
            if let Ok(text) = file::read(&path) {
                files.push((place.version, path, name, text));
            }
        }
    }
    let told: Vec<_> = files.iter().map(|(version, _, name, text)| (*version, *name, text.as_str())).collect();
    set_properties(unit, &properties::plan_files(&told))?;
    write_exact(&files)
}

/// Files of cgroups: whose version, where, under which name, and the text.
type Files = Vec<(Version, PathBuf, &'static str, String)>;

/// Writes what files held wherever they hold something else now. One that fails leaves none of the others rounded: setting
/// an update back knows only of the files that it has written itself.
fn write_exact(files: &Files) -> Result {
    let idle = files.iter().any(|(_, _, name, text)| *name == "cpu.idle" && text.trim() == "1");
    let mut outcome = Ok(());
    // An idle cgroup takes no weight.
    for (_, path, _, exact) in files.iter().filter(|(_, _, name, _)| !idle || *name != "cpu.weight") {
        if file::read(path).is_ok_and(|now| now != *exact) {
            // Those with a line for each device take one a write.
            let mut lines = exact.trim_end().split('\n');
            let written = lines.try_for_each(|line| file::write(path, line.as_bytes()));
            outcome = outcome.and(written.doing(|| format!("write {}", path.display())));
        }
    }
    outcome
}

/// Tells systemd of changed limits, until the next boot. Without it the next `daemon-reload` would undo them.
pub fn set_properties(unit: &Unit, properties: &[Property]) -> Result {
    if properties.is_empty() {
        return Ok(());
    }
    with_manager(unit, "change", async |manager: &Manager| manager.set_properties(&unit.name, properties).await)
}

/// Connects to the manager and asks it, on this thread alone. All of it ends with the answer: the runtime has no other
/// thread, and what it was about to do is dropped with it.
fn with_manager(unit: &Unit, verb: &str, ask: impl AsyncFnOnce(&Manager) -> Result<(), Refused>) -> Result {
    let asked = async {
        let manager = Manager::connect(unit.user).await?;
        ask(&manager).await
    };
    let answered = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(async {
            tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(Refused::Silent { seconds: PATIENCE.as_secs() }))
        }),
        Err(error) => Err(Refused::NoBus { why: error.to_string(), user: unit.user }),
    };
    answered.map_err(|refused| refuse(unit, verb, &refused))
}

fn refuse(unit: &Unit, verb: &str, refused: &Refused) -> Error {
    let kind = if unit.name.ends_with(".slice") { "slice" } else { "scope" };
    Error::Systemd {
        doing: format!("{verb} the {kind} {} of {}", unit.name, unit.slice),
        field: Field::RUNTIME,
        hint: refused.hint(),
        why: refused.to_string(),
        trouble: match refused {
            Refused::NoBus { .. } => SystemdTrouble::Unreachable,
            Refused::Exists => SystemdTrouble::Taken,
            _ => SystemdTrouble::Refused,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn an_exact_value_that_is_refused_leaves_the_others_exact() {
        let dir = tempfile::tempdir().unwrap();
        let now = [("cpu.max", "50000 100000\n"), ("memory.high", "4096\n"), ("pids.max", "7\n")];
        now.iter().for_each(|(name, text)| fs::write(dir.path().join(name), text).unwrap());
        // It can be read and takes nothing.
        symlink("/proc/self/status", dir.path().join("memory.max")).unwrap();
        let file = |name: &'static str, text: &str| (Version::V2, dir.path().join(name), name, text.to_owned());
        let files = vec![
            file("cpu.max", "49999 100000\n"),
            file("memory.max", "4097\n"),
            file("memory.high", "4098\n"),
            file("pids.max", "7\n"),
        ];
        let error = write_exact(&files).unwrap_err().to_string();
        assert!(error.contains("/memory.max: "), "{error}");
        let texts =
            ["cpu.max", "memory.high", "pids.max"].map(|name| fs::read_to_string(dir.path().join(name)).unwrap());
        assert_eq!(texts.map(|text| text.trim().to_owned()), ["49999 100000", "4098", "7"]);
    }
}
