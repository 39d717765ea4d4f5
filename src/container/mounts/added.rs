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
use crate::host::mountinfo::{Mounted, top};
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

/// Chooses what is meant: of what was added at each place the last, or with `any` whatever is on top there.
///
/// # Errors
/// Every place at which nothing was added.
pub fn choose(added: &[Added], mounted: &[Mounted], asked: &[Asked], any: bool) -> Result<Chosen, Vec<Violation>> {
    let mut chosen = Chosen::default();
    let mut violations = Vec::new();
    for Asked { target, field } in asked {
        let target = cleaned(target);
        let place = |added: &Added| mounted.iter().find(|mounted| added.is(mounted));
        let left = || added.iter().rev().filter(|added| !chosen.forgotten.contains(added));
        let there = left().find_map(|added| {
            let mounted = place(added)?;
            (added.destination() == target || mounted.target == target).then_some((added, mounted))
        });
        let mut want = |mounted: &Mounted, unique| match CString::new(mounted.target.as_os_str().as_bytes()) {
            Ok(path) => chosen.wanted.push(Wanted { path, id: mounted.id, unique, field: field.clone() }),
            Err(_) => violations.push(Violation::new(field.clone(), "must not contain a NUL character")),
        };
        if let Some((added, mounted)) = there {
            want(mounted, added.unique);
            chosen.forgotten.push(added.clone());
            continue;
        }
        if let Some(gone) = left().find(|added| added.destination() == target).cloned() {
            chosen.gone.push(Asked { target, field: field.clone() });
            chosen.forgotten.push(gone);
            continue;
        }
        match top(mounted, &target) {
            Some(mounted) if any && target.as_os_str() != "/" => {
                let path = CString::new(mounted.target.as_os_str().as_bytes()).unwrap_or_default();
                chosen.wanted.push(Wanted { path, id: mounted.id, unique: None, field: field.clone() });
            }
            on_top => violations.push(refusal(&target, on_top.is_some(), field)),
        }
    }
    if violations.is_empty() { Ok(chosen) } else { Err(violations) }
}

fn refusal(target: &std::path::Path, is_mounted: bool, field: &Field) -> Violation {
    let why = match is_mounted {
        _ if target.as_os_str() == "/" => "the root file system can't be unmounted".to_owned(),
        true => format!("what is mounted on {} was not added by `mounts add`", target.display()),
        false => format!("nothing is mounted on {}", target.display()),
    };
    let hint = match is_mounted {
        true => "it is of config.json, or the container's own: --any takes it off nonetheless",
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
        let chosen = choose(&[added(1, "/a")], &[other], &asked(&["/a"]), true).unwrap();
        assert!(chosen.wanted.is_empty() && chosen.gone.len() == 1 && chosen.forgotten.len() == 1);
        let known = Added { gone: true, ..added(1, "/a") };
        let chosen = choose(&[known], &[mounted(1, "/a")], &asked(&["/a"]), true).unwrap();
        assert!(chosen.wanted.is_empty() && chosen.gone.len() == 1);
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
