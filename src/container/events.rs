//! What happens in a container, for as long as it lives: what it uses, again and again, and every OOM kill.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::init::{Init, LiveInit};
use super::record::Record;
use super::status::Status;
use crate::cgroups::oom_events::Watch;
use crate::cgroups::rdt;
use crate::cgroups::stats::{self, Stats};
use crate::error::{Doing, Error, Result};
use crate::fault::{Call, During};

/// How often a kernel without pidfds (before 5.3) is asked whether the init lives.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What is told.
pub enum Event {
    Stats(Box<Stats>),
    /// The kernel has killed in the container because its memory limit was reached.
    Oom,
}

/// What the container has used so far; only of one whose init lives.
pub fn stats_of(record: &Record, status: Status) -> Result<Stats> {
    running(record, status)?;
    probe(record)
}

fn probe(record: &Record) -> Result<Stats> {
    let intel_rdt = record.rdt.as_ref().map(rdt::probe).unwrap_or_default();
    Ok(Stats { intel_rdt, ..stats::probe(&record.group)? })
}

/// Tells what it uses every `interval` (above zero), first after one, and OOM kills as they come. Ends when the container
/// ends, or when nobody reads `out` any more, the descriptor that `tell` writes to.
pub fn watch(
    record: &Record,
    status: Status,
    interval: Duration,
    out: BorrowedFd,
    tell: &mut dyn FnMut(Event) -> Result,
) -> Result {
    let init = running(record, status)?;
    let Some(live) = init.hold()? else { return Ok(()) };
    let mut oom = Watch::open(&record.group)?;
    let mut next = Instant::now().checked_add(interval);
    loop {
        let readers_left = wait(&live, oom.as_ref(), out, next)?;
        // Before the look at OOM kills, so that the one that ended the container is among them.
        let ended = !init.alive()?;
        if let Some(watch) = &mut oom {
            let taken = watch.take()?;
            (0..taken.kills).try_for_each(|_| tell(Event::Oom))?;
            if taken.gone {
                oom = None;
            }
        }
        if ended || !readers_left {
            return Ok(());
        }
        if next.is_some_and(|next| next <= Instant::now()) {
            tell(Event::Stats(Box::new(probe(record)?)))?;
            // A reader that is slow misses some; it doesn't get them all at once.
            next = next.and_then(|next| next.checked_add(interval)).map(|next| next.max(Instant::now()));
        }
    }
}

/// The init of a container that has one; the words are those that callers match.
pub fn running(record: &Record, status: Status) -> Result<Init> {
    match (record.init, status) {
        (Some(init), Status::Created | Status::Running | Status::Paused) => Ok(init),
        _ => Err(Error::WrongStatus(format!("container with id {} is not running", record.id))),
    }
}

/// Waits for whatever comes first; `false` when the reader of `out` has gone.
fn wait(live: &LiveInit, oom: Option<&Watch>, out: BorrowedFd, next: Option<Instant>) -> Result<bool> {
    // Without events of its own poll(2) still tells that the other end is closed.
    let mut watched = vec![PollFd::new(out, PollFlags::empty())];
    watched.extend(live.pidfd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    watched.extend(oom.map(Watch::watch));
    let mut left = next.map(|next| next.saturating_duration_since(Instant::now()));
    if live.pidfd().is_none() {
        left = Some(left.map_or(LOOK_AGAIN, |left| left.min(LOOK_AGAIN)));
    }
    // poll counts whole milliseconds: rounded up, or the last one would be spent awake.
    let timeout = left.map_or(PollTimeout::NONE, |left| {
        PollTimeout::try_from(left + Duration::from_nanos(999_999)).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut watched, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        failed => {
            failed.during(Call::Poll).doing(|| "wait for the container's events")?;
        }
    }
    Ok(watched[0].revents().is_none_or(|told| told.is_empty()))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn record(init: Option<Init>) -> Record {
        Record { init, ..Record::new("web", "1.3.0", "/b".into(), "/b/rootfs".into()) }
    }

    #[test]
    fn only_a_container_with_an_init_has_events() {
        let me = Init::probe(std::process::id() as i32).unwrap();
        for status in [Status::Creating, Status::Stopped] {
            let error = stats_of(&record(Some(me)), status).unwrap_err();
            assert_eq!(error.to_string(), "container with id web is not running");
        }
        for status in [Status::Created, Status::Running, Status::Paused] {
            assert_eq!(stats_of(&record(Some(me)), status).unwrap(), Stats::default());
        }
        assert!(stats_of(&record(None), Status::Running).is_err());
    }

    #[test]
    fn events_end_with_the_container() {
        let mut child = std::process::Command::new("sleep").arg("0.05").spawn().unwrap();
        let record = record(Some(Init::probe(child.id() as i32).unwrap()));
        let null = std::fs::File::create("/dev/null").unwrap();
        let mut told = 0;
        let mut tell = |_| {
            told += 1;
            Ok(())
        };
        watch(&record, Status::Running, Duration::from_secs(3600), null.as_fd(), &mut tell).unwrap();
        child.wait().unwrap();
        assert_eq!(told, 0);
    }

    #[test]
    fn events_come_at_the_interval_until_the_reader_goes() {
        let me = record(Some(Init::probe(std::process::id() as i32).unwrap()));
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let (mut reader, mut told) = (Some(reader), 0);
        let mut tell = |_| {
            told += 1;
            if told == 3 {
                reader.take();
            }
            Ok(())
        };
        let began = Instant::now();
        watch(&me, Status::Running, Duration::from_millis(10), writer.as_fd(), &mut tell).unwrap();
        assert_eq!(told, 3);
        assert!(began.elapsed() >= Duration::from_millis(30));
    }
}
