//! The console in headless Chromium, driven by ChromeDriver (WebDriver).
//!
//! The tests need `chromedriver` and `chromium`. Without them they are skipped, or fail if
//! `VIDIMUS_TESTS_STRICT` is set. Screenshots are saved in `target/screenshots`.

mod accessible;
mod deliveries;
mod entries;
mod explore;
mod hostile;
mod live;
mod login;
mod outputs;
mod overview;
mod page;
mod setup;

use page::{Browser, Viewport};
