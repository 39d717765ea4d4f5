//! The words for a command line that clap, or the count of its arguments, refuses. Callers match several of them.

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::Error;

/// Values with a text of their own, by flag.
const TEXTS: &[(&str, &str)] = &[("log-format", "invalid log-format: "), ("format", "invalid format option: ")];

/// Checks the number of positional arguments against the definition.
pub fn wrong_count(verb: &str, command: &Command, count: usize) -> Option<Error> {
    // `ID...` takes as many as there are, and so does what is passed on to another program.
    let endless = command
        .get_positionals()
        .any(|arg| arg.is_trailing_var_arg_set() || matches!(arg.get_action(), clap::ArgAction::Append));
    let max = if endless { usize::MAX } else { command.get_positionals().count() };
    let min = command.get_positionals().filter(|arg| arg.is_required_set()).count();
    let text = match count {
        count if (min..=max).contains(&count) => return None,
        _ if min == max => format!("exactly {min}"),
        count if count < min => format!("a minimum of {min}"),
        _ => format!("a maximum of {max}"),
    };
    Some(Error::Usage(format!("\"{verb}\" requires {text} argument(s)")))
}

/// What clap still can refuse after the walk: values. One line, no styles.
pub fn render(error: &clap::Error) -> Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    // clap calls a flag `--log-format <FORMAT>` and an argument `<SHELL>`.
    let given = text(ContextKind::InvalidArg).unwrap_or_default();
    let flag = given.split(' ').next().unwrap_or_default().trim_start_matches('-');
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    let words = match error.kind() {
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => match TEXTS.iter().find(|(name, _)| *name == flag) {
            Some((_, text)) => format!("{text}{value}"),
            None => format!("invalid value {value:?} for {}{}", named(given, flag), why(error)),
        },
        _ => {
            let rendered = error.to_string();
            rendered.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    };
    Error::Usage(words)
}

fn named(given: &str, flag: &str) -> String {
    if given.starts_with('-') { format!("flag -{flag}") } else { given.to_owned() }
}

/// The values that would do, or the value parser's own reason.
fn why(error: &clap::Error) -> String {
    if let Some(ContextValue::Strings(valid)) = error.get(ContextKind::ValidValue) {
        return format!(": must be one of {}", valid.join(", "));
    }
    match std::error::Error::source(error) {
        Some(source) => format!(": {source}"),
        None => String::new(),
    }
}
