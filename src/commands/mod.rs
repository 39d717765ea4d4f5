//! The verbs of the command line, one a file: no logic, only what is asked of whom and how the answer looks.

pub mod delete;
pub mod kill;
pub mod list;
pub mod start;
pub mod state;
