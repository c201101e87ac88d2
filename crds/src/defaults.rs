//! Defaults: functions for those that the API server fills in, constants for those that hold where
//! neither a plugin nor its namespace's PluginSystem says anything.

use crate::{Duration, RetryCause};

/// The memory of a pod.
pub const MEMORY: &str = "256Mi";
/// The CPU that a pod may use.
pub const CPU: &str = "500m";
/// How long each of Initialize, Start and Stop may take.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// How long a hook may take.
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(30);

pub fn enabled() -> bool {
    true
}

pub fn auto_start() -> bool {
    true
}

pub fn hook_port() -> i32 {
    80
}

pub fn hook_path() -> String {
    "/".to_owned()
}

pub fn replicas() -> i32 {
    1
}

pub fn port() -> i32 {
    8080
}

pub fn method() -> String {
    "*".to_owned()
}

pub fn second() -> Duration {
    Duration::from_secs(1)
}

pub fn redirect_status() -> i32 {
    302
}

pub fn validate_max_bytes() -> i64 {
    65_536
}

pub fn compress_min_bytes() -> i64 {
    1024
}

pub fn respond_status() -> i32 {
    200
}

pub fn respond_content_type() -> String {
    "text/plain; charset=utf-8".to_owned()
}

pub fn api_key_header() -> String {
    "X-Api-Key".to_owned()
}

pub fn jwt_header() -> String {
    "Authorization".to_owned()
}

pub fn subject_claim() -> String {
    "sub".to_owned()
}

pub fn permissions_claim() -> String {
    "scope".to_owned()
}

pub fn clock_skew() -> Duration {
    Duration::from_secs(30)
}

pub fn failures() -> i32 {
    5
}

pub fn ejection() -> Duration {
    Duration::from_secs(10)
}

pub fn longest_ejection() -> Duration {
    Duration::from_secs(5 * 60)
}

pub fn max_ejected_percent() -> i32 {
    50
}

pub fn retry_attempts() -> i32 {
    1
}

pub fn retry_causes() -> Vec<RetryCause> {
    vec![RetryCause::Broken]
}

pub fn retry_budget_percent() -> i32 {
    20
}
