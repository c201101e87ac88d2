//! Has each plugin of this replica's share registered, and no other.

use std::collections::BTreeMap;

use forward_plan::routes::PluginId;
use kube::Client;
use tokio::{sync::watch, task::JoinSet};

use super::{
    index::{Handle, View},
    register::Registrant,
};
use crate::{events::Events, metrics::Calls};

/// Register plugins until dropped.
pub async fn run(client: Client, index: Handle, calls: Calls, events: Events) {
    let mut views = BTreeMap::<PluginId, watch::Sender<View>>::new();
    let mut registrations = JoinSet::new();
    let registrant = Registrant::new(client, index.clone(), calls, events);
    loop {
        let touched = index.touched().await;
        while registrations.try_join_next().is_some() {}
        for id in touched {
            let Some(view) = index.lock().view(&id) else {
                // Without a view it ends by itself.
                views.remove(&id);
                continue;
            };
            if let Some(sender) = views.get(&id).filter(|sender| !sender.is_closed()) {
                sender.send_replace(view);
                continue;
            }
            let (sender, receiver) = watch::channel(view);
            registrations.spawn(registrant.clone().run(id.clone(), receiver));
            views.insert(id, sender);
        }
    }
}
