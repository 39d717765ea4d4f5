//! Terminals: the console socket's protocol, a foreground terminal, window sizes, and the calls that make no sense.

use std::fs;
use std::os::fd::AsFd;

use serde_json::json;

use crate::harness::{Bundle, BundleBuilder, Case, LIMIT, Lines, Pty, Sandbox, SocketServer, cases, scaled};

pub const CASES: &[Case] = cases![anyone:
    the_console_socket_gets_one_terminal_with_its_name,
    standard_streams_are_the_terminal,
    the_console_is_bound_over_dev_console,
    the_window_has_the_config_s_size,
    a_size_without_a_terminal_is_ignored,
    typed_input_arrives_and_control_c_signals,
    the_terminal_belongs_to_the_user,
    the_terminal_controls_the_session,
    a_foreground_run_lends_its_terminal,
    a_foreground_terminal_is_resized_and_restored,
    a_detached_terminal_needs_a_socket,
    a_socket_needs_a_terminal,
    a_socket_that_nobody_listens_on_is_an_error,
    in_a_user_namespace_a_terminal_works_too,
    busybox_runs_interactively,
    a_terminal_that_is_closed_and_opened_anew_goes_on,
    a_slow_reader_gets_the_last_byte,
    what_writes_much_and_ends_loses_nothing,
    a_reader_that_goes_away_holds_nothing_up,
];

fn with_terminal<'a>(sb: &'a Sandbox, words: &[&str]) -> BundleBuilder<'a> {
    sb.bundle().set("/process/terminal", true).tool(words.iter().copied())
}

/// Creates and starts a container with a console socket; gives the terminal's lines.
fn on_a_console(sb: &Sandbox, bundle: &Bundle) -> Lines {
    let server = SocketServer::new(sb);
    let container = sb.create_with(bundle, |call| call.arg("--console-socket").arg(server.path()));
    let mut received = server.receive();
    container.start();
    Lines::new(received.fds.remove(0))
}

fn the_console_socket_gets_one_terminal_with_its_name(sb: &Sandbox) {
    let server = SocketServer::new(sb);
    let bundle = with_terminal(sb, &["echo", "hello"]).build();
    let container = sb.create_with(&bundle, |call| call.arg("--console-socket").arg(server.path()));
    let mut received = server.receive();
    assert_eq!((received.messages, received.fds.len()), (1, 1));
    assert!((1..4096).contains(&received.payload.len()), "{} bytes of name", received.payload.len());
    let master = received.fds.remove(0);
    assert!(nix::unistd::isatty(master.as_fd()).unwrap());
    container.start();
    assert_eq!(Lines::new(master).next_line().as_deref(), Some("hello"));
}

fn standard_streams_are_the_terminal(sb: &Sandbox) {
    let mut lines = on_a_console(sb, &with_terminal(sb, &["json"]).build());
    let report: serde_json::Value = serde_json::from_str(&lines.next_line().unwrap()).unwrap();
    assert_eq!(report["terminals"], json!([true, true, true]));
    let fds = report["fds"].as_object().unwrap();
    assert_eq!(fds.len(), 3, "{fds:?}");
    assert!(fds.values().all(|fd| fd == &report["fds"]["0"]), "{fds:?}");
}

fn the_console_is_bound_over_dev_console(sb: &Sandbox) {
    let mut lines = on_a_console(sb, &with_terminal(sb, &["json"]).build());
    let report: serde_json::Value = serde_json::from_str(&lines.next_line().unwrap()).unwrap();
    assert_eq!(report["devices"]["console"]["kind"], "char");
    assert_eq!(report["devices"]["console"]["major"], 136);
    assert_eq!(crate::harness::mount_at(&report, "/dev/console")["type"], "devpts");
}

fn the_window_has_the_config_s_size(sb: &Sandbox) {
    let bundle = with_terminal(sb, &["winsize"]).set("/process/consoleSize", json!({"height": 41, "width": 133}));
    let mut lines = on_a_console(sb, &bundle.build());
    assert_eq!(lines.next_line().as_deref(), Some("41 133"));
}

/// Golden value 17.
fn a_size_without_a_terminal_is_ignored(sb: &Sandbox) {
    let bundle = sb.bundle().tool(["try", "winsize"]).set("/process/consoleSize", json!({"height": 41, "width": 133}));
    assert_eq!(sb.run(&bundle.build()).ok().stdout, "ENOTTY\n");
}

fn typed_input_arrives_and_control_c_signals(sb: &Sandbox) {
    let server = SocketServer::new(sb);
    let bundle = with_terminal(sb, &["read-line", ";", "signal-echo", "0"]).build();
    let container = sb.create_with(&bundle, |call| call.arg("--console-socket").arg(server.path()));
    let master = server.receive().fds.remove(0);
    container.start();
    let mut lines = Lines::new(master.try_clone().unwrap());
    nix::unistd::write(&master, b"typed\n").unwrap();
    lines.expect_line("got typed");
    lines.expect_line("ready");
    nix::unistd::write(&master, b"\x03").unwrap();
    loop {
        // The terminal may echo ^C in front.
        let line = lines.next_line().expect("the signal is told");
        if line.ends_with("SIGINT") {
            break;
        }
    }
}

fn the_terminal_belongs_to_the_user(sb: &Sandbox) {
    let bundle = with_terminal(sb, &["stat", "/dev/pts/0"]).set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let mut lines = on_a_console(sb, &bundle.build());
    let line = lines.next_line().unwrap();
    assert_eq!(line.split(' ').nth(2), Some("1000"), "{line}");
}

fn the_terminal_controls_the_session(sb: &Sandbox) {
    let mut lines = on_a_console(sb, &with_terminal(sb, &["try", "write", "/dev/tty", "through tty\n"]).build());
    assert_eq!(lines.next_line().as_deref(), Some("through tty"));
}

/// A foreground run on a pseudo terminal of the test.
fn foreground<'a>(sb: &'a Sandbox, bundle: &Bundle, pty: &Pty) -> (crate::harness::Running, Lines, &'a Sandbox) {
    sb.needs_program("/usr/bin/setsid", "util-linux");
    let call = sb.call(["run", "--bundle"]).arg(&bundle.dir).arg(sb.id());
    let running = call.under(&["setsid", "--ctty", "--wait"]).stdin(pty.peer()).stdout(pty.peer()).spawn();
    (running, pty.lines(), sb)
}

fn a_foreground_run_lends_its_terminal(sb: &Sandbox) {
    let pty = Pty::open();
    let bundle = with_terminal(sb, &["tty", ";", "read-line", ";", "exit", "5"]).build();
    let (mut running, mut lines, _) = foreground(sb, &bundle, &pty);
    let tty = lines.next_line().unwrap();
    assert!(tty == "/dev/pts/0" || tty == "/dev/console", "{tty}");
    pty.type_in("from the keyboard\n");
    lines.expect_line("got from the keyboard");
    assert_eq!(running.wait(), 5);
}

fn a_foreground_terminal_is_resized_and_restored(sb: &Sandbox) {
    sb.only_corten("sets the size before the program can look");
    let pty = Pty::open();
    pty.resize(30, 90);
    let before = nix::sys::termios::tcgetattr(pty.peer()).unwrap();
    let bundle = with_terminal(sb, &["winsize", ";", "signal-echo", "0"]).build();
    let (mut running, mut lines, _) = foreground(sb, &bundle, &pty);
    lines.expect_line("30 90");
    lines.expect_line("ready");
    pty.resize(31, 91);
    lines.expect_line("SIGWINCH");
    pty.type_in("\x03");
    loop {
        if lines.next_line().expect("the signal is told").ends_with("SIGINT") {
            break;
        }
    }
    sb.call(["kill", &sb.states()[0], "TERM"]).output().ok();
    assert_eq!(running.wait(), 0);
    let after = nix::sys::termios::tcgetattr(pty.peer()).unwrap();
    assert_eq!((before.input_flags, before.local_flags), (after.input_flags, after.local_flags));
}

fn a_detached_terminal_needs_a_socket(sb: &Sandbox) {
    let bundle = with_terminal(sb, &["true"]).build();
    let text = "cannot allocate tty if runc will detach without setting console socket";
    let text = if sb.flavour() == crate::harness::Flavour::Corten { "without setting console socket" } else { text };
    sb.call(["create", "--bundle"]).arg(&bundle.dir).arg(sb.id()).output().fails_with(&[text]);
    sb.run_with(&bundle, |call| call.arg("--detach")).fails_with(&[text]);
    sb.assert_nothing_left();
}

fn a_socket_needs_a_terminal(sb: &Sandbox) {
    let server = SocketServer::new(sb);
    let bundle = sb.bundle().build();
    let call = sb.call(["create", "--bundle"]).arg(&bundle.dir).arg("--console-socket").arg(server.path());
    call.arg(sb.id()).output().fails_with(&["cannot use console socket"]);
    sb.assert_nothing_left();
}

fn a_socket_that_nobody_listens_on_is_an_error(sb: &Sandbox) {
    let bundle = with_terminal(sb, &["true"]).build();
    for path in [sb.path("no-such-socket"), bundle.config_path()] {
        let call = sb.call(["create", "--bundle"]).arg(&bundle.dir).arg("--console-socket").arg(path);
        call.arg(sb.id()).output().fails();
        sb.assert_nothing_left();
    }
}

fn in_a_user_namespace_a_terminal_works_too(sb: &Sandbox) {
    let mut lines = on_a_console(sb, &with_terminal(sb, &["json"]).user_namespace().build());
    let report: serde_json::Value = serde_json::from_str(&lines.next_line().unwrap()).unwrap();
    assert_eq!(report["terminals"], json!([true, true, true]));
    assert_eq!(report["devices"]["console"]["uid"], 0);
}

fn busybox_runs_interactively(sb: &Sandbox) {
    let pty = Pty::open();
    let bundle = sb.bundle().busybox().set("/process/terminal", true).args(["sh"]).build();
    fs::write(bundle.in_rootfs("/etc/hostname"), "bb\n").unwrap();
    let (mut running, mut lines, _) = foreground(sb, &bundle, &pty);
    pty.type_in("echo $((6 * 7)) $(tty) $(id -u); exit 4\n");
    loop {
        let line = lines.next_line().expect("the shell answers");
        if line == "42 /dev/pts/0 0" || line == "42 /dev/console 0" {
            break;
        }
    }
    assert_eq!(running.wait(), 4);
}

fn a_terminal_that_is_closed_and_opened_anew_goes_on(sb: &Sandbox) {
    sb.only_corten("holds the other end");
    let script = "exec </dev/null >/dev/null 2>&1; sleep 0.2; echo again >/dev/console";
    let bundle = sb.bundle().busybox().set("/process/terminal", true).args(["sh", "-c", script]).build();
    assert_eq!(sb.run(&bundle).ok().stdout, "again\r\n");
}

fn a_slow_reader_gets_the_last_byte(sb: &Sandbox) {
    sb.only_corten("waits for a reader");
    // More than the pipe holds, so that the last of it is still corten's when the container has ended; and less than pipe,
    // corten and terminal hold together (4 KiB each, and 8 KiB in the kernel's queue for the terminal, small writes counted
    // dearer), so that the container can end at all.
    let script = "i=0; while [ $i -lt 150 ]; do i=$((i+1)); echo 0123456789012345678901234567890123456789012345678901234567890123456789; done; echo last";
    let bundle = sb.bundle().busybox().set("/process/terminal", true).args(["sh", "-c", script]).build();
    // How much a pipe holds depends on how many its user has; a small one is small for everybody.
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let id = sb.id();
    let mut running = sb.call(["run", "--bundle"]).arg(&bundle.dir).arg(&id).stdout(writer).spawn();
    let mut lines = Lines::new(reader);
    // Nobody reads until the init has been gone for longer than corten waits for a silent terminal.
    let stopped = || sb.call(["state", &id]).output().stdout.contains("stopped");
    let limit = std::time::Instant::now() + LIMIT;
    while !stopped() {
        assert!(std::time::Instant::now() < limit, "the container waits for a reader");
        std::thread::yield_now();
    }
    let deadline = std::time::Instant::now() + std::time::Duration::from_millis(600);
    while std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    lines.expect_line("last");
    assert_eq!(running.wait(), 0);
}

/// The bytes that come until the end of the stream, and how often the last word is among them.
fn drain(reader: std::os::fd::OwnedFd) -> (usize, usize) {
    use std::io::Read;
    let (mut all, mut ends) = (0, 0);
    let mut reader = std::fs::File::from(reader);
    let mut chunk = vec![0; 1 << 16];
    loop {
        match reader.read(&mut chunk).unwrap() {
            0 => return (all, ends),
            n => {
                all += n;
                ends += chunk[..n].iter().filter(|byte| **byte == b'!').count();
            }
        }
    }
}

/// 100 MB through a terminal of `run` and one of `exec`, from programs that end with their last byte.
fn what_writes_much_and_ends_loses_nothing(sb: &Sandbox) {
    let size = scaled(100) << 20;
    let script = format!("busybox head -c {size} /dev/zero; busybox printf '!'");
    let bundle = sb.bundle().busybox().set("/process/terminal", true).args(["sh", "-c", &script]).build();
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let mut running = sb.call(["run", "--bundle"]).arg(&bundle.dir).arg(sb.id()).stdout(writer).spawn();
    assert_eq!(drain(reader), (size + 1, 1));
    assert_eq!(running.wait(), 0);
    let container = sb.started(&sb.bundle().busybox().args(["sleep", "6000"]).build());
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let mut running = sb.call(["exec", "-t", &container.id, "sh", "-c", &script]).stdout(writer).spawn();
    assert_eq!(drain(reader), (size + 1, 1));
    assert_eq!(running.wait(), 0);
}

/// Whoever reads a container's terminal may leave: the program still comes to its end.
fn a_reader_that_goes_away_holds_nothing_up(sb: &Sandbox) {
    sb.only_corten("goes on draining");
    let bundle = sb.bundle().busybox().set("/process/terminal", true);
    let bundle = bundle.args(["sh", "-c", "busybox head -c 3000000 /dev/zero; exit 6"]).build();
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let mut running = sb.call(["run", "--bundle"]).arg(&bundle.dir).arg(sb.id()).stdout(writer).spawn();
    drop(reader);
    assert_eq!(running.wait(), 6);
}
