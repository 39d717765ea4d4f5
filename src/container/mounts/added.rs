//! What `mounts add` has added, as the container's directory keeps it, and which of it a `remove` means. Pure.
//!
//! A mount is known by the number that the kernel gives it and never again. Before Linux 6.8 that is the number in mountinfo,
//! which is used again, with the file system's beside it.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result, Violation};
use crate::field::Field;
use crate::host::mountinfo::Mounted;
use crate::plan::mounts::Wanted;

/// One mount that was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// As in mountinfo.
    pub id: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<u64>,
    /// `major:minor` of its file system.
    pub device: String,
    /// The kernel says that it is mounted no longer, whatever has its number in mountinfo now.
    #[serde(skip)]
    pub gone: bool,
    /// What was asked for, an element of `mounts` of config.json with an absolute source.
    pub mount: Value,
}

impl Added {
    /// Where it was to be mounted: absolute, cleaned.
    pub fn destination(&self) -> PathBuf {
        cleaned(self.mount["destination"].as_str().unwrap_or_default().as_ref())
    }

    /// Whether this is the mount, as far as mountinfo can tell.
    pub fn is(&self, mounted: &Mounted) -> bool {
        !self.gone && (self.id, &self.device) == (mounted.id, &mounted.device)
    }
}

/// The bytes of mounts.json as a list; [`Error::DamagedState`] for what corten can't have written.
pub fn parse(id: &str, bytes: &[u8]) -> Result<Vec<Added>> {
    let damaged = |e| Error::DamagedState { id: id.to_owned(), why: format!("mounts.json: {e}") };
    serde_json::from_slice(bytes).map_err(damaged)
}

/// The bytes of mounts.json.
pub fn render(added: &[Added]) -> Vec<u8> {
    serde_json::to_vec(added).unwrap_or_default()
}

/// A place that is to be freed, in the words of the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Absolute, in the container.
    pub target: PathBuf,
    pub field: Field,
}

/// What a `remove` comes to.
#[derive(Debug, Default, PartialEq)]
pub struct Chosen {
    pub wanted: Vec<Wanted>,
    /// What is on record no longer.
    pub forgotten: Vec<Added>,
    /// What was added there is mounted no more.
    pub gone: Vec<Asked>,
}

/// Chooses what is meant: of what was added at each place the last, or with `any` whatever is on top there. A mount that is
/// named twice is meant once; what is left to choose from is what is mounted and not chosen yet.
///
/// # Errors
/// Every place at which nothing was added; a mount that something else covers, beside those that go with it.
pub fn choose(added: &[Added], mounted: &[Mounted], asked: &[Asked], any: bool) -> Result<Chosen, Vec<Violation>> {
    let mut chosen = Chosen::default();
    let mut violations = Vec::new();
    let mut taken: Vec<(&Mounted, Option<u64>, &Field)> = Vec::new();
    for Asked { target, field } in asked {
        let target = cleaned(target);
        let place = |added: &Added| mounted.iter().find(|mounted| added.is(mounted));
        let left = || added.iter().rev().filter(|added| !chosen.forgotten.contains(added));
        let there = left().find_map(|added| {
            let mounted = place(added)?;
            (added.destination() == target || mounted.target == target).then_some((added, mounted))
        });
        if let Some((added, mounted)) = there {
            // `--any` may have chosen it by where it is now.
            if !taken.iter().any(|(taken, ..)| taken.id == mounted.id) {
                taken.push((mounted, added.unique, field));
            }
            chosen.forgotten.push(added.clone());
            continue;
        }
        let is_chosen = |mounted: &Mounted| taken.iter().any(|(taken, ..)| taken.id == mounted.id);
        let on_top = mounted.iter().rev().find(|mounted| mounted.target == target && !is_chosen(mounted));
        let stale = left().find(|added| added.destination() == target).cloned();
        if let Some(stale) = &stale {
            chosen.forgotten.push(stale.clone());
        }
        match on_top {
            Some(mounted) if any && target.as_os_str() != "/" => taken.push((mounted, None, field)),
            _ if stale.is_some() => chosen.gone.push(Asked { target, field: field.clone() }),
            _ if mounted.iter().any(|mounted| mounted.target == target && is_chosen(mounted))
                || chosen.forgotten.iter().any(|added| added.destination() == target) => {}
            on_top => violations.push(refusal(&target, on_top.is_some(), field)),
        }
    }
    match in_order(mounted, taken) {
        Ok(wanted) => chosen.wanted = wanted,
        Err(covered) => violations.extend(covered),
    }
    if violations.is_empty() { Ok(chosen) } else { Err(violations) }
}

/// What is mounted on another goes before it, for it would go along with it; what another covers is found once that is gone.
fn in_order(mounted: &[Mounted], taken: Vec<(&Mounted, Option<u64>, &Field)>) -> Result<Vec<Wanted>, Vec<Violation>> {
    let mut wanted = Vec::new();
    let mut violations = Vec::new();
    for one in mounted.iter().rev() {
        let Some((_, unique, field)) = taken.iter().find(|(taken, ..)| taken.id == one.id) else { continue };
        let covers = mounted.iter().filter(|other| covers(mounted, other, one));
        let (goes, stays): (Vec<_>, Vec<_>) = covers.partition(|cover| {
            let goes = |other: &Mounted| taken.iter().any(|(taken, ..)| taken.id == other.id && taken.id != one.id);
            std::iter::successors(Some(*cover), |below| parent(mounted, below)).any(goes)
        });
        if !goes.is_empty() && !stays.is_empty() {
            let why = format!("something else is mounted over {}, which isn't to go", one.target.display());
            let hint = "`corten mounts list` shows what is; name it as well, or what is on top alone";
            violations.push(Violation::new((*field).clone(), why).hint(hint));
            continue;
        }
        match CString::new(one.target.as_os_str().as_bytes()) {
            Ok(path) => {
                let (unique, field) = (*unique, (*field).clone());
                wanted.push(Wanted { path, id: one.id, unique, covered: !goes.is_empty(), field });
            }
            Err(_) => violations.push(Violation::new((*field).clone(), "must not contain a NUL character")),
        }
    }
    if violations.is_empty() { Ok(wanted) } else { Err(violations) }
}

/// Whether no path leads to a mount because of another: that is at its place, or at one above, without carrying it.
fn covers(mounted: &[Mounted], cover: &Mounted, one: &Mounted) -> bool {
    let carries = || std::iter::successors(Some(one), |below| parent(mounted, below)).any(|below| below.id == cover.id);
    one.target.starts_with(&cover.target) && !carries()
}

/// What a mount is mounted on. [`parse`](crate::host::mountinfo::parse) lists no mounts that are mounted on each other.
fn parent<'m>(mounted: &'m [Mounted], one: &Mounted) -> Option<&'m Mounted> {
    mounted.iter().find(|other| other.id == one.parent && other.id != one.id)
}

fn refusal(target: &std::path::Path, is_mounted: bool, field: &Field) -> Violation {
    let why = match is_mounted {
        _ if target.as_os_str() == "/" => "the root file system can't be unmounted".to_owned(),
        true => format!("what is mounted on {} was not added by `mounts add`, or is not on record", target.display()),
        false => format!("nothing is mounted on {}", target.display()),
    };
    let hint = match is_mounted {
        true => {
            "it is of config.json, the container's own, or of a `mounts add` all of whose processes were killed: --any takes it off nonetheless"
        }
        false => "`corten mounts list` shows what is",
    };
    Violation::new(field.clone(), why).hint(hint)
}

/// A path of the container without `.`, `..` and doubled slashes, from its root on: as planning has it.
pub fn cleaned(path: &Path) -> PathBuf {
    let mut clean: Vec<&[u8]> = Vec::new();
    for part in path.as_os_str().as_bytes().split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(clean.pop()),
            part => clean.push(part),
        }
    }
    PathBuf::from(OsString::from_vec([b"/", clean.join(&b'/').as_slice()].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mounted(id: u64, target: &str) -> Mounted {
        let line = format!("{id} 1 0:{id} / {target} rw - tmpfs tmpfs rw");
        crate::host::mountinfo::parse(line.as_bytes()).remove(0)
    }

    fn added(id: u64, destination: &str) -> Added {
        let mount = json!({"destination": destination, "type": "tmpfs"});
        Added { id, unique: Some(id + 1000), device: format!("0:{id}"), gone: false, mount }
    }

    fn asked(targets: &[&str]) -> Vec<Asked> {
        let asked = |target: &&str| Asked { target: target.into(), field: Field::at("TARGET") };
        targets.iter().map(asked).collect()
    }

    fn ids(chosen: &Chosen) -> Vec<u64> {
        chosen.wanted.iter().map(|wanted| wanted.id).collect()
    }

    #[test]
    fn what_was_added_survives_the_disk() {
        let all = [added(1, "/a"), Added { unique: None, ..added(2, "b/../c") }];
        assert_eq!(parse("web", &render(&all)).unwrap(), all);
        assert_eq!(all[1].destination(), std::path::Path::new("/c"));
        let bytes = render(&all);
        for end in 0..bytes.len() {
            assert!(parse("web", &bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn the_last_at_a_place_is_meant_and_with_it_named_twice_both() {
        let (all, there) = ([added(1, "/a"), added(2, "/a")], [mounted(1, "/a"), mounted(2, "/a")]);
        assert_eq!(ids(&choose(&all, &there, &asked(&["/a"]), false).unwrap()), [2]);
        assert_eq!(ids(&choose(&all, &there, &asked(&["/a", "a/"]), false).unwrap()), [2, 1]);
    }

    #[test]
    fn one_that_was_moved_is_found_where_it_is_by_either_name() {
        let (all, there) = ([added(1, "/a")], [mounted(1, "/b")]);
        for name in ["/a", "/b"] {
            let chosen = choose(&all, &there, &asked(&[name]), false).unwrap();
            assert_eq!((chosen.wanted[0].path.as_c_str(), chosen.wanted[0].unique), (c"/b", Some(1001)));
        }
    }

    #[test]
    fn one_that_is_gone_is_forgotten_and_nothing_else_taken_for_it() {
        // Its number went to another file system's mount.
        let other = Mounted { device: "9:9".into(), ..mounted(1, "/a") };
        let chosen = choose(&[added(1, "/a")], &[other], &asked(&["/a"]), false).unwrap();
        assert!(chosen.wanted.is_empty() && chosen.gone.len() == 1 && chosen.forgotten.len() == 1);
        let known = Added { gone: true, ..added(1, "/a") };
        let chosen = choose(&[known], &[mounted(1, "/a")], &asked(&["/a"]), false).unwrap();
        assert!(chosen.wanted.is_empty() && chosen.gone.len() == 1);
    }

    #[test]
    fn with_any_the_record_of_one_that_is_gone_is_in_nobodys_way() {
        let known = Added { gone: true, ..added(1, "/a") };
        let chosen = choose(std::slice::from_ref(&known), &[mounted(1, "/a")], &asked(&["/a"]), true).unwrap();
        assert_eq!((ids(&chosen), chosen.gone.len(), chosen.forgotten.len()), (vec![1], 0, 1));
        let chosen = choose(&[known], &[], &asked(&["/a"]), true).unwrap();
        assert_eq!((ids(&chosen).len(), chosen.gone.len()), (0, 1));
    }

    fn on(parent: u64, id: u64, target: &str) -> Mounted {
        Mounted { parent, ..mounted(id, target) }
    }

    #[test]
    fn what_is_mounted_on_another_goes_before_it() {
        let (all, there) = ([added(1, "/t"), added(2, "/t/b")], [mounted(1, "/t"), on(1, 2, "/t/b")]);
        let chosen = choose(&all, &there, &asked(&["/t", "/t/b"]), false).unwrap();
        assert_eq!(ids(&chosen), [2, 1]);
        assert!(chosen.wanted.iter().all(|wanted| !wanted.covered));
    }

    #[test]
    fn one_that_is_named_twice_is_meant_once() {
        let chosen = choose(&[], &[mounted(6, "/x")], &asked(&["/x", "/./x"]), true).unwrap();
        assert_eq!(ids(&chosen), [6]);
        let chosen = choose(&[added(1, "/a")], &[mounted(1, "/b")], &asked(&["/a", "/b", "/a"]), false).unwrap();
        assert_eq!((ids(&chosen), chosen.forgotten.len()), (vec![1], 1));
    }

    #[test]
    fn what_another_covers_is_found_once_that_is_gone() {
        let (all, there) = ([added(1, "/m"), added(2, "/m")], [mounted(1, "/m"), on(1, 2, "/m")]);
        let chosen = choose(&all, &there, &asked(&["/m", "/m"]), false).unwrap();
        let found: Vec<_> = chosen.wanted.iter().map(|wanted| (wanted.id, wanted.covered)).collect();
        assert_eq!(found, [(2, false), (1, true)]);
        // Something of the container's is between the two.
        let there = [mounted(1, "/m"), on(1, 3, "/m"), on(3, 2, "/m")];
        let refused = choose(&all, &there, &asked(&["/m", "/m"]), false).unwrap_err();
        assert!(refused[0].why.contains("something else is mounted over /m"));
    }

    #[test]
    fn what_was_not_added_goes_only_when_that_is_asked_for() {
        let there = [mounted(5, "/"), mounted(6, "/proc")];
        let refused = choose(&[], &there, &asked(&["/proc", "/x"]), false).unwrap_err();
        assert!(refused[0].why.contains("was not added") && refused[1].why.contains("nothing is mounted"));
        assert_eq!(ids(&choose(&[], &there, &asked(&["/proc"]), true).unwrap()), [6]);
        assert!(choose(&[], &there, &asked(&["/"]), true).is_err());
    }

    #[test]
    fn a_path_is_cleaned_as_planning_does() {
        for (path, clean) in [("a/./b//c/", "/a/b/c"), ("/a/../../b", "/b"), ("", "/"), ("/", "/")] {
            assert_eq!(cleaned(Path::new(path)), Path::new(clean), "{path}");
        }
    }
}
