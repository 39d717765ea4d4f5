//! The one place where an error becomes words: what was being done, to which container, because of which property on
//! which line, why it failed, and what to do next.
//!
//! Engines match fragments of the first line, so it carries [`Error`]'s own text whole. Names, paths and what a hook
//! wrote may come from a container's image: nothing reaches a terminal with its control characters.

use std::path::Path;

use crate::error::{Error, Violation};
use crate::fault::Trouble;
use crate::field::Field;

mod hints;

/// What the edge knows about the command that failed.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub verb: &'a str,
    pub id: Option<&'a str>,
    /// The config.json that the command read, and its bytes.
    pub config: Option<(&'a Path, &'a [u8])>,
    /// Finds the line of a property, counted from 1.
    pub line_of: fn(&[u8], &Field) -> Option<usize>,
    /// The caller isn't the initial user namespace's root: some errors then have another reason.
    pub rootless: bool,
}

impl<'a> Context<'a> {
    /// A command that read no config.json.
    pub fn of(verb: &'a str, id: Option<&'a str>) -> Context<'a> {
        Context { verb, id, config: None, line_of: |_, _| None, rootless: false }
    }
}

/// An error in words, in parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The whole useful cause in one line: what engines read.
    pub message: String,
    /// The file that asked for it, and the line.
    pub line: Option<(String, usize)>,
    /// The next step for the user; may be empty.
    pub hint: String,
    pub field: Option<Field>,
    /// The failed call's name.
    pub call: Option<&'static str>,
    pub errno: Option<i32>,
    /// Further violations, a line each.
    pub more: Vec<String>,
}

impl Report {
    /// The form for people: one line to read first, the details indented below it.
    pub fn text(&self) -> String {
        let mut text = format!("corten: {}\n", self.message);
        if let Some((file, line)) = &self.line {
            text.push_str(&format!("        {file} line {line}\n"));
        }
        for line in &self.more {
            text.push_str(&format!("        {line}\n"));
        }
        if !self.hint.is_empty() {
            text.push_str(&format!("  hint: {}\n", self.hint));
        }
        text
    }
}

/// Puts an error into words.
pub fn render(error: &Error, context: &Context) -> Report {
    let facts = facts(error);
    let file = context.config.map(|(path, _)| file_name(path)).unwrap_or_else(|| "config.json".into());
    let searched = || context.config.and_then(|(_, bytes)| (context.line_of)(bytes, facts.field?));
    let line = facts.line.or_else(searched).map(|line| (file.clone(), line));
    let hint = match facts.hint {
        "" => hints::find(error, facts.field, facts.trouble, context.rootless),
        hint => hint,
    };
    let subject = match error {
        // The text of these names the command where there is one.
        Error::Usage(_) | Error::UnknownCommand(_) => String::new(),
        _ => match subject_id(error, context).filter(|id| !id.is_empty()) {
            Some(id) => format!("{} {}: ", context.verb, short(id)),
            None => format!("{}: ", context.verb),
        },
    };
    Report {
        message: one_line(&format!("{subject}{error}")),
        line,
        hint: one_line(hint),
        field: facts.field.cloned(),
        call: facts
            .trouble
            .filter(|trouble| trouble.call != crate::fault::Call::None)
            .map(|trouble| trouble.call.name()),
        errno: facts.errno,
        more: facts
            .more
            .iter()
            .map(|violation| further(violation, &file))
            .chain(facts.lines.iter().cloned())
            .map(|line| one_line(&line))
            .collect(),
    }
}

/// The parts of an error that have a place of their own in a report.
#[derive(Default)]
struct Facts<'a> {
    field: Option<&'a Field>,
    trouble: Option<Trouble>,
    errno: Option<i32>,
    hint: &'a str,
    line: Option<usize>,
    more: &'a [Violation],
    /// What somebody else says of it.
    lines: &'a [String],
}

fn facts(error: &Error) -> Facts<'_> {
    let of_call = |field, trouble: Trouble, hint| Facts {
        field: Some(field),
        trouble: Some(trouble),
        errno: Some(trouble.errno as i32),
        hint,
        ..Facts::default()
    };
    match error {
        Error::Os { field, trouble, hint, .. } => of_call(field, *trouble, hint),
        Error::Step { field, trouble, hint, .. } => of_call(field, *trouble, hint),
        Error::InitDied { field, hint, .. } => Facts { field: Some(field), hint, ..Facts::default() },
        Error::Executable { field, trouble, .. } => of_call(field, *trouble, ""),
        Error::Systemd { field, hint, .. } => Facts { field: Some(field), hint, ..Facts::default() },
        Error::LeftOver { error, .. } => facts(error),
        Error::Criu { more, hint, .. } => Facts { lines: more, hint, ..Facts::default() },
        Error::Hook { field, .. } => Facts { field: Some(field), ..Facts::default() },
        Error::Syntax { line, .. } => Facts { line: Some(*line).filter(|&line| line > 0), ..Facts::default() },
        Error::Violations(violations) => match violations.split_first() {
            Some((first, more)) => {
                Facts { field: Some(&first.field), hint: &first.hint, line: first.line, more, ..Facts::default() }
            }
            None => Facts::default(),
        },
        _ => Facts::default(),
    }
}

fn further(violation: &Violation, file: &str) -> String {
    match violation.line {
        Some(line) => format!("{violation} ({file} line {line})"),
        None => violation.to_string(),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| one_line(&name.to_string_lossy())).unwrap_or_default()
}

/// The container that it is about: of a command about several the one that is missing.
fn subject_id<'a>(error: &'a Error, context: &Context<'a>) -> Option<&'a str> {
    match error {
        Error::NoSuchContainer { id } => Some(id),
        _ => context.id,
    }
}

/// Engines name containers by 64 hexadecimal digits; they know which one they asked for, and people compare twelve.
fn short(id: &str) -> &str {
    match id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => &id[..12],
        false => id,
    }
}

/// One line of printable text: runs of line breaks and tabs become a space, other control characters are escaped.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        match c {
            '\n' | '\r' | '\t' if line.ends_with(' ') => {}
            '\n' | '\r' | '\t' => line.push(' '),
            c if c.is_control() => line.extend(c.escape_unicode()),
            c => line.push(c),
        }
    }
    line
}

#[cfg(test)]
#[path = "explain/tests.rs"]
mod tests;
