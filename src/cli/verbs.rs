//! The verbs: for each its flags as a struct of plain values, one line of what it does, and examples that run.
//!
//! Texts of the fields are the texts of the help. Flags that engines pass and corten has no use for are accepted and
//! hidden, so that a caller needs no list of exceptions.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

pub use super::checkpoint::{CheckpointArgs, RestoreArgs};
pub use super::exec::ExecArgs;
pub use super::launch::{CreateArgs, LaunchArgs, RunArgs};
pub use super::mounts::{MountsAction, MountsArgs, ShortForm};
pub use super::update::UpdateArgs;
use super::{Entry, augment, read_as};
use crate::error::Error;

macro_rules! verbs {
    ($($(#[$mark:ident])* $variant:ident($args:ty) = $name:literal, $about:literal, $examples:expr;)+) => {
        /// What to do.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Verb { $($variant($args)),+ }

        impl Verb {
            /// The verb's name as it is typed.
            pub fn name(&self) -> &'static str {
                match self { $(Verb::$variant(_) => $name),+ }
            }

            /// Whether it brings a process into a container, and so must run from an image that a container can't change
            /// (`seal.rs`). All others are spared the second execve, which costs more than most of them do.
            pub fn enters_a_container(&self) -> bool {
                match self {
                    Verb::Mounts(args) if args.action == MountsAction::List => false,
                    $(Verb::$variant(_) => is_marked(&[$(stringify!($mark)),*], "enters")),+
                }
            }
        }

        /// Every verb, in the order of the overview.
        pub static VERBS: &[Entry] = &[$(Entry {
            name: $name,
            about: $about,
            examples: $examples,
            hidden: is_marked(&[$(stringify!($mark)),*], "hidden"),
            augment: augment::<$args>,
            read: |matches| read_as(matches, Verb::$variant),
        }),+];
    };
}

/// Whether a verb has this mark in the table below.
const fn is_marked(mut marks: &[&str], mark: &str) -> bool {
    while let [first, rest @ ..] = marks {
        if are_equal(first.as_bytes(), mark.as_bytes()) {
            return true;
        }
        marks = rest;
    }
    false
}

/// `==` isn't constant.
const fn are_equal(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

verbs! {
    #[enters] Create(CreateArgs) = "create", "Make a container from a bundle; its program waits for `start`", "\
Examples:
  corten spec --with-rootfs -b /tmp/web    # a bundle that runs
  corten create -b /tmp/web web
  corten start web";
    Start(StartArgs) = "start", "Let the program of a created container run", "\
Examples:
  corten spec --with-rootfs -b /tmp/web    # a bundle that runs
  corten create -b /tmp/web web && corten start web";
    #[enters] Run(RunArgs) = "run", "Create a container, start it, wait for it and delete it", "\
Examples:
  corten spec --with-rootfs -b /tmp/web    # a bundle that runs
  corten run -b /tmp/web web
  corten run --detach --pid-file /tmp/web.pid -b /tmp/web web";
    #[enters] Exec(Box<ExecArgs>) = "exec", "Run one more program in a container", "\
Examples:
  corten exec web corten probe                            # a program in its root file system: here, corten itself
  corten exec --env DEBUG=1 --cwd /tmp web corten probe -- pwd ';' env
  corten exec --user 1000:1000 --cap NET_ADMIN web corten probe
  corten exec --detach --pid-file /tmp/more.pid web corten probe -- sleep 60";
    State(StateArgs) = "state", "Print a container's state as JSON", "\
Examples:
  corten state web";
    Kill(KillArgs) = "kill", "Send a signal to a container's first process", "\
Examples:
  corten kill web            # TERM
  corten kill web KILL
  corten kill web 9
  corten kill --all web KILL
  corten kill --regex 'web-[0-9]+' HUP";
    Pause(PauseArgs) = "pause", "Freeze every process of a container where it stands", "\
Examples:
  corten pause web
  corten state web    # \"status\": \"paused\"
  corten resume web";
    Resume(ResumeArgs) = "resume", "Let a paused container go on", "\
Examples:
  corten pause web
  corten resume web";
    Checkpoint(Box<CheckpointArgs>) = "checkpoint", "Write a running container to files, by criu", "\
Examples:
  corten checkpoint --image-path /tmp/images web                    # it ends, and is deleted
  corten checkpoint --image-path /tmp/images --leave-running web    # it goes on
  corten checkpoint --image-path /tmp/ahead --pre-dump web          # the memory alone, ahead of the dump";
    Restore(Box<RestoreArgs>) = "restore", "Let a container go on that `checkpoint` has written", "\
Examples:
  corten checkpoint --image-path /tmp/images web
  corten restore --detach --image-path /tmp/images -b /tmp/web web";
    Delete(DeleteArgs) = "delete", "Remove a stopped container and everything that was made for it", "\
Examples:
  corten delete web
  corten delete --force web    # kills it first; says nothing when there is no such container
  corten delete --regex 'web-[0-9]+'";
    List(ListArgs) = "list", "List the containers under the state root", "\
Examples:
  corten list
  corten list --format json
  corten --root /run/containerd/runc/default list --quiet";
    Ps(PsArgs) = "ps", "Show the processes of a container", "\
Examples:
  corten ps web
  corten ps web -o pid,user,args     # what follows the id is for ps(1)
  corten ps --format json web        # the pids alone";
    Update(Box<UpdateArgs>) = "update", "Change the limits of a container while it lives", "\
Examples:
  corten update --pids-limit 200 web
  corten update --memory 64M --memory-swap 64M web
  echo '{\"pids\": {\"limit\": 300}}' | corten update --resources - web";
    #[enters] Mounts(Box<MountsArgs>) = "mounts", "Add mounts to a container that is there, remove and list them", "\
Examples:
  corten mounts add web --mount type=tmpfs,target=/scratch,nosuid,size=16m
  corten mounts add web --mount type=bind,source=/etc,target=/host/etc,ro
  echo '[{\"destination\": \"/data\", \"type\": \"bind\", \"source\": \"/etc\", \"options\": [\"ro\"]}]' | corten mounts add web -
  corten mounts list web
  corten mounts remove web /scratch /host/etc";
    Events(EventsArgs) = "events", "Print what a container uses and its OOM kills, as lines of JSON", "\
Examples:
  corten events --stats web                          # once
  corten events --interval 500ms web | head -n 2     # without the `head`, until the container ends";
    Stats(StatsArgs) = "stats", "Show what containers use, as a live table", "\
Examples:
  corten stats web | head -n 4     # at a terminal, `corten stats` until ctrl-c
  corten stats --no-stream
  corten stats --no-stream --json web";
    Spec(SpecArgs) = "spec", "Write a config.json to start from", "\
Examples:
  corten spec                               # ./config.json, to be edited
  corten spec --with-rootfs -b /tmp/web     # a bundle that runs as it is
  corten spec --rootless --with-rootfs -b /tmp/mine && corten run -b /tmp/mine mine
  corten spec --from web --file -           # the config of a container that is there, as it is now";
    Features(FeaturesArgs) = "features", "Print what this corten can do, as JSON", "\
Examples:
  corten features";
    Plan(BundleArgs) = "plan", "Show every step that `create` would take, and take none", "\
Examples:
  corten spec --with-rootfs -b /tmp/web
  corten plan -b /tmp/web
  corten plan -b /tmp/web --json";
    Check(BundleArgs) = "check", "Find everything that is wrong with a bundle, with line numbers", "\
Examples:
  corten spec --with-rootfs -b /tmp/web
  corten check -b /tmp/web
  corten check -b /tmp/web --json";
    #[enters] Demo(DemoArgs) = "demo", "Make a bundle, run a container in it and explain what happened", "\
Examples:
  corten demo
  corten demo /tmp/demo";
    Completion(CompletionArgs) = "completion", "Print the completion script of a shell", "\
Examples:
  corten completion bash > /etc/bash_completion.d/corten
  corten completion fish > ~/.config/fish/completions/corten.fish";
    #[hidden] Man(ManArgs) = "man", "Write the manual pages", "\
Examples:
  corten man > corten.8
  corten man /usr/local/share/man/man8";
}

impl Verb {
    /// The exit code of a call that went wrong: that of `exec` must not be taken for its program's.
    pub fn failure_code(&self, error: &Error) -> i32 {
        match self {
            Verb::Exec(_) => 255,
            _ => error.exit_code(),
        }
    }

    /// The container that the verb is about; with `--regex` the expression.
    pub fn id(&self) -> Option<&str> {
        match self {
            Verb::Create(args) => Some(&args.launch.id),
            Verb::Run(args) => Some(&args.launch.id),
            Verb::Start(args) => Some(&args.id),
            Verb::Exec(args) => Some(&args.id),
            Verb::State(args) => Some(&args.id),
            Verb::Kill(args) => Some(&args.id),
            Verb::Pause(args) => Some(&args.id),
            Verb::Resume(args) => Some(&args.id),
            Verb::Delete(args) => Some(&args.id),
            Verb::Ps(args) => Some(&args.id),
            Verb::Update(args) => Some(&args.id),
            Verb::Checkpoint(args) => Some(&args.id),
            Verb::Restore(args) => Some(&args.id),
            Verb::Mounts(args) => Some(&args.id),
            Verb::Events(args) => Some(&args.id),
            _ => None,
        }
    }
}

/// The verb of that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    VERBS.iter().find(|entry| entry.name == name)
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct StartArgs {
    /// The container
    #[arg(value_name = "ID")]
    pub id: String,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct StateArgs {
    /// The container
    #[arg(value_name = "ID")]
    pub id: String,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct KillArgs {
    /// The container
    #[arg(value_name = "ID")]
    pub id: String,

    /// The signal: a name with or without SIG, or a number
    #[arg(value_name = "SIGNAL", default_value = "TERM")]
    pub signal: String,

    /// Send it to every process of the container
    #[arg(short, long)]
    pub all: bool,

    /// ID is a regular expression: every container whose id matches
    #[arg(short, long)]
    pub regex: bool,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct PauseArgs {
    /// The container
    #[arg(value_name = "ID")]
    pub id: String,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct ResumeArgs {
    /// The container
    #[arg(value_name = "ID")]
    pub id: String,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct DeleteArgs {
    /// The container
    #[arg(value_name = "ID")]
    pub id: String,

    /// Kill it first if it runs, and don't mind if it doesn't exist
    #[arg(short, long)]
    pub force: bool,

    /// ID is a regular expression: every container whose id matches
    #[arg(short, long)]
    pub regex: bool,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct ListArgs {
    /// How to print: table or json
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub format: String,

    /// Print the ids only
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct PsArgs {
    /// How to print: table or json
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub format: String,

    /// The container
    #[arg(value_name = "ID")]
    pub id: String,

    /// Options of ps(1) for the table, as they are; -ef without any
    #[arg(value_name = "PS OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub options: Vec<OsString>,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct EventsArgs {
    /// The container
    #[arg(value_name = "ID")]
    pub id: String,

    /// The time between two lines: a number with a unit, as 5s or 500ms
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = super::duration::parse)]
    pub interval: Duration,

    /// Print what it has used so far and leave
    #[arg(long)]
    pub stats: bool,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct StatsArgs {
    /// The containers; all that run when none is named
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,

    /// Print one table and leave; its CPU % is that of a quarter of a second
    #[arg(long)]
    pub no_stream: bool,

    /// Print JSON: a line with an array for every table
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct SpecArgs {
    /// Where to write config.json
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub bundle: PathBuf,

    /// Write to this file in place of config.json; `-` is stdout
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// For a caller without privileges: a user namespace that maps the caller's ids, the host's network
    #[arg(long)]
    pub rootless: bool,

    /// Write the config of this container: as it was created, with the limits that it has now and what it left to corten
    /// written out
    #[arg(long, value_name = "ID")]
    pub from: Option<String>,

    /// Also make a root file system that holds corten itself, and a config that runs it
    #[arg(long)]
    pub with_rootfs: bool,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct FeaturesArgs {}

/// `plan` and `check`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct BundleArgs {
    /// The bundle: a directory with config.json and the root file system
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub bundle: PathBuf,

    /// Read this file in place of config.json; a relative path begins at the bundle
    #[arg(short = 'f', long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct DemoArgs {
    /// Where to make the bundle; a temporary directory when not given
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: clap_complete::Shell,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct ManArgs {
    /// Write a page for corten and one a command here; without it the first goes to stdout
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
}
