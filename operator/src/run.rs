//! Wires the parts together.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result};
use forward_crds::{Plugin, PluginState};
use futures::{StreamExt, channel::mpsc, future::select_all};
use kube::{
    Client, Config,
    runtime::{
        Controller, controller,
        events::{Recorder, Reporter},
        reflector,
    },
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    admin, check,
    config::{Args, Command, OperatorArgs, overrides},
    index::{Index, lock},
    lease::Leadership,
    metrics::{Metrics, StateLabel},
    reconcile::{Context, on_error, reconcile},
    release,
    watch::{Sink, Watches},
};

/// How often the gauges that are read from the index are set.
const GAUGES: Duration = Duration::from_secs(5);

pub fn run(args: Args) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    tracing_subscriber::fmt().json().flatten_event(true).with_span_list(false).with_env_filter(filter).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match args.command {
            Some(Command::Check { urls }) => check::run(&urls).await,
            Some(Command::Release { delete_crds }) => {
                release::run(Client::try_default().await?, delete_crds).await
            }
            None => operate(args.operator).await,
        }
    })
}

/// Seek the Lease and act while it is held, until the process is told to stop.
async fn operate(args: OperatorArgs) -> Result<()> {
    let metrics = Arc::new(Metrics::new());
    let (ready, is_ready) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let admin = tokio::spawn(admin::serve(args.listen, metrics.clone(), is_ready, stopped));
    let mut config = Config::infer().await.context("find the API server")?;
    let client = Client::try_from(config.clone()).context("connect to the API server")?;
    config.default_retry = false;
    let patient = Client::try_from(config).context("connect to the API server")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut leadership = Leadership::seek(patient, &args.namespace, &args.lease, &args.identity).await?;
    ready.send_replace(true);
    tokio::select! {
        _ = terminate.recv() => tracing::info!("told to stop"),
        _ = interrupt.recv() => tracing::info!("interrupted"),
        result = lead(&args, client, &metrics, &mut leadership.leading) => result?,
    }
    // Reconciliations are dropped here, in the middle if need be: each of their writes stands for
    // itself, and the next leader goes on from what it finds.
    ready.send_replace(false);
    leadership.release().await?;
    stop.send_replace(true);
    admin.await.context("join the admin server")?
}

/// Act whenever this replica leads. Returns only on errors.
async fn lead(
    args: &OperatorArgs,
    client: Client,
    metrics: &Arc<Metrics>,
    leading: &mut watch::Receiver<bool>,
) -> Result<()> {
    loop {
        leading.wait_for(|leading| *leading).await.context("watch the lease")?;
        tracing::info!("leading");
        metrics.leading.set(1);
        tokio::select! {
            result = act(args, client.clone(), metrics.clone()) => result?,
            result = leading.wait_for(|leading| !leading) => { result.context("watch the lease")?; }
        }
        metrics.leading.set(0);
        tracing::warn!("no longer leading");
    }
}

/// Watch everything and reconcile, until dropped.
async fn act(args: &OperatorArgs, client: Client, metrics: Arc<Metrics>) -> Result<()> {
    let index = Arc::new(Mutex::new(Index::new(overrides())));
    let (store, writer) = reflector::store::<Plugin>();
    let (queue, events) = mpsc::unbounded();
    let sink = Sink { index: index.clone(), queue };
    let Watches { run, listed } = Watches::new(&client, &sink, writer);
    let reporter =
        Reporter { controller: "forward-operator".to_owned(), instance: Some(args.identity.clone()) };
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        index: index.clone(),
        metrics: metrics.clone(),
        peers: args.network.peers(),
        retries: Mutex::new(BTreeMap::new()),
    });
    let concurrency = args.concurrency;
    let reconciling = async move {
        // A decision on half a list would find dependencies missing that are not.
        for listed in listed {
            listed.await.context("list the objects")?;
        }
        tracing::info!("listed all objects");
        // The watches feed the queue; the controller's own stream of plugins stays silent.
        let silent = futures::stream::pending();
        Controller::for_stream(silent, store)
            .with_config(controller::Config::default().concurrency(concurrency))
            .reconcile_on(events)
            .run(reconcile, on_error, context)
            .for_each(|_| std::future::ready(()))
            .await;
        Ok(())
    };
    tokio::select! {
        result = reconciling => result,
        _ = select_all(run) => Ok(()),
        () = set_gauges(&index, &metrics) => Ok(()),
    }
}

async fn set_gauges(index: &Mutex<Index>, metrics: &Metrics) {
    let states = [
        (PluginState::Unloaded, "Unloaded"),
        (PluginState::Loaded, "Loaded"),
        (PluginState::Initialized, "Initialized"),
        (PluginState::Started, "Started"),
        (PluginState::Stopped, "Stopped"),
        (PluginState::Error, "Error"),
    ];
    let mut ticks = tokio::time::interval(GAUGES);
    loop {
        ticks.tick().await;
        let counts = lock(index).states();
        for (state, label) in states {
            let count = counts.get(&state).copied().unwrap_or(0);
            metrics
                .plugins
                .get_or_create(&StateLabel { state: label })
                .set(count.try_into().unwrap_or(i64::MAX));
        }
    }
}
