//! A steady load: so many requests a second, whatever the answers, and what became of them.

use std::{
    collections::BTreeMap,
    fmt,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use http::Request;
use http_body_util::BodyExt;
use hyper::client::conn::http1::SendRequest;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use crate::{Gateway, gateway::Body};

/// Connections that share the load. Enough that slow answers do not slow the load down.
const CONNECTIONS: u32 = 20;
/// Requests after which a connection is replaced: so that the load reaches every gateway, new
/// ones too.
const REQUESTS_PER_CONNECTION: u32 = 50;
/// A request that is not answered by then has failed.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A load that nobody stops ends by itself.
const LONGEST: Duration = Duration::from_secs(240);

/// A load that runs until it is stopped or dropped. It has a thread of its own, so that the test
/// does not disturb it.
pub struct Load {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<Result<Report>>>,
}

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Requests that were made.
    pub sent: usize,
    /// How many failed for which reason: a status of 400 or above, or an error.
    pub failures: BTreeMap<String, usize>,
    /// Requests made again because a kept connection was closed before any byte of an answer:
    /// what every client does for a GET.
    pub repeated: usize,
    /// How long the slowest answer took.
    pub slowest: Duration,
    /// How long the load ran.
    pub elapsed: Duration,
}

impl Load {
    /// GET `path` `rate` times a second.
    pub fn start(gateway: &Gateway, path: &str, rate: u32) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (gateway, path) = (gateway.clone(), path.to_owned());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || runtime.block_on(generate(&gateway, &path, rate, stopped)))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stop it and wait for the answers that are due.
    pub async fn stop(mut self) -> Result<Report> {
        self.stop.send_replace(true);
        let thread = self.thread.take().expect("it is stopped once");
        tokio::task::spawn_blocking(|| thread.join())
            .await?
            .map_err(|_| anyhow::anyhow!("the load panicked"))?
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Report {
    /// How many requests failed.
    pub fn failed(&self) -> usize {
        self.failures.values().sum()
    }

    /// Err where a request failed, or where the load was not half as heavy as `rate` a second: how close it comes
    /// is the machine's affair, and with hardly any requests none can fail.
    pub fn check(&self, rate: u32) -> Result<()> {
        let least = f64::from(rate) * self.elapsed.as_secs_f64() / 2.0;
        if (self.sent as f64) < least {
            bail!("the load was lighter than half of {rate} requests a second: {self}");
        }
        if self.failed() > 0 {
            bail!("requests failed: {self}");
        }
        Ok(())
    }

    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.repeated += other.repeated;
        self.slowest = self.slowest.max(other.slowest);
        for (reason, count) in other.failures {
            *self.failures.entry(reason).or_default() += count;
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, repeated, slowest, elapsed, failures } = self;
        let failed = self.failed();
        write!(
            f,
            "{sent} requests in {elapsed:.1?}, {failed} failed, {repeated} repeated, slowest {slowest:.1?}"
        )?;
        failures.iter().try_for_each(|(reason, count)| write!(f, "; {count} × {reason}"))
    }
}

/// Share the load out among connections and collect what became of it.
async fn generate(
    gateway: &Gateway,
    path: &str,
    rate: u32,
    stopped: watch::Receiver<bool>,
) -> Result<Report> {
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..CONNECTIONS {
        // The first requests are spread over one period, so that they do not come in bursts.
        let first = start + Duration::from_secs_f64(f64::from(number) / f64::from(rate));
        let period = Duration::from_secs_f64(f64::from(CONNECTIONS) / f64::from(rate));
        let client = Client {
            gateway: gateway.clone(),
            path: path.to_owned(),
            connection: None,
            report: Report::default(),
        };
        clients.spawn(client.run(first, period, stopped.clone()));
    }
    let mut report = Report::default();
    while let Some(one) = clients.join_next().await {
        report.add(one.context("join a client")?);
    }
    report.elapsed = start.elapsed();
    Ok(report)
}

/// One client with one connection at a time.
struct Client {
    gateway: Gateway,
    path: String,
    /// The connection, and how many requests it has carried.
    connection: Option<(SendRequest<Body>, u32)>,
    report: Report,
}

impl Client {
    async fn run(mut self, first: Instant, period: Duration, mut stopped: watch::Receiver<bool>) -> Report {
        let mut ticks = interval_at(first, period);
        // What is late is made up for: the load does not depend on the answers.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let end = first + LONGEST;
        loop {
            let due = tokio::select! {
                due = ticks.tick() => due,
                // An error means that the load was dropped, which is a stop too.
                _ = stopped.wait_for(|stop| *stop) => return self.report,
            };
            if due > end {
                return self.report;
            }
            self.request().await;
        }
    }

    async fn request(&mut self) {
        let start = Instant::now();
        let outcome = timeout(TIMEOUT, self.exchange()).await;
        self.report.sent += 1;
        self.report.slowest = self.report.slowest.max(start.elapsed());
        let reason = match outcome {
            Ok(Ok(status)) if status < 400 => return,
            Ok(Ok(status)) => format!("status {status}"),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => format!("no answer within {TIMEOUT:?}"),
        };
        self.connection = None;
        *self.report.failures.entry(reason).or_default() += 1;
    }

    /// One GET. On a kept connection that turns out to be closed, it is made again on a new one.
    async fn exchange(&mut self) -> Result<u16> {
        if let Some((mut connection, carried)) = self.connection.take()
            && carried < REQUESTS_PER_CONNECTION
            && connection.ready().await.is_ok()
        {
            match self.ask(connection, carried).await {
                Err(error) if closed_unanswered(&error) => self.report.repeated += 1,
                outcome => return outcome,
            }
        }
        let connection = self.gateway.connect().await?;
        self.ask(connection, 0).await
    }

    async fn ask(&mut self, mut connection: SendRequest<Body>, carried: u32) -> Result<u16> {
        let request = self.gateway.addressed(Request::get(&self.path).body(Body::default())?);
        let response = connection.send_request(request).await?;
        let status = response.status().as_u16();
        response.into_body().collect().await.context("read the body")?;
        self.connection = Some((connection, carried + 1));
        Ok(status)
    }
}

/// Whether a connection was closed before any byte of an answer.
fn closed_unanswered(error: &anyhow::Error) -> bool {
    let Some(error) = error.downcast_ref::<hyper::Error>() else { return false };
    error.is_canceled() || error.is_closed() || error.is_incomplete_message()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// A server whose every third connection answers with 503, the others with 200.
    async fn serve(listener: TcpListener) {
        let mut count = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            count += 1;
            let status = if count % 3 == 0 { "503 Service Unavailable" } else { "200 OK" };
            tokio::spawn(async move {
                let mut request = [0; 1024];
                while stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn counts_requests_and_failures() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = Gateway::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(serve(listener));
        let load = Load::start(&gateway, "/", 200).unwrap();
        // The passing of time is what is tested here.
        tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>()).await.unwrap_err();
        let report = load.stop().await.unwrap();
        assert!((150..=260).contains(&report.sent), "{report}");
        assert!(report.failures.contains_key("status 503"), "{report}");
        assert!(report.failed() < report.sent, "{report}");
        assert!(report.check(200).is_err(), "{report}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn says_that_nobody_listens() {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let gateway = Gateway::new(&format!("http://{port}")).unwrap();
        let load = Load::start(&gateway, "/", 100).unwrap();
        tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>()).await.unwrap_err();
        let report = load.stop().await.unwrap();
        assert_eq!(report.failed(), report.sent);
        assert!(report.to_string().contains("Connection refused"), "{report}");
    }
}
