//! The first pass over argv, which knows the definition: it tells globals from the verb's flags, and flags from values.
//!
//! What comes out has one dash problem less: every flag is `--long` or `--long=value`, every value is attached to its
//! flag and was not looked at, and positional arguments stand apart. A mistake doesn't stop the walk, because the
//! flags that say where errors are logged may stand after it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, Command};

use super::Entry;
use crate::error::Error;

/// The first thing that was wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mistake {
    pub text: String,
    /// The flag itself was wrong, so the list of flags helps.
    pub wants_help: bool,
    /// The name of a flag that nobody knows, without dashes; else empty.
    pub unknown: String,
    /// It stood behind the verb.
    pub after_verb: bool,
}

impl Mistake {
    pub fn error(&self) -> Error {
        Error::Usage(self.text.clone())
    }
}

/// argv, sorted.
#[derive(Default)]
pub struct Walked {
    pub globals: Vec<OsString>,
    pub verb: Option<OsString>,
    /// The verb's definition, if it is one of ours.
    pub entry: Option<&'static Entry>,
    pub flags: Vec<OsString>,
    pub positionals: Vec<OsString>,
    pub help: bool,
    pub version: bool,
    pub mistake: Option<Mistake>,
}

/// Sorts an argv, without the program's name.
pub fn walk(
    argv: impl IntoIterator<Item = OsString>,
    globals: &Command,
    find: fn(&str) -> Option<&'static Entry>,
) -> Walked {
    let mut walked = Walked::default();
    let mut verb: Option<Command> = None;
    let mut argv = argv.into_iter();
    while let Some(token) = argv.next() {
        if token == "--" {
            argv.by_ref().for_each(|token| walked.word(token));
            break;
        }
        if !is_flag(&token) {
            let first = walked.verb.is_none();
            walked.word(token);
            // `ps ID -ef`: what follows is another program's, whatever it looks like.
            if verb.as_ref().is_some_and(|verb| ends_flags(verb, walked.positionals.len())) {
                argv.by_ref().for_each(|token| walked.word(token));
            }
            if first {
                walked.entry = walked.verb.as_ref().and_then(|name| find(name.to_str()?));
                verb = walked.entry.map(Entry::command);
            }
            continue;
        }
        // After an unknown verb nobody knows which flags take values; the verb is the mistake to report.
        if walked.verb.is_some() && walked.entry.is_none() {
            continue;
        }
        let scope = Scope { verb: verb.as_ref(), globals };
        if let Err(mistake) = walked.flag(&token, scope, &mut argv) {
            walked.mistake.get_or_insert(Mistake { after_verb: verb.is_some(), ..mistake });
        }
    }
    walked
}

/// Whether all words behind so many arguments belong to another program's command line.
fn ends_flags(verb: &Command, count: usize) -> bool {
    let own = verb.get_positionals().take_while(|arg| !arg.is_trailing_var_arg_set()).count();
    own < verb.get_positionals().count() && count >= own
}

/// `-` alone is a value by custom (stdin, stdout).
fn is_flag(token: &OsStr) -> bool {
    token.len() > 1 && token.as_bytes()[0] == b'-'
}

/// Whose flags count here: the verb's own come first.
#[derive(Clone, Copy)]
struct Scope<'a> {
    verb: Option<&'a Command>,
    globals: &'a Command,
}

/// A flag's definition and whether it is a global one.
type Found<'a> = (&'a Arg, bool);

impl<'a> Scope<'a> {
    fn search(self, wanted: impl Fn(&Arg) -> bool) -> Option<Found<'a>> {
        let own = self.verb.and_then(|verb| verb.get_arguments().find(|arg| wanted(arg)));
        own.map(|arg| (arg, false))
            .or_else(|| self.globals.get_arguments().find(|arg| wanted(arg)).map(|arg| (arg, true)))
    }

    fn long(self, name: &[u8]) -> Option<Found<'a>> {
        self.search(|arg| arg.get_long().is_some_and(|long| long.as_bytes() == name))
    }

    fn short(self, letter: u8) -> Option<Found<'a>> {
        let letter = letter as char;
        self.search(|arg| arg.get_short_and_visible_aliases().is_some_and(|shorts| shorts.contains(&letter)))
    }
}

impl Walked {
    /// A word that is no flag: the verb first, then its arguments.
    fn word(&mut self, token: OsString) {
        match self.verb {
            None => self.verb = Some(token),
            Some(_) => self.positionals.push(token),
        }
    }

    fn flag(&mut self, token: &OsStr, scope: Scope, rest: &mut dyn Iterator<Item = OsString>) -> Result<(), Mistake> {
        let bytes = token.as_bytes();
        let body = bytes.strip_prefix(b"--").unwrap_or(&bytes[1..]);
        let (name, value) = match body.iter().position(|&b| b == b'=') {
            Some(equals) => (&body[..equals], Some(&body[equals + 1..])),
            None => (body, None),
        };
        if let Some(found) = scope.long(name) {
            return self.take(found, value, rest);
        }
        if bytes.starts_with(b"--") {
            return Err(undefined(name));
        }
        // A cluster of short flags: `-dr`, `-db DIR`, `-b=DIR`, `-b/DIR`. A value that goes on in small letters is
        // no value but a long flag misspelt (`-bundel`).
        for (i, &letter) in body.iter().enumerate() {
            let found = scope.short(letter).ok_or_else(|| undefined(name))?;
            let attached = &body[i + 1..];
            if found.0.get_action().takes_values() {
                if attached.first().is_some_and(u8::is_ascii_lowercase) {
                    return Err(undefined(name));
                }
                let value = attached.strip_prefix(b"=").or_else(|| (!attached.is_empty()).then_some(attached));
                return self.take(found, value, rest);
            }
            if let Some(value) = attached.strip_prefix(b"=") {
                return self.take(found, Some(value), rest);
            }
            self.take(found, None, rest)?;
        }
        Ok(())
    }

    /// Notes a flag in the form that leaves nothing to guess.
    fn take(
        &mut self,
        (arg, global): Found,
        value: Option<&[u8]>,
        rest: &mut dyn Iterator<Item = OsString>,
    ) -> Result<(), Mistake> {
        let long = arg.get_long().unwrap_or_default();
        let mut flag = OsString::from(format!("--{long}"));
        if arg.get_action().takes_values() {
            let value = match value {
                Some(value) => OsStr::from_bytes(value).to_owned(),
                None => rest.next().ok_or_else(|| needs_argument(long))?,
            };
            if value.is_empty() {
                return Err(needs_argument(long));
            }
            flag.push("=");
            flag.push(value);
        } else if !switch(long, value)? {
            // `--flag=false`: the last word wins.
            self.flags_of(global).retain(|given| *given != flag);
            return Ok(());
        }
        match arg.get_id().as_str() {
            "help" => self.help = true,
            "version" => self.version = true,
            _ => self.flags_of(global).push(flag),
        }
        Ok(())
    }

    fn flags_of(&mut self, global: bool) -> &mut Vec<OsString> {
        if global { &mut self.globals } else { &mut self.flags }
    }
}

/// The value of a switch: none is on; engines may write `--flag=true` in any of Go's spellings.
fn switch(long: &str, value: Option<&[u8]>) -> Result<bool, Mistake> {
    match value {
        None | Some(b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True") => Ok(true),
        Some(b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False") => Ok(false),
        Some(value) => Err(Mistake {
            text: format!("invalid boolean value {:?} for -{long}: parse error", String::from_utf8_lossy(value)),
            ..Mistake::default()
        }),
    }
}

/// One dash, whatever the user typed: callers match this text.
fn undefined(name: &[u8]) -> Mistake {
    let name = OsString::from_vec(name.to_vec());
    let unknown = name.to_string_lossy().into_owned();
    Mistake { text: format!("flag provided but not defined: -{unknown}"), wants_help: true, unknown, after_verb: false }
}

fn needs_argument(long: &str) -> Mistake {
    Mistake { text: format!("flag needs an argument: -{long}"), wants_help: true, ..Mistake::default() }
}
