//! Serves `goforward.plugin.v1`: what the plugin is and how it fares, and its middleware.

use std::{sync::Arc, time::SystemTime};

use forward_proto::plugin::v1::{
    DescribeRequest, DescribeResponse, HealthRequest, HealthResponse, OnRequestRequest, OnRequestResponse,
    OnResponseRequest, OnResponseResponse, Reload, health_response::Status as Outcome, middleware_server,
    plugin_server,
};
use tonic::{Request, Response, Status};

use crate::{
    Error, Health, Plugin,
    failure::chain,
    host::{Guest, Host},
    panics::catch,
    reload::Report,
};

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
            middleware: guest.middleware.announced(),
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
        let Health { healthy, message, mut details } = health;
        host.process.tell(&mut details);
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

/// The plugin's middleware.
pub struct Asked<P>(pub Arc<Host<P>>);

impl<P: Plugin> Asked<P> {
    fn guest(&self) -> Result<&Guest<P>, Status> {
        let started = self.0.guest().filter(|_| self.0.phase().serves());
        started.ok_or_else(|| Status::unavailable("the plugin has not started yet"))
    }
}

#[tonic::async_trait]
impl<P: Plugin> middleware_server::Middleware for Asked<P> {
    async fn on_request(
        &self,
        question: Request<OnRequestRequest>,
    ) -> Result<Response<OnRequestResponse>, Status> {
        let Guest { plugin, middleware, .. } = self.guest()?;
        let question = question.into_inner();
        let name = question.middleware.clone();
        let answer = middleware.on_request(plugin, question).ok_or_else(|| unknown(&name))?;
        answered(&name, answer).await
    }

    async fn on_response(
        &self,
        question: Request<OnResponseRequest>,
    ) -> Result<Response<OnResponseResponse>, Status> {
        let Guest { plugin, middleware, .. } = self.guest()?;
        let question = question.into_inner();
        let name = question.middleware.clone();
        let answer = middleware.on_response(plugin, question).ok_or_else(|| unknown(&name))?;
        answered(&name, answer).await
    }
}

fn unknown(name: &str) -> Status {
    Status::not_found(format!("the plugin has no middleware {name:?} that is asked about this"))
}

/// What the author's code says. Why it said nothing is for the log: clients are told by the gateway.
async fn answered<T>(
    name: &str,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<Response<T>, Status> {
    let error = match catch(answer).await {
        Ok(Ok(answer)) => return Ok(Response::new(answer)),
        Ok(Err(error)) => chain(&*error),
        Err(panic) => format!("it panicked: {panic}"),
    };
    tracing::warn!(middleware = name, error, "a middleware gave no answer");
    Err(Status::internal("the middleware gave no answer"))
}
