//! `update`: other limits for a container that lives. state.json has none, so it stays as it is; what they are now is kept
//! beside it, for `spec --from`.

use std::cell::Cell;

use serde_json::{Map, Value};

use super::dir::StateDir;
use super::id::ContainerId;
use super::status::{Verb, permit};
use super::{Locked, Record, Store, Warning};
use crate::cgroups::merged::{Applied, merge, object};
use crate::cgroups::rdt::{self, Rdt};
use crate::cgroups::{Group, systemd, update::apply_update};
use crate::error::{Error, Result, Violation};
use crate::field::Field;
use crate::plan::Step;

/// What an update comes to for a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    pub steps: Vec<Step>,
    /// The properties that are asked for, as `linux.resources` has them.
    pub asked: Value,
    /// Those among them that have no effect here.
    pub ignored: Vec<Field>,
}

/// Decides what to write for the new limits, from where the container's cgroups are.
pub type PlanLimits<'a> = &'a dyn Fn(&Group, &mut Vec<Warning>) -> Result<Change>;

/// Lines of a class of service, each with the flag that it comes from.
pub type Schemata = [(&'static str, String)];

/// Changes a container's limits, all of them or none, and keeps what they are then, with the lines of its class of service
/// that were changed before.
///
/// Holds the container's lock, so that two updates don't set each other's values back.
pub fn update(
    store: &Store,
    id: &ContainerId,
    plan: PlanLimits,
    schemata: &Schemata,
    warnings: &mut Vec<Warning>,
) -> Result<()> {
    let dir = store.find(id)?.lock()?;
    let record = dir.load()?;
    permit(Verb::Update, dir.status(&record)?, id.as_str())?;
    if record.group.is_empty() {
        let text = "the container has no control groups, so it has no limits that could change";
        return Err(Error::WrongStatus(text.to_owned()));
    }
    let change = plan(&record.group, warnings)?;
    // Files are all there is to a cgroup of corten's own; one of a unit is systemd's as well.
    apply_and_keep(&dir, &record, &change, schemata, &|| systemd::tell(&record.group))
}

/// Writes the limits, tells of them and keeps them. What was told may hold even where telling failed, or what came behind
/// it: then it is told once more, of the limits that are back, or the next `daemon-reload` would apply those that failed.
fn apply_and_keep(
    dir: &Locked,
    record: &Record,
    change: &Change,
    schemata: &Schemata,
    tell: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let told = Cell::new(false);
    let settle = || {
        told.set(true);
        tell()
    };
    let unsettle = || {
        if told.get() {
            // There is an error to tell already.
            tell().ok();
        }
    };
    apply_update(&change.steps, || keep(dir, record, change, schemata, settle), unsettle)
}

/// Keeps what the limits are now, once the last of them holds.
fn keep(
    dir: &Locked,
    record: &Record,
    change: &Change,
    schemata: &Schemata,
    settle: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let mut config = updated_config(dir)?;
    let linux = object(object(&mut config).entry("linux").or_insert(Value::Null));
    let memory = record.group.find("memory").map(|place| place.version);
    let applied = Applied { asked: &change.asked, ignored: &change.ignored, steps: &change.steps, memory };
    merge(linux.entry("resources").or_insert(Value::Null), &applied);
    for (flag, text) in schemata {
        let property = if flag.contains("mem-bw") { "memBwSchema" } else { "l3CacheSchema" };
        rdt::merge(linux.entry("intelRdt").or_insert(Value::Null), property, text);
    }
    let parts: Map<String, Value> = PARTS.iter().filter_map(|part| linux.remove_entry(*part)).collect();
    dir.save_updated(Value::from(parts).to_string().as_bytes(), settle)
}

/// What of `linux` an update can change.
const PARTS: [&str; 2] = ["resources", "intelRdt"];

/// The config of a container, with the limits that it has now: those it was created with, or those of its updates.
///
/// # Errors
/// [`Error::DamagedState`] when the files aren't corten's.
pub fn updated_config(dir: &StateDir) -> Result<Value> {
    let damaged = |error: serde_json::Error| Error::DamagedState {
        id: dir.id().to_string(),
        why: format!("its config: {error}"),
    };
    let mut config: Value = serde_json::from_slice(&dir.read_config()?).map_err(damaged)?;
    if let Some(parts) = dir.read_updated()? {
        let parts: Map<String, Value> = serde_json::from_slice(&parts).map_err(damaged)?;
        object(object(&mut config).entry("linux").or_insert(Value::Null)).extend(parts);
    }
    Ok(config)
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
pub fn update_class(store: &Store, id: &ContainerId, schemata: &Schemata) -> Result<Option<FormerClass>> {
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
    use serde_json::json;
    use std::cell::RefCell;
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
        let config = json!({"hostname": "web", "linux": {"resources": {"pids": {"limit": 5}}}});
        let dir = fixture.store().find(&fixture.id).unwrap().lock().unwrap();
        dir.save_config(config.to_string().as_bytes()).unwrap();
        fixture
    }

    fn write(group: &Group, name: &str, value: &str) -> Step {
        let file = group.places[0].dir().join(name);
        let file = CString::new(file.as_os_str().as_bytes()).unwrap();
        Step::new(Op::Write { file, value: CString::new(value).unwrap() }, Field::at("/a"))
    }

    fn change(steps: Vec<Step>, asked: Value) -> Change {
        Change { steps, asked, ignored: Vec::new() }
    }

    /// The limits that `spec --from` would show.
    fn limits(fixture: &Fixture) -> Value {
        updated_config(&fixture.store().find(&fixture.id).unwrap()).unwrap()["linux"]["resources"].clone()
    }

    #[test]
    fn updates_are_kept_one_behind_the_other() {
        let root = tempfile::tempdir().unwrap();
        let fixture = fixture(root.path());
        assert_eq!(limits(&fixture), json!({"pids": {"limit": 5}}));
        for asked in [json!({"memory": {"limit": 9}}), json!({"pids": {"limit": 6}})] {
            let plan = |group: &Group, _: &mut Vec<Warning>| Ok(change(vec![write(group, "a", "7")], asked.clone()));
            update(&fixture.store(), &fixture.id, &plan, &[], &mut Vec::new()).unwrap();
        }
        assert_eq!(limits(&fixture), json!({"pids": {"limit": 6}, "memory": {"limit": 9}}));
        let ignored = |_: &Group, _: &mut Vec<Warning>| {
            Ok(Change { ignored: vec![Field::at("/cpu/shares")], ..change(vec![], json!({"cpu": {"shares": 7}})) })
        };
        update(&fixture.store(), &fixture.id, &ignored, &[("--mem-bw-schema", "MB:0=7".into())], &mut Vec::new())
            .unwrap();
        assert_eq!(limits(&fixture), json!({"pids": {"limit": 6}, "memory": {"limit": 9}}));
        let config = updated_config(&fixture.store().find(&fixture.id).unwrap()).unwrap();
        assert_eq!(config["linux"]["intelRdt"], json!({"memBwSchema": "MB:0=7"}));
        assert_eq!(config["hostname"], "web", "the rest is as it was created");
    }

    #[test]
    fn limits_that_cant_be_kept_are_set_back() {
        let root = tempfile::tempdir().unwrap();
        let fixture = fixture(root.path());
        fs::create_dir(fixture.root.path().join("state/web/updated.json.next")).unwrap();
        let plan = |group: &Group, _: &mut Vec<Warning>| {
            Ok(change(vec![write(group, "a", "7")], json!({"pids": {"limit": 6}})))
        };
        let error = update(&fixture.store(), &fixture.id, &plan, &[], &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("updated.json"), "{error}");
        assert_eq!(fs::read_to_string(root.path().join("web/a")).unwrap(), "1\n");
        assert_eq!(limits(&fixture), json!({"pids": {"limit": 5}}));
    }

    /// Updates the limit of the file `a` to 7 under a systemd of which `tell` answers: the limit that it was told at each
    /// time, and how the update ended.
    fn told(fixture: &Fixture, mount: &Path, tell: &dyn Fn() -> Result<()>) -> (Vec<String>, Result<()>) {
        let dir = fixture.store().find(&fixture.id).unwrap().lock().unwrap();
        let record = dir.load().unwrap();
        let change = change(vec![write(&record.group, "a", "7")], json!({"pids": {"limit": 6}}));
        let told = RefCell::new(Vec::new());
        let ended = apply_and_keep(&dir, &record, &change, &[], &|| {
            told.borrow_mut().push(fs::read_to_string(mount.join("web/a")).unwrap());
            tell()
        });
        (told.into_inner(), ended)
    }

    #[test]
    fn systemd_is_told_once_of_limits_that_hold() {
        let root = tempfile::tempdir().unwrap();
        let fixture = fixture(root.path());
        let (told, ended) = told(&fixture, root.path(), &|| Ok(()));
        ended.unwrap();
        assert_eq!(told, ["7\n"]);
        assert_eq!(limits(&fixture), json!({"pids": {"limit": 6}}));
    }

    #[test]
    fn systemd_is_told_again_of_limits_that_are_set_back() {
        let root = tempfile::tempdir().unwrap();
        let fixture = fixture(root.path());
        // It has taken the properties, and then an exact value was refused.
        let refuse = || Err(Error::Usage("refused".to_owned()));
        let (first, ended) = told(&fixture, root.path(), &refuse);
        assert_eq!((first, ended.unwrap_err().to_string()), (vec!["7\n".into(), "1\n".into()], "refused".to_owned()));
        // All of it has worked, and then the record can't be replaced.
        let (second, ended) = told(&fixture, root.path(), &|| {
            fs::create_dir_all(fixture.root.path().join("state/web/updated.json")).unwrap();
            Ok(())
        });
        assert!(ended.unwrap_err().to_string().contains("updated.json"));
        assert_eq!(second, ["7\n", "1\n"]);
        assert_eq!(fs::read_to_string(root.path().join("web/a")).unwrap(), "1\n");
    }

    #[test]
    fn systemd_that_was_told_nothing_is_not_told_again() {
        let root = tempfile::tempdir().unwrap();
        let fixture = fixture(root.path());
        fs::create_dir(fixture.root.path().join("state/web/updated.json.next")).unwrap();
        let (told, ended) = told(&fixture, root.path(), &|| Ok(()));
        ended.unwrap_err();
        assert_eq!(told, Vec::<String>::new());
    }

    #[test]
    fn an_update_reaches_the_containers_files_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let fixture = fixture(root.path());
        let store = fixture.store();
        let before = store.load(&fixture.id).unwrap().1;
        let plan = |group: &Group, _: &mut Vec<Warning>| Ok(change(vec![write(group, "a", "7")], json!({})));
        update(&store, &fixture.id, &plan, &[], &mut Vec::new()).unwrap();
        assert_eq!(fs::read_to_string(root.path().join("web/a")).unwrap(), "7\n");
        assert_eq!(store.load(&fixture.id).unwrap().1, before);
    }

    #[test]
    fn a_failed_update_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let fixture = fixture(root.path());
        let plan = |group: &Group, _: &mut Vec<Warning>| {
            let steps = vec![write(group, "a", "7"), write(group, "none", "8")];
            Ok(change(steps, json!({"pids": {"limit": 8}})))
        };
        let error = update(&fixture.store(), &fixture.id, &plan, &[], &mut Vec::new()).unwrap_err();
        assert!(error.to_string().ends_with("nothing was changed"), "{error}");
        assert_eq!(limits(&fixture), json!({"pids": {"limit": 5}}));
        assert_eq!(fs::read_to_string(root.path().join("web/a")).unwrap(), "1\n");
    }

    #[test]
    fn a_container_without_control_groups_has_no_limits() {
        let fixture = Fixture::created(PROGRAM, |_| ());
        let plan = |_: &Group, _: &mut Vec<Warning>| -> Result<Change> { panic!("planned") };
        let error = update(&fixture.store(), &fixture.id, &plan, &[], &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("no control groups"), "{error}");
    }

    #[test]
    fn a_stopped_container_is_not_updated() {
        let root = tempfile::tempdir().unwrap();
        let mut fixture = fixture(root.path());
        super::super::kill::kill(&fixture.store(), &fixture.id, "KILL", false).unwrap();
        fixture.init.wait(true).unwrap();
        let plan = |_: &Group, _: &mut Vec<Warning>| -> Result<Change> { panic!("planned") };
        let error = update(&fixture.store(), &fixture.id, &plan, &[], &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "container not running");
    }
}
