//! Tools that look at and change files: the way a test finds out what a mount, a mask or a user id really allows.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};

use nix::mount::{MntFlags, MsFlags};

use super::{Entry, Failure, Next, Outcome, entry, print};

pub(super) const TOOLS: &[Entry] = &[
    entry("cat", "FILE", cat),
    entry("write", "FILE TEXT  (creates or truncates)", |args| write(args, true)),
    entry("append", "FILE TEXT  (the file must exist: opened for writing only)", |args| write(args, false)),
    entry("open", "FILE r|w|rw  (opens and closes it)", open),
    entry("ls", "DIR  (sorted, one name a line)", ls),
    entry("find", "DIR  (every path below, sorted)", find),
    entry("stat", "PATH...  (kind mode uid gid major:minor size, symlinks not followed)", stat),
    entry("readlink", "PATH", |args| print(&fs::read_link(one(args, "readlink PATH")?)?.to_string_lossy())),
    entry("realpath", "PATH", |args| print(&fs::canonicalize(one(args, "realpath PATH")?)?.to_string_lossy())),
    entry("statfs", "PATH  (magic, ro or rw)", statfs),
    entry("mkdir", "DIR  (parents too)", |args| done(fs::create_dir_all(one(args, "mkdir DIR")?))),
    entry("rm", "PATH", |args| done(fs::remove_file(one(args, "rm PATH")?))),
    entry("symlink", "TARGET LINK", |args| {
        let (target, link) = two(args, "symlink TARGET LINK")?;
        done(symlink(target, link))
    }),
    entry("chmod", "MODE PATH  (octal)", |args| {
        let (mode, path) = two(args, "chmod MODE PATH")?;
        done(fs::set_permissions(path, fs::Permissions::from_mode(u32::from_str_radix(mode, 8)?)))
    }),
    entry("chdir", "DIR", |args| done(std::env::set_current_dir(one(args, "chdir DIR")?))),
    entry("pwd", "", |_| print(&std::env::current_dir()?.to_string_lossy())),
    entry("mknod", "PATH MAJOR MINOR  (character device)", mknod),
    entry("mount", "SOURCE TARGET TYPE", mount),
    entry("bind", "SOURCE TARGET", bind),
    entry("umount", "TARGET", |args| {
        nix::mount::umount2(one(args, "umount TARGET")?, MntFlags::MNT_DETACH)?;
        Ok(Next::On)
    }),
];

/// The only argument of a tool.
pub(super) fn one<'a>(args: &[&'a str], usage: &str) -> Result<&'a str, Failure> {
    match args {
        [arg] => Ok(arg),
        _ => Err(Failure::usage(usage)),
    }
}

/// The two arguments of a tool.
pub(super) fn two<'a>(args: &[&'a str], usage: &str) -> Result<(&'a str, &'a str), Failure> {
    match args {
        [a, b] => Ok((a, b)),
        _ => Err(Failure::usage(usage)),
    }
}

pub(super) fn done(result: io::Result<()>) -> Outcome {
    result?;
    Ok(Next::On)
}

fn cat(args: &[&str]) -> Outcome {
    let mut content = Vec::new();
    fs::File::open(one(args, "cat FILE")?)?.read_to_end(&mut content)?;
    let mut out = io::stdout().lock();
    out.write_all(&content)?;
    out.flush()?;
    Ok(Next::On)
}

fn write(args: &[&str], create: bool) -> Outcome {
    let (path, text) = two(args, "write FILE TEXT")?;
    let mut options = OpenOptions::new();
    options.write(true).create(create).truncate(create).custom_flags(libc::O_NOCTTY);
    done(options.open(path)?.write_all(text.as_bytes()))
}

fn open(args: &[&str]) -> Outcome {
    let usage = "open FILE r|w|rw";
    let (path, letters) = two(args, usage)?;
    if !["r", "w", "rw"].contains(&letters) {
        return Err(Failure::usage(usage));
    }
    let mut options = OpenOptions::new();
    options.read(letters.contains('r')).write(letters.contains('w')).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK);
    done(options.open(path).map(drop))
}

fn sorted_names(dir: &str) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for item in fs::read_dir(dir)? {
        names.push(item?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn ls(args: &[&str]) -> Outcome {
    for name in sorted_names(one(args, "ls DIR")?)? {
        print(&name)?;
    }
    Ok(Next::On)
}

fn find(args: &[&str]) -> Outcome {
    let mut waiting = vec![one(args, "find DIR")?.to_owned()];
    while let Some(path) = waiting.pop() {
        print(&path)?;
        if fs::symlink_metadata(&path)?.is_dir() {
            let below = sorted_names(&path)?.into_iter().rev();
            waiting.extend(below.map(|name| format!("{}/{name}", path.trim_end_matches('/'))));
        }
    }
    Ok(Next::On)
}

/// Kind as one word: what `stat` prints and the report's device list uses.
pub(super) fn kind(file: fs::FileType) -> &'static str {
    match file {
        f if f.is_dir() => "dir",
        f if f.is_symlink() => "link",
        f if f.is_char_device() => "char",
        f if f.is_block_device() => "block",
        f if f.is_fifo() => "fifo",
        f if f.is_socket() => "socket",
        _ => "file",
    }
}

fn stat(args: &[&str]) -> Outcome {
    for path in args {
        let meta = fs::symlink_metadata(path)?;
        let (major, minor) = (libc::major(meta.rdev()), libc::minor(meta.rdev()));
        let mode = meta.mode() & 0o7777;
        let (uid, gid, size) = (meta.uid(), meta.gid(), meta.len());
        print(&format!("{} {mode:04o} {uid} {gid} {major}:{minor} {size}", kind(meta.file_type())))?;
    }
    Ok(Next::On)
}

fn statfs(args: &[&str]) -> Outcome {
    let stats = nix::sys::statfs::statfs(one(args, "statfs PATH")?)?;
    let mode = if stats.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY) { "ro" } else { "rw" };
    print(&format!("{:#x} {mode}", stats.filesystem_type().0))
}

fn mknod(args: &[&str]) -> Outcome {
    use nix::sys::stat::{Mode, SFlag, makedev};
    let [path, major, minor] = args else { return Err(Failure::usage("mknod PATH MAJOR MINOR")) };
    nix::sys::stat::mknod(
        *path,
        SFlag::S_IFCHR,
        Mode::from_bits_truncate(0o666),
        makedev(major.parse()?, minor.parse()?),
    )?;
    Ok(Next::On)
}

fn mount(args: &[&str]) -> Outcome {
    let [source, target, kind] = args else { return Err(Failure::usage("mount SOURCE TARGET TYPE")) };
    nix::mount::mount(Some(*source), *target, Some(*kind), MsFlags::empty(), None::<&str>)?;
    Ok(Next::On)
}

fn bind(args: &[&str]) -> Outcome {
    let (source, target) = two(args, "bind SOURCE TARGET")?;
    nix::mount::mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
    Ok(Next::On)
}
