//! Device rules as systemd's DevicePolicy and DeviceAllow (systemd.resource-control(5)). systemd knows permissions only,
//! and no order, so what it gets is the least that holds everything the rules permit: the exact rules are corten's own
//! to apply, and a device must pass both. Pure.

use oci_spec::runtime::LinuxDeviceCgroup;

use super::properties::{Property, Value};
use crate::cgroups::plan::devices::{Access, Kind, Rule, Rules};
use crate::field::Field;

/// The properties of a list of rules, which permit at least what every container may do. systemd can't say "everything
/// but", so rules that begin with permitting everything leave its policy at `auto`.
pub fn plan_devices(given: &[LinuxDeviceCgroup]) -> Vec<Property> {
    let rules = Rules::new(given, &Field::RUNTIME);
    let mut list: Vec<(String, Access)> = Vec::new();
    if !rules.allow {
        // What later rules take away of these, corten's own rules take away.
        let allowing = || rules.list.iter().filter(|rule| rule.allow);
        for (rule, kind) in allowing().flat_map(|rule| kinds(rule).map(move |kind| (rule, kind))) {
            // systemd asks one entry for all letters of an access, so each has those of every other rule about its devices,
            // but for rules about a part of them; and of two entries with one name it keeps the last.
            let of_kind = allowing().filter(|other| kinds(other).any(|own| own == kind));
            let beside = of_kind.filter(|other| overlap(rule, other) && !covers(rule, other));
            let access = beside.fold(rule.access, |all, other| all.or(other.access));
            let pattern = pattern(rule, kind);
            match list.iter_mut().find(|(known, _)| *known == pattern) {
                Some((_, known)) => *known = known.or(access),
                None => list.push((pattern, access)),
            }
        }
    }
    let list = list.into_iter().map(|(pattern, access)| (pattern, access.to_string())).collect();
    let policy = if rules.allow { "auto" } else { "strict" };
    vec![
        Property::new("DevicePolicy", Value::String(policy.to_owned())),
        Property::new("DeviceAllow", Value::Pairs(list)),
    ]
}

/// The kinds that a rule is about.
fn kinds(rule: &Rule) -> impl Iterator<Item = Kind> + use<> {
    let own = rule.kind;
    Kind::ALL.into_iter().filter(move |kind| own.is_none_or(|own| own == *kind))
}

/// Whether there may be numbers that both rules speak of.
fn overlap(one: &Rule, other: &Rule) -> bool {
    let meet = |one: Option<u32>, other: Option<u32>| one.is_none() || other.is_none() || one == other;
    meet(one.major, other.major) && meet(one.minor, other.minor)
}

/// Whether the one rule speaks of all numbers that the other speaks of.
fn covers(one: &Rule, other: &Rule) -> bool {
    let holds = |one: Option<u32>, other: Option<u32>| one.is_none() || one == other;
    holds(one.major, other.major) && holds(one.minor, other.minor)
}

/// systemd's name of the devices of a rule. A number of a major is understood since 240; a minor alone can't be said, so
/// every major is.
fn pattern(rule: &Rule, kind: Kind) -> String {
    let name = match kind {
        Kind::Char => "char",
        Kind::Block => "block",
    };
    match (rule.major, rule.minor) {
        (None, _) => format!("{name}-*"),
        (Some(major), None) => format!("{name}-{major}"),
        (Some(major), Some(minor)) => format!("/dev/{name}/{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn plan(rules: Json) -> (String, Vec<String>) {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(rules).unwrap();
        let properties = plan_devices(&rules);
        let [Property { value: Value::String(policy), .. }, Property { value: Value::Pairs(pairs), .. }] =
            &properties[..]
        else {
            panic!("{properties:?}")
        };
        (policy.clone(), pairs.iter().map(|(pattern, access)| format!("{pattern} {access}")).collect())
    }

    /// What is allowed beside that which every container may do.
    fn own(rules: Json) -> (String, Vec<String>) {
        let (_, defaults) = plan(json!([]));
        let (policy, mut list) = plan(rules);
        list.retain(|pair| !defaults.contains(pair));
        (policy, list)
    }

    #[test]
    fn a_list_of_permissions_follows_a_refusal_of_everything() {
        let rules = json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": true, "type": "b", "major": 8, "access": "r"},
            {"allow": true, "type": "c", "minor": 3, "access": "r"},
            {"allow": true, "type": "a", "major": 7, "minor": 1, "access": "wr"},
        ]);
        // With the letters of what every container may do with all nodes. A rule about the minor 3 of every major may speak
        // of the defaults' 1:3, so both have both's.
        let list = ["/dev/char/10:229 rwm", "block-8 rm", "char-* rwm", "/dev/char/7:1 rwm", "/dev/block/7:1 rwm"];
        assert_eq!(own(rules), ("strict".to_owned(), list.map(str::to_owned).to_vec()));
    }

    #[test]
    fn every_container_may_make_nodes_and_use_the_default_devices() {
        let (policy, list) = plan(json!([]));
        assert_eq!(policy, "strict");
        for pair in ["char-* m", "block-* m", "/dev/char/1:3 rwm", "/dev/char/5:2 rwm", "char-136 rwm"] {
            assert!(list.iter().any(|own| own == pair), "{pair} is not in {list:?}");
        }
    }

    #[test]
    fn everything_but_a_few_is_no_policy_of_systemds() {
        let rules = json!([
            {"allow": true, "access": "rwm"},
            {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        ]);
        assert_eq!(plan(rules), ("auto".to_owned(), vec![]));
    }

    #[test]
    fn the_last_rule_about_everything_counts() {
        let rules = json!([
            {"allow": true, "type": "a", "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"},
            {"allow": false, "type": "a", "access": "rwm"},
        ]);
        assert_eq!(own(rules), ("strict".to_owned(), vec![]));
    }
}
