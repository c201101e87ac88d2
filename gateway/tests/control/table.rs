//! The table that a gateway makes of objects.

use std::sync::Arc;

use forward_gateway::{
    control::index::{Index, Object},
    data::worker::{Settings, Shared},
};

/// An index, and what it publishes to.
pub struct Table {
    pub shared: Arc<Shared>,
    pub index: Index,
}

impl Table {
    pub fn new() -> Self {
        let shared = Shared::new(Settings::default(), 1);
        Self { index: Index::new(shared.clone(), "gateway-a"), shared }
    }

    pub fn take(&mut self, object: Object) {
        self.index.apply(object);
        self.index.publish();
    }

    pub fn delete(&mut self, object: Object) {
        self.index.delete(object);
        self.index.publish();
    }
}
