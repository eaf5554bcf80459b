//! What the start-up says on the terminal.

use crate::issuer::{IAM_CLIENT, VISITOR_EMAIL};
use crate::system::LocalJson;

/// What is not among the facts for scripts.
pub(crate) struct Places<'a> {
    pub(crate) local_json: &'a str,
    pub(crate) kept: &'a str,
    pub(crate) backend: &'a str,
}

/// Where everything is, how to sign in, and the first commands.
pub(crate) fn text(places: &Places<'_>, facts: &LocalJson) -> String {
    let Places { local_json, kept, backend } = places;
    let LocalJson { api, console, issuer, admin_email, admin_password, .. } = facts;
    // Two tokens of 700 characters would push the way in off the screen.
    let of_file = |member: &str| {
        let file = local_json.replace('\'', r"'\''");
        format!(r#"$(sed -n 's/.*"{member}": "\(.*\)".*/\1/p' '{file}')"#)
    };
    let (admin_token, admin_api_token) = (of_file("adminToken"), of_file("adminApiToken"));
    format!(
        "Keyward is running. {kept}

  Console     {console}
  Sign in as  {admin_email}
  Password    {admin_password}

Create a service account there, issue a key, and try it as the page says.

  API         {api}   (/iam/v1/… manages accounts and keys)
  Protected   {api}   (every other path: {backend})
  Issuer      {issuer}   ({VISITOR_EMAIL} has the same password, and is no admin)
  For scripts {local_json}

Or from a shell. These tokens count for an hour:

  export ADMIN_TOKEN={admin_token}
  export ADMIN_API_TOKEN={admin_api_token}

A new one: curl -s {issuer}/token -d grant_type=password -d client_id={IAM_CLIENT} \\
             -d username={admin_email} -d password={admin_password}

Try it:

  curl -s {api}/iam/v1/service-accounts -H \"Authorization: Bearer $ADMIN_TOKEN\" \\
    -H 'Content-Type: application/json' -d '{{\"name\":\"batch\",\"role\":\"ServiceAccountReader\"}}'
  curl -s {api}/iam/v1/service-accounts/ID/keys -H \"Authorization: Bearer $ADMIN_TOKEN\" \\
    -H 'Content-Type: application/json' -d '{{\"name\":\"first\"}}'
  curl -s {api}/organizations/42 -H \"Authorization: Bearer SECRET\"

Ctrl-C stops it.
"
    )
}
