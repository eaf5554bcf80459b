//! Examples of how to use a new key or a federated identity. No example contains a credential:
//! each one reads an environment variable, asks for the key or gets the credential from the
//! platform, so that no credential is in a file or in a shell's history.

use serde_json::Value;
use shared::domain::{AccountId, ApiName, IdentityId, Platform};

/// The address in the files of the examples, which stands for the API's address.
const PLACEHOLDER: &str = "https://api.example.com";

/// Other texts in the files of the examples of federated identities. A quoted text stands for a
/// string of the file's language, and the others for texts that need no quotes.
const IDENTITY: &str = "ACCOUNT_ID/IDENTITY_ID";
const AUDIENCE: &str = "\"AUDIENCE\"";
const ENVIRONMENT: &str = "\"ENVIRONMENT\"";
const NAMESPACE: &str = "\"NAMESPACE\"";
const SERVICE_ACCOUNT: &str = "\"SERVICE_ACCOUNT\"";

/// The URL of an MCP server and the name of its API in the files of the examples.
const MCP_SERVER: &str = "https://mcp.example.com/mcp/my-api";
const MCP_API: &str = "my-api";

/// Reads the key into an environment variable.
pub(crate) const VARIABLE: &str = include_str!("../../assets/snippets/variable.sh");

/// The examples for one tool or language.
pub(crate) struct Tab {
    /// An HTML ID.
    pub(crate) id: &'static str,
    pub(crate) label: &'static str,
    pub(crate) steps: Vec<Step>,
    pub(crate) note: &'static str,
}

/// A text to paste.
pub(crate) struct Step {
    /// An HTML ID.
    pub(crate) id: String,
    /// The name of the text, for its button.
    pub(crate) name: String,
    /// Where to paste the text.
    pub(crate) place: &'static str,
    pub(crate) text: String,
}

/// The text of a file in `assets/snippets/`.
macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../assets/snippets/", $name))
    };
}

/// The address to replace in requests.
const OTHER_PATH: &str = "Every key can call whoami. After that, call an address of your own API.";

/// The examples, for the API with the address `api`.
pub(crate) fn tabs(api: &str) -> Vec<Tab> {
    let tab = |id, label, steps: &[(&'static str, &str)], note| -> Tab {
        let steps = (1..).zip(steps).map(|(number, (place, text))| Step {
            id: format!("{id}-{number}"),
            name: format!("text {number} for {label}"),
            place,
            text: text.trim_end().replace(PLACEHOLDER, api.trim_end_matches('/')),
        });
        Tab { id, label, steps: steps.collect(), note }
    };
    vec![
        tab("curl", "curl", &[("Run this in bash or zsh:", file!("curl.sh"))], OTHER_PATH),
        tab(
            "python",
            "Python",
            &[("Save this as whoami.py, and run python3 whoami.py:", file!("whoami.py"))],
            OTHER_PATH,
        ),
        tab(
            "node",
            "Node.js",
            &[(
                "Save this as whoami.mjs, and run node whoami.mjs (Node.js 18 or later):",
                file!("whoami.mjs"),
            )],
            OTHER_PATH,
        ),
        tab("go", "Go", &[("Save this as main.go, and run go run main.go:", file!("main.go"))], OTHER_PATH),
        tab(
            "rust",
            "Rust",
            &[
                ("Create a project:", file!("cargo.sh")),
                ("Save this as src/main.rs, and run cargo run:", file!("main.rs")),
            ],
            OTHER_PATH,
        ),
        tab(
            "github",
            "GitHub Actions",
            &[
                (
                    "Run this in your repository, and paste the key when the command asks for it:",
                    file!("github-secret.sh"),
                ),
                ("Save this as .github/workflows/whoami.yaml:", file!("workflow.yaml")),
            ],
            OTHER_PATH,
        ),
        tab(
            "aws",
            "AWS Secrets Manager",
            &[
                ("Store the key. The command reads it from standard input:", file!("create-secret.sh")),
                ("Read the key where a program starts:", file!("get-secret.sh")),
            ],
            "After a rotation, use put-secret-value --secret-id instead of create-secret --name.",
        ),
    ]
}

/// The configuration of MCP clients for the API `name`, whose MCP server has the URL `url`.
pub(crate) fn agent_tabs(name: &ApiName, url: &str) -> Vec<Tab> {
    let tab = |id, label, place, text: &str, note| Tab {
        id,
        label,
        steps: vec![Step {
            id: format!("{id}-1"),
            name: format!("the text for {label}"),
            place,
            text: text.trim_end().replace(MCP_SERVER, url).replace(MCP_API, name.as_str()),
        }],
        note,
    };
    vec![
        tab(
            "claude-code",
            "Claude Code",
            "Save this as .mcp.json in your project:",
            file!("claude-code.json"),
            "Claude Code reads the variable when it starts. If it reports that the server needs authentication, the \
             variable is not set or the key is wrong.",
        ),
        tab(
            "cursor",
            "Cursor",
            "Save this as .cursor/mcp.json in your project:",
            file!("cursor.json"),
            "Start Cursor from a terminal in which the variable is set.",
        ),
        tab(
            "vs-code",
            "VS Code",
            "Save this as .vscode/mcp.json in your project:",
            file!("vs-code.json"),
            "VS Code does not read environment variables in headers. It asks for the key once and stores the key \
             encrypted. If it offers to sign in, the key is wrong.",
        ),
        tab(
            "codex",
            "Codex",
            "Add this to ~/.codex/config.toml:",
            file!("codex.toml"),
            "Codex reads the variable when it starts.",
        ),
        tab(
            "inspector",
            "MCP Inspector",
            "Run this to list the tools (Node.js 22 or later):",
            file!("inspector.sh"),
            "To call a tool, use --method tools/call, --tool-name NAME and --tool-args-json '{…}'.",
        ),
    ]
}

/// The values of a federated identity that its examples contain.
pub(crate) struct Workload<'a> {
    pub(crate) account: AccountId,
    pub(crate) identity: IdentityId,
    pub(crate) audience: &'a str,
    /// The required environment of a GitHub or GitLab job.
    pub(crate) environment: Option<&'a str>,
    /// The namespace and the name of a Kubernetes service account.
    pub(crate) service_account: Option<(&'a str, &'a str)>,
    /// Whether a GitHub job must be defined in a certain workflow file.
    pub(crate) has_workflow: bool,
}

/// How a program on `platform` exchanges its JWT for a token, and uses the token at the API with
/// the address `api`.
pub(crate) fn token_steps(
    api: &str,
    platform: Platform,
    workload: &Workload<'_>,
) -> (Vec<Step>, &'static str) {
    let files: &[(&'static str, &str, Language)] = match platform {
        Platform::GitHubActions if workload.has_workflow => &[(
            "Add the permissions and steps of this example to the workflow that the identity accepts:",
            file!("github-token.yaml"),
            Language::GitHub,
        )],
        Platform::GitHubActions => &[(
            "Save this as .github/workflows/whoami.yaml, or add the permissions and steps to a workflow:",
            file!("github-token.yaml"),
            Language::GitHub,
        )],
        Platform::GitLab => {
            &[("Add this job to .gitlab-ci.yml:", file!("gitlab-token.yaml"), Language::GitLab)]
        }
        Platform::Kubernetes => &[(
            "Save this as whoami.yaml, and run kubectl apply -f whoami.yaml:",
            file!("kubernetes-token.yaml"),
            Language::Json,
        )],
        Platform::Aws => &[
            ("With the AWS CLI, curl and jq:", file!("aws-token.sh"), Language::Shell),
            ("Or save this as whoami.py, and run python3 whoami.py:", file!("aws-token.py"), Language::Json),
        ],
        Platform::Other => &[
            ("Read the program's JWT into a shell variable:", file!("jwt-variable.sh"), Language::Shell),
            ("Exchange the JWT, and call the API (with curl and jq):", file!("token.sh"), Language::Shell),
        ],
    };
    let steps = (1..).zip(files).map(|(number, (place, file, language))| Step {
        id: format!("use-{number}"),
        name: format!("example {number}"),
        place,
        text: language.fill_in(file, api, workload),
    });
    (steps.collect(), note(platform))
}

/// What to know about the examples for `platform`.
fn note(platform: Platform) -> &'static str {
    match platform {
        Platform::GitHubActions => {
            "The token works for 15 minutes. If a job takes longer, run the first step again: GitHub issues a new JWT \
             each time."
        }
        Platform::GitLab => {
            "The token works for 15 minutes. If a job takes longer, exchange the same JWT again. Never print the token: \
             GitLab does not hide it in the job's log."
        }
        Platform::Kubernetes => {
            "The token works for 15 minutes. A program that runs longer reads the file and exchanges the JWT again, \
             because the kubelet renews the file."
        }
        Platform::Aws => {
            "The role needs permission for sts:GetWebIdentityToken, and the AWS account needs outbound identity \
             federation: aws iam enable-outbound-web-identity-federation"
        }
        Platform::Other => {
            "The token works for 15 minutes. A program that runs longer exchanges a JWT again."
        }
    }
}

/// How strings are written in a file.
#[derive(Clone, Copy)]
enum Language {
    /// JSON, and Python and YAML, whose strings can be written as in JSON.
    Json,
    /// YAML in which `${{` starts an expression.
    GitHub,
    /// YAML in which `$` starts a variable.
    GitLab,
    /// A POSIX shell.
    Shell,
}

impl Language {
    fn string(self, text: &str) -> String {
        let json = |text: String| Value::String(text).to_string();
        match self {
            Self::Json => json(text.to_owned()),
            Self::GitHub => json(text.replace("${{", "${{ '${{' }}")),
            Self::GitLab => json(text.replace('$', "$$")),
            Self::Shell => format!("'{}'", text.replace('\'', "'\\''")),
        }
    }

    /// The text of `file` with the values of the identity.
    fn fill_in(self, file: &str, api: &str, workload: &Workload<'_>) -> String {
        let Workload { account, identity, audience, environment, service_account, has_workflow: _ } =
            workload;
        let (namespace, name) = service_account.unwrap_or(("default", "default"));
        let values = [
            (PLACEHOLDER, Some(api.trim_end_matches('/').to_owned())),
            (IDENTITY, Some(format!("{account}/{identity}"))),
            (AUDIENCE, Some(self.string(audience))),
            (ENVIRONMENT, environment.map(|text| self.string(text))),
            (NAMESPACE, Some(self.string(namespace))),
            (SERVICE_ACCOUNT, Some(self.string(name))),
        ];
        let lines = file.trim_end().lines().filter_map(|line| {
            // A line has at most one value of the identity. So no value is searched for placeholders.
            match values.iter().find(|(placeholder, _)| line.contains(placeholder)) {
                Some((placeholder, Some(value))) => Some(line.replace(placeholder, value)),
                Some((_, None)) => None,
                None => Some(line.to_owned()),
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}
