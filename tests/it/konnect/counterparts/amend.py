"""What does not hold of Kong's documents. docs/simulate.md has the reasons.

schemathesis loads this file and changes each document before it generates requests.
"""

import schemathesis


def members(content):
    """The properties of a JSON body, each with whether it is required."""
    for media in content.get("content", {}).values():
        schema = media["schema"]
        for member, properties in schema.get("properties", {}).items():
            yield member, properties, member in schema.get("required", [])


@schemathesis.hook
def before_load_schema(context, document):
    responses = document["components"]["responses"]

    # The key set needs no token.
    for path, methods in document["paths"].items():
        if path.endswith("/jwks.json"):
            methods["get"]["security"] = []

    for name, response in responses.items():
        for member, schema, _ in members(response):
            # In version 3, a webhook without a destination has an empty id.
            if name == "AuditLogsWebhook" and member == "audit_log_destination_id":
                del schema["format"]
            # A webhook that was never set has this status.
            if member == "webhook_status":
                schema["enum"].append("unconfigured")

    # No text but a cursor is a cursor, such as the example.
    for parameter in document["components"]["parameters"].values():
        if parameter["name"] in ("page[after]", "page[before]"):
            parameter["schema"]["enum"] = [parameter["schema"]["example"]]

    for request in document["components"]["requestBodies"].values():
        for member, schema, required in members(request):
            # A body with required members is required, and a member that is null is missing.
            if required:
                request["required"] = True
            else:
                schema["nullable"] = True
            # These must not be blank, and must be what a header or a URL can be.
            if member in ("name", "authorization"):
                schema["pattern"] = "^[A-Za-z0-9]{1,40}$"
            if member == "endpoint":
                schema["pattern"] = "^https://[a-z]{1,20}/[a-z]{0,20}$"
