//! `corten completion`: the completion script of a shell, made from the definition of the command line.

use clap_complete::Shell;

use crate::cli::{self, CompletionArgs};
use crate::error::Result;

/// Prints the script.
pub fn run(args: CompletionArgs) -> Result<i32> {
    super::print(&script(args.shell))?;
    Ok(0)
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::shown(), "corten", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    fn text(shell: Shell) -> String {
        String::from_utf8(script(shell)).unwrap()
    }

    #[test]
    fn every_shell_completes_every_verb_that_is_shown() {
        for shell in Shell::value_variants() {
            for verb in ["create", "features", "check", "help", "version"] {
                assert!(text(*shell).contains(verb), "{shell} lacks {verb}");
            }
        }
    }

    /// The flags of all commands that are hidden, or that are not.
    fn flags(hidden: bool) -> Vec<String> {
        let whole = cli::whole();
        let commands = whole.get_subcommands().filter(|verb| !verb.is_hide_set()).chain([&whole]);
        let args = commands.flat_map(|command| command.get_arguments().filter(|arg| arg.is_hide_set() == hidden));
        args.filter_map(clap::Arg::get_long).map(str::to_owned).collect()
    }

    #[test]
    fn no_shell_completes_what_is_hidden() {
        // A verb shows a flag that another one hides.
        let (shown, mut hidden) = (flags(false), flags(true));
        hidden.retain(|flag| !shown.contains(flag));
        assert!(hidden.iter().any(|flag| flag == "fault") && hidden.len() > 3, "{hidden:?}");
        for shell in Shell::value_variants() {
            let text = text(*shell);
            // fish writes a flag without its dashes.
            let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '-').map(|word| word.trim_matches('-'));
            assert_eq!(words.find(|word| hidden.iter().any(|flag| flag == word)), None, "{shell}");
            assert!(!text.contains("Write the manual pages"), "{shell}");
        }
    }

    /// What is hidden is all that is lost.
    #[test]
    fn every_shell_completes_every_flag_that_is_shown() {
        let flags = flags(false);
        for shell in Shell::value_variants() {
            let text = text(*shell);
            flags.iter().for_each(|flag| assert!(text.contains(flag), "{shell} lacks {flag}"));
        }
    }
}
