//! The hooks of the SDK, and the leave to go on.

use std::fs;

use nix::sys::signal::Signal;
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};

use crate::plugin::Plugin;

/// The next hook that the plugin tells of.
async fn next(plugin: &mut Plugin) -> String {
    plugin.await_line("hook").await["hook"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn hooks_come_around_each_step_of_a_life() {
    let mut plugin = Plugin::spawn("hooks", "{}", &[("GOFORWARD_DRAIN", "0s")]).await;
    for hook in ["before_load", "after_load", "before_initialize", "after_initialize"] {
        assert_eq!(next(&mut plugin).await, hook);
    }
    plugin.await_line("initialized").await;
    for hook in ["before_start", "after_start"] {
        assert_eq!(next(&mut plugin).await, hook);
    }
    plugin.await_line("started").await;
    plugin.signal(Signal::SIGTERM);
    for hook in ["before_stop", "after_stop"] {
        assert_eq!(next(&mut plugin).await, hook);
    }
    assert_eq!(plugin.ended().await, (Some(0), String::new()));
}

#[tokio::test]
async fn a_hook_that_fails_is_the_failure_of_its_step_and_the_plugin_is_told() {
    for hook in ["after_initialize", "before_start", "after_start"] {
        let config = format!(r#"{{"failHook": "{hook}"}}"#);
        let mut plugin = Plugin::spawn(&format!("fails-{hook}"), &config, &[]).await;
        let told = loop {
            let line = plugin.await_line("hook").await;
            if line["hook"] == "on_error" {
                break line["error"].as_str().unwrap().to_owned();
            }
        };
        assert_eq!(told, format!("{hook} failed: as configured"));
        assert_eq!(plugin.ended().await, (Some(1), told));
    }
}

#[tokio::test]
async fn a_stop_is_made_whatever_came_of_the_hook_before_it() {
    let environment = [("GOFORWARD_DRAIN", "0s")];
    let mut plugin = Plugin::start("fails-before-stop", r#"{"failHook": "before_stop"}"#, &environment).await;
    plugin.signal(Signal::SIGTERM);
    for hook in ["before_stop", "after_stop", "on_error"] {
        assert_eq!(next(&mut plugin).await, hook);
    }
    assert_eq!(plugin.ended().await, (Some(1), "before_stop failed: as configured".to_owned()));
}

#[tokio::test]
async fn a_process_goes_as_far_as_it_is_permitted() {
    let file = std::env::temp_dir().join(format!("forward-stage-{}", std::process::id()));
    fs::write(&file, "wait").unwrap();
    let environment = [("GOFORWARD_STAGE_FILE", file.to_str().unwrap()), ("GOFORWARD_DRAIN", "0s")];
    let mut plugin = Plugin::spawn("permitted", "{}", &environment).await;
    assert_eq!(plugin.await_line("waits to be permitted").await["stage"], "Initialize");
    assert_eq!(plugin.probes().await, [NotServing, NotServing]);
    fs::write(&file, "initialize").unwrap();
    plugin.await_line("initialized").await;
    assert_eq!(plugin.await_line("waits to be permitted").await["stage"], "Start");
    assert_eq!(plugin.probes().await, [Serving, NotServing]);
    fs::write(&file, "start").unwrap();
    plugin.await_line("started").await;
    assert_eq!(plugin.probes().await, [Serving, Serving]);

    // Whoever waits can be asked to end.
    fs::write(&file, "wait").unwrap();
    let mut waiting = Plugin::spawn("waiting", "{}", &environment).await;
    waiting.await_line("waits to be permitted").await;
    waiting.signal(Signal::SIGTERM);
    assert_eq!(waiting.ended().await, (Some(0), String::new()));
    fs::remove_file(&file).unwrap();
}
