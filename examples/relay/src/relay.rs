//! The plugin. Which one comes next is its configuration; where that one answers, the SDK knows.

use std::sync::Arc;

use forward_sdk::{
    Context, Dependency, Error, Plugin, Problem, Routes,
    axum::{Json, extract::State},
};
use serde::{Deserialize, Serialize};

/// Where each plugin of the chain is asked by the one before it.
const PATH: &str = "/path";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The plugin to ask; the last one of the chain has none.
    next: Option<String>,
    /// Where the outside may ask, for example `/relay`; only the first one of the chain has it.
    entrance: Option<String>,
}

pub struct Relay {
    name: String,
    entrance: Option<String>,
    next: Option<Dependency>,
}

#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Answer {
    path: Vec<String>,
}

impl Plugin for Relay {
    type Config = Config;

    async fn initialize(config: Config, context: &Context) -> Result<Self, Error> {
        let Config { next, entrance } = config;
        let next = next.map(|name| context.dependency(&name)).transpose()?;
        Ok(Self { name: context.name().to_owned(), entrance, next })
    }

    fn routes(&self) -> Routes<Self> {
        let routes = Routes::new().get(PATH, answer).internal();
        match &self.entrance {
            Some(path) => routes.get(path, answer).describe("Asks every plugin of the chain."),
            None => routes,
        }
    }
}

async fn answer(State(relay): State<Arc<Relay>>) -> Result<Json<Answer>, Problem> {
    let mut path = vec![relay.name.clone()];
    if let Some(next) = &relay.next {
        path.extend(next.get::<Answer>(PATH).await?.path);
    }
    Ok(Json(Answer { path }))
}
