//! `ociVersion`: SemVer 2.0.0, and a major version that corten knows (config.md, "Specification version").

use super::Findings;
use crate::field::Field;

const FIELD: Field = Field::at("/ociVersion");
const HINT: &str = "write the version of the runtime-spec that the config follows, for example 1.3.0";

pub(super) fn check(version: &str, found: &mut Findings) {
    match major(version) {
        None if version.is_empty() => found.refuse(FIELD, "is required", HINT),
        None => found.refuse(FIELD, format!("must be a SemVer version such as 1.3.0, not {version:?}"), HINT),
        Some("1") => {}
        Some(_) => found.refuse(FIELD, format!("only versions 1.x.y are supported, not {version:?}"), HINT),
    }
}

/// The major version of a well-formed `major.minor.patch[-pre][+build]`.
fn major(version: &str) -> Option<&str> {
    let (rest, build) = version.split_once('+').map_or((version, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let number = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let fine = core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(|part| word(part) && (!digits(part) || number(part))))
        && build.is_none_or(|build| build.split('.').all(word));
    if fine { core.split('.').next() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_of_semver_are_well_formed() {
        for version in ["1.0.0", "1.0.2-dev", "1.3.0+dev", "1.2.0-rc.1+a-b.7", "1.0.0-0a"] {
            assert_eq!(major(version), Some("1"), "{version}");
        }
        for version in [
            "", "invalid", "1", "1.0", "1.0.0.0", "1.01.0", "1.0.0-", "1.0.0-01", "1.0.0+", "v1.0.0", "1.0.0 ",
            "1.0.-1",
        ] {
            assert_eq!(major(version), None, "{version}");
        }
        assert_eq!(major("9.9.9"), Some("9"));
    }
}
