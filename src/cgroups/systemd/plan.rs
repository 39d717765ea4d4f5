//! Plans the part of a container's control groups that only the systemd driver has: the unit, and how the child gets into
//! the hierarchies. Pure.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::StartUnit;
use super::annotations::plan_annotations;
use super::devices::plan_devices;
use super::properties::{Property, Value, keep_last, plan_properties};
use super::unit::{plan_unit, unit_path, user_manager};
use crate::cgroups::group::{Group, Place, Version};
use crate::cgroups::{Move, Op};
use crate::error::Violation;
use crate::field::Field;
use crate::host::Host;
use crate::plan::Step;
use crate::request::Request;

/// Where the unit's cgroups are going to be. Nobody is asked: systemd puts a unit where its slice's name says, below the
/// cgroup of its manager.
pub fn plan_group(spec: &Spec, host: &Host, request: &Request) -> Result<Group, Violation> {
    if !host.systemd {
        let why = "systemd not running on this host, cannot use systemd cgroups manager";
        let hint = "leave --systemd-cgroup away: corten then makes the control groups itself";
        return Err(Violation::new(Field::at("--systemd-cgroup"), why).hint(hint));
    }
    let user = request.rootless;
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
    let unit = plan_unit(path.map(|path| path.to_string_lossy()).as_deref(), &request.id, user)?;
    let layout = &host.cgroups;
    let own = match (&layout.unified, layout.v1("name=systemd")) {
        (Some(unified), _) => unified.own.as_path(),
        (None, Some(named)) => named.own.as_path(),
        (None, None) => Path::new(""),
    };
    let base = if user { user_manager(own, host.euid) } else { PathBuf::new() };
    let path = base.join(unit_path(&unit));
    let place = |version, controllers: &[String], mount: &Path| Place {
        version,
        controllers: controllers.to_vec(),
        mount: mount.to_owned(),
        path: path.clone(),
        made: 0,
    };
    let unified = layout.unified.iter().map(|unified| place(Version::V2, &unified.controllers, &unified.mount));
    // A user's manager has no part in the controllers of version 1, and its user none either.
    let v1 = layout.v1.iter().filter(|hierarchy| !user || hierarchy.controllers == ["name=systemd"]);
    let v1 = v1.map(|hierarchy| place(Version::V1, &hierarchy.controllers, &hierarchy.mount));
    Ok(Group { places: unified.chain(v1).collect(), unit: Some(unit) })
}

/// The steps of the host on the fresh child: the unit is started with it, and it is moved to where systemd has not put it.
///
/// `field` is what named the group.
pub fn plan_adopt(spec: &Spec, request: &Request, group: &Group, field: &Field) -> Result<Vec<Step>, Vec<Violation>> {
    let Some(unit) = group.unit.clone() else { return Ok(Vec::new()) };
    let is_slice = unit.name.ends_with(".slice");
    let mut properties = vec![
        Property::new("Description", Value::String(format!("corten container {}", request.id))),
        // Engines order and stop their containers themselves.
        Property::new("DefaultDependencies", Value::Boolean(false)),
        // Without it a unit that has failed, say out of memory, would keep its name for ever.
        Property::new("CollectMode", Value::String("inactive-or-failed".to_owned())).since(236),
        Property::new("MemoryAccounting", Value::Boolean(true)),
        Property::new("CPUAccounting", Value::Boolean(true)),
        Property::new("TasksAccounting", Value::Boolean(true)),
    ];
    // systemd has a limit of its own for units that have none, and the config's "none" is to be one.
    properties.push(Property::new("TasksMax", Value::Uint64(u64::MAX)));
    let io = if group.find("io").is_some() { "IOAccounting" } else { "BlockIOAccounting" };
    properties.push(Property::new(io, Value::Boolean(true)));
    if is_slice {
        properties.push(Property::new("Wants", Value::Strings(vec![unit.slice.clone()])));
    } else {
        properties.push(Property::new("Slice", Value::String(unit.slice.clone())));
        // All below the unit is the container's, and systemd enables every controller for it.
        properties.push(Property::new("Delegate", Value::Boolean(true)));
    }
    // Rules about devices hold for every container, those without any of their own too.
    if !unit.user {
        properties.extend(plan_devices(&[]));
    }
    properties.extend(plan_annotations(spec.annotations().as_ref().unwrap_or(&Default::default()))?);
    if let Some(resources) = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref()) {
        properties.extend(plan_properties(resources, group));
    }
    let start = StartUnit { unit, properties: keep_last(properties) };
    let mut steps = vec![Step::new(Op::StartUnit(Box::new(start)), field.clone())];
    for place in &group.places {
        let step = Move {
            hierarchy: place.hierarchy(),
            mount: place.mount.clone(),
            path: place.path.clone(),
            fill_cpuset: place.version == Version::V1 && place.has("cpuset"),
            must_be_there: place.is_systemds() && !is_slice,
        };
        steps.push(Step::new(Op::Move(Box::new(step)), field.clone()));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cgroups::Layout;
    use crate::request::{CgroupDriver, Mode};

    fn plan(config: serde_json::Value, layout: Layout, user: bool) -> Result<(Group, Vec<Step>), String> {
        let spec = serde_json::from_value(config).unwrap();
        let host = Host { cgroups: layout, euid: if user { 1000 } else { 0 }, ..Host::fixture() };
        let request =
            Request { cgroup_driver: CgroupDriver::Systemd, rootless: user, ..Request::new("web", "/b", Mode::Create) };
        let group = plan_group(&spec, &host, &request).map_err(|violation| violation.to_string())?;
        let steps = plan_adopt(&spec, &request, &group, &Field::RUNTIME).map_err(|all| all[0].to_string())?;
        Ok((group, steps))
    }

    fn config() -> serde_json::Value {
        serde_json::json!({"ociVersion": "1.3.0", "linux": {"cgroupsPath": "machine-a.slice:libpod:x"}})
    }

    fn moves(steps: &[Step]) -> Vec<(String, bool)> {
        let each = steps.iter().filter_map(|step| match &step.op {
            crate::plan::Op::Cgroup(Op::Move(step)) => Some((step.hierarchy.clone(), step.must_be_there)),
            _ => None,
        });
        each.collect()
    }

    #[test]
    fn every_hierarchy_has_the_unit_below_its_slices() {
        let (group, steps) = plan(config(), Layout::fixture_hybrid(), false).unwrap();
        let dirs: Vec<_> = group.places.iter().map(|place| place.dir().display().to_string()).collect();
        assert_eq!(dirs[0], "/sys/fs/cgroup/unified/machine.slice/machine-a.slice/libpod-x.scope");
        assert_eq!(dirs[1], "/sys/fs/cgroup/cpuset/machine.slice/machine-a.slice/libpod-x.scope");
        assert_eq!(dirs.len(), 13);
        let moves = moves(&steps);
        let of = |name: &str| moves.iter().find(|(hierarchy, _)| hierarchy == name).unwrap().1;
        assert!(of("unified") && of("name=systemd") && of("memory") && of("pids") && of("cpu,cpuacct"));
        assert!(!of("cpuset") && !of("freezer") && !of("net_cls,net_prio") && !of("rdma"));
    }

    #[test]
    fn a_users_unit_is_below_its_own_manager_and_in_no_controller_of_version_1() {
        let mut layout = Layout::fixture_hybrid();
        let manager = "user.slice/user-1000.slice/user@1000.service";
        layout.unified.as_mut().unwrap().own = format!("{manager}/app.slice/x.service").into();
        let (group, _) = plan(serde_json::json!({"ociVersion": "1.3.0"}), layout, true).unwrap();
        let dirs: Vec<_> = group.places.iter().map(|place| place.dir().display().to_string()).collect();
        let path = format!("{manager}/user.slice/corten-web.scope");
        assert_eq!(dirs, [format!("/sys/fs/cgroup/unified/{path}"), format!("/sys/fs/cgroup/systemd/{path}")]);
        assert!(group.unit.unwrap().user);
    }

    #[test]
    fn a_scope_is_delegated_and_told_its_slice_and_limits() {
        let mut config = config();
        config["linux"]["resources"] = serde_json::json!({"pids": {"limit": 7}});
        config["annotations"] = serde_json::json!({
            "org.systemd.property.CollectMode": "'inactive'",
            "org.systemd.property.TimeoutStopSec": "uint64 3",
            "org.systemd.property.TasksMax": "uint64 1"
        });
        let (_, steps) = plan(config, Layout::fixture_unified(), false).unwrap();
        let crate::plan::Op::Cgroup(Op::StartUnit(start)) = &steps[0].op else { panic!("{steps:?}") };
        let of = |name: &str| {
            let mut found = start.properties.iter().filter(|property| property.name == name);
            let value = found.next().map(|property| property.value.clone());
            assert_eq!(found.next(), None, "{name} is there twice");
            value
        };
        assert_eq!(of("Slice"), Some(Value::String("machine-a.slice".into())));
        assert_eq!(of("Delegate"), Some(Value::Boolean(true)));
        assert_eq!(of("DefaultDependencies"), Some(Value::Boolean(false)));
        assert_eq!(of("CollectMode"), Some(Value::String("inactive".into())));
        assert_eq!(of("TimeoutStopUSec"), Some(Value::Uint64(3_000_000)));
        // The config's limit is the limit, whatever an annotation says.
        assert_eq!(of("TasksMax"), Some(Value::Uint64(7)));
        assert_eq!(of("IOAccounting"), Some(Value::Boolean(true)));
    }

    #[test]
    fn a_slice_is_wanted_and_entered_by_hand() {
        let mut config = config();
        config["linux"]["cgroupsPath"] = "a.slice:x:a-pod.slice".into();
        let (group, steps) = plan(config, Layout::fixture_unified(), false).unwrap();
        assert_eq!(group.places[0].path, Path::new("a.slice/a-pod.slice"));
        assert_eq!(moves(&steps), [("unified".to_owned(), false)]);
        let crate::plan::Op::Cgroup(Op::StartUnit(start)) = &steps[0].op else { panic!("{steps:?}") };
        let names: Vec<_> = start.properties.iter().map(|property| property.name.as_str()).collect();
        assert!(names.contains(&"Wants") && !names.contains(&"Slice") && !names.contains(&"Delegate"), "{names:?}");
    }

    #[test]
    fn without_systemd_the_driver_is_refused() {
        let spec = serde_json::from_value(config()).unwrap();
        let host = Host { systemd: false, ..Host::fixture() };
        let request = Request { cgroup_driver: CgroupDriver::Systemd, ..Request::new("web", "/b", Mode::Create) };
        let violation = plan_group(&spec, &host, &request).unwrap_err();
        assert!(violation.why.contains("systemd not running on this host, cannot use systemd cgroups manager"));
        assert!(!violation.hint.is_empty());
    }
}
