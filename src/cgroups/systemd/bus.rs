//! What corten says to a systemd manager over D-Bus, and how it hears that a job is done (org.freedesktop.systemd1(5)).

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;

use zbus::export::futures_core::Stream;
use zbus::zvariant::{DynamicType, OwnedObjectPath, OwnedValue, Value as Variant};
use zbus::{Connection, MatchRule, Message, MessageStream, connection, message};

use super::properties::{Property, Value};
use crate::cgroups::group::Unit;

const SYSTEMD: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
const ALREADY_SUBSCRIBED: &str = "org.freedesktop.systemd1.AlreadySubscribed";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
/// Jobs that end while corten waits for one of them; each is asked for by name, so there is one.
const QUEUE: usize = 16;

/// Why systemd didn't do as it was asked.
#[derive(Debug)]
pub enum Refused {
    /// Nobody answers on the bus.
    NoBus {
        why: String,
        user: bool,
    },
    /// systemd's own words.
    Answer {
        name: String,
        why: String,
    },
    /// The job has ended otherwise than well (`failed`, `canceled`, `timeout`, `dependency`, `skipped`).
    Job {
        result: String,
    },
    Exists,
    Silent {
        seconds: u64,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NoBus { why, user: true } => write!(f, "the user's D-Bus can't be reached: {why}"),
            Refused::NoBus { why, user: false } => write!(f, "the system's D-Bus can't be reached: {why}"),
            Refused::Answer { why, .. } => write!(f, "systemd: {why}"),
            Refused::Job { result } => write!(f, "systemd's job has ended as {result:?}"),
            Refused::Exists => f.write_str("systemd has a unit of this name already"),
            Refused::Silent { seconds } => write!(f, "systemd hasn't answered in {seconds} seconds"),
        }
    }
}

impl Refused {
    /// The next step for the user.
    pub fn hint(&self) -> &'static str {
        match self {
            Refused::NoBus { user: true, .. } => {
                "DBUS_SESSION_BUS_ADDRESS or XDG_RUNTIME_DIR must lead to the bus of a user session (`loginctl enable-linger` keeps one running); `--cgroup-manager cgroupfs` does without"
            }
            Refused::NoBus { user: false, .. } => {
                "the dbus service must be running; `--cgroup-manager cgroupfs` does without it"
            }
            Refused::Answer { name, .. } if name.ends_with("PropertyReadOnly") || name.ends_with("InvalidArgs") => {
                "systemd.resource-control(5) says what a property takes; the annotations org.systemd.property.* are passed on as they are"
            }
            Refused::Answer { name, .. } if name.ends_with("AccessDenied") => {
                "only root may ask the system's manager; others ask their own with --rootless"
            }
            Refused::Exists => {
                "`systemctl status` shows it, `systemctl stop` removes it; linux.cgroupsPath can give another name"
            }
            Refused::Answer { .. } | Refused::Job { .. } => {
                "`systemctl status` and `journalctl -u` with the unit's name tell more"
            }
            Refused::Silent { .. } => "`systemctl list-jobs` shows what systemd is waiting for",
        }
    }

    fn is(&self, error: &str) -> bool {
        matches!(self, Refused::Answer { name, .. } if name == error)
    }
}

/// The manager of the system or of a user.
pub struct Manager {
    connection: Connection,
    user: bool,
}

impl Manager {
    pub async fn connect(user: bool) -> Result<Manager, Refused> {
        let connect = async {
            let builder = if user { connection::Builder::session()? } else { connection::Builder::system()? };
            let builder = match outer_uid() {
                Some(uid) => builder.user_id(uid),
                None => builder,
            };
            builder.build().await
        };
        match connect.await {
            Ok(connection) => Ok(Manager { connection, user }),
            Err(error) => Err(Refused::NoBus { why: error.to_string(), user }),
        }
    }

    /// Starts the unit with the process in it. What has failed under this name before is forgotten.
    pub async fn start(&self, unit: &Unit, properties: &[Property], pid: i32) -> Result<(), Refused> {
        let mut all = self.known(properties).await?;
        let is_slice = unit.name.ends_with(".slice");
        if !is_slice {
            all.push(("PIDs", Variant::from(vec![pid as u32])));
        }
        match self.start_once(&unit.name, &all).await {
            Err(refused) if refused.is(UNIT_EXISTS) => {
                self.reset(&unit.name).await;
                match self.start_once(&unit.name, &all).await {
                    Err(refused) if refused.is(UNIT_EXISTS) => Err(Refused::Exists),
                    other => other,
                }
            }
            other => other,
        }
    }

    async fn start_once(&self, name: &str, properties: &[(&str, Variant<'_>)]) -> Result<(), Refused> {
        /// Units that would be started along: none.
        type Auxiliary<'a> = Vec<(&'a str, Vec<(&'a str, Variant<'a>)>)>;
        let started = self.job(name, "StartTransientUnit", &(name, "replace", properties, Auxiliary::new())).await;
        if let Err(Refused::Job { .. }) = started {
            self.reset(name).await;
        }
        started
    }

    /// Stops the unit, and kills all that is in it first if it is to.
    pub async fn stop(&self, name: &str, kill: bool) -> Result<(), Refused> {
        if kill {
            match self.call("KillUnit", &(name, "all", libc::SIGKILL)).await {
                Err(refused) if refused.is(NO_SUCH_UNIT) => return Ok(()),
                // The unit may be there without any process.
                _ => {}
            }
        }
        let stopped = self.job(name, "StopUnit", &(name, "replace")).await;
        self.reset(name).await;
        match stopped {
            Err(refused) if refused.is(NO_SUCH_UNIT) => Ok(()),
            other => other,
        }
    }

    pub async fn set_properties(&self, name: &str, properties: &[Property]) -> Result<(), Refused> {
        let mut all = Vec::with_capacity(properties.len() + 1);
        for (key, value) in self.known(properties).await? {
            // A list is added to what is there; an empty one takes that away.
            if key == "DeviceAllow" {
                all.push((key, Variant::from(Vec::<(String, String)>::new())));
            }
            all.push((key, value));
        }
        self.call("SetUnitProperties", &(name, true, all)).await.map(drop)
    }

    /// The properties that this systemd knows, as D-Bus takes them.
    async fn known<'a>(&self, properties: &'a [Property]) -> Result<Vec<(&'a str, Variant<'a>)>, Refused> {
        let newest = properties.iter().map(|property| property.since).max().unwrap_or(0);
        let version = if newest > 0 { self.version().await? } else { 0 };
        let known = properties.iter().filter(|property| property.since <= version);
        Ok(known.map(|property| (property.name.as_str(), variant(&property.value))).collect())
    }

    async fn version(&self) -> Result<u32, Refused> {
        let properties = "org.freedesktop.DBus.Properties";
        let answer = self.call_on(properties, "Get", &(MANAGER, "Version")).await?;
        let version: OwnedValue = answer.body().deserialize().map_err(|error| self.failed(error))?;
        Ok(version.downcast_ref::<&str>().ok().and_then(number).unwrap_or(0))
    }

    /// Has systemd make a job, and waits until it is removed. Listening begins before, so that no job is too fast.
    async fn job<B>(&self, unit: &str, method: &str, body: &B) -> Result<(), Refused>
    where
        B: zbus::export::serde::Serialize + DynamicType,
    {
        let rule = || {
            let rule = MatchRule::builder().msg_type(message::Type::Signal).sender(SYSTEMD)?.path(PATH)?;
            // JobRemoved(id, job, unit, result)
            Ok(rule.interface(MANAGER)?.member("JobRemoved")?.arg(2, unit.to_owned())?.build())
        };
        let rule = rule().map_err(|error: zbus::Error| self.failed(error))?;
        let listen = MessageStream::for_match_rule(rule, &self.connection, Some(QUEUE)).await;
        let mut removed = listen.map_err(|error| self.failed(error))?;
        // Signals go to those who have asked for them; whoever asks twice is told so.
        match self.call("Subscribe", &()).await {
            Err(refused) if !refused.is(ALREADY_SUBSCRIBED) => return Err(refused),
            _ => {}
        }
        let answer = self.call(method, body).await?;
        let job: OwnedObjectPath = answer.body().deserialize().map_err(|error| self.failed(error))?;
        loop {
            let Some(signal) = poll_fn(|context| Pin::new(&mut removed).poll_next(context)).await else {
                return Err(Refused::NoBus { why: "the connection has ended".to_owned(), user: self.user });
            };
            let signal = signal.map_err(|error| self.failed(error))?;
            let body = signal.body();
            let (_, ended, _, result): (u32, OwnedObjectPath, &str, &str) =
                body.deserialize().map_err(|error| self.failed(error))?;
            if ended == job {
                return match result {
                    "done" => Ok(()),
                    result => Err(Refused::Job { result: result.to_owned() }),
                };
            }
        }
    }

    /// A unit that hasn't failed, or isn't there, needs no reset.
    async fn reset(&self, name: &str) {
        let _ = self.call("ResetFailedUnit", &name).await;
    }

    async fn call<B>(&self, method: &str, body: &B) -> Result<Message, Refused>
    where
        B: zbus::export::serde::Serialize + DynamicType,
    {
        self.call_on(MANAGER, method, body).await
    }

    async fn call_on<B>(&self, interface: &str, method: &str, body: &B) -> Result<Message, Refused>
    where
        B: zbus::export::serde::Serialize + DynamicType,
    {
        let called = self.connection.call_method(Some(SYSTEMD), PATH, Some(interface), method, body).await;
        called.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: impl Into<zbus::Error>) -> Refused {
        match error.into() {
            zbus::Error::MethodError(name, why, _) => {
                let name = name.to_string();
                let why = why.filter(|why| !why.is_empty()).unwrap_or_else(|| name.clone());
                // The bus is there and systemd isn't on it.
                if name == "org.freedesktop.DBus.Error.ServiceUnknown" {
                    return Refused::NoBus { why, user: self.user };
                }
                Refused::Answer { name, why }
            }
            zbus::Error::InputOutput(error) => Refused::NoBus { why: error.to_string(), user: self.user },
            other => Refused::Answer { name: String::new(), why: other.to_string() },
        }
    }
}

/// The first number of a version: `257.13-1~deb13u1`, `v239`.
fn number(version: &str) -> Option<u32> {
    let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

fn variant(value: &Value) -> Variant<'_> {
    match value {
        Value::Boolean(value) => Variant::from(*value),
        Value::Byte(value) => Variant::from(*value),
        Value::Int16(value) => Variant::from(*value),
        Value::Uint16(value) => Variant::from(*value),
        Value::Int32(value) => Variant::from(*value),
        Value::Uint32(value) => Variant::from(*value),
        Value::Int64(value) => Variant::from(*value),
        Value::Uint64(value) => Variant::from(*value),
        Value::Double(value) => Variant::from(*value),
        Value::String(value) => Variant::from(value.as_str()),
        Value::Strings(value) => Variant::from(value.clone()),
        Value::Bytes(value) => Variant::from(value.clone()),
        Value::Uint32s(value) => Variant::from(value.clone()),
        Value::Pairs(value) => Variant::from(value.clone()),
    }
}

/// The caller's user id outside of its user namespace, which is what the bus knows it by; `None` outside of any.
fn outer_uid() -> Option<u32> {
    let map = std::fs::read_to_string("/proc/self/uid_map").ok()?;
    outside(&map, nix::unistd::geteuid().as_raw())
}

/// Where a map of user_namespaces(7) leads from an id; `None` when that is the id itself.
fn outside(map: &str, id: u32) -> Option<u32> {
    let found = map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u32>().ok());
        let (inner, outer, size) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let offset = id.checked_sub(inner).filter(|offset| *offset < size)?;
        outer.checked_add(offset)
    });
    found.filter(|outer| *outer != id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_first_number_of_its_text() {
        let texts = [("257.13-1~deb13u1", Some(257)), ("v239", Some(239)), ("247", Some(247)), ("x", None), ("", None)];
        for (text, version) in texts {
            assert_eq!(number(text), version, "{text}");
        }
    }

    #[test]
    fn an_id_of_a_namespace_is_looked_up_outside() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(outside(map, 0), Some(1000));
        assert_eq!(outside(map, 5), Some(100_004));
        assert_eq!(outside(map, 70_000), None);
        assert_eq!(outside("0 0 4294967295\n", 0), None);
        assert_eq!(outside("", 0), None);
    }

    #[test]
    fn every_value_has_the_signature_that_systemd_reads() {
        let pairs = vec![("/dev/null".to_owned(), "rw".to_owned())];
        let values = [
            (Value::Boolean(true), "b"),
            (Value::Byte(1), "y"),
            (Value::Int16(1), "n"),
            (Value::Uint16(1), "q"),
            (Value::Int32(1), "i"),
            (Value::Uint32(1), "u"),
            (Value::Int64(1), "x"),
            (Value::Uint64(1), "t"),
            (Value::Double(1.0), "d"),
            (Value::String("x".into()), "s"),
            (Value::Strings(vec![]), "as"),
            (Value::Bytes(vec![1]), "ay"),
            (Value::Uint32s(vec![]), "au"),
            (Value::Pairs(pairs), "a(ss)"),
            (Value::Pairs(vec![]), "a(ss)"),
        ];
        for (value, signature) in values {
            assert_eq!(variant(&value).value_signature().to_string(), signature);
        }
    }
}
