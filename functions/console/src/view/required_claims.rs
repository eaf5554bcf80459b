//! The fields of a form that say which programs a federated identity accepts, and the claims that
//! they require.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use shared::api::FieldError;
use shared::domain::Platform;

use crate::view::repository::Repository;

/// The claims that an identity requires, each with an array of the accepted values.
pub(crate) type Claims = BTreeMap<String, Value>;

/// The fields of the forms of all platforms. A form has those of its platform.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClaimFields {
    /// The address of a repository on GitHub or a project on GitLab.
    pub(crate) repository: String,
    pub(crate) repository_id: String,
    pub(crate) repository_owner_id: String,
    pub(crate) workflow: String,
    pub(crate) project_id: String,
    pub(crate) namespace_id: String,
    pub(crate) environment: String,
    /// On GitHub also a full ref.
    #[serde(rename = "ref")]
    pub(crate) branch_or_tag: String,
    /// `branch` or `tag`.
    pub(crate) ref_type: String,
    /// `true` or empty.
    pub(crate) ref_protected: String,
    pub(crate) namespace: String,
    pub(crate) service_account: String,
    pub(crate) role_arn: String,
    /// One claim per line.
    pub(crate) claims: String,
}

/// The commands that print the IDs of a repository.
pub(crate) struct Commands {
    /// Whether the commands contain the entered repository.
    pub(crate) is_shown: bool,
    /// An HTML ID and the text of each command.
    pub(crate) texts: Vec<(&'static str, String)>,
}

/// The names of claims. Fields with the same names require them.
const REPOSITORY_ID: &str = "repository_id";
const REPOSITORY_OWNER_ID: &str = "repository_owner_id";
const PROJECT_ID: &str = "project_id";
const NAMESPACE_ID: &str = "namespace_id";
const ENVIRONMENT: &str = "environment";
const REF: &str = "ref";
const REF_TYPE: &str = "ref_type";
const REF_PROTECTED: &str = "ref_protected";
const JOB_WORKFLOW_REF: &str = "job_workflow_ref";
const SUB: &str = "sub";

impl ClaimFields {
    /// The repository or project, if the text is an address of one.
    fn repository(&self, platform: Platform) -> Option<Repository> {
        match platform {
            Platform::GitHubActions => Repository::parse(&self.repository, "github.com", 0),
            Platform::GitLab => Repository::parse(&self.repository, "gitlab.com", 20),
            Platform::Kubernetes | Platform::Aws | Platform::Other => None,
        }
    }

    /// The commands that print the IDs of the repository.
    pub(crate) fn commands(&self, platform: Platform) -> Commands {
        let repository = self.repository(platform);
        let is_shown = repository.is_some();
        let texts = match platform {
            Platform::GitHubActions => {
                let path = repository.map_or_else(|| "OWNER/REPOSITORY".to_owned(), |found| found.path);
                vec![
                    ("gh", format!("gh api repos/{path} --jq '.id, .owner.id'")),
                    ("curl", format!("curl -sS https://api.github.com/repos/{path} | jq '.id, .owner.id'")),
                ]
            }
            Platform::GitLab => {
                let (host, path) = repository.map_or_else(
                    || ("gitlab.com".to_owned(), "GROUP%2FPROJECT".to_owned()),
                    |found| (found.host.clone(), found.encoded()),
                );
                vec![
                    ("glab", format!("glab api --hostname {host} projects/{path} | jq '.id, .namespace.id'")),
                    (
                        "curl",
                        format!("curl -sS https://{host}/api/v4/projects/{path} | jq '.id, .namespace.id'"),
                    ),
                ]
            }
            Platform::Kubernetes | Platform::Aws | Platform::Other => Vec::new(),
        };
        Commands { is_shown, texts }
    }

    /// The error of an address that is not the address of a repository.
    pub(crate) fn repository_error(&self, platform: Platform) -> Option<FieldError> {
        let problem = match platform {
            Platform::GitHubActions => {
                "must be the address of a repository, such as https://github.com/octo-org/octo-repo"
            }
            Platform::GitLab => {
                "must be the address of a project, such as https://gitlab.com/octo-group/octo-project"
            }
            Platform::Kubernetes | Platform::Aws | Platform::Other => return None,
        };
        self.repository(platform).is_none().then(|| error("repository", problem))
    }

    /// The required claims.
    ///
    /// # Errors
    /// The fields that are missing or invalid. The API checks everything else.
    pub(crate) fn claims(&self, platform: Platform) -> Result<Claims, Vec<FieldError>> {
        let mut claims = Vec::new();
        let mut errors = Vec::new();
        match platform {
            Platform::GitHubActions => self.github(&mut claims, &mut errors),
            Platform::GitLab => self.gitlab(&mut claims, &mut errors),
            Platform::Kubernetes => {
                let (namespace, name) = (self.namespace.trim(), self.service_account.trim());
                errors.extend([("namespace", namespace), ("service_account", name)].into_iter().filter_map(
                    |(field, text)| {
                        let problem = "must be lower-case letters, digits, hyphens and dots";
                        let is_name = |byte: u8| {
                            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte)
                        };
                        (text.is_empty() || !text.bytes().all(is_name)).then(|| error(field, problem))
                    },
                ));
                claims.push((SUB, format!("system:serviceaccount:{namespace}:{name}")));
            }
            Platform::Aws => claims.push((SUB, self.role_arn.trim().to_owned())),
            Platform::Other => return lines(&self.claims),
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(claims.into_iter().map(|(name, value)| (name.to_owned(), vec![value].into())).collect())
    }

    fn github(&self, claims: &mut Vec<(&'static str, String)>, errors: &mut Vec<FieldError>) {
        for (name, value) in
            [(REPOSITORY_ID, &self.repository_id), (REPOSITORY_OWNER_ID, &self.repository_owner_id)]
        {
            id(name, value, claims, errors);
        }
        add(ENVIRONMENT, self.environment.trim(), claims);
        let branch_or_tag = self.branch_or_tag.trim();
        if branch_or_tag.is_empty() || branch_or_tag.starts_with("refs/") {
            add(REF, branch_or_tag, claims);
        } else {
            claims.push((REF, format!("refs/heads/{branch_or_tag}")));
        }
        let workflow = self.workflow.trim();
        if !workflow.is_empty() && !workflow.contains("@refs/") {
            errors.push(error("workflow", "must end with a ref, such as @refs/heads/main"));
        } else if workflow.starts_with(".github/") {
            match self.repository(Platform::GitHubActions) {
                Some(repository) => {
                    claims.push((JOB_WORKFLOW_REF, format!("{}/{workflow}", repository.path)));
                }
                None => errors.extend(self.repository_error(Platform::GitHubActions)),
            }
        } else {
            add(JOB_WORKFLOW_REF, workflow, claims);
        }
    }

    fn gitlab(&self, claims: &mut Vec<(&'static str, String)>, errors: &mut Vec<FieldError>) {
        for (name, value) in [(PROJECT_ID, &self.project_id), (NAMESPACE_ID, &self.namespace_id)] {
            id(name, value, claims, errors);
        }
        add(ENVIRONMENT, self.environment.trim(), claims);
        let branch_or_tag = self.branch_or_tag.trim();
        if !branch_or_tag.is_empty() {
            add(REF, branch_or_tag, claims);
            add(REF_TYPE, &self.ref_type, claims);
        }
        add(REF_PROTECTED, &self.ref_protected, claims);
    }
}

/// The field of the form for an error of the API about the claim `name`.
pub(crate) fn field_of(platform: Platform, name: &str) -> &'static str {
    let fields: &[(&str, &'static str)] = match platform {
        Platform::GitHubActions => &[
            (REPOSITORY_ID, REPOSITORY_ID),
            (REPOSITORY_OWNER_ID, REPOSITORY_OWNER_ID),
            (ENVIRONMENT, ENVIRONMENT),
            (REF, REF),
            (JOB_WORKFLOW_REF, "workflow"),
        ],
        Platform::GitLab => &[
            (PROJECT_ID, PROJECT_ID),
            (NAMESPACE_ID, NAMESPACE_ID),
            (ENVIRONMENT, ENVIRONMENT),
            (REF, REF),
            (REF_TYPE, REF),
            (REF_PROTECTED, REF),
        ],
        Platform::Kubernetes => &[(SUB, "service_account")],
        Platform::Aws => &[(SUB, "role_arn")],
        Platform::Other => &[],
    };
    fields.iter().find(|(claim, _)| *claim == name).map_or("claims", |(_, field)| field)
}

fn add(name: &'static str, value: &str, claims: &mut Vec<(&'static str, String)>) {
    if !value.is_empty() {
        claims.push((name, value.to_owned()));
    }
}

/// Adds the claim of a field with a numeric ID, which GitHub and GitLab write as text.
fn id(
    name: &'static str,
    value: &str,
    claims: &mut Vec<(&'static str, String)>,
    errors: &mut Vec<FieldError>,
) {
    let value = value.trim();
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        errors.push(error(name, "must be a number. Run one of the commands to find it"));
    } else {
        claims.push((name, value.to_owned()));
    }
}

/// Parses claims, one on each line.
fn lines(text: &str) -> Result<Claims, Vec<FieldError>> {
    let mut claims = BTreeMap::<String, Vec<Value>>::new();
    let mut errors = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        // The messages do not quote the line, which could contain a credential.
        let Some((name, value)) = line.split_once('=') else {
            errors.push(error(
                "claims",
                &format!("line {number} must be a claim and its value, such as sub=importer"),
            ));
            continue;
        };
        claims.entry(name.trim().to_owned()).or_default().push(value_of(value.trim()));
    }
    if errors.is_empty() {
        Ok(claims.into_iter().map(|(name, values)| (name, values.into())).collect())
    } else {
        Err(errors)
    }
}

/// The value of a claim: a boolean, a whole number or a quoted text as in JSON, and otherwise text.
fn value_of(text: &str) -> Value {
    let parsed = serde_json::from_str(text).ok();
    let parsed = parsed.filter(|value: &Value| value.is_boolean() || value.is_i64() || value.is_string());
    parsed.unwrap_or_else(|| text.into())
}

fn error(field: &str, problem: &str) -> FieldError {
    FieldError { pointer: format!("/{field}"), detail: problem.to_owned() }
}
