//! What was probably meant: the known word that is nearest to a misspelt one.

use std::str::FromStr;

use clap::Command;
use nix::sys::signal::Signal;

use super::walk::Mistake;
use super::{Entry, VERBS};

/// The next step after a flag that nobody knows; may be empty.
pub fn advice_on_flag(mistake: &Mistake, entry: Option<&Entry>, globals: &Command) -> String {
    let unknown = mistake.unknown.as_str();
    if unknown.is_empty() {
        return String::new();
    }
    let verb = entry.filter(|_| mistake.after_verb);
    // `kill -9 web` is how the shell's kill is written.
    if verb.is_some_and(|verb| verb.name == "kill") && names_signal(unknown) {
        return format!("the signal stands behind the container, without a dash: corten kill ID {unknown}");
    }
    let own = verb.map(Entry::command);
    let commands = own.iter().chain([globals]);
    let longs = commands.flat_map(|command| command.get_arguments().filter(|arg| !arg.is_hide_set()));
    match nearest(unknown, longs.filter_map(clap::Arg::get_long)) {
        Some(long) => format!("did you mean --{long}?"),
        None => String::new(),
    }
}

/// A number or a name with or without `SIG`; close enough for a hint.
fn names_signal(word: &str) -> bool {
    let upper = word.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    word.parse::<u8>().is_ok() || Signal::from_str(&format!("SIG{name}")).is_ok()
}

/// The next step after a command that nobody knows.
pub fn advice_on_verb(unknown: &str) -> String {
    let verbs = VERBS.iter().filter(|entry| !entry.hidden).map(|entry| entry.name);
    match nearest(unknown, verbs) {
        Some(verb) => format!("did you mean `corten {verb}`? `corten --help` lists the commands"),
        None => "`corten --help` lists the commands".to_owned(),
    }
}

/// The candidate with the fewest differences, if they are few enough to be slips: a third of the letters at most.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody mistypes a novel, and the effort grows with the square.
    let most = (word.len().min(30) / 3).max(1);
    let measured = candidates.map(|candidate| (distance(word, candidate), candidate));
    measured
        .filter(|(distance, _)| word.len() > 1 && *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

/// How many letters are missing, too many, wrong, or changed places with their neighbour (Damerau's distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(40).collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i];
        for j in 1..=b.len() {
            let wrong = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = wrong.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_one_difference() {
        for (word, meant) in [("creat", "create"), ("craete", "create"), ("sttate", "state"), ("kull", "kill")] {
            assert_eq!(distance(word, meant), 1, "{word}");
        }
        assert_eq!(distance("", "list"), 4);
        assert_eq!(distance("list", "list"), 0);
    }

    #[test]
    fn only_what_is_near_is_proposed() {
        let verbs = ["create", "start", "state", "kill", "list"];
        let nearest = |word| nearest(word, verbs.into_iter());
        assert_eq!(nearest("craete"), Some("create"));
        assert_eq!(nearest("satrt"), Some("start"));
        assert_eq!(nearest("ls"), None);
        assert_eq!(nearest("x"), None);
        assert_eq!(nearest("frobnicate"), None);
        assert_eq!(nearest(&"create".repeat(1000)), None);
    }
}
