//! Serves `grpc.health.v1.Health`, which the kubelet's probes ask; every answer follows from the
//! phase.

use std::pin::Pin;

use forward_proto::plugin::v1::probe;
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt, wrappers::WatchStream};
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server,
};

use crate::phase::Phase;

pub struct Probes(pub watch::Receiver<Phase>);

#[tonic::async_trait]
impl health_server::Health for Probes {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        match status(&service, *self.0.borrow()) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("there is no such service")),
            status => Ok(Response::new(answer(status))),
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let mut last = None;
        let answers = WatchStream::new(self.0.clone()).filter_map(move |phase| {
            let status = status(&service, phase);
            (last.replace(status) != Some(status)).then(|| Ok(answer(status)))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

fn status(service: &str, phase: Phase) -> ServingStatus {
    let serving = match service {
        probe::INITIALIZED => phase.is_initialized(),
        probe::READY => phase.is_ready(),
        probe::LIVENESS => true,
        _ => return ServingStatus::ServiceUnknown,
    };
    if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[cfg(test)]
mod tests {
    use tonic_health::pb::health_server::Health;

    use super::*;

    #[test]
    fn each_probe_follows_the_phase() {
        let serving = |phase| {
            [probe::INITIALIZED, probe::READY, probe::LIVENESS]
                .map(|service| status(service, phase) == ServingStatus::Serving)
        };
        assert_eq!(serving(Phase::Loaded), [false, false, true]);
        assert_eq!(serving(Phase::Initialized), [true, false, true]);
        assert_eq!(serving(Phase::Started), [true, true, true]);
        assert_eq!(serving(Phase::Draining), [true, false, true]);
        assert_eq!(serving(Phase::Closed), [true, false, true]);
    }

    #[tokio::test]
    async fn watching_tells_changes_only() {
        let (phases, seen) = watch::channel(Phase::Loaded);
        let request = Request::new(HealthCheckRequest { service: String::new() });
        let mut answers = Probes(seen).watch(request).await.unwrap().into_inner();
        let mut told = Vec::new();
        for phase in [Phase::Loaded, Phase::Started, Phase::Draining] {
            phases.send_replace(phase);
            told.push(answers.next().await.unwrap().unwrap().status());
        }
        phases.send_replace(Phase::Closed);
        drop(phases);
        assert!(answers.next().await.is_none());
        use ServingStatus::{NotServing, Serving};
        assert_eq!(told, [NotServing, Serving, NotServing]);
    }
}
