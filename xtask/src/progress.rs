//! Says what is being done and for how long already: a line that keeps itself up
//! to date on a terminal, one line at the start and one at the end elsewhere.

use std::{
    io::{IsTerminal, Write, stderr},
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

const REDRAW: Duration = Duration::from_millis(200);

/// A step that is under way. Dropped before `done`, it is reported as failed.
pub struct Step {
    name: String,
    started: Instant,
    shared: Arc<Shared>,
    drawing: Option<JoinHandle<()>>,
    finished: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    detail: String,
    over: bool,
}

impl Step {
    /// Announces a step.
    pub fn begin(name: impl Into<String>) -> Self {
        let (name, started, shared) = (name.into(), Instant::now(), Arc::new(Shared::default()));
        let drawing = if stderr().is_terminal() {
            let (name, shared) = (name.clone(), Arc::clone(&shared));
            Some(thread::spawn(move || draw(&name, started, &shared)))
        } else {
            eprintln!("{name} ...");
            None
        };
        Self { name, started, shared, drawing, finished: false }
    }

    /// What the step is at just now; shown on a terminal only.
    pub fn detail(&self, detail: impl Into<String>) {
        self.shared.state.lock().expect("no thread panics while it draws").detail = detail.into();
    }

    /// The step is over.
    pub fn done(mut self) {
        self.end("");
    }

    fn end(&mut self, outcome: &str) {
        self.finished = true;
        self.shared.state.lock().expect("no thread panics while it draws").over = true;
        self.shared.changed.notify_all();
        let clear = match self.drawing.take().map(JoinHandle::join) {
            Some(_) => "\r\x1b[K",
            None => "",
        };
        eprintln!("{clear}{}{outcome} ({})", self.name, elapsed(self.started.elapsed()));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.finished {
            self.end(": failed");
        }
    }
}

fn draw(name: &str, started: Instant, shared: &Shared) {
    let mut state = shared.state.lock().expect("no thread panics while it draws");
    while !state.over {
        let detail: String = state.detail.chars().take(60).collect();
        let line = format!("\r\x1b[K{name} ... {} {detail}", elapsed(started.elapsed()));
        // A terminal that is gone is no reason to stop the work.
        if stderr().write_all(line.as_bytes()).and_then(|()| stderr().flush()).is_err() {
            return;
        }
        state = shared.changed.wait_timeout(state, REDRAW).expect("no thread panics while it draws").0;
    }
}

/// A span of time as people say it: `3.2 s`, `4 min 10 s`.
pub fn elapsed(span: Duration) -> String {
    if span < Duration::from_secs(60) {
        return format!("{:.1} s", span.as_secs_f64());
    }
    format!("{} min {} s", span.as_secs() / 60, span.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_seconds_then_minutes() {
        assert_eq!(elapsed(Duration::from_millis(3240)), "3.2 s");
        assert_eq!(elapsed(Duration::from_secs(250)), "4 min 10 s");
    }
}
