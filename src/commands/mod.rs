//! One verb a file, without logic of its own.

pub mod demo;
pub mod probe;
