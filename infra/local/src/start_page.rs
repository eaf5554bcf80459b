//! What the start-up says, on the terminal and on a page of its own.

use axum::Router;
use axum::http::header;
use axum::routing::get;

/// Where everything is.
pub(crate) struct Places<'a> {
    pub(crate) api: &'a str,
    pub(crate) console: &'a str,
    pub(crate) issuer: &'a str,
    pub(crate) local_json: &'a str,
    pub(crate) kept: &'a str,
    pub(crate) backend: &'a str,
}

/// The first lines: where everything is. They hold no secret.
pub(crate) fn places(places: &Places<'_>) -> String {
    let Places { api, console, issuer, local_json, kept, backend } = places;
    format!(
        "Keyward is running. {kept}

  API         {api}   (/iam/v1/… manages accounts and keys)
  Protected   {api}   (every other path: {backend})
  Start page  {console}
  Issuer      {issuer}
  For scripts {local_json}
"
    )
}

/// How to sign in, and the first commands.
pub(crate) fn first_steps(
    places: &Places<'_>,
    email: &str,
    password: &str,
    iam: &str,
    api_token: &str,
) -> String {
    let Places { api, issuer, .. } = places;
    format!(
        "
Sign in as {email} with the password {password}: these tokens count for an hour.

  export ADMIN_TOKEN={iam}
  export ADMIN_API_TOKEN={api_token}

A new one: curl -s {issuer}/token -d grant_type=password -d client_id={iam_client} \\
             -d username={email} -d password={password}

Try it:

  curl -s {api}/iam/v1/service-accounts -H \"Authorization: Bearer $ADMIN_TOKEN\" \\
    -H 'Content-Type: application/json' -d '{{\"name\":\"batch\",\"role\":\"ServiceAccountReader\"}}'
  curl -s {api}/iam/v1/service-accounts/ID/keys -H \"Authorization: Bearer $ADMIN_TOKEN\" \\
    -H 'Content-Type: application/json' -d '{{\"name\":\"first\"}}'
  curl -s {api}/organizations/42 -H \"Authorization: Bearer SECRET\"

Ctrl-C stops it.
",
        iam_client = crate::issuer::IAM_CLIENT,
    )
}

/// The page.
pub(crate) fn router(text: String) -> Router {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    Router::new().route("/", get(move || async move { (headers, text) }))
}
