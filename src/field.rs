//! Where something was asked for: a place in config.json, or a flag of the command line.
//!
//! Every [`Step`](crate::plan::Step), every violation and every error carries a `Field`, so that a message can name
//! the property in the words of the user's own file. A field is kept as a JSON pointer (RFC 6901) because that form is
//! unambiguous and can be looked up in the bytes of config.json; people read the dotted form.

use std::borrow::Cow;
use std::fmt;

/// A property of config.json as a JSON pointer (`/mounts/3/source`), a command-line flag (`--console-socket`), or
/// nothing at all (what corten does of its own accord).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field(Cow<'static, str>);

impl Field {
    /// What corten does without being asked, for example the default devices.
    pub const RUNTIME: Field = Field(Cow::Borrowed(""));

    /// A fixed property (`/process/cwd`) or a flag (`--pid-file`).
    pub const fn at(pointer: &'static str) -> Field {
        Field(Cow::Borrowed(pointer))
    }

    /// An element of an array: `Field::item("/mounts", 3, "/source")` is `/mounts/3/source`. `rest` may be empty.
    pub fn item(array: &str, index: usize, rest: &str) -> Field {
        Field(Cow::Owned(format!("{array}/{index}{rest}")))
    }

    /// A member of an object with free keys: `Field::at("/linux/sysctl").key("net.ipv4.ip_forward")`.
    pub fn key(&self, key: &str) -> Field {
        let mut pointer = String::with_capacity(self.0.len() + key.len() + 1);
        pointer.push_str(&self.0);
        pointer.push('/');
        for c in key.chars() {
            match c {
                '~' => pointer.push_str("~0"),
                '/' => pointer.push_str("~1"),
                c => pointer.push(c),
            }
        }
        Field(Cow::Owned(pointer))
    }

    /// An element of this array.
    pub fn index(&self, index: usize) -> Field {
        Field(Cow::Owned(format!("{}/{index}", self.0)))
    }

    /// A field that was written down as [`Field::pointer`].
    pub fn recorded(pointer: String) -> Field {
        Field(Cow::Owned(pointer))
    }

    /// The JSON pointer; empty for [`Field::RUNTIME`], the flag itself for a flag.
    pub fn pointer(&self) -> &str {
        &self.0
    }

    /// Whether this names a property of config.json (and so has a line there).
    pub fn is_config(&self) -> bool {
        self.0.starts_with('/')
    }
}

/// The form that people read: `mounts[3].source`, `linux.sysctl["net.ipv4.ip_forward"]`, `--pid-file`.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("corten's defaults");
        }
        let Some(path) = self.0.strip_prefix('/') else {
            return f.write_str(&self.0);
        };
        for (i, segment) in path.split('/').enumerate() {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            if !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit()) {
                write!(f, "[{segment}]")?;
            } else if segment.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
                write!(f, "{}{segment}", if i > 0 { "." } else { "" })?;
            } else {
                write!(f, "[{segment:?}]")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_reads_like_the_property_and_points_like_json() {
        let field = Field::item("/mounts", 3, "/source");
        assert_eq!(field.to_string(), "mounts[3].source");
        assert_eq!(field.pointer(), "/mounts/3/source");
    }

    #[test]
    fn an_element_of_a_list_that_is_the_whole_file_is_a_number_in_brackets() {
        assert_eq!(Field::recorded("/0/source".to_owned()).to_string(), "[0].source");
    }

    #[test]
    fn a_free_key_is_quoted_and_its_slashes_are_escaped() {
        let field = Field::at("/linux/sysctl").key("net/ipv4.x~y");
        assert_eq!(field.pointer(), "/linux/sysctl/net~1ipv4.x~0y");
        assert_eq!(field.to_string(), "linux.sysctl[\"net/ipv4.x~y\"]");
    }

    #[test]
    fn flags_and_defaults_have_no_place_in_the_file() {
        assert_eq!(Field::at("--pid-file").to_string(), "--pid-file");
        assert!(!Field::at("--pid-file").is_config());
        assert_eq!(Field::RUNTIME.to_string(), "corten's defaults");
    }
}
