//! `corten demo [DIR]`: runs a container from nothing, so that someone who has just built corten sees isolation at work.
//!
//! The bundle is made on the spot: a root file system that holds only this binary, and the config that `corten spec`
//! writes, with the toolbox as its program. It is run by `corten run` itself, exactly as any other bundle.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::error::{Doing, Error, Result};
use crate::fault::Call;
use crate::toolbox::bundle;

/// The directory of a demo, removed again when the demo ends, unless the user named it.
struct Place {
    dir: PathBuf,
    keep: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.keep {
            // Nothing is mounted here: the container's mounts lived and died in its own namespace.
            if let Err(error) = fs::remove_dir_all(&self.dir) {
                eprintln!("corten demo: {} stays behind: {error}", self.dir.display());
            }
        }
    }
}

/// Makes the bundle in `dir` (kept) or in a temporary directory (removed), runs it with `globals` (`--root DIR` and
/// the like) in front of the verb, and returns the container's exit code.
pub fn run(dir: Option<&Path>, globals: &[String]) -> Result<i32> {
    let place = match dir {
        Some(dir) => Place { dir: dir.to_owned(), keep: true },
        None => Place { dir: temporary_dir()?, keep: false },
    };
    let binary = std::env::current_exe().map_err(|e| Error::io("find corten's own binary", Call::Readlink, &e))?;
    bundle::make_rootfs(&place.dir.join("rootfs"))
        .doing(|| format!("make a root file system in {}", place.dir.display()))?;
    write_config(&binary, &place.dir)?;

    let id = format!("corten-demo-{}", std::process::id());
    println!("A container is about to run from {}.", place.dir.display());
    println!(
        "Its root file system holds one file: {}. What follows is that program's view from inside.\n",
        bundle::PROGRAM
    );
    let status = Command::new(&binary)
        .args(globals)
        .args(["run", "--bundle"])
        .arg(&place.dir)
        .arg(&id)
        .status()
        .map_err(|e| Error::io("start corten run", Call::Spawn, &e))?;
    let code = status.code().unwrap_or(1);
    if code == 0 {
        println!("\n{}", outro());
    }
    if place.keep {
        println!(
            "\nThe bundle stays in {0}: look at {0}/config.json, then `corten run -b {0} NAME`.",
            place.dir.display()
        );
    }
    Ok(code)
}

fn temporary_dir() -> Result<PathBuf> {
    let base = std::env::temp_dir();
    for n in 0..100 {
        let dir = base.join(format!("corten-demo-{}-{n}", std::process::id()));
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io(format!("make the directory {}", dir.display()), Call::Mkdir, &e)),
        }
    }
    Err(Error::Usage(format!("no free name for a demo in {}", base.display())))
}

/// `corten spec`'s config with the toolbox as its program and no terminal.
fn write_config(binary: &Path, dir: &Path) -> Result {
    let path = dir.join("config.json");
    let _ = fs::remove_file(&path);
    let made = Command::new(binary)
        .args(["spec", "--bundle"])
        .arg(dir)
        .status()
        .map_err(|e| Error::io("start corten spec", Call::Spawn, &e))?;
    if !made.success() {
        return Err(Error::Usage(format!("corten spec ended with {made}")));
    }
    let bytes = fs::read(&path).doing(|| format!("read {}", path.display()))?;
    let mut config: Value = serde_json::from_slice(&bytes).map_err(|e| Error::Syntax {
        path: path.clone(),
        line: e.line(),
        why: e.to_string(),
    })?;
    config["hostname"] = json!("corten-demo");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(bundle::args(&[]));
    fs::write(&path, format!("{config:#}\n")).doing(|| format!("write {}", path.display()))
}

/// The host's side of the comparison.
fn outro() -> String {
    let mut text = "On the host, the same names stand for:\n".to_owned();
    let hostname = nix::unistd::gethostname().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    text.push_str(&format!("  host name    {hostname}\n  this process pid {}\n  namespaces  ", std::process::id()));
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        if let Ok(link) = fs::read_link(format!("/proc/self/ns/{kind}")) {
            text.push_str(&format!(" {}", link.display()));
        }
    }
    text.push_str(
        "\nNamespaces whose number differs above are the container's own; the others it shares with the host.",
    );
    text
}
