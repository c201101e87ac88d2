//! What an EndpointSlice says about pods.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use k8s_openapi::api::discovery::v1::EndpointSlice;

/// The name of the Service's port that leads to the plugin.
const PORT: &str = "http";

/// A pod that is ready.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ready {
    /// Its UID, or its address where the slice does not say.
    pub uid: String,
    /// Its name.
    pub pod: String,
    pub address: SocketAddr,
}

/// The ready pods of a slice. What terminates or is not ready is left out, and so is what has no
/// address that can be used.
pub fn ready(slice: &EndpointSlice) -> Vec<Ready> {
    let ports = slice.ports.as_deref().unwrap_or_default();
    let named = ports.iter().find(|port| port.name.as_deref() == Some(PORT)).or_else(|| ports.first());
    let Some(port) = named.and_then(|port| u16::try_from(port.port?).ok()) else { return Vec::new() };
    let endpoints = slice.endpoints.iter().filter(|endpoint| {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        // Absent means ready.
        conditions.ready != Some(false) && conditions.terminating != Some(true)
    });
    endpoints
        .filter_map(|endpoint| {
            let address = endpoint.addresses.first()?.parse::<IpAddr>().ok()?;
            let address = SocketAddr::new(address, port);
            let target = endpoint.target_ref.clone().unwrap_or_default();
            Some(Ready {
                uid: target.uid.unwrap_or_else(|| address.to_string()),
                pod: target.name.unwrap_or_else(|| address.to_string()),
                address,
            })
        })
        .collect()
}

/// The ready pods of several slices, each pod once: a pod with addresses of both families is in
/// two slices, and IPv4 goes first.
pub fn merge<'a>(slices: impl Iterator<Item = &'a Vec<Ready>>) -> Vec<Ready> {
    let mut pods = BTreeMap::<&str, &Ready>::new();
    for ready in slices.flatten() {
        let known = pods.entry(&ready.uid).or_insert(ready);
        if known.address.is_ipv6() && ready.address.is_ipv4() {
            *known = ready;
        }
    }
    pods.into_values().cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(endpoints: serde_json::Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "addressType": "IPv4",
            "ports": [{"name": "other", "port": 1}, {"name": "http", "port": 8080}],
            "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn pod(uid: &str, address: &str, conditions: serde_json::Value) -> serde_json::Value {
        json!({"addresses": [address], "conditions": conditions, "targetRef": {"kind": "Pod", "name": format!("{uid}-pod"), "uid": uid}})
    }

    #[test]
    fn takes_pods_that_are_ready_and_stay() {
        let ready = ready(&slice(json!([
            pod("a", "10.0.0.1", json!({"ready": true})),
            pod("b", "10.0.0.2", json!({"ready": false})),
            pod("c", "10.0.0.3", json!({"ready": true, "terminating": true})),
            pod("d", "10.0.0.4", json!({})),
            {"addresses": ["10.0.0.5"]},
        ])));
        let seen: Vec<_> = ready.iter().map(|ready| (ready.uid.as_str(), ready.pod.as_str())).collect();
        assert_eq!(seen, [("a", "a-pod"), ("d", "d-pod"), ("10.0.0.5:8080", "10.0.0.5:8080")]);
        assert_eq!(ready[0].address, "10.0.0.1:8080".parse().unwrap());
    }

    #[test]
    fn counts_a_pod_of_two_families_once() {
        let six = ready(&slice(json!([pod("a", "fd00::1", json!({}))])));
        let four = ready(&slice(json!([pod("a", "10.0.0.1", json!({}))])));
        let merged = merge([&six, &four].into_iter());
        assert_eq!(merged, four);
    }

    #[test]
    fn takes_nothing_from_a_slice_without_ports() {
        assert!(ready(&EndpointSlice::default()).is_empty());
    }
}
