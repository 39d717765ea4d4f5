//! `linux.seccomp` from its text to a program, by libseccomp. Whatever a filter is asked, its answer is one that the profile
//! names, or that of a call or an architecture that is unknown.

#![no_main]

use std::path::PathBuf;

use corten::config::{parse, validate};
use corten::process::seccomp::{compile, plan};
use corten_fuzz::{choice, complaints_lead_somewhere, filter, host, judge_error, mutate, request};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

/// AUDIT_ARCH_ of x86_64 and of 32-bit x86 (linux/audit.h), and none.
const ARCHITECTURES: [u32; 3] = [0xc000_003e, 0x4000_0003, 7];

/// libseccomp's work grows faster than the profile; how long the largest that is taken needs is a test of its own.
const USUAL: usize = 200;

fuzz_target!(|input: &[u8]| {
    let (_, profile) = choice(input);
    let frame: [&[u8]; 3] = [
        br#"{"ociVersion":"1.3.0","root":{"path":"r"},"linux":{"namespaces":[{"type":"mount"}],"seccomp":"#,
        profile,
        b"}}",
    ];
    let config = match parse::config(PathBuf::from("config.json"), frame.concat()) {
        Ok(config) => config,
        Err(error) => return judge_error(&error),
    };
    let violations = validate::validate(&config, &request(0, false), &host(0));
    complaints_lead_somewhere(&violations);
    let Some(seccomp) = config.spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else { return };
    let size =
        |entry: &oci_spec::runtime::LinuxSyscall| entry.names().len() * (1 + entry.args().iter().flatten().count());
    if !violations.is_empty() || seccomp.syscalls().iter().flatten().map(size).sum::<usize>() > USUAL {
        return;
    }
    let planned = plan::plan_filter(seccomp);
    let program = match compile::compile(&planned) {
        Ok(program) => program,
        Err(refused) => return assert!(!refused.why.is_empty()),
    };
    let own = planned.rules.iter().map(|rule| rule.action).chain([planned.default]).map(filter::number);
    // Of a foreign architecture, and ENOSYS.
    let known: Vec<u32> = own.chain([0, 0x8000_0000, 0x0005_0000 | 38]).collect();
    for architecture in ARCHITECTURES {
        for call in [0, 1, 59, 101, 257, 435, 9999, 0x4000_0000, u32::MAX] {
            for argument in [0, 1, u32::MAX] {
                let mut data = [argument; 16];
                (data[0], data[1]) = (call, architecture);
                let answer = filter::answer(&program, &data);
                assert!(known.contains(&answer), "{answer:#x} for call {call} of {architecture:#x}: {planned:?}");
            }
        }
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max: usize, seed: u32| {
    mutate::json(data, size, max, seed, &mutate::full()["linux"]["seccomp"])
});
