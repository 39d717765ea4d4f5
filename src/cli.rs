//! The command line: from argv to one plain [`Invocation`], and every text that helps someone to write a better one.
//!
//! Engines wrote their calls for a parser with other habits than clap's: long flags may have one dash, a flag's value
//! may begin with a dash, globals stand before the verb. So [`walk`] reads argv first, with the same definition that
//! clap reads for values, help, completions and manual pages, and hands clap two lists in which nothing is ambiguous.
//! Only the verb that was named is built: the whole tree is for people who ask for help. Nothing here has effects.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::error::Error;
use crate::explain::{self, Context, Report};
use crate::log;

mod amount;
mod checkpoint;
mod duration;
mod exec;
mod globals;
mod launch;
mod mounts;
mod refusal;
mod similar;
mod update;
mod verbs;
mod walk;

pub use crate::request::CgroupDriver;
pub use globals::{FaultPoint, Globals, KernelCall, Rootless};
pub use update::flag_of;
pub use verbs::*;

/// One command, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    pub globals: Globals,
    pub verb: Verb,
}

impl Invocation {
    /// How many of the caller's descriptors beyond stdio are meant for the container, or for criu.
    pub fn kept_descriptors(&self) -> u32 {
        match &self.verb {
            Verb::Create(CreateArgs { launch, .. }) | Verb::Run(RunArgs { launch, .. }) => {
                crate::request::listen_fds().saturating_add(launch.preserve_fds)
            }
            Verb::Exec(args) => args.preserve_fds,
            // criu opens it by its number.
            Verb::Checkpoint(args) => args.status_fd.map_or(0, |fd| u32::try_from(fd - 2).unwrap_or(0)),
            _ => 0,
        }
    }

    /// The config.json that the verb reads, or the resources, absolute as of now; for error messages that point at
    /// their lines. `stdin` alone is no file that could be read again.
    pub fn config_path(&self) -> Option<PathBuf> {
        let (bundle, config) = match &self.verb {
            Verb::Create(args) => (&args.launch.bundle, args.launch.config.as_ref()),
            Verb::Run(args) => (&args.launch.bundle, args.launch.config.as_ref()),
            Verb::Plan(args) | Verb::Check(args) => (&args.bundle, args.config.as_ref()),
            Verb::Exec(args) => return std::path::absolute(args.process.as_ref()?).ok(),
            Verb::Update(args) => match args.resources.as_deref()? {
                stdin if stdin == Path::new("-") => return Some(PathBuf::from("stdin")),
                file => return std::path::absolute(file).ok(),
            },
            Verb::Restore(args) => (&args.bundle, None),
            Verb::Mounts(args) => match args.what.as_slice() {
                [stdin] if stdin == "-" => return Some(PathBuf::from("stdin")),
                [file] => return std::path::absolute(file).ok(),
                _ => return None,
            },
            _ => return None,
        };
        std::path::absolute(bundle).ok().map(|bundle| match config {
            Some(config) => bundle.join(config),
            None => bundle.join("config.json"),
        })
    }
}

/// What argv asked for.
#[derive(Clone, Debug)]
pub enum Parsed {
    /// Help was asked for: print it on stdout and leave with 0.
    Help(String),
    Version,
    Run(Box<Invocation>),
}

/// A command line that makes no sense, with what is needed to say so where the caller looks for it.
#[derive(Debug)]
pub struct Refused {
    pub error: Error,
    /// The help that belongs to the mistake, for stdout; empty where the one line says it all.
    pub help: String,
    /// The next step for the user: the usage line, or what was probably meant; may be empty.
    pub advice: String,
    /// Where the flags before and after the mistake wanted the log.
    pub log: log::Settings,
}

impl Refused {
    /// The error in words.
    pub fn report(&self) -> Report {
        let mut report = explain::render(&self.error, &Context::of("", None));
        if !self.advice.is_empty() {
            report.hint.clone_from(&self.advice);
        }
        report
    }

    /// The text for stderr. Engines and scripts know the first words.
    pub fn text(&self) -> String {
        let text = self.report().text();
        match self.help.is_empty() {
            true => text,
            false => text.replacen("corten:", "Incorrect Usage:", 1),
        }
    }
}

/// Reads a command line, without the program's name.
///
/// # Errors
/// [`Refused`] for a flag, command or argument count that isn't there; its error decides the exit code.
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Parsed, Box<Refused>> {
    let mut globals = globals::definition();
    let walked = walk::walk(argv, &globals, verbs::find);
    let refuse = |error, help: String, advice: String| {
        Box::new(Refused { error, help, advice, log: log::Settings::salvage(&walked.globals) })
    };
    let entry = walked.entry;
    if let Some(mistake) = &walked.mistake {
        let help = match mistake.wants_help {
            true => help_of(entry.filter(|_| mistake.after_verb)),
            false => String::new(),
        };
        return Err(refuse(mistake.error(), help, similar::advice_on_flag(mistake, entry, &globals)));
    }
    if walked.version {
        return Ok(Parsed::Version);
    }
    let Some(name) = &walked.verb else {
        // `--rootless list` has taken the command for its value.
        return match read(&mut globals, &walked.globals, &[]) {
            Ok(_) => Ok(Parsed::Help(help_of(None))),
            Err(error) => Err(refuse(error, String::new(), String::new())),
        };
    };
    let name = name.to_string_lossy();
    let Some(entry) = entry else {
        let topic = walked.positionals.first().map(|topic| topic.to_string_lossy());
        return match (&*name, topic) {
            ("version", _) => Ok(Parsed::Version),
            ("help", None) => Ok(Parsed::Help(help_of(None))),
            ("help" | "h", Some(topic)) => match verbs::find(&topic) {
                Some(entry) => Ok(Parsed::Help(help_of(Some(entry)))),
                None => Err(refuse(
                    Error::UnknownCommand(topic.to_string()),
                    String::new(),
                    similar::advice_on_verb(&topic),
                )),
            },
            _ => Err(refuse(Error::UnknownCommand(name.to_string()), String::new(), similar::advice_on_verb(&name))),
        };
    };
    if walked.help {
        return Ok(Parsed::Help(help_of(Some(entry))));
    }
    let mut command = entry.command();
    let usage = |command: &mut Command| command.render_usage().to_string().replace("Usage:", "usage:");
    if let Some(error) = refusal::wrong_count(entry.name, &command, walked.positionals.len()) {
        let usage = usage(&mut command);
        return Err(refuse(error, String::new(), usage));
    }
    let matches =
        read(&mut globals, &walked.globals, &[]).map_err(|error| refuse(error, String::new(), String::new()))?;
    let globals = Globals::from_matches(&matches).map_err(|error| refuse(error, String::new(), String::new()))?;
    let verb = read(&mut command, &walked.flags, &walked.positionals)
        .and_then(|matches| (entry.read)(&matches).map_err(|error| refusal::render(&error)))
        .map_err(|error| {
            let usage = usage(&mut command);
            refuse(error, String::new(), usage)
        })?;
    Ok(Parsed::Run(Box::new(Invocation { globals, verb })))
}

/// Lets clap read values out of an argv in which every value is attached to its flag.
fn read(command: &mut Command, flags: &[OsString], positionals: &[OsString]) -> Result<ArgMatches, Error> {
    let dashes = OsString::from("--");
    let argv = flags.iter().chain([&dashes]).chain(positionals);
    command.try_get_matches_from_mut(argv).map_err(|error| refusal::render(&error))
}

/// The help of a verb, or of corten as a whole.
fn help_of(entry: Option<&Entry>) -> String {
    match entry {
        Some(entry) => entry.command().render_help().to_string(),
        None => whole().render_help().to_string(),
    }
}

/// The whole tree, for the overview and manual pages.
pub fn whole() -> Command {
    with_verbs(globals::definition(), VERBS.iter().map(Entry::command)).after_help(OVERVIEW_EXAMPLES)
}

/// The whole tree without what is hidden, for completions: there clap offers hidden flags too.
pub fn shown() -> Command {
    let verbs = VERBS.iter().filter(|entry| !entry.hidden);
    with_verbs(
        without_hidden("corten", &globals::definition()),
        verbs.map(|entry| without_hidden(entry.name, &entry.command())),
    )
}

fn with_verbs(corten: Command, verbs: impl Iterator<Item = Command>) -> Command {
    let help =
        Command::new("help").about("Print this overview, or the help of one command").arg(clap::Arg::new("COMMAND"));
    let version = Command::new("version").about("Print the version, the commit and what corten was built with");
    corten
        .subcommands(verbs.map(|verb| verb.bin_name(Resettable::Reset)))
        .subcommands([help, version])
        .disable_help_subcommand(true)
}

/// A flag can't be taken out of a command, so the command is made anew of the others, with as much else of it as a
/// completion tells.
fn without_hidden(name: &'static str, command: &Command) -> Command {
    Command::new(name)
        .disable_help_flag(command.is_disable_help_flag_set())
        .disable_version_flag(command.is_disable_version_flag_set())
        .args(command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned())
        .about(command.get_about().cloned().unwrap_or_default())
}

const GLOBALS: &str = "The options of `corten --help` may stand before or after the command.";

const OVERVIEW_EXAMPLES: &str = "\
Examples:
  corten demo                                     # a container, explained step by step
  corten spec --with-rootfs -b /tmp/web           # make a bundle that runs
  corten check -b /tmp/web                        # everything that is wrong with its config.json
  corten run -b /tmp/web web                      # run it
  corten --log /tmp/log --log-format json list    # as an engine calls it";

/// A verb of the command line: its definition and how its values are read.
pub struct Entry {
    pub name: &'static str,
    about: &'static str,
    examples: &'static str,
    /// Works, but isn't for the overview.
    hidden: bool,
    augment: fn(Command) -> Command,
    read: fn(&ArgMatches) -> Result<Verb, clap::Error>,
}

impl Entry {
    /// The verb alone, as a command of its own.
    pub fn command(&self) -> Command {
        let command = Command::new(self.name)
            .no_binary_name(true)
            .args_override_self(true)
            .hide(self.hidden)
            .after_help(format!("{GLOBALS}\n\n{}", self.examples));
        // Last, because a struct's own doc comment would stand there otherwise.
        (self.augment)(command).about(self.about).bin_name(format!("corten {}", self.name))
    }
}

fn augment<T: Args>(command: Command) -> Command {
    T::augment_args(command)
}

fn read_as<T: FromArgMatches>(matches: &ArgMatches, verb: fn(T) -> Verb) -> Result<Verb, clap::Error> {
    T::from_arg_matches(matches).map(verb)
}

#[cfg(test)]
#[path = "cli/tests.rs"]
mod tests;
