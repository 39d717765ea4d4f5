//! Plans how one more process gets into the cgroups of a container that is there: `exec`. Pure.

use std::path::{Component, Path, PathBuf};

use super::super::group::{Group, Place, Version};
use super::super::{Op, Open};
use crate::error::Violation;
use crate::field::Field;
use crate::plan::Step;
use crate::slots::{Slot, SlotCounter};

/// What control groups contribute to the plan of an `exec`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EntryPlan {
    /// Before clone.
    pub host: Vec<Step>,
    /// In the child.
    pub enter: Vec<Step>,
    /// The cgroup of version 2 that clone puts the child into (CLONE_INTO_CGROUP).
    pub into: Option<Slot>,
}

/// Plans the entry. `init` is the container's, in the host's pid namespace; `below` are the values of `--cgroup`. A `rootless` container may
/// have been created without a cgroup.
///
/// # Errors
/// A value that makes no sense here.
pub fn plan_entry(
    group: &Group,
    init: i32,
    below: &[String],
    rootless: bool,
    slots: &mut SlotCounter,
) -> Result<EntryPlan, Vec<Violation>> {
    let below = Below::parse(below, group).map_err(|why| {
        let hint =
            "write PATH, below the container's cgroup, or CONTROLLER[,CONTROLLER]:PATH for a hierarchy of version 1";
        vec![Violation::new(FIELD, why).hint(hint)]
    })?;
    let mut plan = EntryPlan::default();
    for place in &group.places {
        let slot = slots.take();
        let below = below.of(place);
        let field = if below.is_some() { FIELD } else { Field::RUNTIME };
        let (version, hierarchy) = (place.version, place.hierarchy());
        let open = Open {
            version,
            hierarchy: hierarchy.clone(),
            mount: place.mount.clone(),
            path: place.path.clone(),
            below,
            init,
            optional: rootless,
            slot,
        };
        plan.host.push(Step::new(Op::Open(Box::new(open)), field.clone()));
        plan.enter.push(Step::new(Op::Enter { slot, version, hierarchy }, field));
        if version == Version::V2 {
            plan.into = Some(slot);
        }
    }
    Ok(plan)
}

const FIELD: Field = Field::at("--cgroup");

/// Which cgroups below the container's own are meant, by controller; the empty name is for all hierarchies.
struct Below(Vec<(String, PathBuf)>);

impl Below {
    fn parse(values: &[String], group: &Group) -> Result<Below, String> {
        let mut found: Vec<(String, PathBuf)> = Vec::new();
        for value in values {
            let (controllers, path) = value.split_once(':').map_or((None, value.as_str()), |(c, p)| (Some(c), p));
            if controllers.is_none() && values.len() > 1 {
                return Err(format!("invalid --cgroup argument {value:?}: missing <controller>: prefix"));
            }
            let path = relative(path)
                .ok_or_else(|| format!("bad sub cgroup path {path:?}: it leads out of the container's cgroup"))?;
            for controller in controllers.map_or_else(|| vec![""], |list| list.split(',').collect()) {
                if controllers.is_some() && controller.is_empty() {
                    return Err(format!("invalid --cgroup argument {value:?}: empty <controller> prefix"));
                }
                if !controller.is_empty() && group.find(controller).is_none() {
                    return Err(format!(
                        "unknown controller {controller:?} in {value:?}: the container has no cgroup with it"
                    ));
                }
                if found.iter().any(|(known, _)| known == controller) {
                    return Err(format!(
                        "invalid --cgroup argument(s): multiple cgroups for controller {controller:?}"
                    ));
                }
                found.push((controller.to_owned(), path.clone()));
            }
        }
        if !found.is_empty() && group.is_empty() {
            return Err("the container has no control groups".to_owned());
        }
        Ok(Below(found))
    }

    /// `None` for the container's own cgroup.
    fn of(&self, place: &Place) -> Option<PathBuf> {
        let named = |(controller, _): &&(String, PathBuf)| controller.is_empty() || place.has(controller);
        self.0.iter().find(named).map(|(_, path)| path.clone()).filter(|path| path != Path::new(""))
    }
}

/// The path below the container's cgroup, without a leading slash; `None` when it has a `..`.
fn relative(path: &str) -> Option<PathBuf> {
    Path::new(path)
        .components()
        .filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
        .map(|part| matches!(part, Component::Normal(_)).then_some(part))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(version: Version, controllers: &[&str]) -> Place {
        let controllers = controllers.iter().map(|name| name.to_string()).collect();
        Place { version, controllers, mount: "/m".into(), path: "web".into(), made: 0 }
    }

    fn group() -> Group {
        let places =
            vec![place(Version::V1, &["cpu", "cpuacct"]), place(Version::V1, &["pids"]), place(Version::V2, &[])];
        Group { places, unit: None }
    }

    fn planned(below: &[&str]) -> Result<Vec<String>, String> {
        let below: Vec<_> = below.iter().map(|value| value.to_string()).collect();
        let plan = plan_entry(&group(), 7, &below, false, &mut SlotCounter::default());
        let words = |plan: EntryPlan| plan.host.iter().map(|step| crate::plan::render(&step.op)).collect();
        plan.map(words).map_err(|violations| violations[0].why.clone())
    }

    #[test]
    fn without_a_flag_it_is_the_containers_own_in_every_hierarchy() {
        let own = "open the cgroup /m/web";
        assert_eq!(planned(&[]).unwrap(), [own; 3]);
        assert_eq!(planned(&["/"]).unwrap(), [own; 3]);
        let plan = plan_entry(&group(), 7, &[], false, &mut SlotCounter::default()).unwrap();
        assert_eq!((plan.enter.len(), plan.into), (3, Some(Slot(Slot::FIRST_FREE + 2))));
    }

    #[test]
    fn a_path_alone_counts_everywhere_and_one_with_controllers_where_they_are() {
        let all = "open the cgroup /m/web/a/b";
        assert_eq!(planned(&["/a//b/"]).unwrap(), [all; 3]);
        let some = planned(&["cpu,cpuacct:x", "pids:/y"]).unwrap();
        assert_eq!(some, ["open the cgroup /m/web/x", "open the cgroup /m/web/y", "open the cgroup /m/web"]);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (below, why) in [
            (&["a", "b"][..], "missing <controller>: prefix"),
            (&[":a"], "empty <controller> prefix"),
            (&["cpu,:a"], "empty <controller> prefix"),
            (&["../x"], "bad sub cgroup path"),
            (&["cpu:a/../../x"], "bad sub cgroup path"),
            (&["gpu:a"], "unknown controller"),
            (&["cpu:a", "cpu:b"], "multiple cgroups for controller"),
        ] {
            assert!(planned(below).unwrap_err().contains(why), "{below:?}");
        }
        let none = plan_entry(&Group::default(), 7, &["a".to_owned()], false, &mut SlotCounter::default());
        assert!(none.unwrap_err()[0].why.contains("no control groups"));
    }
}
