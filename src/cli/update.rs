//! The flags of `update`, and the limits that they stand for.

use std::path::PathBuf;

use clap::Args;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};

use super::amount::bytes;

/// Every flag is a property of the file that --resources names.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct UpdateArgs {
    /// The container
    #[arg(value_name = "ID")]
    pub id: String,

    /// Read the limits from this file, which looks like linux.resources of config.json; `-` is stdin
    #[arg(short, long, value_name = "FILE")]
    pub resources: Option<PathBuf>,

    /// Memory; amounts are bytes or have a unit as in 64M and 1.5G, and -1 is no limit
    #[arg(long, value_name = "AMOUNT", value_parser = bytes)]
    pub memory: Option<i64>,

    /// The memory that is left to the container when the host has little
    #[arg(long, value_name = "AMOUNT", value_parser = bytes)]
    pub memory_reservation: Option<i64>,

    /// Memory and swap together
    #[arg(long, value_name = "AMOUNT", value_parser = bytes)]
    pub memory_swap: Option<i64>,

    /// How many processes and threads there may be; -1 is no limit
    #[arg(long, value_name = "N")]
    pub pids_limit: Option<i64>,

    /// CPU time in a period, in microseconds; -1 is no limit
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_quota: Option<i64>,

    /// The period of the quota, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<u64>,

    /// How much of what earlier periods have left may be used at once, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_burst: Option<u64>,

    /// The share of the CPU beside other control groups, from 2 to 262144
    #[arg(long, value_name = "SHARES")]
    pub cpu_share: Option<u64>,

    /// 1 has the container run only when nobody else wants to, 0 ends that
    #[arg(long, value_name = "0|1")]
    pub cpu_idle: Option<i64>,

    /// The period of the real-time budget, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_period: Option<u64>,

    /// CPU time for real-time processes in a period, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_runtime: Option<i64>,

    /// The CPUs to run on, such as 0-3,7
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,

    /// The memory nodes to use, such as 0,1
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,

    /// The share of block device time beside other control groups, from 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    pub blkio_weight: Option<u16>,

    /// The schema of the level 3 cache of Intel RDT
    #[arg(long, value_name = "SCHEMA")]
    pub l3_cache_schema: Option<String>,

    /// The schema of the memory bandwidth of Intel RDT
    #[arg(long, value_name = "SCHEMA")]
    pub mem_bw_schema: Option<String>,

    /// The kernel has given up limits of its own memory
    #[arg(long, value_name = "AMOUNT", hide = true)]
    pub kernel_memory: Option<String>,

    /// The kernel has given up limits of its own memory
    #[arg(long, value_name = "AMOUNT", hide = true)]
    pub kernel_memory_tcp: Option<String>,
}

/// Where in a file of resources the value of a flag stands.
const PROPERTIES: [(&str, &str); 15] = [
    ("/memory/limit", "--memory"),
    ("/memory/reservation", "--memory-reservation"),
    ("/memory/swap", "--memory-swap"),
    ("/pids/limit", "--pids-limit"),
    ("/cpu/quota", "--cpu-quota"),
    ("/cpu/period", "--cpu-period"),
    ("/cpu/burst", "--cpu-burst"),
    ("/cpu/shares", "--cpu-share"),
    ("/cpu/idle", "--cpu-idle"),
    ("/cpu/realtimePeriod", "--cpu-rt-period"),
    ("/cpu/realtimeRuntime", "--cpu-rt-runtime"),
    ("/cpu/cpus", "--cpuset-cpus"),
    ("/cpu/mems", "--cpuset-mems"),
    ("/blockIO/weight", "--blkio-weight"),
    ("/memory", "--memory"),
];

/// The flag that stands for a property of a file of resources, given as a JSON pointer.
pub fn flag_of(pointer: &str) -> Option<&'static str> {
    PROPERTIES.iter().find(|(property, _)| *property == pointer).map(|(_, flag)| *flag)
}

impl UpdateArgs {
    /// What the flags ask for, in the form that a file has.
    pub fn limits(&self) -> LinuxResources {
        let mut memory = LinuxMemory::default();
        memory.set_limit(self.memory).set_reservation(self.memory_reservation).set_swap(self.memory_swap);
        let mut cpu = LinuxCpu::default();
        cpu.set_quota(self.cpu_quota).set_period(self.cpu_period).set_burst(self.cpu_burst);
        cpu.set_shares(self.cpu_share).set_idle(self.cpu_idle);
        cpu.set_realtime_period(self.cpu_rt_period).set_realtime_runtime(self.cpu_rt_runtime);
        cpu.set_cpus(self.cpuset_cpus.clone()).set_mems(self.cpuset_mems.clone());
        let mut block_io = LinuxBlockIo::default();
        block_io.set_weight(self.blkio_weight);
        let pids = self.pids_limit.map(|limit| {
            let mut pids = LinuxPids::default();
            *pids.set_limit(limit)
        });
        let mut limits = LinuxResources::default();
        limits.set_devices(None).set_pids(pids);
        limits.set_memory(Some(memory).filter(|memory| *memory != LinuxMemory::default()));
        limits.set_cpu(Some(cpu).filter(|cpu| *cpu != LinuxCpu::default()));
        limits.set_block_io(Some(block_io).filter(|block_io| *block_io != LinuxBlockIo::default()));
        limits
    }

    /// The flags that --resources takes the place of, as far as they are given.
    pub fn beside_resources(&self) -> Vec<&'static str> {
        let limits = serde_json::to_value(self.limits()).unwrap_or_default();
        let (rest, _) = PROPERTIES.split_at(PROPERTIES.len() - 1);
        rest.iter().filter(|(property, _)| limits.pointer(property).is_some()).map(|(_, flag)| *flag).collect()
    }

    /// The lines of the container's class of service, by their flags: no limit of a control group.
    pub fn schemata(&self) -> Vec<(&'static str, String)> {
        let given = [("--l3-cache-schema", &self.l3_cache_schema), ("--mem-bw-schema", &self.mem_bw_schema)];
        given.into_iter().filter_map(|(flag, line)| Some((flag, line.clone()?))).collect()
    }

    /// The flags that are given and mean nothing any more.
    pub fn outdated(&self) -> Vec<&'static str> {
        let given = [("--kernel-memory", &self.kernel_memory), ("--kernel-memory-tcp", &self.kernel_memory_tcp)];
        given.into_iter().filter(|(_, amount)| amount.is_some()).map(|(flag, _)| flag).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Parsed, Verb, parse};
    use super::*;
    use serde_json::{Value, json};

    fn typed(line: &str) -> UpdateArgs {
        match parse(line.split(' ').map(Into::into)) {
            Ok(Parsed::Run(invocation)) => match invocation.verb {
                Verb::Update(args) => *args,
                other => panic!("{other:?}"),
            },
            other => panic!("{line}: {other:?}"),
        }
    }

    fn refused(line: &str) -> String {
        parse(line.split(' ').map(Into::into)).unwrap_err().error.to_string()
    }

    const ALL: &str = "update --memory 64M --memory-reservation=32m --memory-swap -1 --pids-limit 7 --cpu-quota -1 \
        --cpu-period 50000 --cpu-burst 10 --cpu-share 512 --cpu-idle 1 --cpu-rt-period 1000000 --cpu-rt-runtime 950000 \
        --cpuset-cpus 0-1 --cpuset-mems 0 --blkio-weight 300 web";

    #[test]
    fn flags_are_the_properties_of_a_file() {
        let limits = serde_json::to_value(typed(&ALL.replace("        ", "")).limits()).unwrap();
        let expected = json!({
            "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": -1},
            "pids": {"limit": 7},
            "cpu": {"quota": -1, "period": 50000, "burst": 10, "shares": 512, "idle": 1, "realtimePeriod": 1000000,
                "realtimeRuntime": 950000, "cpus": "0-1", "mems": "0"},
            "blockIO": {"weight": 300},
        });
        assert_eq!(limits, expected);
        assert_eq!(serde_json::to_value(typed("update web").limits()).unwrap(), Value::Object(Default::default()));
    }

    #[test]
    fn every_flag_is_known_by_the_property_that_it_sets() {
        let args = typed(&ALL.replace("        ", ""));
        let flags = args.beside_resources();
        assert_eq!(flags.len(), 14, "{flags:?}");
        for flag in &flags {
            assert!(ALL.contains(flag), "{flag}");
        }
        for (property, flag) in &PROPERTIES[..14] {
            assert_eq!(flag_of(property), Some(*flag));
        }
        assert_eq!(flag_of("/hugepageLimits/0/limit"), None);
        assert!(typed("update -r - web").beside_resources().is_empty());
    }

    #[test]
    fn a_number_that_is_none_is_named_with_its_flag() {
        for (line, words) in [
            ("update --memory 64X web", ["-memory", "\"64X\""]),
            ("update --memory-swap 1..5G web", ["-memory-swap", "\"1..5G\""]),
            ("update --cpu-period -5 web", ["-cpu-period", "\"-5\""]),
            ("update --cpu-share many web", ["-cpu-share", "\"many\""]),
            ("update --pids-limit 1.5 web", ["-pids-limit", "\"1.5\""]),
            ("update --blkio-weight 70000 web", ["-blkio-weight", "70000"]),
        ] {
            let text = refused(line);
            assert!(words.iter().all(|word| text.contains(word)), "{line}: {text}");
        }
    }

    #[test]
    fn engines_call_forms_are_understood() {
        for line in ["update --resources - web", "update --resources=- web", "update -r - web"] {
            assert_eq!(typed(line).resources, Some("-".into()), "{line}");
        }
        assert_eq!(typed("update --resources=/tmp/x web").resources, Some("/tmp/x".into()));
        let outdated = typed("update --kernel-memory 5m --kernel-memory-tcp 6m --l3-cache-schema L3:0=f web");
        assert_eq!(outdated.outdated(), ["--kernel-memory", "--kernel-memory-tcp"]);
        assert_eq!(outdated.schemata(), [("--l3-cache-schema", "L3:0=f".to_owned())]);
    }
}
