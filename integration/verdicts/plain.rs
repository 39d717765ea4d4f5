//! A profile as libseccomp compiles it when nobody asks for more: nothing in front, nothing kept.

use std::io::{Read, Seek};
use std::os::fd::AsFd;

use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use serde_json::Value;

use super::bpf::Program;

fn action(object: &Value, name: &str, errno: &str) -> ScmpAction {
    let errno = object[errno].as_i64().unwrap_or(1) as i32;
    ScmpAction::from_str(object[name].as_str().expect("an action"), Some(errno)).expect("an action that there is")
}

fn comparison(arg: &Value) -> ScmpArgCompare {
    let number = |key: &str| arg[key].as_u64().unwrap_or(0);
    let (value, two) = (number("value"), number("valueTwo"));
    let (operator, datum) = match arg["op"].as_str().expect("an operator") {
        "SCMP_CMP_NE" => (ScmpCompareOp::NotEqual, value),
        "SCMP_CMP_LT" => (ScmpCompareOp::Less, value),
        "SCMP_CMP_LE" => (ScmpCompareOp::LessOrEqual, value),
        "SCMP_CMP_EQ" => (ScmpCompareOp::Equal, value),
        "SCMP_CMP_GE" => (ScmpCompareOp::GreaterEqual, value),
        "SCMP_CMP_GT" => (ScmpCompareOp::Greater, value),
        _ => (ScmpCompareOp::MaskedEqual(value), two),
    };
    ScmpArgCompare::new(number("index") as u32, operator, datum)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn say<'a>(what: &'a str) -> impl Fn(SeccompError) -> String + 'a {
    move |error| format!("{what}: {error}")
}

/// The filter of `linux.seccomp`, with libseccomp's search tree or without, or what libseccomp says against it.
pub fn compile(seccomp: &Value, tree: bool) -> Result<Program, String> {
    let default = action(seccomp, "defaultAction", "defaultErrnoRet");
    let mut filter = ScmpFilterContext::new(default).map_err(say("new"))?;
    if tree {
        filter.set_ctl_optimize(2).map_err(say("tree"))?;
    }
    for name in list(&seccomp["architectures"]) {
        let arch: ScmpArch = name.as_str().expect("a name").parse().map_err(say("architecture"))?;
        filter.add_arch(arch).map_err(say("add_arch"))?;
    }
    for entry in list(&seccomp["syscalls"]) {
        let action = action(entry, "action", "errnoRet");
        let all: Vec<_> = list(&entry["args"]).iter().map(comparison).collect();
        let indices: Vec<_> = list(&entry["args"]).iter().map(|arg| arg["index"].as_u64()).collect();
        let twice = (1..indices.len()).any(|at| indices[..at].contains(&indices[at]));
        for name in list(&entry["names"]) {
            let name = name.as_str().expect("a name");
            let Ok(number) = ScmpSyscall::from_name(name) else { continue };
            if action == default {
                continue;
            }
            // Each alone if one argument occurs twice, else all together; an empty list is a rule without arguments.
            for rule in all.chunks(if twice { 1 } else { all.len().max(1) }) {
                filter.add_rule_conditional(action, number, rule).map_err(say(name))?;
            }
            if all.is_empty() {
                filter.add_rule(action, number).map_err(say(name))?;
            }
        }
    }
    let mut file = tempfile::tempfile().map_err(|error| error.to_string())?;
    filter.export_bpf(file.as_fd()).map_err(say("export"))?;
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(|error| error.to_string())?;
    Program::parse(&bytes).map_err(|flaw| flaw.to_string())
}
