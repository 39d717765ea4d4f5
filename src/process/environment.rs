//! The environment, and where a program is looked for. Pure.

use std::collections::HashMap;
use std::ffi::CString;

/// The search path when the environment has none: what execvp(3) takes, which the spec refers to for `args`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What the environment of the container's process is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Environment {
    pub vars: Vec<CString>,
    /// HOME is missing or empty and comes from the container's /etc/passwd.
    pub needs_home: bool,
    path: String,
}

/// Orders the variables: of several with one name the last wins, at the place of the first. `extra` comes last and
/// overrides.
pub fn plan_environment(env: &[String], extra: &[(&str, String)]) -> Environment {
    let mut vars: Vec<(String, String)> = Vec::with_capacity(env.len() + extra.len());
    let mut places = HashMap::with_capacity(env.len());
    let given = env.iter().filter_map(|var| var.split_once('=')).map(|(name, value)| (name, value.to_owned()));
    for (name, value) in given.chain(extra.iter().cloned()) {
        // By a table: an environment may have as many variables as fit into a config.
        match places.get(name).and_then(|place: &usize| vars.get_mut(*place)) {
            Some((_, old)) => *old = value,
            None => {
                places.insert(name, vars.len());
                vars.push((name.to_owned(), value));
            }
        }
    }
    let needs_home = vars.iter().all(|(name, value)| name != "HOME" || value.is_empty());
    if needs_home {
        vars.retain(|(name, _)| name != "HOME");
    }
    let path = vars.iter().find(|(name, _)| name == "PATH").map_or(DEFAULT_PATH, |(_, path)| path).to_owned();
    let vars = vars.iter().filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok()).collect();
    Environment { vars, needs_home, path }
}

impl Environment {
    /// The paths at which execvp(3) would look for a program, in order. A name with a slash is a path itself; an empty
    /// name is nowhere.
    pub fn candidates(&self, arg0: &str) -> Vec<CString> {
        if arg0.is_empty() {
            return Vec::new();
        }
        if arg0.contains('/') {
            return CString::new(arg0).into_iter().collect();
        }
        let dir = |dir: &str| match dir {
            "" => format!("./{arg0}"),
            dir => format!("{}/{arg0}", dir.trim_end_matches('/')),
        };
        self.path.split(':').filter_map(|part| CString::new(dir(part)).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(env: &[&str]) -> Environment {
        plan_environment(&env.iter().map(|s| s.to_string()).collect::<Vec<_>>(), &[])
    }

    fn texts(vars: &[CString]) -> Vec<&str> {
        vars.iter().map(|var| var.to_str().unwrap()).collect()
    }

    #[test]
    fn of_two_variables_with_one_name_the_last_wins() {
        assert_eq!(texts(&plan(&["A=1", "B=2", "A=3", "HOME=/h"]).vars), ["A=3", "B=2", "HOME=/h"]);
    }

    #[test]
    fn an_empty_home_counts_as_missing() {
        let environment = plan(&["HOME=", "A=1"]);
        assert!(environment.needs_home);
        assert_eq!(texts(&environment.vars), ["A=1"]);
        assert!(!plan(&["HOME=/root"]).needs_home);
    }

    #[test]
    fn a_bare_name_is_searched_and_a_path_is_not() {
        let environment = plan(&["PATH=/a:/b/:"]);
        assert_eq!(texts(&environment.candidates("sh")), ["/a/sh", "/b/sh", "./sh"]);
        assert_eq!(texts(&environment.candidates("./sh")), ["./sh"]);
        assert_eq!(texts(&plan(&[]).candidates("sh")), ["/bin/sh", "/usr/bin/sh"]);
        assert!(plan(&[]).candidates("").is_empty());
    }

    #[test]
    fn what_corten_adds_overrides_what_the_config_has() {
        let environment = plan_environment(&["LISTEN_PID=5".to_owned()], &[("LISTEN_PID", "1".to_owned())]);
        assert_eq!(texts(&environment.vars), ["LISTEN_PID=1"]);
    }
}
