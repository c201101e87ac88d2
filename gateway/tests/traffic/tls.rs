//! Clients that come over TLS.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use forward_gateway::{
    data::worker::Settings,
    metrics::Calls,
    mounts::Count,
    tls::{Files, Tls, clients::Authorities, store::Store},
};
use http::StatusCode;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, ProtocolVersion, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    harness::*,
    http2::{Client, get},
};

/// A folder that goes with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("forward-tls-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Writes a certificate as the kubelet mounts a Secret, and answers with it.
pub fn mount(root: &Path, secret: &str, names: &[&str]) -> CertificateDer<'static> {
    let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    write(&root.join(secret), made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes());
    made.cert.der().clone()
}

fn write(folder: &Path, chain: &[u8], key: &[u8]) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let data = folder.join(format!("..{now}"));
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("tls.crt"), chain).unwrap();
    fs::write(data.join("tls.key"), key).unwrap();
    let link = folder.join("..new");
    std::os::unix::fs::symlink(&data, &link).unwrap();
    fs::rename(link, folder.join("..data")).unwrap();
}

pub fn tls(files: &mut Files) -> Arc<Tls> {
    let tls = Tls::new(Calls::default()).unwrap();
    tls.refresh(files).unwrap();
    tls
}

/// Certificates alone.
pub fn files(root: &Folder) -> Files {
    Files { certificates: Store::new(root.0.clone()), authorities: None }
}

/// A client that trusts these, speaks these protocols and these versions.
pub fn trusting(roots: &[CertificateDer<'static>], alpn: &[&str]) -> ClientConfig {
    with_versions(roots, alpn, &[&TLS12, &TLS13])
}

fn with_versions(
    roots: &[CertificateDer<'static>],
    alpn: &[&str],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let mut store = RootCertStore::empty();
    roots.iter().for_each(|root| store.add(root.clone()).unwrap());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

pub async fn connect(
    address: SocketAddr,
    config: impl Into<Arc<ClientConfig>>,
    host: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    timeout(PATIENCE, TlsConnector::from(config.into()).connect(name, stream)).await.unwrap()
}

async fn ask(mut stream: TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn who_came_by_tls_is_not_sent_there() {
    let folder = Folder::new("redirect");
    let roots = [mount(&folder.0, "a", &["a.example"])];
    let (gateway, secured) = Gateway::secured(Settings::default(), tls(&mut files(&folder)));
    gateway.behind(serde_json::json!([{"name": "tls", "redirect": {"scheme": "https"}}]), mirror().await);
    let stream = connect(secured, trusting(&roots, &[]), "a.example").await.unwrap();
    assert_eq!(status(&ask(stream).await), 200);
    assert_eq!(status(&gateway.get("/x").await), 302);
}

#[tokio::test]
async fn shows_each_host_its_certificate_and_tells_the_plugin_the_scheme() {
    let folder = Folder::new("hosts");
    let roots = [mount(&folder.0, "a", &["a.example"]), mount(&folder.0, "b", &["*.b.example"])];
    let (gateway, secured) = Gateway::secured(Settings::default(), tls(&mut files(&folder)));
    gateway.to(mirror().await);
    for (host, root) in [("a.example", &roots[0]), ("x.b.example", &roots[1])] {
        for version in [&TLS12, &TLS13] {
            let config = with_versions(&roots, &[], &[version]);
            let stream = connect(secured, config, host).await.unwrap();
            assert_eq!(&shown(&stream), root);
            let answer = ask(stream).await;
            assert_eq!(status(&answer), 200);
            assert_eq!(value(body(&answer), "x-forwarded-proto"), Some("https"));
            assert!(value(body(&answer), "forwarded").unwrap().ends_with("proto=https"));
        }
    }
    assert!(connect(secured, trusting(&roots, &[]), "elsewhere.example").await.is_err());
    let plain = gateway.get("/x").await;
    assert_eq!(value(body(&plain), "x-forwarded-proto"), Some("http"));
}

#[tokio::test]
async fn speaks_what_both_ends_know() {
    let folder = Folder::new("alpn");
    let root = [mount(&folder.0, "a", &["a.example"])];
    let (gateway, secured) = Gateway::secured(Settings::default(), tls(&mut files(&folder)));
    gateway.to(mirror().await);
    let stream = connect(secured, trusting(&root, &["h2", "http/1.1"]), "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let answer = Client::over(stream).await.ask(get("/x"), b"").await.unwrap();
    assert_eq!(answer.head.status(), StatusCode::OK);
    assert_eq!(value(&answer.body, "x-forwarded-proto"), Some("https"));
    let stream = connect(secured, trusting(&root, &["http/1.1"]), "a.example").await.unwrap();
    assert_eq!(status(&ask(stream).await), 200);
    assert!(connect(secured, trusting(&root, &["acme"]), "a.example").await.is_err());
}

#[tokio::test]
async fn goes_over_to_a_new_certificate_without_breaking_connections() {
    let folder = Folder::new("renewal");
    let old = mount(&folder.0, "a", &["a.example"]);
    let mut files = self::files(&folder);
    let tls = tls(&mut files);
    let (gateway, secured) = Gateway::secured(Settings::default(), tls.clone());
    gateway.to(mirror().await);
    let earlier = connect(secured, trusting(std::slice::from_ref(&old), &[]), "a.example").await.unwrap();
    let new = mount(&folder.0, "a", &["a.example"]);
    tls.refresh(&mut files).unwrap();
    let later = connect(secured, trusting(std::slice::from_ref(&new), &[]), "a.example").await.unwrap();
    assert_eq!((shown(&earlier), shown(&later)), (old, new));
    assert_eq!(status(&ask(earlier).await), 200);
    assert_eq!(status(&ask(later).await), 200);
}

#[tokio::test]
async fn keeps_the_last_good_certificate_and_the_others() {
    let folder = Folder::new("bad");
    let roots = [mount(&folder.0, "a", &["a.example"]), mount(&folder.0, "b", &["b.example"])];
    let mut files = self::files(&folder);
    let tls = tls(&mut files);
    let (gateway, secured) = Gateway::secured(Settings::default(), tls.clone());
    gateway.to(mirror().await);
    write(&folder.0.join("a"), b"no certificate", b"no key");
    fs::create_dir(folder.0.join("c")).unwrap();
    tls.refresh(&mut files).unwrap();
    assert_eq!(files.certificates.count(), Count { current: 1, stale: 1, missing: 1 });
    for host in ["a.example", "b.example"] {
        assert_eq!(status(&ask(connect(secured, trusting(&roots, &[]), host).await.unwrap()).await), 200);
    }
    fs::remove_dir_all(folder.0.join("a")).unwrap();
    tls.refresh(&mut files).unwrap();
    assert!(connect(secured, trusting(&roots, &[]), "a.example").await.is_err(), "it is gone for good");
}

#[tokio::test]
async fn follows_the_files_by_itself() {
    let folder = Folder::new("follow");
    let mut files = self::files(&folder);
    let tls = tls(&mut files);
    let following = tokio::spawn(tls.clone().follow(files));
    let (gateway, secured) = Gateway::secured(Settings::default(), tls);
    gateway.to(mirror().await);
    let root = [mount(&folder.0, "a", &["a.example"])];
    let stream = timeout(PATIENCE, async {
        loop {
            if let Ok(stream) = connect(secured, trusting(&root, &[]), "a.example").await {
                return stream;
            }
        }
    });
    assert_eq!(status(&ask(stream.await.unwrap()).await), 200);
    following.abort();
    drop(following.await);
}

#[tokio::test]
async fn resumes_sessions() {
    let folder = Folder::new("resume");
    let root = [mount(&folder.0, "a", &["a.example"])];
    let (gateway, secured) = Gateway::secured(Settings::default(), tls(&mut files(&folder)));
    gateway.to(mirror().await);
    let config = Arc::new(trusting(&root, &[]));
    let first = connect(secured, config.clone(), "a.example").await.unwrap();
    assert_eq!(status(&ask(first).await), 200);
    let second = connect(secured, config, "a.example").await.unwrap();
    assert_eq!(second.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
}

#[tokio::test]
async fn closes_connections_whose_handshake_does_not_come_or_is_none() {
    let folder = Folder::new("slow");
    mount(&folder.0, "a", &["a.example"]);
    let settings = Settings { head_timeout: Duration::from_millis(200), ..Settings::default() };
    let (_gateway, secured) = Gateway::secured(settings, tls(&mut files(&folder)));
    assert_eq!(Peer::connect(secured).await.rest().await, "");
    let mut plain = Peer::connect(secured).await;
    plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!plain.rest().await.contains("HTTP/1.1"));
}

#[tokio::test]
async fn stops_amid_handshakes_and_with_idle_connections() {
    let folder = Folder::new("stop");
    let root = [mount(&folder.0, "a", &["a.example"])];
    let (mut gateway, secured) = Gateway::secured(Settings::default(), tls(&mut files(&folder)));
    let mut silent = Peer::connect(secured).await;
    let mut idle = connect(secured, trusting(&root, &[]), "a.example").await.unwrap();
    gateway.stop().await;
    assert_eq!(silent.rest().await, "");
    let mut rest = String::new();
    // The end of the connection, whether TLS was told of it or not.
    timeout(PATIENCE, idle.read_to_string(&mut rest)).await.unwrap().ok();
    assert_eq!(rest, "");
}

/// An authority and clients that it vouches for.
struct Authority {
    key: KeyPair,
    params: CertificateParams,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { key, params, pem }
    }

    /// A client with a certificate for a name, that trusts these servers.
    fn client(&self, name: &str, roots: &[CertificateDer<'static>]) -> ClientConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let made = params.signed_by(&key, &issuer).unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut store = RootCertStore::empty();
        roots.iter().for_each(|root| store.add(root.clone()).unwrap());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(store)
            .with_client_auth_cert(vec![made.der().clone()], private)
            .unwrap()
    }
}

/// What a plugin is told of the client's certificate; an error where the client is refused.
async fn identity(address: SocketAddr, config: ClientConfig, more: &str) -> std::io::Result<Option<String>> {
    let mut stream = connect(address, config, "a.example").await?;
    let request = format!("GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap()?;
    assert_eq!(status(&answer), 200);
    Ok(value(body(&answer), "x-forwarded-client-cert").map(str::to_owned))
}

#[tokio::test]
async fn tells_plugins_which_certificate_a_client_has_shown_and_believes_no_header() {
    const FORGED: &str = "X-Forwarded-Client-Cert: Hash=0;DNS=boss.example\r\n";
    let folder = Folder::new("clients");
    let roots = [mount(&folder.0, "a", &["a.example"])];
    let (ours, others) = (Authority::new(), Authority::new());
    let trusted = Folder::new("authorities");
    let mut files = Files { authorities: Some(Authorities::new(&trusted.0)), ..self::files(&folder) };
    let tls = tls(&mut files);
    let (gateway, secured) = Gateway::secured(Settings::default(), tls.clone());
    gateway.to(mirror().await);
    let nobody = || trusting(&roots, &[]);
    let of_ours = || ours.client("web.example", &roots);
    // There is no file yet: nobody is asked.
    assert_eq!(identity(secured, of_ours(), FORGED).await.unwrap(), None);
    fs::write(trusted.0.join("ca.crt"), &ours.pem).unwrap();
    tls.refresh(&mut files).unwrap();
    assert_eq!(identity(secured, nobody(), FORGED).await.unwrap(), None);
    let told = identity(secured, of_ours(), FORGED).await.unwrap().unwrap();
    assert!(told.starts_with("Hash=") && told.ends_with(";DNS=web.example"), "{told}");
    assert!(identity(secured, others.client("web.example", &roots), "").await.is_err());
    // What is no good changes nothing; another authority takes the place of the first.
    fs::write(trusted.0.join("ca.crt"), "nonsense").unwrap();
    tls.refresh(&mut files).unwrap();
    assert!(identity(secured, of_ours(), "").await.unwrap().is_some());
    fs::write(trusted.0.join("ca.crt"), &others.pem).unwrap();
    tls.refresh(&mut files).unwrap();
    assert!(identity(secured, of_ours(), "").await.is_err());
    let plain =
        gateway.ask(&format!("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{FORGED}\r\n")).await;
    assert_eq!(value(body(&plain), "x-forwarded-client-cert"), None);
}
