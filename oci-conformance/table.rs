//! The table: a row for each program, a column for each runtime. Pure.

use std::fmt::Write;

use crate::tap::{Assertion, Verdict};

/// A runtime's results, in the order of the programs.
pub struct Column {
    pub name: String,
    pub version: String,
    pub results: Vec<Vec<Assertion>>,
}

/// What a program came to: passed when it asserted something, and nothing failed.
pub fn passed(assertions: &[Assertion]) -> bool {
    count(assertions, Verdict::Fail) == 0 && count(assertions, Verdict::Pass) > 0
}

fn count(assertions: &[Assertion], verdict: Verdict) -> usize {
    assertions.iter().filter(|it| it.verdict == verdict).count()
}

/// The faults of a program as a whole are failures, but none of its assertions.
fn own_words(it: &Assertion) -> bool {
    !it.name.starts_with('(')
}

fn cell(assertions: &[Assertion]) -> String {
    let own: Vec<Assertion> = assertions.iter().filter(|it| own_words(it)).cloned().collect();
    let (pass, fail) = (count(&own, Verdict::Pass), count(&own, Verdict::Fail));
    if passed(assertions) {
        return format!("pass {pass}");
    }
    if own.is_empty() {
        return match assertions.iter().map(|it| it.name.as_str()).collect::<Vec<_>>()[..] {
            [only] if only == crate::tap::NO_ASSERTION => "says nothing".to_owned(),
            _ => "ERROR".to_owned(),
        };
    }
    if pass + fail == 0 {
        return "skipped".to_owned();
    }
    let broken = if assertions.iter().any(|it| !own_words(it)) { " + error" } else { "" };
    format!("FAIL {pass}/{}{broken}", pass + fail)
}

/// Programs passed, assertions passed, assertions failed.
pub fn totals(column: &Column) -> (usize, usize, usize) {
    let all = || column.results.iter().flatten().filter(|it| own_words(it));
    let of = |verdict| all().filter(|it| it.verdict == verdict).count();
    (column.results.iter().filter(|it| passed(it)).count(), of(Verdict::Pass), of(Verdict::Fail))
}

/// Markdown, padded so that it reads as text too.
pub fn render(programs: &[String], columns: &[Column]) -> String {
    let heading = |column: &Column| format!("{} {}", column.name, column.version).trim().to_owned();
    let mut rows = vec![[vec!["program".to_owned()], columns.iter().map(heading).collect()].concat()];
    for (i, program) in programs.iter().enumerate() {
        rows.push([vec![program.clone()], columns.iter().map(|column| cell(&column.results[i])).collect()].concat());
    }
    let all: Vec<_> = columns.iter().map(totals).collect();
    let total = |words: &str, of: &dyn Fn(&(usize, usize, usize)) -> String| {
        [vec![words.to_owned()], all.iter().map(of).collect()].concat()
    };
    rows.push(total(&format!("programs passed, of {}", programs.len()), &|it| it.0.to_string()));
    rows.push(total("assertions passed", &|it| it.1.to_string()));
    rows.push(total("assertions failed", &|it| it.2.to_string()));
    layout(&rows)
}

fn layout(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        if i == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            let _ = writeln!(text, "| {} |", rules.join(" | "));
        }
    }
    text
}

/// Each assertion with each runtime's verdict, and why it failed.
pub fn details(programs: &[String], columns: &[Column]) -> String {
    let mut text = String::new();
    for (i, program) in programs.iter().enumerate() {
        let _ = writeln!(text, "{program}");
        for column in columns {
            for it in &column.results[i] {
                let verdict = match it.verdict {
                    Verdict::Pass => "ok",
                    Verdict::Fail => "FAIL",
                    Verdict::Skip => "skip",
                };
                let _ = writeln!(text, "  {:<8} {verdict:<5} {}", column.name, it.name);
                for line in it.detail.lines() {
                    let _ = writeln!(text, "                 {line}");
                }
            }
        }
    }
    text
}
