//! `corten --version`: four lines that engines parse.
//!
//! The first line must begin with the name and ` version `, and no other line may contain that word: one engine takes
//! every line that does for the version. Nothing else may be printed here.

use libseccomp::ScmpVersion;

/// The version of corten.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The highest version of the OCI runtime specification that corten implements.
pub const SPEC: &str = "1.3.0";

/// The commit that corten was built from; the Makefile sets it.
pub const COMMIT: &str = match option_env!("CORTEN_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// What is printed.
pub fn text() -> String {
    format!("corten version {VERSION}\ncommit: {COMMIT}\nspec: {SPEC}\nlibseccomp: {}\n", libseccomp())
}

/// The version of the linked libseccomp.
pub fn libseccomp() -> String {
    ScmpVersion::current()
        .map_or_else(|_| "unknown".into(), |version| format!("{}.{}.{}", version.major, version.minor, version.micro))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_line_contains_the_word_version() {
        let text = text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("corten version {VERSION}"));
        assert!(lines[1].starts_with("commit: "));
        assert_eq!(lines[2], "spec: 1.3.0");
        assert!(lines[3].starts_with("libseccomp: 2."), "{}", lines[3]);
        assert_eq!(lines.len(), 4);
        assert!(lines[1..].iter().all(|line| !line.contains("version")));
    }
}
