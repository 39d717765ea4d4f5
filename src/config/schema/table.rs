//! The properties of runtime-spec 1.3 for Linux as a table: name, JSON type, whether it must be there, known words.
//!
//! Sources: config.md and config-linux.md of runtime-spec 1.3. The sections of other systems are free: corten neither
//! reads nor judges them. A property is marked as required only where its absence is an error in corten too.

/// What a JSON value has to be.
#[derive(Debug)]
pub enum Kind {
    Bool,
    Text,
    /// A string with a list of numbers and ranges: `0-3,7`.
    Ranges,
    /// A whole number within these bounds, both included.
    Whole(i128, i128),
    List(&'static Kind),
    /// An object whose keys are the user's.
    Map(&'static Kind),
    Object(&'static [Property]),
    /// One of some words.
    Word(&'static Words),
    /// Anything: sections of other systems.
    Free,
}

/// The known words of a property and how an unknown one is refused.
#[derive(Debug)]
pub struct Words {
    pub known: &'static [&'static str],
    /// What stands before the unknown word; engines match some of these.
    pub lead: &'static str,
}

/// One property of an object.
#[derive(Debug)]
pub struct Property {
    pub name: &'static str,
    pub kind: Kind,
    /// The complaint when the property is absent; `None` where it may be.
    pub missing: Option<&'static str>,
}

const fn may(name: &'static str, kind: Kind) -> Property {
    Property { name, kind, missing: None }
}

const fn must(name: &'static str, kind: Kind) -> Property {
    Property { name, kind, missing: Some("is required") }
}

const fn must_or(name: &'static str, kind: Kind, complaint: &'static str) -> Property {
    Property { name, kind, missing: Some(complaint) }
}

use Kind::{Bool, Free, List, Map, Object, Ranges, Text, Whole, Word};

const U16: Kind = Whole(0, u16::MAX as i128);
const U32: Kind = Whole(0, u32::MAX as i128);
const U64: Kind = Whole(0, u64::MAX as i128);
const I32: Kind = Whole(i32::MIN as i128, i32::MAX as i128);
const I64: Kind = Whole(i64::MIN as i128, i64::MAX as i128);
const TEXTS: Kind = List(&Text);

/// The whole of config.json.
pub static CONFIG: Kind = Object(&[
    must("ociVersion", Text),
    must("root", Object(&[must("path", Text), may("readonly", Bool)])),
    may("mounts", List(&MOUNT)),
    may("process", PROCESS),
    may("hostname", Text),
    may("domainname", Text),
    may("hooks", HOOKS),
    may("annotations", Map(&Text)),
    may("linux", LINUX),
    may("solaris", Free),
    may("windows", Free),
    may("vm", Free),
    may("zos", Free),
    may("freebsd", Free),
]);

/// `mounts` of config.json, and the whole of the file that `mounts add` reads.
pub static MOUNTS_FILE: Kind = List(&MOUNT);

const MOUNT: Kind = Object(&[
    must("destination", Text),
    may("type", Text),
    may("source", Text),
    may("options", TEXTS),
    may("uidMappings", List(&ID_MAPPING)),
    may("gidMappings", List(&ID_MAPPING)),
]);

const ID_MAPPING: Kind = Object(&[must("containerID", U32), must("hostID", U32), must("size", U32)]);

/// `process` of config.json, and the whole of the file that `exec --process` reads.
pub static PROCESS_FILE: Kind = PROCESS;

const PROCESS: Kind = Object(&[
    may("terminal", Bool),
    may("consoleSize", Object(&[may("height", U64), may("width", U64)])),
    must_or("cwd", Text, "Cwd property must not be empty"),
    may("env", TEXTS),
    must_or("args", TEXTS, "args must not be empty"),
    may("commandLine", Text),
    may("rlimits", List(&RLIMIT)),
    may("apparmorProfile", Text),
    may("capabilities", CAPABILITIES),
    may("noNewPrivileges", Bool),
    may("oomScoreAdj", I32),
    may("scheduler", SCHEDULER),
    may("selinuxLabel", Text),
    may("ioPriority", Object(&[must("class", Word(&IO_CLASSES)), may("priority", I64)])),
    may("execCPUAffinity", Object(&[may("initial", Ranges), may("final", Ranges)])),
    may("user", USER),
]);

const USER: Kind = Object(&[
    may("uid", U32),
    may("gid", U32),
    may("umask", U32),
    may("additionalGids", List(&U32)),
    may("username", Text),
]);

const RLIMIT: Kind = Object(&[must("type", Word(&RLIMITS)), must("soft", U64), must("hard", U64)]);

/// The names of capabilities are no closed set: the spec wants a warning for an unknown one.
const CAPABILITIES: Kind = Object(&[
    may("effective", TEXTS),
    may("bounding", TEXTS),
    may("inheritable", TEXTS),
    may("permitted", TEXTS),
    may("ambient", TEXTS),
]);

const SCHEDULER: Kind = Object(&[
    must("policy", Word(&SCHEDULER_POLICIES)),
    may("nice", I32),
    may("priority", I32),
    may("flags", List(&Word(&SCHEDULER_FLAGS))),
    may("runtime", U64),
    may("deadline", U64),
    may("period", U64),
]);

const HOOKS: Kind = Object(&[
    may("prestart", List(&HOOK)),
    may("createRuntime", List(&HOOK)),
    may("createContainer", List(&HOOK)),
    may("startContainer", List(&HOOK)),
    may("poststart", List(&HOOK)),
    may("poststop", List(&HOOK)),
]);

const HOOK: Kind = Object(&[must("path", Text), may("args", TEXTS), may("env", TEXTS), may("timeout", I64)]);

const LINUX: Kind = Object(&[
    may("namespaces", List(&NAMESPACE)),
    may("uidMappings", List(&ID_MAPPING)),
    may("gidMappings", List(&ID_MAPPING)),
    may("timeOffsets", Map(&Object(&[may("secs", I64), may("nanosecs", U32)]))),
    may("devices", List(&DEVICE)),
    may("netDevices", Map(&Object(&[may("name", Text)]))),
    may("cgroupsPath", Text),
    may("resources", RESOURCES),
    may("intelRdt", INTEL_RDT),
    may("memoryPolicy", MEMORY_POLICY),
    may("sysctl", Map(&Text)),
    may("seccomp", SECCOMP),
    may("rootfsPropagation", Text),
    may("maskedPaths", TEXTS),
    may("readonlyPaths", TEXTS),
    may("mountLabel", Text),
    may("personality", Object(&[must("domain", Word(&PERSONALITIES)), may("flags", TEXTS)])),
]);

const NAMESPACE: Kind = Object(&[must("type", Word(&NAMESPACES)), may("path", Text)]);

const DEVICE: Kind = Object(&[
    must("type", Word(&DEVICE_TYPES)),
    must("path", Text),
    may("major", I64),
    may("minor", I64),
    may("fileMode", U32),
    may("uid", U32),
    may("gid", U32),
]);

const INTEL_RDT: Kind = Object(&[
    may("closID", Text),
    may("schemata", TEXTS),
    may("l3CacheSchema", Text),
    may("memBwSchema", Text),
    may("enableMonitoring", Bool),
    may("enableCMT", Bool),
    may("enableMBM", Bool),
]);

const MEMORY_POLICY: Kind = Object(&[
    must_or("mode", Word(&MEMORY_MODES), "invalid memory policy: mode is required"),
    may("nodes", Text),
    may("flags", List(&Word(&MEMORY_FLAGS))),
]);

/// `linux.resources` of config.json, and the whole of the file that `update --resources` reads.
pub static RESOURCES_FILE: Kind = RESOURCES;

const RESOURCES: Kind = Object(&[
    may("devices", List(&DEVICE_RULE)),
    may("memory", MEMORY),
    may("cpu", CPU),
    may("pids", Object(&[may("limit", I64)])),
    may("blockIO", BLOCK_IO),
    may("hugepageLimits", List(&Object(&[must("pageSize", Text), must("limit", U64)]))),
    may("network", NETWORK),
    may("rdma", Map(&Object(&[may("hcaHandles", U32), may("hcaObjects", U32)]))),
    may("unified", Map(&Text)),
]);

const DEVICE_RULE: Kind = Object(&[
    may("allow", Bool),
    may("type", Word(&DEVICE_RULE_TYPES)),
    may("major", I64),
    may("minor", I64),
    may("access", Text),
]);

const MEMORY: Kind = Object(&[
    may("limit", I64),
    may("reservation", I64),
    may("swap", I64),
    may("kernel", I64),
    may("kernelTCP", I64),
    may("swappiness", U64),
    may("disableOOMKiller", Bool),
    may("useHierarchy", Bool),
    may("checkBeforeUpdate", Bool),
]);

const CPU: Kind = Object(&[
    may("shares", U64),
    may("quota", I64),
    may("burst", U64),
    may("period", U64),
    may("realtimeRuntime", I64),
    may("realtimePeriod", U64),
    may("cpus", Text),
    may("mems", Text),
    may("idle", I64),
]);

const BLOCK_IO: Kind = Object(&[
    may("weight", U16),
    may("leafWeight", U16),
    may(
        "weightDevice",
        List(&Object(&[may("major", I64), may("minor", I64), may("weight", U16), may("leafWeight", U16)])),
    ),
    may("throttleReadBpsDevice", List(&THROTTLE)),
    may("throttleWriteBpsDevice", List(&THROTTLE)),
    may("throttleReadIOPSDevice", List(&THROTTLE)),
    may("throttleWriteIOPSDevice", List(&THROTTLE)),
]);

const THROTTLE: Kind = Object(&[may("major", I64), may("minor", I64), may("rate", U64)]);

const NETWORK: Kind =
    Object(&[may("classID", U32), may("priorities", List(&Object(&[must("name", Text), may("priority", U32)])))]);

const SECCOMP: Kind = Object(&[
    must("defaultAction", Word(&SECCOMP_ACTIONS)),
    may("defaultErrnoRet", U32),
    may("architectures", List(&Word(&SECCOMP_ARCHITECTURES))),
    may("flags", List(&Word(&SECCOMP_FLAGS))),
    may("listenerPath", Text),
    may("listenerMetadata", Text),
    may("syscalls", List(&SYSCALL)),
]);

const SYSCALL: Kind = Object(&[
    must("names", TEXTS),
    must("action", Word(&SECCOMP_ACTIONS)),
    may("errnoRet", U32),
    may("args", List(&SYSCALL_ARGUMENT)),
]);

const SYSCALL_ARGUMENT: Kind =
    Object(&[must("index", U32), must("value", U64), may("valueTwo", U64), must("op", Word(&SECCOMP_OPERATORS))]);

const fn words(known: &'static [&'static str]) -> Words {
    Words { known, lead: "" }
}

#[rustfmt::skip]
const RLIMITS: Words = Words {
    known: &[
        "RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_LOCKS", "RLIMIT_MEMLOCK",
        "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_RSS", "RLIMIT_RTPRIO",
        "RLIMIT_RTTIME", "RLIMIT_SIGPENDING", "RLIMIT_STACK",
    ],
    lead: "wrong rlimit value: ",
};
const NAMESPACES: Words = words(&["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]);
const DEVICE_TYPES: Words = words(&["c", "b", "u", "p"]);
const DEVICE_RULE_TYPES: Words = words(&["a", "c", "b"]);
const PERSONALITIES: Words = words(&["LINUX", "LINUX32"]);
const IO_CLASSES: Words = words(&["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"]);
const SCHEDULER_POLICIES: Words =
    words(&["SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE"]);
const SCHEDULER_FLAGS: Words = words(&[
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
]);
#[rustfmt::skip]
const MEMORY_MODES: Words = Words {
    known: &[
        "MPOL_DEFAULT", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED",
        "MPOL_PREFERRED_MANY", "MPOL_LOCAL",
    ],
    lead: "invalid memory policy: unknown mode ",
};
const MEMORY_FLAGS: Words = Words {
    known: &["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"],
    lead: "invalid memory policy: unknown flag ",
};
#[rustfmt::skip]
const SECCOMP_ACTIONS: Words = words(&[
    "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY",
]);
#[rustfmt::skip]
const SECCOMP_ARCHITECTURES: Words = words(&[
    "SCMP_ARCH_NATIVE", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC", "SCMP_ARCH_PPC64", "SCMP_ARCH_PPC64LE", "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X", "SCMP_ARCH_PARISC", "SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64", "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K", "SCMP_ARCH_SH", "SCMP_ARCH_SHEB",
]);
const SECCOMP_FLAGS: Words = words(&[
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
]);
#[rustfmt::skip]
const SECCOMP_OPERATORS: Words = words(&[
    "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ",
]);
