//! `docs/cve.md` and the sources say the same: every test that the table names exists, every vulnerability that the
//! sources name has a row, and a row without a test says why.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex_lite::Regex;

pub fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of the tables, without heads and rules.
fn rows() -> Vec<String> {
    let text = fs::read_to_string(top().join("docs/cve.md")).unwrap();
    let row = |line: &&str| line.starts_with("| ") && !line.starts_with("| |");
    text.lines().filter(row).map(str::to_owned).collect()
}

/// The tests that a row names: `attacks_links::a_console_…`.
pub fn tests_of(row: &str) -> Vec<String> {
    let name = Regex::new(r"`([a-z_0-9]+(?:::[a-z_0-9]+)+)`").unwrap();
    name.captures_iter(row).map(|found| found[1].to_owned()).collect()
}

/// Where a test must stand, and its name.
fn place_of(test: &str) -> (PathBuf, &str) {
    let (module, name) = test.rsplit_once("::").unwrap();
    let place = match (module.strip_suffix("::tests"), module.split_once('_')) {
        (Some(module), _) => {
            let path = module.replace("::", "/");
            let candidates = [format!("src/{path}/tests.rs"), format!("src/{path}.rs"), format!("src/{path}/mod.rs")];
            candidates.into_iter().find(|path| top().join(path).exists()).unwrap_or_default()
        }
        (None, Some((folder @ ("attacks" | "checkpoint" | "exec" | "live"), subject))) => {
            format!("integration/{folder}/{subject}.rs")
        }
        (None, _) => format!("integration/{module}.rs"),
    };
    (top().join(place), name)
}

/// Whether there is a test of that name.
pub fn is_test(test: &str) -> bool {
    let (path, name) = place_of(test);
    let text = fs::read_to_string(&path).unwrap_or_default();
    // In the suite a function is a test when it is listed as well.
    let listed = !path.starts_with(top().join("integration"))
        || text.contains(&format!("\n    {name},"))
        || text.contains(&format!("#[test]\nfn {name}("));
    listed && text.contains(&format!("fn {name}("))
}

#[test]
fn every_test_of_the_table_exists() {
    let mut missing = Vec::new();
    let rows = rows();
    let tests: Vec<String> = rows.iter().flat_map(|row| tests_of(row)).collect();
    assert!(rows.len() > 20 && tests.len() > 50, "the table isn't read: {} rows, {} tests", rows.len(), tests.len());
    for test in tests {
        if !is_test(&test) {
            missing.push(format!("{test} is no test in {}", place_of(&test).0.display()));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

fn numbers(text: &str) -> BTreeSet<String> {
    Regex::new(r"CVE-\d{4}-\d{4,}").unwrap().find_iter(text).map(|found| found.as_str().to_owned()).collect()
}

fn collect(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.append(&mut numbers(&fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn every_vulnerability_that_is_named_has_a_row() {
    let mut named = numbers(&fs::read_to_string(top().join("SECURITY.md")).unwrap());
    collect(&top().join("src"), &mut named);
    collect(&top().join("integration"), &mut named);
    let rows: BTreeSet<String> = rows().iter().filter_map(|row| row.split('|').nth(1)).flat_map(numbers).collect();
    let missing: Vec<_> = named.difference(&rows).collect();
    assert!(named.len() > 15 && missing.is_empty(), "no row in docs/cve.md: {missing:?}");
}

#[test]
fn a_row_without_a_test_says_why() {
    let silent = |row: &&String| tests_of(row).is_empty() && !row.contains("annot apply");
    let rows = rows();
    let silent: Vec<_> = rows.iter().filter(silent).collect();
    assert!(silent.is_empty(), "{silent:#?}");
}
