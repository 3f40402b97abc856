//! The console in a real browser: headless Chromium, driven by ChromeDriver (WebDriver).
//!
//! The tests need `chromedriver` and `chromium`. Where they are missing they say that they were
//! skipped, unless `VIDIMUS_TESTS_STRICT` is set. Screenshots are kept in `target/screenshots`.

mod accessible;
mod entries;
mod hostile;
mod live;
mod login;
mod page;

use page::{Browser, Look};
