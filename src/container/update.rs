//! `update`: other limits for a container that lives. state.json has none, so it stays as it is.

use super::id::ContainerId;
use super::status::{Verb, permit};
use super::{Store, Warning};
use crate::cgroups::rdt::{self, Rdt};
use crate::cgroups::{Group, systemd, update::apply_update};
use crate::error::{Error, Result, Violation};
use crate::field::Field;
use crate::plan::Step;

/// Decides what to write for the new limits, from where the container's cgroups are.
pub type PlanLimits<'a> = &'a dyn Fn(&Group, &mut Vec<Warning>) -> Result<Vec<Step>>;

/// Changes a container's limits, all of them or none.
///
/// Holds the container's lock, so that two updates don't set each other's values back.
pub fn update(store: &Store, id: &ContainerId, plan: PlanLimits, warnings: &mut Vec<Warning>) -> Result<()> {
    let dir = store.find(id)?.lock()?;
    let record = dir.load()?;
    permit(Verb::Update, dir.status(&record)?, id.as_str())?;
    if record.group.is_empty() {
        let text = "the container has no control groups, so it has no limits that could change";
        return Err(Error::WrongStatus(text.to_owned()));
    }
    let steps = plan(&record.group, warnings)?;
    // Files are all there is to a cgroup of corten's own; one of a unit is systemd's as well.
    apply_update(&steps, || systemd::tell(&record.group))
}

/// What a class of service was before a change.
pub struct FormerClass {
    class: Rdt,
    schemata: Vec<String>,
}

impl FormerClass {
    /// Has it so again, as far as the kernel lets one; there is another error to tell.
    pub fn restore(&self) {
        rdt::write_schemata(&self.class, &self.schemata).ok();
    }
}

/// Changes lines of a container's class of service, given with the flags that they come from.
pub fn update_class(
    store: &Store,
    id: &ContainerId,
    schemata: &[(&'static str, String)],
) -> Result<Option<FormerClass>> {
    let Some((flag, _)) = schemata.first() else { return Ok(None) };
    let dir = store.find(id)?.lock()?;
    let record = dir.load()?;
    permit(Verb::Update, dir.status(&record)?, id.as_str())?;
    let Some(class) = &record.rdt else {
        let violation = Violation::new(Field::at(flag), "the container is in no class of service of its own choice");
        return Err(Error::Violations(vec![violation.hint("linux.intelRdt in config.json puts it into one")]));
    };
    let former = FormerClass { class: class.clone(), schemata: rdt::read_schemata(class) };
    let lines: Vec<String> = schemata.iter().map(|(_, line)| line.trim().to_owned()).collect();
    rdt::write_schemata(class, &lines).map(|()| Some(former)).map_err(|trouble| {
        let why = rdt::last_words(class).map(|words| format!(": {words}")).unwrap_or_default();
        let doing = format!("write {:?} to {}/schemata{why}", lines.join("; "), class.dir().display());
        Error::os(doing, trouble).field(Field::at(flag))
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, PROGRAM, rewrite};
    use super::*;
    use crate::cgroups::{Op, Place, Version};
    use crate::field::Field;
    use std::ffi::CString;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    /// A container whose cgroup is a directory of files.
    fn fixture(mount: &Path) -> Fixture {
        let mut fixture = Fixture::created(PROGRAM, |_| ());
        fs::create_dir(mount.join("web")).unwrap();
        fs::write(mount.join("web/a"), "1\n").unwrap();
        let mount = mount.to_owned();
        rewrite(&mut fixture, |_, record| {
            let place = Place { version: Version::V2, controllers: Vec::new(), mount, path: "web".into(), made: 0 };
            record.group = Group { places: vec![place], unit: None };
        });
        fixture
    }

    fn write(group: &Group, name: &str, value: &str) -> Step {
        let file = group.places[0].dir().join(name);
        let file = CString::new(file.as_os_str().as_bytes()).unwrap();
        Step::new(Op::Write { file, value: CString::new(value).unwrap() }, Field::at("/a"))
    }

    #[test]
    fn an_update_reaches_the_containers_files_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let fixture = fixture(root.path());
        let store = fixture.store();
        let before = store.load(&fixture.id).unwrap().1;
        update(&store, &fixture.id, &|group, _| Ok(vec![write(group, "a", "7")]), &mut Vec::new()).unwrap();
        assert_eq!(fs::read_to_string(root.path().join("web/a")).unwrap(), "7\n");
        assert_eq!(store.load(&fixture.id).unwrap().1, before);
    }

    #[test]
    fn a_failed_update_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let fixture = fixture(root.path());
        let plan = |group: &Group, _: &mut Vec<Warning>| Ok(vec![write(group, "a", "7"), write(group, "none", "8")]);
        let error = update(&fixture.store(), &fixture.id, &plan, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().ends_with("nothing was changed"), "{error}");
        assert_eq!(fs::read_to_string(root.path().join("web/a")).unwrap(), "1\n");
    }

    #[test]
    fn a_container_without_control_groups_has_no_limits() {
        let fixture = Fixture::created(PROGRAM, |_| ());
        let plan = |_: &Group, _: &mut Vec<Warning>| -> Result<Vec<Step>> { panic!("planned") };
        let error = update(&fixture.store(), &fixture.id, &plan, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("no control groups"), "{error}");
    }

    #[test]
    fn a_stopped_container_is_not_updated() {
        let root = tempfile::tempdir().unwrap();
        let mut fixture = fixture(root.path());
        super::super::kill::kill(&fixture.store(), &fixture.id, "KILL", false).unwrap();
        fixture.init.wait(true).unwrap();
        let plan = |_: &Group, _: &mut Vec<Warning>| -> Result<Vec<Step>> { panic!("planned") };
        let error = update(&fixture.store(), &fixture.id, &plan, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "container not running");
    }
}
