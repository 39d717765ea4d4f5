//! From the bytes of config.json to a [`Config`]: read, parse, validate. Planning reads a `Config`; nothing after it
//! reads JSON again.
//!
//! The way: [`bundle`] reads the file, [`parse`] makes the typed model in one go, and when that fails [`lenient`] steps
//! around what the model doesn't know and [`schema`] names everything that is wrong. [`validate`] then names every
//! rule that the config breaks, and [`locate`] gives each complaint its line. All of it is pure but for [`bundle`].

use std::path::PathBuf;

use oci_spec::runtime::Spec;

pub use crate::error::Warning;

pub mod bundle;
pub mod effective;
pub mod exec;
pub mod lenient;
pub mod locate;
pub mod parse;
pub mod schema;
pub mod validate;
pub mod warn;

/// A config.json that could be parsed. It is not validated yet: [`validate::validate`] does that.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// The file as it was read. The typed model is never written back: it loses what it doesn't know.
    pub bytes: Vec<u8>,
    pub spec: Spec,
    /// What works but is probably not what was meant.
    pub warnings: Vec<Warning>,
}
