//! The page that shows what happens: one answer with all that it needs, which asks this plugin only.
//!
//! What events say reaches the page as text, never as HTML; the policy would not run it either.

use std::sync::Arc;

use forward_sdk::axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Html,
};
use uuid::Uuid;

use crate::plugin::AnalyticsTracker;

const PAGE: &str = include_str!("page.html");
/// What stands in the page instead of the rest.
const PARTS: [(&str, &str); 6] = [
    ("/* style.css */", include_str!("style.css")),
    ("/* theme.js */", include_str!("theme.js")),
    ("/* format.js */", include_str!("format.js")),
    ("/* chart.js */", include_str!("chart.js")),
    ("/* panels.js */", include_str!("panels.js")),
    ("/* dashboard.js */", include_str!("dashboard.js")),
];

pub async fn show(State(tracker): State<Arc<AnalyticsTracker>>) -> (HeaderMap, Html<String>) {
    let nonce = Uuid::new_v4().simple().to_string();
    (headers(&nonce), Html(page(&nonce, tracker.settings.realtime)))
}

fn page(nonce: &str, realtime: bool) -> String {
    let page = PAGE.replace("NONCE", nonce).replace("REALTIME", if realtime { "on" } else { "off" });
    PARTS.into_iter().fold(page, |page, (place, part)| page.replace(place, part))
}

fn headers(nonce: &str) -> HeaderMap {
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    );
    let policy = HeaderValue::from_str(&policy).expect("it is ASCII");
    let fixed = |name: HeaderName, value| (name, HeaderValue::from_static(value));
    HeaderMap::from_iter([
        (header::CONTENT_SECURITY_POLICY, policy),
        fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        fixed(header::REFERRER_POLICY, "no-referrer"),
        // The nonce is for one answer.
        fixed(header::CACHE_CONTROL, "no-store"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole() {
        let page = page("n0nce", true);
        for (place, _) in PARTS {
            assert!(!page.contains(place), "{place}");
        }
        let tags = page.matches("<script").count() + page.matches("<style").count();
        assert_eq!(page.matches("nonce=\"n0nce\"").count(), tags);
        assert!(!page.contains("innerHTML") && !page.contains(" style=\""), "the policy refuses them");
    }

    #[test]
    fn no_two_answers_share_a_nonce() {
        assert!(
            headers("a")[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("script-src 'nonce-a';")
        );
        assert_ne!(headers("a"), headers("b"));
    }
}
