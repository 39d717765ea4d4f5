//! stub
use corten::{config::Config, plan::Plan, request::Request};
pub fn check(_: &Plan, _: &Config, _: &Request) -> Result<(), String> {
    Ok(())
}
