//! Trusted issuers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::instant;
use crate::domain::{self, Actor, IssuerKeys, IssuerName, IssuerUrl, Platform, SigningAlgorithm};

/// A trusted issuer: a platform whose workloads can exchange their JWTs for Keyward tokens.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrustedIssuer {
    /// The name, by which federated identities refer to the issuer.
    #[schema(value_type = String, example = "github")]
    pub name: IssuerName,
    /// The issuer: the `iss` claim of its JWTs.
    #[schema(example = "https://token.actions.githubusercontent.com")]
    pub issuer: String,
    /// The URL of the issuer's public keys (a JWK set). Absent if OpenID Connect discovery finds
    /// them, or if `jwks` has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "https://issuer.example.com/keys")]
    pub jwks_uri: Option<String>,
    /// The issuer's public keys as a JWK set, if they are not fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Value)]
    pub jwks: Option<Value>,
    /// The algorithms with which the issuer can sign: `RS256`, `ES256`, `ES384` or `EdDSA`.
    #[schema(value_type = Vec<String>, example = json!(["RS256"]))]
    pub algorithms: Vec<SigningAlgorithm>,
    /// The platform, which decides the claims that a federated identity must require:
    /// `githubActions`, `gitlab`, `kubernetes`, `aws` or `other`.
    #[schema(value_type = String, example = "githubActions")]
    pub platform: Platform,
    /// When the issuer was registered.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The admin who registered the issuer.
    pub created_by: Actor,
    /// When the issuer was last changed.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// The admin who last changed the issuer.
    pub updated_by: Actor,
}

/// The trusted issuers.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrustedIssuerList {
    /// All trusted issuers, sorted by name, capital letters first.
    pub items: Vec<TrustedIssuer>,
}

/// The whole content of a trusted issuer.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PutIssuerRequest {
    /// The issuer: an https URL that equals the `iss` claim of its JWTs byte for byte. The
    /// issuer of a name never changes, even after it was deleted.
    #[schema(max_length = 512, example = "https://token.actions.githubusercontent.com")]
    pub issuer: String,
    /// The https URL of the issuer's public keys (a JWK set), if OpenID Connect discovery does
    /// not find them. It must have a public address.
    #[schema(required = false, value_type = String, max_length = 512, example = "https://issuer.example.com/keys")]
    pub jwks_uri: Option<String>,
    /// The issuer's public keys as a JWK set (RFC 7517, section 5), for an issuer that Keyward
    /// cannot reach, such as a private cluster. At most 3,072 bytes of JSON with only the public
    /// members: RSA of at least 2,048 bits, EC on P-256 or P-384, or Ed25519. Cannot be combined
    /// with `jwksUri`.
    #[schema(required = false, value_type = Value)]
    pub jwks: Option<Value>,
    /// The algorithms with which the issuer can sign: `RS256`, `ES256`, `ES384` and `EdDSA`. If
    /// omitted, `RS256` for GitHub Actions and GitLab.com, `RS256` and `ES384` for AWS, else all.
    #[schema(required = false, value_type = Vec<String>, example = json!(["RS256"]))]
    pub algorithms: Option<Vec<String>>,
}

impl From<domain::TrustedIssuer> for TrustedIssuer {
    fn from(issuer: domain::TrustedIssuer) -> Self {
        let (jwks_uri, jwks) = match &issuer.keys {
            IssuerKeys::Discovery => (None, None),
            IssuerKeys::Uri(uri) => (Some(uri.to_string()), None),
            // The store has only texts that were JSON. An altered text is shown as it is.
            IssuerKeys::Inline(keys) => {
                (None, Some(serde_json::from_str(keys).unwrap_or_else(|_| Value::String(keys.clone()))))
            }
        };
        Self {
            platform: Platform::of(&issuer.url),
            name: issuer.name,
            issuer: IssuerUrl::as_str(&issuer.url).to_owned(),
            jwks_uri,
            jwks,
            algorithms: issuer.algorithms,
            created_at: issuer.created_at,
            created_by: issuer.created_by,
            updated_at: issuer.updated_at,
            updated_by: issuer.updated_by,
        }
    }
}
