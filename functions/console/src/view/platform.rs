//! Texts about the platforms for which the console has forms and examples.

use shared::domain::Platform;

/// The name in headings.
pub(crate) fn label(platform: Platform) -> &'static str {
    match platform {
        Platform::GitHubActions => "GitHub Actions",
        Platform::GitLab => "GitLab CI/CD",
        Platform::Kubernetes => "Kubernetes",
        Platform::Aws => "AWS",
        Platform::Other => "Another platform",
    }
}

/// The programs that run on the platform.
pub(crate) fn programs(platform: Platform) -> &'static str {
    match platform {
        Platform::GitHubActions => "A workflow of a repository.",
        Platform::GitLab => "A job of a project, on GitLab.com or your own GitLab.",
        Platform::Kubernetes => "A pod of any cluster, also of a private one.",
        Platform::Aws => "A Lambda function, ECS task, EC2 instance or another program with an IAM role.",
        Platform::Other => {
            "A program with a signed JWT: in Google Cloud, Azure, CircleCI, Buildkite, HCP Terraform, SPIFFE or your own \
             system."
        }
    }
}

/// The start of the heading of the form that adds a federated identity. The account's name follows.
pub(crate) fn heading(platform: Platform) -> &'static str {
    match platform {
        Platform::GitHubActions => "Let a GitHub Actions workflow use",
        Platform::GitLab => "Let a GitLab job use",
        Platform::Kubernetes => "Let a Kubernetes pod use",
        Platform::Aws => "Let an AWS IAM role use",
        Platform::Other => "Let a program with a JWT use",
    }
}
