//! What a launch does before clone: it takes the host's steps, and makes all that the child will need and can't make itself.

use std::ffi::CString;
use std::os::fd::RawFd;

use crate::error::{Error, Result, Warning};
use crate::fault::{Call, Stage, Trouble};
use crate::field::Field;
use crate::plan::Op;
use crate::process::hooks::{Hook, StateJson};
use crate::process::launch::{Failure, Launch};
use crate::process::page::Page;
use crate::process::start_hook::StartHook;
use crate::process::steps::{HostSteps, apply_host};
use crate::process::{Op as ProcessOp, report, seccomp};
use crate::slots::{Slot, Slots};
use crate::sys::exec::Image;
use crate::sys::seccomp::Instruction;
use crate::sys::socket;

/// What stands ready before clone.
pub(super) struct Room {
    pub(super) page: Page,
    pub(super) image: Image,
    pub(super) hooks: Vec<StartHook>,
    pub(super) filter: Vec<Instruction>,
    /// The socket of the seccomp agent.
    pub(super) agent: Option<RawFd>,
    pub(super) warnings: Vec<Warning>,
    /// The host's end of the control socket.
    pub(super) control: RawFd,
    pub(super) console: Option<RawFd>,
}

impl Launch<'_> {
    pub(super) fn prepare(&mut self, slots: &mut Slots, take_terminal: bool) -> Result<Room, Failure> {
        let plan = self.plan;
        if let Some(init) = self.init {
            slots.put(Slot::INIT, init);
        }
        let mut filter = Vec::new();
        let mut warnings = Vec::new();
        for (index, step) in plan.host.iter().enumerate() {
            let steps = HostSteps { plan, injections: self.injections };
            let failed = |trouble| steps.error(Stage::Host, index, trouble);
            steps.injected(Stage::Host, index).map_err(failed)?;
            match &step.op {
                Op::Process(ProcessOp::PrepareFilter { filter: asked }) => {
                    filter = self.prepare_filter(index, asked, &mut warnings)?;
                }
                _ => apply_host(step, slots).map_err(failed)?,
            }
        }
        // The agent is the host's business alone.
        let agent = slots.take(Slot::AGENT);
        let os = |doing: &'static str| move |trouble| Error::os(doing, trouble);
        let (control, theirs) = socket::pair().map_err(os("make the control socket"))?;
        slots.put(Slot::CONTROL, theirs);
        let console = if take_terminal {
            let (ours, theirs) = socket::pair().map_err(os("make the terminal's socket"))?;
            slots.put(Slot::CONSOLE, theirs);
            Some(ours)
        } else {
            None
        };
        if let Some(fifo) = self.fifo {
            slots.put(Slot::EXEC_FIFO, fifo);
        }
        let page = Page::create(self.page, plan.child_steps()).map_err(os("map the step page"))?;
        let image = Image::new(plan.exec.args.clone(), plan.exec.env.clone());
        let hooks = self.start_hooks();
        Ok(Room { page, image, hooks, filter, agent, warnings, control, console })
    }

    fn prepare_filter(
        &self,
        index: usize,
        asked: &seccomp::Filter,
        warnings: &mut Vec<Warning>,
    ) -> Result<Vec<Instruction>> {
        let prepared = seccomp::prepare(asked, self.cache).map_err(|refused| {
            let trouble = Trouble::new(Call::CompileFilter, refused.errno);
            report::step_error(&self.steps().told(Stage::Host, index), Stage::Host, index, trouble, &refused.why)
        });
        let (program, complaint) = prepared?;
        let field = Field::at("/linux/seccomp");
        let text = |why| format!("the compiled filter can't be kept for the next container: {why}");
        warnings.extend(complaint.map(|why| Warning::new(field, text(why))));
        Ok(program.into_instructions())
    }

    /// The startContainer hooks with their arrays built. Without an environment of its own a hook gets the process's.
    fn start_hooks(&self) -> Vec<StartHook> {
        let exec = &self.plan.exec;
        if exec.hooks.is_empty() {
            return Vec::new();
        }
        let c_string = |text: &str| CString::new(text).unwrap_or_default();
        let state = StateJson { pid: 0, status: "created", ..self.state.clone() }.render_line();
        let [before, after] = split_at_pid(&state);
        let build = |hook: &Hook| {
            let path = CString::new(hook.path.as_os_str().as_encoded_bytes()).unwrap_or_default();
            let args = match hook.args.as_slice() {
                [] => vec![path.clone()],
                args => args.iter().map(|arg| c_string(arg)).collect(),
            };
            let env = match &hook.env {
                Some(env) => env.iter().map(|var| c_string(var)).collect(),
                None => exec.env.clone(),
            };
            StartHook {
                path,
                image: Image::new(args, env),
                state: [before.clone(), after.clone()],
                timeout: hook.timeout.map(|seconds| u64::from(seconds) * 1000),
            }
        };
        exec.hooks.iter().map(build).collect()
    }
}

/// Cuts a state line around the number of its pid.
fn split_at_pid(line: &[u8]) -> [Vec<u8>; 2] {
    const KEY: &[u8] = b"\"pid\":";
    let Some(at) = line.windows(KEY.len()).position(|window| window == KEY) else {
        return [line.to_vec(), Vec::new()];
    };
    let (before, number) = line.split_at(at + KEY.len());
    let digits = number.iter().take_while(|b| b.is_ascii_digit() || **b == b'-').count();
    [before.to_vec(), number[digits..].to_vec()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_line_is_cut_around_its_pid() {
        let [before, after] = split_at_pid(br#"{"id":"a","pid":0,"annotations":{"x":"\"pid\":7"}}"#);
        assert_eq!(before, br#"{"id":"a","pid":"#);
        assert_eq!(after, br#","annotations":{"x":"\"pid\":7"}}"#);
    }
}
