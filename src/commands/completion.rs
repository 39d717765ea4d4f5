//! `corten completion`: the completion script of a shell, made from the definition of the command line.

use crate::cli::{self, CompletionArgs};
use crate::error::Result;

/// Prints the script.
pub fn run(args: CompletionArgs) -> Result<i32> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::whole(), "corten", &mut script);
    super::print(&script)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_completes_every_verb_that_is_shown() {
        use clap::ValueEnum;
        for shell in clap_complete::Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut cli::whole(), "corten", &mut script);
            let script = String::from_utf8(script).unwrap();
            for verb in ["create", "features", "check"] {
                assert!(script.contains(verb), "{shell} lacks {verb}");
            }
        }
    }
}
