//! The simulator and the client with programs of others: kongctl, Terraform with the provider
//! kong/konnect, and two programs that check an API against its OpenAPI documents, schemathesis and
//! prism.
//!
//! A program is looked for in `target/counterparts/`, then in the path. The documents are those of
//! Kong, in the folder that `VIDIMUS_OPENAPI` names. A test that lacks something prints so and
//! passes. `VIDIMUS_COUNTERPARTS` lists what must not be missing, such as `kongctl,terraform`, or is
//! `all`. `.ci/counterparts` runs these tests.

mod kongctl;
mod network;
mod prism;
mod schemathesis;
mod terraform;

use std::env;
use std::path::{Path, PathBuf};

/// Finds a program. If it is missing, prints so and returns `None`, or panics if it is required.
fn counterpart(name: &str) -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/counterparts");
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(own).chain(env::split_paths(&path));
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.or_else(|| missing(name, "is not in target/counterparts or the path"))
}

/// Finds a document of Kong, such as `audit-logs-v3.yaml`.
fn document(name: &str) -> Option<PathBuf> {
    match env::var_os("VIDIMUS_OPENAPI") {
        Some(folder) => Some(PathBuf::from(folder).join(name)),
        None => missing("documents", "are in no folder that VIDIMUS_OPENAPI names"),
    }
}

/// Prints that something is missing, or panics if it is required.
fn missing<T>(name: &str, how: &str) -> Option<T> {
    let required = env::var("VIDIMUS_COUNTERPARTS").unwrap_or_default();
    let is_required = required.split(',').any(|one| one == name || one == "all");
    assert!(!is_required, "{name}: {how}, and VIDIMUS_COUNTERPARTS requires it");
    eprintln!("SKIPPED: {name}: {how}");
    None
}
