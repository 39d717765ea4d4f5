//! A sandbox: one test's directory, state root, containers and processes, and the check that all of it is gone.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, umount2};
use serde_json::Value;

use super::bundle::{Bundle, BundleBuilder};
use super::container::Container;
use super::runtime::{Call, Flavour, Output, Running};
use super::suite::skip;

/// What one test may touch. Everything is below [`Sandbox::dir`].
pub struct Sandbox {
    dir: PathBuf,
    probe: PathBuf,
    ids: RefCell<Vec<String>>,
    mounts: RefCell<Vec<PathBuf>>,
    count: Cell<u32>,
}

/// The runtime under test: `CORTEN_UNDER_TEST`, or the binary that this build made.
pub fn runtime_path() -> PathBuf {
    std::env::var_os("CORTEN_UNDER_TEST").map_or_else(|| env!("CARGO_BIN_EXE_corten").into(), PathBuf::from)
}

/// One copy of the static binary a suite; bundles link to it.
fn probe_binary(suite: &Path) -> PathBuf {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    let copy = || {
        let dir = suite.join("bin");
        fs::create_dir_all(&dir).expect("make bin");
        let probe = dir.join("probe");
        fs::copy(env!("CARGO_BIN_EXE_corten"), &probe).expect("copy the toolbox");
        // A second copy that an ordinary user can reach, wherever the build directory is.
        fs::copy(runtime_path(), dir.join("runtime")).expect("copy the runtime");
        probe
    };
    PROBE.get_or_init(copy).clone()
}

/// Whether this is a control group and not a plain directory: the suite may cover a hierarchy (see its own mounts).
fn is_cgroup(path: &Path) -> bool {
    use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};
    statfs(path).is_ok_and(|fs| [CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC].contains(&fs.filesystem_type()))
}

/// Every cgroup below a directory, each before those inside it; links (v1 has some, `cpu` for `cpu,cpuacct`) aren't followed.
pub(super) fn cgroups_below(dir: &Path) -> Vec<PathBuf> {
    let items = fs::read_dir(dir).into_iter().flatten().flatten();
    let below = items.filter(|item| item.file_type().is_ok_and(|kind| kind.is_dir())).map(|item| item.path());
    below.filter(|path| is_cgroup(path)).flat_map(|path| [vec![path.clone()], cgroups_below(&path)].concat()).collect()
}

fn followed_by_digit(name: &str, end: usize) -> bool {
    name[end..].starts_with(|c: char| c.is_ascii_digit())
}

impl Sandbox {
    pub(super) fn new(suite: &Path, name: &str) -> Sandbox {
        let dir = suite.join(name.replace("::", "-"));
        fs::create_dir(&dir).expect("make the sandbox");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("open the sandbox");
        let probe = probe_binary(suite);
        Sandbox { dir, probe, ids: RefCell::default(), mounts: RefCell::default(), count: Cell::new(0) }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path in the sandbox.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The state root that every call gets as `--root`.
    pub fn state_root(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub fn probe_binary(&self) -> &Path {
        &self.probe
    }

    /// The copy of the runtime that an ordinary user may run.
    pub fn shared_runtime(&self) -> PathBuf {
        self.probe.with_file_name("runtime")
    }

    /// The next number in this sandbox.
    pub fn number(&self) -> u32 {
        self.count.set(self.count.get() + 1);
        self.count.get()
    }

    /// A container id that nobody else has.
    pub fn id(&self) -> String {
        let name = self.dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let hash = name.bytes().fold(0u32, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
        let id = format!("ct-{}-{hash:x}-{}", std::process::id(), self.number());
        self.ids.borrow_mut().push(id.clone());
        id
    }

    pub fn flavour(&self) -> Flavour {
        Flavour::under_test()
    }

    /// Skips the test for any other runtime than corten.
    pub fn only_corten(&self, why: &str) {
        if self.flavour() != Flavour::Corten {
            skip(format!("only corten {why}"));
        }
    }

    /// Skips for an ordinary user, in a file whose other tests are for anyone.
    pub fn needs_root(&self) {
        if !nix::unistd::geteuid().is_root() {
            skip("it needs root");
        }
    }

    /// Skips where the counters of a cgroup go with its last process: systemd removes a scope then.
    pub fn needs_counters_of_the_dead(&self) {
        if super::by_systemd() {
            skip("systemd removes the counters of a scope with its last process");
        }
    }

    /// Skips where systemd makes the control groups: the test is about a path of corten's own.
    pub fn needs_cgroupfs(&self) {
        if super::by_systemd() {
            skip("the path is one of corten's own driver");
        }
    }

    /// Skips when a program of the machine is missing.
    pub fn needs_program(&self, path: &str, package: &str) {
        if !Path::new(path).exists() {
            skip(format!("{path} is missing (package {package})"));
        }
    }

    /// Skips where no user namespace can be made: in a chroot (unshare(2), EPERM), or where a sysctl forbids it.
    pub fn needs_user_namespaces(&self) {
        static MADE: OnceLock<bool> = OnceLock::new();
        let make = || {
            let call = std::process::Command::new("unshare").args(["--user", "true"]).output();
            call.is_ok_and(|output| output.status.success())
        };
        if !*MADE.get_or_init(make) {
            skip("user namespaces can't be made here (in a chroot, for example)");
        }
    }

    /// Whether the kernel has memory policies at all (CONFIG_NUMA): it shows them of every process then.
    pub fn has_memory_policies(&self) -> bool {
        Path::new("/proc/self/numa_maps").exists()
    }

    pub fn needs_memory_policies(&self) {
        if !self.has_memory_policies() {
            skip("this kernel has no memory policies (CONFIG_NUMA)");
        }
    }

    /// A directory with this content: (path, text); a path that ends in `/` is a directory.
    pub fn tree(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let top = self.path(name);
        fs::create_dir_all(&top).expect("make a directory");
        for (path, text) in files {
            let path = top.join(path);
            if path.to_string_lossy().ends_with('/') {
                fs::create_dir_all(path).expect("make a directory");
            } else {
                fs::create_dir_all(path.parent().unwrap_or(&top)).expect("make a directory");
                fs::write(path, text).expect("write a file");
            }
        }
        top
    }

    /// Mounts something for the test (in the suite's own namespace); it is unmounted with the sandbox.
    pub fn mount(&self, source: &str, target: &Path, kind: Option<&str>, flags: MsFlags, data: &str) {
        self.needs_root();
        let data = (!data.is_empty()).then_some(data);
        nix::mount::mount(Some(source), target, kind, flags, data).expect("mount for the test");
        self.mounts.borrow_mut().push(target.to_owned());
    }

    /// A tmpfs mounted on a new directory.
    pub fn tmpfs(&self, name: &str) -> PathBuf {
        let dir = self.path(name);
        fs::create_dir_all(&dir).expect("make a mount point");
        self.mount("tmpfs", &dir, Some("tmpfs"), MsFlags::empty(), "");
        dir
    }

    pub fn bundle(&self) -> BundleBuilder<'_> {
        BundleBuilder::new(self)
    }

    /// A call of the runtime: `sandbox.call(["state", id])`.
    pub fn call<'a>(&'a self, words: impl IntoIterator<Item = &'a str>) -> Call<'a> {
        Call::new(self, words)
    }

    /// `create`, which must succeed.
    #[track_caller]
    pub fn create(&self, bundle: &Bundle) -> Container<'_> {
        self.create_with(bundle, |call| call)
    }

    /// `create` with flags, which must succeed.
    #[track_caller]
    pub fn create_with<'a>(&'a self, bundle: &Bundle, change: impl FnOnce(Call<'a>) -> Call<'a>) -> Container<'a> {
        let id = self.id();
        let call = self.call(["create", "--bundle"]).arg(&bundle.dir);
        let output = change(call).arg(&id).output();
        output.ok();
        Container::new(self, id, output)
    }

    /// `create` and `start`; the container's standard output can be read line by line.
    #[track_caller]
    pub fn started(&self, bundle: &Bundle) -> Container<'_> {
        let container = self.create(bundle);
        container.start();
        container
    }

    /// A foreground `run` with flags; the caller looks at the outcome.
    #[track_caller]
    pub fn run_with<'a>(&'a self, bundle: &Bundle, change: impl FnOnce(Call<'a>) -> Call<'a>) -> Output {
        let id = self.id();
        let call = self.call(["run", "--bundle"]).arg(&bundle.dir);
        change(call).arg(&id).output()
    }

    /// A foreground `run`; the caller looks at the outcome.
    #[track_caller]
    pub fn run(&self, bundle: &Bundle) -> Output {
        self.run_with(bundle, |call| call)
    }

    /// A foreground `run` in the background of the test, with its output as lines.
    #[track_caller]
    pub fn run_in_background(&self, bundle: &Bundle, flags: &[&str]) -> (Running, String) {
        let id = self.id();
        let call = self.call(["run", "--bundle"]).arg(&bundle.dir).args(flags.iter().copied());
        (call.arg(&id).spawn(), id)
    }

    /// Runs the bundle's program, which must be the probe's report, and parses the report.
    #[track_caller]
    pub fn probe(&self, bundle: &Bundle) -> Value {
        let output = self.run(bundle);
        output.ok();
        output.json()
    }

    /// Whatever is left of this sandbox, as words; then removes it.
    pub(super) fn clean_up(&self) -> Vec<String> {
        let mut left = Vec::new();
        for id in self.states() {
            let output = self.call(["delete", "--force"]).arg(&id).output();
            if output.code != 0 {
                left.push(format!("container {id}: {}", output.stderr.trim_end()));
            }
        }
        left.extend(self.states().into_iter().map(|id| format!("state of {id}")));
        for mount in self.mounts.borrow_mut().drain(..).rev() {
            let _ = umount2(&mount, MntFlags::MNT_DETACH);
        }
        left.extend(self.left_mounts());
        left.extend(self.left_processes());
        left.extend(self.left_cgroups());
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            left.push(format!("files in {}: {error}", self.dir.display()));
        }
        left
    }

    /// The containers that the state root still knows. Names with a dot belong to the runtime itself, as does
    /// the cache of filters.
    pub fn states(&self) -> Vec<String> {
        let items = fs::read_dir(self.state_root()).into_iter().flatten().flatten();
        let names = items.map(|item| item.file_name().to_string_lossy().into_owned());
        names.filter(|name| !name.starts_with('.') && name != "~seccomp").collect()
    }

    fn left_mounts(&self) -> Vec<String> {
        let dir = self.dir.to_string_lossy().into_owned();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounts = self.mounts.borrow();
        let by_the_test =
            |line: &str| line.split(' ').nth(4).is_some_and(|at| mounts.iter().any(|m| m.to_str() == Some(at)));
        let ours: Vec<&str> = table.lines().filter(|line| line.contains(&dir) && !by_the_test(line)).collect();
        for line in ours.iter().rev() {
            if let Some(target) = line.split(' ').nth(4) {
                let _ = umount2(target, MntFlags::MNT_DETACH);
            }
        }
        ours.iter().map(|line| format!("mount {line}")).collect()
    }

    /// Processes that see this sandbox in their own mounts or name it in their arguments. One that is just ending
    /// gets a moment; one that stays is killed: it is the test's own.
    fn left_processes(&self) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(3);
        loop {
            let found = self.processes();
            if found.is_empty() {
                return Vec::new();
            }
            if Instant::now() > deadline {
                for pid in &found {
                    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), nix::sys::signal::Signal::SIGKILL);
                }
                return found.iter().map(|pid| format!("process {pid}")).collect();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Living processes of this sandbox.
    pub fn processes(&self) -> Vec<i32> {
        let dir = self.dir.to_string_lossy().into_owned();
        let marked = |pid: &i32| {
            let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let has = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).contains(&dir);
            let stat = String::from_utf8_lossy(&read("stat")).into_owned();
            let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('X');
            !matches!(state, 'Z' | 'X') && (has(read("cmdline")) || has(read("mountinfo")))
        };
        let items = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = items.filter_map(|item| item.file_name().to_string_lossy().parse().ok());
        pids.filter(|pid| *pid != std::process::id() as i32).filter(marked).collect()
    }

    /// Control groups that carry one of this sandbox's ids, wherever they are: a relative path is beside or below the
    /// caller's own, and systemd's units are in slices.
    fn left_cgroups(&self) -> Vec<String> {
        let ids = self.ids.borrow();
        let ours = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // As long as an id is, it isn't the beginning of another one.
            ids.iter().any(|id| name.match_indices(id.as_str()).any(|(at, _)| !followed_by_digit(&name, at + id.len())))
        };
        let mut left: Vec<PathBuf> = cgroups_below(Path::new("/sys/fs/cgroup")).into_iter().filter(ours).collect();
        // Those inside another one come first, so that both can go.
        left.reverse();
        for group in &left {
            let _ = fs::remove_dir(group);
        }
        left.iter().map(|group| format!("control group {}", group.display())).collect()
    }

    /// What is alive, mounted or recorded of this sandbox although it shouldn't be.
    pub fn leftovers(&self) -> Option<String> {
        let mut left: Vec<String> = self.states().into_iter().map(|id| format!("state of {id}")).collect();
        left.extend(self.left_mounts());
        left.extend(self.left_processes());
        left.extend(self.left_cgroups());
        (!left.is_empty()).then(|| left.join("; "))
    }

    /// Asserts that nothing of this sandbox is alive, mounted or recorded; what a failed call must leave.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.leftovers(), None);
    }
}
