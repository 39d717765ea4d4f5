pub mod hooks;

#[derive(Clone, Debug, PartialEq)]
pub enum Op {}
