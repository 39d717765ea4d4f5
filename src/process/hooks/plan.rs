//! Hooks as plain data: what config.json asks for, in a form that state.json keeps for the verbs that come later.
//! Pure: nothing here runs anything.

use std::path::PathBuf;

use oci_spec::runtime;
use serde::{Deserialize, Serialize};

use crate::field::Field;

/// The six moments of the life cycle that a hook can be tied to (runtime-spec, config.md, "POSIX-platform Hooks").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl Kind {
    /// In the order of a container's life.
    pub const ALL: [Kind; 6] = [
        Kind::Prestart,
        Kind::CreateRuntime,
        Kind::CreateContainer,
        Kind::StartContainer,
        Kind::Poststart,
        Kind::Poststop,
    ];

    /// The property's name under `hooks`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Prestart => "prestart",
            Kind::CreateRuntime => "createRuntime",
            Kind::CreateContainer => "createContainer",
            Kind::StartContainer => "startContainer",
            Kind::Poststart => "poststart",
            Kind::Poststop => "poststop",
        }
    }

    /// `hooks.poststop[2]`
    pub fn field(self, index: usize) -> Field {
        Field::at("/hooks").key(self.name()).index(index)
    }
}

/// One hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Absolute.
    pub path: PathBuf,
    /// With `args[0]`; empty: the path alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// `None`: config.json has no `env`, so the kind's default applies. `Some` of an empty list is an empty environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// Seconds, above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
}

/// The hooks of a config, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

/// Takes the hooks out of a config that has been validated; a timeout that is not above 0 counts as none.
pub fn plan_hooks(spec: &runtime::Spec) -> Hooks {
    let Some(hooks) = spec.hooks() else { return Hooks::default() };
    // The spec deprecates prestart, and engines go on using it.
    #[allow(deprecated)]
    let prestart = hooks.prestart();
    Hooks {
        prestart: plan_list(prestart),
        create_runtime: plan_list(hooks.create_runtime()),
        create_container: plan_list(hooks.create_container()),
        start_container: plan_list(hooks.start_container()),
        poststart: plan_list(hooks.poststart()),
        poststop: plan_list(hooks.poststop()),
    }
}

fn plan_list(hooks: &Option<Vec<runtime::Hook>>) -> Vec<Hook> {
    hooks.iter().flatten().map(plan_hook).collect()
}

fn plan_hook(hook: &runtime::Hook) -> Hook {
    Hook {
        path: hook.path().clone(),
        args: hook.args().clone().unwrap_or_default(),
        env: hook.env().clone(),
        timeout: hook.timeout().filter(|&t| t > 0).map(|t| u32::try_from(t).unwrap_or(u32::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(json: &str) -> Hooks {
        plan_hooks(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn every_kind_lands_in_its_own_list() {
        let hook = |path: &str| format!(r#"[{{"path":"{path}"}}]"#);
        let json = format!(
            r#"{{"ociVersion":"1.3.0","root":{{"path":"r"}},"hooks":{{"prestart":{},"createRuntime":{},"createContainer":{},"startContainer":{},"poststart":{},"poststop":{}}}}}"#,
            hook("/1"),
            hook("/2"),
            hook("/3"),
            hook("/4"),
            hook("/5"),
            hook("/6"),
        );
        let hooks = planned(&json);
        let lists = [
            hooks.prestart,
            hooks.create_runtime,
            hooks.create_container,
            hooks.start_container,
            hooks.poststart,
            hooks.poststop,
        ];
        let paths: Vec<_> = lists.iter().map(|list| list[0].path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/1", "/2", "/3", "/4", "/5", "/6"]);
    }

    #[test]
    fn an_empty_environment_is_not_an_absent_one() {
        let hooks = planned(
            r#"{"ociVersion":"1.3.0","root":{"path":"r"},"hooks":{"poststop":[{"path":"/a","env":[]},{"path":"/b","timeout":3}]}}"#,
        );
        assert_eq!(hooks.poststop[0].env, Some(vec![]));
        assert_eq!(hooks.poststop[1].env, None);
        assert_eq!(hooks.poststop[1].timeout, Some(3));
    }

    #[test]
    fn a_kind_names_its_place_in_the_file() {
        assert_eq!(Kind::CreateContainer.field(2).to_string(), "hooks.createContainer[2]");
        assert_eq!(Kind::CreateContainer.field(2).pointer(), "/hooks/createContainer/2");
    }
}
