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

use crate::harness::{Serve, Setup, Signer, jwks};

/// A server with `count` signed entries. Those from `tampered` on are tampered with.
fn filled(count: usize, tampered: usize) -> Serve {
    let signer = Signer::new("k");
    let serve = Setup::new()
        .file("jwks.json", jwks(&[&signer]))
        .arguments("--no-tls --jwks jwks.json")
        .start();
    let line = |n: usize| match n < tampered {
        true => signer.cef(n) + "\n",
        false => signer.cef(n).replace("status=201", "status=403") + "\n",
    };
    serve.deliver((0..count).map(line).collect::<String>());
    serve
}
