//! `corten update [--resources FILE|-] [LIMITS] ID`: other limits for a container that lives, all of them or none.

use std::path::Path;

use oci_spec::runtime::LinuxResources;

use crate::cgroups::plan::resources::plan_resources;
use crate::cgroups::{Group, current};
use crate::cli::{Globals, UpdateArgs, flag_of};
use crate::config::{bundle, locate, parse, validate};
use crate::container::update::{Change, FormerClass, update, update_class};
use crate::container::{ContainerId, Store};
use crate::error::{Error, Result, Violation, Warning};
use crate::field::Field;
use crate::log::Log;
use crate::plan::Step;

pub fn run(globals: &Globals, args: UpdateArgs, log: &mut Log) -> Result<i32> {
    let id = ContainerId::parse(&args.id)?;
    let store = Store::open(&globals.root)?;
    // Before stdin is read, and without the lock: whoever writes there may take its time.
    store.find(&id)?;
    let mut warnings = Vec::new();
    let schemata = args.schemata();
    let result = Wanted::read(&args, &mut warnings).and_then(|wanted| {
        // All or nothing: a class's lines are taken all or not at all, and limits are put back when one of them fails.
        let former = update_class(&store, &id, &schemata)?;
        let plan = |group: &Group, warnings: &mut Vec<Warning>| wanted.plan(group, warnings);
        let updated = update(&store, &id, &plan, &schemata, &mut warnings);
        updated.inspect_err(|_| former.iter().for_each(FormerClass::restore))
    });
    warnings.into_iter().for_each(|warning| log.warn(warning));
    result.map(|()| 0)
}

/// The limits that are asked for, and how to speak of them.
struct Wanted {
    limits: LinuxResources,
    /// The file they come from; `None` when they come from flags.
    bytes: Option<Vec<u8>>,
}

impl Wanted {
    /// What the command line asks for: a file of limits, or flags.
    fn read(args: &UpdateArgs, warnings: &mut Vec<Warning>) -> Result<Wanted> {
        for flag in args.outdated() {
            warnings.push(Warning::new(Field::at(flag), "ignored: kernels no longer limit their own memory"));
        }
        let Some(path) = &args.resources else {
            let wanted = Wanted { limits: args.limits(), bytes: None };
            let none = args.outdated().is_empty() && args.schemata().is_empty();
            if wanted.limits == UpdateArgs::default().limits() && none {
                warnings.push(Warning::plain("nothing was changed, because no limit was given"));
            }
            return wanted.valid();
        };
        if let beside @ [_, ..] = &args.beside_resources()[..] {
            let text = "--resources and {} exclude each other: write all limits into the file, or give all as flags";
            return Err(Error::Usage(text.replace("{}", &beside.join(", "))));
        }
        let (path, bytes) = match path.as_path() {
            stdin if stdin == Path::new("-") => (Path::new("stdin"), bundle::read_json_from_stdin()?),
            path => (path, bundle::read_json(path)?),
        };
        let limits = parse::resources(path, &bytes)?;
        let mut wanted = Wanted { limits, bytes: Some(bytes) }.valid()?;
        if wanted.limits.devices().as_ref().is_some_and(|rules| !rules.is_empty()) {
            let text = "ignored: the rules for devices are those that the container was created with";
            warnings.push(Warning::new(Field::at("/devices"), text));
        }
        wanted.limits.set_devices(None);
        Ok(wanted)
    }

    fn valid(self) -> Result<Wanted> {
        match validate::validate_resources(&self.limits, self.bytes.as_deref().unwrap_or(b"{}")) {
            violations if violations.is_empty() => Ok(self),
            violations => Err(self.refused(violations)),
        }
    }

    /// What to write for them.
    fn plan(&self, group: &Group, warnings: &mut Vec<Warning>) -> Result<Change> {
        let planned = plan_resources(&self.limits, &Field::RUNTIME, group, &current::probe(group));
        let limits = planned.map_err(|violations| self.refused(violations))?;
        warnings.extend(limits.warnings.iter().map(|w| Warning::new(self.field(&w.field), w.text.clone())));
        let ignored = limits.ignored.clone();
        let steps = limits.into_steps().into_iter().map(|step| Step { field: self.field(&step.field), ..step });
        // Plain values always are a document.
        let asked = serde_json::to_value(&self.limits).unwrap_or_default();
        Ok(Change { steps: steps.collect(), asked, ignored })
    }

    /// The field in the words of the caller: the flag, or the place in the file.
    fn field(&self, field: &Field) -> Field {
        match &self.bytes {
            None => flag_of(field.pointer()).map_or_else(|| field.clone(), Field::at),
            Some(_) => field.clone(),
        }
    }

    fn refused(&self, violations: Vec<Violation>) -> Error {
        let told = violations.into_iter().map(|violation| Violation {
            line: self.bytes.as_deref().and_then(|bytes| locate::line_of(bytes, &violation.field)),
            field: self.field(&violation.field),
            ..violation
        });
        Error::Violations(told.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::typed;
    use super::*;
    use crate::cgroups::merged::{Applied, merge};
    use crate::cgroups::{Place, Version};
    use proptest::prelude::*;
    use serde_json::json;

    fn wanted(args: UpdateArgs) -> (Result<Wanted>, Vec<String>) {
        let mut warnings = Vec::new();
        let wanted = Wanted::read(&args, &mut warnings);
        (wanted, warnings.iter().map(ToString::to_string).collect())
    }

    fn file(text: &str) -> (tempfile::NamedTempFile, UpdateArgs) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let args = UpdateArgs { resources: Some(file.path().to_owned()), ..UpdateArgs::default() };
        (file, args)
    }

    fn violations(wanted: Result<Wanted>) -> Vec<Violation> {
        match wanted.map(|wanted| wanted.limits) {
            Err(Error::Violations(violations)) => violations,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_broken_rule_names_the_flag_or_the_place_in_the_file() {
        let of_flag = violations(wanted(UpdateArgs { cpu_period: Some(5), ..UpdateArgs::default() }).0);
        assert_eq!((of_flag[0].field.to_string().as_str(), of_flag[0].line), ("--cpu-period", None));
        assert!(of_flag[0].why.contains("not 5"), "{of_flag:?}");
        let (_file, args) = file("{\n \"cpu\": {\n  \"period\": 5 }}");
        let of_file = violations(wanted(args).0);
        assert_eq!((of_file[0].field.to_string().as_str(), of_file[0].line), ("cpu.period", Some(3)));
    }

    #[test]
    fn the_plan_speaks_of_the_flag_or_of_the_file_too() {
        let nowhere = Group::default();
        let limit = wanted(UpdateArgs { pids_limit: Some(5), ..UpdateArgs::default() }).0.unwrap();
        let error = limit.plan(&nowhere, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().starts_with("--pids-limit: "), "{error}");
        let (_file, args) = file("\n{\"pids\": {\"limit\": 5}}");
        match wanted(args).0.unwrap().plan(&nowhere, &mut Vec::new()).unwrap_err() {
            Error::Violations(of_file) => {
                assert_eq!((of_file[0].field.pointer(), of_file[0].line), ("/pids/limit", Some(2)))
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_file_and_flags_exclude_each_other() {
        let (_file, args) = file("{}");
        let args = UpdateArgs { pids_limit: Some(5), cpu_share: Some(6), ..args };
        let text = wanted(args).0.map(|wanted| wanted.limits).unwrap_err().to_string();
        assert!(text.starts_with("--resources and --pids-limit, --cpu-share exclude each other"), "{text}");
    }

    #[test]
    fn what_is_left_out_is_said() {
        let (result, warnings) = wanted(UpdateArgs { kernel_memory: Some("5m".into()), ..UpdateArgs::default() });
        assert!(
            result.is_ok() && warnings[0].starts_with("--kernel-memory: ignored") && warnings.len() == 1,
            "{warnings:?}"
        );
        let (result, warnings) = wanted(UpdateArgs::default());
        assert!(result.is_ok() && warnings[0].contains("no limit was given"), "{warnings:?}");
        let (_file, args) = file(r#"{"devices": [{"allow": true, "access": "rwm"}], "pids": {}}"#);
        let (result, warnings) = wanted(args);
        assert!(warnings[0].starts_with("devices: ignored") && warnings.len() == 1, "{warnings:?}");
        let limits = result.unwrap().limits;
        assert_eq!((limits.devices(), limits.pids()), (&None, &None));
        let (_file, args) = file(r#"{"devices": []}"#);
        assert_eq!(wanted(args).1, [""; 0]);
    }

    #[test]
    fn an_unknown_container_does_not_exist_whatever_it_is_to_get() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_string_lossy();
        for words in [["--memory", "1"], ["--resources", "/nonexistent"], ["--l3-cache-schema", "x"]] {
            let error = typed(&["--root", &root, "update", words[0], words[1], "web"]).unwrap_err();
            assert_eq!(error.to_string(), "container does not exist");
        }
    }
    /// cgroups of which no file is there, so that every update finds them as new.
    fn group(version: Version) -> Group {
        let controllers = ["cpuset", "cpu", "blkio", "io", "memory", "hugetlb", "pids"].map(str::to_owned).to_vec();
        let place = Place { version, controllers, mount: "/none".into(), path: "web".into(), made: 0 };
        Group { places: vec![place], unit: None }
    }

    fn any_file() -> impl Strategy<Value = serde_json::Value> {
        let number = |from: i64| prop::option::of(prop_oneof![Just(0), Just(-1), from..400_000i64]);
        let cpu = (number(0), number(1000), number(1000), prop::option::of(0..60_000i64), prop::option::of(0..2i64));
        (number(0), number(0), cpu, number(0), prop::option::of(0..9i64)).prop_map(|(limit, swap, cpu, pids, rate)| {
            let (shares, quota, period, burst, idle) = cpu;
            let device = rate.map(|rate| json!([{"major": 8, "minor": rate % 2, "rate": rate}]));
            json!({"memory": {"limit": limit, "swap": swap}, "pids": pids.map(|limit| json!({"limit": limit})),
                "cpu": {"shares": shares, "quota": quota, "period": period.map(i64::abs), "burst": burst, "idle": idle},
                "blockIO": {"throttleReadBpsDevice": device}})
        })
    }

    proptest! {
        /// What updates leave is what `create` takes: `spec --from` writes it.
        #[test]
        fn a_config_of_what_updates_have_left_is_accepted(files in prop::collection::vec(any_file(), 1..6)) {
            for version in [Version::V1, Version::V2] {
                let (group, mut now) = (group(version), json!({}));
                for file in &files {
                    let bytes = file.to_string().into_bytes();
                    // What can't be read, breaks a rule or can't be planned changes nothing.
                    let limits = parse::resources(Path::new("stdin"), &bytes);
                    let wanted = limits.and_then(|limits| Wanted { limits, bytes: Some(bytes) }.valid());
                    let Ok(change) = wanted.and_then(|wanted| wanted.plan(&group, &mut Vec::new())) else { continue };
                    let Change { steps, asked, ignored } = change;
                    let mut then = now.clone();
                    merge(&mut then, &Applied { asked: &asked, ignored: &ignored, steps: &steps, memory: Some(version) });
                    let above = |one: &str, other: &str| {
                        let number = |pointer: &str| then.pointer(pointer).and_then(serde_json::Value::as_i64);
                        number(one).zip(number(other)).is_some_and(|(one, other)| other > 0 && one > other)
                    };
                    // What the kernel itself refuses isn't kept either.
                    let sum_is_too_small = version == Version::V1 && above("/memory/limit", "/memory/swap");
                    if !above("/cpu/burst", "/cpu/quota") && !sum_is_too_small {
                        now = then;
                    }
                }
                let bytes = now.to_string().into_bytes();
                let limits = parse::resources(Path::new("config.json"), &bytes).unwrap();
                let wanted = Wanted { limits, bytes: Some(bytes) }.valid();
                prop_assert!(wanted.is_ok(), "{now}: {}", wanted.err().unwrap());
                let planned = wanted.unwrap().plan(&group, &mut Vec::new());
                prop_assert!(planned.is_ok(), "{now}: {}", planned.err().unwrap());
            }
        }
    }
}
