//! config.json from bytes to what `corten plan` and `corten check` print: nothing panics, every complaint has its place,
//! every plan keeps the rules of order, and the same input is judged the same way twice.

#![no_main]

use std::path::{Path, PathBuf};

use corten::config::validate::{self, Unread};
use corten::config::{Config, parse, schema, warn};
use corten::error::Error;
use corten_fuzz::{choice, complaints_lead_somewhere, host, judge_error, mutate, plan, request};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fn judged((host_number, request_number): (u8, u8), bytes: &[u8]) -> String {
    let host = host(host_number);
    match parse::config(PathBuf::from("config.json"), bytes.to_vec()) {
        Ok(config) => {
            let terminal = |config: &Config| config.spec.process().as_ref().is_some_and(|p| p.terminal() == Some(true));
            let request = request(request_number, terminal(&config));
            let warnings: Vec<_> =
                config.warnings.iter().cloned().chain(warn::of_host(&config.spec, &host)).collect();
            format!("{}{warnings:?}", plan(&config, &request, &host))
        }
        Err(error) => {
            judge_error(&error);
            let text = error.to_string();
            let Error::Violations(complaints) = error else { return text };
            let unread = Unread { path: Path::new("config.json").to_owned(), bytes: bytes.to_vec(), complaints };
            let (violations, warnings) = validate::judge_the_rest(unread, &request(request_number, true), &host);
            complaints_lead_somewhere(&violations);
            format!("{text}{violations:?}{warnings:?}")
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let (numbers, bytes) = choice(input);
    let first = judged(numbers, bytes);
    // Maps have another order in each process and each time: one in four inputs is looked at again.
    if input.len() % 4 == 0 {
        assert_eq!(first, judged(numbers, bytes), "the second look says something else");
    }
    let _ = schema::unknown_with_advice(bytes);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max: usize, seed: u32| {
    mutate::json(data, size, max, seed, mutate::full())
});
