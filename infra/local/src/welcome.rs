//! The start-up text on the terminal.

use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::data::{DataFolder, LOCAL_JSON, LOG};
use crate::demo::{self, Demo};
use crate::issuer::{IAM_CLIENT, VISITOR_EMAIL};
use crate::options::Options;
use crate::system::LocalJson;

/// The addresses, how to sign in, and the first steps. `storage` says where data is
/// stored.
pub(crate) fn text(
    data: &DataFolder,
    options: &Options,
    storage: &str,
    facts: &LocalJson,
    (demo, own_api): (Option<&Demo>, Option<&str>),
) -> String {
    let [local_json, log] = [LOCAL_JSON, LOG].map(|name| data.path.join(name).display().to_string());
    let other = if demo.is_some() { "the API of the demo" } else { "an echo" };
    let backend = options.upstream.as_deref().unwrap_or(other);
    let LocalJson { api, console, issuer, mcp, admin_email, admin_password, .. } = facts;
    // Two tokens of 700 characters would scroll the text above them off the screen.
    let read = |member: &str| {
        let file = local_json.replace('\'', r"'\''");
        format!(r#"$(sed -n 's/.*"{member}": "\(.*\)".*/\1/p' '{file}')"#)
    };
    let (admin_token, admin_api_token) = (read("adminToken"), read("adminApiToken"));
    let password = read("adminPassword");
    let in_the_console = match demo {
        Some(demo) => demo_steps(demo, facts),
        None => {
            "Create a service account in the console, issue a key, and use it as the page shows.".to_owned()
        }
    };
    let in_a_shell = if demo.is_some() { String::new() } else { first_steps(options, facts) };
    let registered = own_api.or(demo.map(|_| demo::API));
    let for_agents = registered.map(|name| agents(name, demo.is_some(), facts)).unwrap_or_default();
    format!(
        "Keyward is running. {storage}

  Console     {console}
  Sign in as  {admin_email}
  Password    {admin_password}

{in_the_console}

{for_agents}  API         {api}   (/iam/v1/… manages accounts and keys)
  Protected   {api}   (every other path: {backend})
  Issuer      {issuer}   ({VISITOR_EMAIL} has the same password and is not an admin)
  Agents      {mcp}/NAME   (the MCP server of each registered API)
  For scripts {local_json}
  Log         {log}

Or use a shell. ADMIN_TOKEN is for paths under /iam, and ADMIN_API_TOKEN for all other paths. Both
expire after one hour:

  export ADMIN_TOKEN={admin_token}
  export ADMIN_API_TOKEN={admin_api_token}

Get a new token for /iam:

  curl -s {issuer}/token -d grant_type=password -d client_id={IAM_CLIENT} \\
    -d username={admin_email} -d password={password}

{in_a_shell}Press Ctrl-C to stop.
"
    )
}

/// The first requests in a shell, with an empty table.
fn first_steps(options: &Options, facts: &LocalJson) -> String {
    let (api, data_prefix) = (&facts.api, options.data_prefixes.first());
    format!(
        "Try it. Replace ID with the account's id, and SECRET with the key's secret, from the responses:

  curl -s {api}/iam/v1/service-accounts -H \"Authorization: Bearer $ADMIN_TOKEN\" \\
    -H 'Content-Type: application/json' -d '{{\"name\":\"batch\",\"role\":\"ServiceAccountReader\"}}'
  curl -s {api}/iam/v1/service-accounts/ID/keys -H \"Authorization: Bearer $ADMIN_TOKEN\" \\
    -H 'Content-Type: application/json' -d '{{\"name\":\"first\"}}'
  curl -s {api}{data_prefix}/42 -H \"Authorization: Bearer SECRET\"

"
    )
}

/// The configuration of MCP clients for the API `name`. It contains no key, so that it can be
/// committed.
fn agents(name: &str, is_demo: bool, facts: &LocalJson) -> String {
    let url = format!("{}/{name}", facts.mcp);
    let (set_key, to_key, roles, refused) = if is_demo {
        let refused = "This agent can read one team. Ask the client for team 7 and then for team 8: the second call is refused.\n\n";
        ("", ".", "", refused)
    } else {
        let roles = "The Reader and Writer roles permit only the paths in --data-prefixes. ";
        ("  export KEYWARD_KEY=SECRET\n\n", " to a key's secret:", roles, "")
    };
    let server = json!({
        "type": "http", "url": url, "headers": { "Authorization": "Bearer ${KEYWARD_KEY}" },
    });
    let configuration = json!({ "mcpServers": { name: server } });
    format!(
        "An AI agent can use this API through MCP. It gets a tool for each operation that the role of its key
permits. {roles}Start the agent in a shell in which KEYWARD_KEY is set{to_key}

{set_key}For Claude Code, save this as .mcp.json:

  {configuration}

Or add the API with one command, or list the tools:

  claude mcp add --transport http {name} {url} --header 'Authorization: Bearer ${{KEYWARD_KEY}}'
  codex mcp add {name} --url {url} --bearer-token-env-var KEYWARD_KEY
  npx @modelcontextprotocol/inspector --cli {url} --transport http --method tools/list \\
    --stored-auth-only --header \"Authorization: Bearer $KEYWARD_KEY\"

{refused}"
    )
}

/// The first steps with the demo data. Shows one key, so that a new user can make requests
/// and see them in the console at once. Its secret is only in this text.
fn demo_steps(demo: &Demo, facts: &LocalJson) -> String {
    let LocalJson { api, console, .. } = facts;
    let Demo { account, key } = demo;
    let (first, key) = (demo::FIRST_ACCOUNT, key.expose_secret());
    let (readable, not_writable) = (demo::READABLE, demo::NOT_WRITABLE);
    format!(
        "This is demo data: a made-up company that has used Keyward for 15 weeks. Look first at the account
{first}, an AI agent whose requests are sometimes refused:

  {console}/accounts/{account}

Then use one of its keys, which is shown only here. The first request is allowed, and the second is
refused. The account's page counts both:

  export KEYWARD_KEY={key}
  curl -s {api}{readable} -H \"Authorization: Bearer $KEYWARD_KEY\"
  curl -s -X POST {api}{not_writable} -H \"Authorization: Bearer $KEYWARD_KEY\""
    )
}
