//! What `events` tells of resource control, in the words of runc's intel_rdt.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::Rdt;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct IntelRdt {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<CacheInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_schema_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_schema: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<BandwidthInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_schema_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_schema: Option<String>,
    /// The class's lines, all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbm_stats: Option<Vec<Bandwidth>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmt_stats: Option<Vec<Occupancy>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CacheInfo {
    pub cbm_mask: String,
    pub min_cbm_bits: u64,
    pub num_closids: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BandwidthInfo {
    pub bandwidth_gran: u64,
    pub delay_linear: u64,
    pub min_bandwidth: u64,
    pub num_closids: u64,
}

/// Of one domain; bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Bandwidth {
    pub mbm_total_bytes: u64,
    pub mbm_local_bytes: u64,
}

/// Of one domain; bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Occupancy {
    pub llc_occupancy: u64,
}

/// Reads them; what the CPU doesn't have is left out.
pub fn probe(rdt: &Rdt) -> IntelRdt {
    let text = |path: &str| fs::read_to_string(rdt.mount.join(path)).ok().map(|text| text.trim().to_owned());
    let number = |path: &str| text(path).and_then(|text| text.parse().ok()).unwrap_or(0);
    let schemata = |dir: &Path| fs::read_to_string(dir.join("schemata")).unwrap_or_default();
    let line = |text: &str, resource: &str| {
        text.lines().map(str::trim).find(|line| line.starts_with(resource)).map(str::to_owned)
    };
    let (root, own) = (schemata(&rdt.mount), schemata(&rdt.dir()));
    let watched = rdt.monitor_dir().unwrap_or_else(|| rdt.dir()).join("mon_data");
    let (mbm_stats, cmt_stats) = monitored(&watched).unzip();
    IntelRdt {
        l3_cache_info: text("info/L3/cbm_mask").map(|cbm_mask| CacheInfo {
            cbm_mask,
            min_cbm_bits: number("info/L3/min_cbm_bits"),
            num_closids: number("info/L3/num_closids"),
        }),
        l3_cache_schema_root: line(&root, "L3"),
        l3_cache_schema: line(&own, "L3"),
        mem_bw_info: text("info/MB/min_bandwidth").map(|_| BandwidthInfo {
            bandwidth_gran: number("info/MB/bandwidth_gran"),
            delay_linear: number("info/MB/delay_linear"),
            min_bandwidth: number("info/MB/min_bandwidth"),
            num_closids: number("info/MB/num_closids"),
        }),
        mem_bw_schema_root: line(&root, "MB"),
        mem_bw_schema: line(&own, "MB"),
        schemata: own.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect(),
        mbm_stats,
        cmt_stats,
    }
}

/// By domain, in the order of their names: `mon_L3_00`, `mon_L3_01`.
fn monitored(dir: &Path) -> Option<(Vec<Bandwidth>, Vec<Occupancy>)> {
    let mut domains: Vec<_> = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).collect();
    domains.sort();
    let number = |domain: &Path, name: &str| {
        fs::read_to_string(domain.join(name)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    };
    let of = |domain: &std::path::PathBuf| {
        let bandwidth = Bandwidth {
            mbm_total_bytes: number(domain, "mbm_total_bytes"),
            mbm_local_bytes: number(domain, "mbm_local_bytes"),
        };
        (bandwidth, Occupancy { llc_occupancy: number(domain, "llc_occupancy") })
    };
    Some(domains.iter().map(of).unzip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cpu_has_is_told_and_the_rest_left_out() {
        let mount = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = mount.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let rdt = Rdt {
            mount: mount.path().to_owned(),
            class: "web".into(),
            own: true,
            monitor: Some("web".into()),
            pretended: true,
        };
        let text = |stats: &IntelRdt| serde_json::to_string(stats).unwrap();
        assert_eq!(text(&probe(&rdt)), "{}");
        put("info/L3/cbm_mask", "fffff\n");
        put("info/L3/min_cbm_bits", "1\n");
        put("info/L3/num_closids", "16\n");
        put("schemata", "    L3:0=fffff\n");
        put("web/schemata", "    L3:0=000ff\n    MB:0=20\n");
        put("web/mon_groups/web/mon_data/mon_L3_00/llc_occupancy", "4096\n");
        put("web/mon_groups/web/mon_data/mon_L3_00/mbm_total_bytes", "77\n");
        let expected = r#"{"l3_cache_info":{"cbm_mask":"fffff","min_cbm_bits":1,"num_closids":16},"#.to_owned()
            + r#""l3_cache_schema_root":"L3:0=fffff","l3_cache_schema":"L3:0=000ff","mem_bw_schema":"MB:0=20","#
            + r#""schemata":["L3:0=000ff","MB:0=20"],"mbm_stats":[{"mbm_total_bytes":77,"mbm_local_bytes":0}],"#
            + r#""cmt_stats":[{"llc_occupancy":4096}]}"#;
        assert_eq!(text(&probe(&rdt)), expected);
    }
}
