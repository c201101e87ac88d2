//! Of which requests a line is logged.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex},
};

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the process logs of requests.
static LINES: LazyLock<Lines> = LazyLock::new(|| {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .json()
        .with_env_filter("access=info")
        .with_writer(move || writer.clone())
        .init();
    lines
});

fn logged(path: &str) -> usize {
    let lines = LINES.0.lock().unwrap();
    String::from_utf8_lossy(&lines).matches(&format!("\"path\":\"{path}\"")).count()
}

#[tokio::test]
async fn logs_those_that_failed_where_that_is_wanted() {
    LazyLock::force(&LINES);
    let settings = || Settings { access_log: AccessLog::Errors, ..Settings::default() };
    let gateway = Gateway::with(settings());
    gateway.plugin("good", &["GET /went-well"], &[always(404).await]);
    gateway.plugin("bad", &["GET /went-wrong"], &[always(500).await]);
    gateway.get("/went-well").await;
    gateway.get("/went-wrong").await;
    until(|| logged("/went-wrong") == 1).await;
    assert_eq!(logged("/went-well"), 0);
}

#[tokio::test]
async fn logs_the_share_that_is_wanted_whether_or_not_all_are_logged() {
    LazyLock::force(&LINES);
    let all = Gateway::with(Settings { access_log: AccessLog::All, ..Settings::default() });
    let none = Gateway::new();
    for (gateway, percent) in [(&all, 0), (&none, 100)] {
        let log = json!({"name": "lines", "log": {"percent": percent}});
        gateway.behind(json!([log, {"name": "gone", "ipFilter": {"deny": ["127.0.0.0/8"]}}]), nobody());
    }
    all.get("/never-logged").await;
    none.get("/always-logged").await;
    until(|| logged("/always-logged") == 1).await;
    let half = Gateway::new();
    half.behind(json!([{"name": "lines", "log": {"percent": 50}}, {"name": "a", "respond": {}}]), nobody());
    for _ in 0..100 {
        half.get("/half-logged").await;
    }
    none.get("/logged-last").await;
    until(|| logged("/logged-last") == 1).await;
    let count = logged("/half-logged");
    assert!((20..=80).contains(&count), "{count}");
    assert_eq!(logged("/never-logged"), 0);
}
