//! Which operation a request is: by its path and its method.
//!
//! The paths are those of the vendor's OpenAPI documents under `/v2` and `/v3`, and `/simulate`,
//! which Konnect does not have.

use hyper::Method;

use super::log::Scope;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The key set.
    KeySet,
    /// The list of destinations.
    Destinations,
    /// A destination.
    Destination(String),
    /// A webhook.
    Webhook(Scope),
    /// The organization's webhook in version 2.
    WebhookV2,
    /// The status of a webhook.
    Status(Scope),
    /// The replay job of a webhook.
    Replay(Scope),
    /// The organization's entries.
    Entries,
    /// The control surface: the path below `/simulate/`.
    Control(String),
}

impl Resource {
    /// What `path` names.
    pub fn of(path: &str) -> Option<Resource> {
        if let Some(control) = path.strip_prefix("/simulate/") {
            return Some(Resource::Control(control.to_owned()));
        }
        let segments: Vec<_> = path.strip_prefix('/')?.split('/').collect();
        let (version, rest) = segments.split_first()?;
        let is_v2 = match *version {
            "v2" => true,
            "v3" => false,
            _ => return None,
        };
        match rest {
            ["portals", id, rest @ ..] => of_webhook(rest, Scope::Portal((*id).to_owned())),
            ["audit-log-webhook", "jwks.json"] if is_v2 => Some(Resource::KeySet),
            ["audit-log-webhook"] if is_v2 => Some(Resource::WebhookV2),
            ["audit-logs"] if !is_v2 => Some(Resource::Entries),
            ["audit-log-destinations"] => Some(Resource::Destinations),
            ["audit-log-destinations", id] => Some(Resource::Destination((*id).to_owned())),
            rest => of_webhook(rest, Scope::Organization),
        }
    }

    /// The methods that the documents have for it.
    pub fn methods(&self) -> &'static [Method] {
        const GET: Method = Method::GET;
        match self {
            Resource::KeySet | Resource::Status(_) | Resource::Entries => &[GET],
            Resource::Destinations => &[GET, Method::POST],
            Resource::Destination(_) | Resource::Webhook(_) => {
                &[GET, Method::PATCH, Method::DELETE]
            }
            Resource::WebhookV2 => &[GET, Method::PATCH],
            Resource::Replay(_) => &[GET, Method::PUT],
            Resource::Control(_) => &[GET, Method::POST],
        }
    }
}

fn of_webhook(rest: &[&str], scope: Scope) -> Option<Resource> {
    match rest {
        ["audit-log-webhook"] => Some(Resource::Webhook(scope)),
        ["audit-log-webhook", "status"] => Some(Resource::Status(scope)),
        ["audit-log-replay-job"] => Some(Resource::Replay(scope)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Option<Resource>) {
        assert_eq!(Resource::of(path), expected, "{path}");
    }

    #[test]
    fn the_documented_paths() {
        let portal = || Scope::Portal("p".to_owned());
        check("/v2/audit-log-webhook/jwks.json", Some(Resource::KeySet));
        check("/v3/audit-log-webhook/jwks.json", None);
        check("/v2/audit-log-webhook", Some(Resource::WebhookV2));
        check("/v3/audit-log-webhook", Some(Resource::Webhook(Scope::Organization)));
        check("/v3/audit-logs", Some(Resource::Entries));
        check("/v2/audit-logs", None);
        for version in ["v2", "v3"] {
            let path = |rest: &str| format!("/{version}/{rest}");
            check(&path("audit-log-destinations"), Some(Resource::Destinations));
            let one = Some(Resource::Destination("x".to_owned()));
            check(&path("audit-log-destinations/x"), one);
            check(&path("audit-log-webhook/status"), Some(Resource::Status(Scope::Organization)));
            check(&path("audit-log-replay-job"), Some(Resource::Replay(Scope::Organization)));
            check(&path("portals/p/audit-log-webhook"), Some(Resource::Webhook(portal())));
            check(&path("portals/p/audit-log-webhook/status"), Some(Resource::Status(portal())));
            check(&path("portals/p/audit-log-replay-job"), Some(Resource::Replay(portal())));
            check(&path("portals/p"), None);
        }
        check("/simulate/deliver", Some(Resource::Control("deliver".to_owned())));
        for none in ["", "/", "/v1/audit-logs", "/v3/audit-logs/", "/v3/portals/p/audit-logs"] {
            check(none, None);
        }
    }
}
