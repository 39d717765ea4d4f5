//! Every call that a profile could tell apart from another, put to all three: corten's program, libseccomp's plain one, and
//! the profile read literally.

use std::collections::BTreeSet;

use super::bpf::{Call, Program};
use super::literal::{self, ENOSYS, Profile, X32_BIT};

/// More combinations of arguments than this for one number are thinned out.
const COMBINATIONS: usize = 200;

/// What libseccomp itself makes of the profile.
pub struct Library {
    pub plain: Program,
    pub tree: Program,
}

/// What a sweep has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub cases: usize,
    /// Cases that are newer than the profile.
    pub newer: usize,
    /// Cases in which entries of the profile disagree, so that only the two programs can be compared.
    pub torn: usize,
    /// Cases in which libseccomp's plain program is known to be wrong, and is.
    pub misjudged: usize,
    /// Answers of corten's programs that are wrong because libseccomp's tree is.
    pub wrong: usize,
    /// Answers of corten's programs that aren't those of libseccomp's plain one.
    pub different: usize,
    /// Profiles about which libseccomp's tree isn't known to be wrong: corten's answers must be literally right.
    pub exact: usize,
    /// Profiles that libseccomp and corten refuse both.
    pub refused: usize,
    /// The most instructions that a case took.
    pub longest: usize,
}

impl Count {
    pub fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.newer += other.newer;
        self.torn += other.torn;
        self.misjudged += other.misjudged;
        self.wrong += other.wrong;
        self.different += other.different;
        self.exact += other.exact;
        self.refused += other.refused;
        self.longest = self.longest.max(other.longest);
    }
}

/// Which numbers are tried.
#[derive(Clone, Copy)]
pub enum Numbers {
    /// All that any of the architectures has, and those around every border.
    All,
    /// Those of the profile with their neighbours, and those around every border.
    Mentioned,
}

/// Architectures: all that the reader knows, two that it doesn't (s390x, and nonsense), and none.
const AUDITS: [u32; 8] = [
    literal::AUDIT_X86_64,
    literal::AUDIT_I386,
    literal::AUDIT_AARCH64,
    literal::AUDIT_ARM,
    literal::AUDIT_RISCV64,
    0x8000_0016,
    0xdead_beef,
    0,
];

fn numbers(profile: &Profile, audit: u32, which: Numbers) -> BTreeSet<u32> {
    let around = |number: u32| [number.wrapping_sub(1), number, number.wrapping_add(1)];
    let borders = [0, 1024, X32_BIT, X32_BIT | 512, 1 << 31, 1 << 31 | X32_BIT, u32::MAX, 0x000f_0000].map(around);
    let mut all: BTreeSet<u32> = borders.into_iter().flatten().collect();
    all.extend(profile.numbers().filter(|(of, _)| *of == audit).flat_map(|(_, number)| around(number)));
    if matches!(which, Numbers::All) {
        all.extend(0..=1024);
        all.extend(X32_BIT..=X32_BIT + 1024);
        all.extend(0x000f_0000..=0x000f_0010);
    }
    all
}

/// All combinations of the edges, with the arguments that nobody mentions once all zeros and once all ones.
fn arguments(mut edges: Vec<(usize, Vec<u64>)>) -> Vec<[u64; 6]> {
    while edges.iter().map(|(_, values)| values.len()).product::<usize>() > COMBINATIONS {
        let longest = edges.iter_mut().max_by_key(|(_, values)| values.len()).expect("there are edges");
        let mut at = 0;
        longest.1.retain(|_| {
            at += 1;
            at % 3 != 0
        });
    }
    let mut all = vec![[0; 6], [u64::MAX; 6]];
    for (index, values) in edges {
        let with = |args: &[u64; 6], value: u64| {
            let mut args = *args;
            args[index] = value;
            args
        };
        all = all.iter().flat_map(|args| values.iter().map(|value| with(args, *value)).collect::<Vec<_>>()).collect();
    }
    all
}

/// Panics at the first call on which they don't agree.
pub fn compare(profile: &Profile, subjects: &[(&str, &Program)], library: &Library, which: Numbers) -> Count {
    let misjudged = profile.is_misjudged();
    let mut count = Count { exact: usize::from(!misjudged), ..Count::default() };
    for audit in AUDITS {
        for nr in numbers(profile, audit, which) {
            let newer = profile.is_newer(audit, nr);
            for args in arguments(profile.edges(audit, nr)) {
                let call = Call { nr, arch: audit, instruction_pointer: u64::MAX - u64::from(nr), args };
                let plain = library.plain.run(&call).expect("libseccomp's program runs").0;
                let literally = profile.verdicts(audit, nr, &args);
                let agree = literally.contains(&plain);
                assert!(
                    agree || misjudged || profile.has_numberless(),
                    "{call:x?}: libseccomp says {plain:#x}, the profile {literally:x?}"
                );
                let wanted = match (newer, agree) {
                    (true, _) => BTreeSet::from([ENOSYS]),
                    // Where libseccomp is wrong with its tree too, corten's program can only be that one.
                    _ if misjudged => BTreeSet::from([library.tree.run(&call).expect("the tree runs").0]),
                    (false, true) => BTreeSet::from([plain]),
                    (false, false) => literally.clone(),
                };
                for (name, subject) in subjects {
                    let (verdict, steps) =
                        subject.run(&call).unwrap_or_else(|flaw| panic!("{name}, {call:x?}: {flaw}"));
                    assert!(wanted.contains(&verdict), "{name}, {call:x?}: {verdict:#x} instead of {wanted:x?}");
                    count.longest = count.longest.max(steps);
                    count.different += usize::from(!newer && verdict != plain);
                    count.wrong += usize::from(!newer && !literally.contains(&verdict));
                }
                count.cases += 1;
                count.newer += usize::from(newer);
                count.torn += usize::from(literally.len() > 1);
                count.misjudged += usize::from(!agree);
            }
        }
    }
    count
}
