//! A reader of server-sent events, as plain as they are on the wire.

use std::{
    io::{BufRead, BufReader, ErrorKind, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

use crate::tracker::Tracker;

/// How long a message may take.
const BOUND: Duration = Duration::from_secs(20);

pub struct Stream {
    lines: BufReader<TcpStream>,
    /// What came with the greeting: a gap.
    first: Option<Message>,
}

#[derive(Debug, Default, PartialEq)]
pub struct Message {
    pub id: String,
    pub event: String,
    pub data: String,
}

impl Message {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Stream {
    /// Opens a stream and reads its greeting; the position where it begins.
    pub fn open(tracker: &Tracker, path: &str, headers: &str) -> (Self, String) {
        let mut connection = TcpStream::connect(&tracker.0.address).unwrap();
        connection.set_read_timeout(Some(BOUND)).unwrap();
        write!(connection, "GET {path} HTTP/1.0\r\nHost: x\r\n{headers}\r\n").unwrap();
        let mut stream = Self { lines: BufReader::new(connection), first: None };
        let head = stream.block().expect("a head");
        assert!(head.starts_with("HTTP/1.0 200 OK"), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        let greeting = stream.block().expect("a greeting");
        assert!(greeting.contains("retry: 1000"), "{greeting}");
        let first = parse(&greeting);
        let position = first.id.clone();
        stream.first = (!first.data.is_empty()).then_some(first);
        (stream, position)
    }

    /// The next message with data; `None` when the stream has ended.
    pub fn next(&mut self) -> Option<Message> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            let message = parse(&self.block()?);
            if !message.data.is_empty() {
                return Some(message);
            }
        }
    }

    /// The types of the next events.
    pub fn types(&mut self, count: usize) -> Vec<String> {
        let event = |_| self.next().expect("an event").json()["type"].as_str().unwrap().to_owned();
        (0..count).map(event).collect()
    }

    /// Lines up to an empty one.
    fn block(&mut self) -> Option<String> {
        let mut block = String::new();
        loop {
            let mut line = String::new();
            match self.lines.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) if line.trim().is_empty() => return Some(block),
                Ok(_) => block += &line,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no message within {BOUND:?}: {error}"),
            }
        }
    }
}

fn parse(block: &str) -> Message {
    let mut message = Message::default();
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("id", id)) => message.id = id.to_owned(),
            Some(("event", event)) => message.event = event.to_owned(),
            Some(("data", data)) => message.data += data,
            _ => {}
        }
    }
    message
}
