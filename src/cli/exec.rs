//! The flags of `exec`, and the numbers in them, which are strict: `-u 1x` is no user (CVE-2026-30892).

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct ExecArgs {
    /// The container
    #[arg(value_name = "ID")]
    pub id: String,

    /// The program and its arguments; left away with --process
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,

    /// Read the process from this file, which looks like `process` of config.json; what confines it and isn't there is the
    /// container's. The flags that describe a process don't count then
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,

    /// The working directory in the container
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,

    /// A variable of the environment beside the container's; may be given several times
    #[arg(short, long, value_name = "NAME=VALUE", action = clap::ArgAction::Append)]
    pub env: Vec<String>,

    /// Give it a terminal
    #[arg(short, long)]
    pub tty: bool,

    /// The user, and the group, by number
    #[arg(short, long, value_name = "UID[:GID]", value_parser = user)]
    pub user: Option<(u32, Option<u32>)>,

    /// A further group beside the container's, by number; may be given several times
    #[arg(short = 'g', long, value_name = "GID", value_parser = id, action = clap::ArgAction::Append)]
    pub additional_gids: Vec<u32>,

    /// A capability beside the container's; may be given several times
    #[arg(short, long, value_name = "CAPABILITY", action = clap::ArgAction::Append)]
    pub cap: Vec<String>,

    /// Leave it running and return
    #[arg(short, long)]
    pub detach: bool,

    /// Write its pid to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,

    /// A unix socket that receives the master end of its terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,

    /// A unix socket that receives a pidfd of it
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,

    /// Its SELinux label
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,

    /// Its AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,

    /// It and what it executes never gain privileges
    #[arg(long)]
    pub no_new_privs: bool,

    /// Pass this many descriptors beyond stdio to it
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub preserve_fds: u32,

    /// Run it in a cgroup that exists below the container's own: PATH, or CONTROLLER[,CONTROLLER]:PATH for a hierarchy of
    /// version 1, then several times
    #[arg(long, value_name = "[CONTROLLERS:]PATH", action = clap::ArgAction::Append)]
    pub cgroup: Vec<String>,

    /// Don't mind that the container is paused: the process stands still until it is resumed
    #[arg(long)]
    pub ignore_paused: bool,
}

/// A user or group id: digits and nothing else. The largest number means "unchanged" to the kernel.
fn id(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(id) if id != u32::MAX && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(id),
        _ => Err(format!("{text:?} is no id: it must be a number up to {}", u32::MAX - 1)),
    }
}

/// `UID` or `UID:GID`.
fn user(text: &str) -> Result<(u32, Option<u32>), String> {
    match text.split_once(':') {
        Some((uid, gid)) => Ok((id(uid)?, Some(id(gid)?))),
        None => Ok((id(text)?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Parsed, Verb, parse};
    use super::*;

    fn typed(line: &str) -> ExecArgs {
        match parse(line.split(' ').map(Into::into)) {
            Ok(Parsed::Run(invocation)) => match invocation.verb {
                Verb::Exec(args) => *args,
                other => panic!("{other:?}"),
            },
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn engines_call_forms_are_understood() {
        let args = typed("exec --process /p.json --console-socket /s --detach --pid-file /pid web");
        assert_eq!((args.process, args.console_socket), (Some("/p.json".into()), Some("/s".into())));
        assert!(args.detach && args.pid_file == Some("/pid".into()) && args.command.is_empty());
        assert_eq!(typed("exec -d --preserve-fds=2 -p /p.json web").preserve_fds, 2);
    }

    #[test]
    fn what_follows_the_id_is_the_programs_own() {
        let args = typed("exec -t -e A=1 --env B=2 --user 1000:100 -g 5 -g 6 web ls -t --env C=3 -- x");
        assert_eq!(args.command, ["ls", "-t", "--env", "C=3", "--", "x"]);
        assert_eq!((args.env, args.tty), (vec!["A=1".to_owned(), "B=2".to_owned()], true));
        assert_eq!((args.user, args.additional_gids), (Some((1000, Some(100))), vec![5, 6]));
        assert_eq!(typed("exec -u 7 web ls").user, Some((7, None)));
    }

    #[test]
    fn a_user_that_is_no_number_is_refused() {
        for user in ["1x", "root", "-1", "+1", "1:", ":1", "1:2:3", " 1", "4294967295", "4294967296", "0x10", "1:x"] {
            let words = ["exec", "--user", user, "web", "ls"].map(OsString::from);
            let error = parse(words).unwrap_err().error.to_string();
            assert!(error.contains("-user") && error.contains("no id"), "{user}: {error}");
        }
        let error = parse(["exec", "-g", "1x", "web", "ls"].map(OsString::from)).unwrap_err().error.to_string();
        assert!(error.contains("-additional-gids"), "{error}");
    }
}
