//! How many instructions the gateway carries out for a request, counted by callgrind: the same on a busy
//! machine as on a quiet one, so that a change that costs something shows in the table that is committed.
//! What the kernel does is not seen; it is most of what a request costs.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{net::TcpStream, task::block_in_place};

use super::{
    Bench,
    api::Api,
    load::Client,
    objects::{self, Kind, ROUTES},
    proxy::Proxy,
};
use crate::table::{Table, line};

const PLUGINS: usize = 1_000 / ROUTES;
/// Before the count begins: connections are open, and what is made once is made.
const WARM: usize = 200;
const COUNTED: usize = 2_000;
/// How long the control side may take with what it has found; it would be counted too.
const REST: Duration = Duration::from_secs(5);
/// By how much two runs of the same program may differ, as a ratio.
const NOISE: f64 = 1.02;
/// callgrind counts one instruction for each byte that `rep movsb` and `rep stosb` move. Whether glibc uses
/// them depends on the processor; so that the table does not, it is told to do without.
const TUNABLES: &str = "glibc.cpu.hwcaps=-ERMS,-FSRM";
const KEY: &str = "a-key-of-the-bench-0123456789";

/// One kind of request, each for another plugin.
struct Scenario {
    name: &'static str,
    middleware: Value,
    /// More lines of the head.
    head: String,
    http2: bool,
}

fn scenarios() -> Vec<Scenario> {
    let scenario =
        |name, middleware, head: &str, http2| Scenario { name, middleware, head: head.to_owned(), http2 };
    let key = format!("X-Api-Key: {KEY}\r\n");
    let many = json!([{"name": "many", "rateLimit": {"requests": 1_000_000, "per": "1s"}}]);
    vec![
        scenario("plain", json!([]), "", false),
        scenario("apiKey", json!([{"name": "known", "apiKey": {"keys": "bench"}}]), &key, false),
        scenario("rateLimit", many, "", false),
        scenario("compress", json!([{"name": "small", "compress": {}}]), "Accept-Encoding: gzip\r\n", false),
        scenario("http2", json!([]), "", true),
    ]
}

pub async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let scenarios = scenarios();
    let api = Api::start().await?;
    for number in 0..PLUGINS {
        let middleware = scenarios.get(number).map_or(json!([]), |it| it.middleware.clone());
        api.apply(Kind::Plugin, objects::plugin(number, &middleware));
        api.apply(Kind::Slice, objects::slice(number, &[bench.origin]));
    }
    let place = bench.place("instructions");
    fs::create_dir_all(&place)?;
    let counted = block_in_place(|| count(bench, &api, &scenarios, &place))?;
    let path = &bench.args.instructions;
    if bench.args.write {
        return fs::write(path, render(&scenarios, &counted))
            .with_context(|| format!("write {}", path.display()));
    }
    let known = parse(&fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?)?;
    for (scenario, counted) in scenarios.iter().zip(counted) {
        let Some((_, before)) = known.iter().find(|(name, _)| name == scenario.name) else {
            bail!("{} does not tell of \"{}\"; write it anew with --write", path.display(), scenario.name);
        };
        table.wanted(format!("instructions for a request: {}", scenario.name), counted, before * NOISE, "");
    }
    Ok(())
}

/// Instructions for each request, by scenario.
fn count(bench: &Bench, api: &Api, scenarios: &[Scenario], place: &Path) -> Result<Vec<f64>> {
    let keys = place.join("keys/bench");
    fs::create_dir_all(&keys)?;
    let hash = Sha256::digest(KEY).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let key = json!({"hash": format!("sha256:{hash}"), "subject": "bench"});
    fs::write(keys.join("keys.yaml"), json!({"plugins": ["*/*"], "keys": [key]}).to_string())?;
    let output = place.join("callgrind.out");
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", output.display()))
        .env("GLIBC_TUNABLES", TUNABLES)
        .arg(&bench.args.programs.gateway)
        .arg(format!("--api-keys={}", place.join("keys").display()));
    let mut gateway = Proxy::gateway_by(command, 1, api, place)?;
    let last = objects::paths(PLUGINS).pop().context("a path")?;
    gateway.await_answer(&last)?;
    thread::sleep(REST);
    let dump = Dump { pid: gateway.pid()?, output };
    let mut all = Vec::new();
    for (number, scenario) in scenarios.iter().enumerate() {
        let prefix = format!("/{}/", objects::name(number));
        let paths: Vec<_> =
            objects::paths(scenarios.len()).into_iter().filter(|it| it.starts_with(&prefix)).collect();
        let ask = |count| match scenario.http2 {
            true => ask_http2(&gateway, &paths, count),
            false => ask(&gateway, &paths, &scenario.head, count),
        };
        ask(WARM)?;
        dump.take(2 * number + 1)?;
        ask(COUNTED)?;
        let each = dump.take(2 * number + 2)? / COUNTED as f64;
        line(&format!("  {}: {each:.0}", scenario.name));
        all.push(each);
    }
    gateway.stop()?;
    Ok(all)
}

fn ask(gateway: &Proxy, paths: &[String], head: &str, count: usize) -> Result<()> {
    let mut client = Client::connect(gateway.address)?;
    for path in paths.iter().cycle().take(count) {
        let status = client.ask(path, head)?;
        ensure!(status == 200, "{path} is answered with {status}");
    }
    Ok(())
}

fn ask_http2(gateway: &Proxy, paths: &[String], count: usize) -> Result<()> {
    tokio::runtime::Handle::current().block_on(async {
        let stream = TcpStream::connect(gateway.address).await?;
        let (mut sender, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(connection);
        for path in paths.iter().cycle().take(count) {
            let request = http::Request::get(format!("http://bench.example{path}")).body(())?;
            let (answer, _) = sender.send_request(request, true)?;
            let (head, mut body) = answer.await?.into_parts();
            ensure!(head.status == 200, "{path} is answered with {}", head.status);
            while let Some(data) = body.data().await {
                body.flow_control().release_capacity(data?.len())?;
            }
        }
        Ok(())
    })
}

/// Has callgrind write down what it has counted, and begin anew.
struct Dump {
    pid: i32,
    output: PathBuf,
}

impl Dump {
    /// How many instructions there were since the last dump; this is the dump of that number.
    fn take(&self, number: usize) -> Result<f64> {
        let told = Command::new("vgdb")
            .arg(format!("--pid={}", self.pid))
            .arg("dump")
            .output()
            .context("run vgdb")?;
        ensure!(
            told.status.success(),
            "vgdb ended with {}: {}",
            told.status,
            String::from_utf8_lossy(&told.stderr)
        );
        let path = self.output.with_added_extension(number.to_string());
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let totals = text.lines().find_map(|line| line.strip_prefix("totals:")).context("a sum in it")?;
        totals.trim().parse().context("a sum in it")
    }
}

fn render(scenarios: &[Scenario], counted: &[f64]) -> String {
    let mut text = "# Instructions of the gateway for a request. Written by: cargo xtask bench gateway -- --only instructions --write\n".to_owned();
    for (scenario, counted) in scenarios.iter().zip(counted) {
        writeln!(text, "{:<10} {:>8.0}", scenario.name, counted).expect("a text takes all");
    }
    text
}

fn parse(text: &str) -> Result<Vec<(String, f64)>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, count) = line.split_once(' ').with_context(|| format!("read the line \"{line}\""))?;
            Ok((name.to_owned(), count.trim().parse().with_context(|| format!("read the line \"{line}\""))?))
        })
        .collect()
}
