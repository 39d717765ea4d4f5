//! create, start, state, kill, delete, list: what they do, what they refuse, and the words in which they say it.

use crate::harness::{Case, Sandbox, cases};

pub const CASES: &[Case] = cases![
    a_container_goes_through_its_whole_life,
];

fn a_container_goes_through_its_whole_life(sb: &Sandbox) {
    let container = sb.create(&sb.bundle().tool(["pause"]).build());
    assert_eq!(container.status(), "created");
    container.start();
    assert_eq!(container.status(), "running");
    container.stop();
    assert_eq!(container.status(), "stopped");
    container.verb("delete").ok();
    container.verb("state").fails_with(&["does not exist"]);
}
