//! Identity maps of a user namespace: their text, and who may write it (user_namespaces(7)). Pure; `adopt.rs` writes them.

use oci_spec::runtime::LinuxIdMapping;

/// One line of a map: `size` ids from `container` on are `host` and following outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub container: u32,
    pub host: u32,
    pub size: u32,
}

/// A whole map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map(pub Vec<Range>);

impl Map {
    pub fn from_spec(mappings: Option<&Vec<LinuxIdMapping>>) -> Map {
        let range = |m: &LinuxIdMapping| Range { container: m.container_id(), host: m.host_id(), size: m.size() };
        Map(mappings.into_iter().flatten().map(range).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an id of the container is mapped.
    pub fn contains(&self, id: u32) -> bool {
        self.0.iter().any(|r| id >= r.container && u64::from(id) < u64::from(r.container) + u64::from(r.size))
    }

    /// The text for /proc/PID/{uid,gid}_map.
    pub fn text(&self) -> String {
        self.0.iter().map(|r| format!("{} {} {}\n", r.container, r.host, r.size)).collect()
    }

    /// `0-65535 to 100000` for a sentence.
    pub fn words(&self) -> String {
        let word = |r: &Range| match r.size {
            1 => format!("{} to {}", r.container, r.host),
            size => format!("{}-{} to {}", r.container, u64::from(r.container) + u64::from(size) - 1, r.host),
        };
        let words: Vec<_> = self.0.iter().take(4).map(word).collect();
        let more = if self.0.len() > 4 { format!(" and {} more", self.0.len() - 4) } else { String::new() };
        words.join(", ") + &more
    }

    /// Whether an unprivileged process may write this map itself: one line that maps its own id.
    pub fn is_own_id(&self, own: u32) -> bool {
        matches!(self.0.as_slice(), [Range { host, size: 1, .. }] if *host == own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(ranges: &[(u32, u32, u32)]) -> Map {
        Map(ranges.iter().map(|&(container, host, size)| Range { container, host, size }).collect())
    }

    #[test]
    fn a_map_has_one_line_a_range() {
        assert_eq!(map(&[(0, 100_000, 65_536), (65_536, 7, 1)]).text(), "0 100000 65536\n65536 7 1\n");
    }

    #[test]
    fn an_id_is_mapped_up_to_the_end_of_its_range_and_no_further() {
        let map = map(&[(0, 1000, 10), (u32::MAX, 5, 1)]);
        assert!(map.contains(9) && map.contains(u32::MAX));
        assert!(!map.contains(10));
    }

    #[test]
    fn only_a_single_own_id_can_be_mapped_without_help() {
        assert!(map(&[(0, 1000, 1)]).is_own_id(1000));
        assert!(!map(&[(0, 1000, 2)]).is_own_id(1000));
        assert!(!map(&[(0, 1001, 1)]).is_own_id(1000));
        assert!(!map(&[(0, 1000, 1), (1, 1001, 1)]).is_own_id(1000));
    }

    #[test]
    fn long_maps_are_shortened_in_sentences_only() {
        let many = Map((0..6).map(|i| Range { container: i, host: i, size: 1 }).collect());
        assert!(many.words().ends_with("and 2 more"));
        assert_eq!(many.text().lines().count(), 6);
    }
}
