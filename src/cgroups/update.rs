//! Changing the limits of a container that lives: all of them or none. Before each write the file's old value is
//! noted; when a write fails, the old values are written back, the last one first.
//!
//! What a file of a cgroup shows isn't always what it takes: [`undo_of`] knows the differences
//! (Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst).

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::{Op, file, reason};
use crate::error::{Error, Result};
use crate::fault::{Call, Effect, Stage, Trouble, words};
use crate::plan::{self, Step};

/// Writes a container's new limits, on the host, then does what has to follow for them to last.
///
/// # Errors
/// [`Error::Step`] for the first value that was refused, or what `settle` fails with; the limits are then what they were
/// before. What could not be set back, because the container has grown meanwhile, say, is named. `unsettle` undoes what
/// `settle` has come to before it failed, once the files are set back.
pub fn apply_update(steps: &[Step], settle: impl FnOnce() -> Result, unsettle: impl FnOnce()) -> Result {
    apply_with(steps, settle, unsettle, &mut |file, value| file::write(file, value.as_bytes()))
}

/// Writes a value to a file.
type Write<'a> = &'a mut dyn FnMut(&Path, &str) -> Effect;

fn apply_with(steps: &[Step], settle: impl FnOnce() -> Result, unsettle: impl FnOnce(), write: Write) -> Result {
    let mut undo = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        if let Err(trouble) = apply(&step.op, &mut undo, write) {
            return Err(failed(index, step, trouble, &set_back(undo, write)));
        }
    }
    settle().map_err(|error| {
        let left = left_over(&set_back(undo, write));
        unsettle();
        match left {
            Some(left) => Error::LeftOver { error: Box::new(error), left },
            None => error,
        }
    })
}

fn apply(op: &plan::Op, undo: &mut Vec<Undo>, write: Write) -> Effect {
    let Some((file, value)) = target(op)? else { return Ok(()) };
    let file = path_of(file);
    let value = value.to_string_lossy();
    // Noted before the write: one that fails may have had its effect in part.
    undo.extend(undo_of(file, &value, &mut |file| file::read(file))?);
    write(file, &value)
}

/// The file that a step writes and its value; `None` when there is no such file and nothing to write therefore.
fn target(op: &plan::Op) -> Effect<Option<(&CStr, &CStr)>> {
    let exists = |file: &CStr| path_of(file).exists();
    match op {
        plan::Op::Cgroup(Op::Write { file, value }) => Ok(Some((file, value))),
        plan::Op::Cgroup(Op::WriteIfPresent { file, value }) => {
            Ok(Some((&**file, &**value)).filter(|(file, _)| exists(file)))
        }
        plan::Op::Cgroup(Op::WriteFirst { choices }) => {
            let chosen = choices.iter().find(|(file, _)| exists(file)).or(choices.last());
            chosen.map(|(file, value)| Some((&**file, &**value))).ok_or(Trouble::new(Call::Open, Errno::ENOENT))
        }
        _ => Err(Trouble::new(Call::None, Errno::EPROTO)),
    }
}

fn path_of(file: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(file.to_bytes()))
}

/// A value that was there before.
#[derive(Debug, PartialEq)]
struct Undo {
    file: PathBuf,
    /// What the file showed.
    shown: String,
    /// What to write, so that it shows that again.
    value: String,
}

/// Writes the noted values back, the last one first. Says what didn't work.
fn set_back(undo: Vec<Undo>, write: Write) -> Vec<String> {
    let mut left = Vec::new();
    for Undo { file, shown, value } in undo.into_iter().rev() {
        // Above all the file whose write failed, which may take no value at all.
        if file::read(&file).is_ok_and(|now| now == shown) {
            continue;
        }
        if let Err(trouble) = write(&file, &value) {
            left.push(format!("{} to {:?} ({})", file.display(), value.trim_end(), words(trouble.errno)));
        }
    }
    left
}

fn left_over(left: &[String]) -> Option<String> {
    (!left.is_empty()).then(|| format!("could not set back {}", left.join(", ")))
}

fn failed(index: usize, step: &Step, trouble: Trouble, left: &[String]) -> Error {
    let outcome = left_over(left).unwrap_or_else(|| "nothing was changed".to_owned());
    let (reason, hint) = match &step.op {
        plan::Op::Cgroup(op) => (reason::reason(op, trouble), reason::hint(op, trouble).unwrap_or_default()),
        _ => (None, ""),
    };
    Error::Step {
        stage: Stage::Host,
        index,
        sentence: plan::render(&step.op),
        field: step.field.clone(),
        trouble,
        detail: reason.into_iter().chain([outcome]).collect::<Vec<_>>().join("; "),
        hint: hint.to_owned(),
    }
}

/// What undoes a write of `value`, in the order in which it has to be written from the end.
fn undo_of(file: &Path, value: &str, read: &mut dyn FnMut(&Path) -> Effect<String>) -> Effect<Vec<Undo>> {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let old = read(file).map_err(|trouble| match trouble.errno {
        // As the write would have said it.
        Errno::ENOENT => Trouble::new(Call::Open, Errno::ENOENT),
        _ => trouble,
    })?;
    let values = match form(&name) {
        Form::Line => vec![non_empty(old.trim_end())],
        Form::Bytes => vec![no_limit(old.trim())],
        Form::FirstWord => vec![non_empty(old.split_whitespace().next().unwrap_or_default())],
        Form::Pair(key) => vec![value_of(&old, key).unwrap_or("0").to_owned()],
        Form::Keyed(absent) => keys(value).map(|key| keyed(&old, key, absent)).collect(),
    };
    let mut undo = Vec::new();
    // Setting cpu.idle gives the cgroup another weight, and ending it the default one.
    if let Some(weight) = Some("cpu.idle").filter(|idle| *idle == name).and_then(|_| weight_beside(file, read)) {
        undo.extend((old.trim() == "0").then_some(weight));
    }
    undo.extend(values.into_iter().map(|value| Undo { file: file.to_owned(), shown: old.clone(), value }));
    Ok(undo)
}

fn weight_beside(file: &Path, read: &mut dyn FnMut(&Path) -> Effect<String>) -> Option<Undo> {
    ["cpu.weight", "cpu.shares"].into_iter().find_map(|name| {
        let file = file.with_file_name(name);
        let shown = read(&file).ok()?;
        Some(Undo { file, value: shown.trim_end().to_owned(), shown })
    })
}

/// How what a file shows differs from what it takes.
enum Form {
    /// Not at all: a line.
    Line,
    /// A number of bytes, whose largest stands for no limit.
    Bytes,
    /// A word with an explanation behind it.
    FirstWord,
    /// Lines of a name and a value, of which one can be written, without its name.
    Pair(&'static str),
    /// Lines that begin with a device or another key, written one by one; and what to write behind the key of a line
    /// that wasn't there.
    Keyed(&'static str),
}

fn form(name: &str) -> Form {
    match name {
        "memory.oom_control" => Form::Pair("oom_kill_disable"),
        "cpuset.cpus.partition" => Form::FirstWord,
        "io.max" => Form::Keyed("rbps=max wbps=max riops=max wiops=max"),
        "io.latency" => Form::Keyed("target=0"),
        "io.weight" | "io.bfq.weight" => Form::Keyed("default"),
        "rdma.max" => Form::Keyed("hca_handle=max hca_object=max"),
        "misc.max" => Form::Keyed("max"),
        "net_prio.ifpriomap" => Form::Keyed("0"),
        name if name.starts_with("blkio.") && name.ends_with("_device") => Form::Keyed("0"),
        name if name.ends_with("limit_in_bytes") => Form::Bytes,
        _ => Form::Line,
    }
}

/// Whether a file has a line for each device or another key, and a write changes one of them.
pub(super) fn is_keyed(name: &str) -> bool {
    matches!(form(name), Form::Keyed(_))
}

/// A write of nothing is none, so that an empty value takes an end of line.
fn non_empty(value: &str) -> String {
    if value.is_empty() { "\n".to_owned() } else { value.to_owned() }
}

/// The kernel counts pages, so that no limit reads as the largest number of bytes that ends with a page, whose size
/// depends on the machine: at most 64 KiB.
fn no_limit(bytes: &str) -> String {
    const LARGEST_PAGE: u64 = 64 << 10;
    match bytes.parse::<u64>() {
        Ok(number) if number > i64::MAX as u64 - LARGEST_PAGE => "-1".to_owned(),
        _ => bytes.to_owned(),
    }
}

/// The keys that a value writes to. A line without one sets what `default` stands before.
fn keys(value: &str) -> impl Iterator<Item = &str> {
    let has_key = |line: &&str| line.split_whitespace().count() > 1;
    value.lines().map(move |line| {
        Some(line).filter(has_key).and_then(|line| line.split_whitespace().next()).unwrap_or("default")
    })
}

fn keyed(old: &str, key: &str, absent: &str) -> String {
    match value_of(old, key) {
        Some(value) => format!("{key} {value}"),
        None => format!("{key} {absent}"),
    }
}

/// What stands behind a key at the beginning of a line.
fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Field;
    use proptest::prelude::*;
    use std::ffi::CString;
    use std::fs;

    fn step(dir: &Path, name: &str, value: &str) -> Step {
        let file = file::c_string(&dir.join(name));
        Step::new(Op::Write { file, value: CString::new(value).unwrap() }, Field::at("/pids/limit"))
    }

    fn undo(name: &str, old: &str, value: &str) -> Vec<String> {
        let undo = undo_of(&Path::new("/g").join(name), value, &mut |file| match file.to_str() {
            Some("/g/cpu.weight" | "/g/cpu.shares") if !name.starts_with("cpu.idle") => panic!("read for {name}"),
            Some("/g/cpu.weight") => Err(Trouble::new(Call::Read, Errno::ENOENT)),
            Some("/g/cpu.shares") => Ok("512\n".to_owned()),
            _ => Ok(old.to_owned()),
        });
        let show = |undo: Undo| match undo.file.ends_with(name) {
            true => undo.value,
            false => format!("{}={}", undo.file.file_name().unwrap().to_string_lossy(), undo.value),
        };
        undo.unwrap().into_iter().map(show).collect()
    }

    #[test]
    fn a_value_is_set_back_in_the_form_that_its_file_takes() {
        let cases: [(&str, &str, &str, &[&str]); 26] = [
            ("pids.max", "max\n", "5", &["max"]),
            ("cpu.max", "max 100000\n", "5000 10000", &["max 100000"]),
            ("cpu.cfs_quota_us", "-1\n", "5000", &["-1"]),
            ("cpuset.cpus", "\n", "0", &["\n"]),
            ("cpuset.cpus", "0-1\n", "0", &["0-1"]),
            ("cpuset.cpus.partition", "root invalid (Cpu list is empty)\n", "member", &["root"]),
            ("memory.limit_in_bytes", "9223372036854771712\n", "5", &["-1"]),
            ("memory.limit_in_bytes", "9223372036854710272\n", "5", &["-1"]),
            ("memory.memsw.limit_in_bytes", "67108864\n", "5", &["67108864"]),
            ("hugetlb.2MB.limit_in_bytes", "9223372036852678656\n", "0", &["9223372036852678656"]),
            ("hugetlb.2MB.max", "max\n", "0", &["max"]),
            ("memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 0\n", "0", &["1"]),
            ("blkio.throttle.read_bps_device", "", "8:0 100", &["8:0 0"]),
            ("blkio.throttle.read_bps_device", "8:16 7\n8:0 50\n", "8:0 100", &["8:0 50"]),
            ("blkio.weight_device", "8:01 7\n", "8:0 100", &["8:0 0"]),
            ("io.max", "", "8:0 rbps=7", &["8:0 rbps=max wbps=max riops=max wiops=max"]),
            (
                "io.max",
                "8:0 rbps=5 wbps=max riops=max wiops=max\n",
                "8:0 rbps=7",
                &["8:0 rbps=5 wbps=max riops=max wiops=max"],
            ),
            (
                "io.max",
                "8:0 rbps=5\n",
                "8:0 rbps=7\n8:16 rbps=6\n",
                &["8:0 rbps=5", "8:16 rbps=max wbps=max riops=max wiops=max"],
            ),
            ("io.weight", "default 100\n8:0 50\n", "200", &["default 100"]),
            ("io.weight", "default 100\n", "8:0 200", &["8:0 default"]),
            ("io.bfq.weight", "default 100\n", "default 7", &["default 100"]),
            (
                "rdma.max",
                "mlx4_0 hca_handle=2 hca_object=max\n",
                "mlx4_0 hca_handle=3",
                &["mlx4_0 hca_handle=2 hca_object=max"],
            ),
            ("net_prio.ifpriomap", "lo 0\neth0 5\n", "eth0 7", &["eth0 5"]),
            // Setting back goes from the end: first the cgroup is no longer idle, then it has its weight.
            ("cpu.idle", "0\n", "1", &["cpu.shares=512", "0"]),
            ("cpu.idle", "1\n", "0", &["1"]),
            ("misc.max", "res_a max\n", "res_a 5", &["res_a max"]),
        ];
        for (name, old, value, expected) in cases {
            assert_eq!(undo(name, old, value), expected, "{name} {old:?} {value:?}");
        }
    }

    #[test]
    fn what_cant_be_read_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut written = 0;
        let error = apply_with(&[step(dir.path(), "none", "5")], || Ok(()), || (), &mut |_, _| {
            written += 1;
            Ok(())
        });
        assert!(matches!(error, Err(Error::Step { trouble: Trouble { errno: Errno::ENOENT, .. }, .. })), "{error:?}");
        assert_eq!(written, 0);
    }

    #[test]
    fn what_cant_be_set_back_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "1\n").unwrap();
        fs::write(dir.path().join("b"), "2\n").unwrap();
        let steps = [step(dir.path(), "a", "5"), step(dir.path(), "b", "6")];
        let error = apply_with(&steps, || Ok(()), || (), &mut |file, value| match value {
            "6" => Err(Trouble::new(Call::Write, Errno::EINVAL)),
            "1" => Err(Trouble::new(Call::Write, Errno::EBUSY)),
            value => {
                fs::write(file, value).unwrap();
                Ok(())
            }
        });
        let text = error.unwrap_err().to_string();
        assert!(
            text.starts_with("pids.limit: write \"6\" to ") && text.contains("/b: write: Invalid argument"),
            "{text}"
        );
        assert!(
            text.contains("could not set back ") && text.contains("/a to \"1\" (Device or resource busy)"),
            "{text}"
        );
    }

    #[test]
    fn of_several_files_the_one_that_is_there_is_written_and_set_back() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b"), "1\n").unwrap();
        let (file, text) =
            (|name: &str| file::c_string(&dir.path().join(name)), |text: &str| CString::new(text).unwrap());
        let first =
            Op::WriteFirst { choices: vec![(file("a"), text("5")), (file("b"), text("6")), (file("c"), text("7"))] };
        let first = Step::new(first, Field::at("/blockIO/weight"));
        let absent = Step::new(Op::WriteIfPresent { file: file("d"), value: text("8") }, Field::at("/cpu/idle"));
        apply_update(&[first.clone(), absent.clone()], || Ok(()), || ()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("b")).unwrap(), "6\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(dir.path().join("b"), "1\n").unwrap();
        apply_update(&[first.clone(), absent, step(dir.path(), "none", "9")], || Ok(()), || ()).unwrap_err();
        assert_eq!(fs::read_to_string(dir.path().join("b")).unwrap(), "1\n");
        fs::remove_file(dir.path().join("b")).unwrap();
        let error = apply_update(&[first], || Ok(()), || ()).unwrap_err();
        assert!(matches!(error, Error::Step { trouble: Trouble { errno: Errno::ENOENT, .. }, .. }), "{error}");
    }

    #[test]
    fn what_must_follow_and_fails_sets_the_values_back_too() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "1\n").unwrap();
        let (steps, file) = ([step(dir.path(), "a", "5")], dir.path().join("a"));
        let settle = || {
            assert_eq!(fs::read_to_string(&file).unwrap(), "5\n");
            Err(Error::Usage("refused".to_owned()))
        };
        let mut undone = Vec::new();
        let error = apply_update(&steps, settle, || undone.push(fs::read_to_string(&file).unwrap()));
        assert_eq!(error.unwrap_err().to_string(), "refused");
        assert_eq!(undone, ["1\n"], "what has followed is undone last, and once");
        assert_eq!(fs::read_to_string(&file).unwrap(), "1\n");
    }

    #[test]
    fn what_has_followed_is_undone_only_when_it_failed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "1\n").unwrap();
        apply_update(&[step(dir.path(), "a", "5")], || Ok(()), || panic!("undone")).unwrap();
        let steps = [step(dir.path(), "a", "6"), step(dir.path(), "none", "7")];
        apply_update(&steps, || panic!("settled"), || panic!("undone")).unwrap_err();
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "5\n");
    }

    #[test]
    fn what_cant_be_set_back_after_what_must_follow_is_named_too() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "1\n").unwrap();
        let refuse = || Err(Error::Usage("refused".to_owned()));
        let mut undone = 0;
        let error = apply_with(&[step(dir.path(), "a", "5")], refuse, || undone += 1, &mut |file, value| match value {
            "1" => Err(Trouble::new(Call::Write, Errno::EBUSY)),
            value => {
                fs::write(file, value).unwrap();
                Ok(())
            }
        });
        let text = error.unwrap_err().to_string();
        assert!(text.starts_with("refused; could not set back /"), "{text}");
        assert!(text.ends_with("/a to \"1\" (Device or resource busy)"), "{text}");
        assert_eq!(undone, 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn a_failure_at_any_step_leaves_every_file_as_it_was(
            values in prop::collection::vec((0usize..4, "[a-z0-9]{1,5}"), 1..8), fail in any::<prop::sample::Index>(), half in prop::bool::ANY,
        ) {
            const NAMES: [&str; 4] = ["pids.max", "cpu.max", "memory.limit_in_bytes", "cpuset.cpus"];
            let dir = tempfile::tempdir().unwrap();
            let before = |name: &str| format!("old-{name}");
            for name in NAMES {
                fs::write(dir.path().join(name), before(name)).unwrap();
            }
            let steps: Vec<Step> = values.iter().map(|(file, value)| step(dir.path(), NAMES[*file], value)).collect();
            let (fail, mut calls) = (fail.index(steps.len()), 0);
            let outcome = apply_with(&steps, || Ok(()), || (), &mut |file, value| {
                calls += 1;
                // The write that fails may have been done in part.
                if calls <= fail || calls > fail + 1 || half {
                    fs::write(file, value).unwrap();
                }
                if calls == fail + 1 { Err(Trouble::new(Call::Write, Errno::EIO)) } else { Ok(()) }
            });
            prop_assert!(matches!(&outcome, Err(Error::Step { index, detail, .. }) if *index == fail && detail == "nothing was changed"), "{outcome:?}");
            for name in NAMES {
                prop_assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), before(name));
            }
            // And without a failure all of them are there, the last of a file last.
            apply_with(&steps, || Ok(()), || (), &mut |file, value| { fs::write(file, value).unwrap(); Ok(()) }).unwrap();
            for (i, (file, value)) in values.iter().enumerate() {
                if !values[i + 1..].iter().any(|(later, _)| later == file) {
                    prop_assert_eq!(&fs::read_to_string(dir.path().join(NAMES[*file])).unwrap(), value);
                }
            }
        }
    }
}
