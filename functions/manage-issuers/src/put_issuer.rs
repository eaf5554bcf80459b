//! `PUT /iam/v1/issuers/{name}`: registers or changes a trusted issuer.

use serde_json::Value;
use shared::api::{PutIssuerRequest, TrustedIssuer};
use shared::domain::{
    self, IssuerKeys, IssuerName, IssuerUrl, Platform, Seal, SealEntry, SigningAlgorithm, UrlHosts,
    read_key_set,
};
use shared::http::{Admin, Failure, Fields, Reply, Request};
use shared::store::NewIssuer;

use crate::ManageIssuers;

/// Register or change a trusted issuer
///
/// Registers a platform whose workloads can exchange their own tokens, or replaces its key source and algorithms. The change applies from the next exchange on. Nothing
/// works through a new issuer until a service account has a federated identity that names it.
///
/// The issuer of a name never changes: the response is 409 `issuer_changed`, even if the
/// issuer was deleted. An issuer that is registered again is a new one, so tokens that were
/// obtained before its deletion stay refused.
///
/// Keys are found by OpenID Connect discovery below `issuer`, or fetched from `jwksUri`, or
/// given in `jwks`. Keyward fetches only from public addresses, and caches keys for an hour.
/// This request does not fetch them, so a wrong URL causes errors only when a JWT is exchanged.
///
/// Tokens stay valid when the keys change. If an issuer's key was stolen, delete the issuer,
/// which ends all tokens made through it, and register it again with new keys.
///
/// A request that changes nothing succeeds, keeps the version and writes no audit
/// event. So a retry is safe.
#[utoipa::path(
    put,
    path = "/iam/v1/issuers/{name}",
    operation_id = "putIssuer",
    tag = "Trusted issuers",
    params(
        ("name" = String, Path, description = "The name of the issuer: a letter, then letters, digits, `.`, `_` and `-`, at most 32 characters.", pattern = "^[A-Za-z][A-Za-z0-9._-]{0,31}$", example = "github"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the version that you last read, with \
         its quotes, or `*` to replace an existing issuer but never register one. If the header does not match, \
         nothing is changed and the response is 412 `precondition_failed`. Without the header, the request applies \
         to the current version."),
        ("If-None-Match" = Option<String>, Header),
    ),
    request_body = PutIssuerRequest,
    responses(
        (status = 200, description = "The issuer was changed, or already had these keys and algorithms.",
            body = TrustedIssuer, headers(("ETag" = String))),
        (status = 201, description = "The issuer was registered.", body = TrustedIssuer, headers(("ETag" = String))),
        (status = 400, description = "malformed_id, malformed_request, malformed_json"),
        (status = 409, description = "issuer_changed, issuer_limit_reached, concurrent_changes"),
        (status = 412, description = "precondition_failed"),
        (status = 422, description = "invalid_fields"),
    )
)]
pub async fn put_issuer(
    function: &ManageIssuers,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let name = request.issuer_name()?;
    let change = request.change_request(actor)?;
    let precondition = request.precondition()?;
    let new = new_issuer(name, request.json()?, function.hosts)?;
    let (version, pepper) = function.keyring.current().await?;
    let seal = |issuer: &domain::TrustedIssuer| {
        let domain::TrustedIssuer { name, id, url, keys, algorithms, .. } = issuer;
        SealEntry {
            seal: Seal::of_issuer(&pepper, name, *id, url, keys, algorithms),
            pepper: version.clone(),
        }
    };
    let put = function.store.put_issuer(&new, precondition, &seal, &change).await?;
    let version = put.issuer.version;
    let body = TrustedIssuer::from(put.issuer);
    let reply = if put.created { Reply::created_here(&body) } else { Reply::ok(&body) };
    Ok(reply.with_version(version))
}

fn new_issuer(name: IssuerName, body: PutIssuerRequest, hosts: UrlHosts) -> Result<NewIssuer, Failure> {
    let mut fields = Fields::default();
    let url = fields.check("/issuer", IssuerUrl::parse(&body.issuer, hosts));
    let uri = body.jwks_uri.map(|uri| fields.check("/jwksUri", IssuerUrl::parse(&uri, hosts)));
    let algorithms = body.algorithms.and_then(|names| algorithms(&mut fields, &names));
    if uri.is_some() && body.jwks.is_some() {
        fields.refuse("/jwksUri", "cannot be combined with `jwks`");
    }
    let inline = body.jwks.map(|set| inline_keys(&mut fields, &set, algorithms.as_deref()));
    let new = url.and_then(|url| {
        let by_platform = || Platform::of(&url).algorithms().to_vec();
        let (keys, algorithms) = match (uri, inline) {
            (_, Some(inline)) => inline?,
            (Some(uri), None) => (IssuerKeys::Uri(uri?), algorithms.unwrap_or_else(by_platform)),
            (None, None) => (IssuerKeys::Discovery, algorithms.unwrap_or_else(by_platform)),
        };
        Some(NewIssuer { name, url, keys, algorithms })
    });
    fields.finish(new)
}

/// The algorithms in their fixed order, each once.
fn algorithms(fields: &mut Fields, names: &[String]) -> Option<Vec<SigningAlgorithm>> {
    let known =
        || SigningAlgorithm::ALL.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", ");
    if names.is_empty() {
        fields.refuse("/algorithms", format!("must have at least one of {}", known()));
    }
    let mut chosen = Vec::new();
    for (position, name) in names.iter().enumerate() {
        let parsed = SigningAlgorithm::parse(name).ok_or_else(|| format!("must be one of {}", known()));
        chosen.extend(fields.check(&format!("/algorithms/{position}"), parsed));
    }
    let chosen = SigningAlgorithm::ALL.into_iter().filter(|algorithm| chosen.contains(algorithm)).collect();
    Some(chosen).filter(|chosen: &Vec<_>| !chosen.is_empty())
}

fn inline_keys(
    fields: &mut Fields,
    set: &Value,
    algorithms: Option<&[SigningAlgorithm]>,
) -> Option<(IssuerKeys, Vec<SigningAlgorithm>)> {
    match read_key_set(set, algorithms) {
        Ok((keys, algorithms)) => Some((IssuerKeys::Inline(keys), algorithms)),
        Err((pointer, problem)) => {
            fields.refuse(&format!("/jwks{pointer}"), problem);
            None
        }
    }
}
