//! The cluster's certificates, keys and tokens, made anew at each start.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::layout::{API_SERVICE, Layout, NODE, NODE_ADDRESS};

/// Who may talk to the API server: the name of a kubeconfig, a user, its group.
pub const USERS: &[(&str, &str, &str)] = &[
    ("admin", "admin", "system:masters"),
    ("kube-controller-manager", "system:kube-controller-manager", ""),
    ("kube-scheduler", "system:kube-scheduler", ""),
    ("kubelet", "system:node:node", "system:nodes"),
    ("kube-proxy", "system:kube-proxy", ""),
    ("kwok", "kwok", "system:masters"),
    ("dns", "dns", "system:masters"),
];

/// Writes the authority, the API server's two certificates and the key that signs
/// service accounts' tokens.
pub fn write(layout: &Layout) -> Result<()> {
    let key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    authority.distinguished_name.push(DnType::CommonName, format!("forward-{}", layout.name));
    let certificate = authority.self_signed(&key)?;
    fs::write(layout.pki("ca.crt"), certificate.pem())?;
    fs::write(layout.pki("ca.key"), key.serialize_pem())?;
    let service_accounts = KeyPair::generate()?;
    fs::write(layout.pki("service-accounts.key"), service_accounts.serialize_pem())?;
    fs::write(layout.pki("service-accounts.pub"), service_accounts.public_key_pem())?;
    let issuer = Issuer::new(authority, key);

    let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let addresses = ["127.0.0.1", NODE_ADDRESS, API_SERVICE];
    let mut server =
        CertificateParams::new(names.iter().chain(&addresses).map(ToString::to_string).collect::<Vec<_>>())?;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    sign(layout, "apiserver", &server, &issuer)?;

    let mut client = CertificateParams::new(Vec::new())?;
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    client.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    client.distinguished_name.push(DnType::OrganizationName, "system:masters");
    sign(layout, "apiserver-to-kubelet", &client, &issuer)
}

fn sign(layout: &Layout, name: &str, params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Result<()> {
    let key = KeyPair::generate()?;
    fs::write(layout.pki(&format!("{name}.crt")), params.signed_by(&key, issuer)?.pem())?;
    fs::write(layout.pki(&format!("{name}.key")), key.serialize_pem()).context("write a key")
}

/// Writes a token for each user and a kubeconfig with it. Programs inside the
/// cluster's network use `server`.
pub fn write_users(layout: &Layout, server: &str) -> Result<()> {
    let mut tokens = String::new();
    for (file, user, group) in USERS {
        debug_assert!(!user.starts_with("system:node:") || user.ends_with(NODE), "the node's own user");
        let token = random_token()?;
        tokens += &format!("{token},{user},{user},\"{group}\"\n");
        fs::write(layout.etc(&format!("{file}.kubeconfig")), kubeconfig(layout, server, &token))?;
    }
    fs::write(layout.etc("tokens.csv"), tokens).context("write the tokens")
}

/// The file that people use: the administrator's, with the address on the loopback.
pub fn write_kubeconfig(layout: &Layout, port: u16) -> Result<()> {
    let inner = fs::read_to_string(layout.inner_kubeconfig())?;
    let token = inner.lines().find_map(|line| line.trim().strip_prefix("token: ")).context("the token")?;
    write_kubeconfig_of(layout, &layout.kubeconfig(), port, token)
}

/// The same file for whoever has a token.
pub fn write_kubeconfig_of(layout: &Layout, path: &Path, port: u16, token: &str) -> Result<()> {
    let text = kubeconfig(layout, &format!("https://127.0.0.1:{port}"), token);
    fs::write(path, text).context("write the kubeconfig")
}

fn kubeconfig(layout: &Layout, server: &str, token: &str) -> String {
    let (name, authority) = (format!("forward-{}", layout.name), layout.pki("ca.crt"));
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         current-context: {name}\n\
         contexts:\n\
         - name: {name}\n  context: {{cluster: {name}, user: {name}}}\n\
         clusters:\n\
         - name: {name}\n  cluster:\n    server: {server}\n    certificate-authority: {}\n\
         users:\n\
         - name: {name}\n  user:\n    token: {token}\n",
        authority.display()
    )
}

fn random_token() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
