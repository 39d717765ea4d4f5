//! Updates as they come, one behind the other, and what a container has after each.

use std::ffi::CString;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::cgroups::plan::resources::{Current, plan_resources};
use crate::cgroups::{Group, Place};

fn group(version: Version) -> Group {
    let all = "cpuset cpu blkio io memory net_cls net_prio hugetlb pids rdma";
    let controllers = all.split(' ').map(str::to_owned).collect();
    Group {
        places: vec![Place { version, controllers, mount: "/c".into(), path: PathBuf::from("1"), made: 0 }],
        unit: None,
    }
}

/// `before` with an update that a cgroup of this version takes; `None` for one that it refuses.
fn try_update(before: &Value, asked: &Value, version: Version, current: &Current) -> Option<Value> {
    let resources = serde_json::from_value(asked.clone()).unwrap();
    let limits = plan_resources(&resources, &Field::RUNTIME, &group(version), current).ok()?;
    let (ignored, asked) = (limits.ignored.clone(), serde_json::to_value(&resources).unwrap());
    let mut now = before.clone();
    let steps = limits.into_steps();
    merge(&mut now, &Applied { asked: &asked, ignored: &ignored, steps: &steps, memory: Some(version) });
    Some(now)
}

fn updated(before: Value, asked: Value, version: Version) -> Value {
    let current = Current { memory_limit: Some(1), ..Current::fresh() };
    try_update(&before, &asked, version, &current).expect("an update that can be planned")
}

fn v2(before: Value, asked: Value) -> Value {
    updated(before, asked, Version::V2)
}

fn v1(before: Value, asked: Value) -> Value {
    updated(before, asked, Version::V1)
}

#[test]
fn an_update_changes_the_properties_that_it_names_and_no_other() {
    let before = json!({"devices": [{"allow": false, "access": "rwm"}], "memory": {"limit": 100, "org.example": 1},
        "cpu": {"quota": 5000, "period": 10000}, "pids": null});
    let now = v2(before, json!({"cpu": {"period": 20000}, "pids": {"limit": 7}}));
    let expected = json!({"devices": [{"allow": false, "access": "rwm"}], "memory": {"limit": 100, "org.example": 1},
        "cpu": {"quota": 5000, "period": 20000}, "pids": {"limit": 7}});
    assert_eq!(now, expected);
    assert_eq!(v2(now, json!({"memory": {"reservation": 50}}))["pids"], json!({"limit": 7}));
    assert_eq!(v2(Value::Null, json!({"pids": {"limit": 7}})), json!({"pids": {"limit": 7}}));
}

#[test]
fn what_asks_for_nothing_leaves_no_trace() {
    let asked = json!({"devices": [{"allow": true, "access": "rwm"}],
        "memory": {"limit": 0, "reservation": 0, "swap": 0, "kernel": 5, "kernelTCP": 0, "checkBeforeUpdate": true},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0, "cpus": "", "mems": " "},
        "blockIO": {"weight": 0, "leafWeight": 0, "weightDevice": [{"major": 8, "minor": 0, "weight": 0}],
            "throttleReadBpsDevice": []},
        "hugepageLimits": [], "network": {"classID": 0, "priorities": []}, "rdma": {"mlx": {}}, "unified": {}});
    for version in [Version::V1, Version::V2] {
        assert_eq!(updated(json!({}), asked.clone(), version), json!({}));
    }
    // Where 0 is a value it is one.
    let zeros = json!({"memory": {"swappiness": 0}, "cpu": {"burst": 0, "idle": 0}, "pids": {"limit": 0}});
    assert_eq!(v1(json!({}), zeros.clone()), zeros);
}

#[test]
fn what_a_version_has_nothing_for_is_not_said_to_be_there() {
    let asked = json!({"memory": {"swappiness": 5, "kernelTCP": 7, "disableOOMKiller": true, "reservation": 4},
        "cpu": {"realtimeRuntime": 5, "realtimePeriod": 9},
        "blockIO": {"leafWeight": 10, "weightDevice": [{"major": 8, "minor": 0, "leafWeight": 10},
            {"major": 8, "minor": 1, "weight": 20, "leafWeight": 10}]},
        "network": {"classID": 3, "priorities": [{"name": "lo", "priority": 1}, {"name": "eth0", "priority": 2}]}});
    let expected = json!({"memory": {"reservation": 4},
        "blockIO": {"weightDevice": [{"major": 8, "minor": 1, "weight": 20}]}});
    assert_eq!(v2(json!({}), asked.clone()), expected);
    assert_eq!(v1(json!({}), asked.clone()), asked);
}

#[test]
fn members_of_lists_are_known_by_their_names() {
    let before = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}, {"pageSize": "1GB", "limit": 2}],
        "blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 10, "leafWeight": 20}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 5}, {"major": 8, "minor": 16, "rate": 6}]},
        "network": {"priorities": [{"name": "lo", "priority": 1}]}, "rdma": {"mlx": {"hcaHandles": 1, "hcaObjects": 2}}});
    let asked = json!({"hugepageLimits": [{"pageSize": "1GB", "limit": 0}, {"pageSize": "64KB", "limit": 3}],
        "blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 30}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}, {"major": 8, "minor": 32, "rate": 7}]},
        "network": {"priorities": [{"name": "lo", "priority": 0}]}, "rdma": {"mlx": {"hcaHandles": 0}, "hfi": {"hcaObjects": 4}}});
    let expected = json!({
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}, {"pageSize": "1GB", "limit": 0}, {"pageSize": "64KB", "limit": 3}],
        "blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 30, "leafWeight": 20}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 16, "rate": 6}, {"major": 8, "minor": 32, "rate": 7}]},
        "network": {"priorities": [{"name": "lo", "priority": 0}]},
        "rdma": {"mlx": {"hcaHandles": 0, "hcaObjects": 2}, "hfi": {"hcaObjects": 4}}});
    assert_eq!(v1(before, asked), expected);
}

#[test]
fn a_new_limit_of_memory_moves_the_sum_with_swap_where_swap_is_counted_apart() {
    let before = json!({"memory": {"limit": 100, "swap": 150}});
    assert_eq!(v2(before.clone(), json!({"memory": {"limit": 40}})), json!({"memory": {"limit": 40, "swap": 90}}));
    assert_eq!(v1(before.clone(), json!({"memory": {"limit": 40}})), json!({"memory": {"limit": 40, "swap": 150}}));
    for version in [Version::V1, Version::V2] {
        let no_limit = updated(before.clone(), json!({"memory": {"limit": -1}}), version);
        assert_eq!(no_limit, json!({"memory": {"limit": -1, "swap": -1}}));
        let both = updated(before.clone(), json!({"memory": {"limit": 30, "swap": 60}}), version);
        assert_eq!(both, json!({"memory": {"limit": 30, "swap": 60}}));
        let alone = updated(json!({"memory": {"limit": 100}}), json!({"memory": {"limit": 40}}), version);
        assert_eq!(alone, json!({"memory": {"limit": 40}}));
    }
}

#[test]
fn an_idle_cgroup_loses_its_shares_and_does_not_get_them_back() {
    let before = json!({"cpu": {"shares": 512, "quota": 5000}});
    let idle = v2(before.clone(), json!({"cpu": {"idle": 1}}));
    assert_eq!(idle, json!({"cpu": {"idle": 1, "quota": 5000}}));
    assert_eq!(v2(idle.clone(), json!({"cpu": {"idle": 0}})), json!({"cpu": {"idle": 0, "quota": 5000}}));
    let again = v2(idle, json!({"cpu": {"idle": 0, "shares": 7}}));
    assert_eq!(again, json!({"cpu": {"idle": 0, "shares": 7, "quota": 5000}}));
    assert_eq!(v2(before, json!({"cpu": {"idle": 0}}))["cpu"]["shares"], 512);
}

#[test]
fn a_file_of_unified_and_a_property_that_is_the_same_agree() {
    let before = json!({"unified": {"pids.max": "5", "io.max": "8:0 rbps=1 wbps=2\n8:16 riops=3", "memory.high": "9"}});
    let asked =
        json!({"pids": {"limit": 7}, "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 4}]}});
    let now = v2(before, asked);
    assert_eq!(now["pids"]["limit"], 7);
    let files = json!({"pids.max": "7", "io.max": "8:0 rbps=4 wbps=2\n8:16 riops=3", "memory.high": "9"});
    assert_eq!(now["unified"], files);
    let asked = json!({"unified": {"io.max": "8:16 riops=max wiops=6\n8:32 rbps=1", "memory.high": "\n8\n", "cpu.max": "5000 9000"}});
    let files = json!({"pids.max": "7", "io.max": "8:0 rbps=4 wbps=2\n8:16 riops=max wiops=6\n8:32 rbps=1",
        "memory.high": "8", "cpu.max": "5000 9000"});
    assert_eq!(v2(now, asked)["unified"], files);
    let weights =
        v2(json!({"unified": {"io.weight": "default 100\n8:0 50"}}), json!({"unified": {"io.weight": "default 7"}}));
    assert_eq!(weights["unified"]["io.weight"], "default 7\n8:0 50");
}

#[test]
fn a_step_that_writes_no_limit_changes_nothing() {
    let nothing = Step::new(Op::OpenLimit { file: CString::default(), slot: crate::slots::Slot(0) }, Field::RUNTIME);
    let mut now = json!({"unified": {"pids.max": "5"}});
    let applied = Applied { asked: &json!({}), ignored: &[], steps: &[nothing], memory: None };
    merge(&mut now, &applied);
    assert_eq!(now, json!({"unified": {"pids.max": "5"}}));
}

fn any_update() -> impl Strategy<Value = Value> {
    let limit = || prop::option::of(prop_oneof![Just(-1i64), 0i64..1 << 40]);
    let small = || prop::option::of(0u64..300_000);
    let device = prop::option::of((0u64..3, 0u64..9));
    (limit(), limit(), limit(), small(), prop::option::of(0u64..2), small(), device).prop_map(
        |(memory, swap, pids, shares, idle, quota, device)| {
            let mut update = json!({});
            memory.into_iter().for_each(|limit| update["memory"]["limit"] = json!(limit));
            swap.into_iter().for_each(|sum| update["memory"]["swap"] = json!(sum));
            pids.into_iter().for_each(|limit| update["pids"]["limit"] = json!(limit));
            shares.into_iter().for_each(|shares| update["cpu"]["shares"] = json!(shares));
            idle.into_iter().for_each(|idle| update["cpu"]["idle"] = json!(idle));
            quota.into_iter().for_each(|quota| update["cpu"]["quota"] = json!(quota));
            device.into_iter().for_each(|(minor, rate)| {
                update["blockIO"]["throttleReadBpsDevice"] = json!([{"major": 8, "minor": minor, "rate": rate}])
            });
            update
        },
    )
}

proptest! {
    #[test]
    fn the_same_update_twice_is_once_and_what_comes_out_can_be_planned(
        updates in prop::collection::vec(any_update(), 1..6),
    ) {
        for version in [Version::V1, Version::V2] {
            let mut now = json!({});
            for update in &updates {
                let limit = now.pointer("/memory/limit").and_then(Value::as_i64);
                let current = Current { memory_limit: limit.and_then(|limit| limit.try_into().ok()), ..Current::fresh() };
                // One that the container refuses changes nothing.
                let Some(then) = try_update(&now, update, version, &current) else { continue };
                let number = |pointer| then.pointer(pointer).and_then(Value::as_i64).filter(|number| *number > 0);
                if number("/memory/limit").zip(number("/memory/swap")).is_some_and(|(limit, sum)| limit > sum) {
                    prop_assert_eq!(version, Version::V1, "{} {}", now, update);
                    // The kernel itself refuses it there (mem_cgroup_resize_max).
                    continue;
                }
                let current = Current {
                    memory_limit: then.pointer("/memory/limit").and_then(Value::as_i64).and_then(|limit| limit.try_into().ok()),
                    ..Current::fresh()
                };
                prop_assert_eq!(try_update(&then, update, version, &current), Some(then.clone()));
                now = then;
            }
            let resources = serde_json::from_value(now.clone()).unwrap();
            let planned = plan_resources(&resources, &Field::RUNTIME, &group(version), &Current::fresh());
            prop_assert!(planned.is_ok(), "{now}: {planned:?}");
        }
    }
}
