//! Container ids. An id becomes a directory name and part of cgroup paths, so what it may hold is checked once, here,
//! and a [`ContainerId`] is the proof.

use std::fmt;

use crate::error::{Error, Result};

/// Bytes that an id may have. File systems stop at 255 (NAME_MAX), and say so themselves.
const MAX: usize = 1024;

/// A valid id: letters, digits and `_+-.`, neither `.` nor `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(String);

impl ContainerId {
    /// [`Error::EmptyId`] or [`Error::BadId`] for anything else.
    pub fn parse(id: &str) -> Result<ContainerId> {
        if id.is_empty() {
            return Err(Error::EmptyId);
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_+-.".contains(&b);
        if id.len() > MAX || id == "." || id == ".." || !id.bytes().all(allowed) {
            return Err(Error::BadId { id: id.to_owned() });
        }
        Ok(ContainerId(id.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_that_engines_give_are_accepted() {
        for id in ["web", "a", "A_b+c-d.e", "...", ".hidden", "0f3a", "-x", &"x".repeat(MAX)] {
            assert_eq!(ContainerId::parse(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn an_id_that_leaves_its_directory_or_cannot_be_named_is_refused() {
        for id in [".", "..", "a/b", "/", "../x", "a b", "a\0", "a\n", "ä", "a:b", "~1", &"x".repeat(MAX + 1)] {
            assert!(matches!(ContainerId::parse(id), Err(Error::BadId { .. })), "{id:?}");
        }
    }

    #[test]
    fn an_empty_id_has_its_own_message() {
        assert_eq!(ContainerId::parse("").unwrap_err().to_string(), "container id cannot be empty");
    }
}
