//! The Redis of the tests is one, and keeps what it was told.
#![expect(clippy::unwrap_used, reason = "part of tests")]

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use example_testing::Redis;

fn ask(url: &str, command: &str) -> String {
    let address = url.trim_start_matches("redis://").trim_end_matches("/0");
    let mut connection = TcpStream::connect(address).unwrap();
    write!(connection, "{command}\r\nQUIT\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn keeps_what_it_was_told_over_a_restart() {
    let redis = Redis::start();
    let url = redis.database(0);
    assert!(ask(&url, "SET a 1").starts_with("+OK"));
    redis.stop();
    redis.start_again();
    assert!(ask(&url, "GET a").starts_with("$1\r\n1"));
}
