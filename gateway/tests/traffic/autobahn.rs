//! What the cases of the Autobahn test suite say of a WebSocket server behind the gateway, next to what
//! they say of it directly.

use std::{collections::BTreeMap, env, net::SocketAddr, path::Path, process::Stdio};

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    process::Command,
};
use tokio_tungstenite::accept_async;

use crate::{harness::*, tls::Folder};

/// How many of the suite's cases there are at least: fewer mean that it was not run.
const CASES: usize = 500;

/// How a server did in a case, by the case's number.
type Verdicts = BTreeMap<String, [String; 2]>;

/// Tries all cases on a server. `cargo xtask test` fetches the suite and says where it is; without it
/// there is nothing to run.
async fn ask(server: SocketAddr, folder: &Path) -> Option<Verdicts> {
    let Some(suite) = env::var_os("FORWARD_AUTOBAHN") else {
        eprintln!("FORWARD_AUTOBAHN does not say where the suite is: nothing was tested");
        return None;
    };
    // Its exit tells whether all cases went well, which they need not.
    let asked = Command::new("python3")
        .arg(Path::new(&suite).join("bin/kosoku"))
        .args(["--parallelism", "8", "--outdir"])
        .arg(folder)
        .arg(server.to_string())
        .env("PYTHONPATH", &suite)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let index = std::fs::read(folder.join("index.json"))
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&asked.stderr)));
    let index: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_slice(&index).unwrap();
    let verdict =
        |case: &Value| ["behavior", "behaviorClose"].map(|it| case[it].as_str().unwrap().to_owned());
    Some(index.into_values().flatten().map(|(number, case)| (number, verdict(&case))).collect())
}

/// A server that says what it hears.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(repeat(stream));
        }
    });
    address
}

/// A client that breaks the rules gets what the library says to that.
async fn repeat(stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let Ok(mut socket) = accept_async(stream).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            return;
        }
    }
}

fn rank(verdict: &str) -> usize {
    let known = ["OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED", "UNCLEAN", "WRONG CODE", "FAILED"];
    known.iter().position(|it| *it == verdict).unwrap_or(known.len())
}

#[tokio::test]
async fn no_case_is_worse_than_directly() {
    let (folder, server) = (Folder::new("autobahn"), echo().await);
    let gateway = Gateway::new();
    gateway.to(server);
    let Some(direct) = ask(server, &folder.0.join("direct")).await else { return };
    let through = ask(gateway.address, &folder.0.join("through")).await.unwrap();
    assert!(direct.len() >= CASES, "{} cases", direct.len());
    let count = |verdicts: &Verdicts| {
        let mut counts = BTreeMap::<_, usize>::new();
        verdicts.values().for_each(|[behavior, _]| *counts.entry(behavior.clone()).or_default() += 1);
        counts
    };
    eprintln!("directly: {:?}; through the gateway: {:?}", count(&direct), count(&through));
    let worse = direct.iter().filter(|(number, before)| {
        let after = through.get(*number);
        after.is_none_or(|after| after.iter().zip(*before).any(|(now, then)| rank(now) > rank(then)))
    });
    let worse: Vec<_> = worse.map(|(number, before)| (number, before, through.get(number))).collect();
    assert!(worse.is_empty(), "{worse:?}");
}
