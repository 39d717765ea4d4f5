//! `corten list [--quiet] [--format table|json]`: every container of the state root.

use std::io::Write;

use tabwriter::TabWriter;

use super::state::{State, json, print};
use crate::cli::{Globals, ListArgs};
use crate::container::{Record, Status, Store, Warning};
use crate::error::{Error, Result};
use crate::fault::Call;
use crate::field::Field;
use crate::log::Log;

/// `format` is `table` or `json`; anything else is a usage error. A container that can't be read is a warning.
pub fn run(globals: &Globals, args: ListArgs, log: &mut Log) -> Result<i32> {
    let ListArgs { format, quiet } = args;
    if !matches!(format.as_str(), "table" | "json") {
        return Err(Error::Usage("invalid format option".to_owned()));
    }
    let store = Store::open(&globals.root)?;
    let mut warnings = Vec::new();
    let containers = probe(&store, &mut warnings)?;
    warnings.into_iter().for_each(|warning| log.warn(warning));
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let states: Vec<State> =
        containers.iter().map(|(record, status)| State::of(record, *status, owner(&passwd, record.owner))).collect();
    let text = match (quiet, format.as_str()) {
        (true, _) => states.iter().map(|state| format!("{}\n", state.id)).collect(),
        (false, "json") => render_json(&states)?,
        (false, _) => render_table(&states)?,
    };
    print(text.as_bytes())?;
    Ok(0)
}

fn probe(store: &Store, warnings: &mut Vec<Warning>) -> Result<Vec<(Record, Status)>> {
    let mut containers = Vec::new();
    for id in store.ids()? {
        match store.load(&id).and_then(|(dir, record)| dir.status(&record).map(|status| (record, status))) {
            Ok(container) => containers.push(container),
            // Deleted since the root was read.
            Err(Error::NoSuchContainer { .. }) => {}
            Err(error) => warnings.push(Warning { field: Field::RUNTIME, text: error.to_string() }),
        }
    }
    Ok(containers)
}

/// One line; `null` when there are no containers, as Go writes an absent list.
fn render_json(states: &[State]) -> Result<String> {
    match states {
        [] => Ok("null\n".to_owned()),
        states => json(serde_json::to_string(states)).map(|line| line + "\n"),
    }
}

fn render_table(states: &[State]) -> Result<String> {
    let mut table = TabWriter::new(Vec::new()).minwidth(9).padding(3);
    let mut text = String::from("ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n");
    for State { id, pid, status, bundle, created, owner, .. } in states {
        text.push_str(&format!("{id}\t{pid}\t{status}\t{}\t{created}\t{owner}\n", bundle.display()));
    }
    let written = table.write_all(text.as_bytes()).and_then(|()| table.flush());
    written.map_err(|e| Error::io("lay out the table", Call::None, &e))?;
    let bytes = table.into_inner().map_err(|e| Error::io("lay out the table", Call::None, e.error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The user's name as /etc/passwd (passwd(5)) has it, `#UID` without one. Read directly, because the C library's lookup
/// loads plugins, which a static program can't.
fn owner(passwd: &str, uid: u32) -> String {
    let uid = uid.to_string();
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("#{uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::ContainerId;

    fn record(id: &str) -> Record {
        Record {
            creating: false,
            created: "2023-11-14T22:13:20Z".into(),
            ..Record::new(id, "1.3.0", "/b".into(), "/b/rootfs".into())
        }
    }

    #[test]
    fn an_empty_list_is_null_or_a_bare_header() {
        assert_eq!(render_json(&[]).unwrap(), "null\n");
        let header = render_table(&[]).unwrap();
        assert_eq!(
            header.split_whitespace().collect::<Vec<_>>(),
            ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
        );
        assert_eq!(header.lines().count(), 1);
    }

    #[test]
    fn the_list_is_one_line_of_json_or_a_row_each() {
        let (a, b) = (record("a"), record("a-long-name-of-a-container"));
        let states = [State::of(&a, Status::Stopped, "root".into()), State::of(&b, Status::Running, "#7".into())];
        let line = render_json(&states).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.starts_with(r#"[{"ociVersion":"1.3.0","id":"a","pid":0,"status":"stopped""#), "{line}");
        assert!(line.contains(r#""owner":"root"}"#));
        let table = render_table(&states).unwrap();
        let rows: Vec<Vec<_>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["a", "0", "stopped", "/b", "2023-11-14T22:13:20Z", "root"]);
        let columns: Vec<_> = table.lines().map(|row| row.find("/b").or(row.find("BUNDLE"))).collect();
        assert!(columns.iter().all(|c| *c == columns[0]), "{table}");
    }

    #[test]
    fn a_damaged_container_does_not_hide_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        for id in ["a", "b"] {
            store.create(&ContainerId::parse(id).unwrap(), &record(id)).unwrap().commit(&record(id)).unwrap();
        }
        std::fs::write(dir.path().join("a/state.json"), "{").unwrap();
        let mut warnings = Vec::new();
        let containers = probe(&store, &mut warnings).unwrap();
        assert_eq!(containers.iter().map(|(record, _)| record.id.as_str()).collect::<Vec<_>>(), ["b"]);
        assert!(warnings[0].text.contains("\"a\" is damaged"), "{warnings:?}");
    }

    #[test]
    fn an_owner_is_a_name_or_a_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:33::/:/bin/false\n";
        assert_eq!(
            (owner(passwd, 0).as_str(), owner(passwd, 33).as_str(), owner(passwd, 5).as_str()),
            ("root", "web", "#5")
        );
    }

    #[test]
    fn an_unknown_format_is_refused_before_anything_is_read() {
        let error = super::super::typed(&["--root", "/nonexistent", "list", "--format", "yaml"]).unwrap_err();
        assert_eq!(error.to_string(), "invalid format option");
    }
}
