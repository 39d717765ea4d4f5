//! The directory with the container's notify socket, as a bind mount that nobody asked for in config.json. Pure.

use std::path::Path;

use super::super::options::Attributes;
use super::super::{Attachment, Finish, Op, Target, TargetKind, Tree};
use super::Planner;
use crate::field::Field;
use crate::plan::Step;
use crate::request::NotifySocket;

/// The directory is corten's own, in its state root: the container may send to the socket and do nothing else there.
/// A read-only mount doesn't keep anyone from sending.
const RESTRICTED: u64 =
    libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;

impl Planner<'_> {
    /// After the mounts of the config, one of which may be on /run.
    pub(super) fn plan_notify(&mut self) {
        let request = self.request;
        let Some(notify) = &request.notify_socket else { return };
        let field = Field::at("NOTIFY_SOCKET");
        let (Some(source), Some(path)) =
            (self.outside(&notify.dir, &field), self.inside(Path::new(NotifySocket::DIR), &field))
        else {
            return;
        };
        let early = self.takes_sources_early();
        let slot = self.slots.take();
        let tree = Tree {
            source: source.clone(),
            destination: path.clone(),
            recursive: false,
            follow: false,
            slave: early,
            device: None,
            cgroup: None,
            slot,
        };
        let take = Step::new(Op::TakeTree(Box::new(tree)), field.clone());
        if early { &mut self.plan.host } else { &mut self.plan.mount }.push(take);
        let attachment = Attachment {
            tree: slot,
            source,
            recursive: false,
            slave: early,
            target: Target { path, follow: true, kind: TargetKind::Usual },
            finish: Finish { attributes: Attributes { set: RESTRICTED, clear: 0 }, ..Finish::default() },
            copy_symlink: false,
            live: false,
        };
        self.plan.mount.push(Step::new(Op::AttachTree(Box::new(attachment)), field));
    }
}
