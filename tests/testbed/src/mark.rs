//! The middleware `mark`: requests and answers that it has seen carry the plugin's name, and what has
//! the header `X-Refuse` goes no further.

use std::sync::Arc;

use forward_sdk::{
    Error,
    middleware::{Answered, Changes, Middleware, Outcome, Phase, Question},
};

use crate::{config::Scope, testbed::Testbed};

pub fn middleware(scope: Option<Scope>) -> Middleware<Testbed> {
    let mark = Middleware::new().request("mark", Phase::Authorize, request).response(answer);
    match scope {
        None => Middleware::new(),
        Some(Scope::Own) => mark,
        Some(Scope::All) => mark.for_all(),
    }
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
