//! Lines of a `schemata` file, as values that can be compared: `L3:0=ff;1=0f`; and what a new line makes of those that a
//! config has. Pure.

use serde_json::{Value, json};

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

/// Merges lines that an update has written into `linux.intelRdt`, as the kernel merges them: a line changes the domains that
/// it names. `property` is where a line of a new resource goes, `l3CacheSchema` or `memBwSchema`.
pub fn merge(config: &mut Value, property: &str, text: &str) {
    if !config.is_object() {
        *config = json!({});
    }
    for line in text.lines().map(str::trim) {
        let Some((resource, values)) = line.split_once(':') else { continue };
        let resource = resource.trim();
        let mut values: Vec<&str> = values.split(';').map(str::trim).filter(|value| !value.is_empty()).collect();
        for there in texts(config, resource) {
            // The last line has the last word.
            let mut lines: Vec<String> = there.lines().rev().map(|line| change(line, resource, &mut values)).collect();
            lines.reverse();
            *there = lines.join("\n");
        }
        let rest = values.join(";");
        let there = texts(config, resource).into_iter().find(|there| there.lines().any(|line| is_of(line, resource)));
        match there {
            _ if rest.is_empty() => {}
            Some(there) => {
                let last = there.lines().rfind(|line| is_of(line, resource)).unwrap_or_default();
                *there = there.replace(last, &format!("{last};{rest}"));
            }
            None => add(config, property, format!("{resource}:{rest}")),
        }
    }
}

fn is_of(line: &str, resource: &str) -> bool {
    line.split_once(':').is_some_and(|(name, _)| name.trim() == resource)
}

/// Every text of lines that counts for a resource, the one that has the last word first: a line of the cache's that is about
/// bandwidth gives way to the one of its own property (`plan/rdt.rs`).
fn texts<'a>(config: &'a mut Value, resource: &str) -> Vec<&'a mut String> {
    let Some(config) = config.as_object_mut() else { return Vec::new() };
    let bandwidth = config.get("memBwSchema").and_then(Value::as_str).is_some_and(|line| !line.trim().is_empty());
    let mut texts: Vec<(usize, &mut String)> = Vec::new();
    for (key, value) in config {
        match (key.as_str(), value) {
            ("schemata", Value::Array(lines)) => texts.extend(lines.iter_mut().rev().filter_map(text).map(|t| (0, t))),
            ("memBwSchema", Value::String(text)) => texts.push((1, text)),
            ("l3CacheSchema", Value::String(text)) if !bandwidth || resource != "MB" => texts.push((2, text)),
            _ => {}
        }
    }
    texts.sort_by_key(|(rank, _)| *rank);
    texts.into_iter().map(|(_, text)| text).collect()
}

fn text(value: &mut Value) -> Option<&mut String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// The line with those of the new values whose domains it has; they are done then.
fn change(line: &str, resource: &str, values: &mut Vec<&str>) -> String {
    let Some((_, old)) = line.split_once(':').filter(|_| is_of(line, resource)) else { return line.to_owned() };
    let domain = |value: &str| plain(value.split('=').next().unwrap_or_default());
    let mut take = |old: &str| {
        let new = values.iter().position(|new| domain(new) == domain(old));
        new.map_or(old.trim().to_owned(), |new| values.remove(new).to_owned())
    };
    let parts: Vec<String> = old.split(';').filter(|part| !part.trim().is_empty()).map(&mut take).collect();
    format!("{resource}:{}", parts.join(";"))
}

/// A line of a resource that no line is about yet.
fn add(config: &mut Value, property: &str, line: String) {
    let empty = |value: &Value| value.as_str().is_none_or(|text| text.trim().is_empty());
    if config.get(property).is_none_or(empty) {
        config[property] = json!(line);
    } else if let Some(lines) = config["schemata"].as_array_mut() {
        lines.push(json!(line));
    } else {
        config["schemata"] = json!([line]);
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
    fn merged(mut config: Value, property: &str, text: &str) -> Value {
        merge(&mut config, property, text);
        config
    }

    #[test]
    fn a_line_changes_the_domains_that_it_names_where_they_stand() {
        let config = json!({"l3CacheSchema": "L3:0=f;1=f0", "memBwSchema": "MB:0=20"});
        let once = merged(config, "l3CacheSchema", "L3:1=ff");
        assert_eq!(once, json!({"l3CacheSchema": "L3:0=f;1=ff", "memBwSchema": "MB:0=20"}));
        let twice = merged(once, "memBwSchema", "MB:1=50;0=30");
        assert_eq!(twice, json!({"l3CacheSchema": "L3:0=f;1=ff", "memBwSchema": "MB:0=30;1=50"}));
    }

    #[test]
    fn the_line_that_has_the_last_word_is_the_one_that_changes() {
        let config = json!({"l3CacheSchema": "L3:0=1\nL3:0=3", "schemata": ["L3:00=f", "L2:0=3"]});
        let changed = merged(config, "l3CacheSchema", "L3:0=ff");
        assert_eq!(changed, json!({"l3CacheSchema": "L3:0=1\nL3:0=3", "schemata": ["L3:0=ff", "L2:0=3"]}));
        let config = json!({"l3CacheSchema": "L3:0=1\nL3:0=3"});
        assert_eq!(merged(config, "l3CacheSchema", "L3:0=ff")["l3CacheSchema"], "L3:0=1\nL3:0=ff");
        // Given way to.
        let config = json!({"l3CacheSchema": "MB:1=7", "memBwSchema": "MB:0=20"});
        assert_eq!(merged(config, "memBwSchema", "MB:1=50")["memBwSchema"], "MB:0=20;1=50");
    }

    #[test]
    fn a_new_resource_gets_a_line_of_its_own() {
        assert_eq!(merged(json!({}), "memBwSchema", "MB:0=30"), json!({"memBwSchema": "MB:0=30"}));
        let config = json!({"closID": "gold", "l3CacheSchema": "L3:0=1"});
        let two = json!({"closID": "gold", "l3CacheSchema": "L3:0=3", "schemata": ["L2:0=1"]});
        assert_eq!(merged(config, "l3CacheSchema", "L3:0=3\nL2:0=1"), two);
    }
}
