//! Headless Chromium, driven by ChromeDriver (WebDriver), for measurements in a page.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// A browser with one page. Dropping it closes the browser.
pub(crate) struct Browser {
    runtime: Runtime,
    client: Option<Client>,
    driver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens a browser. `None` if the machine has none.
    pub(crate) fn open() -> Option<Browser> {
        let is_there = |tool| {
            let run = Command::new(tool).arg("--version").stdout(Stdio::null()).status();
            run.is_ok_and(|status| status.success())
        };
        if !is_there("chromedriver") || !is_there("chromium") {
            return None;
        }
        let (driver, port) = start_driver()?;
        let profile = tempfile::tempdir().expect("a directory");
        let arguments = [
            "--headless".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--window-size=1280,1000".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({"goog:chromeOptions": {"args": arguments}});
        let runtime = Runtime::new().expect("a runtime");
        let client = runtime.block_on(async {
            ClientBuilder::new(HttpConnector::new())
                .capabilities(wanted.as_object().expect("an object").clone())
                .connect(&format!("http://127.0.0.1:{port}"))
                .await
        });
        let client = Some(client.expect("a session"));
        Some(Browser { runtime, client, driver, _profile: profile })
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("it is open")
    }

    pub(crate) fn go(&self, address: &str) {
        self.runtime.block_on(self.client().goto(address)).expect("a page");
    }

    /// Runs a script on the page.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.runtime.block_on(self.client().execute(script, Vec::new())).expect("it ran")
    }

    /// Clicks the first element that matches a selector.
    pub(crate) fn click(&self, css: &str) {
        self.runtime
            .block_on(async { self.client().find(Locator::Css(css)).await?.click().await })
            .expect("it is clicked");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            let _ = self.runtime.block_on(client.close());
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Starts ChromeDriver. Returns the process and its port. It ends if the port that it takes for IPv6
/// is used for IPv4, and is then started again.
fn start_driver() -> Option<(Child, String)> {
    for _ in 0..10 {
        let mut driver =
            Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn().ok()?;
        let mut lines = BufReader::new(driver.stdout.take()?).lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            let port = line.split_once("started successfully on port ")?.1;
            Some(port.trim_end_matches('.').to_owned())
        });
        if let Some(port) = port {
            // Discards further output, so that the pipe does not fill.
            std::thread::spawn(move || lines.for_each(drop));
            return Some((driver, port));
        }
        let _ = driver.wait();
    }
    None
}
