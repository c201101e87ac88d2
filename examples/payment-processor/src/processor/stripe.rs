//! Stripe, as far as it is needed: payments that are confirmed at once, refunds, and whether it
//! answers. <https://docs.stripe.com/api>

mod answer;
mod form;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use forward_sdk::axum::http::{HeaderValue, Method, Request, StatusCode, header};
use futures::future::{BoxFuture, FutureExt};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use self::answer::{read_charge, read_health, read_refund};
use super::{Charge, Charged, Processor, ProcessorError, Repaid, Repayment};

const API: &str = "https://api.stripe.com";
/// How long a call may take. It is shorter than a claim on a payment, so that one charge is mostly
/// worked on once.
const TIMEOUT: Duration = Duration::from_secs(8);
/// The largest answer that is read, in bytes.
const LARGEST: usize = 1 << 20;

pub struct Stripe {
    api: String,
    authorization: HeaderValue,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

impl Stripe {
    /// For an account's key, which was found to be visible ASCII characters.
    pub fn new(api_key: &str) -> Self {
        let builder = HttpsConnectorBuilder::new().with_webpki_roots().https_only();
        Self::over(builder.enable_http1().build(), API, api_key)
    }

    fn over(connector: HttpsConnector<HttpConnector>, api: &str, api_key: &str) -> Self {
        let mut authorization = HeaderValue::try_from(format!("Bearer {api_key}"))
            .expect("the configuration refuses keys that are not visible ASCII characters");
        authorization.set_sensitive(true);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Self { api: api.to_owned(), authorization, client, timeout: TIMEOUT }
    }

    async fn post(
        &self,
        path: &str,
        key: &str,
        fields: &[(&str, &str)],
    ) -> Result<(StatusCode, Bytes), ProcessorError> {
        let request = Request::builder()
            .method(Method::POST)
            .header("idempotency-key", key)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(path, request, form::encode(fields)).await
    }

    async fn send(
        &self,
        path: &str,
        request: forward_sdk::axum::http::request::Builder,
        body: String,
    ) -> Result<(StatusCode, Bytes), ProcessorError> {
        let request = request
            .uri(format!("{}{path}", self.api))
            .header(header::AUTHORIZATION, &self.authorization)
            .body(Full::from(body))
            .map_err(|error| ProcessorError::Exchange(error.into()))?;
        let exchange = async {
            let (head, body) = self.client.request(request).await?.into_parts();
            Ok((head.status, Limited::new(body, LARGEST).collect().await?.to_bytes()))
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(answer) => answer.map_err(ProcessorError::Exchange),
            Err(_) => Err(ProcessorError::Await(self.timeout)),
        }
    }
}

impl Processor for Stripe {
    fn accepts(&self, method: &str) -> bool {
        method.starts_with("pm_") && method.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }

    fn charge<'a>(&'a self, charge: Charge<'a>) -> BoxFuture<'a, Result<Charged, ProcessorError>> {
        async move {
            let Charge { id, amount, currency, method, description } = charge;
            let (amount, currency) = (amount.to_string(), currency.to_ascii_lowercase());
            let mut fields = vec![
                ("amount", amount.as_str()),
                ("currency", &currency),
                ("payment_method", method),
                ("payment_method_types[]", "card"),
                ("confirm", "true"),
                // Nobody is there who could go through a bank's page: such a card is declined.
                ("error_on_requires_action", "true"),
                ("metadata[payment_id]", id),
            ];
            fields.extend(description.map(|description| ("description", description)));
            let (status, body) = self.post("/v1/payment_intents", id, &fields).await?;
            read_charge(status, &body)
        }
        .boxed()
    }

    fn refund<'a>(&'a self, repayment: Repayment<'a>) -> BoxFuture<'a, Result<Repaid, ProcessorError>> {
        async move {
            let Repayment { id, provider_id, amount } = repayment;
            let amount = amount.to_string();
            let fields = [("payment_intent", provider_id), ("amount", &amount), ("metadata[refund_id]", id)];
            let (status, body) = self.post("/v1/refunds", id, &fields).await?;
            read_refund(status, &body)
        }
        .boxed()
    }

    fn health(&self) -> BoxFuture<'_, Result<(), ProcessorError>> {
        async {
            let (status, body) = self.send("/v1/balance", Request::get("/"), String::new()).await?;
            read_health(status, &body)
        }
        .boxed()
    }
}
