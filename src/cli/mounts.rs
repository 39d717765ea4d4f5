//! The arguments of `mounts`, and the short form of a mount, in the fashion of Docker's `--mount`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountsAction {
    /// Mount what the file or --mount says
    Add,
    /// Unmount what was added
    Remove,
    /// Show what is mounted
    #[default]
    List,
}

#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct MountsArgs {
    /// What to do
    #[arg(value_name = "ACTION", value_enum)]
    pub action: MountsAction,

    /// The container
    #[arg(value_name = "ID")]
    pub id: String,

    /// To add: a file that looks like `mounts` of config.json, `-` is stdin. To remove: such a file, of which the
    /// destinations count, or the targets themselves, each an absolute path in the container
    #[arg(value_name = "FILE|TARGET", action = clap::ArgAction::Append, num_args = 0..)]
    pub what: Vec<OsString>,

    /// Add this mount; may be given several times. After type, source and target come options of mount(8) and of the
    /// specification, and data of the file system: type=tmpfs,target=/cache,nosuid,size=16m. A bind takes what is mounted
    /// below along, unless `bind` is among the options
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = short_form, action = clap::ArgAction::Append)]
    pub mount: Vec<ShortForm>,

    /// Remove what `add` hasn't added, too: whatever is mounted there
    #[arg(long)]
    pub any: bool,

    /// How to list: table or json
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub format: String,
}

/// A mount as `--mount` has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShortForm {
    pub typ: String,
    /// A path is relative to the working directory.
    pub source: Option<PathBuf>,
    pub target: PathBuf,
    pub options: Vec<String>,
}

/// `type=bind,source=/a,target=/b,ro`.
fn short_form(text: &str) -> Result<ShortForm, String> {
    let mut mount = ShortForm::default();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').map_or((part, None), |(key, value)| (key, Some(value)));
        match (key, value) {
            ("type", Some(value)) => mount.typ = value.to_owned(),
            ("source" | "src", Some(value)) => mount.source = Some(value.into()),
            ("target" | "destination" | "dst", Some(value)) => mount.target = value.into(),
            ("readonly" | "ro", value) => mount.options.push(if is_on(key, value)? { "ro" } else { "rw" }.to_owned()),
            ("bind-propagation", Some(value)) => mount.options.push(value.to_owned()),
            ("tmpfs-size", Some(value)) => mount.options.push(format!("size={value}")),
            ("tmpfs-mode", Some(value)) => mount.options.push(format!("mode={value}")),
            _ => mount.options.push(part.to_owned()),
        }
    }
    if mount.target.as_os_str().is_empty() {
        return Err("it has no target=".to_owned());
    }
    let binds = mount.options.iter().any(|option| option == "bind" || option == "rbind");
    if mount.typ.is_empty() {
        mount.typ =
            if mount.source.is_some() || binds { "bind" } else { return Err("it has no type=".to_owned()) }.to_owned();
    }
    // As in config.json a bind without either word is one of the directory alone; Docker's takes what is mounted below.
    if mount.typ == "bind" && !binds {
        mount.options.insert(0, "rbind".to_owned());
    }
    Ok(mount)
}

fn is_on(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("1" | "true") => Ok(true),
        Some("0" | "false") => Ok(false),
        Some(value) => Err(format!("{key}={value} must be true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Parsed, Verb, parse};
    use super::*;

    fn typed(line: &str) -> Result<MountsArgs, String> {
        match parse(line.split(' ').map(Into::into)) {
            Ok(Parsed::Run(invocation)) => match invocation.verb {
                Verb::Mounts(args) => Ok(*args),
                other => panic!("{other:?}"),
            },
            Ok(other) => panic!("{line}: {other:?}"),
            Err(refused) => Err(refused.error.to_string()),
        }
    }

    #[test]
    fn cruns_forms_and_the_short_ones_are_understood() {
        let args = typed("mounts add web /m.json").unwrap();
        assert_eq!((args.action, args.id.as_str(), args.what.len()), (MountsAction::Add, "web", 1));
        assert_eq!(typed("mounts remove web /a /b").unwrap().what, ["/a", "/b"]);
        let args = typed("mounts add web --mount src=/a,dst=/b,ro --mount type=tmpfs,target=/t,size=1m,readonly=false")
            .unwrap();
        let bind = ShortForm {
            typ: "bind".into(),
            source: Some("/a".into()),
            target: "/b".into(),
            options: vec!["rbind".into(), "ro".into()],
        };
        assert_eq!(args.mount[0], bind);
        assert_eq!(args.mount[1].options, ["size=1m", "rw"]);
        assert_eq!(typed("mounts list web -f json").unwrap().format, "json");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (line, why) in [
            ("mounts", "a minimum of 2"),
            ("mounts web", "a minimum of 2"),
            ("mounts mend web", "add, remove, list"),
            ("mounts add web --mount type=tmpfs", "no target="),
            ("mounts add web --mount target=/x", "no type="),
            ("mounts add web --mount src=/a,target=/x,ro=perhaps", "true or false"),
        ] {
            let refused = typed(line).unwrap_err();
            assert!(refused.contains(why), "{line}: {refused}");
        }
    }

    #[test]
    fn only_what_changes_mounts_enters_the_container() {
        let enters =
            |action| Verb::Mounts(Box::new(MountsArgs { action, ..MountsArgs::default() })).enters_a_container();
        assert!(enters(MountsAction::Add) && enters(MountsAction::Remove) && !enters(MountsAction::List));
    }
}
