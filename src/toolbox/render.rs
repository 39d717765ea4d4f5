//! The report for people: what a newcomer should see at a glance when a container runs.

use std::fmt::Write;

use serde_json::Value;

/// Column at which values start.
const INDENT: usize = 16;

/// The report as text, without a final newline. Parts that couldn't be read are said to be so.
pub(super) fn render_report(report: &Value) -> String {
    let mut text = String::new();
    let rows: [(&str, Vec<String>); 14] = [
        ("process", vec![process(report)]),
        ("user", vec![user(report)]),
        ("host name", vec![hostname(report)]),
        ("namespaces", namespaces(report)),
        ("user ids", id_map(&report["uidMappings"])),
        ("processes", vec![pids(report)]),
        ("capabilities", capabilities(report)),
        ("privileges", vec![privileges(report)]),
        ("limits", vec![limits(report)]),
        ("scheduling", vec![scheduling(report)]),
        ("network", vec![interfaces(report)]),
        ("descriptors", descriptors(report)),
        ("devices", wrapped(&keys(&report["devices"]))),
        ("mounts", mounts(report)),
    ];
    for (title, lines) in rows {
        for (i, line) in lines.iter().enumerate() {
            let _ = writeln!(text, "{:INDENT$}{line}", if i == 0 { title } else { "" });
        }
    }
    text.truncate(text.trim_end().len());
    text
}

const UNSEEN: &str = "(can't be seen from here)";

fn unseen() -> Vec<String> {
    vec![UNSEEN.to_owned()]
}

/// A scalar without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => UNSEEN.to_owned(),
        Value::String(text) if text.is_empty() => "(none)".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn keys(value: &Value) -> Vec<String> {
    value.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().map(|all| all.iter().map(plain).collect()).unwrap_or_default()
}

/// Words on as many lines as they need.
fn wrapped(words: &[String]) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words {
        if lines.last().is_some_and(|line| line.len() + word.len() > 90) {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    if lines == [""] { vec!["(none)".to_owned()] } else { lines }
}

fn process(r: &Value) -> String {
    let args = strings(&r["args"]).join(" ");
    format!("pid {}, parent {}, in {}, running: {args}", r["pid"], r["ppid"], plain(&r["cwd"]))
}

fn user(r: &Value) -> String {
    let groups = strings(&r["user"]["additionalGids"]).join(" ");
    let groups = if groups.is_empty() { "no further groups".to_owned() } else { format!("further groups {groups}") };
    let umask = r["user"]["umask"].as_u64().unwrap_or(0);
    format!("uid {}, gid {}, {groups}, umask {umask:04o}", r["user"]["uid"], r["user"]["gid"])
}

fn hostname(r: &Value) -> String {
    format!(
        "{}, domain {}, {} {}",
        plain(&r["hostname"]),
        plain(&r["domainname"]),
        plain(&r["kernel"]),
        plain(&r["machine"])
    )
}

fn namespaces(r: &Value) -> Vec<String> {
    match r["namespaces"].as_object() {
        Some(map) => wrapped(&map.values().map(plain).collect::<Vec<_>>()),
        None => unseen(),
    }
}

fn id_map(map: &Value) -> Vec<String> {
    let row = |row: &Value| match (row[0].as_u64(), row[1].as_u64(), row[2].as_u64()) {
        (Some(0), Some(0), Some(4_294_967_295)) => "the host's own (no user namespace)".to_owned(),
        (Some(inside), Some(outside), Some(count)) => format!("{inside} here is {outside} outside, {count} in a row"),
        _ => UNSEEN.to_owned(),
    };
    map.as_array().map_or_else(unseen, |rows| rows.iter().map(row).collect())
}

fn pids(r: &Value) -> String {
    match r["procs"].as_array() {
        Some(all) if all.len() <= 12 => format!("{} in sight: {}", all.len(), strings(&r["procs"]).join(" ")),
        Some(all) => format!("{} in sight", all.len()),
        None => UNSEEN.to_owned(),
    }
}

fn capabilities(r: &Value) -> Vec<String> {
    let sets = &r["capabilities"];
    let mut lines = wrapped(&strings(&sets["effective"]));
    for name in ["permitted", "bounding", "inheritable", "ambient"] {
        if sets[name] != sets["effective"] {
            let words = strings(&sets[name]);
            lines.push(match words.len() {
                0 => format!("{name}: none"),
                n if n <= 4 => format!("{name}: {}", words.join(" ")),
                n => format!("{name}: {n} of them"),
            });
        }
    }
    lines
}

fn privileges(r: &Value) -> String {
    let nnp = if r["noNewPrivileges"] == true { "can't gain any (no_new_privs)" } else { "may gain some by execve" };
    let seccomp = match r["seccomp"].as_i64() {
        Some(0) => "no system call filter",
        Some(_) => "system calls filtered",
        None => "system call filter unknown",
    };
    format!("{nnp}, {seccomp}, keyring {}", plain(&r["keyring"]))
}

fn limits(r: &Value) -> String {
    let limit = |name: &str| match r["rlimits"][name]["soft"].as_u64() {
        Some(u64::MAX) => "no limit".to_owned(),
        Some(n) => n.to_string(),
        None => UNSEEN.to_owned(),
    };
    let (files, procs) = (limit("RLIMIT_NOFILE"), limit("RLIMIT_NPROC"));
    format!("open files {files}, processes {procs}, oom_score_adj {}", plain(&r["oomScoreAdj"]))
}

fn scheduling(r: &Value) -> String {
    let (policy, nice) = (plain(&r["scheduler"]["policy"]), plain(&r["scheduler"]["nice"]));
    format!(
        "{policy}, nice {nice}, I/O {}, memory {}",
        plain(&r["ioPriority"]["class"]),
        plain(&r["memoryPolicy"]["mode"])
    )
}

fn interfaces(r: &Value) -> String {
    let Some(map) = r["interfaces"].as_object() else { return UNSEEN.to_owned() };
    let words: Vec<_> =
        map.iter().map(|(name, up)| format!("{name} ({})", if *up == true { "up" } else { "down" })).collect();
    if words.is_empty() { "no interface".to_owned() } else { words.join(", ") }
}

fn descriptors(r: &Value) -> Vec<String> {
    match r["fds"].as_object() {
        Some(map) => wrapped(&map.iter().map(|(fd, target)| format!("{fd}={}", plain(target))).collect::<Vec<_>>()),
        None => unseen(),
    }
}

fn mounts(r: &Value) -> Vec<String> {
    let row = |m: &Value| {
        let (target, kind) = (plain(&m["destination"]), plain(&m["type"]));
        format!("{target:24} {kind:10} {}", strings(&m["options"]).join(","))
    };
    r["mounts"].as_array().map_or_else(unseen, |all| all.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_without_proc_says_so_and_keeps_the_rest() {
        let text = render_report(&json!({"pid": 1, "ppid": 0, "cwd": "/", "args": ["/bin/corten", "probe"]}));
        assert!(text.starts_with("process         pid 1, parent 0, in /, running: /bin/corten probe\n"), "{text}");
        assert!(text.contains("mounts          (can't be seen from here)"), "{text}");
    }

    #[test]
    fn a_mapped_user_is_told_from_the_host_s() {
        assert_eq!(id_map(&json!([[0, 100000, 65536]])), ["0 here is 100000 outside, 65536 in a row"]);
        assert_eq!(id_map(&json!([[0, 0, 4294967295u64]])), ["the host's own (no user namespace)"]);
    }
}
