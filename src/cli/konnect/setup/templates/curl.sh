# This needs the access token in KONNECT_TOKEN. jq puts the authorization value into the request.
destination=$(jq -n
{%- if let AuthorizationSource::File(path) = setup.authorization %} --rawfile authorization {{ self::shell(path) }}{% endif %} \
    {{ self::shell(setup.destination_body()) }} \
  | curl --fail-with-body -sS {{ self::shell(setup.destinations_url()) }} \
      -H "Authorization: Bearer $KONNECT_TOKEN" -H 'Content-Type: application/json' -d @- \
  | jq -er .id)
jq -n --arg id "$destination" '{audit_log_destination_id: $id, enabled: true}' \
  | curl --fail-with-body -sS -X PATCH {{ self::shell(setup.webhook_url()) }} \
      -H "Authorization: Bearer $KONNECT_TOKEN" -H 'Content-Type: application/json' -d @-
