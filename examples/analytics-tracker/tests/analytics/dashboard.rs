//! The dashboard in a real browser.

use std::{fs, path::PathBuf};

use example_testing::{Browser, Postgres, await_that, fantoccini::Locator};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::tracker::{Tracker, postgres_config};

const TILES: &str = "
    const tiles = Array.from(document.querySelectorAll('.tile .value'), (value) => value.textContent);
    return tiles.join(' | ') === arguments_ && arguments_";

async fn open(browser: &Browser, tracker: &Tracker, parameters: &str) {
    let url = format!("http://{}/api/analytics/dashboard{parameters}", tracker.0.address);
    browser.client.goto(&url).await.unwrap();
    browser.await_script("the stream", "return connection.dataset.state === 'live'").await.unwrap();
}

/// Waits until the tiles show events, users, orders and revenue like this.
async fn await_tiles(browser: &Browser, tiles: &str) {
    let script = TILES.replace("arguments_", &json!(tiles).to_string());
    browser.await_script(&format!("the tiles {tiles:?}"), &script).await.unwrap();
}

async fn evaluate(browser: &Browser, expression: &str) -> Value {
    browser.client.execute(&format!("return {expression}"), vec![]).await.unwrap()
}

async fn resize(browser: &Browser, width: u32, height: u32) {
    let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
    browser.devtools("Emulation.setDeviceMetricsOverride", size).await.unwrap();
}

fn order(id: &str, user: &str, amount: i64, currency: &str) -> Value {
    let properties = json!({"order_id": id, "total_amount": amount, "currency": currency, "item_count": 1});
    json!({"id": id, "type": "order_completed", "user_id": user, "properties": properties})
}

#[tokio::test]
async fn shows_what_was_tracked_and_what_comes() {
    let tracker = Tracker::start(&json!({}));
    let views = (0..1_234).map(|i| json!({"type": "page_view", "user_id": format!("u{}", i % 40)}));
    let views: Vec<_> = views.collect();
    tracker.track(&json!({"events": views[..1_000]}));
    tracker.track(&json!({"events": views[1_000..]}));
    tracker.track(&json!({"events": [order("1", "ada", 199_950, "USD"), order("2", "bob", 50, "USD")]}));
    let browser = Browser::start(&[]).await.unwrap();
    open(&browser, &tracker, "").await;
    await_tiles(&browser, "1,236 | 42 | 2 | $2,000.00").await;
    let rows = "Array.from(document.querySelectorAll('.types .row'), (row) => row.textContent)";
    assert_eq!(evaluate(&browser, rows).await, json!(["page_view1,234 · 100 %", "order_completed2 · 0 %"]));
    let drawn = evaluate(&browser, "document.querySelector('.chart svg').getAttribute('aria-label')").await;
    assert!(drawn.as_str().unwrap().starts_with("Events over time: 1,236,"), "{drawn}");

    tracker.track(&order("3", "eve", 700, "JPY"));
    let live =
        "const row = document.querySelector('.feed .fresh'); return row && row.innerText.includes('eve')";
    browser.await_script("the event in the feed", live).await.unwrap();
    await_tiles(&browser, "1,237 | 43 | 3 | $2,000.00").await;
    let other = evaluate(&browser, "document.querySelector('[data-tile=revenue] .change').textContent").await;
    assert_eq!(other, "and ¥700");
    assert_eq!(browser.errors().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn what_events_say_stays_text() {
    let tracker = Tracker::start(&json!({}));
    let browser = Browser::start(&[]).await.unwrap();
    open(&browser, &tracker, "").await;
    let evil = "<img src=x onerror=\"window.taken = 1\"><script>window.taken = 1</script>";
    let event = json!({"type": evil, "user_id": evil, "properties": {evil: evil}});
    tracker.track(&event);
    for place in [".feed .type", ".feed .who", ".types .name"] {
        let script = format!("return document.querySelector({place:?})?.textContent === {}", json!(evil));
        browser.await_script(place, &script).await.unwrap();
    }
    assert_eq!(evaluate(&browser, "window.taken ?? document.images.length").await, 0);
    // The policy holds where text would become HTML after all.
    let script = format!("document.body.insertAdjacentHTML('beforeend', {})", json!(evil));
    browser.client.execute(&script, vec![]).await.unwrap();
    let refused = |errors: &[String]| errors.iter().any(|error| error.contains("Content Security Policy"));
    browser.await_script("the picture to fail", "return document.images[0].complete").await.unwrap();
    assert_eq!(evaluate(&browser, "window.taken ?? 'not taken'").await, "not taken");
    let errors = browser.errors().await.unwrap();
    assert!(refused(&errors), "{errors:?}");
}

#[tokio::test]
async fn is_dark_or_light_as_one_likes() {
    let tracker = Tracker::start(&json!({}));
    let browser = Browser::start(&[]).await.unwrap();
    let ground = "getComputedStyle(document.body).backgroundColor";
    let (dark, light) = ("rgb(11, 13, 23)", "rgb(244, 245, 250)");
    browser.prefer_color_scheme("dark").await.unwrap();
    open(&browser, &tracker, "").await;
    assert_eq!(evaluate(&browser, ground).await, dark);
    browser.prefer_color_scheme("light").await.unwrap();
    browser.await_script("light", &format!("return {ground} === {light:?}")).await.unwrap();
    browser.client.find(Locator::Id("theme")).await.unwrap().click().await.unwrap();
    assert_eq!(evaluate(&browser, ground).await, dark);
    let label = "document.getElementById('theme').getAttribute('aria-label')";
    assert_eq!(evaluate(&browser, label).await, "Switch to light");
    open(&browser, &tracker, "").await;
    assert_eq!(evaluate(&browser, ground).await, dark, "the choice is remembered");
    assert_eq!(browser.errors().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn goes_on_where_it_was_when_the_plugin_comes_back() {
    let postgres = Postgres::shared();
    let config = postgres_config(&postgres.database("comeback"));
    let first = Tracker::start(&config);
    let address = first.0.address.clone();
    let browser = Browser::start(&[]).await.unwrap();
    open(&browser, &first, "").await;
    first.track(&json!({"type": "seen"}));
    let types = "Array.from(document.querySelectorAll('.feed .type'), (type) => type.textContent).join()";
    browser.await_script("the event", &format!("return {types} === 'seen'")).await.unwrap();
    let other = Tracker::start(&config);
    first.0.kill();
    let waiting = "return connection.innerText === 'Reconnecting …'";
    browser.await_script("the page to say that it is cut off", waiting).await.unwrap();
    other.track(&json!({"type": "missed"}));
    let port = address.rsplit(':').next().unwrap();
    let again = Tracker::start_on(&config, port);
    browser.await_script("the stream", "return connection.innerText === 'Live'").await.unwrap();
    again.track(&json!({"type": "new"}));
    browser.await_script("all three", &format!("return {types} === 'new,missed,seen'")).await.unwrap();
}

#[tokio::test]
async fn can_be_read_on_a_phone_in_a_frame_and_by_keyboard() {
    let tracker = Tracker::start(&json!({}));
    track_two_days(&tracker);
    let browser = Browser::start(&[]).await.unwrap();
    open(&browser, &tracker, "?embed=1&range=24h").await;
    assert_eq!(evaluate(&browser, "getComputedStyle(document.querySelector('.top')).display").await, "none");
    browser.await_script("the chart", "return chart.data?.times.length === 24").await.unwrap();
    for width in [360, 700, 1_000] {
        resize(&browser, width, 800).await;
        let overflow = "document.documentElement.scrollWidth - innerWidth";
        assert_eq!(evaluate(&browser, overflow).await, 0, "at {width} pixels");
    }
    let svg = browser.client.find(Locator::Css(".chart svg")).await.unwrap();
    let left = '\u{e012}';
    svg.send_keys(&left.to_string()).await.unwrap();
    browser
        .await_script("the tip", "return document.querySelector('.tip').innerText.includes('event')")
        .await
        .unwrap();
    browser
        .client
        .find(Locator::Css("input[value='7d']"))
        .await
        .unwrap()
        .send_keys(&left.to_string())
        .await
        .unwrap();
    let hidden = "Array.from(document.querySelectorAll('button, input, [tabindex]')).filter((one) => \
        !one.ariaLabel && !one.labels?.length && !one.getAttribute('aria-labelledby')).map((one) => one.outerHTML)";
    assert_eq!(evaluate(&browser, hidden).await, json!([]), "everything that can be reached has a name");
}

#[tokio::test]
async fn says_so_when_there_is_no_stream() {
    let tracker = Tracker::start(&json!({"enable_realtime": false}));
    let browser = Browser::start(&[]).await.unwrap();
    let url = format!("http://{}/api/analytics/dashboard", tracker.0.address);
    browser.client.goto(&url).await.unwrap();
    let off = "return connection.innerText === 'Live events are off'";
    browser.await_script("the page to say that it is off", off).await.unwrap();
    assert_eq!(browser.errors().await.unwrap(), [""; 0]);
}

/// Events of a shop on two days: more of them in the evening than at night, and more on the second.
fn two_days() -> Vec<Value> {
    let now = Timestamp::now();
    let kinds =
        ["page_view", "page_view", "page_view", "product_view", "product_view", "search", "add_to_cart"];
    let mut events = Vec::new();
    for hour in 0..48i64 {
        let swing = (hour as f64 / 24.0 * std::f64::consts::TAU).cos();
        let count = (17.0 + 11.0 * swing) as i64 + hour * 7 % 5 + i64::from(hour < 24) * 4;
        for i in 0..count {
            let number = hour * 50 + i;
            let ago = SignedDuration::from_secs(hour * 3_600 + i * 3_600 / count);
            let user = format!("user-{}", number * 7 % (70 + hour));
            let mut event = match number % 13 {
                0 => order(&format!("ord_{number}"), &user, 900 + number * 37 % 9_000, "USD"),
                other => json!({"type": kinds[(other * 5 % 7) as usize], "user_id": user}),
            };
            event["timestamp"] = json!((now - ago).to_string());
            events.push(event);
        }
    }
    events
}

fn track_two_days(tracker: &Tracker) {
    two_days().chunks(500).for_each(|events| assert_eq!(tracker.track(&json!({"events": events}))[2], 0));
}

#[tokio::test]
async fn looks_like_something() {
    let tracker = Tracker::start(&json!({}));
    track_two_days(&tracker);
    let browser = Browser::start(&[]).await.unwrap();
    let mut sizes = Vec::new();
    for (scheme, width, height) in
        [("light", 1_280, 1_040), ("dark", 1_280, 1_040), ("light", 390, 1_500), ("dark", 390, 1_500)]
    {
        browser.prefer_color_scheme(scheme).await.unwrap();
        resize(&browser, width, height).await;
        open(&browser, &tracker, "?range=24h").await;
        let path = ["teapot", "kettle", "tea"].map(|name| json!({"path": format!("/shop/{name}")}));
        let [teapot, kettle, tea] = path;
        let last = format!("ord_{scheme}_{width}");
        tracker.track(&json!({"events": [
            {"type": "page_view", "user_id": "user-12", "properties": teapot},
            {"type": "product_view", "user_id": "user-12", "properties": kettle},
            {"type": "search", "session_id": "s-881", "properties": {"words": "gooseneck kettle", "results": 3}},
            {"type": "page_view", "user_id": "user-71", "properties": tea},
            {"type": "add_to_cart", "user_id": "user-12", "properties": {"sku": "kettle-gooseneck", "quantity": 1}},
            order(&last, "user-12", 7_900, "USD"),
        ]}));
        let whole = format!(
            "return document.querySelector('.feed')?.innerText.includes({last:?}) && chart.data && document.getAnimations().every(\
             (one) => one.playState !== 'running' || one.effect.getTiming().iterations === Infinity) && \
             document.querySelector('[data-tile=events] .value').textContent !== '–'"
        );
        browser.await_script("the page to be whole", &whole).await.unwrap();
        let picture = browser.client.screenshot().await.unwrap();
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("dashboard-{scheme}-{width}.png"));
        fs::write(&file, &picture).unwrap();
        sizes.push((file, picture.len()));
        assert_eq!(browser.errors().await.unwrap(), [""; 0]);
    }
    // An empty page of this size is a few kilobytes.
    assert!(sizes.iter().all(|(_, size)| *size > 25_000), "{sizes:?}");
    await_that("the streams are closed", || tracker.metric("analytics_streams").as_deref() == Some("1"));
}
