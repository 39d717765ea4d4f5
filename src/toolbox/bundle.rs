//! A root file system that holds nothing but the static corten binary: for `corten demo` and `corten spec --with-rootfs`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where the binary stands inside.
pub const PROGRAM: &str = "/bin/corten";

/// Directories that the default config mounts on, so that nothing has to be made at run time.
const DIRECTORIES: &[&str] = &["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp"];

/// The two account files that let `HOME` be found and ids be named.
const FILES: &[(&str, &str)] =
    &[("etc/passwd", "root:x:0:0:root:/root:/bin/corten\n"), ("etc/group", "root:x:0:\ntty:x:5:\n")];

/// Fills `dir` (made if it is missing) with the directories, `/etc/passwd`, and a copy of the running binary as
/// [`PROGRAM`]. The binary must be static, which the release build is. Returns the path of the copy.
pub fn make_rootfs(dir: &Path) -> io::Result<PathBuf> {
    for name in DIRECTORIES {
        fs::create_dir_all(dir.join(name))?;
    }
    fs::set_permissions(dir.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    for (name, content) in FILES {
        fs::write(dir.join(name), content)?;
    }
    let program = dir.join(PROGRAM.trim_start_matches('/'));
    fs::copy("/proc/self/exe", &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(program)
}

/// The arguments of a container that runs the toolbox in such a root: `args(&["pause"])`; without a tool the report.
pub fn args(tool: &[&str]) -> Vec<String> {
    let mut args = vec![PROGRAM.to_owned(), "probe".to_owned()];
    if !tool.is_empty() {
        args.push("--".to_owned());
    }
    args.extend(tool.iter().map(|&word| word.to_owned()));
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_binary_and_what_the_mounts_need() {
        let dir = tempfile::tempdir().unwrap();
        let program = make_rootfs(dir.path()).unwrap();
        assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::metadata(program).unwrap().len(), fs::metadata("/proc/self/exe").unwrap().len());
        assert!(dir.path().join("proc").is_dir());
    }

    #[test]
    fn the_report_needs_no_separator() {
        assert_eq!(args(&[]), ["/bin/corten", "probe"]);
        assert_eq!(args(&["exit", "3"]), ["/bin/corten", "probe", "--", "exit", "3"]);
    }
}
