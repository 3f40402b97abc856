//! The calls of Konnect's API that users make, and the permissions that they need.

use fastrand::Rng;

pub(super) struct Endpoint {
    pub(super) method: &'static str,
    /// `{cp}` stands for the id of a control plane, `{id}` for another id.
    path: &'static str,
    query: &'static str,
    /// The status of a successful call.
    pub(super) status: u16,
    permissions: &'static [Permission],
}

/// A required permission. The `resource` has the same placeholders.
#[derive(Clone, Copy)]
pub(super) struct Permission {
    pub(super) service: &'static str,
    resource: &'static str,
    pub(super) action: &'static str,
}

/// A call with its ids filled in.
pub(super) struct ResolvedEndpoint {
    pub(super) path: String,
    pub(super) query: &'static str,
    /// Each permission with its resource.
    pub(super) permissions: Vec<(Permission, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::konnect) enum Role {
    /// May do everything.
    Admin,
    /// May change control planes and portals, and read the rest.
    Developer,
    /// May only read.
    Viewer,
}

impl Role {
    pub(super) fn allows(self, permission: Permission) -> bool {
        let looks = is_look(permission.action);
        let builds =
            ["control-planes", "portals"].iter().any(|r| permission.resource.starts_with(r));
        match self {
            Role::Admin => true,
            Role::Developer => looks || builds,
            Role::Viewer => looks,
        }
    }
}

fn is_look(action: &str) -> bool {
    matches!(action, "list" | "retrieve")
}

impl Endpoint {
    /// A random endpoint.
    pub(super) fn any(random: &mut Rng) -> &'static Endpoint {
        &ENDPOINTS[random.usize(..ENDPOINTS.len())]
    }

    /// Whether the role has all required permissions.
    pub(super) fn is_open_to(&self, role: Role) -> bool {
        self.permissions.iter().all(|permission| role.allows(*permission))
    }

    /// Fills in the placeholders.
    pub(super) fn fill(&self, control_plane: &str, id: &str) -> ResolvedEndpoint {
        let fill = |text: &str| text.replace("{cp}", control_plane).replace("{id}", id);
        ResolvedEndpoint {
            path: fill(self.path),
            query: self.query,
            permissions: self.permissions.iter().map(|one| (*one, fill(one.resource))).collect(),
        }
    }
}

/// Whether a call by `method` changes something. Only such calls have an access entry.
pub(super) fn is_change(method: &str) -> bool {
    matches!(method, "POST" | "PUT" | "PATCH" | "DELETE")
}

/// The ends of the paths of lists.
const LISTS: [&str; 3] = ["/audit-log-destinations", "/audit-logs", "/portals"];

/// The resource and the action of a call of the audit-log API.
pub(super) fn of_audit_logs(method: &str, path: &str) -> (String, &'static str) {
    let mut parts = path.trim_start_matches('/').split('/').skip_while(|part| *part != "portals");
    let resource = match (parts.next(), parts.next()) {
        (Some(_), Some(portal)) => format!("portals/{portal}"),
        (Some(portals), None) => portals.to_owned(),
        (None, _) => "audit-logs".to_owned(),
    };
    let action = match method {
        "POST" => "create",
        "PUT" | "PATCH" => "edit",
        "DELETE" => "delete",
        _ if LISTS.iter().any(|list| path.ends_with(list)) => "list",
        _ => "retrieve",
    };
    (resource, action)
}

const fn of(service: &'static str, resource: &'static str, action: &'static str) -> Permission {
    Permission { service, resource, action }
}

const fn call(
    method: &'static str,
    path: &'static str,
    status: u16,
    permissions: &'static [Permission],
) -> Endpoint {
    Endpoint { method, path, query: "", status, permissions }
}

const SEE_CP: Permission = of("konnect", "control-planes/{cp}", "retrieve");
const EDIT_CP: Permission = of("konnect", "control-planes/{cp}", "edit");
const SEE_ORG: Permission = of("identity", "organization", "retrieve");

const ENDPOINTS: [Endpoint; 22] = [
    Endpoint {
        query: "page[size]=100&filter[name][contains]=a\\b",
        ..call("GET", "/v2/control-planes", 200, &[of("konnect", "control-planes/*", "list")])
    },
    call("POST", "/v2/control-planes", 201, &[of("konnect", "control-planes", "create")]),
    call("GET", "/v2/control-planes/{cp}", 200, &[SEE_CP]),
    call("PATCH", "/v2/control-planes/{cp}", 200, &[EDIT_CP]),
    call(
        "DELETE",
        "/v2/control-planes/{cp}",
        204,
        &[of("konnect", "control-planes/{cp}", "delete")],
    ),
    call("GET", "/v2/control-planes/{cp}/core-entities/services", 200, &[SEE_CP]),
    call("POST", "/v2/control-planes/{cp}/core-entities/services", 201, &[SEE_CP, EDIT_CP]),
    call("PUT", "/v2/control-planes/{cp}/core-entities/routes/{id}", 200, &[SEE_CP, EDIT_CP]),
    call("PATCH", "/v2/control-planes/{cp}/core-entities/plugins/{id}", 200, &[SEE_CP, EDIT_CP]),
    call("DELETE", "/v2/control-planes/{cp}/core-entities/routes/{id}", 204, &[SEE_CP, EDIT_CP]),
    Endpoint {
        query: "{\"end\":\"1684270800\",\"start\":\"1684098000\"}",
        ..call(
            "POST",
            "/v2/api-requests",
            200,
            &[SEE_ORG, of("konnect", "control-planes/*", "list")],
        )
    },
    call("GET", "/v3/users", 200, &[of("identity", "users", "list")]),
    call("PATCH", "/v3/users/{id}", 200, &[of("identity", "users/{id}", "edit")]),
    call("GET", "/v3/teams", 200, &[of("identity", "teams", "list")]),
    call("POST", "/v3/teams/{id}/users", 201, &[SEE_ORG, of("kauth", "teams/{id}", "edit")]),
    call("DELETE", "/v3/teams/{id}", 204, &[of("kauth", "teams/{id}", "delete")]),
    call(
        "PATCH",
        "/v2/identity-provider",
        200,
        &[SEE_ORG, of("kauth", "identity-provider", "edit")],
    ),
    call("GET", "/v3/portals", 200, &[of("portal", "portals/*", "list")]),
    call("POST", "/v3/portals", 201, &[of("portal", "portals", "create")]),
    call("PATCH", "/v3/portals/{id}", 200, &[of("portal", "portals/{id}", "edit")]),
    call("GET", "/v3/audit-logs", 200, &[of("konnect", "audit-logs", "list")]),
    call("PUT", "/v3/audit-log-replay-job", 202, &[of("konnect", "audit-logs", "edit")]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_more_than_the_next() {
        let open = |role| ENDPOINTS.iter().filter(|one| one.is_open_to(role)).count();
        let [admin, developer, viewer] = [Role::Admin, Role::Developer, Role::Viewer].map(open);
        assert!(ENDPOINTS.len() == admin && admin > developer && developer > viewer && viewer > 0);
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        for endpoint in &ENDPOINTS {
            let filled = endpoint.fill("a", "b");
            let texts = filled.permissions.iter().map(|(_, resource)| resource);
            assert!(texts.chain([&filled.path]).all(|text| !text.contains('{')));
        }
    }

    fn check(method: &str, path: &str, resource: &str, action: &str) {
        assert_eq!(of_audit_logs(method, path), (resource.to_owned(), action), "{method} {path}");
    }

    #[test]
    fn a_call_of_the_audit_log_api_is_about_audit_logs_or_a_portal() {
        check("GET", "/v2/audit-log-destinations", "audit-logs", "list");
        check("GET", "/v2/audit-log-destinations/1", "audit-logs", "retrieve");
        check("POST", "/v3/audit-log-destinations", "audit-logs", "create");
        check("PATCH", "/v3/audit-log-webhook", "audit-logs", "edit");
        check("DELETE", "/v3/audit-log-webhook", "audit-logs", "delete");
        check("GET", "/v3/audit-logs", "audit-logs", "list");
        check("GET", "/v3/portals", "portals", "list");
        check("GET", "/v3/portals/p1", "portals/p1", "retrieve");
        check("PUT", "/v3/portals/p1/audit-log-replay-job", "portals/p1", "edit");
        check("GET", "/v3/portals/p1/audit-log-webhook/status", "portals/p1", "retrieve");
    }
}
