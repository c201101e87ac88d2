//! Defaults that the API server fills in.

pub fn enabled() -> bool {
    true
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
