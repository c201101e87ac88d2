//! What a review of the webhook takes, asked over HTTPS as the API server asks.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use http::{Request, Uri};
use kube::{Client, Config};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{Bench, plugins, table::Table};

const REVIEWS: usize = 2_000;
/// Reviews of the first connection's first moments, which are not counted.
const WARM: usize = 100;
/// How long the operator may take to make its certificates.
const CERTIFICATES: Duration = Duration::from_secs(60);

/// Ask about edits of many of `count` plugins, one after the other: half with nothing to say about
/// them, half with a conflict to warn of.
pub async fn measure(
    bench: &Bench,
    webhook: SocketAddr,
    (namespace, count): (&str, usize),
    table: &mut Table,
) -> Result<()> {
    let client = connect(bench, webhook).await?;
    let (mut silent, mut warning, mut reads) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..WARM + REVIEWS {
        // A leaf needs others, so that its range is something to warn of.
        let leaf = count - 1 - number % (count / 2);
        let review = review(namespace, leaf, if number % 2 == 0 { "^1.0" } else { "^9.0" });
        let request = Request::post("/validate?timeout=5s").header("content-type", "application/json");
        let request = request.body(serde_json::to_vec(&review)?)?;
        let begin = Instant::now();
        let answer: Value = client.request(request).await.context("ask the webhook")?;
        let took = begin.elapsed();
        ensure!(answer["response"]["allowed"] == true, "a review was denied: {answer}");
        let warns = answer["response"]["warnings"].as_array().is_some_and(|all| !all.is_empty());
        if number >= WARM {
            if warns { &mut warning } else { &mut silent }.push(took);
        }
        // What the operator does before it warns, done from here.
        let begin = Instant::now();
        bench.cluster.get(namespace, &plugins::name(leaf / 2)).await?;
        reads.push(begin.elapsed());
    }
    ensure!(warning.len() >= REVIEWS / 2, "only {} of {REVIEWS} reviews warned", warning.len());
    let parts = [("review without a warning", &silent), ("review with one", &warning), ("read", &reads)];
    for (what, times) in parts {
        let times = sorted(times.clone());
        let told = format!("{:.2} ms, {:.2} ms", at(&times, 50), at(&times, 99));
        table.told(format!("a {what} at {count}: the median, 99 of 100"), told);
    }
    let all = at(&sorted([silent, warning].concat()), 99);
    table.wanted(format!("a review at {count}, 99 of 100"), all, 5.0, " ms");
    Ok(())
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort();
    times
}

/// What so many of 100 took at most, in milliseconds.
fn at(sorted: &[Duration], percent: usize) -> f64 {
    sorted[sorted.len() * percent / 100].as_secs_f64() * 1e3
}

/// A client that trusts the certificates in the webhook's Secret.
async fn connect(bench: &Bench, webhook: SocketAddr) -> Result<Client> {
    let (begin, name, namespace) =
        (Instant::now(), &bench.args.program.webhook, &bench.args.program.namespace);
    let authority = loop {
        if let Some(authority) = bench.cluster.secret(namespace, name).await?.remove("ca.crt") {
            break authority.0;
        }
        ensure!(begin.elapsed() < CERTIFICATES, "the operator makes no certificates");
        sleep(Duration::from_millis(200)).await;
    };
    let mut config = Config::new(Uri::try_from(format!("https://{webhook}"))?);
    config.tls_server_name = Some(format!("{name}.{namespace}.svc"));
    let authorities = CertificateDer::pem_slice_iter(&authority).map(|it| it.map(|it| it.to_vec()));
    config.root_cert = Some(authorities.collect::<Result<_, _>>().context("read the authorities")?);
    Ok(Client::try_from(config)?)
}

fn review(namespace: &str, number: usize, range: &str) -> Value {
    let name = plugins::name(number);
    let plugin = |range: &str, priority: usize| {
        let mut plugin = plugins::plugin(number, &[number / 2], range);
        plugin["metadata"]["namespace"] = namespace.into();
        plugin["spec"]["priority"] = priority.into();
        plugin
    };
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": format!("review-{number}"),
            "kind": {"group": "goforward.dev", "version": "v1alpha1", "kind": "Plugin"},
            "resource": {"group": "goforward.dev", "version": "v1alpha1", "resource": "plugins"},
            "name": name, "namespace": namespace, "operation": "UPDATE",
            "userInfo": {}, "dryRun": false,
            "object": plugin(range, 1), "oldObject": plugin("^1.0", 0),
        },
    })
}
