//! `hooks`: programs that are run around the container's life (config.md, "POSIX-platform Hooks").

use oci_spec::runtime::{Hook, Hooks};

use super::{Facts, Findings, process};
use crate::field::Field;

pub(super) fn check(facts: &Facts, found: &mut Findings) {
    let Some(hooks) = facts.spec.hooks() else { return };
    for (name, hooks) in by_name(hooks) {
        for (i, hook) in hooks.iter().flatten().enumerate() {
            rules(hook, &Field::at("/hooks").key(name).index(i), found);
        }
    }
}

/// Prestart hooks are deprecated and still what engines use most.
#[allow(deprecated)]
fn by_name(hooks: &Hooks) -> [(&'static str, &Option<Vec<Hook>>); 6] {
    [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ]
}

fn rules(hook: &Hook, at: &Field, found: &mut Findings) {
    if !hook.path().is_absolute() {
        let why = format!("must be an absolute path, not {:?}", hook.path().to_string_lossy());
        found.refuse(at.key("path"), why, "hooks are not looked up in $PATH");
    }
    if let Some(timeout) = hook.timeout().filter(|timeout| *timeout <= 0) {
        let why = format!("must be greater than zero, not {timeout}");
        found.refuse(at.key("timeout"), why, "it counts seconds; leave it away for no limit");
    }
    process::environment(hook.env(), &at.key("env"), found);
}
