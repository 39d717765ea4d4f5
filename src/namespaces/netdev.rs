//! Network devices of the host that a container gets: moved into its network namespace under the name it asks for, with
//! their permanent addresses, and set up (runtime-spec 1.3, config-linux.md, "Network Devices"). MTU and hardware address go
//! along by themselves. Runs in the host process.
//!
//! The kernel takes a namespace's virtual devices away with it, and gives physical ones back to the initial namespace. That
//! is right for a container that has lived. One that never came about must not cost the host its devices: until
//! [`Devices::commit`] they go back where they were.

use std::fs::File;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use crate::fault::{Call, During, Effect, Trouble};

/// The devices that have been moved so far.
#[derive(Debug, Default)]
pub struct Devices {
    /// Where they come from, held from before corten first looked into another namespace.
    outside: Option<Outside>,
    moved: Vec<Moved>,
}

/// The host's network namespace.
#[derive(Debug)]
struct Outside {
    handle: Handle,
    namespace: File,
}

/// A device in the container's namespace, and what it was outside.
#[derive(Debug)]
struct Moved {
    /// Holds the container's network namespace as well.
    inside: Handle,
    /// Its number in there.
    index: u32,
    /// Its name outside.
    name: String,
    hardware: Option<Vec<u8>>,
    was_up: bool,
    addresses: Vec<AddressMessage>,
}

impl Devices {
    /// Moves the device `name` into the network namespace of the process `pid`. `new_name` may be a template as `eth%d`.
    ///
    /// # Errors
    /// ENODEV when there is no such device, EEXIST when the container has one of the new name, EINVAL when the container's
    /// namespace is the host's.
    pub fn move_in(&mut self, name: &str, new_name: &str, pid: i32) -> Effect {
        let outside = match &mut self.outside {
            Some(outside) => outside,
            none => none.insert(Outside { handle: Handle::here()?, namespace: open(OWN)? }),
        };
        let device = outside.handle.link(name)?;
        let index = device.header.index;
        let addresses = outside.handle.permanent_addresses(index)?;
        let (mut inside, namespace) = Handle::in_namespace_of(pid, &outside.namespace)?;
        if identity(&namespace) == identity(&outside.namespace) {
            return Err(Trouble::new(Call::CheckNamespace, Errno::EINVAL));
        }
        let known: Vec<u32> = inside.links()?.iter().map(|link| link.header.index).collect();
        let moved = outside.handle.move_link(index, new_name, &namespace);
        let hardware = hardware_address(&device).cloned();
        // Its number is another when somebody had it there. The kernel moves first and names then, so a device whose name
        // can't be had is there as well, under the old one.
        let found = inside.links().map(|links| {
            let new =
                |link: &LinkMessage| !known.contains(&link.header.index) && hardware_address(link) == hardware.as_ref();
            links.into_iter().find(new).map(|link| link.header.index)
        });
        // One that can't be looked for has most likely kept its number.
        let (index, looked) = match found {
            Ok(Some(index)) => (index, Ok(())),
            Ok(None) => return moved.and(Err(Trouble::new(Call::GetLink, Errno::ENODEV))),
            Err(trouble) => (index, Err(trouble)),
        };
        let was_up = device.header.flags.contains(LinkFlags::Up);
        let mut entry = Moved { inside, index, name: name.to_owned(), hardware, was_up, addresses };
        let settled = moved.and(looked).and_then(|()| entry.settle());
        self.moved.push(entry);
        settled
    }

    /// The container has come about: its devices are its own.
    pub fn commit(mut self) {
        self.moved.clear();
    }
}

/// What tells a device that has come from one that somebody else makes at the same time.
fn hardware_address(link: &LinkMessage) -> Option<&Vec<u8>> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(address) => Some(address),
        _ => None,
    })
}

/// Which namespace it is.
fn identity(namespace: &File) -> Option<(u64, u64)> {
    namespace.metadata().ok().map(|meta| (meta.dev(), meta.ino()))
}

impl Drop for Devices {
    fn drop(&mut self) {
        // The error on its way is the one to tell.
        for moved in self.moved.drain(..).rev() {
            if let Some(outside) = &mut self.outside {
                moved.give_back(outside).ok();
            }
        }
    }
}

impl Moved {
    /// Gives the device its addresses and sets it up.
    fn settle(&mut self) -> Effect {
        let addresses = self.addresses.clone();
        addresses.into_iter().try_for_each(|address| self.inside.add_address(self.index, address))?;
        self.inside.set_up(self.index)
    }

    /// What can be had back is: should its name be somebody else's by now, it has its addresses all the same.
    fn give_back(mut self, outside: &mut Outside) -> Effect {
        let named = self.inside.move_link(self.index, &self.name, &outside.namespace);
        let same = |link: &LinkMessage| hardware_address(link) == self.hardware.as_ref();
        let by_name = outside.handle.link(&self.name).ok().filter(same);
        let by_address = || outside.handle.links().ok()?.into_iter().find(|link| self.hardware.is_some() && same(link));
        let back = by_name.or_else(by_address).map(|link| link.header.index);
        let Some(index) = back else { return named };
        self.addresses.into_iter().try_for_each(|address| outside.handle.add_address(index, address))?;
        if self.was_up {
            outside.handle.set_up(index)?
        }
        named
    }
}

fn open(path: &str) -> Effect<File> {
    File::open(path).map_err(in_call(Call::Open))
}

const OWN: &str = "/proc/self/ns/net";

/// A netlink socket, which belongs to the network namespace that it was made in (network_namespaces(7)).
struct Handle(Socket);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle")
    }
}

impl Handle {
    fn here() -> Effect<Handle> {
        let made = Socket::new(NETLINK_ROUTE).and_then(|mut socket| {
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        });
        made.map(Handle).map_err(in_call(Call::Socket))
    }

    /// One in the network namespace of a process, with that namespace: corten goes there for a moment, and back to its own.
    fn in_namespace_of(pid: i32, own: &File) -> Effect<(Handle, File)> {
        let namespace = open(&format!("/proc/{pid}/ns/net"))?;
        setns(&namespace, CloneFlags::CLONE_NEWNET).during(Call::Setns)?;
        let handle = Handle::here();
        setns(own, CloneFlags::CLONE_NEWNET).during(Call::Setns)?;
        Ok((handle?, namespace))
    }

    fn link(&mut self, name: &str) -> Effect<LinkMessage> {
        let mut asked = LinkMessage::default();
        asked.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let answers = self.request(Message::GetLink(asked), NLM_F_ACK, Call::GetLink)?;
        let link = answers.into_iter().find_map(|answer| match answer {
            Message::NewLink(link) => Some(link),
            _ => None,
        });
        link.ok_or(Trouble::new(Call::GetLink, Errno::ENODEV))
    }

    fn links(&mut self) -> Effect<Vec<LinkMessage>> {
        let answers = self.request(Message::GetLink(LinkMessage::default()), NLM_F_DUMP, Call::GetLink)?;
        let link = |answer| match answer {
            Message::NewLink(link) => Some(link),
            _ => None,
        };
        Ok(answers.into_iter().filter_map(link).collect())
    }

    /// Those that were given to the device by hand: neither link-local ones nor any that come and go.
    fn permanent_addresses(&mut self, index: u32) -> Effect<Vec<AddressMessage>> {
        let answers = self.request(Message::GetAddress(AddressMessage::default()), NLM_F_DUMP, Call::GetAddress)?;
        let address = |answer| match answer {
            Message::NewAddress(address) => Some(address),
            _ => None,
        };
        let kept = |address: &AddressMessage| {
            let header = &address.header;
            header.index == index
                && header.scope == AddressScope::Universe
                && header.flags.contains(AddressHeaderFlags::Permanent)
        };
        Ok(answers.into_iter().filter_map(address).filter(kept).collect())
    }

    /// Moves a device elsewhere, under another name; it is down then.
    fn move_link(&mut self, index: u32, name: &str, namespace: &File) -> Effect {
        let mut asked = LinkMessage::default();
        asked.header.index = index;
        asked.attributes = vec![LinkAttribute::NetNsFd(namespace.as_raw_fd()), LinkAttribute::IfName(name.to_owned())];
        self.request(Message::SetLink(asked), NLM_F_ACK, Call::SetLink).map(drop)
    }

    fn set_up(&mut self, index: u32) -> Effect {
        let mut asked = LinkMessage::default();
        asked.header.index = index;
        (asked.header.flags, asked.header.change_mask) = (LinkFlags::Up, LinkFlags::Up);
        self.request(Message::SetLink(asked), NLM_F_ACK, Call::SetLink).map(drop)
    }

    fn add_address(&mut self, index: u32, mut address: AddressMessage) -> Effect {
        address.header.index = index;
        address.header.flags = AddressHeaderFlags::empty();
        // What the kernel has added to it, and the label, which names the device as it was called.
        address.attributes.retain(|attribute| {
            use AddressAttribute::{Address, Broadcast, Flags, Local, RoutePriority};
            matches!(attribute, Address(_) | Broadcast(_) | Flags(_) | Local(_) | RoutePriority(_))
        });
        let given = AddressFlags::Nodad | AddressFlags::Noprefixroute | AddressFlags::Homeaddress;
        for attribute in &mut address.attributes {
            if let AddressAttribute::Flags(flags) = attribute {
                *flags &= given;
            }
        }
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self.request(Message::NewAddress(address), flags, Call::NewAddress) {
            Err(Trouble { errno: Errno::EEXIST, .. }) => Ok(()),
            added => added.map(drop),
        }
    }

    /// Sends a request and collects the answers to its end.
    fn request(&mut self, message: Message, flags: u16, call: Call) -> Effect<Vec<Message>> {
        let mut packet = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
        packet.header.flags = flags | NLM_F_REQUEST;
        packet.header.sequence_number = 1;
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.0.send(&bytes, 0).map_err(in_call(call))?;
        let mut answers = Vec::new();
        loop {
            let (received, _) = self.0.recv_from_full().map_err(in_call(call))?;
            let mut rest = received.as_slice();
            while !rest.is_empty() {
                let torn = |_| Trouble::new(call, Errno::EBADMSG);
                let answer = NetlinkMessage::<Message>::deserialize(rest).map_err(torn)?;
                // Each message begins at a multiple of four (netlink(7)).
                let length = (answer.header.length as usize).next_multiple_of(4).max(1);
                rest = rest.get(length..).unwrap_or_default();
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => answers.push(message),
                    NetlinkPayload::Error(error) => match error.raw_code() {
                        0 => return Ok(answers),
                        code => return Err(Trouble::new(call, Errno::from_raw(-code))),
                    },
                    NetlinkPayload::Done(_) => return Ok(answers),
                    _ => {}
                }
            }
        }
    }
}

fn in_call(call: Call) -> impl Fn(std::io::Error) -> Trouble {
    move |error| Trouble::new(call, error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}
