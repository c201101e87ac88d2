//! `forward-operator check URL…`: asks URLs from inside the cluster, for `helm test`.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::http::Uri;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// How long one URL may take.
const TIMEOUT: Duration = Duration::from_secs(5);

pub async fn run(urls: &[Uri]) -> Result<()> {
    for url in urls {
        let status = tokio::time::timeout(TIMEOUT, status_of(url))
            .await
            .with_context(|| format!("{url} did not answer within {TIMEOUT:?}"))?
            .with_context(|| format!("ask {url}"))?;
        if status >= 400 {
            bail!("{url} answered with status {status}");
        }
        tracing::info!(%url, status, "answered");
    }
    Ok(())
}

/// The status code of a GET; the body is not read.
async fn status_of(url: &Uri) -> Result<u16> {
    let host = url.host().context("the URL has no host")?;
    let port = url.port_u16().unwrap_or(80);
    let mut stream = TcpStream::connect((host, port)).await?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await?;
    line.split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("no status in {line:?}"))
}
