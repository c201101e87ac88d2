//! The plugin as a collector of traces: it takes spans by OTLP, and shows what has come.

use std::sync::{Arc, PoisonError};

use forward_sdk::axum::{
    Json,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
};
use serde::Serialize;
use tonic::{Status, codegen::Service};

use crate::testbed::Testbed;

/// Where OTLP has its one call.
pub const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A span, as far as tests look at it; ids are in hexadecimal.
#[derive(Clone, Serialize)]
pub struct Span {
    trace: String,
    id: String,
    parent: String,
    service: String,
    kind: &'static str,
    name: String,
}

#[tonic::async_trait]
impl TraceService for Testbed {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        for of_service in request.into_inner().resource_spans {
            let attributes = of_service.resource.map(|resource| resource.attributes).unwrap_or_default();
            let service = service_name(&attributes);
            for span in of_service.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.push(Span {
                    kind: span.kind().as_str_name(),
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    service: service.clone(),
                    name: span.name,
                });
            }
        }
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

/// The call of OTLP.
pub async fn export(State(testbed): State<Arc<Testbed>>, request: Request) -> Response {
    let Ok(response) = TraceServiceServer::from_arc(testbed).call(request).await;
    response.map(Body::new)
}

/// What has come.
pub async fn spans(State(testbed): State<Arc<Testbed>>) -> Json<Vec<Span>> {
    Json(testbed.spans.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

fn service_name(attributes: &[KeyValue]) -> String {
    let named = attributes.iter().find(|attribute| attribute.key == "service.name");
    let value = named.and_then(|attribute| attribute.value.as_ref()?.value.as_ref());
    match value {
        Some(Value::StringValue(name)) => name.clone(),
        _ => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
