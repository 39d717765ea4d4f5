//! Device rules as systemd's DevicePolicy and DeviceAllow (systemd.resource-control(5)). systemd knows permissions only,
//! and no order, so what it gets is the least that holds everything the rules permit: the exact rules are corten's own
//! to apply, and a device must pass both. Pure.

use oci_spec::runtime::LinuxDeviceCgroup;

use super::properties::{Property, Value};
use crate::cgroups::plan::devices::{Kind, Rule, Rules};
use crate::field::Field;

/// The properties of a list of rules, which permit at least what every container may do. systemd can't say "everything
/// but", so rules that begin with permitting everything leave its policy at `auto`.
pub fn plan_devices(given: &[LinuxDeviceCgroup]) -> Vec<Property> {
    let rules = Rules::new(given, &Field::RUNTIME);
    let mut list: Vec<(String, String)> = Vec::new();
    if !rules.allow {
        // What later rules take away of these, corten's own rules take away.
        for rule in rules.list.iter().filter(|rule| rule.allow) {
            for pattern in patterns(rule) {
                let pair = (pattern, rule.access.to_string());
                if !list.contains(&pair) {
                    list.push(pair);
                }
            }
        }
    }
    let policy = if rules.allow { "auto" } else { "strict" };
    vec![
        Property::new("DevicePolicy", Value::String(policy.to_owned())),
        Property::new("DeviceAllow", Value::Pairs(list)),
    ]
}

/// systemd's names of the devices of a rule. A number of a major is understood since 240; a minor alone can't be said, so
/// every major is.
fn patterns(rule: &Rule) -> Vec<String> {
    let kinds = Kind::ALL.into_iter().filter(|kind| rule.kind.is_none_or(|own| own == *kind));
    let pattern = |kind: Kind| {
        let name = match kind {
            Kind::Char => "char",
            Kind::Block => "block",
        };
        match (rule.major, rule.minor) {
            (None, _) => format!("{name}-*"),
            (Some(major), None) => format!("{name}-{major}"),
            (Some(major), Some(minor)) => format!("/dev/{name}/{major}:{minor}"),
        }
    };
    kinds.map(pattern).collect()
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
        let list = ["/dev/char/10:229 rw", "block-8 r", "char-* r", "/dev/char/7:1 rw", "/dev/block/7:1 rw"];
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
