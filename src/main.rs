//! The edge of corten: understand the command line, open the log, run the command, say once what went wrong.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use corten::cli::{self, Invocation, Parsed, Refused};
use corten::commands;
use corten::config::locate;
use corten::error::Error;
use corten::explain::{self, Context};
use corten::host::Host;
use corten::log::Log;
use corten::seal;
use corten::sys::{inherited, kernel};

fn main() -> ExitCode {
    let argv: Vec<_> = std::env::args_os().skip(1).collect();
    // Inside a container corten is its own toolbox, whose arguments are none of this command line's.
    if argv.first().is_some_and(|verb| verb == "probe") {
        let words: Vec<_> = argv.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        return code(commands::probe::run(&words));
    }
    match cli::parse(argv) {
        Ok(Parsed::Help(text)) => print(&text),
        Ok(Parsed::Version) => print(&commands::version::text()),
        Ok(Parsed::Run(invocation)) => run(*invocation),
        Err(refused) => refuse(&refused),
    }
}

/// Prints to stdout; a reader that went away (`corten --help | head -1`) is no failure.
fn print(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn run(invocation: Invocation) -> ExitCode {
    // What the caller left open is neither corten's nor a container's business, but for what it asks to have kept. Now
    // nothing of corten's own is open yet (CVE-2024-21626).
    inherited::close(invocation.kept_descriptors());
    inherited::reap_children();
    kernel::pretend_lacks(invocation.globals.kernel_gaps());
    let sealed = invocation.verb.enters_a_container().then(seal::seal).transpose();
    let (verb, id) = (invocation.verb.name(), invocation.verb.id().map(str::to_owned));
    let failed = invocation.verb.clone();
    // Taken now: the command may leave the working directory.
    let config = invocation.config_path();
    let mut log = match Log::open(&invocation.globals.log) {
        Ok(log) => log,
        Err(error) => {
            Log::stderr().fail(&explain::render(&error, &Context::of(verb, id.as_deref())));
            return code(failed.failure_code(&error));
        }
    };
    let outcome = sealed.and_then(|image| {
        image.into_iter().for_each(|image| log.debug(|| image.words()));
        commands::run(invocation, &mut log)
    });
    match outcome {
        Ok(status) => {
            log.succeeded();
            code(status)
        }
        Err(error) => {
            // Without its bytes a file still has a name.
            let reread = |path: &PathBuf| path.is_absolute().then(|| std::fs::read(path).ok()).flatten();
            let bytes = config.as_ref().map(|path| reread(path).unwrap_or_default());
            let config = config.as_deref().zip(bytes.as_deref());
            let context = Context {
                config,
                line_of: locate::line_in,
                rootless: Host::probe().rootless(),
                ..Context::of(verb, id.as_deref())
            };
            log.fail(&explain::render(&error, &context));
            code(failed.failure_code(&error))
        }
    }
}

fn refuse(refused: &Refused) -> ExitCode {
    let mut log = Log::open(&refused.log).unwrap_or_else(|_: Error| Log::stderr());
    // The help first, so that at a terminal the mistake is the last thing one reads.
    print(&refused.help);
    log.fail_with_text(&refused.report(), &refused.text());
    code(refused.error.exit_code())
}

fn code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}
