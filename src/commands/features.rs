//! `corten features`: what this binary can do, for engines that ask before they call (features.md of the OCI runtime
//! specification). Lists come from the tables that the code itself reads, so the answer can't promise more than there
//! is.

use std::collections::BTreeMap;

use serde::Serialize;

use super::version;
use crate::cgroups::systemd;
use crate::criu::probe::CONFIG_ANNOTATION;
use crate::error::{Doing, Result};
use crate::namespaces;
use crate::process::hooks::Kind;
use crate::process::scheduler::{MEMORY_FLAGS, MEMORY_MODES};
use crate::process::seccomp::plan::{ACTIONS, ARCHITECTURES, FLAGS, OPERATORS};
use crate::rootfs::options;
use crate::sys::seccomp as kernel;

/// Oldest configs that are understood.
const OCI_VERSION_MIN: &str = "1.0.0";

/// Prints the features.
pub fn run() -> Result<i32> {
    super::print(&render_features(&options::NAMES).doing(|| "print the features")?)?;
    Ok(0)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Features<'a> {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: [&'static str; 6],
    mount_options: Vec<&'a str>,
    linux: Linux<'a>,
    annotations: BTreeMap<&'static str, String>,
    potentially_unsafe_config_annotations: [&'static str; 2],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux<'a> {
    namespaces: Vec<&'a str>,
    capabilities: Vec<String>,
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: IntelRdt,
    memory_policy: MemoryPolicy,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: Vec<&'static str>,
    operators: Vec<&'static str>,
    archs: Vec<&'static str>,
    known_flags: Vec<&'static str>,
    /// Those that this kernel knows too.
    supported_flags: Vec<&'static str>,
}

impl Seccomp {
    fn probe() -> Seccomp {
        let supported = FLAGS.iter().filter(|(.., bit)| kernel::knows_flag(*bit));
        Seccomp {
            enabled: true,
            actions: sorted(&ACTIONS),
            operators: sorted(&OPERATORS),
            archs: sorted(&ARCHITECTURES.iter().map(|(_, known)| known.name).collect::<Vec<_>>()),
            known_flags: sorted(&FLAGS.map(|(name, ..)| name)),
            supported_flags: sorted(&supported.map(|(name, ..)| *name).collect::<Vec<_>>()),
        }
    }
}

#[derive(Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Serialize)]
struct MemoryPolicy {
    modes: [&'static str; 7],
    flags: [&'static str; 3],
}

#[derive(Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

/// The JSON document, indented by four as its readers are used to.
fn render_features(mount_options: &[&str]) -> std::io::Result<Vec<u8>> {
    let annotations = [
        ("io.github.seccomp.libseccomp.version", version::libseccomp()),
        ("org.corten.commit", version::COMMIT.to_owned()),
        ("org.corten.version", version::VERSION.to_owned()),
        // The name that engines look for, whoever's it was.
        ("org.opencontainers.runc.checkpoint.enabled", "true".to_owned()),
    ];
    let features = Features {
        oci_version_min: OCI_VERSION_MIN,
        oci_version_max: version::SPEC,
        hooks: Kind::ALL.map(Kind::name),
        mount_options: sorted(mount_options),
        linux: Linux {
            namespaces: namespaces::Kind::ALL.map(namespaces::Kind::name).to_vec(),
            capabilities: capabilities(),
            cgroup: Cgroup { v1: true, v2: true, systemd: true, systemd_user: true, rdma: true },
            seccomp: Seccomp::probe(),
            apparmor: Enabled { enabled: true },
            selinux: Enabled { enabled: true },
            intel_rdt: IntelRdt { enabled: true, schemata: true, monitoring: true },
            memory_policy: MemoryPolicy {
                modes: MEMORY_MODES.map(|(name, _)| name),
                flags: MEMORY_FLAGS.map(|(name, _)| name),
            },
            // An idmapped mount is there when its option is.
            mount_extensions: MountExtensions { idmap: Enabled { enabled: mount_options.contains(&"idmap") } },
            net_devices: Enabled { enabled: true },
        },
        annotations: BTreeMap::from(annotations),
        potentially_unsafe_config_annotations: [CONFIG_ANNOTATION, systemd::annotations::PREFIX],
    };
    let mut bytes = Vec::with_capacity(4096);
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    features.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn sorted<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

/// Every capability that corten can name, by number.
fn capabilities() -> Vec<String> {
    let mut all: Vec<caps::Capability> = caps::all().into_iter().collect();
    all.sort_unstable_by_key(|capability| capability.index());
    all.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_follows_the_specification_s_schema() {
        let bytes = render_features(&["rro", "bind"]).unwrap();
        let features: oci_spec::runtime::Features = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(features.oci_version_max(), "1.3.0");
        assert_eq!(features.mount_options().as_ref().unwrap(), &["bind", "rro"]);
        let linux = features.linux().as_ref().unwrap();
        assert_eq!(linux.namespaces().as_ref().unwrap().len(), 8);
        let capabilities = linux.capabilities().as_ref().unwrap();
        assert_eq!(capabilities[0], "CAP_CHOWN");
        assert_eq!(capabilities.len(), 41);
        assert_eq!(linux.memory_policy().as_ref().unwrap().modes().as_ref().unwrap().len(), 7);
        let cgroup = serde_json::to_value(linux.cgroup()).unwrap();
        let all = serde_json::json!({"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true});
        assert_eq!(cgroup, all);
        assert_eq!(
            features.potentially_unsafe_config_annotations().as_ref().unwrap(),
            &["org.criu.config", "org.systemd.property."]
        );
        assert!(features.annotations().as_ref().unwrap().contains_key("org.corten.version"));
        assert!(String::from_utf8(bytes).unwrap().starts_with("{\n    \"ociVersionMin\": \"1.0.0\",\n"));
    }

    #[test]
    fn what_filters_may_say_is_announced() {
        let value: serde_json::Value = serde_json::from_slice(&render_features(&[]).unwrap()).unwrap();
        let seccomp = &value["linux"]["seccomp"];
        assert_eq!(seccomp["enabled"], true);
        for (list, length) in [("actions", 9), ("operators", 7), ("archs", 23), ("knownFlags", 4)] {
            assert_eq!(seccomp[list].as_array().unwrap().len(), length, "{list}");
        }
        assert!(seccomp["supportedFlags"].as_array().unwrap().contains(&"SECCOMP_FILTER_FLAG_LOG".into()));
    }

    #[test]
    fn what_is_not_built_is_not_announced() {
        let bytes = render_features(&[]).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["linux"]["mountExtensions"]["idmap"]["enabled"], false);
    }
}
