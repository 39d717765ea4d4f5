//! Lines of a `schemata` file, as values that can be compared: `L3:0=ff;1=0f`. Pure.

/// One resource with its values by domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub resource: String,
    /// Domain and value, without leading zeros.
    values: Vec<(String, String)>,
}

/// The lines of a text; what makes no sense is left out.
pub fn parse(text: &str) -> Vec<Line> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Line> {
    let (resource, rest) = line.trim().split_once(':')?;
    let value = |part: &str| {
        let (domain, value) = part.split_once('=')?;
        Some((plain(domain), plain(value)))
    };
    let values = rest.split(';').map(str::trim).filter(|part| !part.is_empty()).map(value).collect::<Option<_>>()?;
    Some(Line { resource: resource.trim().to_owned(), values })
}

/// The kernel writes masks with leading zeros and takes them without.
fn plain(number: &str) -> String {
    let number = number.trim().to_ascii_lowercase();
    let number = number.strip_prefix("0x").unwrap_or(&number).trim_start_matches('0');
    if number.is_empty() { "0".to_owned() } else { number.to_owned() }
}

impl Line {
    /// Whether these lines say of the same resource what this one says; of other domains they may say what they like.
    pub fn is_in(&self, lines: &[Line]) -> bool {
        let same = lines.iter().filter(|line| line.resource == self.resource);
        let all: Vec<_> = same.flat_map(|line| &line.values).collect();
        self.values.iter().all(|value| all.contains(&value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_they_are_written() {
        let here = parse("    L3:0=00ff;1=fffff\n    MB:0=  20;1= 100\n");
        for given in ["L3:0=ff", "L3:1=FFFFF;0=0xff", "MB:0=20", "MB:1=100;0=20"] {
            assert!(parse(given)[0].is_in(&here), "{given}");
        }
        for other in ["L3:0=f", "L3:2=ff", "L2:0=ff", "MB:0=30"] {
            assert!(!parse(other)[0].is_in(&here), "{other}");
        }
    }

    #[test]
    fn what_is_no_line_is_left_out() {
        assert_eq!(parse("\nnothing\nL3:0\n:\n"), [Line { resource: String::new(), values: vec![] }]);
    }
}
