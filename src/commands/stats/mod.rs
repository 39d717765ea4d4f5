//! `corten stats [--no-stream] [--json] [ID...]`: what containers use, for people.
//!
//! Two looks make a table, because a share of CPU is one of a time. It ends when it is told to, when nobody reads any
//! more, and when all containers that were named have ended.

mod screen;
mod table;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::events::is_reader_gone;
use crate::cgroups::stats;
use crate::cli::{Globals, StatsArgs};
use crate::container::{ContainerId, Record, Status, Store, Warning, events};
use crate::error::{Doing, Error, Result};
use crate::fault::{Call, During};
use crate::log::Log;
use screen::Screen;
use table::{Row, Sample};

/// The time of the first table, in milliseconds, and that of all others.
const FIRST_MS: u16 = 250;
const INTERVAL_MS: u16 = 1000;

pub fn run(globals: &Globals, args: StatsArgs, log: &mut Log) -> Result<i32> {
    let named = args.ids.iter().map(|id| ContainerId::parse(id)).collect::<Result<Vec<_>>>()?;
    let store = Store::open(&globals.root)?;
    for id in &named {
        let (dir, record) = store.load(id)?;
        events::running(&record, dir.status(&record)?)?;
    }
    let signals = block_signals()?;
    let mut screen = Screen::new(args.json);
    let mut before = look(globals, &named, |warning| log.warn(warning))?;
    let mut time = FIRST_MS;
    while wait(&signals, time)? {
        // What is damaged doesn't mend while one looks: told once.
        let now = look(globals, &named, |_| ())?;
        let memory = table::total_memory(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default());
        let earlier = |sample: &Sample| before.iter().find(|earlier| earlier.is_of(sample));
        let rows: Vec<Row> = now.iter().map(|sample| Row::between(earlier(sample), sample, memory)).collect();
        match screen.show(&rows) {
            Err(error) if is_reader_gone(&error) => break,
            shown => shown?,
        }
        if args.no_stream || (!named.is_empty() && rows.is_empty()) {
            break;
        }
        (before, time) = (now, INTERVAL_MS);
    }
    Ok(0)
}

/// The containers that run, in the order of their ids: those that are named, or all.
fn look(globals: &Globals, named: &[ContainerId], mut warn: impl FnMut(Warning)) -> Result<Vec<Sample>> {
    // Anew, because the state root may come and go with its containers.
    let store = Store::open(&globals.root)?;
    let ids = if named.is_empty() { store.ids()? } else { named.to_vec() };
    let mut samples = Vec::new();
    for id in ids {
        match store.load(&id).and_then(|(dir, record)| dir.status(&record).map(|status| (record, status))) {
            Ok((record, status)) => samples.extend(sample(record, status)?),
            Err(Error::NoSuchContainer { .. }) => {}
            Err(error) => warn(Warning::plain(error.to_string())),
        }
    }
    Ok(samples)
}

fn sample(record: Record, status: Status) -> Result<Option<Sample>> {
    match events::running(&record, status) {
        Ok(init) => Ok(Some(Sample::new(record.id, status, init, stats::probe(&record.group)?))),
        Err(_) => Ok(None),
    }
}

/// The signals that end a live table, so that it ends between two tables.
fn block_signals() -> Result<SignalFd> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        signals.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None).doing(|| "block signals")?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).doing(|| "open signals as a descriptor")
}

/// Waits that many milliseconds; `false` when there is no reason to go on: a signal, or a reader of stdout that has gone.
fn wait(signals: &SignalFd, milliseconds: u16) -> Result<bool> {
    let deadline = Instant::now() + Duration::from_millis(milliseconds.into());
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let stdout = std::io::stdout();
        let mut watched =
            [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(stdout.as_fd(), PollFlags::empty())];
        match poll(&mut watched, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => return Ok(true),
            Ok(_) => return Ok(false),
            Err(Errno::EINTR) => {}
            failed => {
                failed.during(Call::Poll).doing(|| "wait for the next table")?;
            }
        }
    }
}
