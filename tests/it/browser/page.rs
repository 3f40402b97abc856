//! A browser with the actions of a user.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fantoccini::actions::{InputSource, MOUSE_BUTTON_LEFT, MouseActions, PointerAction};
use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::harness::{DEADLINE, tool, wait_until};

/// Limits the tests to one browser at a time, because several would starve a small machine.
static ONE: Mutex<()> = Mutex::new(());

/// The local time zone of the browser: five and a half hours ahead of UTC all year.
const ZONE: &str = "Asia/Kolkata";

/// The display of the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Viewport {
    /// 1,280 pixels wide, light mode.
    Desktop,
    /// 1,280 pixels wide, dark mode.
    Dark,
    /// A phone, 360 pixels wide.
    Phone,
    /// 1,280 pixels wide, without the scripts of pages.
    NoScript,
}

/// Headless Chromium. Dropping it closes the browser.
pub(super) struct Browser {
    runtime: Runtime,
    client: Option<Client>,
    driver: Child,
    base: String,
    _profile: tempfile::TempDir,
    _one: MutexGuard<'static, ()>,
}

impl Browser {
    /// Opens a browser for the site at `base`. Returns `None` if the machine has no browser.
    pub(super) fn open(base: &str, viewport: Viewport) -> Option<Browser> {
        tool("chromedriver")?;
        tool("chromium")?;
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (driver, port) = start_driver();
        let profile = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let capabilities = capabilities(profile.path(), viewport);
        let session = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await_in(&runtime);
        Some(Browser {
            client: Some(session.unwrap()),
            runtime,
            driver,
            base: base.to_owned(),
            _profile: profile,
            _one: one,
        })
    }

    fn client(&self) -> &Client {
        self.client.as_ref().unwrap()
    }

    /// Loads a path of the site.
    pub(super) fn go(&self, path: &str) {
        self.client().goto(&format!("{}{path}", self.base)).await_in(&self.runtime).unwrap();
    }

    /// Sets the width of the window in pixels. The minimum is 500.
    pub(super) fn resize(&self, width: u32) {
        self.client().set_window_size(width, 1000).await_in(&self.runtime).unwrap();
    }

    /// Applies the styles for print.
    pub(super) fn emulate_print(&self) {
        let script = "for (const rule of document.styleSheets[0].cssRules)\
                      if (rule.media?.mediaText === 'print') rule.media.mediaText = 'all';";
        self.run(script, vec![]);
    }

    /// The path and the query of the page.
    pub(super) fn location(&self) -> String {
        let url = self.client().current_url().await_in(&self.runtime).unwrap();
        format!("{}{}", url.path(), url.query().map_or(String::new(), |query| format!("?{query}")))
    }

    /// Runs a script on the page.
    pub(super) fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.client().execute(script, arguments).await_in(&self.runtime).unwrap()
    }

    /// Runs a script that calls its last argument at the end.
    pub(super) fn run_async(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.client().execute_async(script, arguments).await_in(&self.runtime).unwrap()
    }

    /// The text of all elements that match a selector.
    pub(super) fn texts(&self, css: &str) -> Vec<String> {
        let script = "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)";
        let found = self.run(script, vec![json!(css)]);
        found.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    }

    /// The text of the first element that matches a selector.
    #[track_caller]
    pub(super) fn text(&self, css: &str) -> String {
        self.texts(css)
            .into_iter()
            .next()
            .unwrap_or_else(|| panic!("no {css} at {}", self.location()))
    }

    /// An attribute of all elements that match a selector.
    pub(super) fn attributes(&self, css: &str, name: &str) -> Vec<String> {
        let script = "return [...document.querySelectorAll(arguments[0])]\
                      .map(e => e.getAttribute(arguments[1]) ?? '')";
        let found = self.run(script, vec![json!(css), json!(name)]);
        found.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    }

    /// Waits until `count` elements match a selector.
    pub(super) fn wait_for(&self, css: &str, count: usize) {
        wait_until(&format!("{count} of {css} at {}", self.location()), || {
            self.texts(css).len() == count
        });
    }

    /// Clicks the first element that matches a selector. Waits if this loads another page.
    pub(super) fn click(&self, css: &str) {
        let found = self.client().find(Locator::Css(css)).await_in(&self.runtime);
        let found = found.unwrap_or_else(|error| panic!("{css} at {}: {error}", self.location()));
        found.click().await_in(&self.runtime).unwrap();
    }

    /// Clicks the link with this text.
    pub(super) fn click_link(&self, text: &str) {
        let found = self.client().find(Locator::LinkText(text)).await_in(&self.runtime);
        let found =
            found.unwrap_or_else(|error| panic!("{text:?} at {}: {error}", self.location()));
        found.click().await_in(&self.runtime).unwrap();
    }

    /// Drags the mouse over an element, between two parts of its width.
    pub(super) fn drag(&self, css: &str, from: f64, until: f64) {
        let script = "const box = document.querySelector(arguments[0]).getBoundingClientRect();\
                      return [box.left, box.top + box.height / 2, box.width]";
        let found = self.run(script, vec![json!(css)]);
        let number = |at: usize| found[at].as_f64().unwrap();
        let (left, y, width) = (number(0), number(1), number(2));
        let to = |part: f64| PointerAction::MoveTo { duration: None, x: left + width * part, y };
        let actions = MouseActions::new("mouse".to_owned())
            .then(to(from))
            .then(PointerAction::Down { button: MOUSE_BUTTON_LEFT })
            .then(to((from + until) / 2.0))
            .then(to(until))
            .then(PointerAction::Up { button: MOUSE_BUTTON_LEFT });
        self.client().perform_actions(actions).await_in(&self.runtime).unwrap();
    }

    /// Types into the focused element.
    pub(super) fn keys(&self, text: &str) {
        let active = self.client().active_element().await_in(&self.runtime).unwrap();
        active.send_keys(text).await_in(&self.runtime).unwrap();
    }

    /// Presses a key `n` times.
    pub(super) fn press(&self, key: Key, n: usize) {
        for _ in 0..n {
            self.keys(&key.to_string());
        }
    }

    /// The id of the focused element, or its text if it has no id.
    pub(super) fn focus(&self) -> String {
        let script = "const e = document.activeElement; return e.id || e.innerText || e.tagName";
        self.run(script, vec![]).as_str().unwrap().to_owned()
    }

    /// Presses Tab until the element with this id or text has the focus.
    #[track_caller]
    pub(super) fn tab_to(&self, id_or_text: &str) {
        for _ in 0..100 {
            self.press(Key::Tab, 1);
            if self.focus() == id_or_text {
                return;
            }
        }
        panic!("{id_or_text} never has the focus at {}", self.location());
    }

    /// Saves a screenshot of the page in `target/screenshots`.
    pub(super) fn save_screenshot(&self, name: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        fs::create_dir_all(&folder).unwrap();
        let picture = self.client().screenshot().await_in(&self.runtime).unwrap();
        fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    /// Checks that the page is not wider than the window.
    #[track_caller]
    pub(super) fn assert_fits(&self) {
        let script = "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]";
        let widths = self.run(script, vec![]);
        assert!(widths[0].as_u64() <= widths[1].as_u64(), "{} is {widths}", self.location());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- the page: {}", self.location());
            self.save_screenshot("failed");
        }
        if let Some(client) = self.client.take() {
            let _ = client.close().await_in(&self.runtime);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Starts ChromeDriver. Returns the process and its port. ChromeDriver takes a port that is free
/// for IPv6, and ends if the port is used for IPv4, for example by the server of another test. It
/// is then started again.
fn start_driver() -> (Child, String) {
    for _ in 0..10 {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("TZ", ZONE)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            let port = line.split_once("started successfully on port ")?.1;
            Some(port.trim_end_matches('.').to_owned())
        });
        if let Some(port) = port {
            // Discards further output, so that the pipe does not fill.
            std::thread::spawn(move || lines.for_each(drop));
            return (driver, port);
        }
        eprintln!("chromedriver ended before it was ready: {}", driver.wait().unwrap());
    }
    panic!("chromedriver never became ready")
}

/// Waits for a future, at most for [`DEADLINE`].
trait AwaitIn: Future + Sized {
    fn await_in(self, runtime: &Runtime) -> Self::Output {
        let limited = async { tokio::time::timeout(DEADLINE, self).await };
        runtime.block_on(limited).expect("the browser answers in time")
    }
}

impl<F: Future> AwaitIn for F {}

fn capabilities(profile: &Path, viewport: Viewport) -> serde_json::Map<String, Value> {
    let mut arguments: Vec<String> = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1280,1000",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.push(format!("--user-data-dir={}", profile.display()));
    let mut options = json!({});
    match viewport {
        Viewport::Desktop => {}
        Viewport::NoScript => {
            options["prefs"] = json!({"profile.managed_default_content_settings.javascript": 2});
        }
        Viewport::Dark => arguments.push("--blink-settings=preferredColorScheme=0".to_owned()),
        Viewport::Phone => {
            options["mobileEmulation"] =
                json!({"deviceMetrics": {"width": 360, "height": 740, "pixelRatio": 2}});
        }
    }
    options["args"] = json!(arguments);
    let capabilities = json!({
        "goog:chromeOptions": options,
        "timeouts": {"script": 60_000, "pageLoad": 60_000, "implicit": 0},
    });
    capabilities.as_object().unwrap().clone()
}

/// The script of axe-core from the file that `VIDIMUS_AXE` names.
pub(super) fn axe() -> Option<String> {
    let Some(path) = std::env::var_os("VIDIMUS_AXE") else {
        let strict = std::env::var_os("VIDIMUS_TESTS_STRICT").is_some();
        assert!(!strict, "VIDIMUS_AXE is to name axe-core's file, as VIDIMUS_TESTS_STRICT is set");
        eprintln!("SKIPPED: VIDIMUS_AXE does not name axe-core's file");
        return None;
    };
    Some(fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}
