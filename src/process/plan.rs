//! Plans the container's process: which of its properties are set, in which list, and what is executed. Pure.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use oci_spec::runtime::{Process, Spec};

use crate::error::Warning;
use crate::field::Field;
use crate::host::Host;
use crate::namespaces::Kind;
use crate::namespaces::plan::{Want, Wants};
use crate::plan::{Point, Step};
use crate::process::environment::{self, Environment};
use crate::process::hooks::{self, Hooks};
use crate::process::seccomp::plan::{SeccompPlan, plan_seccomp};
use crate::process::{Op, capabilities, labels, scheduler, seccomp};
use crate::request::{Mode, NotifySocket, Request};
use crate::rootfs;
use crate::slots::Slot;

pub mod exec;

/// What is executed at the end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exec {
    pub args: Vec<CString>,
    pub env: Vec<CString>,
    /// Where the program is looked for, in order.
    pub candidates: Vec<CString>,
    /// HOME comes from the container's /etc/passwd.
    pub needs_home: bool,
    pub hooks: Vec<hooks::Hook>,
    /// Who is asked about the calls that the filter doesn't decide.
    pub listener: Option<seccomp::Listener>,
    /// How many descriptors after stdio the caller wants the program to have.
    pub inherited: u32,
}

/// Everything the process contributes to a plan, by place.
#[derive(Debug, Default)]
pub struct ProcessPlan {
    pub host: Vec<Step>,
    pub adopt: Vec<Step>,
    /// The child's very first steps, with the caller's rights.
    pub first: Vec<Step>,
    /// Before a second fork brings the child into a pid namespace where others may look at it.
    pub hide: Vec<Step>,
    /// Stage two, before the root file system is mounted.
    pub session: Vec<Step>,
    /// The last before that wait.
    pub hand_over: Vec<Step>,
    /// While the child waits with its root mounted: the host's hooks.
    pub mounted: Vec<Step>,
    /// In the new root, before parts of it become read-only.
    pub inside: Vec<Step>,
    /// The rest of stage two, down to the container's own rights.
    pub last: Vec<Step>,
    /// The end of stage two: what isn't for the program is closed, the host is told, and the word to go on awaited.
    pub ready: Vec<Step>,
    /// On the child that has set itself up, by the host: what the caller gets of it.
    pub handover: Vec<Step>,
    pub start: Vec<Step>,
    /// The loading of the filter, until it has found its place.
    filter: Option<(Op, Field)>,
    pub exec: Exec,
    pub warnings: Vec<Warning>,
}

/// What planning a process needs to know beside the spec.
pub struct Context<'a> {
    pub host: &'a Host,
    pub request: &'a Request,
    pub wants: &'a Wants,
}

/// Plans the process of a spec.
pub fn plan_process(spec: &Spec, context: &Context) -> ProcessPlan {
    let mut plan = ProcessPlan::default();
    let request = context.request;
    plan.host.push(Step::new(Op::OpenHostProc, Field::RUNTIME));
    let kept = plan_inherited(&mut plan, request);
    plan_hooks(&mut plan, spec, context);
    plan_session(&mut plan, spec.process().as_ref(), request);
    match spec.process() {
        Some(process) => plan_given(&mut plan, spec, process, context),
        None => {
            // The spec lets `create` go without; `start` then refuses.
            plan_names(&mut plan, spec);
        }
    }
    // A process that can't be dumped doesn't own its files in /proc, unless it is the real root. Through them the id maps
    // are written by an unprivileged host, the clocks by a child that has changed its user, and the badness by the
    // child's first steps. Until then nobody who shares a namespace with it can see it.
    let late = context.wants.is_new(Kind::User) || context.wants.is_new(Kind::Time);
    let hide = Step::new(Op::Undumpable, Field::RUNTIME);
    if late {
        plan.hide.push(hide)
    } else {
        plan.first.push(hide)
    }
    plan_ready(&mut plan, request, kept);
    plan_start(&mut plan, spec);
    plan
}

/// The end of stage two. `kept`: how many descriptors after stdio the program is to have.
fn plan_ready(plan: &mut ProcessPlan, request: &Request, kept: u32) {
    plan.ready.push(Step::new(
        Op::CloseDescriptors { from: kept.saturating_add(3), keep: [Slot::CONTROL, Slot::EXEC_FIFO, Slot::LISTENER] },
        Field::RUNTIME,
    ));
    // With no_new_privs nothing is left that a filter could be in the way of.
    plan.ready.extend(plan.filter.take().map(|(load, field)| Step::new(load, field)));
    match request.mode {
        Mode::Create => {
            plan.ready.push(Step::new(Point::Ready, Field::RUNTIME));
            plan.ready.push(Step::new(Point::ExecFifo, Field::RUNTIME));
        }
        Mode::Run { .. } | Mode::Exec { .. } | Mode::Restore { .. } => {
            plan.ready.push(Step::new(Point::Recorded, Field::RUNTIME));
        }
    }
    plan.exec.inherited = kept;
}

/// Takes descriptors of the caller that the program is to have; their number.
fn plan_inherited(plan: &mut ProcessPlan, request: &Request) -> u32 {
    let kept = request.listen_fds.saturating_add(request.preserve_fds);
    if kept > 0 {
        let op = Op::CheckInherited { first: 3, count: kept };
        plan.host.push(Step::new(op, Field::at("--preserve-fds")));
    }
    kept
}

/// A session of its own, and the container's session keyring.
fn plan_session(plan: &mut ProcessPlan, process: Option<&Process>, request: &Request) {
    plan.session.push(Step::new(Op::NewSession, Field::RUNTIME));
    if !request.no_new_keyring {
        let name = CString::new(format!("_ses.{}", request.id)).unwrap_or_default();
        let keyring = Step::new(Op::SessionKeyring { name }, Field::RUNTIME);
        plan.session.extend(labels::plan_keyring_label(process, keyring));
    }
}

fn plan_given(plan: &mut ProcessPlan, spec: &Spec, process: &Process, context: &Context) {
    let linux = spec.linux().as_ref();
    let request = context.request;
    let environment = plan_environment(process, request);
    plan_oom_and_limits(plan, process, context);
    plan_filter(plan, spec, context);
    let cwd = c_string(process.cwd().as_os_str().as_bytes());
    plan.inside.push(Step::new(Op::MakeCwd { path: cwd }, Field::at("/process/cwd")));
    plan_terminal(plan, process, context);
    plan_names(plan, spec);
    let sysctls = linux.and_then(|l| l.sysctl().as_ref());
    let mut sysctls: Vec<_> = sysctls.into_iter().flatten().collect();
    sysctls.sort();
    for (key, value) in sysctls {
        let file = sysctl_file(key);
        // The file belongs to the host's root even in a container's own uts namespace; the call asks the namespace.
        let op = match file.as_str() {
            "sys/kernel/domainname" => Op::Domainname { name: c_string(value.as_bytes()) },
            file => Op::Sysctl { file: c_string(file.as_bytes()), value: c_string(value.as_bytes()) },
        };
        plan.inside.push(Step::new(op, Field::at("/linux/sysctl").key(key)));
    }
    plan_program(plan, spec, process, context, environment);
}

/// What the program is and runs with, from the scheduler's policy to its capabilities: the same for an init and for a
/// process that comes later.
fn plan_program(plan: &mut ProcessPlan, spec: &Spec, process: &Process, context: &Context, environment: Environment) {
    let linux = spec.linux().as_ref();
    let cwd = c_string(process.cwd().as_os_str().as_bytes());
    if let Some(given) = process.scheduler() {
        let op = scheduler::plan_scheduler(given);
        plan.last.push(Step::new(op, Field::at("/process/scheduler")));
    }
    if let Some(given) = process.io_priority() {
        plan.last.push(Step::new(scheduler::plan_io_priority(given), Field::at("/process/ioPriority")));
    }
    if let Some(given) = linux.and_then(|l| l.personality().as_ref()) {
        plan.last.push(Step::new(scheduler::plan_personality(given), Field::at("/linux/personality")));
    }
    if let Some(given) = linux.and_then(|l| l.memory_policy().as_ref()) {
        plan.last.push(Step::new(scheduler::plan_memory_policy(given), Field::at("/linux/memoryPolicy")));
    }
    plan.last.extend(labels::plan_exec_labels(process, context.host));
    plan_identity(plan, process, context, &environment, cwd);
    let arg0 = process.args().iter().flatten().next().cloned().unwrap_or_default();
    plan.exec = Exec {
        args: process.args().iter().flatten().map(|arg| c_string(arg.as_bytes())).collect(),
        candidates: environment.candidates(&arg0),
        env: environment.vars,
        needs_home: environment.needs_home,
        hooks: std::mem::take(&mut plan.exec.hooks),
        listener: plan.exec.listener.take(),
        inherited: 0,
    };
    plan.last.push(Step::new(Op::FindExecutable { arg0 }, Field::at("/process/args/0")));
}

/// From the container's root to its user, in the order that each call still has the right it needs.
fn plan_identity(
    plan: &mut ProcessPlan,
    process: &Process,
    context: &Context,
    environment: &Environment,
    cwd: CString,
) {
    let user = process.user();
    let (uid, gid) = (user.uid(), user.gid());
    let at = Field::at;
    let last = context.host.last_capability;
    let in_user_namespace = context.wants.get(Kind::User) != Want::Keep;
    let available = capabilities::available(context.host, in_user_namespace);
    let granted = capabilities::plan_capabilities(process.capabilities().as_ref(), available);
    warn_capabilities(plan, process, &granted);
    let early = match process.no_new_privileges().unwrap_or(false) {
        true => None,
        false => plan.filter.take(),
    };
    let mut step = |op: Op, field: Field| plan.last.push(Step::new(op, field));
    if !process.terminal().unwrap_or(false) {
        step(Op::OwnStdio { uid }, at("/process/user/uid"));
    }
    if environment.needs_home {
        step(Op::Home { uid }, at("/process/user/uid"));
    }
    step(Op::EnterCwd { path: cwd.clone(), first: true }, at("/process/cwd"));
    for (i, limit) in process.rlimits().iter().flatten().enumerate() {
        let (resource, name) = scheduler::rlimit(limit.typ());
        let op = Op::Limit { resource, name, soft: limit.soft(), hard: limit.hard() };
        step(op, Field::item("/process/rlimits", i, ""));
    }
    step(Op::BoundingSet { keep: granted.bounding, last }, at("/process/capabilities/bounding"));
    step(Op::KeepCapabilities { keep: true }, at("/process/capabilities"));
    let gids = user.additional_gids().clone().unwrap_or_default();
    step(Op::Groups { gids }, at("/process/user/additionalGids"));
    step(Op::Gid { gid }, at("/process/user/gid"));
    // Without no_new_privs a filter takes CAP_SYS_ADMIN, so this is its last moment.
    if let Some((load, field)) = early {
        step(Op::VerifyCwd { early: true }, at("/process/cwd"));
        step(load, field);
    }
    step(Op::Uid { uid }, at("/process/user/uid"));
    // A change of user makes it what fs.suid_dumpable says (proc_sys_fs(5)).
    step(Op::Undumpable, Field::RUNTIME);
    step(Op::KeepCapabilities { keep: false }, at("/process/capabilities"));
    // Absent means inherited by the letter of the spec; every peer and every engine counts on 0022.
    step(Op::Umask { mask: user.umask().unwrap_or(0o022) }, at("/process/user/umask"));
    step(Op::EnterCwd { path: cwd, first: false }, at("/process/cwd"));
    step(Op::VerifyCwd { early: false }, at("/process/cwd"));
    step(Op::Capabilities { sets: granted.sets }, at("/process/capabilities"));
    if granted.ambient != 0 {
        step(Op::Ambient { set: granted.ambient, last }, at("/process/capabilities/ambient"));
    }
    if process.no_new_privileges().unwrap_or(false) {
        step(Op::NoNewPrivileges, at("/process/noNewPrivileges"));
    }
}

/// The filter: its program and its agent on the host, and where it is loaded: the place depends on no_new_privs.
fn plan_filter(plan: &mut ProcessPlan, spec: &Spec, context: &Context) {
    let Some(SeccompPlan { filter, flags, announce, listener, warnings }) = plan_seccomp(spec, context.host) else {
        return;
    };
    let at = Field::at("/linux/seccomp");
    plan.warnings.extend(warnings);
    plan.host.push(Step::new(Op::PrepareFilter { filter: Box::new(filter) }, at.clone()));
    if let Some(listener) = listener {
        let op = Op::ConnectAgent { path: listener.path.clone() };
        plan.host.push(Step::new(op, Field::at("/linux/seccomp/listenerPath")));
        plan.exec.listener = Some(listener);
    }
    plan.filter = Some((Op::LoadFilter { flags, announce }, at));
}

fn warn_capabilities(plan: &mut ProcessPlan, process: &Process, granted: &capabilities::Granted) {
    let mut warn = |field: &'static str, text: String| plan.warnings.push(Warning::new(Field::at(field), text));
    if process.capabilities().is_none() {
        warn("/process/capabilities", "absent, so the process gets no capabilities".to_owned());
    }
    if !granted.unavailable.is_empty() {
        let names = granted.unavailable.join(" ");
        warn("/process/capabilities", format!("ignoring unknown or unavailable capabilities: [{names}]"));
    }
    for name in &granted.not_ambient {
        let text = format!("can't raise ambient capability {name}: it is not permitted and inheritable");
        warn("/process/capabilities/ambient", text);
    }
}

fn plan_oom_and_limits(plan: &mut ProcessPlan, process: &Process, context: &Context) {
    let user = context.wants.get(Kind::User);
    let mut by_host = Vec::new();
    let mut by_child = Vec::new();
    if let Some(value) = process.oom_score_adj() {
        let text = c_string(value.to_string().as_bytes());
        let step = Step::new(Op::OomScoreAdjust { value, text }, Field::at("/process/oomScoreAdj"));
        if user == Want::New { by_host.push(step) } else { by_child.push(step) }
    }
    if user != Want::Keep {
        for (i, limit) in process.rlimits().iter().flatten().enumerate() {
            let (resource, name) = scheduler::rlimit(limit.typ());
            let op = Op::RaiseLimit { resource, name, hard: limit.hard() };
            let step = Step::new(op, Field::item("/process/rlimits", i, ""));
            if user == Want::New { by_host.push(step) } else { by_child.push(step) }
        }
    }
    plan.adopt.extend(by_host);
    plan.first.extend(by_child);
}

fn plan_terminal(plan: &mut ProcessPlan, process: &Process, context: &Context) {
    if !process.terminal().unwrap_or(false) {
        return;
    }
    if let Some(path) = &context.request.console_socket {
        let op = Op::ConnectConsole { path: path.clone() };
        plan.host.push(Step::new(op, Field::at("--console-socket")));
    }
    let short = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
    let size = process.console_size();
    let configured = size.map(|size| (short(size.height()), short(size.width())));
    let (rows, columns) = configured.or(context.request.terminal_size).unwrap_or((0, 0));
    let op = Op::Terminal { rows, columns, owner: process.user().uid() };
    plan.inside.push(Step::new(op, Field::at("/process/terminal")));
    // The container's console is its init's; without a mount namespace of its own it gets none.
    let is_init = !matches!(context.request.mode, Mode::Exec { .. });
    if is_init && context.wants.get(Kind::Mount) != Want::Keep {
        plan.inside.push(Step::new(rootfs::Op::BindConsole, Field::at("/process/terminal")));
    }
}

fn plan_names(plan: &mut ProcessPlan, spec: &Spec) {
    if let Some(name) = spec.hostname().as_ref().filter(|name| !name.is_empty()) {
        plan.inside.push(Step::new(Op::Hostname { name: c_string(name.as_bytes()) }, Field::at("/hostname")));
    }
    if let Some(name) = spec.domainname().as_ref().filter(|name| !name.is_empty()) {
        plan.inside.push(Step::new(Op::Domainname { name: c_string(name.as_bytes()) }, Field::at("/domainname")));
    }
}

fn plan_environment(process: &Process, request: &Request) -> Environment {
    let mut extra = Vec::new();
    if request.listen_fds > 0 {
        // sd_listen_fds(3): the program is the container's pid 1, or looks as if it were to its own library.
        extra.push(("LISTEN_FDS", request.listen_fds.to_string()));
        extra.push(("LISTEN_PID", "1".to_owned()));
        extra.extend(request.listen_fd_names.clone().map(|names| ("LISTEN_FDNAMES", names)));
    }
    extra.extend(request.notify_socket.as_ref().map(|_| ("NOTIFY_SOCKET", NotifySocket::inside())));
    environment::plan_environment(process.env().as_deref().unwrap_or_default(), &extra)
}

fn plan_hooks(plan: &mut ProcessPlan, spec: &Spec, context: &Context) {
    let Hooks { prestart, create_runtime, create_container, start_container, .. } = hooks::plan::plan_hooks(spec);
    if !create_container.is_empty() && context.host.rootless() {
        plan.hand_over.push(Step::new(Op::HandOver, Field::at("/hooks/createContainer")));
    }
    let lists = [
        (hooks::Kind::Prestart, prestart),
        (hooks::Kind::CreateRuntime, create_runtime),
        (hooks::Kind::CreateContainer, create_container),
    ];
    for (kind, list) in lists {
        for (index, hook) in list.into_iter().enumerate() {
            plan.mounted.push(Step::new(Op::Hook { kind, index, hook }, kind.field(index)));
        }
    }
    plan.exec.hooks = start_container;
}

/// The poststop hooks as steps of an undo.
pub fn plan_poststop(spec: &Spec) -> impl Iterator<Item = Step> {
    let kind = hooks::Kind::Poststop;
    let hooks = hooks::plan::plan_hooks(spec).poststop.into_iter().enumerate();
    hooks.map(move |(index, hook)| Step::new(Op::Hook { kind, index, hook }, kind.field(index)))
}

fn plan_start(plan: &mut ProcessPlan, spec: &Spec) {
    for (index, hook) in plan.exec.hooks.iter().enumerate() {
        let path = c_string(hook.path.as_os_str().as_bytes());
        plan.start.push(Step::new(Op::StartHook { index, path }, hooks::Kind::StartContainer.field(index)));
    }
    if let Some(process) = spec.process() {
        plan.start.push(Step::new(Op::ResetSignals, Field::RUNTIME));
        let arg0 = process.args().iter().flatten().next().cloned().unwrap_or_default();
        plan.start.push(Step::new(Op::Exec { arg0 }, Field::at("/process/args/0")));
    }
}

/// The file below /proc of a kernel parameter: `net.ipv4.ip_forward` and `net/ipv4/ip_forward` are the same. Where a
/// slash comes first, dots are part of names (sysctl(8)).
fn sysctl_file(key: &str) -> String {
    let slashes = key.find(['.', '/']).is_some_and(|at| key.as_bytes().get(at) == Some(&b'/'));
    let path = if slashes {
        key.to_owned()
    } else {
        key.chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect()
    };
    format!("sys/{path}")
}

/// Validation has refused NUL bytes before.
fn c_string(bytes: &[u8]) -> CString {
    CString::new(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_slashes_name_the_same_parameter() {
        assert_eq!(sysctl_file("net.ipv4.ip_forward"), "sys/net/ipv4/ip_forward");
        assert_eq!(sysctl_file("net/ipv4/conf/eth0.1/forwarding"), "sys/net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(sysctl_file("net.ipv4.conf.eth0/1.forwarding"), "sys/net/ipv4/conf/eth0.1/forwarding");
    }
}
