//! The files of `exec --process` and `mounts add`, parsed, judged and planned, and that of `update --resources`, parsed and
//! judged.

#![no_main]

use std::path::Path;

use corten::config::{parse, validate};
use corten_fuzz::{choice, complaints_lead_somewhere, exec_plan, host, judge_error, mounts_plan, mutate};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fn judged(number: u8, bytes: &[u8]) -> String {
    let process = match parse::process(Path::new("process.json"), bytes) {
        Ok((process, warnings)) => {
            let violations = validate::validate_process(&process, bytes);
            complaints_lead_somewhere(&violations);
            let planned = violations.is_empty().then(|| exec_plan(process, &host(number)));
            format!("{violations:?}{warnings:?}{planned:?}")
        }
        Err(error) => {
            judge_error(&error);
            error.to_string()
        }
    };
    let resources = match parse::resources(Path::new("resources.json"), bytes) {
        Ok(resources) => {
            let violations = validate::validate_resources(&resources, bytes);
            complaints_lead_somewhere(&violations);
            format!("{violations:?}")
        }
        Err(error) => {
            judge_error(&error);
            error.to_string()
        }
    };
    let mounts = match parse::mounts(Path::new("mounts.json"), bytes) {
        Ok(mounts) => mounts_plan(mounts, &host(number)),
        Err(error) => {
            judge_error(&error);
            error.to_string()
        }
    };
    format!("{process}{resources}{mounts}")
}

fuzz_target!(|input: &[u8]| {
    let ((number, _), bytes) = choice(input);
    let first = judged(number, bytes);
    if input.len() % 4 == 0 {
        assert_eq!(first, judged(number, bytes), "the second look says something else");
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max: usize, seed: u32| {
    let full = mutate::full();
    let template = match seed % 4 {
        0 => &full["linux"]["resources"],
        1 => &full["mounts"],
        _ => &full["process"],
    };
    mutate::json(data, size, max, seed, template)
});
