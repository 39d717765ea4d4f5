//! What is said to criu and heard from it: the messages of its RPC (criu.org/RPC, `images/rpc.proto` of criu 4.1), as far as
//! corten uses them. Names and numbers are criu's. A field that criu doesn't know, being older, is passed over by it.

use prost::Message;

/// What is asked for, and what is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum ReqType {
    Empty = 0,
    Dump = 1,
    Restore = 2,
    Check = 3,
    PreDump = 4,
    PageServer = 5,
    /// criu has come to a point where its caller may have something to do, and waits for the answer.
    Notify = 6,
    CpuinfoDump = 7,
    CpuinfoCheck = 8,
    FeatureCheck = 9,
    Version = 10,
}

/// How the control groups of a checkpoint come back (criu(8), `--manage-cgroups`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum CgMode {
    /// They don't: the processes are born where criu is.
    Ignore = 0,
    None = 1,
    Props = 2,
    /// Those that are missing are made, with their properties.
    Soft = 3,
    /// As soft, and the properties of those that are there are overwritten.
    Full = 4,
    /// None may be there yet.
    Strict = 5,
    Default = 6,
}

/// How criu keeps packets out of a network while it is dumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum NetworkLock {
    /// By the program iptables-restore.
    Iptables = 1,
    /// By a library.
    Nftables = 2,
    Skip = 3,
}

#[derive(Clone, PartialEq, Message)]
pub struct PageServerInfo {
    #[prost(string, optional, tag = "1")]
    pub address: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub port: Option<i32>,
}

/// A namespace that is joined rather than restored.
#[derive(Clone, PartialEq, Message)]
pub struct JoinNamespace {
    #[prost(string, required, tag = "1")]
    pub ns: String,
    #[prost(string, required, tag = "2")]
    pub ns_file: String,
}

/// A descriptor of criu's that takes the place of a file of the checkpoint.
#[derive(Clone, PartialEq, Message)]
pub struct InheritFd {
    #[prost(string, required, tag = "1")]
    pub key: String,
    #[prost(int32, required, tag = "2")]
    pub fd: i32,
}

/// Where the control groups of a hierarchy begin.
#[derive(Clone, PartialEq, Message)]
pub struct CgroupRoot {
    /// A controller or `name=NAME`; empty for version 2.
    #[prost(string, optional, tag = "1")]
    pub ctrl: Option<String>,
    #[prost(string, required, tag = "2")]
    pub path: String,
}

/// The options of a dump or a restore; criu(8) has a long option of nearly the same name for each.
#[derive(Clone, PartialEq, Message)]
pub struct Opts {
    /// Descriptors in here are those of who made the socket, but for [`InheritFd::fd`].
    #[prost(int32, required, tag = "1")]
    pub images_dir_fd: i32,
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
    #[prost(bool, optional, tag = "3")]
    pub leave_running: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub ext_unix_sk: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    pub tcp_established: Option<bool>,
    #[prost(bool, optional, tag = "6")]
    pub evasive_devices: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub shell_job: Option<bool>,
    #[prost(bool, optional, tag = "8")]
    pub file_locks: Option<bool>,
    /// 4 is everything.
    #[prost(int32, optional, tag = "9")]
    pub log_level: Option<i32>,
    /// A name in the working directory.
    #[prost(string, optional, tag = "10")]
    pub log_file: Option<String>,
    #[prost(message, optional, tag = "11")]
    pub ps: Option<PageServerInfo>,
    #[prost(bool, optional, tag = "12")]
    pub notify_scripts: Option<bool>,
    #[prost(string, optional, tag = "13")]
    pub root: Option<String>,
    #[prost(string, optional, tag = "14")]
    pub parent_img: Option<String>,
    #[prost(bool, optional, tag = "15")]
    pub track_mem: Option<bool>,
    #[prost(bool, optional, tag = "16")]
    pub auto_dedup: Option<bool>,
    #[prost(int32, optional, tag = "17")]
    pub work_dir_fd: Option<i32>,
    #[prost(bool, optional, tag = "18")]
    pub link_remap: Option<bool>,
    #[prost(message, repeated, tag = "25")]
    pub cg_root: Vec<CgroupRoot>,
    /// The first process becomes a child of criu's parent.
    #[prost(bool, optional, tag = "26")]
    pub rst_sibling: Option<bool>,
    #[prost(message, repeated, tag = "27")]
    pub inherit_fd: Vec<InheritFd>,
    #[prost(bool, optional, tag = "29")]
    pub ext_sharing: Option<bool>,
    #[prost(bool, optional, tag = "30")]
    pub ext_masters: Option<bool>,
    #[prost(enumeration = "CgMode", optional, tag = "34")]
    pub manage_cgroups_mode: Option<i32>,
    #[prost(string, repeated, tag = "37")]
    pub external: Vec<String>,
    /// CLONE_NEW* bits of namespaces whose content isn't kept.
    #[prost(uint32, optional, tag = "38")]
    pub empty_ns: Option<u32>,
    #[prost(message, repeated, tag = "39")]
    pub join_ns: Vec<JoinNamespace>,
    #[prost(string, optional, tag = "44")]
    pub freeze_cgroup: Option<String>,
    #[prost(bool, optional, tag = "46")]
    pub tcp_skip_in_flight: Option<bool>,
    #[prost(bool, optional, tag = "48")]
    pub lazy_pages: Option<bool>,
    #[prost(int32, optional, tag = "49")]
    pub status_fd: Option<i32>,
    #[prost(bool, optional, tag = "50")]
    pub orphan_pts_master: Option<bool>,
    #[prost(string, optional, tag = "51")]
    pub config_file: Option<String>,
    #[prost(bool, optional, tag = "52")]
    pub tcp_close: Option<bool>,
    #[prost(string, optional, tag = "53")]
    pub lsm_profile: Option<String>,
    /// A directory with the hierarchies of control groups, by the names of their controllers; that of version 2 is `unified`.
    #[prost(string, optional, tag = "60")]
    pub cgroup_yard: Option<String>,
    #[prost(string, optional, tag = "63")]
    pub lsm_mount_context: Option<String>,
    #[prost(enumeration = "NetworkLock", optional, tag = "64")]
    pub network_lock: Option<i32>,
}

/// What criu and the kernel can do beyond the ordinary.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Features {
    /// The kernel knows which pages were written since the last look.
    #[prost(bool, optional, tag = "1")]
    pub mem_track: Option<bool>,
    #[prost(bool, optional, tag = "2")]
    pub lazy_pages: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Req {
    #[prost(enumeration = "ReqType", required, tag = "1")]
    pub r#type: i32,
    #[prost(message, optional, tag = "2")]
    pub opts: Option<Opts>,
    #[prost(bool, optional, tag = "3")]
    pub notify_success: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub keep_open: Option<bool>,
    #[prost(message, optional, tag = "5")]
    pub features: Option<Features>,
}

impl Req {
    pub fn of(kind: ReqType) -> Req {
        Req { r#type: kind as i32, ..Req::default() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RestoreResp {
    /// In criu's pid namespace.
    #[prost(int32, required, tag = "1")]
    pub pid: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Notify {
    /// The point's name, as criu's action scripts have it.
    #[prost(string, optional, tag = "1")]
    pub script: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct VersionResp {
    #[prost(int32, required, tag = "1")]
    pub major_number: i32,
    #[prost(int32, required, tag = "2")]
    pub minor_number: i32,
    #[prost(int32, optional, tag = "4")]
    pub sublevel: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Resp {
    #[prost(enumeration = "ReqType", required, tag = "1")]
    pub r#type: i32,
    #[prost(bool, required, tag = "2")]
    pub success: bool,
    #[prost(message, optional, tag = "4")]
    pub restore: Option<RestoreResp>,
    #[prost(message, optional, tag = "5")]
    pub notify: Option<Notify>,
    #[prost(int32, optional, tag = "7")]
    pub cr_errno: Option<i32>,
    #[prost(message, optional, tag = "8")]
    pub features: Option<Features>,
    #[prost(string, optional, tag = "9")]
    pub cr_errmsg: Option<String>,
    #[prost(message, optional, tag = "10")]
    pub version: Option<VersionResp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_bytes_that_criu_reads() {
        // Protocol buffers' wire format (protobuf.dev, "Encoding"), by hand: tag 1, then tag 2 with its 7 bytes.
        let opts = Opts { images_dir_fd: 7, pid: Some(300), leave_running: Some(true), ..Opts::default() };
        let req = Req { opts: Some(opts), ..Req::of(ReqType::Dump) };
        assert_eq!(req.encode_to_vec(), [0x08, 1, 0x12, 7, 0x08, 7, 0x10, 0xac, 0x02, 0x18, 1]);
    }

    #[test]
    fn an_answer_with_fields_that_nobody_knows_is_understood() {
        let mut bytes = Resp {
            r#type: ReqType::Restore as i32,
            success: true,
            restore: Some(RestoreResp { pid: 4711 }),
            ..Resp::default()
        }
        .encode_to_vec();
        // Field 90, a string of two bytes.
        bytes.extend([0xd2, 0x05, 2, b'h', b'i']);
        assert_eq!(Resp::decode(bytes.as_slice()).unwrap().restore.unwrap().pid, 4711);
        assert!(Resp::decode(&bytes[..3]).is_err());
    }
}
