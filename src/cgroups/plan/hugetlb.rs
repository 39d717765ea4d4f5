//! `hugepageLimits`: bytes of huge pages, in use and, since Linux 5.7, reserved
//! (Documentation/admin-guide/cgroup-v1/hugetlb.rst).

use oci_spec::runtime::LinuxHugepageLimit;

use super::super::group::Version;
use super::resources::Planner;
use crate::field::Field;

pub(super) fn plan_hugepages(limits: &[LinuxHugepageLimit], at: &Field, planner: &mut Planner) {
    for (index, limit) in limits.iter().enumerate() {
        let field = at.index(index).key("limit");
        let Some(place) = planner.place("hugetlb", &field) else { continue };
        let word = match place.version {
            Version::V1 => "limit_in_bytes",
            Version::V2 => "max",
        };
        let (size, bytes) = (limit.page_size(), limit.limit());
        planner.write(place, &format!("hugetlb.{size}.{word}"), bytes, &field);
        planner.write_if_present(place, &format!("hugetlb.{size}.rsvd.{word}"), bytes, &field);
    }
}
