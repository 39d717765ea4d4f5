//! `corten probe`: what this process sees, and small tools for a container that holds nothing but corten.

/// Runs the toolbox on what follows the word `probe` and returns the exit code.
///
/// The arguments aren't parsed by the command line's grammar: after `--` they belong to the tools. `main` should come
/// here before anything else happens, because as a container's init this process must not touch state or logs.
pub fn run(args: &[String]) -> i32 {
    crate::toolbox::run(args)
}
