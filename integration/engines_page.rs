//! `docs/engines.md` shows the configuration that the engines' scenarios run with, to the letter.

use std::fs;

use crate::cve_table::top;

#[test]
fn the_page_on_engines_shows_what_is_tested() {
    let page = fs::read_to_string(top().join("docs/engines.md")).unwrap();
    for file in ["podman/containers.conf", "containerd/config.toml", "docker/daemon.json"] {
        let text = fs::read_to_string(top().join("integration/engines").join(file)).unwrap();
        assert!(page.contains(&format!("\n{}\n```\n", text.trim_end())), "docs/engines.md doesn't have {file}");
    }
}
