//! Containers for tests: a state root of their own and a shell in the place of the init.

use std::fs::File;
use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::init::Init;
use super::{ContainerId, Record, Store, fifo};
use crate::process::hooks::Hook;
use crate::sys::spawn::{Child, Spawn, With, spawn, strings};

/// Waits at the fifo (its stdin), lets go of it, and goes on as a program that runs long.
pub const PROGRAM: &str = "head -c1 >/dev/null; exec </dev/null sleep 600";

pub struct Fixture {
    pub root: tempfile::TempDir,
    pub id: ContainerId,
    /// Killed and reaped with the fixture.
    pub init: Child,
    pub record: Record,
}

impl Fixture {
    /// A created container whose init runs `script`.
    pub fn created(script: &str, change: impl FnOnce(&mut Record)) -> Fixture {
        let root = tempfile::tempdir().unwrap();
        let id = ContainerId::parse("web").unwrap();
        let bundle = root.path().to_owned();
        let mut record = Record::new("web", "1.3.0", bundle.clone(), bundle.join("rootfs"));
        let guard = Store::open(&root.path().join("state")).unwrap().create(&id, &record).unwrap();
        let stdin = fifo::make(&guard).unwrap();
        fcntl(&stdin, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let argv = strings(["init", "-c", script]).unwrap();
        let envp = strings(["PATH=/usr/bin:/bin"]).unwrap();
        let stdio = [stdin.as_fd(), null.as_fd(), null.as_fd()];
        let spawned =
            Spawn { path: c"/bin/sh", argv: &argv, envp: &envp, stdio, cwd: None, join: None, with: With::default() };
        let init = spawn(&spawned).unwrap();
        record.creating = false;
        record.init = Some(Init::probe(init.pid()).unwrap());
        change(&mut record);
        guard.commit(&record).unwrap();
        Fixture { root, id, init, record }
    }

    pub fn store(&self) -> Store {
        Store::open(&self.root.path().join("state")).unwrap()
    }

    pub fn status(&self) -> &'static str {
        let (dir, record) = self.store().load(&self.id).unwrap();
        dir.status(&record).unwrap().name()
    }

    pub fn exists(&self) -> bool {
        self.root.path().join("state/web").exists()
    }

    /// A hook that appends its state to a file of the test, then exits so.
    pub fn hook(&self, name: &str, code: i32) -> Hook {
        note(self.root.path().join(name).to_str().unwrap(), code)
    }

    pub fn noted(&self, name: &str) -> String {
        std::fs::read_to_string(self.root.path().join(name)).unwrap_or_default()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // A test may have killed the shell alone; what it was waiting for would then wait for ever.
        let group = nix::unistd::Pid::from_raw(self.init.pid());
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
    }
}

fn note(file: &str, code: i32) -> Hook {
    let script = format!("cat >>{file}; echo said; exit {code}");
    Hook { path: "/bin/sh".into(), args: vec!["sh".into(), "-c".into(), script], env: None, timeout: Some(60) }
}

/// Changes the record of a container that is there already.
pub fn rewrite(fixture: &mut Fixture, change: impl FnOnce(&Fixture, &mut Record)) {
    let mut record = fixture.record.clone();
    change(fixture, &mut record);
    fixture.store().find(&fixture.id).unwrap().lock().unwrap().save(&record).unwrap();
    fixture.record = record;
}
