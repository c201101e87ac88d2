//! What the server knows of the plugin: the phase, and from Initialized on the plugin itself.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use crate::{About, phase::Phase, routes::Served};

/// Shared by the contract and the gate before the routes.
pub struct Host<P> {
    pub name: String,
    pub about: About,
    phases: watch::Receiver<Phase>,
    guest: OnceLock<Guest<P>>,
}

/// An initialized plugin.
pub struct Guest<P> {
    pub plugin: Arc<P>,
    pub routes: Served,
}

impl<P> Host<P> {
    pub fn new(name: String, about: About, phases: watch::Receiver<Phase>) -> Self {
        Self { name, about, phases, guest: OnceLock::new() }
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

    pub fn guest(&self) -> Option<&Guest<P>> {
        self.guest.get()
    }
}
