//! Every rule that runtime-spec, the kernel and safety set for a config, checked before anything is done.
//!
//! Pure: the rules read the config, the command line and facts about the host, never the file system. They don't stop at
//! the first broken rule. A message contains the words that engines and users know from other runtimes, then what
//! corten has to add. What needs the table of mount options stands in `rootfs`, the container id in `container`.

mod devices;
mod hooks;
mod ids;
mod labels;
mod linux;
mod list;
mod mounts;
mod namespaces;
mod process;
mod resources;
mod scheduler;
mod seccomp;
pub mod sysctl;
mod terminal;
mod version;

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxNamespaceType, Process, Spec};
use serde_json::Value;

use super::{Config, Warning, bundle, lenient, locate, parse, schema, warn};
use crate::error::{Error, Result, Violation};
use crate::field::Field;
use crate::host::Host;
use crate::request::{Mode, Request};

/// Every rule that this config breaks, in the order of its lines; what the command line breaks comes first.
pub fn validate(config: &Config, request: &Request, host: &Host) -> Vec<Violation> {
    let facts = Facts::new(&config.spec, request, host);
    let mut found = Findings::default();
    top_level(&facts, &mut found);
    process::check(&facts, &mut found);
    terminal::check(&facts, &mut found);
    labels::of_host(&facts, &mut found);
    mounts::check(&facts, &mut found);
    hooks::check(&facts, &mut found);
    namespaces::names(&facts, &mut found);
    if let Some(linux) = facts.linux {
        namespaces::check(&facts, linux, &mut found);
        ids::check(&facts, linux, &mut found);
        linux::check(&facts, linux, &mut found);
        sysctl::check(&facts, linux, &mut found);
        devices::check(linux, &mut found);
        if let Some(resources) = linux.resources() {
            resources::check(resources, &Field::at("/linux/resources"), &mut found);
        }
        if let Some(seccomp) = linux.seccomp() {
            seccomp::check(&facts, seccomp, &mut found);
        }
    }
    no_nul(&config.bytes, &schema::CONFIG, &mut found);
    found.finish(&config.bytes)
}

/// The rules for the file of `exec --process`; `bytes` is that file.
pub fn validate_process(process: &Process, bytes: &[u8]) -> Vec<Violation> {
    let mut found = Findings::default();
    process::rules(process, &Field::RUNTIME, &mut found);
    no_nul(bytes, &schema::PROCESS_FILE, &mut found);
    found.finish(bytes)
}

/// The rules for the process of an `exec`, which stands in the container's spec: against the container, the host and the
/// command line. `config` is the file that the rest of it comes from, when the process wasn't judged by itself.
pub fn validate_exec(spec: &Spec, request: &Request, host: &Host, config: Option<&[u8]>) -> Vec<Violation> {
    let facts = Facts::new(spec, request, host);
    let mut found = Findings::default();
    match config {
        Some(_) => process::check(&facts, &mut found),
        None => process::check_surroundings(&facts, &mut found),
    }
    terminal::check(&facts, &mut found);
    labels::of_host(&facts, &mut found);
    found.finish(config.unwrap_or_default())
}

/// The rules for the mounts that a container is to get, which stand in its spec in the place of its own. `bytes` is the file
/// they come from, if it is one.
pub fn validate_mounts(spec: &Spec, request: &Request, host: &Host, bytes: Option<&[u8]>) -> Vec<Violation> {
    let facts = Facts::new(spec, request, host);
    let mut found = Findings::default();
    mounts::check(&facts, &mut found);
    if let Some(bytes) = bytes {
        let mut nul = Findings::default();
        no_nul(bytes, &schema::MOUNTS_FILE, &mut nul);
        let placed = |found: Violation| Violation {
            field: Field::recorded(format!("/mounts{}", found.field.pointer())),
            ..found
        };
        found.violations.extend(nul.violations.into_iter().map(placed));
    }
    found.violations
}

/// The rules for the file of `update --resources`; `bytes` is that file.
pub fn validate_resources(resources: &oci_spec::runtime::LinuxResources, bytes: &[u8]) -> Vec<Violation> {
    let mut found = Findings::default();
    resources::check(resources, &Field::RUNTIME, &mut found);
    no_nul(bytes, &schema::RESOURCES_FILE, &mut found);
    found.finish(bytes)
}

/// Everything that can be said about a bundle without running it: violations of the schema and, as far as the rest of
/// the file can be read, of the rules as well; and every warning.
///
/// # Errors
/// [`Error::NoConfig`], [`Error::Syntax`] and [`Error::Os`], when there is nothing to judge.
pub fn judge(config: Option<&Path>, request: &Request, host: &Host) -> Result<(Vec<Violation>, Vec<Warning>)> {
    let path = config.map_or_else(|| request.bundle.join("config.json"), Path::to_owned);
    match bundle::load(&request.bundle, config) {
        Ok(config) => {
            let violations = validate(&config, request, host);
            Ok((violations, config.warnings.into_iter().chain(warn::of_host(&config.spec, host)).collect()))
        }
        Err(Error::Violations(complaints)) => {
            let bytes = bundle::read_json(&path)?;
            Ok(judge_the_rest(Unread { path, bytes, complaints }, request, host))
        }
        Err(error) => Err(error),
    }
}

/// A config.json that doesn't fit the schema, and why.
pub struct Unread {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
    pub complaints: Vec<Violation>,
}

/// The complaints about what doesn't fit, with the violations of the rules in what remains without it; and the warnings.
pub fn judge_the_rest(unread: Unread, request: &Request, host: &Host) -> (Vec<Violation>, Vec<Warning>) {
    let Unread { path, bytes, complaints } = unread;
    let Some((spec, complaints)) = lenient::salvage::<Spec>(&bytes, &lenient::CONFIG) else {
        return (complaints, Vec::new());
    };
    let config = parse::assemble(path, bytes, spec, Vec::new());
    let rules = validate(&config, request, host).into_iter();
    let rules = rules.filter(|rule| !complaints.iter().any(|complaint| touches(&complaint.field, &rule.field)));
    let mut all: Vec<Violation> = rules.chain(complaints.iter().cloned()).collect();
    in_order(&mut all);
    (all, config.warnings)
}

/// Whether one field holds the other: then what the rules say about it comes from what was taken out.
fn touches(a: &Field, b: &Field) -> bool {
    let (a, b) = (a.pointer(), b.pointer());
    let holds = |outer: &str, inner: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    holds(a, b) || holds(b, a)
}

/// Where the container's namespace of one type comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It is the caller's.
    Caller,
    New,
    /// An existing one, named by its path.
    Joined,
}

/// What the rules look at.
struct Facts<'a> {
    spec: &'a Spec,
    linux: Option<&'a Linux>,
    request: &'a Request,
    host: &'a Host,
}

impl<'a> Facts<'a> {
    fn new(spec: &'a Spec, request: &'a Request, host: &'a Host) -> Facts<'a> {
        Facts { spec, linux: spec.linux().as_ref(), request, host }
    }

    fn origin(&self, typ: LinuxNamespaceType) -> Origin {
        let mut namespaces = self.linux.iter().flat_map(|linux| linux.namespaces()).flatten();
        match namespaces.find(|namespace| namespace.typ() == typ) {
            None => Origin::Caller,
            Some(namespace) if namespace.path().is_some() => Origin::Joined,
            Some(_) => Origin::New,
        }
    }

    /// Whether the container shares the caller's namespace of this type.
    fn shares(&self, typ: LinuxNamespaceType) -> bool {
        self.origin(typ) == Origin::Caller
    }
}

/// The violations found so far.
#[derive(Default)]
struct Findings {
    violations: Vec<Violation>,
    /// Properties whose value is what the model puts in place of an absent one.
    needed: Vec<Field>,
}

impl Findings {
    fn refuse(&mut self, field: Field, why: impl Into<String>, hint: impl Into<String>) {
        if !self.is_full() {
            self.violations.push(Violation::new(field, why).hint(hint));
        }
    }

    /// Nothing more will be written down.
    fn is_full(&self) -> bool {
        self.violations.len() >= schema::MOST_COMPLAINTS
    }

    /// Refuses an absent property. The model can't tell it from one with the default value, so this is asked of the
    /// bytes at the end; call it only when the value is that default.
    fn require(&mut self, field: Field) {
        if self.needed.len() < schema::MOST_COMPLAINTS {
            self.needed.push(field);
        }
    }

    fn finish(mut self, bytes: &[u8]) -> Vec<Violation> {
        if !self.needed.is_empty() {
            let fields: Vec<&Field> = self.needed.iter().collect();
            let places = locate::find_all(bytes, &fields);
            for (field, place) in std::mem::take(&mut self.needed).into_iter().zip(places) {
                if !place.is_some_and(|place| place.is_set(bytes)) {
                    self.refuse(
                        field,
                        "is required",
                        "runtime-spec 1.3 wants the property written out, even when it is 0",
                    );
                }
            }
        }
        let mut violations = lenient::with_lines(bytes, self.violations);
        in_order(&mut violations);
        violations
    }
}

fn in_order(violations: &mut [Violation]) {
    violations.sort_by(|a, b| (a.line, &a.field, &a.why).cmp(&(b.line, &b.field, &b.why)));
}

fn top_level(facts: &Facts, found: &mut Findings) {
    version::check(facts.spec.version(), found);
    match facts.spec.root() {
        None => found.refuse(Field::at("/root"), "is required on Linux", "add \"root\": {\"path\": \"rootfs\"}"),
        Some(root) if root.path().as_os_str().is_empty() => found.refuse(
            Field::at("/root/path"),
            "must not be empty",
            "name the directory of the root file system, absolute or relative to the bundle",
        ),
        Some(_) => {}
    }
    for key in facts.spec.annotations().iter().flat_map(|annotations| annotations.keys()) {
        if key.is_empty() {
            found.refuse(Field::at("/annotations"), "has an empty key", "give the annotation a name or remove it");
        }
    }
    if facts.spec.process().is_none() && matches!(facts.request.mode, Mode::Run { .. }) {
        let hint = "`run` starts the process at once; only `create` can do without one";
        found.refuse(Field::at("/process"), "process property must not be empty", hint);
    }
}

/// No string that the kernel reads may hold a NUL character: it would end there. Only an escape can put one into JSON,
/// so the document is parsed again only when that escape stands somewhere.
fn no_nul(bytes: &[u8], kind: &'static schema::Kind, found: &mut Findings) {
    if !std::str::from_utf8(bytes).is_ok_and(|text| text.contains("\\u0000")) {
        return;
    }
    let Ok(document) = serde_json::from_slice::<Value>(bytes) else { return };
    for field in schema::strings_with_nul(&document, kind) {
        // These two only travel as JSON.
        let free = field.pointer().starts_with("/annotations/") || field.pointer() == "/linux/seccomp/listenerMetadata";
        if !free {
            found.refuse(field, "must not contain a NUL character", "remove \\u0000 from the string");
        }
    }
}

#[cfg(test)]
mod tests;
