//! Mount options: the first line of an input is the numbers of host and request, then come the type, the destination and
//! the source of a mount, then its options. The list is read, and the mount planned in a config of its own.

#![no_main]

use std::path::PathBuf;

use corten::config::parse;
use corten::rootfs::options::{self, Attributes};
use corten_fuzz::{choice, host, plan, request};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

/// No flag is to be set and cleared; the policies of access times, of which one is set where all are cleared, apart.
fn judge(attributes: Attributes) {
    const ATIME: u64 = 0x70;
    assert_eq!(attributes.set & attributes.clear & !ATIME, 0, "{attributes:?}");
}

fuzz_target!(|input: &[u8]| {
    let ((host_number, request_number), text) = choice(input);
    let Ok(text) = std::str::from_utf8(text) else { return };
    let lines: Vec<&str> = text.split('\n').collect();
    let [typ, destination, source, list @ ..] = &lines[..] else { return };
    let options = options::parse(list);
    judge(options.attributes);
    judge(options.recursive);
    assert!(options.data.windows(2).all(|pair| pair[0].0 < pair[1].0), "{:?}", options.data);
    assert!(options.data.iter().all(|(index, _)| *index < list.len()));
    let user = host_number >= 8 || request_number >= 8;
    let ids = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    let mut document = json!({
        "ociVersion": "1.3.0", "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}},
        "mounts": [{"destination": destination, "type": typ, "source": source, "options": list}],
        "linux": {"namespaces": [{"type": "mount"}, {"type": "cgroup"}]}
    });
    if user {
        document["linux"] =
            json!({"namespaces": [{"type": "mount"}, {"type": "user"}], "uidMappings": ids, "gidMappings": ids});
    }
    let bytes = document.to_string().into_bytes();
    let config = parse::config(PathBuf::from("config.json"), bytes).expect("the document fits the schema");
    plan(&config, &request(request_number, false), &host(host_number));
});
