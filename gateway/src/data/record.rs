//! The end of a request: counted once, whatever became of it, and logged where that is wanted.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Instant};

use http::{HeaderValue, Method, StatusCode};

use super::{
    bulkhead::Place,
    guard::Watch,
    snapshot::{Plugin, Route},
    span::{Kept, Served},
    stats::{Measure, UpstreamError},
    worker::{AccessLog, Worker},
};

/// What is written down of a request when it ends, which is when this is dropped.
pub struct Record {
    worker: Rc<Worker>,
    watch: Arc<Watch>,
    started: Instant,
    method: Method,
    /// Until there is another one: that the client went away first.
    status: StatusCode,
    route: Option<Arc<Route>>,
    /// What it takes of the limits of what is under way.
    places: Cell<Vec<Place>>,
    line: Option<Line>,
    /// Where a trace is kept of it.
    span: Option<Box<Served>>,
}

/// What the access log says besides.
struct Line {
    /// Of lower statuses nothing is said.
    least: u16,
    path: String,
    id: HeaderValue,
}

impl Record {
    /// A request has come in.
    pub fn begin(worker: Rc<Worker>, watch: Arc<Watch>, method: Method) -> Self {
        watch.enter(worker.clock.now());
        let status = StatusCode::from_u16(499).expect("499 is a status");
        let (started, places) = (Instant::now(), Cell::default());
        Self { worker, watch, started, method, status, route: None, places, line: None, span: None }
    }

    /// It has a route: it counts for the route's plugin from now on.
    pub fn routed(&mut self, route: Arc<Route>) {
        route.plugin.stats[self.worker.index].enter();
        self.route = Some(route);
    }

    pub fn named(&mut self, path: &str, id: &HeaderValue) {
        let least = match self.worker.shared.settings.access_log {
            AccessLog::None => None,
            AccessLog::Errors => Some(500),
            AccessLog::All => Some(0),
        };
        self.log(least, path, id);
    }

    /// Log a line if the status is at least this, or none.
    pub fn log(&mut self, least: Option<u16>, path: &str, id: &HeaderValue) {
        self.line = least.map(|least| Line { least, path: path.to_owned(), id: id.clone() });
    }

    /// A trace is kept of it, or not.
    pub fn traced(&mut self, span: Option<Box<Served>>) {
        self.span = span;
    }

    /// The trace that is kept of it.
    pub fn kept(&self) -> Option<Kept> {
        self.span.as_ref().map(|span| span.kept)
    }

    pub fn answered(&mut self, status: StatusCode) {
        self.status = status;
    }

    /// It becomes a tunnel, which goes on when this has ended.
    pub fn tunnel(&self, plugin: &Arc<Plugin>) -> Underway {
        self.watch.enter(self.worker.clock.now());
        plugin.stats[self.worker.index].enter();
        Underway {
            plugin: plugin.clone(),
            worker: self.worker.clone(),
            watch: self.watch.clone(),
            places: self.places.take(),
        }
    }

    /// A piece of the answer is handed over, and there is more: see [`Watch::hand_over`].
    pub fn hand_over(&self) -> u64 {
        self.watch.hand_over(self.worker.clock.now())
    }

    /// The client wants more of it.
    pub fn take(&self, key: u64) {
        self.watch.take(key);
    }

    /// Keep its places until it ends.
    pub fn hold(&self, places: Vec<Place>) {
        self.places.set(places);
    }

    /// Count what was done about a plugin that failed.
    pub fn measure(&self, measure: Measure) {
        if let Some(route) = &self.route {
            route.plugin.stats[self.worker.index].measure(measure);
        }
    }

    /// Count what went wrong with the plugin.
    pub fn error(&self, error: UpstreamError) {
        if let Some(route) = &self.route {
            route.plugin.stats[self.worker.index].error(error);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Self { worker, watch, started, method, status, route, places, line, span } = self;
        drop(places.take());
        watch.leave(worker.clock.now());
        let took = started.elapsed();
        if status.as_u16() == 499 {
            watch.abandon();
            if let Some(route) = route {
                route.plugin.stats[worker.index].error(UpstreamError::ClientGone);
            }
        }
        match route {
            Some(route) => {
                route.plugin.stats[worker.index].ended(*status, took, worker.clock.now());
                route.stats[worker.index].record(method, *status, took);
            }
            None => worker.shared.unmatched[worker.index].record(method, *status, took),
        }
        let trace_id =
            span.as_ref().filter(|_| line.is_some()).map(|span| format!("{:032x}", span.kept.trace));
        if let (Some(span), Some(spans)) = (span.take(), &worker.shared.settings.spans) {
            if let Some(route) = route {
                route.stats[worker.index].exemplify(took, span.kept.trace);
            }
            span.end(spans, method, *status, route.as_deref());
        }
        if let Some(Line { least, path, id }) = line
            && status.as_u16() >= *least
        {
            tracing::info!(
                target: "access",
                plugin = route.as_ref().map(|route| route.plugin.label.as_str()),
                route = route.as_ref().map(|route| route.pattern.as_str()),
                method = method.as_str(),
                path,
                status = status.as_u16(),
                micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                request_id = id.to_str().ok(),
                trace_id,
                "request"
            );
        }
    }
}

/// A tunnel's share in what its plugin, and its connection, have under way.
pub struct Underway {
    plugin: Arc<Plugin>,
    worker: Rc<Worker>,
    watch: Arc<Watch>,
    places: Vec<Place>,
}

impl Underway {
    pub fn plugin_label(&self) -> String {
        self.plugin.label.clone()
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.places.clear();
        self.watch.leave(self.worker.clock.now());
        self.plugin.stats[self.worker.index].leave();
    }
}
