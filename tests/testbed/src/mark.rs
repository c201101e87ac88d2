//! The middleware `mark`: requests and answers that it has seen carry the plugin's name, and what has
//! the header `X-Refuse` goes no further. And `sessions`: who asks is what the header `X-Session` says,
//! with how often that was asked about until then, which the gateway may keep for a minute.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use forward_sdk::{
    Error,
    middleware::{Answered, Changes, Middleware, Outcome, Phase, Question},
};

use crate::{config::Scope, testbed::Testbed};

pub fn middleware(scope: Option<Scope>, sessions: bool) -> Middleware<Testbed> {
    let middleware = match sessions {
        true => Middleware::new().request("sessions", Phase::Authenticate, who).cache_by(["x-session"]),
        false => Middleware::new(),
    };
    let Some(scope) = scope else { return middleware };
    let mark = middleware.request("mark", Phase::Authorize, request).response(answer);
    match scope {
        Scope::Own => mark,
        Scope::All => mark.for_all(),
    }
}

async fn who(testbed: Arc<Testbed>, question: Question) -> Result<Outcome, Error> {
    let Some(session) = question.header("x-session") else { return Ok(Outcome::next()) };
    let asked = testbed.asked.fetch_add(1, Ordering::Relaxed);
    Ok(Outcome::next().identity(&format!("{session}-{asked}"), []).cache_for(Duration::from_secs(60)))
}

async fn request(testbed: Arc<Testbed>, question: Question) -> Result<Outcome, Error> {
    Ok(match question.header("x-refuse") {
        Some(reason) => Outcome::respond(403, reason),
        None => Outcome::changed(Changes::new().set("x-marked-by", testbed.context.name())),
    })
}

async fn answer(testbed: Arc<Testbed>, _: Answered) -> Result<Changes, Error> {
    Ok(Changes::new().set("x-answer-marked-by", testbed.context.name()))
}
