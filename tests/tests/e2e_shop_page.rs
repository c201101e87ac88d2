//! The page of the shop in a real browser, through the gateway, from the first look to the order
//! that shows in the dashboard.

use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use example_testing::{Browser, fantoccini::Locator};
use forward_tests::{TestNamespace, run, seconds, shop::Shop, started};
use serde_json::{Value, json};

/// Where an element is, by the name that the page gives it for tests.
fn at(name: &str) -> String {
    format!("[data-testid={name}]")
}

/// The page of a shop, in a browser of its own.
struct Page<'a> {
    shop: Shop<'a>,
    browser: Browser,
}

impl<'a> Page<'a> {
    async fn open(ns: &'a TestNamespace) -> Result<Self> {
        let shop = Shop::open(ns).await?;
        let gateway = ns.cluster.gateway()?;
        let browser = Browser::start(&[(&shop.host, gateway.authority())]).await?;
        browser.client.goto(&format!("http://{}/", shop.host)).await?;
        Ok(Self { shop, browser })
    }

    /// Wait until a JavaScript expression is true.
    async fn see(&self, what: &str, expression: &str) -> Result<Value> {
        self.browser.await_script(what, &format!("return {expression}")).await
    }

    async fn click(&self, selector: &str) -> Result<()> {
        let script =
            format!("const it = document.querySelector({}); it?.click(); return !!it", json!(selector));
        self.browser.await_script(&format!("something to click at {selector}"), &script).await.map(drop)
    }

    /// Put one of an item into the basket and order it; what the page says in the end, by its kind.
    async fn order(&self, sku: &str) -> Result<String> {
        self.click(&format!("{}[data-sku={sku}]", at("add"))).await?;
        self.see("the basket to be filled", &format!("!document.querySelector('{}').disabled", at("order")))
            .await?;
        self.click(&at("order")).await?;
        let done = format!(
            "(kind => !['none', 'pending', 'retrying'].includes(kind) && kind)(document.querySelector('{}').dataset.outcome)",
            at("outcome")
        );
        let kind = self.see("the order's outcome", &done).await?;
        Ok(kind.as_str().context("a kind")?.to_owned())
    }

    async fn available(&self, sku: &str) -> Result<i64> {
        let answer = self.shop.get(&format!("/api/inventory/items/{sku}")).await?;
        answer.json::<Value>()?["available"].as_i64().context("a number")
    }

    async fn photograph(&self, name: &str) -> Result<()> {
        let folder = env::var_os("FORWARD_ARTIFACTS").map_or_else(env::temp_dir, PathBuf::from);
        let picture = self.browser.client.screenshot().await?;
        // A page of one colour packs into next to nothing.
        ensure!(picture.len() > 20_000, "{name} is blank: {} bytes", picture.len());
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("{name}.png")), picture)?;
        Ok(())
    }
}

#[tokio::test]
async fn a_customer_orders_and_sees_it_live() {
    run("a_customer_orders_and_sees_it_live", async |ns| {
        let page = Page::open(ns).await?;
        let products = format!("document.querySelectorAll('{}').length >= 3", at("product"));
        page.see("the products", &products).await?;
        let first = format!("document.querySelector('{}').dataset.sku", at("product"));
        let sku = page.see("a product", &first).await?.as_str().context("a SKU")?.to_owned();
        let before = page.available(&sku).await?;

        ensure!(page.order(&sku).await? == "completed", "the order was not completed");
        ensure!(page.available(&sku).await? == before - 1, "the stock has not changed");
        let shown = format!(
            "document.querySelector('{}[data-sku={sku}]').dataset.available === '{}'",
            at("product"),
            before - 1
        );
        page.see("the page to show what is left", &shown).await?;
        let row = format!("document.querySelector('{}[data-status=completed]') !== null", at("order-row"));
        page.see("the order among the last ones", &row).await?;
        page.photograph("shop-light").await?;

        page.browser.prefer_color_scheme("dark").await?;
        page.see("dark colours", "matchMedia('(prefers-color-scheme: dark)').matches").await?;
        page.photograph("shop-dark").await?;
        let frame = page.browser.client.find(Locator::Css(&at("dashboard"))).await?;
        frame.clone().enter_frame().await?;
        page.see("the order in the dashboard", "document.body.innerText.includes('order_completed')").await?;
        page.browser.client.enter_parent_frame().await?;
        let errors = page.browser.errors().await?;
        ensure!(errors.is_empty(), "the page logs errors: {errors:?}");
        page.browser.client.clone().close().await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_page_says_what_went_wrong() {
    run("the_page_says_what_went_wrong", async |ns| {
        let page = Page::open(ns).await?;
        let first = format!("document.querySelector('{}')?.dataset.sku", at("product"));
        let sku = page.see("a product", &first).await?.as_str().context("a SKU")?.to_owned();
        page.click("input[value=card_declined]").await?;
        ensure!(page.order(&sku).await? == "rejected", "a declined card has paid");
        let code = format!("document.querySelector('{}').dataset.code === 'payment_declined'", at("outcome"));
        page.see("the reason", &code).await?;

        // A part that is away is said to be, and is there again when it is.
        let inventory = ns.plugin("inventory-manager").await?;
        page.shop.patch("order-processing", json!({"suspend": true})).await?;
        page.shop.patch("inventory-manager", json!({"suspend": true})).await?;
        let state = |state: &str| {
            format!("document.querySelector('{}[data-part=stock]').dataset.state === '{state}'", at("part"))
        };
        page.see("the stock to be away", &state("away")).await?;
        page.photograph("shop-away").await?;
        page.shop.patch("inventory-manager", json!({"suspend": inventory.spec.suspend})).await?;
        page.shop.patch("order-processing", json!({"suspend": false})).await?;
        ns.await_plugin("order-processing", "to be ready again", seconds(60), started).await?;
        page.see("the stock to be there again", &state("available")).await?;
        page.browser.client.clone().close().await?;
        Ok(())
    })
    .await;
}
