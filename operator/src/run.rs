//! Wires the parts together.

use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, bail};
use kube::{
    Client, Config,
    runtime::events::{Recorder, Reporter},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    admin,
    admission::{self, Confirmer, Keeper, Reviewer},
    check,
    config::{Args, Command, OperatorArgs, overrides},
    connect::{connect_leader, connect_once},
    hooks::{Calls, Tally},
    index::Index,
    lease::{Leadership, Mandate, may_act},
    metrics::Metrics,
    reconcile::{Context, on_error, reconcile},
    release,
    watch::{Listed, Sink, Watches},
};

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

/// Follow the cluster, seek the Lease and act while it is held, until the process is told to stop.
async fn operate(args: OperatorArgs) -> Result<()> {
    let metrics = Arc::new(Metrics::new());
    let (ready, is_ready) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let admin = tokio::spawn(admin::serve(args.listen, metrics.clone(), is_ready, stopped));
    let config = Config::infer().await.context("find the API server")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let index = Arc::new(Mutex::new(Index::new(overrides())));
    let sink = Sink { index, ..Sink::default() };
    metrics.follow(&sink.index, &sink.queue);
    let (namespace, lease) = (&args.namespace, &args.lease);
    let mut leadership =
        Leadership::seek(connect_once(&config)?, namespace, lease, &args.identity, metrics.lease.clone());
    let client = connect_leader(&config, leadership.mandate.clone())?;
    let mut watches = Watches::start(&client, &sink);
    ready.send_replace(true);
    let operator = Operator { args, client, metrics, sink, listed: watches.listed.clone() };
    let mut webhook = tokio::spawn(operator.answer_reviews(stop.subscribe()));
    tokio::select! {
        _ = terminate.recv() => tracing::info!("told to stop"),
        _ = interrupt.recv() => tracing::info!("interrupted"),
        () = watches.ended() => bail!("a watch has ended"),
        result = &mut webhook => result.context("join the webhook")??,
        result = operator.lead(&mut leadership.mandate) => result?,
    }
    // Reconciliations are dropped here, in the middle if need be: each of their writes stands for
    // itself, and the next leader goes on from what it finds.
    ready.send_replace(false);
    leadership.release().await?;
    stop.send_replace(true);
    if !webhook.is_finished() {
        webhook.await.context("join the webhook")??;
    }
    admin.await.context("join the admin server")?
}

/// What a replica has, whether it acts or stands by.
struct Operator {
    args: OperatorArgs,
    client: Client,
    metrics: Arc<Metrics>,
    sink: Sink,
    listed: Listed,
}

impl Operator {
    /// Act whenever this replica leads. Returns only on errors.
    async fn lead(&self, mandate: &mut Mandate) -> Result<()> {
        loop {
            mandate.wait_for(may_act).await.context("watch the lease")?;
            tracing::info!("leading");
            self.metrics.leading.set(1);
            tokio::select! {
                () = self.act() => {}
                () = self.keep_certificates() => {}
                result = mandate.wait_for(|mandate| !may_act(mandate)) => { result.context("watch the lease")?; }
            }
            self.metrics.leading.set(0);
            tracing::warn!("no longer leading");
        }
    }

    /// Answer what the API server asks of plugins that are applied, whether this replica leads or
    /// not, until `stop` turns true.
    fn answer_reviews(&self, mut stop: watch::Receiver<bool>) -> impl Future<Output = Result<()>> + use<> {
        let Self { args, client, metrics, sink, listed, .. } = self;
        let reviewer =
            Reviewer { index: sink.index.clone(), listed: listed.clone(), metrics: metrics.clone() };
        let confirmer = Confirmer { client: client.clone(), changed: sink.changed.clone() };
        let secrets = admission::secrets(client, &args.namespace);
        let (listen, name) = (args.webhook_listen, args.webhook.clone());
        async move {
            match name {
                Some(name) => admission::serve(listen, reviewer, confirmer, secrets, name, stop).await,
                None => {
                    // An error means that the sender is gone, which is a stop too.
                    stop.wait_for(|stop| *stop).await.ok();
                    Ok(())
                }
            }
        }
    }

    async fn keep_certificates(&self) {
        match &self.args.webhook {
            Some(name) => Keeper::new(&self.client, &self.args.namespace, name).keep().await,
            None => std::future::pending().await,
        }
    }

    /// Reconcile, until dropped: every plugin once, for what happened while another replica acted,
    /// and then those that events touch.
    async fn act(&self) {
        let instance = Some(self.args.identity.clone());
        let reporter = Reporter { controller: "forward-operator".to_owned(), instance };
        let context = Arc::new(Context {
            recorder: Recorder::new(self.client.clone(), reporter),
            client: self.client.clone(),
            index: self.sink.index.clone(),
            metrics: self.metrics.clone(),
            peers: self.args.network.peers(),
            calls: Arc::new(Calls::new(self.client.clone(), self.sink.clone())),
            tally: Tally::default(),
            retries: Mutex::default(),
            pace: Mutex::default(),
        });
        self.listed.clone().wait().await;
        tracing::info!("acting on all that was listed");
        let look = |plugin| {
            let context = context.clone();
            async move {
                let looked = reconcile(&plugin, &context).await;
                looked.unwrap_or_else(|error| Some(on_error(&plugin, &error, &context)))
            }
        };
        self.sink.open().work(self.args.concurrency.into(), look).await;
    }
}
