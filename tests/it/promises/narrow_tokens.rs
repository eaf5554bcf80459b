//! A token never permits more than the token, key or federated identity that it was made from,
//! whatever roles change.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use shared::domain::{MAX_TOKEN_DEPTH, MAX_TOKEN_ROLES, RoleName, TokenClaims};
use tests::tokens::{Parent, add_identity, register_issuer, seal};
use tests::{Harness, Shape, Verdict};

use crate::support::{naive, report};

const ROLES: [&str; 4] = ["one", "two", "three", "four"];
const PERMISSIONS: [&str; 8] = [
    "ANY /{proxy+}",
    "GET /{proxy+}",
    "GET,POST /teams/{proxy+}",
    "GET /teams/{id}",
    "POST /teams",
    "ANY /organizations/{id}",
    "GET /organizations/{id}/members",
    "GET,DELETE /organizations/{proxy+}",
];
const REQUESTS: [(&str, &str); 8] = [
    ("GET", "/teams/7"),
    ("POST", "/teams"),
    ("POST", "/teams/7"),
    ("GET", "/organizations/42"),
    ("DELETE", "/organizations/42"),
    ("GET", "/organizations/42/members"),
    ("PUT", "/organizations/42"),
    ("GET", "/other"),
];

/// The permissions of each role. A role that is not here does not exist.
type Model = HashMap<&'static str, Vec<String>>;

/// Gives each role random permissions.
async fn change_roles(harness: &Harness, random: &mut StdRng, model: &mut Model) {
    for role in ROLES {
        let permissions: Vec<_> = PERMISSIONS.into_iter().filter(|_| random.random_ratio(1, 2)).collect();
        harness.put_role(role, &permissions).await;
        model.insert(role, permissions.iter().map(ToString::to_string).collect());
    }
}

/// A credential, and the roles that must permit its requests.
struct Link {
    credential: String,
    roles: Vec<&'static str>,
}

/// A grant and tokens, each made from the credential before.
async fn chain(harness: &Harness, random: &mut StdRng, parent: &Parent, roles: &[&'static str]) -> Vec<Link> {
    let mut links = Vec::new();
    let mut claims = parent.claims(harness);
    let mut roles = roles.to_vec();
    for _ in 0..MAX_TOKEN_DEPTH {
        if claims.roles.len() < MAX_TOKEN_ROLES && random.random_ratio(1, 2) {
            let role = ROLES[random.random_range(0..ROLES.len())];
            claims.roles.push(RoleName::parse(role).unwrap());
            roles.push(role);
        }
        links.push(Link { credential: seal(harness, &claims).await, roles: roles.clone() });
        let mut parents = claims.parents.clone();
        parents.push(claims.id);
        claims = TokenClaims { parents, roles: claims.roles, ..parent.claims(harness) };
    }
    links
}

#[tokio::test]
async fn a_token_never_permits_more_than_its_parent() {
    let harness = Harness::start().await;
    register_issuer(&harness, "platform").await;
    let (mut random, mut model) = (StdRng::seed_from_u64(1), Model::new());
    change_roles(&harness, &mut random, &mut model).await;
    let mut chains = Vec::new();
    for (number, own) in [None, Some("two")].into_iter().enumerate() {
        let account = harness.create_account(&format!("key-{number}"), "one").await;
        let mut body = serde_json::json!({ "name": "key" });
        if let Some(own) = own {
            body["role"] = own.into();
        }
        let key = harness.issue_key_with(&account, &body).await;
        let of_account = harness.create_account(&format!("identity-{number}"), "one").await;
        let identity = add_identity(&harness, &of_account, "platform", own).await;
        let roles: Vec<_> = ["one"].into_iter().chain(own).collect();
        for parent in [Parent::key(&key), identity] {
            let mut links = chain(&harness, &mut random, &parent, &roles).await;
            if parent.grant.issuer().is_none() {
                links.insert(0, Link { credential: key.secret.clone(), roles: roles.clone() });
            }
            chains.push(links);
        }
    }
    let (mut checks, mut allowed) = (0, 0);
    for _ in 0..6 {
        for (method, path) in REQUESTS {
            for links in &chains {
                let mut parent_is_allowed = true;
                for Link { credential, roles } in links {
                    let event = Shape::HttpV2.request(method, path, credential);
                    let is_allowed = harness.verdict(&event).await == Verdict::Allow;
                    assert!(parent_is_allowed || !is_allowed, "{method} {path}: wider than its parent");
                    let permits =
                        |role: &&str| model[role].iter().any(|one| naive::covers(one, method, path));
                    assert_eq!(is_allowed, roles.iter().all(permits), "{method} {path} with {roles:?}");
                    (checks, allowed) = (checks + 1, allowed + u32::from(is_allowed));
                    parent_is_allowed = is_allowed;
                }
            }
        }
        change_roles(&harness, &mut random, &mut model).await;
    }
    assert!(allowed > 100, "{allowed} of {checks}");
    report(&format!("{checks} checks of tokens and their parents, {allowed} allowed, 0 violations"));
}
