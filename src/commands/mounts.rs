//! `corten mounts add|remove|list ID`: mounts of a container that is there, as crun has it, and as people type it.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, Spec};
use serde_json::{Value, json};
use tabwriter::TabWriter;

use super::launch;
use crate::cli::{Globals, MountsAction, MountsArgs, ShortForm};
use crate::config::{bundle, lenient, locate, parse, validate};
use crate::container::mounts::{self, Added, Asked, Entrance, Mounted, cleaned};
use crate::container::{ContainerId, Store};
use crate::error::{Doing, Error, Result, Violation, Warning};
use crate::fault::Call;
use crate::field::Field;
use crate::host::Host;
use crate::host::mountinfo::top;
use crate::log::Log;
use crate::plan::mounts::{Visited, plan_add, plan_remove, plan_retreat, refuse_shared_mounts};
use crate::plan::{Plan, Step};
use crate::request::{Mode, Request};

pub fn run(globals: &Globals, args: MountsArgs, log: &mut Log) -> Result<i32> {
    let id = ContainerId::parse(&args.id)?;
    let store = Store::open(&globals.root)?;
    // Before stdin is read, and without the lock: whoever writes there may take its time.
    store.find(&id)?;
    let mut warnings = Vec::new();
    let done = match args.action {
        MountsAction::Add => add(globals, &store, &id, &args, log, &mut warnings),
        MountsAction::Remove => remove(globals, &store, &id, &args, log, &mut warnings),
        MountsAction::List => list(&store, &id, &args),
    };
    warnings.into_iter().for_each(|warning| log.warn(warning));
    done.map(|()| 0)
}

/// The mounts that are asked for, and how to speak of them.
struct Wanted {
    mounts: Vec<Mount>,
    /// The file they come from; `None` when they come from flags.
    bytes: Option<Vec<u8>>,
}

impl Wanted {
    fn read(args: &MountsArgs) -> Result<Wanted> {
        match (args.what.as_slice(), args.mount.as_slice()) {
            ([file], []) => Wanted::read_file(file),
            ([], [_, ..]) => {
                let mounts = args.mount.iter().map(of_short_form).collect::<Result<_>>()?;
                Ok(Wanted { mounts, bytes: None })
            }
            _ => Err(Error::Usage("mounts add takes one file, or any number of --mount".to_owned())),
        }
    }

    fn read_file(file: &OsStr) -> Result<Wanted> {
        let (path, bytes) = match file == "-" {
            true => (Path::new("stdin"), bundle::read_json_from_stdin()?),
            false => (Path::new(file), bundle::read_json(Path::new(file))?),
        };
        Ok(Wanted { mounts: parse::mounts(path, &bytes)?, bytes: Some(bytes) })
    }

    /// A field of the container's spec in the words of the caller: a place in the file, or the flag.
    fn field(&self, field: &Field) -> Field {
        let Some(rest) = field.pointer().strip_prefix("/mounts") else { return field.clone() };
        match &self.bytes {
            Some(_) if rest.is_empty() => Field::at("FILE"),
            Some(_) => Field::recorded(rest.to_owned()),
            None => Field::at("--mount"),
        }
    }

    fn refused(&self, violations: Vec<Violation>) -> Error {
        let told = violations.into_iter().map(|found| {
            let field = self.field(&found.field);
            let line = self.bytes.as_deref().and_then(|bytes| locate::line_in(bytes, &field));
            Violation { field, line, ..found }
        });
        Error::Violations(told.collect())
    }

    fn tell(&self, plan: &mut Plan) {
        let of = |step: &mut Step| step.field = self.field(&step.field);
        [&mut plan.host, &mut plan.stage_one, &mut plan.stage_two].into_iter().flatten().for_each(of);
        plan.warnings.iter_mut().for_each(|warning| warning.field = self.field(&warning.field));
    }
}

fn of_short_form(short: &ShortForm) -> Result<Mount> {
    let mut mount = Mount::default();
    // The source of anything else is a name, or a device.
    let source = match &short.source {
        Some(path) if short.typ == "bind" => {
            Some(std::path::absolute(path).doing(|| format!("find {}", path.display()))?)
        }
        other => other.clone(),
    };
    mount.set_typ(Some(short.typ.clone())).set_source(source).set_destination(short.target.clone());
    mount.set_options(Some(short.options.clone()));
    Ok(mount)
}

fn request(globals: &Globals, host: &Host, entrance: &Entrance) -> Request {
    let mode = Mode::Exec { detach: true };
    let rootless = globals.rootless.applies(host);
    Request { rootless, ..Request::new(&entrance.record.id, &entrance.record.bundle, mode) }
}

fn spec_of(entrance: &Entrance) -> Result<Spec> {
    Ok(parse::config(PathBuf::from("config.json"), entrance.config()?)?.spec)
}

fn add(
    globals: &Globals,
    store: &Store,
    id: &ContainerId,
    args: &MountsArgs,
    log: &mut Log,
    warnings: &mut Vec<Warning>,
) -> Result {
    let wanted = Wanted::read(args)?;
    let entrance = Entrance::open(store, id, globals.patience)?;
    let host = Host::probe();
    let request = request(globals, &host, &entrance);
    let mut spec = spec_of(&entrance)?;
    spec.set_mounts(Some(wanted.mounts.clone()));
    let violations = validate::validate_mounts(&spec, &request, &host, wanted.bytes.as_deref());
    if !violations.is_empty() {
        return Err(wanted.refused(violations));
    }
    let visited = Visited { spec: &spec, init: entrance.pid, group: &entrance.record.group };
    let mut added = plan_add(&visited, &host, &request).map_err(|found| wanted.refused(found))?;
    wanted.tell(&mut added.plan);
    warnings.append(&mut added.plan.warnings);
    let entries = wanted.mounts.iter().map(|mount| entry(mount, &request.bundle)).collect::<Vec<_>>();
    let injections: Vec<_> = globals.fault.iter().map(launch::injection).collect();
    let retreat = |failed: &Plan| plan_retreat(&visited, &host, failed);
    let launched = entrance.add(&added, &entries, &retreat, &injections, warnings)?;
    warnings.extend(launched.warnings.iter().cloned());
    log.debug(|| launch::timings(&added.plan, &launched));
    Ok(())
}

/// What is written down of a mount: with the source of a bind as it was understood.
fn entry(mount: &Mount, bundle: &Path) -> Value {
    let mut mount = mount.clone();
    let binds = |option: &String| matches!(option.as_str(), "bind" | "rbind");
    if mount.typ().as_deref() == Some("bind") || mount.options().iter().flatten().any(binds) {
        mount.set_source(mount.source().as_ref().map(|source| bundle.join(source)));
    }
    serde_json::to_value(&mount).unwrap_or_default()
}

fn remove(
    globals: &Globals,
    store: &Store,
    id: &ContainerId,
    args: &MountsArgs,
    log: &mut Log,
    warnings: &mut Vec<Warning>,
) -> Result {
    if args.what.is_empty() {
        return Err(Error::Usage("mounts remove takes a file, or the targets in the container".to_owned()));
    }
    // Whoever writes what is read may take his time, so the lock is taken afterwards.
    let early = match args.what.as_slice() {
        [file] if !Path::new(file).is_absolute() => Some(Wanted::read_file(file)?),
        _ => None,
    };
    let entrance = Entrance::open(store, id, globals.patience)?;
    let spec = spec_of(&entrance)?;
    refuse_shared_mounts(&spec).map_err(Error::Violations)?;
    let (added, mounted) = (entrance.added()?, entrance.mounted()?);
    let (asked, of_file) = match early {
        Some(wanted) => (targets_in(&wanted), Some(wanted)),
        None => targets(&args.what, &added, &mounted)?,
    };
    let refused = |found: Vec<Violation>| match &of_file {
        Some(Wanted { bytes: Some(bytes), .. }) => Error::Violations(lenient::with_lines(bytes, found)),
        _ => Error::Violations(found),
    };
    let chosen = mounts::choose(&added, &mounted, &asked, args.any).map_err(refused)?;
    for Asked { target, field } in &chosen.gone {
        let text = format!("the container has unmounted {} already", target.display());
        warnings.push(Warning::new(field.clone(), text));
    }
    let host = Host::probe();
    let visited = Visited { spec: &spec, init: entrance.pid, group: &entrance.record.group };
    let plan = match chosen.wanted.as_slice() {
        [] => None,
        wanted => Some(plan_remove(&visited, &host, wanted).map_err(Error::Violations)?),
    };
    let injections: Vec<_> = globals.fault.iter().map(launch::injection).collect();
    let launched = entrance.remove(plan.as_ref(), &chosen, &injections)?;
    if let (Some(plan), Some(launched)) = (&plan, &launched) {
        log.debug(|| launch::timings(plan, launched));
    }
    Ok(())
}

/// The places that a command line names: targets, or a file with their mounts.
fn targets(words: &[OsString], added: &[Added], mounted: &[Mounted]) -> Result<(Vec<Asked>, Option<Wanted>)> {
    if let [word] = words {
        let place = cleaned(Path::new(word));
        let is_target = top(mounted, &place).is_some() || added.iter().any(|added| added.destination() == place);
        if !is_target && names_a_list(Path::new(word)) {
            let wanted = Wanted::read_file(word)?;
            return Ok((targets_in(&wanted), Some(wanted)));
        }
    }
    let asked = |word: &OsString| match word.as_bytes().first() {
        Some(b'/') => Ok(Asked { target: word.into(), field: Field::at("TARGET") }),
        _ => {
            let why = format!("must be an absolute path in the container, not {:?}", word.to_string_lossy());
            Err(Error::Violations(vec![Violation::new(Field::at("TARGET"), why)]))
        }
    };
    Ok((words.iter().map(asked).collect::<Result<_>>()?, None))
}

/// An absolute path may be one of the container's that the host has as well: where nothing is mounted there, and none was, it
/// is a file of mounts if it begins as one. No file of the host decides which mount is meant.
fn names_a_list(word: &Path) -> bool {
    let begins = |bytes: Vec<u8>| bytes.trim_ascii_start().first() == Some(&b'[');
    word.is_file() && bundle::read_json(word).is_ok_and(begins)
}

fn targets_in(wanted: &Wanted) -> Vec<Asked> {
    let asked = |(number, mount): (usize, &Mount)| Asked {
        target: mount.destination().clone(),
        field: Field::item("", number, "/destination"),
    };
    wanted.mounts.iter().enumerate().map(asked).collect()
}

fn list(store: &Store, id: &ContainerId, args: &MountsArgs) -> Result {
    if !args.what.is_empty() {
        return Err(Error::Usage("mounts list takes the container alone".to_owned()));
    }
    let mounts = mounts::list(store, id)?;
    match args.format.as_str() {
        "json" => super::state::json(serde_json::to_string(&render_json(&mounts)))
            .and_then(|line| super::print((line + "\n").as_bytes())),
        "table" => super::print(&render_table(&mounts)?),
        _ => Err(Error::Usage("invalid format option".to_owned())),
    }
}

/// What was asked for says more of a source than the file system does.
fn source(mounted: &Mounted, added: Option<&Added>) -> String {
    let asked = added.and_then(|added| added.mount["source"].as_str());
    match (asked, mounted.root.to_string_lossy()) {
        (Some(source), _) => source.to_owned(),
        (None, root) if root == "/" => mounted.source.clone(),
        (None, root) => format!("{}[{root}]", mounted.source),
    }
}

fn render_json(mounts: &[(Mounted, Option<Added>)]) -> Value {
    let of = |(mounted, added): &(Mounted, Option<Added>)| {
        let mut entry = json!({
            "destination": mounted.target.to_string_lossy(),
            "source": source(mounted, added.as_ref()),
            "type": mounted.fstype,
            "options": mounted.options,
            "propagation": mounted.propagation,
            "superblock": mounted.superblock,
            "added": added.is_some(),
        });
        if let Some(added) = added {
            entry["asked"] = added.mount.clone();
        }
        entry
    };
    mounts.iter().map(of).collect()
}

fn render_table(mounts: &[(Mounted, Option<Added>)]) -> Result<Vec<u8>> {
    // A name may hold anything; a row is one line.
    let word = |text: &str| text.chars().flat_map(char::escape_debug).collect::<String>();
    let mut text = String::from("TARGET\tSOURCE\tTYPE\tOPTIONS\tADDED\n");
    for (mounted, added) in mounts {
        let options = [mounted.options.join(","), mounted.propagation.join(",")];
        let options = options.iter().filter(|words| !words.is_empty()).cloned().collect::<Vec<_>>().join(",");
        let row = [
            word(&mounted.target.to_string_lossy()),
            word(&source(mounted, added.as_ref())),
            word(&mounted.fstype),
            options,
            if added.is_some() { "yes" } else { "" }.to_owned(),
        ];
        text.push_str(row.join("\t").trim_end());
        text.push('\n');
    }
    let mut table = TabWriter::new(Vec::new()).padding(3);
    let written = table.write_all(text.as_bytes()).and_then(|()| table.flush());
    written.map_err(|e| Error::io("lay out the table", Call::None, &e))?;
    table.into_inner().map_err(|e| Error::io("lay out the table", Call::None, e.error()))
}
