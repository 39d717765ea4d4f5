//! An entry of the cache of compiled filters. Bytes are a program only if it ends with an answer whatever it is asked; an
//! entry is found by its whole key alone, and one that is torn or bent is none.

#![no_main]

use corten::process::seccomp::cache;
use corten::process::seccomp::program::Program;
use corten_fuzz::filter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let key = &input[..input.len().min(24)];
    assert_eq!(cache::parse(input, key), None, "an entry was believed that nobody has made");
    // What stands behind an entry's header is the key and the program.
    let Some((place, rest)) = input.split_first() else { return };
    let (key, bytes) = rest.split_at(usize::from(*place).min(rest.len()));
    let Some(program) = Program::from_bytes(bytes) else { return };
    assert_eq!(program.to_bytes(), bytes);
    for word in [0, 1, 0xc000_003e, u32::MAX] {
        filter::answer(&program, &[word; 16]);
    }
    let entry = cache::render(key, &program);
    assert_eq!(cache::parse(&entry, key).as_ref(), Some(&program));
    let mut bent = entry.clone();
    bent[usize::from(*place) * 7 % entry.len()] ^= 1 << (place % 8);
    assert_eq!(cache::parse(&bent, key), None, "a bent entry was believed");
    assert_eq!(
        cache::parse(&entry[..entry.len() - 1 - usize::from(*place) % 9], key),
        None,
        "a torn entry was believed"
    );
    assert_eq!(cache::parse(&entry, &[key, b"x"].concat()), None, "an entry was found by another key");
});
