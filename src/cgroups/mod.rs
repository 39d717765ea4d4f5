//! Control groups: the place where hierarchies, resources and their verbs will stand.
//!
//! corten makes no control group yet. [`plan::unapplied`] names what a config asks for in this domain, so that a run
//! says in one warning what it leaves out; there is no step that pretends.

pub mod plan;

/// No effect of this domain exists yet, and the type says so: it can't be constructed.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {}

/// The step as a sentence.
pub fn render(op: &Op) -> String {
    match *op {}
}
