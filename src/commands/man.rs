//! `corten man`: the manual pages, made from the definition of the command line.

use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;

use crate::cli::{self, ManArgs};
use crate::error::{Doing, Error, Result};
use crate::fault::Call;

/// Writes `corten.8` and a page for each verb, or the first to stdout.
pub fn run(args: ManArgs) -> Result<i32> {
    match args.dir {
        None => super::print(&page(cli::whole()).doing(|| "write the manual page")?)?,
        Some(dir) => {
            std::fs::create_dir_all(&dir).doing(|| format!("make {}", dir.display()))?;
            write_all(&dir)?;
        }
    }
    Ok(0)
}

fn write_all(dir: &Path) -> Result<Vec<PathBuf>> {
    let verbs = cli::VERBS.iter().map(|entry| {
        let name = format!("corten-{}", entry.name);
        (name.clone(), entry.command().display_name(name))
    });
    let mut written = Vec::new();
    for (name, command) in std::iter::once(("corten".to_owned(), cli::whole())).chain(verbs) {
        let path = dir.join(format!("{name}.8"));
        let page = page(command).doing(|| "write the manual page")?;
        std::fs::write(&path, page)
            .map_err(|error| Error::io(format!("write {}", path.display()), Call::Write, &error))?;
        written.push(path);
    }
    Ok(written)
}

/// One page in roff. Section 8 is that of system administration.
fn page(command: Command) -> std::io::Result<Vec<u8>> {
    let version = format!("corten {}", super::version::VERSION);
    let man = Man::new(command.version(super::version::VERSION)).section("8").source(version).manual("corten manual");
    let mut page = Vec::new();
    man.render(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_corten_and_one_for_each_verb() {
        let dir = tempfile::tempdir().unwrap();
        let written = write_all(dir.path()).unwrap();
        assert_eq!(written.len(), 1 + cli::VERBS.len());
        let page = std::fs::read_to_string(dir.path().join("corten-create.8")).unwrap();
        assert!(page.contains("pid\\-file"), "{page}");
        let page = std::fs::read_to_string(dir.path().join("corten.8")).unwrap();
        assert!(page.contains(".TH corten 8"), "{page}");
        assert!(page.contains("systemd\\-cgroup"), "{page}");
    }
}
