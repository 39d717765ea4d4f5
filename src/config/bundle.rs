//! Reading config.json of a bundle: the only part of `config` that touches the file system.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::{Config, parse};
use crate::error::{Error, Result};
use crate::fault::{Call, Trouble};

/// The largest file that is read, in bytes. Real ones have 10 to 100 KB, and what a program can be given as arguments and
/// environment has 2 MiB under the usual limit of its stack (execve(2)). The bound keeps `/dev/zero` from being read, and
/// what a hostile file takes at some 300 MB: a list of the shortest entries becomes a hundred times as large in memory.
pub const LARGEST: u64 = 4 * 1024 * 1024;

/// Reads and parses a bundle's config.json, or the file of `--config`, which is relative to the working directory.
///
/// # Errors
/// [`Error::NoConfig`] when there is no such file, [`Error::Syntax`] when it is no JSON or larger than [`LARGEST`],
/// [`Error::Violations`] with every wrong type, missing property and unknown word, [`Error::Os`] when it can't be read.
pub fn load(bundle: &Path, config: Option<&Path>) -> Result<Config> {
    let path = match config {
        Some(path) => bundle.join(path),
        None if !bundle.is_dir() => return Err(no_bundle(bundle)),
        None => bundle.join("config.json"),
    };
    let bytes = read(&path, config.is_none())?;
    parse::config(path, bytes)
}

/// Reads a JSON file whole, such as `--process` of exec and `--resources` of update name it.
///
/// # Errors
/// As [`load`], without violations.
pub fn read_json(path: &Path) -> Result<Vec<u8>> {
    read(path, false)
}

/// The same from stdin, to its end.
///
/// # Errors
/// As [`read_json`].
pub fn read_json_from_stdin() -> Result<Vec<u8>> {
    read_to_end(&mut std::io::stdin().lock(), Vec::new(), Path::new("stdin"))
}

fn read(path: &Path, in_bundle: bool) -> Result<Vec<u8>> {
    let doing = || format!("read {}", path.display());
    let mut file = File::open(path).map_err(|error| match error.kind() {
        // Engines and their tests know the sentence with the bare name.
        ErrorKind::NotFound if in_bundle => Error::NoConfig { path: PathBuf::from("config.json") },
        ErrorKind::NotFound => Error::NoConfig { path: path.to_owned() },
        _ => Error::io(doing(), Call::Open, &error),
    })?;
    let mut bytes = Vec::new();
    let known = file.metadata().map(|metadata| metadata.len()).unwrap_or(0);
    bytes.reserve_exact(known.min(LARGEST) as usize + 1);
    read_to_end(&mut file, bytes, path)
}

fn read_to_end(file: &mut dyn Read, mut bytes: Vec<u8>, path: &Path) -> Result<Vec<u8>> {
    let doing = || format!("read {}", path.display());
    // One byte more than allowed tells "too large" from "just so", whatever the file's size claims.
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| Error::io(doing(), Call::Read, &error))?;
    if bytes.len() as u64 > LARGEST {
        let why = format!("the file is larger than {} MiB", LARGEST >> 20);
        return Err(Error::Syntax { path: path.to_owned(), line: 1, why });
    }
    Ok(bytes)
}

fn no_bundle(bundle: &Path) -> Error {
    let errno = if bundle.exists() { Errno::ENOTDIR } else { Errno::ENOENT };
    Error::os(format!("chdir {}", bundle.display()), Trouble::new(Call::None, errno))
        .hint("--bundle names the directory that holds config.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::{Duration, Instant};

    const SMALL: &str = r#"{"ociVersion": "1.3.0", "root": {"path": "rootfs"}}"#;

    #[test]
    fn the_bundles_config_is_read() {
        let bundle = tempfile::tempdir().unwrap();
        fs::write(bundle.path().join("config.json"), SMALL).unwrap();
        let config = load(bundle.path(), None).unwrap();
        assert_eq!(config.spec.version(), "1.3.0");
        assert_eq!(config.bytes, SMALL.as_bytes());
        assert_eq!(config.path, bundle.path().join("config.json"));
    }

    #[test]
    fn another_file_takes_its_place_even_without_a_bundle() {
        let elsewhere = tempfile::tempdir().unwrap();
        let path = elsewhere.path().join("other.json");
        fs::write(&path, SMALL).unwrap();
        assert_eq!(load(Path::new("/nonexistent"), Some(&path)).unwrap().path, path);
    }

    #[test]
    fn a_missing_file_and_a_missing_bundle_are_told_apart() {
        let bundle = tempfile::tempdir().unwrap();
        let error = load(bundle.path(), None).unwrap_err();
        assert_eq!(error.to_string(), "JSON specification file config.json not found");
        let error = load(Path::new("/nonexistent"), None).unwrap_err();
        assert_eq!(error.to_string(), "chdir /nonexistent: No such file or directory");
        let error = load(bundle.path(), Some(bundle.path())).unwrap_err();
        assert!(matches!(error, Error::Os { .. }), "{error}");
    }

    #[test]
    fn a_file_without_end_is_refused_in_bounded_time() {
        let start = Instant::now();
        let error = load(Path::new("/"), Some(Path::new("/dev/zero"))).unwrap_err();
        assert!(error.to_string().contains("larger than 4 MiB"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn what_is_no_json_is_named_with_its_line() {
        let bundle = tempfile::tempdir().unwrap();
        fs::write(bundle.path().join("config.json"), "{\n\"ociVersion\": \"1.3.0\",\n}").unwrap();
        match load(bundle.path(), None).unwrap_err() {
            Error::Syntax { line, .. } => assert_eq!(line, 3),
            other => panic!("{other}"),
        }
    }
}
