//! Device rules in the only form that version 1 and systemd can hold: a default, and exceptions to it that have no
//! order. Pure.
//!
//! Numbers that no rule names are all alike, so a table of the named majors and minors, with one row and one column for
//! all others, holds the whole meaning of the rules. An exception is a cell of two named numbers, a full row, a full
//! column, or the full table; what "others" get can only be said by the last three.

use std::collections::BTreeSet;

use super::devices::{Access, Kind, Rule, Rules};
use crate::error::Violation;
use crate::field::Field;

/// A default, and the exceptions to it: each has `kind` and the other `allow`.
#[derive(Clone, Debug, PartialEq)]
pub struct Exceptions {
    pub allow: bool,
    pub list: Vec<Rule>,
}

impl Exceptions {
    /// # Errors
    /// Some number that no rule names is an exception, and so is no wildcard that it belongs to, because of the rule in
    /// the violation.
    pub(super) fn of(rules: &Rules) -> Result<Exceptions, Violation> {
        // Rules that allow everything but for one type come to a list of what is allowed.
        let form = |allow| Exceptions::with_default(rules, allow);
        form(rules.allow).or_else(|violation| form(!rules.allow).map_err(|_| violation))
    }

    fn with_default(rules: &Rules, allow: bool) -> Result<Exceptions, Violation> {
        let mut found = Vec::new();
        for kind in Kind::ALL {
            Table::new(rules, kind, allow).collect(&mut found)?;
        }
        // In the order of the rules behind them.
        found.sort_by_key(|(order, _)| *order);
        Ok(Exceptions { allow, list: found.into_iter().map(|(_, rule)| rule).collect() })
    }
}

/// What is an exception at one place of the table.
#[derive(Clone, Copy)]
struct Cell {
    /// `None`: all minors that the row doesn't name.
    minor: Option<u32>,
    access: Access,
    /// For each of [`Access::LETTERS`] the number of the rule that decides; `None` is the rules' default.
    by: [Option<usize>; 3],
}

struct Row {
    /// `None`: all majors that no rule names.
    major: Option<u32>,
    /// The nameless one is the last.
    cells: Vec<Cell>,
    /// What is an exception in every cell.
    full: Access,
}

impl Row {
    fn other(&self) -> &Cell {
        // `Table::new` ends each row with it.
        &self.cells[self.cells.len() - 1]
    }

    /// The cell of a minor, which may be one of those that the row doesn't name.
    fn at(&self, minor: Option<u32>) -> &Cell {
        self.cells.iter().find(|cell| cell.minor == minor).unwrap_or(self.other())
    }
}

/// All devices of one type.
struct Table<'a> {
    rules: &'a Rules,
    kind: Kind,
    allow: bool,
    /// The nameless one is the last.
    rows: Vec<Row>,
    full: Access,
}

impl<'a> Table<'a> {
    fn new(rules: &'a Rules, kind: Kind, allow: bool) -> Table<'a> {
        let of_kind = || rules.list.iter().enumerate().filter(|(_, rule)| rule.kind.is_none_or(|own| own == kind));
        let majors: BTreeSet<u32> = of_kind().filter_map(|(_, rule)| rule.major).collect();
        let row = |major: Option<u32>| {
            let own: Vec<(usize, &Rule)> =
                of_kind().filter(|(_, rule)| rule.major.is_none() || rule.major == major).collect();
            let minors: BTreeSet<u32> = own.iter().filter_map(|(_, rule)| rule.minor).collect();
            let cell = |minor: Option<u32>| {
                let matching = own.iter().rev().filter(|(_, rule)| rule.minor.is_none() || rule.minor == minor);
                decide(rules.allow, matching.copied(), allow, minor)
            };
            let cells: Vec<Cell> = minors.into_iter().map(Some).chain([None]).map(cell).collect();
            let full = cells.iter().fold(Access::ALL, |all, cell| all.and(cell.access));
            Row { major, cells, full }
        };
        let rows: Vec<Row> = majors.into_iter().map(Some).chain([None]).map(row).collect();
        let full = rows.iter().fold(Access::ALL, |all, row| all.and(row.full));
        Table { rules, kind, allow, rows, full }
    }

    fn other(&self) -> &Row {
        // `new` ends the table with it.
        &self.rows[self.rows.len() - 1]
    }

    /// The exceptions, each with the number of the rule behind it.
    ///
    /// The kernel grants a request only when one single exception allows all that it asks for (match_exception of
    /// security/device_cgroup.c), so each has all letters of its place and not only those that wider ones lack. Only
    /// making a node is never asked for together with anything else: `m` is left out where a wider one has it, unless the
    /// rule itself names it. So the list reads as the config does.
    fn collect(&self, found: &mut Vec<(Option<usize>, Rule)>) -> Result<(), Violation> {
        let others = self.other();
        self.fits(others.other(), self.full, self.rows.iter().flat_map(|row| &row.cells))?;
        self.push(found, (None, None), others.other(), self.full, &[]);
        // A minor of the nameless row is named together with any major.
        let columns: Vec<(u32, Access)> = others
            .cells
            .iter()
            .filter_map(|cell| {
                let full = |all: Access, row: &Row| all.and(row.at(cell.minor).access);
                Some((cell.minor?, self.rows.iter().fold(Access::ALL, full)))
            })
            .collect();
        for (minor, full) in &columns {
            let cell = others.at(Some(*minor));
            self.fits(cell, *full, self.rows.iter().map(|row| row.at(Some(*minor))))?;
            self.push(found, (None, Some(*minor)), cell, *full, &[self.full]);
        }
        for row in self.rows.iter().filter(|row| row.major.is_some()) {
            self.fits(row.other(), row.full, row.cells.iter())?;
            self.push(found, (row.major, None), row.other(), row.full, &[self.full]);
            for cell in row.cells.iter().filter(|cell| cell.minor.is_some()) {
                let column = columns.iter().find(|(minor, _)| Some(*minor) == cell.minor);
                let wider = [row.full, column.map_or(Access::NONE, |(_, full)| *full)];
                self.push(found, (row.major, cell.minor), cell, cell.access, &wider);
            }
        }
        Ok(())
    }

    /// Adds an exception, unless it is empty or one of the wider ones has all of it.
    fn push(
        &self,
        found: &mut Vec<(Option<usize>, Rule)>,
        (major, minor): (Option<u32>, Option<u32>),
        cell: &Cell,
        access: Access,
        wider: &[Access],
    ) {
        if access.is_empty() || wider.iter().any(|wider| wider.contains(access)) {
            return;
        }
        let wider = wider.iter().fold(Access::NONE, |all, wider| all.or(*wider));
        // Reading from the one and writing from the other is no way to do both: then the rule is that of the first letter.
        let by = cell.by(access.without(wider)).or(cell.by(access));
        let named = by.is_some_and(|number| self.rules.list[number].access.contains(Access::MKNOD));
        let access = if named { access } else { access.without(wider.and(Access::MKNOD)) };
        let field = by.map_or(&self.rules.field, |number| &self.rules.list[number].field).clone();
        found.push((by, Rule { allow: !self.allow, kind: Some(self.kind), major, minor, access, field }));
    }

    /// Checks that what is an exception for nameless numbers is so in the whole wildcard that they belong to.
    fn fits<'c>(&self, cell: &Cell, full: Access, all: impl Iterator<Item = &'c Cell>) -> Result<(), Violation> {
        let missing = cell.access.without(full);
        if missing.is_empty() {
            return Ok(());
        }
        let hole = all.filter(|other| !other.access.contains(missing)).find_map(|other| {
            let letters = missing.without(other.access);
            Some((other.by(letters)?, letters))
        });
        let rule = |number: Option<usize>| number.map(|number| &self.rules.list[number]);
        let hole = rule(hole.map(|(number, _)| number));
        let wildcard = rule(cell.by(missing));
        // A default has no place in the config; then it is the config's wildcard that it is at odds with.
        let named = [hole, wildcard].into_iter().flatten().find(|rule| rule.field != Field::RUNTIME);
        let field = named.map_or(&self.rules.field, |rule| &rule.field).clone();
        let words = |rule: Option<&Rule>, or: bool| match rule {
            Some(rule) => format!("{} {rule}", if rule.allow { "allow" } else { "deny" }),
            None => format!("{} all", if or { "allow" } else { "deny" }),
        };
        let why = format!(
            "control groups of version 1 can't hold {:?} as a part of {:?}",
            words(hole, !self.allow),
            words(wildcard, self.rules.allow)
        );
        let hint = "they know a default and exceptions to it: deny all first and allow device by device, or use a host \
                    with version 2 alone";
        Err(Violation::new(field, why).hint(hint))
    }
}

impl Cell {
    /// The rule behind the first of these letters.
    fn by(&self, access: Access) -> Option<usize> {
        Access::LETTERS.iter().zip(self.by).find(|((bit, _), _)| access.contains(*bit)).and_then(|(_, by)| by)
    }
}

/// What differs from `default`, by the rules that match, the last one first.
fn decide<'r>(
    allow: bool,
    matching: impl Iterator<Item = (usize, &'r Rule)>,
    default: bool,
    minor: Option<u32>,
) -> Cell {
    let mut open = Access::ALL;
    let mut allowed = Access::NONE;
    let mut by = [None; 3];
    for (number, rule) in matching {
        let decided = rule.access.and(open);
        for (place, (bit, _)) in by.iter_mut().zip(Access::LETTERS) {
            if decided.contains(bit) {
                *place = Some(number);
            }
        }
        open = open.without(decided);
        if rule.allow {
            allowed = allowed.or(decided);
        }
        if open.is_empty() {
            break;
        }
    }
    if allow {
        allowed = allowed.or(open);
    }
    let access = if default { Access::ALL.without(allowed) } else { allowed };
    Cell { minor, access, by }
}
