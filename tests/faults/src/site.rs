//! A place for a test: a namespace, the operator behind the proxy, and what speaks for the gateway.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use forward_tests::{SYSTEM_NAMESPACE, TestNamespace, artifacts, await_until, run_within};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use tokio::sync::Mutex;

use crate::{
    operator::Operator,
    order::Judge,
    plan::Plan,
    proxy::{Hooks, Proxy},
    registrar::Registrar,
    state::State,
};

/// The operator's ServiceAccount, with the rights that the chart gives it.
const ACCOUNT: &str = "forward-operator";
/// How long the operator's token holds, in seconds: longer than a test.
const TOKEN: i64 = 3_600;
/// A cluster is settled when nothing was written for so long: longer than details of a status wait.
const SETTLED: Duration = Duration::from_millis(3_500);
/// It is not looked at while there was a write so short ago.
const PAUSE: Duration = Duration::from_millis(400);

/// One operator at a time: each acts on all namespaces.
static ONE: Mutex<()> = Mutex::const_new(());

/// The place.
pub struct Site<'a> {
    /// The test's namespace.
    pub namespace: &'a TestNamespace,
    /// Between the operator and the API server.
    pub proxy: Proxy,
    /// The operator.
    pub operator: Operator,
    /// Says whether steps come in their turn.
    pub judge: Judge,
    _registrar: Registrar,
}

/// Run `test` in a place of its own, after those that other tests of this program have.
pub async fn run_on_site(name: &str, bound: Duration, test: impl AsyncFnOnce(&Site<'_>) -> Result<()>) {
    let _one = ONE.lock().await;
    run_within(name, bound, async |namespace| {
        let site = Site::start(namespace, name).await?;
        let outcome = test(&site).await;
        site.operator.end().await;
        let said = || format!("the operator's log: {}", site.operator.log.display());
        outcome.with_context(said)?;
        let ended = site.operator.ended();
        ensure!(ended.is_empty(), "the operator ended by itself: {ended:?}; {}", said());
        Ok(())
    })
    .await;
}

impl<'a> Site<'a> {
    async fn start(namespace: &'a TestNamespace, name: &str) -> Result<Self> {
        let judge = Judge::new(namespace);
        let (killed, to_kill) = tokio::sync::watch::channel(None::<Operator>);
        let asked = judge.clone();
        let hooks = Hooks {
            before_write: Box::new(move |call| {
                let judge = asked.clone();
                Box::pin(async move { judge.judge(&call).await })
            }),
            kill: Box::new(move || {
                let operator = to_kill.borrow().clone();
                Box::pin(async move {
                    if let Some(operator) = operator {
                        operator.kill().await;
                    }
                })
            }),
        };
        let proxy = Proxy::start(as_operator(&namespace.cluster.client).await?, hooks).await?;
        let operator = Operator::start(proxy.address, &artifacts().join("operators").join(name))?;
        killed.send_replace(Some(operator.clone()));
        Ok(Self { namespace, proxy, operator, judge, _registrar: Registrar::start(namespace) })
    }

    /// Wait until nothing is written any more, and give what there is then.
    pub async fn settle(&self, bound: Duration) -> Result<State> {
        await_until("nothing to be written any more", bound, async || {
            let quiet = self.proxy.quiet();
            ensure!(quiet >= SETTLED, "there was a write {quiet:?} ago");
            Ok(())
        })
        .await?;
        State::of(self.namespace).await
    }

    /// Wait until there is what there should be.
    pub async fn await_state(&self, what: &str, expected: &State, bound: Duration) -> Result<()> {
        await_until(what, bound, async || {
            // To look at everything has its price; while something is written it is not done.
            ensure!(self.proxy.quiet() >= PAUSE, "the operator is writing: {}", self.last_step());
            match State::of(self.namespace).await?.difference(expected) {
                None => Ok(()),
                Some(difference) => bail!("{difference}"),
            }
        })
        .await
    }

    fn last_step(&self) -> String {
        self.proxy.steps(0).last().map_or_else(|| "nothing yet".to_owned(), ToString::to_string)
    }

    /// Have nothing go wrong any more.
    pub fn heal(&self) {
        self.proxy.follow(Plan::default());
    }

    /// That steps had an order, and no step broke it.
    pub fn check_order(&self) -> Result<()> {
        let verdicts = self.judge.verdicts();
        ensure!(verdicts.broken.is_empty(), "steps out of order: {:#?}", verdicts.broken);
        ensure!(verdicts.judged > 0, "no step was judged");
        Ok(())
    }
}

/// A client with the operator's identity and rights, which never asks twice by itself.
async fn as_operator(admin: &Client) -> Result<Client> {
    let accounts = Api::<ServiceAccount>::namespaced(admin.clone(), SYSTEM_NAMESPACE);
    let spec = TokenRequestSpec { expiration_seconds: Some(TOKEN), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let answer = accounts.create_token_request(ACCOUNT, &PostParams::default(), &request).await;
    let token = answer.context("ask for the operator's token")?.status.context("a token")?.token;
    let kubeconfig = Kubeconfig::from_env()?.context("KUBECONFIG names no file")?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}
