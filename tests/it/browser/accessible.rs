//! Every page passes the rules of axe-core, in light and dark mode.

use serde_json::json;

use super::page::axe;
use super::{Browser, Viewport};
use crate::harness::{Setup, Signer, jwks};

#[test]
fn every_page_passes_an_accessibility_check() {
    let Some(axe) = axe() else { return };
    let signer = Signer::new("k");
    let serve = Setup::new()
        .file("jwks.json", jwks(&[&signer]))
        .file("folder", "no folder")
        .config(
            "[[output]]\nname = 'siem'\ntype = 'file'\npath = 'folder/siem.log'\n\
                 [console]\nactions = true\nkeep_requests = \"1MiB\"\n",
        )
        .arguments("--no-tls --jwks jwks.json")
        .start();
    let bad = signer.cef(2).replace("status=201", "status=500");
    serve.deliver(format!("{}\n{bad}\nhello", signer.cef(1)));
    serve.post("/nowhere", &[], b"");
    let pages = [
        "/",
        "/?q=verdict:invalid",
        "/?q=status:abc",
        "/?q=nothing.at.all",
        "/?open=1&by=kind&more=status",
        "/?view=raw",
        "/?columns=status,cs1&view=compact",
        "/?q=statu:500",
        "/entries/1",
        "/entries/1?q=kind:access",
        "/deliveries/1",
        "/deliveries?state=refused",
        "/entries/2",
        "/entries/3",
        "/entries/99",
        "/overview",
        "/deliveries",
        "/outputs",
        "/outputs/siem/reset",
        "/setup",
        "/setup?since=0",
        "/keys",
        "/verify",
        "/login",
    ];
    let run = "const done = arguments[arguments.length - 1];\
               axe.run(document, {resultTypes: ['violations']}).then(\
                 found => done(found.violations.map(v => [v.id, v.help, v.nodes.map(n => n.html)])),\
                 error => done(['failed', String(error)]))";
    for viewport in [Viewport::Desktop, Viewport::Dark, Viewport::Phone] {
        let Some(browser) = Browser::open(&serve.console, viewport) else { return };
        for path in pages {
            browser.go(path);
            browser.run(&axe, vec![]);
            let found = browser.run_async(run, vec![]);
            assert_eq!(found, json!([]), "{path} {viewport:?}: {found:#}");
        }
    }
}
