//! The twenty measured values that runtimes agree or differ on, and the test that holds corten to each. The list can't
//! rot: a name that is no test fails.

use crate::harness::{Case, Sandbox, cases};

pub const CASES: &[Case] = cases![anyone: every_golden_value_has_its_test];

/// What a value waits for when it has no test yet.
const CGROUPS: &str = "(control groups)";
const SECCOMP: &str = "(seccomp)";

const GOLDEN: [(&str, &str); 20] = [
    ("no process.capabilities: none, and a warning", "process::without_capabilities_it_has_none"),
    ("rbind,ro: the top read-only, what is below not", "mounts::ro_leaves_submounts_writable_and_rro_does_not"),
    ("rbind,rro: both read-only", "mounts::ro_leaves_submounts_writable_and_rro_does_not"),
    ("user.umask 63: 0077", "process::the_umask_is_the_config_s_or_0022"),
    ("user namespace and bind,idmap: owner 0", "mounts::ids_of_a_bind_are_mapped_to_the_user_namespace_s"),
    ("user namespace: /dev/null is bound, owner 65534", "devices::in_a_user_namespace_devices_are_the_host_s"),
    ("a duplicate rlimit is an error", "process::a_resource_limit_given_twice_is_refused"),
    ("ambient not permitted: a warning", "process::an_ambient_capability_that_can_t_be_raised_is_a_warning"),
    ("time namespace: boottime moves", "namespaces::clocks_have_offsets"),
    ("pids.limit 0 is 0", CGROUPS),
    ("unified on a v1 host is an error", CGROUPS),
    ("HOME=\"\" is looked up", "process::home_comes_from_the_container_s_accounts"),
    ("a sysctl with slashes", "process::sysctls_are_written_in_both_spellings"),
    ("seccomp errnoRet 28", SECCOMP),
    ("SCHED_BATCH, idle I/O, LINUX32", "process::personality_scheduler_and_io_priority_are_set"),
    ("MPOL_INTERLEAVE on node 0", "process::the_memory_policy_is_set"),
    ("consoleSize without a terminal is ignored", "terminal::a_size_without_a_terminal_is_ignored"),
    ("masked paths without a mount namespace are an error", "masks::masks_without_a_mount_namespace_are_refused"),
    ("an unknown option of a bind is an error", "mounts::an_unknown_option_of_a_bind_is_refused"),
    ("no pid namespace works", "lifecycle::a_container_without_a_pid_namespace_lives_and_dies"),
];

fn every_golden_value_has_its_test(_: &Sandbox) {
    for (number, (what, test)) in GOLDEN.iter().enumerate() {
        let exists = || {
            let (file, name) = test.split_once("::").unwrap_or_default();
            crate::FILES.iter().any(|(f, cases)| *f == file && cases.iter().any(|case| case.name == name))
        };
        assert!(test.starts_with('(') || exists(), "golden value {} ({what}): {test} is no test", number + 1);
    }
}
