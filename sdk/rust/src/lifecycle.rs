//! A plugin's life from its configuration to its last request.
//!
//! Loaded (probes answer) → initialize → Initialized → start → Started → a signal → drain →
//! the last requests → stop, with hooks around each. Each verb and hook runs in a task of its own, so
//! that one that blocks its thread or panics is noticed like any other failure.

use std::{future::Future, io, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{
    About, Context, Error, Plugin, config,
    drain::drain,
    duration,
    environment::Environment,
    failure::{Failure, Verb, chain},
    gate::{Stage, permitted},
    host::{Guest, Host},
    panics::Panic,
    phase::Phase,
    reload::{Follower, Watch},
    serve,
    signals::{End, Signals},
    termination,
};

/// A plugin's process: what every step of its life needs.
struct Process {
    environment: Environment,
    context: Arc<Context>,
    phases: watch::Sender<Phase>,
    signals: Signals,
}

/// Lives the whole life of a plugin. Returns when somebody has asked for its end, or when it failed.
pub async fn live<P: Plugin>(about: About, environment: Environment) -> Result<(), Failure> {
    let signals = Signals::install().map_err(Failure::Signals)?;
    let port = environment.port;
    let listener = serve::bind(&environment).map_err(|source| Failure::Listen { port, source })?;
    announce(&listener, &about);
    let (phases, seen) = watch::channel(Phase::Loaded);
    let host = Arc::new(Host::<P>::new(environment.name.clone(), about, seen.clone()));
    let server = tokio::spawn(serve::serve(listener, host.clone()));
    let context = Arc::new(Context::new(environment.clone(), seen));
    let mut process = Process { environment, context, phases, signals };
    let follower = process.environment.reload_in_place.then(|| {
        let (follower, reports) = Follower::new(&process.environment.config_dir);
        host.follow(reports);
        follower
    });
    let _watching = (!process.environment.reload_in_place).then(|| {
        let Environment { config_dir, config_from, .. } = &process.environment;
        let (watch, outdated) = Watch::new(config_dir, config_from.clone());
        host.watch(outdated);
        AbortOnDrop(tokio::spawn(watch.run()))
    });
    let result = process.live(&host, server, follower).await;
    if let Err(failure) = &result {
        process.tell::<P>(chain(failure)).await;
    }
    #[cfg(feature = "otel")]
    if host.spans.is_some() {
        let flushing = tokio::task::spawn_blocking(move || host.spans.as_ref().map(|spans| spans.flush()));
        // It says itself what it could not send.
        flushing.await.ok();
    }
    result
}

fn announce(listener: &TcpListener, about: &About) {
    let port = listener.local_addr().map_or(0, |address| address.port());
    tracing::info!(port, version = about.version, "the process is up");
}

impl Process {
    async fn live<P: Plugin>(
        &mut self,
        host: &Host<P>,
        server: JoinHandle<io::Result<()>>,
        follower: Option<Follower>,
    ) -> Result<(), Failure> {
        let Some(config) = self.load::<P>().await? else { return Ok(()) };
        let Some(plugin) = self.initialize(config, host).await? else { return Ok(()) };
        if self.start(plugin.clone()).await?.is_some() {
            let _following = follower.map(|follower| self.follow(follower, plugin.clone()));
            self.serve(server).await?;
        }
        self.stop(plugin).await
    }

    /// `None` when the process is to end before the configuration is there.
    async fn load<P: Plugin>(&mut self) -> Result<Option<P::Config>, Failure> {
        let context = self.context.clone();
        let before = async move { P::before_load(&context).await };
        let Some(()) = self.run(Verb::BeforeLoad, before).await? else { return Ok(None) };
        let config = config::load::<P::Config>(&self.environment.config_dir, P::config_schema())?;
        let context = self.context.clone();
        let after = async move { P::after_load(&context).await };
        Ok(self.run(Verb::AfterLoad, after).await?.map(|()| config))
    }

    /// `None` when the process is to end before the plugin is there.
    async fn initialize<P: Plugin>(
        &mut self,
        config: P::Config,
        host: &Host<P>,
    ) -> Result<Option<Arc<P>>, Failure> {
        let Some(()) = self.await_permission(Stage::Initialize).await else { return Ok(None) };
        let begin = Instant::now();
        let context = self.context.clone();
        let before = async move { P::before_initialize(&context).await };
        let Some(()) = self.run(Verb::BeforeInitialize, before).await? else { return Ok(None) };
        let context = self.context.clone();
        let initialize = async move { P::initialize(config, &context).await };
        let Some(plugin) = self.run(Verb::Initialize, initialize).await? else { return Ok(None) };
        let plugin = Arc::new(plugin);
        let (guest, context) = (plugin.clone(), self.context.clone());
        let after = async move { guest.after_initialize(&context).await };
        let Some(()) = self.run(Verb::AfterInitialize, after).await? else { return Ok(None) };
        let routes = plugin.routes().serve(&plugin, self.context.metrics())?;
        let middleware = plugin.middleware();
        host.receive(Guest { plugin: plugin.clone(), routes, middleware });
        self.phases.send_replace(Phase::Initialized);
        tracing::info!(seconds = begin.elapsed().as_secs_f64(), "initialized");
        Ok(Some(plugin))
    }

    /// `None` when the process is to end before the plugin has started.
    async fn start<P: Plugin>(&mut self, plugin: Arc<P>) -> Result<Option<()>, Failure> {
        let Some(()) = self.await_permission(Stage::Start).await else { return Ok(None) };
        let begin = Instant::now();
        let (guest, context) = (plugin.clone(), self.context.clone());
        let before = async move { guest.before_start(&context).await };
        let Some(()) = self.run(Verb::BeforeStart, before).await? else { return Ok(None) };
        let (guest, context) = (plugin.clone(), self.context.clone());
        let start = async move { guest.start(&context).await };
        let Some(()) = self.run(Verb::Start, start).await? else { return Ok(None) };
        let context = self.context.clone();
        let after = async move { plugin.after_start(&context).await };
        let started = self.run(Verb::AfterStart, after).await?;
        if started.is_some() {
            self.phases.send_replace(Phase::Started);
            tracing::info!(seconds = begin.elapsed().as_secs_f64(), "started");
        }
        Ok(started)
    }

    /// Serves until the process is to end, then until the last request is answered.
    async fn serve(&mut self, mut server: JoinHandle<io::Result<()>>) -> Result<(), Failure> {
        let end = tokio::select! {
            end = self.signals.end() => end,
            ended = &mut server => return Err(Failure::Serve(server_error(ended))),
        };
        let period = match end {
            End::Drain => self.environment.drain,
            End::Now => Duration::ZERO,
        };
        tokio::select! {
            () = drain(&self.phases, period) => {}
            End::Now = async { loop { if self.signals.end().await == End::Now { break End::Now } } } => {
                self.phases.send_replace(Phase::Closed);
            }
        }
        match timeout(self.environment.timeout, &mut server).await {
            Ok(ended) => ended.map_err(io::Error::other).flatten().map_err(Failure::Serve),
            Err(_) => {
                tracing::warn!(limit = ?self.environment.timeout, "requests are still open; they are broken off");
                server.abort();
                Ok(())
            }
        }
    }

    /// Brings new configurations to the plugin as long as the value is kept.
    fn follow<P: Plugin>(&self, follower: Follower, plugin: Arc<P>) -> AbortOnDrop<()> {
        let (context, limit) = (self.context.clone(), self.environment.timeout);
        AbortOnDrop(tokio::spawn(follower.run(plugin, context, limit)))
    }

    async fn stop<P: Plugin>(&mut self, plugin: Arc<P>) -> Result<(), Failure> {
        let begin = Instant::now();
        let limit = self.environment.timeout;
        let (guest, context) = (plugin.clone(), self.context.clone());
        let before = bounded(Verb::BeforeStop, limit, async move { guest.before_stop(&context).await }).await;
        let guest = plugin.clone();
        let stop = bounded(Verb::Stop, limit, async move { guest.stop().await }).await;
        let context = self.context.clone();
        let after = bounded(Verb::AfterStop, limit, async move { plugin.after_stop(&context).await }).await;
        before.and(stop).and(after)?;
        tracing::info!(seconds = begin.elapsed().as_secs_f64(), "stopped");
        Ok(())
    }

    /// Waits until the operator lets the process go on; `None` when a signal came first. That is no
    /// failure of anybody's.
    async fn await_permission(&mut self, stage: Stage) -> Option<()> {
        let Some(file) = self.environment.stage_file.clone() else { return Some(()) };
        tokio::select! {
            () = permitted(&file, stage) => Some(()),
            end = self.signals.end() => {
                tracing::info!(?stage, ?end, "asked to end before it was permitted to go on");
                None
            }
        }
    }

    /// Tells the plugin why its process ends. What comes of that is only logged.
    async fn tell<P: Plugin>(&self, error: String) {
        let context = self.context.clone();
        let told = async move {
            P::on_error(&error, &context).await;
            Ok(())
        };
        if let Err(failure) = bounded(Verb::OnError, self.environment.timeout, told).await {
            tracing::warn!(error = chain(&failure), "the plugin could not be told of its failure");
        }
    }

    /// Runs a verb; `None` when a signal came first, which breaks it off. That is no failure of the
    /// plugin's, but where the kubelet has lost its patience, the status should say with what.
    async fn run<T: Send + 'static>(
        &mut self,
        verb: Verb,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<Option<T>, Failure> {
        let begin = Instant::now();
        tokio::select! {
            result = bounded(verb, self.environment.timeout, work) => result.map(Some),
            end = self.signals.end() => {
                tracing::info!(%verb, ?end, "asked to end before it was finished");
                let after = duration::display(Duration::from_secs(begin.elapsed().as_secs()));
                termination::leave(&format!("asked to end after {after}, before {} had finished", verb.step()));
                Ok(None)
            }
        }
    }
}

/// Runs a verb in a task of its own, for no longer than `limit`.
pub(crate) async fn bounded<T: Send + 'static>(
    verb: Verb,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Failure> {
    let mut task = AbortOnDrop(tokio::spawn(work));
    match timeout(limit, &mut task.0).await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(source))) => Err(Failure::Failed { verb, source }),
        Ok(Err(join)) => Err(Failure::Panicked { verb, source: Panic::new(join.into_panic()) }),
        Err(_) => Err(Failure::TimedOut { verb, limit }),
    }
}

/// A task that nobody waits for any more ends at its next await.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn server_error(ended: Result<io::Result<()>, tokio::task::JoinError>) -> io::Error {
    match ended {
        Ok(Ok(())) => io::Error::other("the server ended by itself"),
        Ok(Err(error)) => error,
        Err(join) => io::Error::other(join),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    async fn failure(work: impl Future<Output = Result<(), Error>> + Send + 'static) -> String {
        chain(&bounded(Verb::Start, LIMIT, work).await.unwrap_err())
    }

    #[tokio::test(start_paused = true)]
    async fn a_verb_that_takes_too_long_is_broken_off() {
        let begin = Instant::now();
        assert_eq!(failure(std::future::pending()).await, "start did not finish within 30s");
        assert_eq!(begin.elapsed().as_secs(), LIMIT.as_secs());
    }

    #[tokio::test]
    async fn a_verb_that_fails_or_panics_says_why() {
        assert_eq!(failure(async { Err("no database".into()) }).await, "start failed: no database");
        assert_eq!(failure(async { panic!("oh no") }).await, "start panicked: oh no");
    }

    #[tokio::test]
    async fn a_verb_that_finishes_gives_its_value() {
        assert_eq!(bounded(Verb::Initialize, LIMIT, async { Ok(7) }).await.unwrap(), 7);
    }
}
