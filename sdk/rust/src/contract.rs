//! Serves `goforward.plugin.v1`: what the plugin is and how it fares.

use std::{sync::Arc, time::SystemTime};

use forward_proto::plugin::v1::{
    DescribeRequest, DescribeResponse, HealthRequest, HealthResponse, Reload,
    health_response::Status as Outcome, plugin_server,
};
use tonic::{Request, Response, Status};

use crate::{Health, Plugin, host::Host, panics::catch, reload::Report};

pub struct Contract<P>(pub Arc<Host<P>>);

#[tonic::async_trait]
impl<P: Plugin> plugin_server::Plugin for Contract<P> {
    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        let Self(host) = self;
        let guest = host.guest().ok_or_else(|| Status::unavailable("the plugin is not initialized yet"))?;
        Ok(Response::new(DescribeResponse {
            name: host.name.clone(),
            version: host.about.version.to_owned(),
            description: host.about.description.to_owned(),
            routes: guest.routes.announced.clone(),
            config_schema: P::config_schema().map(|schema| schema.to_string()).unwrap_or_default(),
        }))
    }

    async fn health(&self, _: Request<HealthRequest>) -> Result<Response<HealthResponse>, Status> {
        let Self(host) = self;
        let health = match host.guest() {
            Some(guest) if host.phase().serves() => {
                let health = catch(guest.plugin.health()).await;
                health.unwrap_or_else(|panic| Health::unhealthy(format!("health panicked: {panic}")))
            }
            _ => Health::unhealthy("the plugin has not started yet"),
        };
        let Health { healthy, message, details } = health;
        let status = if healthy { Outcome::Healthy } else { Outcome::Unhealthy };
        let timestamp = Some(SystemTime::now().into());
        let reload = host
            .report()
            .map(|Report { config_hash, error }| Reload { config_hash, error: error.unwrap_or_default() });
        let config_from_changed = host.outdated();
        let status = status.into();
        Ok(Response::new(HealthResponse { status, message, details, timestamp, reload, config_from_changed }))
    }
}
