//! Issuers' keys that are fetched, and sets of keys that are mounted.

use std::{
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use forward_gateway::{
    callers::{fetch::Fetcher, store::Store},
    metrics::Calls,
    mounts::Count,
};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::tls::Folder;

/// One who shows keys over TLS.
struct Shown {
    /// The answer as it is sent; empty for none.
    answer: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    /// How many did not take it for who it says it is.
    refused: Arc<AtomicUsize>,
    url: String,
    folder: Folder,
}

impl Shown {
    async fn new(test: &str) -> Self {
        let folder = Folder::new(test);
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.0.join("ca.crt"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/keys", listener.local_addr().unwrap().port());
        let answer = Arc::<Mutex<String>>::default();
        let (asked, refused) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (says, counts, refusals) = (answer.clone(), asked.clone(), refused.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    refusals.fetch_add(1, Relaxed);
                    continue;
                };
                let mut bytes = [0; 4096];
                let Ok(1..) = stream.read(&mut bytes).await else { continue };
                counts.fetch_add(1, Relaxed);
                let answer = says.lock().unwrap().clone();
                stream.write_all(answer.as_bytes()).await.ok();
                stream.shutdown().await.ok();
            }
        });
        Self { answer, asked, refused, url, folder }
    }

    fn says(&self, status: &str, body: &str) {
        let length = body.len();
        *self.answer.lock().unwrap() = format!(
            "HTTP/1.1 {status}\r\nLocation: /elsewhere\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
    }

    fn shows(&self, signers: &[&Signer]) {
        let keys = signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>();
        self.says("200 OK", &json!({"keys": keys}).to_string());
    }

    fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }

    /// A gateway that fetches from here, and trusts this one.
    async fn gateway(&self) -> Gateway {
        let gateway = Gateway::new();
        let mut entry = people(&[]);
        entry["jwt"]["jwks"] = Value::Null;
        let entry = with(entry, "jwt", json!({"jwksUrl": self.url}));
        gateway.behind(json!([entry]), mirror().await);
        let (callers, authorities) = (gateway.shared.callers.clone(), self.folder.0.join("ca.crt"));
        tokio::spawn(Fetcher::new(callers, Calls::default(), Some(&authorities)).unwrap().run());
        gateway
    }
}

/// Waits until a token is answered so: longer than keys that were asked for in vain are left alone.
async fn answered(gateway: &Gateway, signer: &Signer, expected: u16) {
    let waiting = async {
        loop {
            let token = signer.token(json!({}));
            let answer = get(gateway, &format!("Authorization: Bearer {token}\r\n")).await;
            if status(&answer) == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(60), waiting).await.unwrap();
}

#[tokio::test]
async fn follows_an_issuer_that_changes_its_keys_and_asks_it_seldom() {
    let (one, two) = (Signer::new("one"), Signer::new("two"));
    let issuer = Shown::new("rotation").await;
    let gateway = issuer.gateway().await;
    answered(&gateway, &one, 503).await;
    issuer.shows(&[&one]);
    answered(&gateway, &one, 200).await;
    answered(&gateway, &two, 401).await;
    issuer.shows(&[&two]);
    let before = issuer.asked();
    answered(&gateway, &two, 200).await;
    assert!(issuer.asked() <= before + 2, "asked {} times", issuer.asked() - before);
    answered(&gateway, &one, 401).await;
    // What it shows later is no good: the last good keys are kept.
    for (status, body) in [("200 OK", "{}"), ("302 Found", ""), ("500 Oh", "")] {
        issuer.says(status, body);
        answered(&gateway, &two, 200).await;
    }
}

#[tokio::test]
async fn takes_keys_only_as_they_should_be_shown() {
    let (one, private) = (Signer::new("one"), json!({"keys": [{"kty": "oct", "k": "AAAA", "kid": "one"}]}));
    let good = json!({"keys": [one.jwk()]}).to_string();
    let mut tried = Vec::new();
    for (test, status, body) in [
        ("redirect", "302 Found", good.clone()),
        ("error", "404 Not Found", good.clone()),
        ("large", "200 OK", format!("{good}{}", " ".repeat(300_000))),
        ("secret", "200 OK", private.to_string()),
        ("nonsense", "200 OK", "keys".to_owned()),
    ] {
        let issuer = Shown::new(test).await;
        issuer.says(status, &body);
        tried.push((issuer.gateway().await, issuer));
    }
    for (gateway, issuer) in tried {
        // Good keys would not be asked for again so soon.
        until(|| issuer.asked() > 1).await;
        answered(&gateway, &one, 503).await;
    }
    // And who cannot prove that it is who it says is not listened to.
    let (issuer, other) = (Shown::new("proof").await, Shown::new("other").await);
    issuer.shows(&[&one]);
    fs::copy(other.folder.0.join("ca.crt"), issuer.folder.0.join("ca.crt")).unwrap();
    let gateway = issuer.gateway().await;
    until(|| issuer.refused.load(Relaxed) > 1).await;
    answered(&gateway, &one, 503).await;
    assert_eq!(issuer.asked(), 0);
}

/// A key as long as they must be.
fn long(name: &str) -> String {
    format!("{name}-0123456789abcdef")
}

/// Writes a set of keys as the kubelet mounts a Secret.
fn mount(root: &Path, secret: &str, text: Option<&str>) {
    let folder = root.join(secret);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let data = folder.join(format!("..{now}"));
    fs::create_dir_all(&data).unwrap();
    if let Some(text) = text {
        fs::write(data.join("keys.yaml"), text).unwrap();
    }
    for (target, name) in [(data.as_path(), "..data"), (Path::new("..data/keys.yaml"), "keys.yaml")] {
        let link = folder.join("..new");
        std::os::unix::fs::symlink(target, &link).unwrap();
        fs::rename(link, folder.join(name)).unwrap();
    }
}

#[tokio::test]
async fn follows_the_keys_that_are_mounted() {
    let (gateway, folder) = (Gateway::new(), Folder::new("keys"));
    gateway.behind(json!([partners()]), mirror().await);
    let mut store = Store::new(folder.0.clone());
    let set = |key: &str| {
        format!("plugins: ['test/*']\nkeys:\n- {{hash: '{}', subject: acme}}\n", hash(&long(key)))
    };
    let count = |current, stale, missing| Count { current, stale, missing };
    for (what, secret, text, expected, (first, second)) in [
        ("another set", "others", Some(set("first")), count(1, 0, 0), (503, 503)),
        ("the set", "partners", Some(set("first")), count(2, 0, 0), (200, 401)),
        ("the next", "partners", Some(set("second")), count(2, 0, 0), (401, 200)),
        ("a mistake", "partners", Some("plugins: [test]".to_owned()), count(1, 1, 0), (401, 200)),
        ("put right", "partners", Some(set("first")), count(2, 0, 0), (200, 401)),
        ("taken away", "partners", None, count(1, 0, 1), (503, 503)),
        ("back", "partners", Some(set("second")), count(2, 0, 0), (401, 200)),
    ] {
        mount(&folder.0, secret, text.as_deref());
        assert_eq!(store.refresh(&gateway.shared.callers), expected, "{what}");
        for (key, expected) in [("first", first), ("second", second)] {
            let answer = get(&gateway, &format!("X-Api-Key: {}\r\n", long(key))).await;
            assert_eq!(status(&answer), expected, "{what}: {key}");
        }
    }
    fs::remove_dir_all(folder.0.join("partners")).unwrap();
    assert_eq!(store.refresh(&gateway.shared.callers), count(1, 0, 0));
    assert_eq!(status(&get(&gateway, &format!("X-Api-Key: {}\r\n", long("second"))).await), 503);
}
