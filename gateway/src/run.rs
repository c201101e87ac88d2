//! Wires the parts together.

use std::sync::Arc;

use anyhow::{Context, Result};
use futures::{
    FutureExt,
    future::{self, BoxFuture, select_all},
};
use kube::Client;
use rustix::process::setpriority_process;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::sleep,
};

use crate::{
    admin,
    alerts::{self, post::Poster},
    callers::{fetch::Fetcher, store as key_store},
    config::Args,
    control::{
        index::{Handle, Index},
        registrar,
        watch::Watches,
    },
    data::{
        span::Spans,
        worker::{Secured, Settings, Shared, Workers},
    },
    debug::{self, Debug, profile::Profiler},
    events::Events,
    export::Export,
    metrics::{Calls, Metrics},
    tls::{Files, Tls, clients::Authorities, store::Store},
};

/// The niceness of threads that carry no traffic: where processors are busy, requests go first, and the
/// rest gets a third of what one of those threads gets (sched(7): a tenth less for each step).
const NICENESS: i32 = 5;

/// Run until told to stop.
pub fn run(args: &Args) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    tracing_subscriber::fmt().json().flatten_event(true).with_span_list(false).with_env_filter(filter).init();
    // Traffic has threads of its own; one is enough for the rest.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().on_thread_start(give_way).build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: &Args) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut settings = args.settings();
    let mut export = traces(args, &mut settings)?;
    let shared = Shared::new(settings, args.workers());
    let index = Handle::new(Index::new(shared.clone(), args.name.clone()));
    let calls = Calls::default();
    let metrics = Arc::new(Metrics::new(shared.clone(), index.clone(), &calls));
    let (ready, is_ready) = watch::channel(false);
    let admin = admin::serve(args.admin, metrics, is_ready);
    let (secured, follow) = certificates(args, &calls)?;
    let know = callers(args, &shared, &calls)?;
    let profiler = Profiler::new(index.clone());
    let listener =
        TcpListener::bind(args.debug).await.with_context(|| format!("listen on {}", args.debug))?;
    let debug = debug::serve(
        listener,
        Debug {
            shared: shared.clone(),
            index: index.clone(),
            profiler: profiler.clone(),
            processes: calls.processes.clone(),
            tls: secured.as_ref().map(|secured| secured.tls.clone()),
        },
    );
    let poster = Poster::new(args.jwks_ca.as_deref(), args.plain_receivers.clone());
    let poster = poster.context("set up the telling of alerts")?;
    let control = control(args, index, calls, poster, &ready);
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("told to stop"),
            _ = interrupt.recv() => tracing::info!("interrupted"),
        }
    };
    let workers = Workers::start(args.listen, secured, &shared)
        .with_context(|| format!("listen on {}", args.listen))?;
    // Only now, for threads inherit it.
    give_way();
    let tls = workers.secured_address().map(tracing::field::display);
    tracing::info!(listen = %workers.address(), tls, workers = shared.workers(), "carrying traffic");
    let serving = async {
        tokio::pin!(control);
        tokio::select! {
            result = &mut control => return result,
            () = stop => {}
        }
        // The routes go on changing while connections are still accepted, but the other replicas
        // register the plugins from now on.
        ready.send_replace(false);
        shared.drain();
        tokio::select! {
            result = &mut control => result,
            () = sleep(args.drain.get()) => Ok(()),
        }
    };
    tokio::select! {
        result = admin => result?,
        result = debug => result?,
        () = sending(&mut export) => anyhow::bail!("nobody sends the spans any more"),
        () = profiler.run() => anyhow::bail!("nobody reads the counters any more"),
        result = serving => result?,
        result = follow => result?,
        result = know => result?,
        () = workers.died() => anyhow::bail!("a traffic thread has ended"),
    }
    tracing::info!("ending the requests that are under way");
    tokio::task::spawn_blocking(move || workers.stop()).await.context("join the traffic threads")?;
    if let Some(export) = &mut export {
        export.flush().await;
    }
    Ok(())
}

/// Have this thread, and no other of the process, give way to those that carry traffic.
fn give_way() {
    if let Err(error) = setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "what is not traffic takes processor time like traffic");
    }
}

/// What sends the spans of requests, where that is wanted.
fn traces(args: &Args, settings: &mut Settings) -> Result<Option<Export>> {
    let Some(endpoint) = &args.tracing_endpoint else { return Ok(None) };
    let (spans, receiver) = Spans::new(args.tracing_sample_ratio);
    let spans = Arc::new(spans);
    settings.spans = Some(spans.clone());
    Export::new(endpoint, &args.name, spans, receiver).map(Some)
}

async fn sending(export: &mut Option<Export>) {
    match export {
        Some(export) => export.run().await,
        None => future::pending().await,
    }
}

/// TLS, where there are certificates, and what follows them. That ends only with an error.
fn certificates(args: &Args, calls: &Calls) -> Result<(Option<Secured>, BoxFuture<'static, Result<()>>)> {
    let Some(folder) = &args.tls_certificates else { return Ok((None, future::pending().boxed())) };
    let tls = Tls::new(calls.clone()).context("set up TLS")?;
    let authorities = args.tls_client_ca.as_deref().map(Authorities::new);
    let mut files = Files { certificates: Store::new(folder.clone()), authorities };
    tls.refresh(&mut files).context("set up TLS")?;
    let follow = tls.clone().follow(files).map(|ended| ended.context("follow the certificates"));
    Ok((Some(Secured { listen: args.tls_listen, tls }), follow.boxed()))
}

/// What follows the keys by which callers are known. Ends only with an error.
fn callers(args: &Args, shared: &Shared, calls: &Calls) -> Result<BoxFuture<'static, Result<()>>> {
    let callers = &shared.callers;
    let fetcher = Fetcher::new(callers.clone(), calls.clone(), args.jwks_ca.as_deref());
    let fetch = fetcher.context("set up the fetching of keys")?.run();
    let follow = match &args.api_keys {
        Some(folder) => {
            let mut store = key_store::Store::new(folder.clone());
            calls.key_sets(store.refresh(callers));
            store.follow(callers.clone(), calls.clone()).boxed()
        }
        None => future::pending().boxed(),
    };
    Ok(async {
        tokio::select! {
            () = fetch => anyhow::bail!("the fetching of keys has ended"),
            result = follow => result.context("follow the keys of callers"),
        }
    }
    .boxed())
}

/// Keep the routes, and register this replica's share of the plugins. Ends only with an error.
async fn control(
    args: &Args,
    index: Handle,
    calls: Calls,
    poster: Poster,
    ready: &watch::Sender<bool>,
) -> Result<()> {
    index.lock().hold();
    let client = Client::try_default().await.context("connect to the API server")?;
    let Watches { run, listed } = Watches::new(&client, &index, &args.namespace, &args.service);
    let registering = async {
        for listed in listed {
            listed.await.context("list the objects")?;
        }
        index.change(Index::complete);
        tracing::info!("listed all objects");
        ready.send_replace(true);
        let mut stopping = ready.subscribe();
        let events = Events::new(client.clone());
        let alerts = alerts::run(index.clone(), poster, calls.alerts.clone(), events.clone());
        tokio::select! {
            () = alerts => Ok(()),
            () = registrar::run(client, index, calls, events) => Ok(()),
            result = stopping.wait_for(|ready| !ready) => result.map(|_| ()).context("watch for the stop"),
        }
    };
    let watching = async {
        select_all(run).await;
        anyhow::bail!("a watch has ended")
    };
    let (result, never) = tokio::join!(registering, watching);
    result.and(never)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn a_thread_gives_way_and_others_do_not() {
        let before = getpriority_process(None).unwrap();
        let its_own = thread::spawn(|| {
            give_way();
            getpriority_process(None).unwrap()
        });
        assert_eq!(its_own.join().unwrap(), NICENESS);
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
