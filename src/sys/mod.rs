//! The only unsafe code: thin typed wrappers over system calls that nix lacks. Each file wraps one family of calls; a
//! wrapper takes and returns plain values, allocates nothing, and names its call in the [`Trouble`](crate::fault::Trouble) it returns.

pub mod capability;
pub mod inspect;
