//! The first plugin: one route, one setting.
use forward_sdk::axum::extract::{Path, State};
use forward_sdk::{Context, Error, Plugin, Routes};
use std::sync::Arc;

#[derive(serde::Deserialize)]
struct Hello {
    greeting: Option<String>,
}

impl Plugin for Hello {
    type Config = Self;
    async fn initialize(config: Self, _: &Context) -> Result<Self, Error> {
        Ok(config)
    }
    fn routes(&self) -> Routes<Self> {
        Routes::new().get("/hello/:name", hello).describe("Greets somebody.")
    }
}

async fn hello(State(plugin): State<Arc<Hello>>, Path(name): Path<String>) -> String {
    format!("{}, {name}!\n", plugin.greeting.as_deref().unwrap_or("Hello"))
}

forward_sdk::main!(Hello);
