//! What the server knows of the plugin: the phase, and from Initialized on the plugin itself.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use crate::{About, Middleware, phase::Phase, process::Process, reload::Report, routes::Served};

/// Shared by the contract and the gate before the routes.
pub struct Host<P> {
    pub name: String,
    pub about: About,
    pub process: Process,
    #[cfg(feature = "otel")]
    pub spans: Option<crate::spans::Spans>,
    phases: watch::Receiver<Phase>,
    guest: OnceLock<Guest<P>>,
    /// Where new configurations are taken while the plugin runs.
    reports: OnceLock<watch::Receiver<Report>>,
    /// Where they are taken only when it starts: whether another one would be now.
    outdated: OnceLock<watch::Receiver<Option<String>>>,
}

/// An initialized plugin.
pub struct Guest<P> {
    pub plugin: Arc<P>,
    pub routes: Served,
    pub middleware: Middleware<P>,
}

impl<P> Host<P> {
    pub fn new(name: String, about: About, phases: watch::Receiver<Phase>) -> Self {
        #[cfg(feature = "otel")]
        let spans = crate::spans::Spans::from_environment(&name, about.version);
        Self {
            name,
            about,
            process: Process::start(),
            #[cfg(feature = "otel")]
            spans,
            phases,
            guest: OnceLock::new(),
            reports: OnceLock::new(),
            outdated: OnceLock::new(),
        }
    }

    pub fn phase(&self) -> Phase {
        *self.phases.borrow()
    }

    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.phases.clone()
    }

    /// Brings in the plugin; it is initialized once, so nobody is there yet.
    pub fn receive(&self, guest: Guest<P>) {
        assert!(self.guest.set(guest).is_ok(), "a process runs one plugin");
    }

    /// Brings in the reports about new configurations.
    pub fn follow(&self, reports: watch::Receiver<Report>) {
        assert!(self.reports.set(reports).is_ok(), "one folder is followed");
    }

    /// Brings in what [`Watch`](crate::reload::Watch) notices.
    pub fn watch(&self, outdated: watch::Receiver<Option<String>>) {
        assert!(self.outdated.set(outdated).is_ok(), "one folder is followed");
    }

    /// What is to be said of values that are others than the plugin started with; nothing where none is.
    pub fn outdated(&self) -> Option<String> {
        self.outdated.get().and_then(|outdated| outdated.borrow().clone())
    }

    /// What became of the newest configuration; nothing where none is taken.
    pub fn report(&self) -> Option<Report> {
        self.reports.get().map(|reports| reports.borrow().clone())
    }

    pub fn guest(&self) -> Option<&Guest<P>> {
        self.guest.get()
    }
}
