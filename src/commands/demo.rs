//! `corten demo [DIR]`: runs a container from nothing, so that someone who has just built corten sees isolation at work.
//!
//! The bundle is made on the spot, as `corten spec --with-rootfs` makes it: a root file system that holds only this
//! binary, and the toolbox as its program. It is run as `corten run` runs any other bundle.

use std::fs;
use std::path::{Path, PathBuf};

use super::{print, run as run_verb, spec};
use crate::cli::{DemoArgs, Globals, LaunchArgs, RunArgs, SpecArgs};
use crate::error::{Error, Result};
use crate::fault::Call;
use crate::host::Host;
use crate::log::Log;
use crate::namespaces::Kind;
use crate::toolbox::bundle::PROGRAM;

pub fn run(globals: &Globals, args: DemoArgs, log: &mut Log) -> Result<i32> {
    let place = Place::make(args.dir)?;
    let dir = place.dir.clone();
    let rootless = globals.rootless.applies(&Host::probe());
    spec::make(SpecArgs { bundle: dir.clone(), file: None, from: None, rootless, with_rootfs: true })?;
    let id = format!("corten-demo-{}", std::process::id());
    let text = format!(
        "A container is about to run from the bundle {}.\nIts root file system holds one program: {PROGRAM}. \
         What follows is that program's view from inside.\n\n",
        dir.display()
    );
    print(text.as_bytes())?;
    let launch = LaunchArgs {
        id,
        bundle: dir.clone(),
        config: None,
        console_socket: None,
        pidfd_socket: None,
        pid_file: None,
        no_pivot: false,
        no_new_keyring: false,
        preserve_fds: 0,
    };
    let code = run_verb::run(globals, RunArgs { launch, detach: false, keep: false, no_subreaper: false }, log)?;
    print(outro(&place).as_bytes())?;
    Ok(code)
}

/// The host's side of the comparison, and where to go from here.
fn outro(place: &Place) -> String {
    let hostname = nix::unistd::gethostname().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut text = format!("\nOn the host, the same names stand for:\n  host name   {hostname}\n  namespaces ");
    for kind in Kind::ALL {
        if let Ok(link) = fs::read_link(format!("/proc/self/ns/{}", kind.proc_name())) {
            text.push_str(&format!(" {}", link.display()));
        }
    }
    text.push_str("\nNamespaces whose number differs above are the container's own; it shares the others.\n");
    let dir = place.dir.display();
    if place.keep {
        text.push_str(&format!(
            "\nThe bundle stays in {dir}. Next: `corten plan -b {dir}`, `corten run -b {dir} web`.\n"
        ));
    } else {
        text.push_str("\nNext: `corten spec --with-rootfs -b /tmp/web`, `corten plan -b /tmp/web`, `corten run -b /tmp/web web`.\n");
    }
    text
}

/// The directory of a demo, removed again when the demo ends, unless the user named it.
struct Place {
    dir: PathBuf,
    keep: bool,
}

impl Place {
    fn make(named: Option<PathBuf>) -> Result<Place> {
        if let Some(dir) = named {
            return Ok(Place { dir, keep: true });
        }
        let base = std::env::temp_dir();
        for n in 0..100 {
            let dir = base.join(format!("corten-demo-{}-{n}", std::process::id()));
            match fs::create_dir(&dir) {
                Ok(()) => return Ok(Place { dir, keep: false }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(made(&dir, &error)),
            }
        }
        Err(made(&base, &std::io::Error::from_raw_os_error(libc::EEXIST)))
    }
}

fn made(dir: &Path, error: &std::io::Error) -> Error {
    Error::io(format!("make a directory for the demo in {}", dir.display()), Call::Mkdir, error)
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.keep {
            // Nothing is mounted here: the container's mounts lived and died in its own namespace.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
