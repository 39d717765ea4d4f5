//! Where tables go: over one another on a terminal, one after the other elsewhere, or as lines of JSON.

use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd};

use super::table::{self, Row};
use crate::commands::print;
use crate::commands::state::json;
use crate::error::Result;
use crate::sys::tty;

pub enum Screen {
    /// The lines of the last table, which the next one takes the place of.
    Terminal {
        lines: usize,
    },
    /// The header stands above the first table only.
    Plain {
        header: bool,
    },
    Json,
}

impl Screen {
    pub fn new(as_json: bool) -> Screen {
        match (as_json, std::io::stdout().is_terminal()) {
            (true, _) => Screen::Json,
            (false, true) => Screen::Terminal { lines: 0 },
            (false, false) => Screen::Plain { header: true },
        }
    }

    pub fn show(&mut self, rows: &[Row]) -> Result {
        let text = match self {
            Screen::Json => json(serde_json::to_string(rows))? + "\n",
            Screen::Plain { header } => {
                let table = table::render(rows)?;
                let skipped = if std::mem::take(header) { 0 } else { 1 };
                table.split_inclusive('\n').skip(skipped).collect()
            }
            Screen::Terminal { lines } => {
                let size = tty::size(std::io::stdout().as_fd().as_raw_fd()).filter(|size| size.0 > 0 && size.1 > 0);
                let (text, shown) = over(&table::render(rows)?, *lines, size);
                *lines = shown;
                text
            }
        };
        print(text.as_bytes())
    }
}

/// The table in the place of one of `before` lines (console_codes(4)), and how many lines it has. A line that went on
/// in the next one, or a table that scrolls, could not be found again: both are cut to the size of the terminal.
fn over(table: &str, before: usize, size: Option<(u16, u16)>) -> (String, usize) {
    let (rows, columns) = size.map_or((usize::MAX, usize::MAX), |(rows, columns)| (rows.into(), columns.into()));
    let mut text = match before {
        0 => String::new(),
        lines => format!("\x1b[{lines}A"),
    };
    let mut shown = 0;
    // The cursor needs a line of its own.
    for line in table.lines().take(rows.saturating_sub(1)) {
        text.extend(line.chars().take(columns));
        text.push_str("\x1b[K\n");
        shown += 1;
    }
    text.push_str("\x1b[J");
    (text, shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_last_one() {
        let (first, lines) = over("ID\nweb\nold\n", 0, Some((24, 80)));
        assert_eq!((first.as_str(), lines), ("ID\x1b[K\nweb\x1b[K\nold\x1b[K\n\x1b[J", 3));
        let (second, lines) = over("ID\nweb\n", lines, Some((24, 80)));
        assert_eq!((second.as_str(), lines), ("\x1b[3AID\x1b[K\nweb\x1b[K\n\x1b[J", 2));
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        assert_eq!(over("ID STATUS\nweb\nold\n", 0, Some((3, 4))), ("ID S\x1b[K\nweb\x1b[K\n\x1b[J".to_owned(), 2));
        assert_eq!(over("ID\nweb\n", 0, None).1, 2);
    }
}
