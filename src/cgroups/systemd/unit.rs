//! Names of units and the cgroups behind them: from `slice:prefix:name` to the scope, its slice, and its place below a
//! manager's own cgroup (systemd.slice(5), systemd.unit(5)). Pure.

use std::path::{Component, Path, PathBuf};

use super::super::group::Unit;
use crate::error::Violation;
use crate::field::Field;

/// The prefix of a scope whose name the config leaves to the runtime.
const PREFIX: &str = "corten";
/// Bytes of a unit's name (UNIT_NAME_MAX, systemd.unit(5)).
const LONGEST: usize = 255;

/// The unit behind `linux.cgroupsPath`. Without a path the scope is named for the container, and without a slice in it
/// the scope is where a manager puts what it isn't told of: `system.slice`, and `user.slice` for a user's own manager.
pub fn plan_unit(path: Option<&str>, id: &str, user: bool) -> Result<Unit, Violation> {
    let field = || Field::at("/linux/cgroupsPath");
    let default_slice = if user { "user.slice" } else { "system.slice" };
    let Some(path) = path.filter(|path| !path.is_empty()) else {
        let name = format!("{PREFIX}-{}.scope", escape(id));
        if name.len() > LONGEST {
            let why = format!(
                "is absent, and the unit of the container's name has {} bytes; {LONGEST} are the most",
                name.len()
            );
            let hint = "give the container a shorter id, or write slice:prefix:name with a shorter name";
            return Err(Violation::new(field(), why).hint(hint));
        }
        return Ok(Unit { name, slice: default_slice.to_owned(), user });
    };
    let parts: Vec<&str> = path.split(':').collect();
    let [slice, prefix, name] = parts[..] else {
        let why = format!(
            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"{path}\" instead"
        );
        return Err(Violation::new(field(), why).hint("write it like system.slice:corten:NAME, or leave it away"));
    };
    let slice = if slice.is_empty() { default_slice } else { slice };
    let refuse = |why: String| {
        Err(Violation::new(field(), why).hint("systemd.unit(5) and systemd.slice(5) say what a name may be"))
    };
    if let Err(why) = expand_slice(slice) {
        return refuse(format!("the slice {slice:?} {why}"));
    }
    let unit = match (name.ends_with(".slice"), prefix) {
        (true, _) => name.to_owned(),
        (false, "") => format!("{name}.scope"),
        (false, prefix) => format!("{prefix}-{name}.scope"),
    };
    if name.is_empty() {
        return refuse(format!("must name a unit behind the last colon, but is {path:?}"));
    }
    if let Some(bad) = unit.chars().find(|c| !is_valid(*c)) {
        return refuse(format!("the unit {unit:?} can't have {bad:?} in its name"));
    }
    if unit.len() > LONGEST {
        return refuse(format!("the unit's name has {} bytes, and {LONGEST} are the most", unit.len()));
    }
    if unit.ends_with(".slice") {
        match expand_slice(&unit) {
            Err(why) => return refuse(format!("the slice {unit:?} {why}")),
            Ok(root) if root.as_os_str().is_empty() => return refuse("must not be the root slice".to_owned()),
            Ok(_) => {}
        }
    }
    Ok(Unit { name: unit, slice: slice.to_owned(), user })
}

/// What a unit's name is made of, beside its suffix (systemd.unit(5)).
fn is_valid(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\')
}

/// An id as a part of a unit's name: what can't stand there becomes `\xNN`, as systemd-escape(1) writes it.
fn escape(id: &str) -> String {
    let mut escaped = String::with_capacity(id.len());
    for byte in id.bytes() {
        match char::from(byte) {
            c if is_valid(c) && c != '\\' => escaped.push(c),
            _ => escaped.push_str(&format!("\\x{byte:02x}")),
        }
    }
    escaped
}

/// Where a slice is below its manager's cgroup: `a-b.slice` is `a.slice/a-b.slice`, and `-.slice` is the manager's cgroup
/// itself. The error continues the sentence `the slice "x" …`.
pub fn expand_slice(slice: &str) -> Result<PathBuf, &'static str> {
    let name = slice.strip_suffix(".slice").ok_or("must end in .slice")?;
    if name == "-" {
        return Ok(PathBuf::new());
    }
    if slice.len() > LONGEST {
        return Err("has more than 255 bytes");
    }
    if !name.chars().all(is_valid) {
        return Err("has a character that no unit's name has");
    }
    if name.split('-').any(str::is_empty) {
        return Err("has a dash with nothing before or behind it, which names a slice without a name");
    }
    let mut path = PathBuf::new();
    for (end, _) in name.match_indices('-').chain([(name.len(), "")]) {
        path.push(format!("{}.slice", &name[..end]));
    }
    Ok(path)
}

/// Where the unit's cgroup is below its manager's. A slice is where its name says, whatever it was to be part of.
pub fn unit_path(unit: &Unit) -> PathBuf {
    // Both were looked at when the unit was planned.
    match unit.name.ends_with(".slice") {
        true => expand_slice(&unit.name).unwrap_or_default(),
        false => expand_slice(&unit.slice).unwrap_or_default().join(&unit.name),
    }
}

/// The cgroup of a user's own manager, as far as it can be told from that of the caller: the service `user@UID.service`
/// around it, else the one beside its session, else the one of its user id.
pub fn user_manager(own: &Path, uid: u32) -> PathBuf {
    let names = || {
        own.components().filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
    };
    let number = |name: &str, before: &str, after: &str| -> Option<u32> {
        name.strip_prefix(before)?.strip_suffix(after)?.parse().ok()
    };
    if let Some(at) = names().position(|name| number(name, "user@", ".service").is_some()) {
        return names().take(at + 1).collect();
    }
    let uid = names().find_map(|name| number(name, "user-", ".slice")).unwrap_or(uid);
    Path::new("user.slice").join(format!("user-{uid}.slice")).join(format!("user@{uid}.service"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit(path: &str) -> Result<(String, String), String> {
        plan_unit(Some(path), "web", false).map(|unit| (unit.slice, unit.name)).map_err(|violation| violation.why)
    }

    fn words(slice: &str, name: &str) -> Result<(String, String), String> {
        Ok((slice.to_owned(), name.to_owned()))
    }

    #[test]
    fn a_path_names_slice_and_scope() {
        assert_eq!(unit("machine.slice:libpod:abc"), words("machine.slice", "libpod-abc.scope"));
        assert_eq!(unit(":cri-containerd:abc"), words("system.slice", "cri-containerd-abc.scope"));
        assert_eq!(unit("system.slice::abc"), words("system.slice", "abc.scope"));
        assert_eq!(unit("-.slice:x:abc"), words("-.slice", "x-abc.scope"));
        assert_eq!(unit("a.slice:x:a-b.slice"), words("a.slice", "a-b.slice"));
    }

    #[test]
    fn without_a_path_the_scope_is_named_for_the_container() {
        for path in [None, Some("")] {
            let unit = plan_unit(path, "w_e+b.1-x", false).unwrap();
            assert_eq!((unit.slice.as_str(), unit.name.as_str()), ("system.slice", "corten-w_e\\x2bb.1-x.scope"));
        }
        let unit = plan_unit(None, "web", true).unwrap();
        assert_eq!((unit.slice.as_str(), unit.user), ("user.slice", true));
    }

    #[test]
    fn a_path_of_another_form_is_refused_in_known_words() {
        for path in ["/a/b", "a", "a.slice:b", "a.slice:b:c:d"] {
            let why = unit(path).unwrap_err();
            let known = format!(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"{path}\" instead"
            );
            assert_eq!(why, known);
        }
    }

    #[test]
    fn a_bad_slice_or_name_is_refused() {
        for path in [
            "a:b:c",
            ".slice:b:c",
            "-a.slice:b:c",
            "a-.slice:b:c",
            "a--b.slice:b:c",
            "a/b.slice:b:c",
            "a.slice:b:",
            "a.slice:b:c/d",
            "a.slice:b:c d",
            "a.slice:b:--.slice",
            "a.slice:b:-.slice",
            "ä.slice:b:c",
        ] {
            assert!(unit(path).is_err(), "{path}");
        }
        assert!(unit(&format!("a.slice:b:{}", "c".repeat(248))).unwrap_err().contains("256 bytes"));
        assert!(unit(&format!("a.slice:b:{}", "c".repeat(247))).is_ok());
    }

    /// An id may have 1024 bytes, and each that no unit's name has becomes four.
    #[test]
    fn an_id_that_makes_no_name_of_a_unit_is_refused() {
        let of = |id: &str| plan_unit(None, id, false);
        assert_eq!(of(&"c".repeat(242)).unwrap().name.len(), LONGEST);
        for id in ["c".repeat(243), "+".repeat(61)] {
            let violation = of(&id).unwrap_err();
            assert!(violation.why.contains("255 are the most"), "{}", violation.why);
        }
    }

    #[test]
    fn a_slice_lies_in_the_slices_of_its_name() {
        let expand = |slice| expand_slice(slice).map(|path| path.display().to_string());
        assert_eq!(expand("-.slice").unwrap(), "");
        assert_eq!(expand("a.slice").unwrap(), "a.slice");
        assert_eq!(
            expand("kubepods-burstable-pod1.slice").unwrap(),
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice"
        );
    }

    #[test]
    fn a_unit_is_in_its_slice_and_a_slice_where_its_name_says() {
        let place = |path| unit_path(&plan_unit(Some(path), "web", false).unwrap()).display().to_string();
        assert_eq!(place("a-b.slice:x:y"), "a.slice/a-b.slice/x-y.scope");
        assert_eq!(place("-.slice:x:y"), "x-y.scope");
        assert_eq!(place("q.slice:x:a-b.slice"), "a.slice/a-b.slice");
    }

    #[test]
    fn a_users_manager_is_found_from_where_the_caller_is() {
        let find = |own: &str, uid| user_manager(Path::new(own), uid).display().to_string();
        let manager = "user.slice/user-1000.slice/user@1000.service";
        assert_eq!(find(&format!("{manager}/app.slice/podman.scope"), 0), manager);
        assert_eq!(find("user.slice/user-1000.slice/session-3.scope", 0), manager);
        assert_eq!(find("system.slice/vmrun.service", 1000), manager);
        assert_eq!(find("", 1000), manager);
        assert_eq!(find("user.slice/user-x.slice/user@.service", 1000), manager);
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_stays_below_the_manager(path in "[-.:a-z/\\\\]{0,30}(slice)?:[-.:a-z/]{0,5}:[-.a-z]{0,9}(\\.slice)?") {
            if let Ok(unit) = plan_unit(Some(&path), "web", false) {
                let place = unit_path(&unit);
                prop_assert!(place.components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert_eq!(place.file_name().unwrap().to_str().unwrap(), unit.name.as_str());
            }
        }

        #[test]
        fn an_expanded_slice_ends_in_itself_and_grows_by_a_dash_each(names in prop::collection::vec("[a-z0-9_]{1,4}", 1..6)) {
            let slice = format!("{}.slice", names.join("-"));
            let path = expand_slice(&slice).unwrap();
            prop_assert_eq!(path.components().count(), names.len());
            prop_assert_eq!(path.file_name().unwrap().to_str().unwrap(), slice.as_str());
        }
    }
}
