#[derive(Clone, Debug, PartialEq)]
pub enum Op {}
