//! `checkpoint` and `restore`, with a real criu where the machine has one that works.

pub mod ends;
pub mod flags;
pub mod life;
pub mod world;

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::harness::{Bundle, Lines, Output, Sandbox, pipe, skip};

/// Where criu is: `CORTEN_TEST_CRIU`, or where Debian has it. Skips the test where it can't work.
pub fn criu(sb: &Sandbox) -> &'static str {
    static CRIU: OnceLock<(String, Result<(), String>)> = OnceLock::new();
    sb.only_corten("is run with this criu");
    let (path, works) = CRIU.get_or_init(|| {
        let path = std::env::var("CORTEN_TEST_CRIU").unwrap_or_else(|_| "/usr/sbin/criu".to_owned());
        if !Path::new(&path).exists() {
            return (path.clone(), Err(format!("{path} is missing (package criu)")));
        }
        let output = Command::new(&path).arg("check").stdin(Stdio::null()).output().expect("run criu");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let error = |line: &&str| line.contains("Error") && !line.contains("exited, status");
        let error = said.lines().find(error).unwrap_or("without a reason").to_owned();
        let works = if output.status.success() { Ok(()) } else { Err(format!("criu can't work here: {error}")) };
        (path, works)
    });
    match works {
        Ok(()) => path,
        Err(why) => skip(why.clone()),
    }
}

/// `checkpoint` with its images in `images`.
#[track_caller]
pub fn checkpoint(sb: &Sandbox, id: &str, images: &Path, flags: &[&str]) -> Output {
    let call = sb.call(["checkpoint", "--image-path"]).global(&["--criu", criu(sb)]).arg(images);
    call.args(flags).arg(id).output()
}

/// A container that numbers the lines it is given, and what is needed to talk with it.
pub struct Counting {
    pub id: String,
    stdin: File,
    lines: Lines,
}

/// Two ends: what the container gets, and what the test keeps.
fn streams() -> ([OwnedFd; 2], (File, Lines)) {
    let ((stdin, ours), (output, stdout)) = (pipe(), pipe());
    ([stdin, stdout], (ours.into(), Lines::new(output)))
}

impl Counting {
    /// A detached `run` of the bundle, whose program is the tool `count-lines`.
    #[track_caller]
    pub fn run(sb: &Sandbox, bundle: &Bundle, flags: &[&str]) -> Counting {
        criu(sb);
        let (id, ([stdin, stdout], (ours, lines))) = (sb.id(), streams());
        let call = sb.call(["run", "--detach", "--bundle"]).arg(&bundle.dir).args(flags).arg(&id);
        call.stdin(stdin).stdout(stdout).output().ok();
        let mut counting = Counting { id, stdin: ours, lines };
        counting.lines.expect_line("ready");
        counting
    }

    /// A detached `restore` under this id.
    #[track_caller]
    pub fn restore(sb: &Sandbox, bundle: &Bundle, id: String, images: &Path, flags: &[&str]) -> Counting {
        let ([stdin, stdout], (ours, lines)) = streams();
        let call = restoring(sb, bundle, images, flags).arg("--detach").arg(&id);
        call.stdin(stdin).stdout(stdout).output().ok();
        Counting { id, stdin: ours, lines }
    }

    /// Says a word that isn't answered.
    #[track_caller]
    pub fn tell(&mut self, word: &str) {
        writeln!(self.stdin, "{word}").expect("speak to the container");
    }

    /// Says a word; the container answers with its number.
    #[track_caller]
    pub fn say(&mut self, word: &str, number: u32) {
        self.tell(word);
        self.lines.expect_line(&format!("{number} {word}"));
    }
}

/// A `restore` without its id.
pub fn restoring<'a>(sb: &'a Sandbox, bundle: &Bundle, images: &Path, flags: &[&str]) -> crate::harness::Call<'a> {
    let call = sb.call(["restore", "--image-path"]).global(&["--criu", criu(sb)]).arg(images);
    call.arg("--bundle").arg(&bundle.dir).args(flags)
}

/// The bundle of a container that counts.
pub fn counting_bundle(sb: &Sandbox) -> crate::harness::BundleBuilder<'_> {
    sb.bundle().tool(["count-lines"])
}
