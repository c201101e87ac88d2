//! Asks over HTTP/1.1 on connections that stay open: as fast as answers come, or at a fixed rate.
//!
//! At a fixed rate each connection is a thread that blocks, so that a request leaves when it is due and
//! not when a timer's tick comes; its time counts from then: what waits because an earlier answer is late
//! counts as late too. As fast as answers come all connections are one thread's, which takes several at a
//! time, so that the proxy is not interrupted for each by who waits for it.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Builder,
};

/// How long an answer may take before its request has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked, of whom and how.
#[derive(Clone, Copy)]
pub struct Load<'a> {
    pub target: SocketAddr,
    /// Each connection goes round them, from another beginning.
    pub paths: &'a [String],
    pub connections: usize,
    /// Requests a second over all connections; `None`: the next follows each answer.
    pub rate: Option<f64>,
    pub time: Duration,
}

/// What came of it.
#[derive(Default)]
pub struct Outcome {
    pub answered: usize,
    /// Answers that were not 200, and connections that broke.
    pub failed: usize,
    /// In microseconds, sorted.
    latencies: Vec<u32>,
}

impl Load<'_> {
    pub fn run(&self) -> Result<Outcome> {
        match self.rate {
            Some(rate) => self.paced(rate),
            None => Builder::new_current_thread().enable_io().build()?.block_on(self.unpaced()),
        }
    }

    async fn unpaced(&self) -> Result<Outcome> {
        let all = try_join_all((0..self.connections).map(|index| self.rapid(index))).await?;
        let answered = all.iter().map(|it| it.answered).sum();
        Ok(Outcome { answered, failed: all.iter().map(|it| it.failed).sum(), latencies: Vec::new() })
    }

    async fn rapid(&self, index: usize) -> Result<Outcome> {
        let mut stream = tokio::net::TcpStream::connect(self.target).await?;
        stream.set_nodelay(true)?;
        let (mut outcome, mut read, started) =
            (Outcome::default(), Vec::with_capacity(8 * 1024), Instant::now());
        for turn in 0.. {
            if started.elapsed() >= self.time {
                break;
            }
            stream.write_all(request(self.path(index, turn), "").as_bytes()).await?;
            read.clear();
            match rest(&mut stream, &mut read).await.with_context(|| format!("ask {}", self.target))? {
                200 => outcome.answered += 1,
                _ => outcome.failed += 1,
            }
        }
        Ok(outcome)
    }

    fn path(&self, index: usize, turn: usize) -> &str {
        &self.paths[(index * 37 + turn) % self.paths.len()]
    }

    fn paced(&self, rate: f64) -> Result<Outcome> {
        let begin = Barrier::new(self.connections);
        let outcomes = thread::scope(|scope| {
            let one = |index| {
                let begin = &begin;
                // A thread needs little; hundreds of them should too.
                let builder = thread::Builder::new().stack_size(128 * 1024);
                builder.spawn_scoped(scope, move || self.connection(rate, index, begin))
            };
            let threads = (0..self.connections).map(one).collect::<io::Result<Vec<_>>>()?;
            threads
                .into_iter()
                .map(|thread| thread.join().expect("it does not panic"))
                .collect::<Result<Vec<_>>>()
        })?;
        let mut all = Outcome::default();
        for Outcome { answered, failed, latencies } in outcomes {
            all.answered += answered;
            all.failed += failed;
            all.latencies.extend(latencies);
        }
        all.latencies.sort_unstable();
        Ok(all)
    }

    fn connection(&self, rate: f64, index: usize, begin: &Barrier) -> Result<Outcome> {
        let client = Client::connect(self.target);
        begin.wait();
        let (mut client, mut outcome) = (client?, Outcome::default());
        let started = Instant::now();
        for turn in 0.. {
            let due = started + Duration::from_secs_f64((turn * self.connections + index) as f64 / rate);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if started.elapsed() >= self.time {
                break;
            }
            match client.get(self.path(index, turn)) {
                Ok(200) => {
                    outcome.answered += 1;
                    outcome.latencies.push(u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX));
                }
                Ok(_) => outcome.failed += 1,
                Err(_) => {
                    outcome.failed += 1;
                    client = Client::connect(self.target)?;
                }
            }
        }
        Ok(outcome)
    }
}

impl Outcome {
    /// What 99 of 100 answers took less than, in milliseconds.
    pub fn p99(&self) -> f64 {
        let rank = self.latencies.len() * 99 / 100;
        self.latencies.get(rank).map_or(f64::NAN, |micros| f64::from(*micros) / 1e3)
    }

    /// Fail where requests have.
    pub fn check(self, what: &str) -> Result<Self> {
        if self.failed > 0 || self.answered == 0 {
            bail!("{what}: {} of {} requests failed", self.failed, self.failed + self.answered);
        }
        Ok(self)
    }
}

/// A connection that waits for each answer.
pub struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub fn connect(target: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(target).with_context(|| format!("connect to {target}"))?;
        Self::over(stream)
    }

    pub fn over(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// The status of the answer, once all of it is here.
    pub fn get(&mut self, path: &str) -> io::Result<u16> {
        self.ask(path, "")
    }

    /// The same, with more lines of the head.
    pub fn ask(&mut self, path: &str, head: &str) -> io::Result<u16> {
        self.stream.write_all(request(path, head).as_bytes())?;
        self.read.clear();
        let mut piece = [0; 8 * 1024];
        loop {
            let count = self.stream.read(&mut piece)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.read.extend_from_slice(&piece[..count]);
            if let Some(status) = whole(&self.read)? {
                return Ok(status);
            }
        }
    }
}

/// The text of a request, with more lines of the head.
pub fn request(path: &str, head: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: bench.example\r\nAccept: */*\r\n{head}\r\n")
}

/// Read the rest of an answer behind what was read of it; gives its status. What has come is not lost where
/// nobody waits for the rest.
pub async fn rest(stream: &mut tokio::net::TcpStream, read: &mut Vec<u8>) -> Result<u16> {
    loop {
        if let Some(status) = whole(read)? {
            return Ok(status);
        }
        if stream.read_buf(read).await? == 0 {
            bail!("a connection was closed in the middle of an answer");
        }
    }
}

/// The status of an answer, where all of it has come.
fn whole(bytes: &[u8]) -> io::Result<Option<u16>> {
    let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") else { return Ok(None) };
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| invalid())?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(invalid)?;
    let header = |name: &str| {
        head.lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.trim()))
    };
    let done = match header("content-length").map(str::parse::<usize>) {
        Some(length) => bytes.len() >= end + 4 + length.map_err(|_| invalid())?,
        None => header("transfer-encoding").is_none() || bytes.ends_with(b"\r\n0\r\n\r\n"),
    };
    Ok(done.then_some(status))
}
