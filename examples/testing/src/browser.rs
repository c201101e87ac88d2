//! A real browser without a screen.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use fantoccini::{
    Client, ClientBuilder,
    wd::{Capabilities, WebDriverCompatibleCommand},
};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use url::{ParseError, Url};

use crate::{folder::Folder, port, program, server};

/// How long a page may take to become what is waited for.
const BOUND: Duration = Duration::from_secs(20);
/// How often it is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// Chromium, driven by the WebDriver protocol; it ends with the value.
pub struct Browser {
    /// What drives it.
    pub client: Client,
    driver: Child,
    port: u16,
    session: String,
    _profile: Folder,
}

impl Browser {
    /// Starts one. Requests to the hosts in `hosts` go to the address beside them, for example
    /// `("shop.test", "127.0.0.1:30080")`.
    ///
    /// # Errors
    /// When the driver does not start a session.
    pub async fn start(hosts: &[(&str, &str)]) -> Result<Self> {
        let port = port::free();
        let driver = Command::new(program::find("chromedriver", &[], "chromium-driver"))
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("run chromedriver")?;
        port::await_listener(port, "chromedriver");
        let profile = Folder::new("chromium");
        let connected = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities(&profile, hosts))
            .connect(&format!("http://127.0.0.1:{port}"))
            .await;
        let client = connected.context("start Chromium")?;
        let session = client.session_id().await?.context("the session has an id")?;
        Ok(Self { client, driver, port, session, _profile: profile })
    }

    /// Runs a script until it returns something that is neither `null` nor `false`.
    ///
    /// # Errors
    /// When it does not within 20 s; `what` says what was waited for.
    pub async fn await_script(&self, what: &str, script: &str) -> Result<Value> {
        let begin = Instant::now();
        loop {
            let found = self.client.execute(script, vec![]).await;
            match found {
                Ok(value) if !value.is_null() && value != json!(false) => return Ok(value),
                found if begin.elapsed() > BOUND => {
                    let text = self.client.execute("return document.body.innerText", vec![]).await;
                    bail!("waited {BOUND:?} for {what}; last: {found:?}; the page: {text:?}");
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// What the page has logged as an error since the last call: exceptions, refused requests.
    ///
    /// # Errors
    /// When the driver does not tell.
    pub async fn errors(&self) -> Result<Vec<String>> {
        let log = self.client.issue_cmd(Extension("se/log", json!({"type": "browser"}))).await?;
        let entries = log.as_array().context("a list of entries")?;
        let severe = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        Ok(severe.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect())
    }

    /// Makes the page believe that its reader prefers `dark` or `light`.
    ///
    /// # Errors
    /// When the driver refuses.
    pub async fn prefer_color_scheme(&self, scheme: &str) -> Result<()> {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features})).await
    }

    /// One command of the DevTools protocol.
    ///
    /// # Errors
    /// When the driver refuses.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Result<()> {
        let body = json!({"cmd": command, "params": parameters});
        self.client
            .issue_cmd(Extension("goog/cdp/execute", body))
            .await
            .with_context(|| command.to_owned())
            .map(drop)
    }
}

impl Browser {
    /// By hand, as a value that is dropped cannot wait for the client.
    fn end_session(&self) -> std::io::Result<()> {
        let mut driver = TcpStream::connect(("127.0.0.1", self.port))?;
        driver.set_read_timeout(Some(BOUND))?;
        write!(driver, "DELETE /session/{} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", self.session, self.port)?;
        // The answer comes when the browser has ended; the connection stays open.
        driver.read(&mut [0; 64]).map(drop)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A driver that ends leaves its browsers running, so the session is ended first. A test may
        // have ended it by itself, or the driver may be gone.
        self.end_session().ok();
        server::signal(&self.driver, Signal::SIGTERM).ok();
        self.driver.wait().ok();
    }
}

fn capabilities(profile: &Folder, hosts: &[(&str, &str)]) -> Capabilities {
    let rules: Vec<_> = hosts.iter().map(|(host, address)| format!("MAP {host} {address}")).collect();
    let options = json!({
        "binary": program::find("chromium", &[], "chromium"),
        "args": [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--window-size=1280,900",
            format!("--user-data-dir={}", profile.path().display()),
            format!("--host-resolver-rules={}", rules.join(",")),
        ],
    });
    let wanted = json!({"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}});
    wanted.as_object().expect("it is an object").clone()
}

/// A command that the standard does not have: where it is below the session, and its parameters.
#[derive(Debug)]
struct Extension(&'static str, Value);

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.0))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.1.to_string()))
    }
}
