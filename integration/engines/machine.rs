//! The machine of one engine with one runtime: Debian's packages as its root file system, namespaces and control groups of its
//! own, a network with nothing but loopback. All of it is gone when its first process ends, and the host never sees any of it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::sync::Mutex;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::{Pid, pivot_root};

use crate::apart::{self, BROKEN, Outcome};
use crate::groups::{self, Groups};
use crate::report::Said;

const NONE: Option<&str> = None;
const PREFIX: &str = "corten-engines-";

/// What an engine keeps its images in. Not on the machine's root, which is an overlay: none can lie on another one.
const STORES: [&str; 4] = ["var/lib/containers", "var/lib/docker", "var/lib/containerd", "var/tmp"];

/// The machines' first processes on this side, and whether there may be more.
struct Running {
    ids: Vec<u32>,
    stopped: bool,
}

static RUNNING: Mutex<Running> = Mutex::new(Running { ids: Vec::new(), stopped: false });

fn start(stage: &mut Command) -> std::io::Result<Child> {
    let mut running = RUNNING.lock().expect("no panic");
    if running.stopped {
        return Err(std::io::Error::other("interrupted"));
    }
    let child = stage.spawn()?;
    running.ids.push(child.id());
    Ok(child)
}

/// Whether a signal has ended the machines.
pub fn stopped() -> bool {
    RUNNING.lock().expect("no panic").stopped
}

/// Has SIGINT and SIGTERM end the machines and not the driver, which then removes what it made for them.
pub fn stop_when_interrupted() {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    let _ = set.thread_block();
    std::thread::spawn(move || {
        while set.wait().is_ok() {
            let mut running = RUNNING.lock().expect("no panic");
            running.stopped = true;
            for id in &running.ids {
                let _ = kill(Pid::from_raw(*id as i32), Signal::SIGKILL);
            }
        }
    });
}

/// Runs an engine's scenarios with a runtime; blocks until the machine is gone.
pub fn run(engine: &str, name: &str, path: Option<&Path>, root: &Path, only: &[String], limit: u32) -> Said {
    match on_machine(engine, name, path, root, only, limit) {
        Ok(said) => said,
        Err(error) => Said { reports: Vec::new(), broken: Some(format!("the machine can't be made: {error}")) },
    }
}

/// Runs an engine's scenarios with a runtime on the machine that this is, and leaves there what the engine leaves.
pub fn run_here(engine: &str, name: &str, only: &[String], limit: u32) -> Said {
    // The link would be that of `timeout`.
    let own = std::env::current_exe().unwrap_or_default().display().to_string();
    let mut work = Command::new("timeout");
    work.args(["--signal=KILL", &limit.to_string(), &own, "--scenarios", engine, name]).args(only);
    match work.stdin(Stdio::null()).stderr(Stdio::inherit()).output() {
        Ok(output) => said(&output, limit),
        Err(error) => Said { reports: Vec::new(), broken: Some(format!("the scenarios don't start: {error}")) },
    }
}

/// The reports of a scenarios' process, and how it ended.
fn said(output: &Output, limit: u32) -> Said {
    let broken = match apart::outcome(output.status) {
        Outcome::Exited(0) => None,
        Outcome::Exited(code) => Some(format!("the scenarios' process ended with {code}")),
        Outcome::Signalled(signal) => Some(format!("the scenarios' process died by signal {signal}")),
        Outcome::TimedOut => Some(format!("after {limit} seconds it was stopped")),
        Outcome::Broken => Some("the machine can't be set up".to_owned()),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let reports = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Said { reports, broken }
}

fn on_machine(
    engine: &str,
    name: &str,
    path: Option<&Path>,
    root: &Path,
    only: &[String],
    limit: u32,
) -> std::io::Result<Said> {
    let dir = tempfile::Builder::new().prefix(&format!("{PREFIX}{}-", std::process::id())).tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    for part in ["upper", "work", "root", "log"] {
        fs::create_dir(dir.path().join(part))?;
    }
    for part in STORES {
        fs::create_dir_all(dir.path().join("store").join(part))?;
    }
    let groups = Groups::new(PREFIX, &format!("-{engine}-{name}"))?;
    let runtime = path.map_or_else(String::new, |path| path.display().to_string());
    let (place, lower) = (dir.path().display().to_string(), root.display().to_string());
    let mut stage = Command::new("/proc/self/exe");
    stage.arg("--stage").arg(limit.to_string()).arg(groups.paths().len().to_string()).args(groups.paths());
    stage.args([engine, name, &runtime, &place, &lower]).args(only);
    stage.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let stage = start(&mut stage)?;
    let id = stage.id();
    let output = stage.wait_with_output();
    RUNNING.lock().expect("no panic").ids.retain(|it| *it != id);
    let output = output?;
    let logs = root.with_file_name("logs").join(format!("{engine}-{name}"));
    let _ = fs::remove_dir_all(&logs);
    fs::create_dir_all(&logs)?;
    for item in fs::read_dir(dir.path().join("log"))?.flatten() {
        fs::copy(item.path(), logs.join(item.file_name()))?;
    }
    drop(groups);
    dir.close()?;
    Ok(said(&output, limit))
}

/// Removes the groups and directories of a driver that was killed itself.
pub fn sweep() {
    groups::sweep(PREFIX);
    for item in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = item.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-')).map(|(pid, _)| pid);
        if pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(item.path());
        }
    }
}

/// `--stage LIMIT COUNT GROUP... ENGINE RUNTIME PATH DIR ROOT [ONLY...]`: joins the groups and leaves the namespaces.
pub fn stage(arguments: &[String]) -> ExitCode {
    let [limit, count, rest @ ..] = arguments else { return ExitCode::from(BROKEN) };
    let (groups, rest) = rest.split_at(count.parse::<usize>().unwrap_or(0).min(rest.len()));
    let mut init = vec!["--init"];
    init.extend(rest.iter().map(String::as_str));
    apart::leave(groups, CloneFlags::CLONE_NEWNET, limit.parse().unwrap_or(600), &init)
}

/// `--init ENGINE RUNTIME PATH DIR ROOT [ONLY...]`: mounts, runs the scenarios, and reaps until they have ended.
pub fn init(arguments: &[String]) -> ExitCode {
    let [engine, runtime, path, dir, root, only @ ..] = arguments else { return ExitCode::from(BROKEN) };
    let ready = || -> std::io::Result<()> {
        apart::die_with_parent()?;
        furnish(Path::new(dir), Path::new(root), Path::new(path))?;
        nix::unistd::sethostname("engines")?;
        let up = Command::new("/usr/sbin/ip").args(["link", "set", "lo", "up"]).status()?;
        up.success().then_some(()).ok_or(std::io::Error::other("loopback doesn't come up"))
    };
    if let Err(error) = ready() {
        eprintln!("engines: set up the machine: {error}");
        return ExitCode::from(BROKEN);
    }
    let mut work = Command::new("/proc/self/exe");
    work.args(["--scenarios", engine, runtime]).args(only).env_clear();
    work.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    work.env("HOME", "/root").env("TMPDIR", "/var/tmp").env("LANG", "C.UTF-8");
    work.spawn().map_or(ExitCode::from(BROKEN), apart::reap)
}

/// Builds the root file system in `dir` and enters it.
fn furnish(dir: &Path, lower: &Path, runtime: &Path) -> std::io::Result<()> {
    let hierarchies = groups::hierarchies();
    let root = dir.join("root");
    let at = |place: &str| root.join(place);
    let own = |kind: &str, place: &str, data: &str| -> std::io::Result<()> {
        fs::create_dir_all(at(place))?;
        Ok(mount(Some(kind), &at(place), Some(kind), MsFlags::MS_NOSUID, Some(data).filter(|it| !it.is_empty()))?)
    };
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    let (lower, dir_name) = (lower.display(), dir.display());
    let layers = format!("lowerdir={lower},upperdir={dir_name}/upper,workdir={dir_name}/work");
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(layers.as_str()))?;
    own("proc", "proc", "")?;
    own("sysfs", "sys", "")?;
    own("tmpfs", "run", "mode=755")?;
    own("tmpfs", "tmp", "mode=1777")?;
    furnish_dev(&root)?;
    own("devpts", "dev/pts", "newinstance,ptmxmode=0666,mode=620")?;
    own("tmpfs", "dev/shm", "mode=1777")?;
    own("mqueue", "dev/mqueue", "")?;
    own("tmpfs", "sys/fs/cgroup", "mode=755")?;
    for hierarchy in &hierarchies {
        let place = root.join(hierarchy.mount.strip_prefix("/").unwrap_or(&hierarchy.mount));
        fs::create_dir_all(&place)?;
        hierarchy.mount_at(&place)?;
    }
    for (from, to) in STORES.iter().map(|store| (dir.join("store").join(store), at(store))) {
        fs::create_dir_all(&to)?;
        mount(Some(&from), &to, NONE, MsFlags::MS_BIND, NONE)?;
    }
    fs::create_dir_all(at("var/log/engines"))?;
    mount(Some(&dir.join("log")), &at("var/log/engines"), NONE, MsFlags::MS_BIND, NONE)?;
    if !runtime.as_os_str().is_empty() {
        let place = at("usr/local/bin").join(runtime.file_name().unwrap_or_default());
        fs::write(&place, "")?;
        mount(Some(runtime), &place, NONE, MsFlags::MS_BIND, NONE)?;
    }
    fs::create_dir_all(at("host"))?;
    pivot_root(&root, &at("host"))?;
    std::env::set_current_dir("/")?;
    umount2("/host", MntFlags::MNT_DETACH)?;
    fs::remove_dir("/host")
}

/// A /dev of the machine's own with the devices that engines hand on.
fn furnish_dev(root: &Path) -> std::io::Result<()> {
    let dev = root.join("dev");
    mount(Some("dev"), &dev, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755"))?;
    for name in ["null", "zero", "full", "random", "urandom", "tty", "fuse", "net/tun"] {
        let Ok(there) = fs::metadata(Path::new("/dev").join(name)) else { continue };
        let node = dev.join(name);
        fs::create_dir_all(node.parent().unwrap_or(&dev))?;
        mknod(&node, SFlag::S_IFCHR, Mode::empty(), there.rdev())?;
        fs::set_permissions(&node, fs::Permissions::from_mode(0o666))?;
    }
    symlink("pts/ptmx", dev.join("ptmx"))?;
    for (name, target) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        symlink(Path::new("/proc/self").join(target), dev.join(name))?;
    }
    Ok(())
}
