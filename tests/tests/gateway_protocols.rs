//! What clients speak with the gateway besides HTTP/1.1.

use anyhow::{Context, Result, ensure};
use forward_tests::{Body, Gateway, plugin, run, seconds, started};
use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

/// Asks over a new connection of HTTP/2 with prior knowledge.
async fn ask(gateway: &Gateway, method: &str, path: &str, media: &str) -> Result<Response<Incoming>> {
    let asking = async {
        let stream = TcpStream::connect(gateway.authority()).await.context("connect")?;
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        // Its errors reach the request that is under way.
        tokio::spawn(async move { connection.await.ok() });
        let uri =
            Uri::builder().scheme("http").authority(gateway.authority()).path_and_query(path).build()?;
        let request = Request::builder().method(method).uri(uri).header("content-type", media);
        Ok(sender.send_request(request.body(Body::default())?).await?)
    };
    timeout(seconds(30), asking).await.with_context(|| format!("{method} {path} is not answered"))?
}

async fn protocol(answer: Response<Incoming>) -> Result<Value> {
    ensure!(answer.status() == 200, "{answer:?}");
    let body = answer.into_body().collect().await?.to_bytes();
    let seen: Value = serde_json::from_slice(&body)?;
    Ok(seen["protocol"].clone())
}

#[tokio::test]
async fn http_2_reaches_a_plugin_as_http_1_and_calls_as_they_are() {
    run("http_2_reaches_a_plugin_as_http_1_and_calls_as_they_are", async |ns| {
        ns.apply(&plugin("modern")).await?;
        ns.await_plugin("modern", "to be ready", seconds(60), started).await?;
        let gateway = ns.cluster.gateway()?;
        let path = ns.path("modern");
        gateway.await_status(&path, 200, seconds(10)).await?;
        let plain = ask(&gateway, "GET", &path, "application/json").await?;
        assert_eq!(protocol(plain).await?, "HTTP/1.1");
        let call = ask(&gateway, "GET", &path, "application/grpc").await?;
        assert_eq!(protocol(call).await?, "HTTP/2.0");
        let contract =
            ask(&gateway, "POST", "/goforward.plugin.v1.Plugin/Describe", "application/grpc").await?;
        ensure!(
            contract.headers().get("grpc-status").is_some_and(|status| status == "12"),
            "clients do not reach the contract: {contract:?}"
        );
        Ok(())
    })
    .await;
}
