//! What is known about platforms: the defaults of their issuers and identities, and the claims
//! that a federated identity must require so that it does not match the workloads of others.

use super::identity::claim_of;
use super::{ClaimValue, IssuerUrl, RequiredClaims, SigningAlgorithm, named_enum};

named_enum! {
    /// The platform of a trusted issuer.
    #[derive(Default)]
    pub enum Platform {
        GitHubActions = "githubActions",
        /// GitLab.com. A self-managed GitLab is [`Platform::Other`].
        GitLab = "gitlab",
        /// A Kubernetes cluster with a well-known form of issuer.
        Kubernetes = "kubernetes",
        /// An AWS account with outbound identity federation.
        Aws = "aws",
        #[default]
        Other = "other",
    }
}

impl Platform {
    /// The platform of the issuer at `url`.
    pub fn of(url: &IssuerUrl) -> Self {
        let host = url.host();
        let is_cluster = host.starts_with("oidc.eks.")
            || host == "container.googleapis.com"
            || host.ends_with(".oic.prod-aks.azure.com")
            || host == "kubernetes.default.svc"
            || host.starts_with("kubernetes.default.svc.");
        let is_github = host == "token.actions.githubusercontent.com"
            || (host.starts_with("token.actions.") && host.ends_with(".ghe.com"));
        if is_github {
            Self::GitHubActions
        } else if host == "gitlab.com" {
            Self::GitLab
        } else if host.ends_with(".tokens.sts.global.api.aws") {
            Self::Aws
        } else if is_cluster {
            Self::Kubernetes
        } else {
            Self::Other
        }
    }

    /// The algorithms with which the platform signs.
    pub fn algorithms(self) -> &'static [SigningAlgorithm] {
        match self {
            Self::GitHubActions | Self::GitLab => &[SigningAlgorithm::Rs256],
            Self::Aws => &[SigningAlgorithm::Rs256, SigningAlgorithm::Es384],
            Self::Kubernetes | Self::Other => &SigningAlgorithm::ALL,
        }
    }

    /// Whether each JWT is accepted only once, unless an admin decides otherwise. A GitHub
    /// workflow can request as many JWTs as it needs. Other platforms give a program one JWT,
    /// which the program exchanges repeatedly.
    pub fn single_use(self) -> bool {
        match self {
            Self::GitHubActions => true,
            Self::GitLab | Self::Kubernetes | Self::Aws | Self::Other => false,
        }
    }

    /// The maximum age of a JWT, in seconds, unless an admin decides otherwise: short where a
    /// program requests a JWT when needed, and an hour where the platform renews it.
    pub fn max_age_seconds(self) -> u32 {
        match self {
            Self::GitHubActions | Self::Aws => 600,
            Self::GitLab | Self::Kubernetes | Self::Other => 3600,
        }
    }
}

/// Why a rule is too broad or can never match. The message completes a sentence that starts
/// with the name of the claim or, if `claim` is `None`, with "the claims".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsafeRule {
    /// The name of the claim.
    pub claim: Option<&'static str>,
    pub detail: String,
}

/// Claims that do not tell the workloads of an issuer apart.
const COMMON_CLAIMS: [&str; 17] = [
    "acr",
    "amr",
    "email_verified",
    "environment",
    "event_name",
    "pipeline_source",
    "ref",
    "ref_protected",
    "ref_type",
    "runner_environment",
    "scope",
    "scp",
    "token_type",
    "token_use",
    "typ",
    "ver",
    "version",
];

/// Issuers that sign for many organizations or for many kinds of principals. A rule must require
/// at least one of the claims.
const SHARED_ISSUERS: [(&str, &[&str]); 10] = [
    ("accounts.google.com", &["sub"]),
    ("agent.buildkite.com", &["sub", "pipeline_id", "organization_id"]),
    ("api.pulumi.com", &["sub"]),
    (
        "app.terraform.io",
        &["sub", "terraform_workspace_id", "terraform_project_id", "terraform_organization_id"],
    ),
    ("cloud.google.com", &["sub"]),
    ("cognito-identity.amazonaws.com", &["sub"]),
    ("login.microsoftonline.com", &["sub", "oid", "azp", "appid"]),
    ("oidc.circleci.com", &["sub", "oidc.circleci.com/project-id"]),
    ("oidc.vercel.com", &["sub", "project_id", "owner_id"]),
    ("sts.windows.net", &["sub", "oid", "azp", "appid"]),
];

/// Checks that `claims` match only workloads that the admin means, if the issuer at `url`
/// issues the JWTs.
///
/// # Errors
/// Everything that is wrong.
pub fn check_rule(url: &IssuerUrl, claims: &RequiredClaims) -> Result<(), Vec<UnsafeRule>> {
    let mut problems = Vec::new();
    let rule = Rule { claims, problems: &mut problems };
    match Platform::of(url) {
        Platform::GitHubActions => rule.check_github(),
        Platform::GitLab => rule.check_gitlab(),
        Platform::Kubernetes => rule.check_kubernetes(),
        Platform::Aws => rule.check_aws(),
        Platform::Other => rule.check_other(url),
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

struct Rule<'a> {
    claims: &'a RequiredClaims,
    problems: &'a mut Vec<UnsafeRule>,
}

impl Rule<'_> {
    /// The accepted values of the claim `name`, which can also be required by its pointer.
    fn values(&self, name: &str) -> Option<&[ClaimValue]> {
        self.claims.get(name).or_else(|| self.claims.get(&format!("/{name}")))
    }

    fn has(&self, name: &str) -> bool {
        self.values(name).is_some()
    }

    fn refuse(&mut self, claim: impl Into<Option<&'static str>>, detail: impl Into<String>) {
        self.problems.push(UnsafeRule { claim: claim.into(), detail: detail.into() });
    }

    /// Requires the claim `name`, and that `is_valid` accepts each of its values.
    fn require(&mut self, name: &'static str, missing: &str, (is_valid, expected): (fn(&str) -> bool, &str)) {
        match self.values(name) {
            None => self.refuse(name, missing),
            Some(values) if !values.iter().all(|value| value.text().is_some_and(is_valid)) => {
                self.refuse(name, expected);
            }
            Some(_) => {}
        }
    }

    /// Requires that values have the form that the platform's claims have: texts, without
    /// wildcards.
    fn require_exact_texts(&mut self, platform: &str, names: &[&'static str]) {
        for name in names {
            let values = self.values(name).unwrap_or_default();
            if values.iter().any(|value| value.text().is_none()) {
                self.refuse(*name, format!("must be text in quotes: the claims of {platform} are text"));
            } else if values.iter().any(|value| value.text().is_some_and(|text| text.contains('*'))) {
                self.refuse(*name, "is compared exactly, so `*` is not a wildcard");
            }
        }
    }

    fn check_github(mut self) {
        self.require(
            "repository_id",
            "is required: other repositories use this issuer too. Find the id with `gh api repos/OWNER/NAME \
             --jq .id`",
            (is_number, "must be digits in quotes, such as \"1296269\""),
        );
        self.require(
            "repository_owner_id",
            "is required, so that a repository that is transferred no longer matches. Find the id with `gh api \
             repos/OWNER/NAME --jq .owner.id`",
            (is_number, "must be digits in quotes, such as \"583231\""),
        );
        let scopes = ["environment", "ref", "job_workflow_ref", "workflow_ref"];
        if !scopes.iter().any(|scope| self.has(scope)) {
            self.refuse(
                None,
                "must include at least one of `environment`, `ref`, `job_workflow_ref` and `workflow_ref`. Otherwise every \
                 workflow on every branch of the repository matches",
            );
        }
        self.require_exact_texts("GitHub Actions", &scopes);
    }

    fn check_gitlab(mut self) {
        self.require(
            "project_id",
            "is required: other projects use this issuer too. Find the id on the project's page",
            (is_number, "must be digits in quotes, such as \"278964\""),
        );
        let scopes = ["environment", "ref", "ref_type", "ref_protected", "ci_config_ref_uri"];
        let is_scoped = self.has("environment")
            || self.has("ref")
            || self.has("ref_protected")
            || self.has("ci_config_ref_uri");
        if !is_scoped {
            self.refuse(
                None,
                "must include at least one of `environment`, `ref`, `ref_protected` and `ci_config_ref_uri`. Otherwise every \
                 job on every branch of the project matches",
            );
        }
        if self.has("ref") && !self.has("ref_type") {
            self.refuse("ref_type", "is required with `ref`, because a tag can have the name of a branch");
        }
        if self.has("ref_protected") {
            self.require("ref_protected", "is required", (|text| text == "true", "must be \"true\""));
        }
        self.require_exact_texts("GitLab", &scopes);
    }

    fn check_kubernetes(mut self) {
        self.require(
            "sub",
            "is required: every pod of the cluster uses this issuer",
            (is_kubernetes_subject, "must be `system:serviceaccount:NAMESPACE:NAME`, without wildcards"),
        );
    }

    fn check_aws(mut self) {
        self.require(
            "sub",
            "is required: every role of the AWS account uses this issuer",
            (is_role_arn, "must be the ARN of an IAM role, such as `arn:aws:iam::123456789012:role/Reports`, without wildcards"),
        );
    }

    fn check_other(mut self, url: &IssuerUrl) {
        if let Some((host, identifying)) = SHARED_ISSUERS.iter().find(|(host, _)| *host == url.host()) {
            if !identifying.iter().any(|name| self.identifies(name)) {
                let names: Vec<_> = identifying.iter().map(|name| format!("`{name}`")).collect();
                let names = names.join(" or ");
                self.refuse(
                    None,
                    format!("must include {names}: other workloads use {host} too, and would match"),
                );
            }
            return;
        }
        let mut paths = self.claims.iter().map(|(path, _)| path);
        if !paths.any(|path| !COMMON_CLAIMS.contains(&&*claim_of(path)) && self.identifies(path)) {
            self.refuse(
                None,
                "must include a claim that identifies the workload, such as `sub`. Otherwise other workloads of \
                 this issuer match too",
            );
        }
    }

    /// Whether the claim `name` is required, with texts or numbers. Too many workloads have the
    /// same `true` or `false`.
    fn identifies(&self, name: &str) -> bool {
        let is_distinct = |value: &ClaimValue| match value {
            ClaimValue::Boolean(_) => false,
            ClaimValue::Number(_) | ClaimValue::Text(_) => true,
        };
        self.values(name).is_some_and(|values| values.iter().all(is_distinct))
    }
}

fn is_number(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_kubernetes_subject(text: &str) -> bool {
    let Some((namespace, name)) =
        text.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'))
    else {
        return false;
    };
    // The names of Kubernetes objects (RFC 1123).
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
    };
    is_name(namespace) && is_name(name)
}

fn is_role_arn(text: &str) -> bool {
    let mut parts = text.splitn(6, ':');
    let (arn, partition, service, region, account, resource) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next());
    let is_account = |account: &str| account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    arn == Some("arn")
        && partition.is_some_and(|partition| partition.starts_with("aws"))
        && service == Some("iam")
        && region == Some("")
        && account.is_some_and(is_account)
        && resource
            .and_then(|resource| resource.strip_prefix("role/"))
            .is_some_and(|role| !role.is_empty() && !role.contains(['*', '?', ':']))
}
