//! Plans a container's class of service (runtime-spec, config-linux.md, "IntelRdt"). Pure.

use oci_spec::runtime::{LinuxIntelRdt, Spec};

use super::super::Op;
use super::super::rdt::Rdt;
use crate::error::Violation;
use crate::field::Field;
use crate::plan::Step;
use crate::request::Request;

/// What resource control contributes to a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RdtPlan {
    pub rdt: Option<Rdt>,
    /// On the child that waits, before the hooks.
    pub mounted: Vec<Step>,
    pub undo: Vec<Step>,
}

/// Plans the class that the config asks for.
///
/// # Errors
/// A host without the file system.
pub fn plan_rdt(spec: &Spec, request: &Request) -> Result<RdtPlan, Vec<Violation>> {
    let Some(asked) = spec.linux().as_ref().and_then(|linux| linux.intel_rdt().as_ref()) else {
        return Ok(RdtPlan::default());
    };
    let field = Field::at("/linux/intelRdt");
    let Some(resctrl) = &request.resctrl else {
        let why = "intelRdt is set, but this host has no file system resctrl";
        let hint = "mount it by `mount -t resctrl resctrl /sys/fs/resctrl`; it takes a CPU with RDT or QoS, and CONFIG_X86_CPU_RESCTRL";
        return Err(vec![Violation::new(field, why).hint(hint)]);
    };
    let named = asked.clos_id().as_deref().filter(|id| !id.is_empty());
    let watched = asked.enable_monitoring().unwrap_or(false);
    let rdt = Rdt {
        mount: resctrl.mount.clone(),
        class: named.map_or(request.id.as_str(), |id| if id == "/" { "" } else { id }).to_owned(),
        own: named.is_none(),
        monitor: watched.then(|| request.id.clone()),
        pretended: resctrl.pretended,
    };
    let schemata = schemata(asked);
    let step = |op: Op| Step::new(op, field.clone());
    Ok(RdtPlan {
        mounted: vec![step(Op::MakeClass { rdt: rdt.clone(), schemata }), step(Op::EnterClass { rdt: rdt.clone() })],
        undo: vec![Step::new(Op::RemoveClass { rdt: rdt.clone() }, Field::RUNTIME)],
        rdt: Some(rdt),
    })
}

/// The lines, in the order in which the spec has them override each other. One of the cache's that is about bandwidth
/// gives way to the one of its own property.
fn schemata(asked: &LinuxIntelRdt) -> Vec<String> {
    let bandwidth = asked.mem_bw_schema().as_deref().filter(|line| !line.trim().is_empty());
    let cache = asked.l3_cache_schema().iter().flat_map(|text| text.lines());
    let cache = cache.filter(|line| bandwidth.is_none() || !line.trim_start().starts_with("MB:"));
    let all = cache.chain(bandwidth).chain(asked.schemata().iter().flatten().map(String::as_str));
    all.map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::render;
    use crate::request::{Mode, Resctrl};
    use serde_json::{Value, json};

    fn planned(rdt: Value, resctrl: bool) -> Result<RdtPlan, Vec<Violation>> {
        let spec = serde_json::from_value(json!({"ociVersion": "1.3.0", "linux": {"intelRdt": rdt}})).unwrap();
        let resctrl = resctrl.then(|| Resctrl { mount: "/r".into(), pretended: false });
        plan_rdt(&spec, &Request { resctrl, ..Request::new("web", "/b", Mode::Create) })
    }

    fn words(rdt: Value) -> Vec<String> {
        planned(rdt, true).unwrap().mounted.iter().map(|step| render(&step.op)).collect()
    }

    #[test]
    fn without_an_id_the_class_is_the_containers_own() {
        let plan = planned(json!({"enableMonitoring": true}), true).unwrap();
        let rdt = plan.rdt.unwrap();
        assert_eq!((rdt.class.as_str(), rdt.own, rdt.monitor.as_deref()), ("web", true, Some("web")));
        assert_eq!(words(json!({})), ["make the class of service /r/web", "enter the class of service /r/web"]);
        let default = planned(json!({"closID": "/"}), true).unwrap().rdt.unwrap();
        assert_eq!((default.dir().to_str().unwrap(), default.own), ("/r/", false));
    }

    #[test]
    fn the_schemata_come_in_the_order_of_the_spec() {
        let all = json!({"closID": "gold", "l3CacheSchema": "L3:0=f\nMB:0=10", "memBwSchema": "MB:0=20", "schemata": ["L2:0=3", "MB:0=30"]});
        assert_eq!(words(all)[0], "make the class of service /r/gold, or find it so: L3:0=f; MB:0=20; L2:0=3; MB:0=30");
        assert_eq!(
            words(json!({"l3CacheSchema": "L3:0=f\nMB:0=10"}))[0],
            "make the class of service /r/web: L3:0=f; MB:0=10"
        );
    }

    #[test]
    fn a_host_without_it_is_told() {
        let why = planned(json!({}), false).unwrap_err()[0].to_string();
        assert_eq!(why, "linux.intelRdt: intelRdt is set, but this host has no file system resctrl");
        assert_eq!(
            plan_rdt(
                &serde_json::from_value(json!({"ociVersion": "1.3.0"})).unwrap(),
                &Request::new("w", "/", Mode::Create)
            ),
            Ok(RdtPlan::default())
        );
    }
}
