//! `konnect-setup.json` in the data directory: what `setup` created, so that `teardown` can undo
//! it. It contains no secret.
//!
//! The file is written before the webhook is changed, and each step of `teardown` asks the API for
//! the current state. So an interrupted command can be repeated.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::exit::Failure;
use crate::konnect::api::Webhook;
use crate::konnect::api::WebhookScope;
use crate::konnect::client::Client;
use crate::private_file;

/// What a `setup` created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SetupRecord {
    /// The API host of the webhook.
    pub(super) api: String,
    /// The Dev Portal of the webhook, unless it is the organization's.
    pub(super) portal_id: Option<String>,
    /// Empty while the destination is being created.
    pub(super) destination_id: String,
    pub(super) destination_name: String,
    /// Together with the name it finds a destination whose id is not known.
    #[serde(default)]
    pub(super) endpoint: String,
    /// The webhook before the set-up.
    pub(super) previous: Webhook,
    /// Whether `konnect listen` made it, so that the next one undoes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) temporary: bool,
}

impl SetupRecord {
    /// Whether it belongs to this webhook.
    pub(super) fn is_of(&self, client: &Client, scope: &WebhookScope) -> bool {
        self.api == client.hosts().regional() && self.portal_id.as_deref() == scope.portal()
    }
}

/// The contents of the file.
#[derive(Debug)]
pub(super) struct SetupRecords {
    path: PathBuf,
    pub(super) all: Vec<SetupRecord>,
}

impl SetupRecords {
    /// Reads the file. A missing file is empty.
    pub(super) fn read(data_dir: &Path) -> Result<SetupRecords, Failure> {
        let path = data_dir.join("konnect-setup.json");
        let all = read(&path)?;
        Ok(SetupRecords { path, all })
    }

    /// The record for this webhook.
    pub(super) fn of(&self, client: &Client, scope: &WebhookScope) -> Option<&SetupRecord> {
        self.all.iter().find(|made| made.is_of(client, scope))
    }

    /// Replaces the record for this webhook, and writes the file. What another command wrote meanwhile is
    /// kept.
    pub(super) fn put(
        &mut self,
        client: &Client,
        scope: &WebhookScope,
        made: Option<SetupRecord>,
    ) -> Result<(), Failure> {
        self.all = read(&self.path)?;
        self.all.retain(|one| !one.is_of(client, scope));
        self.all.extend(made);
        let written = if self.all.is_empty() {
            match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        } else {
            let json = serde_json::to_string_pretty(&self.all)?;
            private_file::write(&self.path, &(json + "\n"))
        };
        written.map_err(|error| {
            Failure::failed(format!("cannot write {}: {error}", self.path.display()))
        })
    }
}

fn read(path: &Path) -> Result<Vec<SetupRecord>, Failure> {
    let bad = |why: String| Failure::failed(format!("cannot read {}: {why}", path.display()));
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(bad(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::konnect::client::Hosts;
    use crate::net::{self, ClientOptions};
    use crate::settings::Secret;

    #[test]
    fn a_record_is_kept_for_each_webhook() {
        let folder = tempfile::tempdir().unwrap();
        let net = net::Client::new(ClientOptions::default()).unwrap();
        let hosts = Hosts::at(&"http://127.0.0.1:1".parse().unwrap());
        let client = Client::new(net, hosts, Secret::new("kpat_1").unwrap());
        let made = |portal: Option<&str>, id: &str| SetupRecord {
            api: "http://127.0.0.1:1".into(),
            portal_id: portal.map(str::to_owned),
            destination_id: id.into(),
            destination_name: "vidimus".into(),
            endpoint: "https://192.0.2.1/audit-logs".into(),
            previous: Webhook::default(),
            temporary: false,
        };
        let (whole, portal) = (WebhookScope::Organization, WebhookScope::Portal("p".into()));
        let mut records = SetupRecords::read(folder.path()).unwrap();
        assert_eq!(records.of(&client, &whole), None);
        records.put(&client, &whole, Some(made(None, "1"))).unwrap();
        records.put(&client, &portal, Some(made(Some("p"), "2"))).unwrap();
        records.put(&client, &whole, Some(made(None, "3"))).unwrap();
        let mut read = SetupRecords::read(folder.path()).unwrap();
        assert_eq!(read.of(&client, &whole), Some(&made(None, "3")));
        assert_eq!(read.of(&client, &portal), Some(&made(Some("p"), "2")));
        read.put(&client, &whole, None).unwrap();
        read.put(&client, &portal, None).unwrap();
        assert!(!folder.path().join("konnect-setup.json").exists());

        fs::write(folder.path().join("konnect-setup.json"), "x").unwrap();
        assert!(SetupRecords::read(folder.path()).is_err());
    }
}
