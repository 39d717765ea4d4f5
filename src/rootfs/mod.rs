pub mod apply {
    use crate::fault::Effect;
    use crate::slots::Slots;
    pub fn apply_host(_op: &super::Op, _slots: &mut Slots) -> Effect {
        Ok(())
    }
    pub fn apply(_op: &super::Op, _slots: &mut Slots) -> Effect {
        Ok(())
    }
}
pub mod plan {
    use crate::error::Violation;
    use crate::plan::Step;
    #[derive(Default)]
    pub struct RootfsPlan {
        pub host: Vec<Step>,
        pub mount: Vec<Step>,
        pub enter: Vec<Step>,
        pub finish: Vec<Step>,
    }
    pub fn plan_rootfs(
        _spec: &oci_spec::runtime::Spec,
        _host: &crate::host::Host,
        _request: &crate::request::Request,
        _slots: &mut crate::slots::SlotCounter,
    ) -> Result<RootfsPlan, Vec<Violation>> {
        Ok(RootfsPlan::default())
    }
}
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    BindConsole,
}
pub fn render(_op: &Op) -> String {
    String::new()
}
pub fn hint(_op: &Op, _t: crate::fault::Trouble) -> Option<&'static str> {
    None
}
