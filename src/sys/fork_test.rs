//! For tests of effects: runs a closure in a forked child inside namespaces of its own, so that whatever it mounts goes
//! away with it. Test code only; unlike the product it allocates after fork, which glibc's fork allows.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts allocations, so that a test can prove that code makes none.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Allocations of this process so far, in all threads; in a forked child there is only one.
pub fn allocations() -> usize {
    ALLOCATIONS.load(Ordering::Relaxed)
}

fn pipe() -> (File, File) {
    let mut fds = [-1; 2];
    // SAFETY: `fds` has room for two descriptors, which nobody else owns.
    unsafe {
        assert_eq!(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (File::from(OwnedFd::from_raw_fd(fds[0])), File::from(OwnedFd::from_raw_fd(fds[1])))
    }
}

/// Whether the tests run as root; a test that needs it prints why it is skipped.
pub fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: {test} needs root for its namespaces");
    }
    root
}

/// Whether the tests run as root where user namespaces can be made: in a chroot they can't (unshare(2), EPERM), and so no
/// idmapped mount either. A test that needs it prints why it is skipped.
pub fn may_map(test: &str) -> bool {
    if !is_root(test) {
        return false;
    }
    // SAFETY: the child only makes system calls and leaves by _exit; waitpid writes one int.
    let made = unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(i32::from(libc::unshare(libc::CLONE_NEWUSER) != 0));
        }
        let mut status = 1;
        libc::waitpid(child, &mut status, 0);
        status == 0
    };
    if !made {
        eprintln!("skipped: {test} needs user namespaces, which can't be made here (in a chroot, for example)");
    }
    made
}

/// Runs `body` in a child with the namespaces of `flags` and gives back what it returns; a panic comes back as its
/// text. With `first_id` the child is root in a user namespace whose ids start there on the host.
pub fn in_namespaces(flags: i32, first_id: Option<u32>, body: impl FnOnce() -> String) -> String {
    let (mut result, mut result_end) = pipe();
    let (mut ready, ready_end) = pipe();
    let (mapped, mut mapped_end) = pipe();
    let flags = flags | first_id.map_or(0, |_| libc::CLONE_NEWUSER);
    // SAFETY: the child only runs the code below and leaves by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let outcome = enter(flags, first_id.is_some(), ready_end, mapped);
        // SAFETY: the process has one thread after fork; the grandchild leaves by _exit.
        unsafe {
            if libc::fork() == 0 {
                let text = outcome.unwrap_or_else(|| {
                    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
                        let text = panic.downcast_ref::<String>().map(String::as_str);
                        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                        format!("panic: {}", text.unwrap_or("?"))
                    })
                });
                let _ = result_end.write_all(text.as_bytes());
                libc::_exit(0);
            }
            libc::wait(std::ptr::null_mut());
            libc::_exit(0);
        }
    }
    drop((ready_end, mapped, result_end));
    if let Some(first) = first_id {
        let _ = ready.read(&mut [0]);
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{child}/{map}"), format!("0 {first} 65536")).unwrap();
        }
        mapped_end.write_all(b"x").unwrap();
    }
    let mut text = String::new();
    result.read_to_string(&mut text).unwrap();
    // SAFETY: `child` is our own child.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    text
}

fn enter(flags: i32, mapped_user: bool, mut ready: File, mut mapped: File) -> Option<String> {
    // SAFETY: takes numbers only.
    if unsafe { libc::unshare(flags) } != 0 {
        return Some(format!("unshare: {}", nix::errno::Errno::last()));
    }
    if mapped_user {
        ready.write_all(b"x").ok()?;
        mapped.read_exact(&mut [0]).ok()?;
        // SAFETY: takes numbers only.
        unsafe {
            libc::setresgid(0, 0, 0);
            libc::setresuid(0, 0, 0);
        }
    }
    None
}

/// A mount as /proc/self/mountinfo shows it: mount point, per-mount options, optional fields, type.
pub fn mounts() -> Vec<[String; 4]> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ").unwrap();
        let fields: Vec<&str> = left.split(' ').collect();
        let fstype = right.split(' ').next().unwrap();
        [fields[4].to_owned(), fields[5].to_owned(), fields[6..].join(" "), fstype.to_owned()]
    };
    text.lines().map(parse).collect()
}

/// How many descriptors are open.
pub fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}
