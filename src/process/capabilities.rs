//! Capabilities from names to bits. The vocabulary is the `caps` crate's; what the host can't grant is left out with a
//! warning, as runtime-spec 1.3 wants (config.md, process.capabilities).

use caps::Capability;
use oci_spec::runtime::Capabilities;

use crate::host::Host;
use crate::process::CapabilitySets;

/// What a process gets, and what it asked for in vain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Granted {
    pub bounding: u64,
    pub sets: CapabilitySets,
    pub ambient: u64,
    /// Names that this kernel or this caller doesn't have.
    pub unavailable: Vec<String>,
    /// Ambient names that are not permitted and inheritable, which the kernel refuses.
    pub not_ambient: Vec<String>,
}

/// Reduces the five sets to what can be granted. `available` is the caller's bounding set, or all that the kernel
/// knows inside a new user namespace.
pub fn plan_capabilities(wanted: Option<&oci_spec::runtime::LinuxCapabilities>, available: u64) -> Granted {
    let mut granted = Granted::default();
    let Some(wanted) = wanted else { return granted };
    let mut reduce = |set: &Option<Capabilities>| {
        let mut bits = 0;
        for capability in set.iter().flatten() {
            let name = format!("CAP_{capability}").replace("CAP_CAP_", "CAP_");
            match number(&name).filter(|&number| available & 1 << number != 0) {
                Some(number) => bits |= 1 << number,
                None if granted.unavailable.contains(&name) => {}
                None => granted.unavailable.push(name),
            }
        }
        bits
    };
    let bounding = reduce(wanted.bounding());
    let effective = reduce(wanted.effective());
    let permitted = reduce(wanted.permitted());
    let inheritable = reduce(wanted.inheritable());
    let ambient = reduce(wanted.ambient());
    granted.bounding = bounding;
    // The kernel refuses an effective capability that isn't permitted (capset(2)).
    granted.sets = CapabilitySets { effective: effective & permitted, permitted, inheritable };
    granted.ambient = ambient & permitted & inheritable;
    granted.not_ambient = names(ambient & !granted.ambient);
    granted.unavailable.sort();
    granted
}

/// What the caller can give to a process in (or out of) a user namespace of its own.
pub fn available(host: &Host, user_namespace: bool) -> u64 {
    if user_namespace { (1 << (u32::from(host.last_capability) + 1)) - 1 } else { host.bounding }
}

/// The number of a capability; `None` for a name that the crate doesn't know.
pub fn number(name: &str) -> Option<u8> {
    name.parse::<Capability>().ok().map(|capability| capability.index())
}

/// Names of a set, in the kernel's order.
pub fn names(set: u64) -> Vec<String> {
    let mut all: Vec<_> = caps::all().into_iter().filter(|c| set & 1 << c.index() != 0).collect();
    all.sort_by_key(Capability::index);
    all.iter().map(Capability::to_string).collect()
}

/// A set for a sentence: names when they are few, else their number.
pub fn render_set(set: u64) -> String {
    match names(set) {
        names if names.is_empty() => "none".to_owned(),
        names if names.len() <= 4 => names.join(" "),
        names => format!("{} capabilities", names.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(json: serde_json::Value) -> oci_spec::runtime::LinuxCapabilities {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn an_absent_object_keeps_no_capability_at_all() {
        assert_eq!(plan_capabilities(None, u64::MAX), Granted::default());
    }

    #[test]
    fn what_the_caller_does_not_have_is_left_out_and_named_once() {
        let wanted = wanted(serde_json::json!({
            "bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"], "permitted": ["CAP_CHOWN", "CAP_SYS_RESOURCE"]}));
        let available = !(1 << number("CAP_SYS_RESOURCE").unwrap());
        let granted = plan_capabilities(Some(&wanted), available);
        assert_eq!(granted.bounding, 1);
        assert_eq!(granted.unavailable, ["CAP_SYS_RESOURCE"]);
    }

    #[test]
    fn ambient_needs_permitted_and_inheritable() {
        let wanted = wanted(serde_json::json!({
            "permitted": ["CAP_CHOWN", "CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_CHOWN", "CAP_KILL"]}));
        let granted = plan_capabilities(Some(&wanted), u64::MAX);
        assert_eq!(granted.ambient, 1 << number("CAP_KILL").unwrap());
        assert_eq!(granted.not_ambient, ["CAP_CHOWN"]);
    }

    #[test]
    fn effective_never_exceeds_permitted() {
        let wanted = wanted(serde_json::json!({"effective": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_KILL"]}));
        let granted = plan_capabilities(Some(&wanted), u64::MAX);
        assert_eq!(granted.sets.effective, 1 << number("CAP_KILL").unwrap());
    }

    #[test]
    fn every_name_of_the_vocabulary_has_a_number() {
        for capability in caps::all() {
            assert_eq!(number(&capability.to_string()), Some(capability.index()));
        }
    }
}
