//! `corten ps [--format table|json] ID [PS OPTIONS]`: the processes of a container, as the host sees them.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use super::state::{json, print};
use crate::cli::{Globals, PsArgs};
use crate::container::{ContainerId, Store, processes};
use crate::error::{Error, Result, Violation};
use crate::fault::Call;
use crate::field::Field;
use crate::log::Log;

/// Where the options of ps stand on the command line.
const OPTIONS: Field = Field::at("PS OPTIONS");

/// `format` is `table` or `json`; the options are for ps(1), which prints the table.
pub fn run(globals: &Globals, args: PsArgs, _log: &mut Log) -> Result<i32> {
    let PsArgs { format, id, options } = args;
    if !matches!(format.as_str(), "table" | "json") {
        return Err(Error::Usage("invalid format option".to_owned()));
    }
    let pids = processes::processes(&Store::open(&globals.root)?, &ContainerId::parse(&id)?)?;
    let text = match format.as_str() {
        "json" => render_json(&pids)?,
        _ => render_table(&run_ps(options)?, &pids).map_err(|violation| Error::Violations(vec![violation]))?,
    };
    print(text.as_bytes())?;
    Ok(0)
}

/// One line; `null` when there are no processes, as Go writes an absent list.
fn render_json(pids: &[i32]) -> Result<String> {
    match pids {
        [] => Ok("null\n".to_owned()),
        pids => json(serde_json::to_string(pids)).map(|line| line + "\n"),
    }
}

/// What ps prints.
fn run_ps(options: Vec<OsString>) -> Result<String> {
    let options = if options.is_empty() { vec!["-ef".into()] } else { options };
    let ran = Command::new("ps").args(&options).stdin(Stdio::null()).output();
    let ran = ran.map_err(|error| {
        let error = Error::io("run ps", Call::Exec, &error);
        error.field(Field::at("--format")).hint("the table is made by ps (package procps); --format json needs none")
    })?;
    let stderr = String::from_utf8_lossy(&ran.stderr);
    // It also ends with 1 when no process was chosen, and then says nothing.
    if !ran.status.success() && (ran.stdout.is_empty() || !stderr.is_empty()) {
        let said = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        let why = format!("ps failed ({}): {said}", ran.status);
        return Err(Error::Violations(vec![Violation::new(OPTIONS, why).hint("`ps --help all` lists the options")]));
    }
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}

/// The header and the rows of these processes. A row without a pid, such as that of a thread, belongs to the one above.
fn render_table(table: &str, pids: &[i32]) -> std::result::Result<String, Violation> {
    let mut lines = table.lines();
    let header = lines.next().unwrap_or_default();
    let Some(column) = Column::find(header) else {
        let why = format!("ps prints no column PID, which tells the container's processes apart: {header:?}");
        return Err(Violation::new(OPTIONS, why).hint("add the column, as in -o pid,args"));
    };
    let mut text = format!("{header}\n");
    let mut chosen = false;
    for line in lines {
        if let Some(pid) = column.pid(line) {
            chosen = pids.contains(&pid);
        }
        if chosen {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

/// Where the pids stand.
struct Column {
    /// In which of the words of a row.
    word: usize,
    /// Where the column ends, in characters: numbers are aligned to the right, and the words before may have blanks.
    end: usize,
}

impl Column {
    fn find(header: &str) -> Option<Column> {
        let mut found = words(header).enumerate().filter(|(_, (_, text))| *text == "PID");
        found.next().map(|(word, (end, _))| Column { word, end })
    }

    /// `None` for a row without a pid.
    fn pid(&self, line: &str) -> Option<i32> {
        let aligned = words(line).find(|(end, _)| *end == self.end).and_then(|(_, text)| text.parse().ok());
        // What was too wide for its column has pushed the others to the right.
        aligned.or_else(|| words(line).nth(self.word).and_then(|(_, text)| text.parse().ok()))
    }
}

/// The words of a line, each with where it ends, in characters.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    line.split_whitespace().map(|word| {
        // Both are parts of one text.
        let end = word.as_ptr() as usize - line.as_ptr() as usize + word.len();
        (line[..end].chars().count(), word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(table: &str, pids: &[i32]) -> Vec<String> {
        render_table(table, pids).unwrap().lines().skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn json_is_the_pids_or_null() {
        assert_eq!(render_json(&[]).unwrap(), "null\n");
        assert_eq!(render_json(&[7, 4711]).unwrap(), "[7,4711]\n");
    }

    #[test]
    fn the_rows_of_the_container_stand_below_the_header() {
        let table = "\
UID          PID    PPID  C STIME TTY          TIME CMD
root           1       0  0 12:00 ?        00:00:02 /sbin/init
root          12       1  0 12:00 ?        00:00:00 sleep 123
nobody       123      12  0 12:00 ?        00:00:00 sleep 1
";
        assert_eq!(rows(table, &[12]), ["root          12       1  0 12:00 ?        00:00:00 sleep 123"]);
        assert_eq!(rows(table, &[1, 123]).len(), 2);
        assert_eq!(rows(table, &[2]), [""; 0]);
        assert!(render_table(table, &[]).unwrap().starts_with("UID "));
    }

    #[test]
    fn a_column_with_blanks_before_the_pid_does_not_hide_it() {
        let head = format!("{:>24} {:>7} CMD", "STARTED", "PID");
        let row = |pid: i32, args: &str| format!("Fri Nov 21 12:00:05 2026 {pid:>7} {args}");
        let table = format!("{head}\n{}\n{}\n", row(5, "a 12"), row(12, "b 5"));
        assert_eq!(rows(&table, &[5]), ["Fri Nov 21 12:00:05 2026       5 a 12"]);
    }

    #[test]
    fn a_word_that_is_too_wide_does_not_hide_the_pid() {
        let table = "USER   PID CMD\na-very-long-name 5 x\nroot    12 y\nüser     7 z\n";
        assert_eq!(rows(table, &[5, 7]), ["a-very-long-name 5 x", "üser     7 z"]);
    }

    #[test]
    fn threads_go_with_their_process() {
        let table = "  PID   LWP CMD\n    5     - a\n    -     5 -\n    -     6 -\n    7     - b\n    -     7 -\n";
        assert_eq!(rows(table, &[5]).len(), 3);
        assert_eq!(rows(table, &[7]), ["    7     - b", "    -     7 -"]);
    }

    #[test]
    fn a_table_without_pids_is_refused() {
        for table in ["CMD\nsh\n", "", "\n", "PPID CMD\n1 sh\n", "ID\n1\n"] {
            let violation = render_table(table, &[1]).unwrap_err();
            assert!(violation.why.contains("no column PID") && violation.hint.contains("-o pid"), "{violation:?}");
        }
    }

    #[test]
    fn an_unknown_format_is_refused_before_anything_is_read() {
        let error = super::super::typed(&["--root", "/nonexistent", "ps", "--format", "yaml", "web"]).unwrap_err();
        assert_eq!(error.to_string(), "invalid format option");
        let error = super::super::typed(&["--root", "/nonexistent", "ps", "web", "--format", "yaml"]).unwrap_err();
        assert_eq!(error.to_string(), "container does not exist");
    }
}
