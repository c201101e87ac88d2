//! What receivers are told, and when.

use forward_crds::AlertName;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::alerts::payload;

/// The time, in seconds.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn key(text: &str) -> Key {
    let (plugin, name) = text.split_once(' ').unwrap_or((text, "unhealthy"));
    let name = match name {
        "unhealthy" => AlertName::PluginUnhealthy,
        _ => AlertName::PluginDegraded,
    };
    Key { namespace: "shop".to_owned(), plugin: plugin.to_owned(), name }
}

fn firing(alerts: &[&str]) -> BTreeMap<Key, Alert> {
    let alert = |text: &&str| {
        let key = key(text);
        (key.clone(), Alert { key, since: at(-60), description: "no database".to_owned() })
    };
    alerts.iter().map(alert).collect()
}

/// A receiver, told what is due each second.
struct Bench {
    outbox: Outbox,
    firing: Vec<&'static str>,
    now: i64,
    /// It does not answer.
    down: bool,
    /// It answers to all messages but those about this plugin.
    refused: &'static str,
    told: Vec<String>,
    dropped: usize,
}

impl Bench {
    fn new(terms: Terms) -> Self {
        let outbox = Outbox::new(terms, 3);
        let (firing, told) = (Vec::new(), Vec::new());
        Self { outbox, firing, now: 0, down: false, refused: "", told, dropped: 0 }
    }

    /// These are wrong from now on, for so many seconds. What is told, and when.
    fn go(&mut self, firing: &[&'static str], seconds: i64) -> Vec<String> {
        self.firing = firing.to_vec();
        for _ in 0..seconds {
            self.dropped += self.outbox.observe(&self::firing(&self.firing), at(self.now));
            while let Some(message) = self.outbox.due(at(self.now)) {
                if self.down || message.alerts.iter().any(|it| it.alert.key.plugin == self.refused) {
                    self.outbox.failed(&message, at(self.now), 100);
                    continue;
                }
                let state = |it: &Notice| if it.ended { "-" } else { "+" };
                let one = |it: &Notice| format!("{}{}", state(it), it.alert.key.plugin);
                let alerts = message.alerts.iter().map(one).collect::<Vec<_>>().join(" ");
                self.told.push(format!("{}: {alerts}", self.now));
                self.outbox.sent(&message, at(self.now));
            }
            self.now += 1;
        }
        std::mem::take(&mut self.told)
    }
}

/// The longest that something waits after a message that has not arrived, in seconds.
const PAUSE: i64 = 31;

fn untimed(told: Vec<String>) -> Vec<String> {
    told.iter().map(|message| message.split_once(": ").unwrap().1.to_owned()).collect()
}

fn webhook(more: serde_json::Value) -> Terms {
    let mut webhook = json!({
        "url": "https://x", "groupWait": "5s", "groupInterval": "20s", "repeatInterval": "100s",
    });
    webhook.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Terms::of_webhook(&serde_json::from_value(webhook).unwrap())
}

#[test]
fn an_alertmanager_is_told_at_once_and_again_before_it_forgets() {
    let mut bench = Bench::new(Terms::Alertmanager);
    assert_eq!(bench.go(&["a"], 70), ["0: +a", "60: +a"]);
    assert_eq!(bench.go(&["a", "b"], 10), ["70: +b"]);
    assert_eq!(bench.go(&["b"], 10), ["80: -a"]);
    assert_eq!(bench.go(&[], 100), ["90: -b"]);
}

#[test]
fn an_alertmanager_learns_when_an_alert_is_over_or_is_to_be_taken_for_it() {
    let mut outbox = Outbox::new(Terms::Alertmanager, 3);
    outbox.observe(&firing(&["a"]), at(0));
    let message = outbox.due(at(0)).unwrap();
    let body = json!([{
        "labels": {"alertname": "PluginUnhealthy", "namespace": "shop", "plugin": "a", "severity": "critical"},
        "annotations": {
            "summary": "shop/a is unhealthy: its requests get 503",
            "description": "no database",
        },
        "startsAt": at(-60).to_string(), "endsAt": at(240).to_string(),
    }]);
    assert_eq!(payload::alertmanager(&message), body);
    outbox.sent(&message, at(1));
    outbox.observe(&firing(&[]), at(9));
    let ended = payload::alertmanager(&outbox.due(at(12)).unwrap());
    assert_eq!(ended[0]["endsAt"], at(9).to_string());
}

#[test]
fn a_webhook_is_told_of_groups_when_it_is_time() {
    let mut bench = Bench::new(webhook(json!({})));
    assert_eq!(bench.go(&["a"], 3), [] as [&str; 0]);
    assert_eq!(bench.go(&["a", "b"], 5), ["5: +a +b"], "others were waited for");
    assert_eq!(bench.go(&["a", "b", "c"], 20), ["25: +a +b +c"], "changes wait for the interval");
    assert_eq!(bench.go(&["a", "c"], 72), ["45: +a -b +c"]);
    assert_eq!(bench.go(&["a", "c"], 100), ["145: +a +c"], "nothing new is repeated");
    assert_eq!(bench.go(&[], 100), ["200: -a -c"]);
    assert_eq!(bench.go(&["a"], 10), ["305: +a"], "a new group");
}

#[test]
fn groups_are_told_each_for_itself() {
    let mut bench = Bench::new(webhook(json!({})));
    assert_eq!(bench.go(&["a", "b degraded"], 8), ["5: +b", "5: +a"]);
    let mut bench = Bench::new(webhook(json!({"groupBy": ["namespace"]})));
    assert_eq!(bench.go(&["a", "b degraded"], 8), ["5: +a +b"]);
}

#[test]
fn says_that_it_is_over_only_to_who_wants_to_hear_it() {
    let mut bench = Bench::new(webhook(json!({"sendResolved": false})));
    assert_eq!(bench.go(&["a", "b"], 8), ["5: +a +b"]);
    assert_eq!(bench.go(&["a"], 50), [] as [&str; 0]);
    assert_eq!(bench.go(&["a"], 60), ["105: +a"]);
    assert_eq!(bench.go(&[], 200), [] as [&str; 0]);
}

#[test]
fn what_was_told_is_known_under_other_terms() {
    let mut bench = Bench::new(webhook(json!({})));
    assert_eq!(bench.go(&["a", "b degraded"], 8), ["5: +b", "5: +a"]);
    bench.outbox.set_terms(webhook(json!({"groupWait": "1m", "groupInterval": "10s"})), at(8));
    assert_eq!(bench.go(&["a", "b degraded"], 90), [] as [&str; 0], "nothing is told twice for that");
    assert_eq!(bench.go(&["b degraded"], 2), ["98: -a"]);
    bench.outbox.set_terms(webhook(json!({"groupBy": ["namespace"]})), at(100));
    assert_eq!(bench.go(&[], 20), ["105: -b"], "the group is a new one");
    assert_eq!(bench.go(&["c"], 8), ["125: +c"]);
    bench.go(&[], 1);
    bench.outbox.set_terms(webhook(json!({"groupBy": ["namespace"], "sendResolved": false})), at(129));
    assert_eq!(bench.go(&[], 200), [] as [&str; 0]);
}

#[test]
fn what_was_over_before_it_was_due_was_nothing() {
    let mut bench = Bench::new(webhook(json!({})));
    assert_eq!(bench.go(&["a"], 3), [] as [&str; 0]);
    assert_eq!(bench.go(&[], 100), [] as [&str; 0]);
}

#[test]
fn nothing_is_lost_while_a_receiver_does_not_answer() {
    for terms in [Terms::Alertmanager, webhook(json!({}))] {
        let mut bench = Bench::new(terms);
        bench.down = true;
        assert_eq!(bench.go(&["a"], 500), [] as [&str; 0]);
        assert_eq!(bench.go(&["b"], 500), [] as [&str; 0]);
        assert_eq!(bench.outbox.waiting(), 2);
        bench.down = false;
        assert_eq!(untimed(bench.go(&["b"], PAUSE)), ["-a +b"], "of each the newest");
        assert_eq!((bench.outbox.waiting(), bench.dropped), (0, 0));
        bench.down = true;
        assert_eq!(bench.go(&[], 100), [] as [&str; 0]);
        assert_eq!(bench.go(&["b"], 100), [] as [&str; 0]);
        bench.down = false;
        assert_eq!(untimed(bench.go(&["b"], PAUSE)), ["+b"], "it is on again");
    }
}

#[test]
fn a_group_that_is_refused_keeps_nothing_from_the_others() {
    let mut bench = Bench::new(webhook(json!({})));
    bench.refused = "x";
    assert_eq!(bench.go(&["a", "x degraded"], 10), ["5: +a"]);
    assert_eq!(bench.go(&["a", "b", "x degraded"], 300), ["25: +a +b", "125: +a +b", "225: +a +b"]);
    assert!(bench.outbox.is_failing());
    assert_eq!(bench.go(&["b", "x degraded", "y degraded"], 5), ["310: -a +b"]);
    // It was on and is over, and nothing but the refusal kept it from being told.
    assert_eq!(bench.go(&["b", "x degraded"], 1), [] as [&str; 0]);
    bench.refused = "";
    assert_eq!(untimed(bench.go(&["b", "x degraded"], PAUSE)), ["+x -y"]);
    assert!(!bench.outbox.is_failing());
}

#[test]
fn those_that_are_refused_have_their_turns() {
    let mut outbox = Outbox::new(webhook(json!({})), 3);
    outbox.observe(&firing(&["a", "x degraded"]), at(0));
    let mut tried = Vec::new();
    // Each try takes longer than a pause.
    for turn in 0..4 {
        let message = outbox.due(at(10 + turn * 12)).unwrap();
        tried.push(message.alerts[0].alert.key.plugin.clone());
        outbox.failed(&message, at(20 + turn * 12), 100);
    }
    assert_eq!(tried, ["x", "a", "x", "a"]);
}

#[test]
fn what_is_refused_is_tried_again_ever_later() {
    let mut outbox = Outbox::new(Terms::Alertmanager, 3);
    outbox.observe(&firing(&["a"]), at(0));
    let mut now = at(0);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let message = outbox.due(now).unwrap();
        outbox.failed(&message, now, 110);
        let next = outbox.next(now).unwrap();
        assert_eq!(outbox.due(later(now, SignedDuration::from_secs(1))), None);
        pauses.push(next.duration_since(now).as_millis());
        now = next;
    }
    assert_eq!(pauses, [1100, 2200, 4400, 8800, 17_600, 33_000, 33_000]);
    // The clock is set back.
    assert!(outbox.due(at(-3600)).is_some());
}

#[test]
fn a_webhook_is_told_of_many_in_several_messages() {
    let many = |from: usize, to: usize| {
        let plugin = |number| Key { plugin: format!("p{number:03}"), ..key("x") };
        let alert = |key: Key| Alert { key, since: at(-60), description: "x".repeat(2000) };
        (from..to).map(|number| (plugin(number), alert(plugin(number)))).collect::<BTreeMap<_, _>>()
    };
    let mut outbox = Outbox::new(webhook(json!({})), MOST);
    let tell = |outbox: &mut Outbox, now| {
        let mut told = Vec::new();
        while let Some(message) = outbox.due(at(now)) {
            let body = payload::webhook("team", &message);
            assert!(body.to_string().len() < 500_000);
            let first = &message.alerts[0];
            let sign = if first.ended { "-" } else { "+" };
            let (count, left) = (message.alerts.len(), body["truncatedAlerts"].as_u64().unwrap());
            told.push(format!("{sign}{} {count} {left}", first.alert.key.plugin));
            outbox.sent(&message, at(now));
            outbox.observe(&many(10, 250), at(now));
        }
        told
    };
    outbox.observe(&many(0, 250), at(0));
    // What is left waits for nothing, and that the first ten are over meanwhile comes with it.
    assert_eq!(tell(&mut outbox, 5), ["+p000 100 150", "-p000 100 60", "+p190 60 0"]);
    assert_eq!(outbox.waiting(), 0);
    assert_eq!(tell(&mut outbox, 104), [] as [&str; 0]);
    assert_eq!(tell(&mut outbox, 105), ["+p010 100 140", "+p110 100 40", "+p210 40 0"], "repeated");
}

#[test]
fn knows_when_to_look_again() {
    let mut outbox = Outbox::new(webhook(json!({})), 3);
    assert_eq!(outbox.next(at(0)), None);
    outbox.observe(&firing(&["a"]), at(0));
    assert_eq!(outbox.next(at(1)), Some(at(5)));
    let message = outbox.due(at(5)).unwrap();
    outbox.sent(&message, at(6));
    assert_eq!(outbox.next(at(6)), Some(at(106)));
    outbox.observe(&firing(&["a", "b"]), at(7));
    assert_eq!(outbox.next(at(7)), Some(at(26)));
}

#[test]
fn counts_what_there_is_no_room_for_once() {
    let mut bench = Bench::new(Terms::Alertmanager);
    assert_eq!(bench.go(&["a", "b", "c", "d", "e"], 10), ["0: +a +b +c"]);
    assert_eq!(bench.dropped, 2);
    assert_eq!(bench.go(&["c", "d", "e"], 10), ["10: -a -b", "11: +d +e"], "there is room again");
    assert_eq!(bench.dropped, 2);
}

#[test]
fn a_webhook_gets_the_payload_of_alertmanager() {
    let mut outbox = Outbox::new(webhook(json!({})), 3);
    outbox.observe(&firing(&["a", "b"]), at(0));
    let message = outbox.due(at(5)).unwrap();
    outbox.sent(&message, at(5));
    outbox.observe(&firing(&["b"]), at(9));
    let body = payload::webhook("team", &outbox.due(at(25)).unwrap());
    let alert = |plugin: &str, status: &str, ends: &str, fingerprint: &str| {
        json!({
            "status": status,
            "labels": {"alertname": "PluginUnhealthy", "namespace": "shop", "plugin": plugin, "severity": "critical"},
            "annotations": {
                "summary": format!("shop/{plugin} is unhealthy: its requests get 503"),
                "description": "no database",
            },
            "startsAt": at(-60).to_string(), "endsAt": ends, "generatorURL": "", "fingerprint": fingerprint,
        })
    };
    let fingerprint = |index: usize| body["alerts"][index]["fingerprint"].as_str().unwrap().to_owned();
    let expected = json!({
        "version": "4",
        "groupKey": r#"{}:{alertname="PluginUnhealthy", namespace="shop"}"#,
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "team",
        "groupLabels": {"alertname": "PluginUnhealthy", "namespace": "shop"},
        "commonLabels": {"alertname": "PluginUnhealthy", "namespace": "shop", "severity": "critical"},
        "commonAnnotations": {"description": "no database"},
        "externalURL": "",
        "alerts": [
            alert("a", "resolved", &at(9).to_string(), &fingerprint(0)),
            alert("b", "firing", "0001-01-01T00:00:00Z", &fingerprint(1)),
        ],
    });
    assert_eq!(body, expected);
}

proptest! {
    /// Whatever fires and ends, and however often the receiver does not answer: once it does, and
    /// nothing changes any more, it has heard last of each alert what is so.
    #[test]
    fn the_last_word_of_each_alert_arrives(
        steps in prop::collection::vec((prop::collection::vec(any::<bool>(), 3), any::<bool>(), 1..30_i64), 1..30),
        grouped: bool,
    ) {
        let mut bench = Bench::new(if grouped { webhook(json!({})) } else { Terms::Alertmanager });
        let mut heard = BTreeMap::<char, char>::new();
        let mut hear = |told: Vec<String>| {
            for message in told {
                for word in message.split_once(": ").unwrap().1.split(' ') {
                    let mut letters = word.chars();
                    let state = letters.next().unwrap();
                    heard.insert(letters.next().unwrap(), state);
                }
            }
        };
        let mut last = Vec::new();
        for (on, down, seconds) in steps {
            bench.down = down;
            last = ["a", "b", "c"].into_iter().zip(on).filter(|(_, on)| *on).map(|(name, _)| name).collect();
            hear(bench.go(&last, seconds));
        }
        bench.down = false;
        hear(bench.go(&last, 60));
        for name in ["a", "b", "c"] {
            let letter = name.chars().next().unwrap();
            let is_on = last.contains(&name);
            prop_assert_eq!(heard.get(&letter) == Some(&'+'), is_on, "{} of {:?}", name, heard);
        }
        prop_assert_eq!(bench.outbox.waiting(), 0);
    }
}
