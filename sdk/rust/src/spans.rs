//! The spans of requests that a trace is kept of, sent to a collector by OTLP over gRPC. Where
//! `OTEL_EXPORTER_OTLP_ENDPOINT` names none, nothing of it is done.

use std::{collections::HashMap, env};

use axum::response::Response;
use http::{HeaderMap, HeaderValue, request};
use opentelemetry::{
    Context, KeyValue,
    propagation::{Injector, TextMapPropagator},
    trace::{SpanKind, Status, TraceContextExt, Tracer, TracerProvider},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};

use crate::{TraceContext, failure::chain};

/// What names the collector.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Where spans go.
#[derive(Debug)]
pub struct Spans {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// The span of a request that is being answered.
pub struct Served(Context);

impl Spans {
    /// Of a plugin, where the environment names a collector. Must be made within a runtime.
    pub fn from_environment(plugin: &str, version: &'static str) -> Option<Self> {
        let endpoint = env::var(ENDPOINT).ok().filter(|endpoint| !endpoint.is_empty())?;
        match Self::new(&endpoint, plugin, version) {
            Ok(spans) => Some(spans),
            Err(error) => {
                // A plugin is not to fail because nobody watches it.
                tracing::warn!(endpoint, error = chain(&*error), "no spans are sent");
                None
            }
        }
    }

    fn new(endpoint: &str, plugin: &str, version: &'static str) -> Result<Self, crate::Error> {
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        let resource = Resource::builder()
            .with_service_name(plugin.to_owned())
            .with_attribute(KeyValue::new("service.version", version));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        let tracer = provider.tracer("forward-sdk");
        Ok(Self { provider, tracer })
    }

    /// A request has come in, of which a trace is kept or not: the parent says, or the sampler that the
    /// environment names.
    pub fn begin(&self, head: &request::Parts) -> Served {
        let headers = ["traceparent", "tracestate"].into_iter().filter_map(|name| {
            let value = head.headers.get(name)?.to_str().ok()?;
            Some((name.to_owned(), value.to_owned()))
        });
        let parent = TraceContextPropagator::new()
            .extract_with_context(&Context::new(), &headers.collect::<HashMap<_, _>>());
        let span = self
            .tracer
            .span_builder(head.method.to_string())
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("http.request.method", head.method.to_string()),
                KeyValue::new("url.path", head.uri.path().to_owned()),
            ])
            .start_with_context(&self.tracer, &parent);
        Served(parent.with_span(span))
    }

    /// Sends what has not been sent yet. Blocks for five seconds at most.
    pub fn flush(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "some spans were not sent");
        }
    }
}

impl Served {
    /// What calls for the request belong to.
    pub fn trace(&self) -> Option<TraceContext> {
        let mut headers = Headers(HeaderMap::new());
        TraceContextPropagator::new().inject_context(&self.0, &mut headers);
        TraceContext::of(&headers.0)
    }

    /// The head of the answer is there.
    pub fn end(self, response: &Response) {
        let (span, status) = (self.0.span(), response.status());
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

struct Headers(HeaderMap);

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        let name = key.parse::<http::HeaderName>().ok().filter(|_| !value.is_empty());
        if let Some((name, value)) = name.zip(HeaderValue::from_str(&value).ok()) {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use axum::{body::Body, response::IntoResponse};
    use http::{Request, StatusCode};
    use opentelemetry_proto::tonic::{
        collector::trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
        trace::v1::{Span, span},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Collector(Arc<Mutex<Vec<Span>>>);

    #[tonic::async_trait]
    impl TraceService for Collector {
        async fn export(
            &self,
            request: tonic::Request<ExportTraceServiceRequest>,
        ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
            let scopes = request.into_inner().resource_spans.into_iter().flat_map(|it| it.scope_spans);
            self.0.lock().unwrap().extend(scopes.flat_map(|it| it.spans));
            Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_is_a_span_of_its_callers_trace_and_calls_are_its_children() {
        let collector = Collector::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let service = TraceServiceServer::new(collector.clone());
        let router = tonic::service::Routes::new(service).prepare().into_axum_router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let spans = Spans::new(&endpoint, "shop/pay", "1.0.0").unwrap();
        for (path, flags) in [("/kept", "01"), ("/not-kept", "00")] {
            let parent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
            let request = Request::get(path).header("traceparent", parent).body(Body::empty()).unwrap();
            let served = spans.begin(&request.into_parts().0);
            let trace = served.trace().unwrap();
            assert!(trace.parent().starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{trace:?}");
            assert!(trace.parent().ends_with(flags) && !trace.parent().contains("b7ad6b7169203331"));
            served.end(&StatusCode::BAD_GATEWAY.into_response());
        }
        let flushing = tokio::task::spawn_blocking(move || spans.flush());
        tokio::time::timeout(Duration::from_secs(20), flushing).await.unwrap().unwrap();
        let all = collector.0.lock().unwrap().clone();
        assert_eq!(all.len(), 1, "{all:?}");
        let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&all[0].trace_id), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(hex(&all[0].parent_span_id), "b7ad6b7169203331");
        assert_eq!((all[0].name.as_str(), all[0].kind()), ("GET", span::SpanKind::Server));
    }
}
