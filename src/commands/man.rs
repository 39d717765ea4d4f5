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
    let overview = command.has_subcommands();
    let see_also = if overview { "runc(8), crun(1), namespaces(7), cgroups(7)" } else { "corten(8)" };
    let extra = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (text, examples) = extra.split_once("Examples:\n").unwrap_or(("", &extra));
    let mut sections = vec![("EXAMPLES", examples)];
    if overview {
        sections.push(("FILES", FILES));
    }
    sections.extend([("EXIT STATUS", EXIT_STATUS), ("SEE ALSO", see_also)]);

    let command = if overview { without_pages(command) } else { command };
    let man = Man::new(command).section("8").source(version).manual("corten manual");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if !text.trim().is_empty() {
        page.extend(b".PP\n");
        page.extend(roff(text.trim()));
    }
    if overview {
        man.render_subcommands_section(&mut page)?;
    }
    for (heading, text) in sections {
        page.extend(format!(".SH {heading:?}\n.nf\n").into_bytes());
        page.extend(roff(text));
        page.extend(b".fi\n");
    }
    Ok(page)
}

const FILES: &str = "\
/run/corten/ID                the state of a container (see --root)
$XDG_RUNTIME_DIR/corten/ID    the same for a caller without privileges
BUNDLE/config.json            what the container shall be, see runtime-spec";

const EXIT_STATUS: &str = "\
0      success
1      an error, which is told on stderr and in the log
3      there is no such command
N      of `run` without --detach: the code of the container's program
128+N  of `run` without --detach: signal N ended the program";

/// The commands that have no page of their own.
fn without_pages(overview: Command) -> Command {
    overview.mut_subcommand("help", |help| help.hide(true)).mut_subcommand("version", |version| version.hide(true))
}

/// Text as roff that shows it as it is: a backslash, a dash and a leading dot or quote mean something there.
fn roff(text: &str) -> Vec<u8> {
    let mut roff = String::new();
    for line in text.lines() {
        if line.starts_with(['.', '\'']) {
            roff.push_str("\\&");
        }
        roff.push_str(&line.replace('\\', "\\e").replace('-', "\\-"));
        roff.push('\n');
    }
    roff.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_as_it_is() {
        let shown = roff(".a\n'b\n-c \\d\n");
        assert_eq!(String::from_utf8(shown).unwrap(), "\\&.a\n\\&'b\n\\-c \\ed\n");
    }

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
