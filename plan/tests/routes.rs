//! Patterns, the contest for routes, and the tree of paths.

#![expect(clippy::unwrap_used, reason = "a test stops where something unexpected is")]

use std::ops::ControlFlow;

use forward_crds::{Route, RouteSource};
use forward_plan::routes::{Claimant, Contest, Offer, Pattern, PluginId, Segment, Slot, Trie, is_host};
use proptest::prelude::*;

fn claimant(name: &str, priority: i32, created: i64) -> Claimant {
    Claimant { id: PluginId::new("shop", name).into(), priority, created }
}

fn route(text: &str) -> Route {
    let (method, rest) = text.split_once(' ').unwrap();
    let slash = rest.find('/').unwrap();
    Route { host: rest[..slash].to_owned(), method: method.to_owned(), path: rest[slash..].to_owned() }
}

fn routes(list: &[&str]) -> Vec<Route> {
    list.iter().map(|text| route(text)).collect()
}

fn offer(claimant: Claimant, list: &[&str]) -> Offer {
    Offer::new(claimant, &[], &routes(list), &[])
}

/// `+` or `-` and the message, per route.
fn verdicts(contest: &Contest, offer: &Offer) -> Vec<String> {
    contest
        .judge(offer)
        .into_iter()
        .map(|route| {
            let sign = if route.active { '+' } else { '-' };
            format!(
                "{sign} {} {}{} {}",
                route.method,
                route.host,
                route.path,
                route.message.unwrap_or_default()
            )
            .trim_end()
            .to_owned()
        })
        .collect()
}

fn lookup<'a>(trie: &'a Trie<&'static str>, path: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    trie.visit(path, |value| {
        found.push(*value);
        ControlFlow::<()>::Continue(())
    });
    found
}

fn trie(patterns: &[&'static str]) -> Trie<&'static str> {
    let mut trie = Trie::default();
    for text in patterns {
        trie.edit(text.parse::<Pattern>().unwrap().segments(), |value| *value = Some(*text));
    }
    trie
}

#[test]
fn accepts_the_patterns_that_the_api_server_accepts() {
    for text in [
        "/",
        "/a",
        "/a/",
        "/a/:id",
        "/a/:id/",
        "/:a/:b",
        "/*rest",
        "/a/*rest",
        "/a%20b/~x",
        "/a.b/c-d_e",
        "/_",
    ] {
        assert_eq!(text.parse::<Pattern>().unwrap().as_str(), text);
    }
}

#[test]
fn rejects_the_patterns_that_the_api_server_rejects() {
    for text in [
        "", "a", "//", "/a//b", "/a//", "/:", "/:1", "/a:b", "/*", "/*rest/", "/*rest/b", "/a*", "/a b",
        "/é", "/a?b", "/:a-b",
    ] {
        assert!(text.parse::<Pattern>().is_err(), "{text:?}");
    }
    assert!(format!("/{}", "a".repeat(512)).parse::<Pattern>().is_err());
}

#[test]
fn knows_host_names() {
    for text in ["", "a", "api.example.com", "a-b.c1"] {
        assert!(is_host(text), "{text:?}");
    }
    for text in ["A", "a.", ".a", "-a", "a-", "a:80", "a_b", "*.a", "a..b"] {
        assert!(!is_host(text), "{text:?}");
    }
}

#[test]
fn prefers_literal_to_parameter_to_rest_segment_by_segment() {
    let trie = trie(&["/a/b", "/a/:x", "/:x/b", "/a/*r", "/*r", "/:x/:y"]);
    assert_eq!(lookup(&trie, "/a/b"), ["/a/b", "/a/:x", "/a/*r", "/:x/b", "/:x/:y", "/*r"]);
    assert_eq!(lookup(&trie, "/c/b"), ["/:x/b", "/:x/:y", "/*r"]);
    assert_eq!(lookup(&trie, "/a/b/c"), ["/a/*r", "/*r"]);
}

#[test]
fn takes_a_trailing_slash_as_another_path() {
    let trie = trie(&["/", "/a", "/b/", "/c/:x", "/d/*r"]);
    assert_eq!(lookup(&trie, "/"), ["/"]);
    assert_eq!(lookup(&trie, "/a"), ["/a"]);
    for path in ["/a/", "/b", "/c", "/c/", "/c/1/", "/d", "/d/", "", "a", "*"] {
        assert!(lookup(&trie, path).is_empty(), "{path}");
    }
    assert_eq!(lookup(&trie, "/b/"), ["/b/"]);
    assert_eq!(lookup(&trie, "/d//"), ["/d/*r"]);
}

#[test]
fn leaves_older_clones_alone_and_keeps_no_empty_nodes() {
    let mut trie = trie(&["/a/:b/c", "/a/:b"]);
    let before = trie.clone();
    for text in ["/a/:b/c", "/a/:b"] {
        trie.edit(text.parse::<Pattern>().unwrap().segments(), |value| *value = None);
    }
    assert!(trie.is_empty());
    assert_eq!(lookup(&before, "/a/1/c"), ["/a/:b/c"]);
}

#[test]
fn gives_a_route_to_priority_then_age_then_name() {
    let mut contest = Contest::default();
    let late = offer(claimant("late", 10, 9), &["GET /x/:id"]);
    let early = offer(claimant("early", 10, 5), &["GET /x/:name"]);
    let big = offer(claimant("big", 20, 9), &["GET /x/:id", "POST /x/:id"]);
    let also_early = offer(claimant("also-early", 10, 5), &["GET /x/:y", "* /x/:y"]);
    for offer in [&late, &early, &big, &also_early] {
        contest.apply(offer.clone());
    }
    assert_eq!(verdicts(&contest, &big), ["+ GET /x/:id", "+ POST /x/:id"]);
    let lost = "- GET /x/:id GET /x/:id is served by shop/big, which has the higher priority (20 > 10)";
    assert_eq!(verdicts(&contest, &late), [lost]);
    assert_eq!(verdicts(&contest, &also_early)[1], "+ * /x/:y");
    let change = contest.remove(&PluginId::new("shop", "big"));
    assert_eq!(change.plugins.len(), 3);
    assert_eq!(verdicts(&contest, &also_early)[0], "+ GET /x/:y");
    assert!(
        verdicts(&contest, &early)[0]
            .ends_with("shop/also-early, which has the same priority and age and comes first by name")
    );
    assert!(verdicts(&contest, &late)[0].ends_with("shop/also-early, which is older"));
}

#[test]
fn serves_routes_without_a_host_under_the_hosts_of_the_namespace() {
    let hosts = ["a.example".to_owned(), "b.example".to_owned()];
    let mut contest = Contest::default();
    let wide = Offer::new(claimant("wide", 0, 1), &hosts, &routes(&["GET /x", "GET c.example/x"]), &[]);
    let change = contest.apply(wide.clone());
    let slots: Vec<_> = change.slots.keys().map(|slot| slot.host.as_str()).collect();
    assert_eq!(slots, ["a.example", "b.example", "c.example"]);
    contest.apply(offer(claimant("narrow", 5, 1), &["GET a.example/x"]));
    assert_eq!(
        verdicts(&contest, &wide)[0],
        "+ GET /x GET a.example/x is served by shop/narrow, which has the higher priority (5 > 0)"
    );
}

#[test]
fn lets_the_manifest_win_over_what_is_announced() {
    let announced = routes(&["GET /x/:name", "GET /y", "GET /y", "GET /a//b", "BREW /z"]);
    let offer = Offer::new(claimant("p", 0, 1), &[], &routes(&["GET /x/:id"]), &announced);
    let verdicts = Contest::default().judge(&offer);
    let seen: Vec<_> =
        verdicts.iter().map(|route| (route.path.as_str(), route.source, route.active)).collect();
    assert_eq!(
        seen,
        [
            ("/x/:id", RouteSource::Manifest, true),
            ("/y", RouteSource::Plugin, true),
            ("/a//b", RouteSource::Plugin, false),
            ("/z", RouteSource::Plugin, false)
        ]
    );
}

#[test]
fn tells_a_plugin_that_names_a_route_twice() {
    let mut contest = Contest::default();
    let offer = offer(claimant("p", 0, 1), &["GET /x/:id", "GET /x/:name"]);
    contest.apply(offer.clone());
    assert_eq!(
        verdicts(&contest, &offer),
        ["+ GET /x/:id", "- GET /x/:name GET /x/:name is also named as /x/:id by this plugin"]
    );
}

#[test]
fn touches_only_those_who_claim_the_same() {
    let mut contest = Contest::default();
    for plugin in 0..1_000 {
        contest.apply(offer(claimant(&format!("p{plugin}"), 0, 1), &[&format!("GET /p{plugin}")]));
    }
    let change = contest.apply(offer(claimant("new", 1, 2), &["GET /p7", "GET /new"]));
    let touched: Vec<_> = change.plugins.iter().map(|id| id.name.as_str()).collect();
    assert_eq!(touched, ["new", "p7"]);
    assert_eq!(change.slots.len(), 2);
    let again = contest.apply(offer(claimant("new", 1, 2), &["GET /p7", "GET /new"]));
    assert!(again.slots.is_empty() && again.plugins.is_empty());
}

fn any_offers() -> impl Strategy<Value = Vec<Offer>> {
    let any_route = prop::sample::select(vec![
        "GET /a",
        "GET /:x",
        "GET /:y",
        "* /a",
        "POST h/a",
        "GET /*r",
        "GET /a/:b",
    ]);
    let any_offer = (0..4_i32, 0..3_i64, prop::collection::vec(any_route, 0..5));
    prop::collection::vec(any_offer, 1..8).prop_map(|offers| {
        let offers = offers.into_iter().enumerate();
        offers
            .map(|(n, (priority, created, list))| offer(claimant(&format!("p{n}"), priority, created), &list))
            .collect()
    })
}

proptest! {
    #[test]
    fn decides_the_same_in_whatever_order_offers_come(offers in any_offers(), removed in 0..8_usize) {
        let mut forward = Contest::default();
        let mut table = std::collections::BTreeMap::<Slot, _>::new();
        let mut record = |change: forward_plan::routes::Change| {
            for (slot, winner) in change.slots {
                match winner {
                    Some(winner) => table.insert(slot, winner),
                    None => table.remove(&slot),
                };
            }
        };
        for offer in &offers {
            record(forward.apply(offer.clone()));
        }
        let gone = PluginId::new("shop", format!("p{removed}"));
        record(forward.remove(&gone));
        let mut backward = Contest::default();
        let mut expected = std::collections::BTreeMap::new();
        for offer in offers.iter().rev().filter(|offer| *offer.claimant().id != gone) {
            for (slot, winner) in backward.apply(offer.clone()).slots {
                expected.insert(slot, winner.unwrap());
            }
        }
        for offer in offers.iter().filter(|offer| *offer.claimant().id != gone) {
            prop_assert_eq!(forward.judge(offer), backward.judge(offer));
        }
        prop_assert_eq!(table, expected);
    }

    #[test]
    fn a_slot_has_all_who_claim_it_the_first_of_them_first(offers in any_offers(), again in any_offers()) {
        let mut contest = Contest::default();
        let mut last = std::collections::BTreeMap::new();
        for offer in offers.iter().chain(&again) {
            contest.apply(offer.clone());
            last.insert(offer.claimant().id.clone(), offer);
        }
        let slots = offers.iter().chain(&again).flat_map(Offer::slots).map(|(slot, _)| slot);
        for slot in slots {
            let of = |offer: &&&Offer| offer.slots().any(|(it, _)| it == slot);
            let mut claiming: Vec<&Offer> = last.values().filter(of).copied().collect();
            claiming.sort_by_key(|offer| offer.claimant());
            let losers = contest.losers(slot);
            let found = contest.winner(slot).map(|winner| winner.plugin).into_iter();
            let found: Vec<_> = found.chain(losers.into_iter().map(|(loser, _)| loser)).collect();
            let expected: Vec<_> = claiming.iter().map(|offer| PluginId::clone(&offer.claimant().id)).collect();
            prop_assert_eq!(found, expected);
            let spelt = claiming.first().and_then(|offer| {
                offer.slots().find(|(it, _)| *it == slot).map(|(_, pattern)| pattern.clone())
            });
            prop_assert_eq!(contest.winner(slot).map(|winner| winner.pattern), spelt);
        }
    }

    #[test]
    fn finds_what_was_put_in(segments in prop::collection::vec(prop::sample::select(vec!["a", "b", ":x"]), 1..5)) {
        let text = format!("/{}", segments.join("/"));
        let pattern = text.parse::<Pattern>().unwrap();
        let mut trie = Trie::default();
        trie.edit(pattern.segments(), |value| *value = Some(1));
        let path = text.replace(":x", "z");
        prop_assert_eq!(trie.visit(&path, |value| ControlFlow::Break(*value)), Some(1));
        prop_assert_eq!(pattern.segments().iter().filter(|segment| **segment == Segment::Param).count(), text.matches(":x").count());
    }
}
