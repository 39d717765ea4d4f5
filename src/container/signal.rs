//! Names of signals as `kill` takes them (signal(7)).

use std::str::FromStr;

use nix::sys::signal::Signal;

use crate::error::{Error, Result};

/// The highest signal number of Linux on the common architectures.
const LAST: i32 = 64;

/// Names that nix doesn't have: older ones of the same signals.
const ALIASES: [(&str, i32); 4] =
    [("CLD", libc::SIGCHLD), ("IOT", libc::SIGABRT), ("POLL", libc::SIGIO), ("UNUSED", libc::SIGSYS)];

/// The number behind a name (with or without `SIG`, in any case), a number (0 only checks), or `RTMIN+3`, `RTMAX-1`.
pub fn parse(text: &str) -> Result<i32> {
    number(text).or_else(|| named(&text.to_ascii_uppercase())).ok_or_else(|| Error::UnknownSignal(text.to_owned()))
}

fn number(text: &str) -> Option<i32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|&n| n <= LAST)
}

fn named(upper: &str) -> Option<i32> {
    let name = upper.strip_prefix("SIG").unwrap_or(upper);
    if name.starts_with("RT") {
        return real_time(name);
    }
    if let Some((_, number)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Some(*number);
    }
    Signal::from_str(&format!("SIG{name}")).ok().map(|signal| signal as i32)
}

/// The C library keeps the first of the kernel's real-time signals to itself, and names count from its own RTMIN.
fn real_time(name: &str) -> Option<i32> {
    let (min, max) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        _ => number(rest.strip_prefix(sign)?),
    };
    let signal = match name.strip_prefix("RTMIN") {
        Some(rest) => min + offset(rest, '+')?,
        None => max - offset(name.strip_prefix("RTMAX")?, '-')?,
    };
    (min..=max).contains(&signal).then_some(signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_many_spellings() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("term", 15),
            ("sigTerm", 15),
            ("15", 15),
            ("KILL", 9),
            ("9", 9),
            ("0", 0),
            ("64", 64),
            ("HUP", 1),
            ("USR1", 10),
            ("WINCH", 28),
            ("CLD", 17),
            ("SIGCHLD", 17),
            ("IOT", 6),
            ("POLL", 29),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmin+3", 37),
            ("RTMAX", 64),
            ("RTMAX-1", 63),
            ("RTMIN+30", 64),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
    }

    #[test]
    fn every_standard_signal_is_known_by_its_name() {
        for signal in Signal::iterator() {
            assert_eq!(parse(signal.as_str()).unwrap(), signal as i32);
            assert_eq!(parse(&signal.as_str()[3..]).unwrap(), signal as i32);
        }
    }

    #[test]
    fn anything_else_is_no_signal() {
        for text in ["", "FOO", "SIG", "-9", "+9", "65", "9x", "RTMIN+31", "RTMAX+1", "RTMIN-1", "RTFM", "99999999999"]
        {
            assert!(matches!(parse(text), Err(Error::UnknownSignal(t)) if t == text), "{text}");
        }
        assert_eq!(parse("FOO").unwrap_err().to_string(), "unknown signal \"FOO\"");
    }
}
