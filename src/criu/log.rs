//! What criu's log says of a failure: its error lines, and for the usual ones what to do. Pure.

/// How many error lines are shown. The first is nearly always the cause, the last only says that it has failed.
const SHOWN: usize = 8;

/// What criu calls an error and goes on after.
const HARMLESS: [&str; 4] = ["Can't setup RLIMIT_NOFILE for self", "exited, status=", "execvp(\"ip", " -V failed"];

/// The texts of the error lines, without time and place in criu's sources: the first ones, each once.
pub fn errors(log: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for text in log.lines().filter_map(error).filter(|text| !HARMLESS.iter().any(|known| text.contains(known))) {
        if !found.iter().any(|known| known == text) {
            found.push(text.to_owned());
        }
        if found.len() == SHOWN {
            break;
        }
    }
    found
}

/// `(00.012345) pie: 1: Error (criu/files.c:12): text`, and the same without a time or a process.
fn error(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("Error (")?;
    // The word in the middle of somebody's text is none of criu's.
    let is_head = |c: char| c.is_ascii_digit() || " .():pie".contains(c);
    let (place, text) = rest.split_once("): ")?;
    let text = text.trim();
    (before.chars().all(is_head) && !place.contains(' ') && !text.is_empty()).then_some(text)
}

/// Pipes can be others on a restore, and so can terminals; a file must be the one that the container wrote to.
const OTHER_FILE: &str =
    "a file is another than on the dump: standard output that led to a file must lead to it again, as by `1<>FILE`";

/// Parts of criu's error texts, and the next step.
const HINTS: [(&str, &str); 21] = [
    (
        "Connected TCP socket",
        "the container has TCP connections: --tcp-established keeps them, on the dump and on the restore",
    ),
    (
        "Connected TCP",
        "the container has TCP connections: --tcp-established keeps them, on the dump and on the restore",
    ),
    ("In-flight", "a connection is just being made: --tcp-skip-in-flight leaves such out"),
    ("in-flight", "a connection is just being made: --tcp-skip-in-flight leaves such out"),
    ("unix: Unix socket", "a unix socket leads out of the container: --ext-unix-sk keeps the container's end"),
    ("External socket is used", "a unix socket leads out of the container: --ext-unix-sk keeps the container's end"),
    ("--file-locks", "the container holds file locks: --file-locks keeps them, on the dump and on the restore"),
    ("file locks", "the container holds file locks: --file-locks keeps them, on the dump and on the restore"),
    ("--link-remap", "an open file has been removed, with another name still there: --link-remap keeps it"),
    ("link-remap", "an open file has been removed, with another name still there: --link-remap keeps it"),
    (
        "leaders outside of current pid namespace",
        "its session began outside of the container: --shell-job, on the dump and on the restore",
    ),
    ("--shell-job", "its session began outside of the container: --shell-job, on the dump and on the restore"),
    (
        "non child task",
        "somebody is in the container who isn't its init's child, such as a `corten exec`: end that first",
    ),
    ("has bad size", OTHER_FILE),
    ("Can't restore file pos", OTHER_FILE),
    ("Can't lookup mount=", "the container holds a file open that lies outside of it"),
    ("No mapping for", "config.json of the bundle must have the same bind mounts as that of the dumped container"),
    ("doesn't have a proper root mount", "something is mounted in the container that its config.json doesn't name"),
    (
        "iptables",
        "criu locks the network by iptables (or nftables): install it, or give the option network-lock in criu's configuration file",
    ),
    ("vdso: Unexpected", "this criu is older than the kernel and doesn't understand it: a newer one does; see --criu"),
    (
        "userfaultfd",
        "lazy pages take userfaultfd(2): see the sysctl vm.unprivileged_userfaultfd and CONFIG_USERFAULTFD",
    ),
];

/// What to do about these errors; empty when nobody knows.
pub fn hint(errors: &[String]) -> &'static str {
    let fits = |(part, _): &&(&str, &str)| errors.iter().any(|error| error.contains(part));
    HINTS.iter().find(fits).map_or("", |(_, hint)| hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
(00.000019) Version: 4.1.1 (gitid 0)
(00.031) Warn  (criu/kerndat.c:1290): Can't keep kdat cache on non-tempfs
(00.032)     mnt: Something with Error (in the middle): of text
(00.033123) Error (criu/sk-inet.c:191): inet: Connected TCP socket, consider using --tcp-established option.
(00.034123) Error (criu/sk-inet.c:191): inet: Connected TCP socket, consider using --tcp-established option.
(00.02) Error (criu/rlimit.c:1): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
pie: 1: Error (criu/pie/parasite.c:22): no good
(00.034) 1: Error (criu/cr-dump.c:1781): Dumping FAILED.
";

    #[test]
    fn the_errors_of_a_log_are_found_in_their_order_and_once() {
        let expected =
            ["inet: Connected TCP socket, consider using --tcp-established option.", "no good", "Dumping FAILED."];
        assert_eq!(errors(LOG), expected);
        assert!(hint(&errors(LOG)).contains("--tcp-established"));
    }

    #[test]
    fn a_log_without_errors_has_none_and_no_hint() {
        assert_eq!(errors("(00.1) Info\n\nError\nError (x\n"), Vec::<String>::new());
        assert_eq!(hint(&[]), "");
        assert_eq!(hint(&["mnt: quite another thing".to_owned()]), "");
    }

    #[test]
    fn a_long_row_of_errors_is_cut_behind_the_first() {
        let log: String = (0..100).map(|n| format!("(00.1) Error (a.c:1): number {n}\n")).collect();
        assert_eq!(errors(&log).len(), SHOWN);
        assert_eq!(errors(&log)[0], "number 0");
    }
}
