//! `corten events [--interval DURATION] [--stats] ID`: what a container uses and its OOM kills, an object a line.

use std::os::fd::AsFd;

use nix::errno::Errno;
use serde::Serialize;

use super::print;
use super::state::json;
use crate::cgroups::stats::Stats;
use crate::cli::{EventsArgs, Globals};
use crate::container::events::{self, Event};
use crate::container::{ContainerId, Store};
use crate::error::{Error, Result};
use crate::log::Log;

/// The line that engines decode.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Stats>,
}

pub fn run(globals: &Globals, args: EventsArgs, _log: &mut Log) -> Result<i32> {
    let (dir, record) = Store::open(&globals.root)?.load(&ContainerId::parse(&args.id)?)?;
    if args.interval.is_zero() {
        return Err(Error::Usage("duration interval must be greater than 0".to_owned()));
    }
    let status = dir.status(&record)?;
    if args.stats {
        print(render("stats", &record.id, Some(&events::stats_of(&record, status)?))?.as_bytes())?;
        return Ok(0);
    }
    let mut tell = |event| {
        let line = match &event {
            Event::Stats(stats) => render("stats", &record.id, Some(stats))?,
            Event::Oom => render("oom", &record.id, None)?,
        };
        print(line.as_bytes())
    };
    match events::watch(&record, status, args.interval, std::io::stdout().as_fd(), &mut tell) {
        Err(error) if !is_reader_gone(&error) => Err(error),
        _ => Ok(0),
    }
}

fn render(kind: &'static str, id: &str, data: Option<&Stats>) -> Result<String> {
    json(serde_json::to_string(&Line { kind, id, data })).map(|line| line + "\n")
}

/// `corten events web | head` has an end, and that is none to complain about.
pub(super) fn is_reader_gone(error: &Error) -> bool {
    matches!(error, Error::Os { trouble, .. } if trouble.errno == Errno::EPIPE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        assert_eq!(render("oom", "web", None).unwrap(), "{\"type\":\"oom\",\"id\":\"web\"}\n");
        let stats = render("stats", "web", Some(&Stats::default())).unwrap();
        assert!(stats.starts_with(r#"{"type":"stats","id":"web","data":{"cpu":{"usage":{"#), "{stats}");
        assert!(stats.ends_with("\"network_interfaces\":null}}\n"), "{stats}");
    }

    #[test]
    fn an_unknown_container_comes_before_a_wrong_interval() {
        let dir = tempfile::tempdir().unwrap();
        let typed = |words: &[&str]| super::super::typed(&[&["--root", dir.path().to_str().unwrap()], words].concat());
        let error = typed(&["events", "--interval", "0", "web"]).unwrap_err();
        assert_eq!(error.to_string(), "container does not exist");
        let error = typed(&["events", "--interval", "soon", "web"]).unwrap_err();
        assert!(error.to_string().starts_with("invalid value \"soon\" for flag -interval: parse error"), "{error}");
    }
}
