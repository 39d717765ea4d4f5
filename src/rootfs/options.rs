//! The mount options of config.json, in one table. Pure: text comes in, [`Options`] goes out.
//!
//! The names are those of mount(8) and of the runtime specification (config.md, "Linux mount options"), with the
//! extensions that engines pass. What stands in no row is data for the file system (`size=64m`).

/// The MS_ flag of a propagation type, with MS_REC when it goes for the whole tree (mount_namespaces(7)).
pub type Propagation = u64;

/// What one option does. `Set` and `Clear` carry MOUNT_ATTR_ flags, the `Rec` forms go for the whole tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Nothing,
    Set(u64),
    Clear(u64),
    RecSet(u64),
    RecClear(u64),
    /// One of the access time policies, which exclude each other.
    Atime(u64),
    RecAtime(u64),
    /// A flag of the superblock, by the name that fsconfig(2) knows: on or off.
    Super(&'static str, bool),
    Propagate(Propagation),
    Bind {
        recursive: bool,
    },
    Remount,
    Silent(bool),
    CopyUp,
    IdMap {
        recursive: bool,
    },
    CopySymlink,
    SourceNoFollow,
    TargetNoFollow,
}

use Effect::*;

const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
const NODIRATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
const NOSYMFOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;
const NOATIME: u64 = libc::MOUNT_ATTR_NOATIME;
const RELATIME: u64 = libc::MOUNT_ATTR_RELATIME;
const STRICTATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
const REC: u64 = libc::MS_REC;

/// Every option by name, sorted. An option that takes an access time policy back leaves the kernel's default, relatime.
const TABLE: [(&str, Effect); 67] = [
    // File systems decide about ACLs on their own: the flag behind these two names has no effect (mount(2)).
    ("acl", Nothing),
    ("async", Super("sync", false)),
    ("atime", Atime(RELATIME)),
    ("bind", Bind { recursive: false }),
    ("copy-symlink", CopySymlink),
    ("defaults", Nothing),
    ("dest-nofollow", TargetNoFollow),
    ("dev", Clear(NODEV)),
    ("diratime", Clear(NODIRATIME)),
    ("dirsync", Super("dirsync", true)),
    ("exec", Clear(NOEXEC)),
    ("idmap", IdMap { recursive: false }),
    ("iversion", Super("iversion", true)),
    ("lazytime", Super("lazytime", true)),
    ("loud", Silent(false)),
    ("mand", Super("mand", true)),
    ("noacl", Nothing),
    ("noatime", Atime(NOATIME)),
    ("nodev", Set(NODEV)),
    ("nodiratime", Set(NODIRATIME)),
    ("noexec", Set(NOEXEC)),
    ("noiversion", Super("iversion", false)),
    ("nolazytime", Super("lazytime", false)),
    ("nomand", Super("mand", false)),
    ("norelatime", Atime(STRICTATIME)),
    ("nostrictatime", Atime(RELATIME)),
    ("nosuid", Set(NOSUID)),
    ("nosymfollow", Set(NOSYMFOLLOW)),
    ("private", Propagate(libc::MS_PRIVATE)),
    ("ratime", RecAtime(RELATIME)),
    ("rbind", Bind { recursive: true }),
    ("rdev", RecClear(NODEV)),
    ("rdiratime", RecClear(NODIRATIME)),
    ("relatime", Atime(RELATIME)),
    ("remount", Remount),
    ("rexec", RecClear(NOEXEC)),
    ("ridmap", IdMap { recursive: true }),
    ("rnoatime", RecAtime(NOATIME)),
    ("rnodev", RecSet(NODEV)),
    ("rnodiratime", RecSet(NODIRATIME)),
    ("rnoexec", RecSet(NOEXEC)),
    ("rnorelatime", RecAtime(STRICTATIME)),
    ("rnostrictatime", RecAtime(RELATIME)),
    ("rnosuid", RecSet(NOSUID)),
    ("rnosymfollow", RecSet(NOSYMFOLLOW)),
    ("ro", Set(RDONLY)),
    ("rprivate", Propagate(libc::MS_PRIVATE | REC)),
    ("rrelatime", RecAtime(RELATIME)),
    ("rro", RecSet(RDONLY)),
    ("rrw", RecClear(RDONLY)),
    ("rshared", Propagate(libc::MS_SHARED | REC)),
    ("rslave", Propagate(libc::MS_SLAVE | REC)),
    ("rstrictatime", RecAtime(STRICTATIME)),
    ("rsuid", RecClear(NOSUID)),
    ("rsymfollow", RecClear(NOSYMFOLLOW)),
    ("runbindable", Propagate(libc::MS_UNBINDABLE | REC)),
    ("rw", Clear(RDONLY)),
    ("shared", Propagate(libc::MS_SHARED)),
    ("silent", Silent(true)),
    ("slave", Propagate(libc::MS_SLAVE)),
    ("src-nofollow", SourceNoFollow),
    ("strictatime", Atime(STRICTATIME)),
    ("suid", Clear(NOSUID)),
    ("symfollow", Clear(NOSYMFOLLOW)),
    ("sync", Super("sync", true)),
    ("tmpcopyup", CopyUp),
    ("unbindable", Propagate(libc::MS_UNBINDABLE)),
];

const fn names() -> [&'static str; TABLE.len()] {
    let mut names = [""; TABLE.len()];
    let mut i = 0;
    while i < TABLE.len() {
        names[i] = TABLE[i].0;
        i += 1;
    }
    names
}

/// The names of all options that corten knows, sorted; `features` prints them.
pub const NAMES: [&str; TABLE.len()] = names();

/// MOUNT_ATTR_ flags to set and to clear. A flag stands in at most one of the two; the last option wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub set: u64,
    pub clear: u64,
}

impl Attributes {
    pub const fn is_empty(self) -> bool {
        self.set == 0 && self.clear == 0
    }

    fn set(&mut self, flag: u64) {
        self.set |= flag;
        self.clear &= !flag;
    }

    fn clear(&mut self, flag: u64) {
        self.clear |= flag;
        self.set &= !flag;
    }

    /// mount_setattr(2) wants the whole field of access time policies cleared before one is set.
    fn atime(&mut self, policy: u64) {
        self.set = self.set & !libc::MOUNT_ATTR__ATIME | policy;
        self.clear |= libc::MOUNT_ATTR__ATIME;
    }
}

/// Data for a file system: `key` alone is a flag, else `key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    pub key: String,
    pub value: Option<String>,
}

/// The id mapping that an `idmap` or `ridmap` option asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMapOption {
    pub recursive: bool,
    /// What stands behind `=`, not yet parsed.
    pub mappings: Option<String>,
}

/// What a list of mount options comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `Some(recursive)` with `bind` or `rbind`.
    pub bind: Option<bool>,
    pub remount: bool,
    pub attributes: Attributes,
    /// The recursive forms (`rro`), for mount_setattr(AT_RECURSIVE).
    pub recursive: Attributes,
    /// Superblock flags that are on, in the order given: `sync`, `dirsync`, `lazytime`, `mand`, `iversion`.
    pub superblock: Vec<&'static str>,
    pub silent: bool,
    /// In the order given; each is one call.
    pub propagation: Vec<Propagation>,
    pub copy_up: bool,
    pub idmap: Option<IdMapOption>,
    pub copy_symlink: bool,
    pub source_nofollow: bool,
    pub target_nofollow: bool,
    /// What no row knows, in order, each with its index in the list.
    pub data: Vec<(usize, Data)>,
}

/// Reads the options in order; it can't fail, because what isn't known is data.
pub fn parse<S: AsRef<str>>(list: &[S]) -> Options {
    let mut options = Options::default();
    for (index, option) in list.iter().map(AsRef::as_ref).enumerate() {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        let known = TABLE.binary_search_by_key(&name, |row| row.0).ok().and_then(|row| TABLE.get(row));
        match (known, value) {
            (Some((_, effect)), None) => options.take(*effect),
            (Some((_, IdMap { recursive })), Some(mappings)) => {
                options.idmap = Some(IdMapOption { recursive: *recursive, mappings: Some(mappings.to_owned()) });
            }
            _ if option.is_empty() => {}
            _ => options.data.push((index, Data { key: name.to_owned(), value: value.map(str::to_owned) })),
        }
    }
    options
}

impl Options {
    fn take(&mut self, effect: Effect) {
        match effect {
            Nothing => {}
            Set(flag) => self.attributes.set(flag),
            Clear(flag) => self.attributes.clear(flag),
            RecSet(flag) => self.recursive.set(flag),
            RecClear(flag) => self.recursive.clear(flag),
            Atime(policy) => self.attributes.atime(policy),
            RecAtime(policy) => self.recursive.atime(policy),
            Super(name, on) => {
                self.superblock.retain(|other| *other != name);
                if on {
                    self.superblock.push(name);
                }
            }
            Propagate(flags) => self.propagation.push(flags),
            Bind { recursive } => self.bind = Some(recursive || self.bind == Some(true)),
            Remount => self.remount = true,
            Silent(on) => self.silent = on,
            CopyUp => self.copy_up = true,
            IdMap { recursive } => self.idmap = Some(IdMapOption { recursive, mappings: None }),
            CopySymlink => self.copy_symlink = true,
            SourceNoFollow => self.source_nofollow = true,
            TargetNoFollow => self.target_nofollow = true,
        }
    }
}

/// The propagation type of this name (`rslave`), for rootfsPropagation.
pub fn propagation(name: &str) -> Option<Propagation> {
    match TABLE.iter().find(|row| row.0 == name) {
        Some((_, Propagate(flags))) => Some(*flags),
        _ => None,
    }
}

/// The name of a propagation type.
pub fn propagation_name(flags: Propagation) -> &'static str {
    TABLE.iter().find(|row| row.1 == Propagate(flags)).map_or("private", |row| row.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        assert!(NAMES.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn the_last_option_wins_and_a_cleared_flag_is_remembered() {
        let options = parse(&["noexec", "ro", "exec", "rw", "ro"]);
        assert_eq!(options.attributes, Attributes { set: RDONLY, clear: NOEXEC });
        assert_eq!(parse(&["sync", "async"]).superblock, Vec::<&str>::new());
    }

    #[test]
    fn an_access_time_policy_replaces_the_one_before() {
        let options = parse(&["noatime", "strictatime"]);
        assert_eq!(options.attributes, Attributes { set: STRICTATIME, clear: libc::MOUNT_ATTR__ATIME });
        let options = parse(&["rnoatime"]);
        assert_eq!(options.recursive, Attributes { set: NOATIME, clear: libc::MOUNT_ATTR__ATIME });
    }

    #[test]
    fn what_no_row_knows_is_data_in_order() {
        let options = parse(&["size=64m", "nosuid", "noswap", "mode=755", "ro=1", ""]);
        let data: Vec<_> = options.data.iter().map(|(i, d)| (*i, d.key.as_str(), d.value.as_deref())).collect();
        assert_eq!(
            data,
            [(0, "size", Some("64m")), (2, "noswap", None), (3, "mode", Some("755")), (4, "ro", Some("1"))]
        );
    }

    #[test]
    fn propagation_options_are_kept_in_order() {
        let options = parse(&["rbind", "rslave", "shared"]);
        assert_eq!(options.propagation, [libc::MS_SLAVE | REC, libc::MS_SHARED]);
        assert_eq!(options.bind, Some(true));
        assert_eq!(propagation_name(libc::MS_SLAVE | REC), "rslave");
        assert_eq!(propagation("rprivate"), Some(libc::MS_PRIVATE | REC));
        assert_eq!(propagation("ro"), None);
    }

    #[test]
    fn every_option_that_engines_look_for_is_known() {
        for name in ["rro", "rbind", "nosymfollow", "tmpcopyup", "idmap", "ridmap", "copy-symlink"] {
            assert!(NAMES.contains(&name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_never_sets_and_clears_a_flag(
            list in proptest::collection::vec(
                prop_oneof![".*", proptest::sample::select(NAMES.to_vec()).prop_map(str::to_owned)], 0..12)
        ) {
            let options = parse(&list);
            for attributes in [options.attributes, options.recursive] {
                prop_assert_eq!(attributes.set & attributes.clear & !libc::MOUNT_ATTR__ATIME, 0);
            }
        }
    }
}
