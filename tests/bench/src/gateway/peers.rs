//! The gateway's peers with the duties that it has: each plugin's routes and connections, the client's
//! address, an id and a trace header for each request, the id on the answer, counts, no access log.
//!
//! Where the duties cannot be the same, the peer has less to do: nginx counts requests for all routes
//! together, and neither makes up a trace's own id for each request. Routes with a parameter are prefixes to
//! both, which they look up faster than a regular expression.

use std::{fmt::Write as _, fs, net::SocketAddr, path::Path, process::Command};

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    Programs,
    objects::{ROUTES, name, pattern},
    proxy::WORKERS,
};

/// Connections to each plugin that are kept, by each worker: as many as clients have.
const KEPT: usize = 64;

/// A route as both know it: a path, and whether it is only the beginning.
fn route(number: usize, route: usize) -> (String, bool) {
    let pattern = pattern(number, route);
    pattern.strip_suffix(":id").map_or((pattern.clone(), false), |prefix| (prefix.to_owned(), true))
}

pub fn nginx(
    programs: &Programs,
    plugins: usize,
    listen: SocketAddr,
    origin: SocketAddr,
    folder: &Path,
) -> Result<Command> {
    let mut text = format!(
        "daemon off;\nworker_processes {WORKERS};\npid {folder}/pid;\nerror_log {folder}/error.log;\n\
         worker_rlimit_nofile 20000;\nevents {{ worker_connections 16384; }}\nhttp {{\n\
         access_log off; keepalive_requests 1000000000; keepalive_timeout 75s; default_type text/plain;\n\
         client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;\n\
         uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n",
        folder = folder.display()
    );
    for number in 0..plugins {
        writeln!(
            text,
            "upstream {} {{ server {origin}; keepalive {KEPT}; keepalive_requests 1000000000; }}",
            name(number)
        )?;
    }
    writeln!(
        text,
        "server {{ listen {listen} reuseport backlog=4096; server_tokens off;\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host;\n\
         proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;\n\
         proxy_set_header X-Forwarded-Host $http_host;\n\
         proxy_set_header Forwarded \"for=$remote_addr;host=$http_host;proto=$scheme\";\n\
         proxy_set_header X-Request-Id $request_id; add_header X-Request-Id $request_id always;\n\
         proxy_set_header traceparent \"00-$request_id-0000000000000001-00\";\n\
         location = /status {{ stub_status; }}"
    )?;
    for number in 0..plugins {
        for (path, is_prefix) in (0..ROUTES).map(|it| route(number, it)) {
            let kind = if is_prefix { "" } else { "= " };
            writeln!(text, "location {kind}{path} {{ proxy_pass http://{}; }}", name(number))?;
        }
    }
    text.push_str("} }\n");
    let config = folder.join("nginx.conf");
    fs::write(&config, text)?;
    let mut command = programs.nginx();
    command.arg("-p").arg(folder).arg("-c").arg(config);
    Ok(command)
}

pub fn envoy(
    programs: &Programs,
    plugins: usize,
    listen: SocketAddr,
    origin: SocketAddr,
    folder: &Path,
) -> Result<Command> {
    let address =
        |it: SocketAddr| json!({"socket_address": {"address": it.ip().to_string(), "port_value": it.port()}});
    let typed = |kind: &str, mut rest: Value| {
        rest["@type"] = json!(format!("type.googleapis.com/envoy.{kind}"));
        rest
    };
    let route = |number, of_plugin| {
        let (path, is_prefix) = route(number, of_plugin);
        let kind = if is_prefix { "prefix" } else { "path" };
        // Requests are counted by route.
        json!({"match": {(kind): path}, "route": {"cluster": name(number)}, "stat_prefix": format!("{number}-{of_plugin}")})
    };
    let routes = (0..plugins).flat_map(|number| (0..ROUTES).map(move |it| route(number, it)));
    let set = |key: &str, value: &str| json!({"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"});
    let manager = json!({
        "stat_prefix": "http",
        "codec_type": "AUTO",
        "generate_request_id": true,
        "always_set_request_id_in_response": true,
        "use_remote_address": true,
        "common_http_protocol_options": {"idle_timeout": "75s"},
        "route_config": {
            "request_headers_to_add": [
                set("x-forwarded-host", "%REQ(:AUTHORITY)%"),
                set("forwarded", "for=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%;host=%REQ(:AUTHORITY)%;proto=http"),
                set("traceparent", "00-0000000000000000000000000000000a-0000000000000001-00"),
            ],
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes.collect::<Vec<_>>()}],
        },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": typed("extensions.filters.http.router.v3.Router", json!({})),
        }],
    });
    let kind = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let cluster = |number| {
        json!({
            "name": name(number),
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": name(number),
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(origin)}}]}],
            },
        })
    };
    let config = json!({
        "admin": {"address": {"pipe": {"path": folder.join("admin").display().to_string()}}},
        "static_resources": {
            "listeners": [{
                "name": "http",
                "address": address(listen),
                "enable_reuse_port": true,
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": typed(kind, manager),
                }]}],
            }],
            "clusters": (0..plugins).map(cluster).collect::<Vec<_>>(),
        },
    });
    let path = folder.join("envoy.json");
    fs::write(&path, config.to_string())?;
    let mut command = Command::new(&programs.envoy);
    command.args(["--concurrency", &WORKERS.to_string(), "--log-level", "warn", "--use-dynamic-base-id"]);
    command.arg("--config-path").arg(path);
    Ok(command)
}
