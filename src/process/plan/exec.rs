//! Plans a process that comes to a container later. It gets all that an init gets of its own (identity, limits, labels, the
//! filter), and nothing that is the container's (names, kernel parameters, hooks, /dev/console). Pure.

use oci_spec::runtime::Spec;

use super::{
    Context, ProcessPlan, plan_environment, plan_filter, plan_inherited, plan_oom_and_limits, plan_program, plan_ready,
    plan_session, plan_start, plan_terminal,
};
use crate::field::Field;
use crate::plan::Step;
use crate::process::{Op, scheduler};

/// Plans the process of a spec whose `process` is the one to come; without one there is nothing to do.
pub fn plan_exec_process(spec: &Spec, context: &Context) -> ProcessPlan {
    let mut plan = ProcessPlan::default();
    let Some(process) = spec.process() else { return plan };
    let request = context.request;
    plan.host.push(Step::new(Op::OpenHostProc, Field::RUNTIME));
    let kept = plan_inherited(&mut plan, request);
    plan_session(&mut plan, Some(process), request);
    plan_oom_and_limits(&mut plan, process, context);
    plan_filter(&mut plan, spec, context);
    if let Some(affinity) = process.exec_cpu_affinity() {
        // The child is born with its parent's, which is what the spec calls the initial one.
        if let Some(list) = affinity.initial() {
            let at = Field::at("/process/execCPUAffinity/initial");
            plan.host.push(Step::new(scheduler::plan_affinity(list), at));
        }
        if let Some(list) = affinity.cpu_affinity_final() {
            let at = Field::at("/process/execCPUAffinity/final");
            plan.session.insert(0, Step::new(scheduler::plan_affinity(list), at));
        }
    }
    plan_terminal(&mut plan, process, context);
    let environment = plan_environment(process, request);
    plan_program(&mut plan, spec, process, context, environment);
    let hide = Step::new(Op::Undumpable, Field::RUNTIME);
    if !context.host.rootless() {
        // The real root owns its files in /proc all the same, and its child is born hidden, before anybody in the container
        // can see it (CVE-2016-9962).
        plan.host.push(hide.clone());
    } else {
        // From its first step in the container's user namespace on, others in there have rights over it.
        plan.first.push(hide.clone());
    }
    plan.hide.push(hide);
    // A fork inherits keyring and labels (as startContainer hooks count on), so all that takes the host's /proc is done before
    // the container's processes can see it.
    let inherited = |step: &Step| {
        let op = |op: &Op| matches!(op, Op::NewSession | Op::Affinity { .. });
        !matches!(&step.op, crate::plan::Op::Process(own) if op(own))
    };
    let labels =
        |step: &Step| matches!(&step.op, crate::plan::Op::Process(Op::AppArmor { .. } | Op::SelinuxExec { .. }));
    let (before, session): (Vec<_>, Vec<_>) = plan.session.into_iter().partition(inherited);
    let (labels, last): (Vec<_>, Vec<_>) = plan.last.into_iter().partition(labels);
    plan.session = session;
    plan.last = last;
    plan.hide.splice(0..0, before.into_iter().chain(labels));
    plan.hide.push(Step::new(Op::CloseHost, Field::RUNTIME));
    plan_ready(&mut plan, request, kept);
    if let Some(path) = &request.pidfd_socket {
        plan.handover.push(Step::new(Op::SendPidfd { path: path.clone() }, Field::at("--pidfd-socket")));
    }
    if let Some(path) = &request.pid_file {
        plan.handover.push(Step::new(Op::WritePidFile { path: path.clone() }, Field::at("--pid-file")));
    }
    plan.exec.hooks.clear();
    plan_start(&mut plan, spec);
    plan
}
