//! Device rules as systemd's DevicePolicy and DeviceAllow (systemd.resource-control(5)). systemd knows permissions only,
//! and no order, so what it gets is the least that holds everything the rules permit: the exact rules are corten's own
//! to apply, and a device must pass both. Pure.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::properties::{Property, Value};

/// What every container may do beside its rules: make any node, which lets it open nothing, and use the devices that each
/// has in /dev (runtime-spec, config-linux.md, "Default Devices"), pseudo terminals and the tunnel device.
const DEFAULTS: [(&str, &str); 11] = [
    ("char-*", "m"),
    ("block-*", "m"),
    ("/dev/char/1:3", "rwm"),
    ("/dev/char/1:5", "rwm"),
    ("/dev/char/1:7", "rwm"),
    ("/dev/char/1:8", "rwm"),
    ("/dev/char/1:9", "rwm"),
    ("/dev/char/5:0", "rwm"),
    ("/dev/char/5:2", "rwm"),
    ("/dev/char/10:200", "rwm"),
    ("char-136", "rwm"),
];

/// The properties of a list of rules; an empty list permits what every container may do. systemd can't say "everything but", so rules that begin
/// with permitting everything leave its policy at `auto`.
pub fn plan_devices(rules: &[LinuxDeviceCgroup]) -> Vec<Property> {
    let mut everything = false;
    let mut allowed: Vec<(String, String)> = Vec::new();
    for rule in rules {
        let all = is_all(rule);
        match (rule.allow(), all) {
            (true, true) => everything = true,
            (false, true) => {
                everything = false;
                allowed.clear();
            }
            (true, false) => patterns(rule).into_iter().for_each(|pattern| allowed.push((pattern, access(rule)))),
            // What it takes away, corten's own rules take away.
            (false, false) => {}
        }
    }
    let policy = |policy: &str| Property::new("DevicePolicy", Value::String(policy.to_owned()));
    if everything {
        return vec![policy("auto"), Property::new("DeviceAllow", Value::Pairs(Vec::new()))];
    }
    let defaults = DEFAULTS.map(|(pattern, access)| (pattern.to_owned(), access.to_owned()));
    let mut list: Vec<(String, String)> = Vec::new();
    for pair in defaults.into_iter().chain(allowed) {
        if !list.contains(&pair) {
            list.push(pair);
        }
    }
    vec![policy("strict"), Property::new("DeviceAllow", Value::Pairs(list))]
}

/// Whether a rule is about every device and every access.
fn is_all(rule: &LinuxDeviceCgroup) -> bool {
    let any = |number: Option<i64>| number.is_none_or(|number| number < 0);
    let of_all = matches!(rule.typ(), None | Some(LinuxDeviceType::A));
    of_all && any(rule.major()) && any(rule.minor()) && access(rule) == "rwm"
}

/// The letters that systemd knows; an absent access is all of them.
fn access(rule: &LinuxDeviceCgroup) -> String {
    match rule.access().as_deref() {
        None | Some("") => "rwm".to_owned(),
        Some(given) => "rwm".chars().filter(|letter| given.contains(*letter)).collect(),
    }
}

/// systemd's names of the devices of a rule. A number of a major is understood since 240; a minor alone can't be said, so
/// every major is.
fn patterns(rule: &LinuxDeviceCgroup) -> Vec<String> {
    let types: &[&str] = match rule.typ() {
        Some(LinuxDeviceType::B) => &["block"],
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => &["char"],
        // A fifo is no device that a control group could forbid.
        Some(LinuxDeviceType::P) => &[],
        _ => &["char", "block"],
    };
    let number = |number: Option<i64>| number.filter(|number| *number >= 0);
    let pattern = |kind: &&str| match (number(rule.major()), number(rule.minor())) {
        (None, _) => format!("{kind}-*"),
        (Some(major), None) => format!("{kind}-{major}"),
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
    };
    types.iter().map(pattern).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    /// The policy, and what is allowed beside the defaults.
    fn plan(rules: Json) -> (String, Vec<String>) {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(rules).unwrap();
        let properties = plan_devices(&rules);
        let [Property { value: Value::String(policy), .. }, Property { value: Value::Pairs(pairs), .. }] =
            &properties[..]
        else {
            panic!("{properties:?}")
        };
        let own = pairs.iter().filter(|(p, a)| !DEFAULTS.contains(&(p.as_str(), a.as_str())));
        (policy.clone(), own.map(|(pattern, access)| format!("{pattern} {access}")).collect())
    }

    #[test]
    fn a_list_of_permissions_follows_a_refusal_of_everything() {
        let rules = json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": true, "type": "b", "major": 8, "access": "r"},
            {"allow": true, "type": "c", "minor": 3, "access": "r"},
            {"allow": true, "type": "a", "major": 7, "minor": 1, "access": "r"},
        ]);
        let own = ["/dev/char/10:229 rw", "block-8 r", "char-* r", "/dev/char/7:1 r", "/dev/block/7:1 r"];
        assert_eq!(plan(rules), ("strict".to_owned(), own.map(str::to_owned).to_vec()));
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
            {"allow": true, "type": "a"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"},
            {"allow": false, "type": "a", "access": "rwm"},
        ]);
        assert_eq!(plan(rules), ("strict".to_owned(), vec![]));
        assert_eq!(plan(json!([])), ("strict".to_owned(), vec![]));
    }
}
