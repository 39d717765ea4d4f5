//! How a container gets its namespaces: what clone makes, what is joined, what is unshared, and whether a second fork
//! is needed. Pure; the table is tested for every combination of eight kinds that are kept, new or joined.

pub mod entry;
pub mod visit;

use std::ffi::CString;

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::field::Field;
use crate::host::Host;
use crate::namespaces::idmap::Map;
use crate::namespaces::{IdKind, Kind, Kinds, Op};
use crate::plan::{Point, Step};
use crate::slots::{Slot, SlotCounter};

impl From<LinuxNamespaceType> for Kind {
    fn from(typ: LinuxNamespaceType) -> Kind {
        match typ {
            LinuxNamespaceType::Cgroup => Kind::Cgroup,
            LinuxNamespaceType::Ipc => Kind::Ipc,
            LinuxNamespaceType::Mount => Kind::Mount,
            LinuxNamespaceType::Network => Kind::Network,
            LinuxNamespaceType::Pid => Kind::Pid,
            LinuxNamespaceType::Time => Kind::Time,
            LinuxNamespaceType::User => Kind::User,
            LinuxNamespaceType::Uts => Kind::Uts,
        }
    }
}

/// What a container asks for in one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Want {
    /// The caller's namespace is kept.
    #[default]
    Keep,
    New,
    /// A namespace given by path, opened into this slot.
    Join(Slot),
}

/// What a container asks for, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants([Want; 8]);

impl Wants {
    pub fn get(&self, kind: Kind) -> Want {
        self.0[kind.index()]
    }

    pub fn set(&mut self, kind: Kind, want: Want) {
        self.0[kind.index()] = want;
    }

    pub fn is_new(&self, kind: Kind) -> bool {
        self.get(kind) == Want::New
    }

    fn new_kinds(&self) -> Kinds {
        Kind::ALL.into_iter().filter(|&kind| self.is_new(kind)).collect()
    }

    fn joined(&self) -> impl Iterator<Item = (Kind, Slot)> + '_ {
        Kind::ALL.into_iter().filter_map(|kind| match self.get(kind) {
            Want::Join(slot) => Some((kind, slot)),
            _ => None,
        })
    }
}

/// The launch decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Launch {
    /// What clone makes at once. A new cgroup or time namespace is never among them: the first must be made after the
    /// cgroup is joined, the second before its clocks are frozen by its first member. Nor is a new ipc namespace beside a
    /// new user namespace: the root of its mqueue belongs to its maker, who is nobody inside until the ids are mapped.
    pub clone: Kinds,
    /// Joined by setns, in this order.
    pub join: Vec<(Kind, Slot)>,
    /// A user namespace that can only be made after the joins, because it takes the right to join away.
    pub unshare_user: bool,
    /// Made by unshare once the identity is settled.
    pub unshare: Kinds,
    /// The process that becomes init is a second child, because a process never changes its own pid namespace.
    pub fork: bool,
    /// The host writes identity maps.
    pub maps: bool,
}

impl Launch {
    /// Whether the init sees itself as pid 1 of a namespace that no one else is in.
    pub fn private_pid(&self) -> bool {
        self.clone.contains(Kind::Pid) || self.unshare.contains(Kind::Pid)
    }
}

/// Decides how the namespaces come about.
///
/// `privileged` is a caller that has CAP_SYS_ADMIN over the namespaces to join: it joins them first and its user
/// namespace last, because after that it would have rights inside of it only. An unprivileged caller has no rights
/// until it is in the user namespace, so that comes first.
pub fn plan_launch(wants: &Wants, privileged: bool) -> Launch {
    let mut launch = Launch { maps: wants.is_new(Kind::User), ..Launch::default() };
    let mut new = wants.new_kinds();
    launch.join = wants.joined().filter(|&(kind, _)| kind != Kind::User).collect();
    let joins_others = !launch.join.is_empty();
    if let Want::Join(slot) = wants.get(Kind::User) {
        let place = if privileged { launch.join.len() } else { 0 };
        launch.join.insert(place, (Kind::User, slot));
    }
    let late_user = matches!(wants.get(Kind::User), Want::Join(_)) || (wants.is_new(Kind::User) && joins_others);
    launch.unshare_user = wants.is_new(Kind::User) && joins_others;
    new.remove(Kind::User);
    let mut late: Kinds = [Kind::Cgroup, Kind::Time].into_iter().filter(|&kind| new.contains(kind)).collect();
    if wants.is_new(Kind::User) && new.contains(Kind::Ipc) {
        late.insert(Kind::Ipc);
    }
    if late_user {
        // All that is new shall belong to the user namespace, so it waits for it.
        launch.unshare = new;
    } else {
        launch.clone = Kinds(new.0 & !late.0);
        launch.unshare = late;
        if wants.is_new(Kind::User) {
            launch.clone.insert(Kind::User);
        }
    }
    let joins_pid = matches!(wants.get(Kind::Pid), Want::Join(_));
    launch.fork = joins_pid || launch.unshare.contains(Kind::Pid);
    launch
}

/// Everything namespaces contribute to a plan.
#[derive(Debug, Default)]
pub struct NamespacePlan {
    pub launch: Launch,
    pub wants: Wants,
    pub host: Vec<Step>,
    pub adopt: Vec<Step>,
    /// Up to the point where a cgroup must have been joined.
    pub identity: Vec<Step>,
    /// New namespaces, clocks, loopback.
    pub rest: Vec<Step>,
    /// While the child waits with its root mounted, before the hooks.
    pub mounted: Vec<Step>,
    /// The end of stage one: the second fork, if one is needed.
    pub fork: Vec<Step>,
}

/// Plans the namespaces of a spec.
pub fn plan_namespaces(spec: &Spec, host: &Host, slots: &mut SlotCounter) -> NamespacePlan {
    let mut plan = NamespacePlan::default();
    let mut fields: [Field; 8] = std::array::from_fn(|_| Field::at("/linux/namespaces"));
    let linux = spec.linux().as_ref();
    for (i, namespace) in linux.and_then(|l| l.namespaces().as_ref()).into_iter().flatten().enumerate() {
        let kind = Kind::from(namespace.typ());
        fields[kind.index()] = Field::item("/linux/namespaces", i, "");
        let path = namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty());
        plan.wants.set(
            kind,
            match path {
                None => Want::New,
                Some(path) => {
                    let slot = slots.take();
                    let path = CString::new(path.as_os_str().as_encoded_bytes()).unwrap_or_default();
                    plan.host
                        .push(Step::new(Op::Open { kind, path, slot }, Field::item("/linux/namespaces", i, "/path")));
                    Want::Join(slot)
                }
            },
        );
    }
    plan.launch = plan_launch(&plan.wants, !host.rootless());
    let maps = [
        (IdKind::User, Map::from_spec(linux.and_then(|l| l.uid_mappings().as_ref())), Field::at("/linux/uidMappings")),
        (IdKind::Group, Map::from_spec(linux.and_then(|l| l.gid_mappings().as_ref())), Field::at("/linux/gidMappings")),
    ];
    let root = (root_of(&maps[0].1), root_of(&maps[1].1));
    // Engines give the maps along with the path; then they had better be the namespace's.
    let joined = matches!(plan.wants.get(Kind::User), Want::Join(_));
    let check = |(ids, map, field): &(IdKind, Map, Field)| {
        (joined && !map.is_empty()).then(|| Step::new(Op::CheckMap { ids: *ids, map: map.clone() }, field.clone()))
    };
    let checks: Vec<Step> = maps.iter().filter_map(check).collect();
    if plan.launch.maps {
        plan_maps(&mut plan.adopt, maps, host);
    }
    let field = |kind: Kind| fields[kind.index()].clone();
    for &(kind, slot) in &plan.launch.join {
        plan.identity.push(Step::new(Op::Join { kind, slot }, field(kind)));
    }
    if plan.launch.unshare_user {
        let kinds = Kinds(Kind::User.flag());
        plan.identity.push(Step::new(Op::Unshare { kinds }, field(Kind::User)));
    }
    if plan.launch.maps {
        plan.identity.push(Step::new(Point::Adopted, field(Kind::User)));
    }
    match plan.wants.get(Kind::User) {
        Want::Keep => {}
        Want::New => plan.identity.push(Step::new(Op::Become { uid: root.0, gid: root.1 }, field(Kind::User))),
        Want::Join(_) => {
            plan.identity.push(Step::new(Op::BecomeItsRoot, field(Kind::User)));
            plan.identity.extend(checks);
        }
    }
    plan_rest(&mut plan, spec, field);
    plan.mounted = plan_devices(spec);
    plan
}

/// The network devices that the container gets, in the order of their names: the config has none.
fn plan_devices(spec: &Spec) -> Vec<Step> {
    let devices = spec.linux().as_ref().and_then(|linux| linux.net_devices().as_ref());
    let mut devices: Vec<_> = devices.into_iter().flatten().collect();
    devices.sort_by_key(|(name, _)| *name);
    let step = |(name, device): (&String, &oci_spec::runtime::LinuxNetDevice)| {
        let new_name = device.name().as_ref().filter(|name| !name.is_empty()).unwrap_or(name).clone();
        Step::new(Op::MoveDevice { name: name.clone(), new_name }, Field::at("/linux/netDevices").key(name))
    };
    devices.into_iter().map(step).collect()
}

/// The id that sets the container up: root where root is mapped, else the first mapped id.
fn root_of(map: &Map) -> u32 {
    match map.0.first() {
        Some(first) if !map.contains(0) => first.container,
        _ => 0,
    }
}

fn plan_maps(adopt: &mut Vec<Step>, maps: [(IdKind, Map, Field); 2], host: &Host) {
    let own = [host.euid, host.egid];
    for ((ids, map, field), own) in maps.into_iter().zip(own) {
        let by_itself = host.euid == 0 || map.is_own_id(own);
        // An unprivileged writer of a gid map gives setgroups up; newgidmap is privileged and need not.
        if ids == IdKind::Group && host.euid != 0 && by_itself {
            adopt.push(Step::new(Op::DenySetgroups, field.clone()));
        }
        adopt.push(Step::new(Op::Map { ids, map, by_helper: !by_itself }, field));
    }
}

fn plan_rest(plan: &mut NamespacePlan, spec: &Spec, field: impl Fn(Kind) -> Field) {
    let kinds = plan.launch.unshare;
    if let Some(first) = kinds.iter().next() {
        plan.rest.push(Step::new(Op::Unshare { kinds }, field(first)));
    }
    if plan.wants.is_new(Kind::Time) {
        if let Some(text) = time_offsets(spec) {
            plan.rest.push(Step::new(Op::TimeOffsets { text }, Field::at("/linux/timeOffsets")));
        }
        plan.rest.push(Step::new(Op::EnterTime, field(Kind::Time)));
    }
    if plan.wants.is_new(Kind::Network) {
        plan.rest.push(Step::new(Op::LoopbackUp, field(Kind::Network)));
    }
    if plan.launch.fork {
        plan.fork.push(Step::new(Op::Fork, field(Kind::Pid)));
    }
}

/// The lines for /proc/PID/timens_offsets, in a fixed order; `None` without offsets.
fn time_offsets(spec: &Spec) -> Option<CString> {
    let offsets = spec.linux().as_ref()?.time_offsets().as_ref()?;
    let line = |clock: &str| {
        let offset = offsets.get(clock)?;
        Some(format!("{clock} {} {}\n", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0)))
    };
    let text: String = ["monotonic", "boottime"].into_iter().filter_map(line).collect();
    (!text.is_empty()).then(|| CString::new(text).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Slot = Slot(20);

    /// Every combination of eight kinds kept, new or joined: 3^8 = 6,561.
    fn every_combination(mut check: impl FnMut(&Wants)) {
        for mut number in 0..3usize.pow(8) {
            let mut wants = Wants::default();
            for kind in Kind::ALL {
                wants.set(kind, [Want::Keep, Want::New, Want::Join(SLOT)][number % 3]);
                number /= 3;
            }
            check(&wants);
        }
    }

    #[test]
    fn every_new_kind_is_made_exactly_once_and_nothing_else_is() {
        every_combination(|wants| {
            let launch = plan_launch(wants, true);
            for kind in Kind::ALL {
                let made = usize::from(launch.clone.contains(kind))
                    + usize::from(launch.unshare.contains(kind))
                    + usize::from(kind == Kind::User && launch.unshare_user);
                assert_eq!(made, usize::from(wants.is_new(kind)), "{kind:?} in {wants:?}");
            }
        });
    }

    #[test]
    fn every_joined_kind_is_joined_exactly_once() {
        every_combination(|wants| {
            for privileged in [true, false] {
                let launch = plan_launch(wants, privileged);
                for kind in Kind::ALL {
                    let joined = launch.join.iter().filter(|(k, _)| *k == kind).count();
                    assert_eq!(joined, usize::from(wants.get(kind) == Want::Join(SLOT)), "{kind:?} in {wants:?}");
                }
            }
        });
    }

    #[test]
    fn a_root_caller_joins_the_user_namespace_last_and_anyone_else_first() {
        every_combination(|wants| {
            if wants.get(Kind::User) == Want::Join(SLOT) {
                assert_eq!(plan_launch(wants, true).join.last().map(|j| j.0), Some(Kind::User));
                assert_eq!(plan_launch(wants, false).join.first().map(|j| j.0), Some(Kind::User));
            }
        });
    }

    #[test]
    fn nothing_new_is_made_before_the_user_namespace_that_shall_own_it() {
        every_combination(|wants| {
            let launch = plan_launch(wants, true);
            let user = wants.get(Kind::User);
            if launch.unshare_user || matches!(user, Want::Join(_)) {
                assert!(launch.clone.is_empty(), "{wants:?}");
            } else if user == Want::New {
                assert!(launch.clone.contains(Kind::User), "{wants:?}");
            }
        });
    }

    #[test]
    fn a_second_fork_is_made_for_a_joined_or_unshared_pid_namespace_only() {
        every_combination(|wants| {
            let launch = plan_launch(wants, true);
            let joined = wants.get(Kind::Pid) == Want::Join(SLOT);
            assert_eq!(launch.fork, joined || launch.unshare.contains(Kind::Pid), "{wants:?}");
            assert!(!(launch.fork && launch.clone.contains(Kind::Pid)), "{wants:?}");
        });
    }

    #[test]
    fn cgroup_and_time_namespaces_are_never_left_to_clone() {
        every_combination(|wants| {
            let launch = plan_launch(wants, true);
            assert!(!launch.clone.contains(Kind::Cgroup) && !launch.clone.contains(Kind::Time));
        });
    }

    #[test]
    fn without_joins_one_clone_is_enough() {
        let mut wants = Wants::default();
        for kind in Kind::ALL {
            wants.set(kind, Want::New);
        }
        let launch = plan_launch(&wants, true);
        assert!(launch.join.is_empty() && !launch.fork && !launch.unshare_user && launch.maps);
        assert_eq!(launch.unshare, [Kind::Cgroup, Kind::Ipc, Kind::Time].into_iter().collect());
        wants.set(Kind::User, Want::Keep);
        assert_eq!(plan_launch(&wants, true).unshare, [Kind::Cgroup, Kind::Time].into_iter().collect());
    }

    fn spec(linux: serde_json::Value) -> Spec {
        serde_json::from_value(serde_json::json!({"ociVersion": "1.3.0", "linux": linux})).unwrap()
    }

    #[test]
    fn an_unprivileged_caller_denies_setgroups_before_it_maps_its_own_group() {
        let one = |host: u32| serde_json::json!([{"containerID": 0, "hostID": host, "size": 1}]);
        let spec = spec(serde_json::json!({
            "namespaces": [{"type": "user"}], "uidMappings": one(1000), "gidMappings": one(1000)}));
        let host = Host { euid: 1000, egid: 1000, ..Host::fixture() };
        let plan = plan_namespaces(&spec, &host, &mut SlotCounter::default());
        let ops: Vec<_> = plan.adopt.iter().map(|step| step.op.clone()).collect();
        assert!(matches!(ops[0], crate::plan::Op::Namespace(Op::Map { ids: IdKind::User, by_helper: false, .. })));
        assert_eq!(ops[1], crate::plan::Op::Namespace(Op::DenySetgroups));
        assert!(matches!(ops[2], crate::plan::Op::Namespace(Op::Map { ids: IdKind::Group, by_helper: false, .. })));
    }

    #[test]
    fn time_offsets_are_written_before_the_time_namespace_is_entered() {
        let spec = spec(serde_json::json!({
            "namespaces": [{"type": "time"}], "timeOffsets": {"boottime": {"secs": 5}, "monotonic": {"nanosecs": 7}}}));
        let plan = plan_namespaces(&spec, &Host::fixture(), &mut SlotCounter::default());
        let rest: Vec<_> = plan.rest.iter().map(|step| crate::plan::render(&step.op)).collect();
        assert_eq!(
            rest,
            ["make new namespaces: time", "shift clocks: monotonic 0 7, boottime 5 0", "enter the time namespace"]
        );
    }
}
