//! `corten check [--bundle DIR] [--json]`: everything that is wrong with a bundle, at once. Exit code 1 when it can't
//! run.

use serde::Serialize;

use super::{launch, print};
use crate::cli::{BundleArgs, Globals};
use crate::config::{self, lenient, validate};
use crate::error::{Error, Result, Violation, Warning};
use crate::host::Host;
use crate::log::Log;
use crate::plan;

pub fn run(globals: &Globals, args: BundleArgs, _log: &mut Log) -> Result<i32> {
    let bundle = launch::bundle(&args.bundle)?;
    let host = Host::probe();
    let mut request = launch::dry_request(globals, &host, bundle, &Default::default());
    let loaded = config::bundle::load(&request.bundle, args.config.as_deref());
    if let Ok(config) = &loaded {
        request = launch::dry_request(globals, &host, request.bundle, &config.spec);
    }
    let (mut violations, mut warnings) = validate::judge(args.config.as_deref(), &request, &host)?;
    if let (true, Ok(config)) = (violations.is_empty(), &loaded) {
        match plan::plan(&config.spec, &host, &request) {
            Ok(plan) => warnings = launch::warnings(&warnings, &plan),
            Err(found) => violations = lenient::with_lines(&config.bytes, found),
        }
    }
    let text = if args.json { render_json(&violations, &warnings)? } else { render_text(&violations, &warnings) };
    print(text.as_bytes())?;
    Ok(if violations.is_empty() { 0 } else { 1 })
}

fn render_text(violations: &[Violation], warnings: &[Warning]) -> String {
    let mut text = String::new();
    for violation in violations {
        text.push_str(&match violation.line {
            Some(line) => format!("line {line}: {violation}\n"),
            None => format!("{violation}\n"),
        });
        if !violation.hint.is_empty() {
            text.push_str(&format!("  hint: {}\n", violation.hint));
        }
    }
    warnings.iter().for_each(|warning| text.push_str(&format!("warning: {warning}\n")));
    match violations.len() {
        0 => text.push_str("this bundle can be created\n"),
        1 => text.push_str("1 violation\n"),
        n => text.push_str(&format!("{n} violations\n")),
    }
    text
}

#[derive(Serialize)]
struct Finding<'a> {
    level: &'static str,
    field: &'a str,
    line: Option<usize>,
    why: &'a str,
    hint: &'a str,
}

fn render_json(violations: &[Violation], warnings: &[Warning]) -> Result<String> {
    let errors = violations.iter().map(|v| Finding {
        level: "error",
        field: v.field.pointer(),
        line: v.line,
        why: &v.why,
        hint: &v.hint,
    });
    let others = warnings.iter().map(|w| Finding {
        level: "warning",
        field: w.field.pointer(),
        line: None,
        why: &w.text,
        hint: "",
    });
    let all: Vec<_> = errors.chain(others).collect();
    serde_json::to_string_pretty(&all).map(|text| text + "\n").map_err(|error| Error::Usage(error.to_string()))
}
