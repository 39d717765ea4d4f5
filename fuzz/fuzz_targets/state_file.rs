//! What later verbs read of a container's directory: `state.json`, and the file `steps` with the step page and the words
//! behind it. A record that is taken names a pid that may be signalled, and is written again as the same.

#![no_main]

use corten::container::{Record, Status};
use corten::process::report;
use corten_fuzz::judge_error;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    match Record::parse("web", input) {
        Ok(record) => {
            assert_eq!(record.id, "web");
            assert!(record.init.is_none_or(|init| init.pid > 1), "{:?} would be signalled", record.init);
            let bytes = record.render().expect("what came from JSON goes back");
            assert_eq!(Record::parse("web", &bytes).expect("it was taken before"), record);
            let _ = record.state_json(Status::Running);
        }
        Err(error) => judge_error(&error),
    }
    if let Some(error) = report::fault_in(input) {
        judge_error(&error);
    }
});
