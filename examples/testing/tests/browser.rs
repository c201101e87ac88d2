//! The browser does what its tests rely on.

use example_testing::Browser;

#[tokio::test]
async fn runs_scripts_and_tells_what_went_wrong_in_the_page() {
    let browser = Browser::start(&[]).await.unwrap();
    let page = "data:text/html,<p id=a>one</p><script>setTimeout(() => { a.textContent = 'two'; oops() }, 50)</script>";
    browser.client.goto(page).await.unwrap();
    let script = "return a.textContent === 'two'";
    browser.await_script("the page to change", script).await.unwrap();
    let errors = browser.errors().await.unwrap();
    assert!(errors.len() == 1 && errors[0].contains("oops is not defined"), "{errors:?}");
    browser.prefer_color_scheme("dark").await.unwrap();
    let dark = "return matchMedia('(prefers-color-scheme: dark)').matches";
    browser.await_script("the page to be dark", dark).await.unwrap();
}
