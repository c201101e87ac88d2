use std::time::Duration;

use k8s_openapi::{ByteString, jiff::Timestamp};
use tokio::time::timeout;

use super::*;
use crate::admission::{
    certificate::{self, Data},
    follow, secrets,
};

/// An API server that lists a Secret with some data, and then tells of changes to others.
fn client(listed: &Data, changes: &[Data]) -> Client {
    let (service, mut server) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let secret = |data: &Data| {
        json!({"apiVersion": "v1", "kind": "Secret", "data": data,
                                      "metadata": {"name": "webhook", "namespace": "system", "resourceVersion": "1"}})
    };
    let list = json!({"apiVersion": "v1", "kind": "SecretList", "metadata": {"resourceVersion": "1"},
                      "items": [secret(listed)]});
    let changes: String = changes
        .iter()
        .map(|data| format!("{}\n", json!({"type": "MODIFIED", "object": secret(data)})))
        .collect();
    tokio::spawn(async move {
        let mut held = Vec::new();
        let mut changes = Some(changes);
        while let Some((request, send)) = server.next_request().await {
            let query = request.uri().query().unwrap_or_default().to_owned();
            assert!(query.contains("fieldSelector=metadata.name%3Dwebhook"), "a right by name: {query}");
            match (query.contains("watch=true"), changes.take()) {
                (false, left) => {
                    changes = left;
                    send.send_response(Response::new(Body::from(serde_json::to_vec(&list).unwrap())));
                }
                (true, Some(text)) => send.send_response(Response::new(Body::from(text.into_bytes()))),
                (true, None) => held.push(send),
            }
        }
    });
    Client::new(service, "system")
}

#[tokio::test]
async fn serves_what_the_secret_holds_and_keeps_the_last_that_is_good() {
    let now = Timestamp::now();
    let make = |data: &Data| certificate::with_certificate(data, "webhook.system.svc", now).unwrap();
    let first = make(&certificate::with_authority(&Data::new(), now).unwrap());
    let second = make(&first);
    let nonsense = Data::from(
        [("tls.crt", "no"), ("tls.key", "no")]
            .map(|(key, text)| (key.to_owned(), ByteString(text.as_bytes().to_vec()))),
    );
    let mut mixed = second.clone();
    mixed.insert("tls.key".to_owned(), first["tls.key"].clone());
    assert!(certificate::load(&nonsense).is_err() && certificate::load(&mixed).is_err());
    let expected = certificate::load(&second).unwrap().unwrap().cert;
    let (sender, mut certificate) = watch::channel(None);
    let client = client(&first, &[nonsense.clone(), mixed, Data::new(), second, nonsense]);
    tokio::spawn(async move { follow(secrets(&client, "system"), "webhook", sender).await });
    let mut served = Vec::new();
    let wait = async {
        while served.last() != Some(&expected) {
            certificate.changed().await.unwrap();
            served.extend(certificate.borrow_and_update().as_ref().map(|now| now.cert.clone()));
        }
    };
    timeout(Duration::from_secs(10), wait).await.unwrap();
    assert!(served.len() <= 2, "what can not be used is never served");
}
