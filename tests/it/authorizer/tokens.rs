//! Tokens of service accounts: what they permit, when they end, and what a forgery costs.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use shared::domain::{
    BoundRequest, Clock as _, Entropy, GrantBinding, GrantId, Pepper, RoleName, SecretVersion, TokenClaims,
    TokenGrant, TokenId, TokenKey, Verifier,
};
use shared::policy::Api;
use tests::{API_ID, Account, Harness, Item, Key, Logs, Shape, Verdict};
use tracing::level_filters::LevelFilter;

use crate::support::activity::is_activity_write;
use crate::support::keys::environment;
use crate::support::{allowed, changes, decide, denied, rotate_token_key};
use tests::tokens::{
    Parent, add_identity, add_identity_until, after, end_identity, end_issuer, entropy, register_issuer, seal,
};

const SHAPE: Shape = Shape::HttpV2;

/// A system with an account that has a key and another account that has a federated identity,
/// and whose authorizer has a warm keyring.
struct Setting {
    harness: Harness,
    account: Account,
    identity_account: Account,
    key: Key,
    of_key: Parent,
    of_identity: Parent,
}

impl Setting {
    async fn start() -> Self {
        let harness = Harness::start().await;
        harness.put_role("orgs.read", &["GET /organizations/{proxy+}"]).await;
        harness.put_role("teams.read", &["GET /teams/{proxy+}"]).await;
        let (account, key) = harness.account_with_key("reader", "ServiceAccountReader").await;
        register_issuer(&harness, "platform").await;
        let identity_account = harness.create_account("workload", "ServiceAccountReader").await;
        let of_identity = add_identity(&harness, &identity_account, "platform", None).await;
        let of_key = Parent::key(&key);
        harness.clock.advance_seconds(1);
        harness.authorizer().warm().await;
        harness.wire.take_calls();
        Self { harness, account, identity_account, key, of_key, of_identity }
    }

    fn parents(&self) -> [&Parent; 2] {
        [&self.of_key, &self.of_identity]
    }

    /// Decides on `GET /organizations/42`.
    async fn decide(&self, credential: &str) -> (Verdict, String) {
        decide(&self.harness, credential).await
    }

    /// The calls since the last call of this function, except writes of activity: the
    /// operation, and the partition key of a read.
    fn calls(&self) -> Vec<String> {
        let calls = self.harness.wire.take_calls().into_iter().filter(|call| !is_activity_write(call));
        let call = |call: tests::Call| match call.body["Key"]["pk"]["S"].as_str() {
            Some(partition) => partition.to_owned(),
            None => call.operation,
        };
        calls.map(call).collect()
    }

    fn account_read(&self) -> String {
        format!("ACCOUNT#{}", self.account.id)
    }

    /// Adds a federated identity of this issuer.
    async fn add_identity(&self, issuer: &str, role: Option<&str>) -> Parent {
        add_identity(&self.harness, &self.identity_account, issuer, role).await
    }

    /// All claims at their limits.
    fn full_claims(&self, parent: &Parent) -> TokenClaims {
        TokenClaims {
            roles: ["orgs.read", "ServiceAccountReader"].map(|name| RoleName::parse(name).unwrap()).into(),
            parents: (0..4).map(|_| TokenId::generate(&entropy()).unwrap()).collect(),
            request: Some(BoundRequest::new(API_ID, "GET", "/organizations/42")),
            ..parent.claims(&self.harness)
        }
    }
}

/// A token key that this deployment does not have.
fn another_token_key() -> TokenKey {
    Pepper::new("another-token-key-".repeat(4).as_bytes()).unwrap().into()
}

fn random_verifier() -> Verifier {
    let mut bytes = [0; 32];
    entropy().fill(&mut bytes).unwrap();
    Verifier::from_bytes(&bytes).unwrap()
}

fn v1() -> SecretVersion {
    SecretVersion::parse("v1").unwrap()
}

/// The checksum of a key or token, computed without the domain.
fn checksum(text: &str) -> String {
    let mut crc = u32::MAX;
    for byte in text.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let mut rest = !crc;
    let mut digits = Vec::new();
    for _ in 0..6 {
        let digit = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[(rest % 62) as usize];
        digits.push(char::from(digit));
        rest /= 62;
    }
    digits.iter().rev().collect()
}

#[tokio::test]
async fn every_changed_character_is_refused_without_a_read_of_the_table() {
    let setting = Setting::start().await;
    for parent in setting.parents() {
        let token = seal(&setting.harness, &setting.full_claims(parent)).await;
        assert_eq!(setting.decide(&token).await, allowed());
        let end = token.len() - 6;
        assert_eq!(checksum(&token[..end]), token[end..], "the checksum in this test is right");
        setting.calls();
        let (mut malformed, mut wrong) = (0, 0);
        for position in 0..token.len() {
            for other in ['0', 'z', 'A'] {
                let mut changed = token.clone();
                changed.replace_range(position..=position, &other.to_string());
                if changed == token {
                    continue;
                }
                assert_eq!(setting.decide(&changed).await.1, "malformed", "{position} {other}");
                if position >= end {
                    continue;
                }
                // The same change with the right checksum.
                let repaired = format!("{}{}", &changed[..end], checksum(&changed[..end]));
                match setting.decide(&repaired).await.1.as_str() {
                    "malformed" | "foreign_environment" => malformed += 1,
                    "wrong_secret" => wrong += 1,
                    reason => panic!("{position} {other}: {reason}"),
                }
            }
            let mut longer = token.clone();
            longer.insert(position, '0');
            assert_eq!(setting.decide(&longer).await.1, "malformed", "{position}");
            let mut shorter = token.clone();
            shorter.remove(position);
            assert_eq!(setting.decide(&shorter).await.1, "malformed", "{position}");
        }
        assert!(malformed > 100 && wrong > 400, "{malformed} {wrong}");
        // A change can name a version of the token key that does not exist yet. The authorizer
        // looks for it once in ten seconds.
        let calls = setting.calls();
        assert!(calls.is_empty() || calls == ["GetSecretValue"], "{calls:?}");
    }
}

/// Each of these differs in one claim.
fn altered(setting: &Setting, claims: &TokenClaims) -> Vec<TokenClaims> {
    let other_key = |id: &GrantId| match id {
        GrantId::Key(_) => TokenGrant::Key("key_0000000000000000".parse().unwrap()),
        GrantId::Identity(_) => {
            TokenGrant::Identity("fid_0000000000000000".parse().unwrap(), "platform".parse().unwrap())
        }
    };
    let of = |change: &dyn Fn(&mut TokenClaims)| {
        let mut claims = claims.clone();
        change(&mut claims);
        claims
    };
    vec![
        of(&|claims| claims.account = "sa_0000000000000000".parse().unwrap()),
        of(&|claims| claims.grant = other_key(&claims.grant.id())),
        of(&|claims| claims.grant = setting.of_key.grant.clone()),
        of(&|claims| claims.grant = setting.of_identity.grant.clone()),
        of(&|claims| claims.id = TokenId::generate(&entropy()).unwrap()),
        of(&|claims| claims.issued_at = after(claims.issued_at, 1)),
        of(&|claims| claims.lifetime_seconds += 1),
        of(&|claims| claims.roles.clear()),
        of(&|claims| drop(claims.roles.pop())),
        of(&|claims| claims.roles.reverse()),
        of(&|claims| claims.parents.clear()),
        of(&|claims| claims.parents.reverse()),
        of(&|claims| {
            claims.request = None;
            claims.parents.pop();
        }),
    ]
}

#[tokio::test]
async fn a_token_with_an_altered_claim_or_another_key_costs_no_call() {
    let setting = Setting::start().await;
    let (harness, key) = (&setting.harness, another_token_key());
    for parent in setting.parents() {
        let (claims, binding) = (setting.full_claims(parent), parent.binding(harness).await);
        setting.calls();
        for claims in altered(&setting, &claims).iter().chain([&claims]) {
            let forged = claims.seal(&environment("local"), (&v1(), &key), &binding).unwrap();
            assert_eq!(setting.decide(forged.expose()).await, denied("wrong_secret"), "{claims:?}");
        }
        let foreign = claims.seal(&environment("prod"), (&v1(), &key), &binding).unwrap();
        assert_eq!(setting.decide(foreign.expose()).await, denied("foreign_environment"));
        assert_eq!(harness.wire.take_operations(), [""; 0]);
    }
}

#[tokio::test]
async fn neither_the_pepper_nor_the_token_key_nor_the_table_alone_makes_a_token() {
    let setting = Setting::start().await;
    let harness = &setting.harness;
    let setup = harness.system.setup_for("Authorizer").unwrap();
    let (_, pepper) = setup.keyring().unwrap().current().await.unwrap();
    let (version, token_key) = setup.token_keyring().unwrap().current().await.unwrap();
    for parent in setting.parents() {
        let claims = parent.claims(harness);
        let stored = parent.binding(harness).await;
        let random = parent.binding_with(harness, |_| random_verifier()).await;
        let seal = |key: &TokenKey, binding: &GrantBinding| {
            let token = claims.seal(&environment("local"), (&version, key), binding).unwrap();
            token.expose().to_owned()
        };
        let pepper = TokenKey::from(pepper.clone());
        setting.calls();
        for (token, reads) in [
            (seal(&pepper, &random), false),
            (seal(&pepper, &stored), false),
            (seal(&another_token_key(), &stored), false),
            (seal(&token_key, &random), true),
        ] {
            assert_eq!(setting.decide(&token).await, denied("wrong_secret"));
            assert_eq!(!setting.calls().is_empty(), reads);
        }
        assert_eq!(setting.decide(&seal(&token_key, &stored)).await, allowed(), "control");
        setting.calls();
    }
}

#[tokio::test]
async fn a_token_expires_in_the_exact_second_without_a_read() {
    let setting = Setting::start().await;
    for parent in setting.parents() {
        let token = parent.token(&setting.harness).await;
        setting.harness.clock.advance_seconds(899);
        assert_eq!(setting.decide(&token).await, allowed());
        setting.calls();
        setting.harness.clock.advance_seconds(1);
        assert_eq!(setting.decide(&token).await, denied("expired"));
        assert_eq!(setting.harness.wire.take_operations(), [""; 0], "not even counted");
    }
}

#[tokio::test]
async fn a_token_of_a_key_takes_one_read_and_a_token_of_an_identity_two_and_each_role_one_more() {
    let setting = Setting::start().await;
    let (harness, account) = (&setting.harness, setting.account_read());
    let workload = format!("ACCOUNT#{}", setting.identity_account.id);
    let reads = async |token: &str| {
        setting.calls();
        assert_eq!(setting.decide(token).await, allowed());
        let mut reads = setting.calls();
        reads.sort();
        reads
    };
    let (of_key, of_identity) = (&setting.of_key, &setting.of_identity);
    let issuer = "ISSUERS".to_owned();
    for credential in [&setting.key.secret, &of_key.token(harness).await] {
        assert_eq!(reads(credential).await, [&*account]);
    }
    assert_eq!(reads(&of_identity.token(harness).await).await, [workload.clone(), issuer.clone()]);
    let role = "ROLE#orgs.read".to_owned();
    let narrow = of_key.narrow_token(harness, &["orgs.read", "ServiceAccountWriter"]).await;
    assert_eq!(reads(&narrow).await, [account.clone(), role.clone()]);
    let own = setting.add_identity("platform", Some("orgs.read")).await;
    let narrow = own.narrow_token(harness, &["orgs.read"]).await;
    assert_eq!(reads(&narrow).await, [workload, issuer, role], "a shared role is read once");
}

#[tokio::test]
async fn a_narrow_token_permits_only_what_every_role_permits() {
    let setting = Setting::start().await;
    let harness = &setting.harness;
    let logs = Logs::capture(LevelFilter::INFO);
    for parent in setting.parents() {
        for (roles, path, refused_by) in [
            (&[][..], "/organizations/42", None),
            (&["orgs.read"], "/organizations/42", None),
            (&["orgs.read"], "/teams/7", Some("token_role")),
            (&["teams.read"], "/teams/7", None),
            (&["orgs.read", "teams.read"], "/teams/7", Some("token_role")),
            (&["orgs.read", "teams.read"], "/organizations/42", Some("token_role")),
            (&["missing"], "/organizations/42", Some("token_role")),
            (&["ServiceAccountAdmin"], "/orders", Some("account_role")),
        ] {
            let token = parent.narrow_token(harness, roles).await;
            let event = SHAPE.request("GET", path, &token);
            let verdict = harness.verdict(&event).await;
            let line = logs.take_decisions().remove(0);
            assert_eq!(line.get("refused_by").and_then(Value::as_str), refused_by, "{roles:?} {path}");
            assert_eq!(verdict == Verdict::Allow, refused_by.is_none());
            let missing = refused_by.map(|_| format!("GET {path}"));
            assert_eq!(line["missing_permission"].as_str(), missing.as_deref());
        }
    }
}

#[tokio::test]
async fn a_request_token_works_only_for_its_request_and_from_every_network() {
    let setting = Setting::start().await;
    let harness = &setting.harness;
    let body = json!({ "name": "narrow", "allowedCidrs": ["192.0.2.0/24"] });
    let narrow = Parent::key(&harness.issue_key_with(&setting.account, &body).await);
    assert_eq!(setting.decide(&narrow.token(harness).await).await, denied("network"));
    let token = narrow.request_token(harness, "GET", "/organizations/42").await;
    for shape in Shape::ALL {
        assert_eq!(harness.verdict(&shape.bearer(&token)).await, Verdict::Allow, "{shape:?}");
    }
    setting.calls();
    for (method, path) in [
        ("HEAD", "/organizations/42"),
        ("GET", "/organizations/43"),
        ("GET", "/organizations/42/"),
        ("GET", "/organizations"),
        ("GET", "/organizations/%34%32"),
    ] {
        let verdict = harness.verdict(&SHAPE.request(method, path, &token)).await;
        assert_eq!(verdict, Verdict::Deny, "{method} {path}");
    }
    for shape in Shape::ALL {
        let mut event = shape.bearer(&token);
        let arn = event[shape.arn_member()].as_str().unwrap().replace(API_ID, "another1");
        event[shape.arn_member()] = arn.into();
        assert_eq!(harness.decide(&event).await, denied("request"), "at another API: {shape:?}");
    }
    assert_eq!(harness.wire.take_operations(), [""; 0]);
    harness.clock.advance_seconds(60);
    assert_eq!(setting.decide(&token).await, denied("expired"));
}

/// HTTP APIs decode the paths of their ARNs, and REST APIs may not.
#[tokio::test]
async fn a_request_token_works_whether_the_api_decodes_the_path_or_not() {
    let setting = Setting::start().await;
    let harness = &setting.harness;
    let (escaped, decoded) = ("/organizations/a%20b%C3%A9%7B", "/organizations/a bé{");
    for bound in [escaped, decoded] {
        let token = setting.of_key.request_token(harness, "GET", bound).await;
        for shape in Shape::ALL {
            for path in [escaped, decoded, "/organizations/a%20b%c3%a9%7b", "/organizations/a b%C3%A9{"] {
                let verdict = harness.verdict(&shape.request("GET", path, &token)).await;
                assert_eq!(verdict, Verdict::Allow, "{shape:?} {path} with a token for {bound}");
            }
            for path in [
                "/organizations/a+b%C3%A9%7B",
                "/organizations/a%2520b%C3%A9%7B",
                "/organizations/a%20b%C3%A9%257B",
                "/organizations/a%20b%C3%A8%7B",
                "/organizations/a%20be%CC%81%7B",
                "/organizations/%61%20b%C3%A9%7B",
                "/organizations/a%20b%C3%A9%7B/",
                "/organizations/a%20b%C3%A9%7B%2F",
            ] {
                let verdict = harness.verdict(&shape.request("GET", path, &token)).await;
                assert_ne!(verdict, Verdict::Allow, "{shape:?} {path} with a token for {bound}");
            }
        }
    }
}

#[tokio::test]
async fn a_token_opens_only_whoami_of_the_iam_api() {
    let setting = Setting::start().await;
    let harness = &setting.harness;
    let token = setting.of_key.token(harness).await;
    let bound = setting.of_key.request_token(harness, "GET", "/iam/v1/whoami").await;
    let elsewhere = setting.of_key.request_token(harness, "GET", "/organizations/42").await;
    let at = async |api, path: &str, token: &str| {
        harness.verdict_at(api, &SHAPE.request("GET", path, token)).await == Verdict::Allow
    };
    assert!(at(Api::Iam, "/iam/v1/whoami", &token).await);
    assert!(at(Api::Iam, "/iam/v1/whoami", &bound).await);
    assert!(!at(Api::Iam, "/iam/v1/whoami", &elsewhere).await);
    for path in ["/iam/v1/service-accounts", "/iam/v1/roles", "/iam/v1/issuers", "/iam/v1/token"] {
        assert!(!at(Api::Iam, path, &token).await, "{path}");
    }
    assert!(!at(Api::Iam, "/organizations/42", &token).await);
    assert!(!at(Api::Business, "/iam/v1/whoami", &token).await);
}

/// The decision, and the reason in the log, after each way to end a grant.
#[tokio::test]
async fn a_token_ends_with_its_grant_account_and_issuer() {
    let setting = Setting::start().await;
    let harness = &setting.harness;
    let key_of = async |name: &str| {
        let (account, key) = harness.account_with_key(name, "ServiceAccountReader").await;
        let parent = Parent::key(&key);
        let token = parent.token(harness).await;
        assert_eq!(setting.decide(&token).await, allowed(), "{name}");
        (account, key, token)
    };
    let (_, key, token) = key_of("revoked").await;
    let _ = harness.revoke(&key).await.expect(204);
    assert_eq!(setting.decide(&token).await, denied("revoked"));
    let (_, key, token) = key_of("rotated").await;
    changes::rotate(harness, &key, 0).await;
    assert_eq!(setting.decide(&token).await, denied("retired"));
    let (account, _, token) = key_of("disabled").await;
    changes::disable(harness, &account).await;
    assert_eq!(setting.decide(&token).await, denied("disabled"));
    let (account, _, token) = key_of("deleted").await;
    let _ = harness.request("DELETE", &account.path()).admin().send().await.expect(204);
    assert_eq!(setting.decide(&token).await, denied("retired"));

    let identity = async |issuer: &str, expires_at| {
        register_issuer(harness, issuer).await;
        let identity = add_identity_until(harness, &setting.identity_account, issuer, None, expires_at).await;
        let token = identity.token(harness).await;
        assert_eq!(setting.decide(&token).await, allowed(), "{issuer}");
        (identity, token)
    };
    let (ended, token) = identity("one", None).await;
    end_identity(harness, &ended).await;
    assert_eq!(setting.decide(&token).await, denied("revoked"));
    let (_, token) = identity("two", None).await;
    end_issuer(harness, "two").await;
    assert_eq!(setting.decide(&token).await, denied("issuer"));
    harness.clock.advance_seconds(1);
    register_issuer(harness, "two").await;
    assert_eq!(setting.decide(&token).await, denied("issuer"), "registered again");
    let in_a_minute = after(harness.clock.now(), 60);
    let (_, token) = identity("three", Some(in_a_minute)).await;
    harness.clock.advance_seconds(59);
    assert_eq!(setting.decide(&token).await, allowed());
    harness.clock.advance_seconds(1);
    assert_eq!(setting.decide(&token).await, denied("expired"));
    let (_, token) = identity("four", None).await;
    let disabled = aws_sdk_dynamodb::types::AttributeValue::Bool(false);
    harness.table.set(&setting.identity_account.id, "enabled", disabled).await;
    assert_eq!(setting.decide(&token).await, denied("disabled"));
}

/// Members of the account's maps that an attacker with write access to the table exchanges.
#[tokio::test]
async fn a_grant_that_was_copied_or_changed_in_the_table_refuses_tokens() {
    let setting = Setting::start().await;
    let harness = &setting.harness;
    let other = Parent::key(&harness.issue_key(&setting.account).await);
    register_issuer(harness, "another").await;
    let another = setting.add_identity("another", None).await;
    harness.clock.advance_seconds(1);
    for (one, other) in [(&setting.of_key, &other), (&setting.of_identity, &another)] {
        let account = one.account.to_string();
        let token = one.token(harness).await;
        let (one, other) = (one.grant.to_string(), other.grant.to_string());
        let before = harness.table.account(&account).await;
        harness
            .table
            .tamper(&account, |account| {
                for map in ["keys", "verifiers"] {
                    let map = crate::support::items::map_at(account, &[map]);
                    let copy = map[&other].clone();
                    map.insert(one.clone(), copy);
                }
            })
            .await;
        assert_eq!(setting.decide(&token).await, denied("wrong_secret"), "{one}");
        harness.table.put(before).await;
        assert_eq!(setting.decide(&token).await, allowed(), "control");
    }
}

/// What an attacker with write access to the table would change to use a stolen token for longer,
/// for more requests or from elsewhere.
#[tokio::test]
async fn a_grant_whose_limits_were_changed_in_the_table_refuses_its_tokens() {
    let setting = Setting::start().await;
    let harness = &setting.harness;
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let in_a_year = AttributeValue::N(after(harness.clock.now(), 365 * 86_400).as_second().to_string());
    let body = json!({ "name": "limited", "role": "orgs.read", "allowedCidrs": ["203.0.113.0/24"] });
    let key = Parent::key(&harness.issue_key_with(&setting.account, &body).await);
    let in_an_hour = Some(after(harness.clock.now(), 3600));
    let identity =
        add_identity_until(harness, &setting.identity_account, "platform", Some("orgs.read"), in_an_hour)
            .await;
    let networks = AttributeValue::L(vec![text("203.0.0.0/8")]);
    for (grant, limits) in [
        (
            &key,
            &[
                ("role", None),
                ("role", Some(text("teams.read"))),
                ("expiresAt", Some(in_a_year.clone())),
                ("cidrs", None),
                ("cidrs", Some(networks)),
            ][..],
        ),
        (
            &identity,
            &[
                ("role", None),
                ("role", Some(text("teams.read"))),
                ("expiresAt", None),
                ("expiresAt", Some(in_a_year)),
            ],
        ),
    ] {
        let account = grant.account.to_string();
        let mut event = SHAPE.bearer(&grant.token(harness).await);
        SHAPE.set_source(&mut event, "203.0.113.9");
        assert_eq!(harness.decide(&event).await, allowed(), "control");
        let before = harness.table.account(&account).await;
        for (name, value) in limits {
            let change = |item: &mut Item| {
                let entry = crate::support::items::map_at(item, &["keys", &grant.grant.to_string()]);
                assert!(entry.remove(*name).is_some(), "{name}");
                entry.extend(value.clone().map(|value| ((*name).to_owned(), value)));
            };
            harness.table.tamper(&account, change).await;
            assert_eq!(harness.decide(&event).await, denied("wrong_secret"), "{} {name}", grant.grant);
            harness.table.put(before.clone()).await;
        }
        assert_eq!(harness.decide(&event).await, allowed(), "control");
    }
}

#[tokio::test]
async fn a_replaced_token_key_works_until_its_last_token_has_expired() {
    let setting = Setting::start().await;
    let harness = &setting.harness;
    let keyring = harness.system.setup_for("Authorizer").unwrap().token_keyring().unwrap();
    let (old, old_key) = keyring.current().await.unwrap();
    let binding = setting.of_key.binding(harness).await;
    // Another instance signs with the old key as long as it can.
    let with_old_key = || {
        let claims = TokenClaims { lifetime_seconds: 3600, ..setting.of_key.claims(harness) };
        let token = claims.seal(&environment("local"), (&old, &old_key), &binding).unwrap();
        token.expose().to_owned()
    };
    rotate_token_key(harness, "rotation-1").await;
    setting.calls();
    harness.clock.advance_seconds(299);
    let last = with_old_key();
    let new = setting.of_key.token(harness).await;
    setting.calls();
    assert_eq!(setting.decide(&new).await, allowed());
    assert_eq!(setting.calls(), ["GetSecretValue".to_owned(), setting.account_read()]);
    harness.clock.advance_seconds(3600);
    let forged_later = with_old_key();
    assert_eq!(setting.decide(&last).await, denied("expired"));
    assert_eq!(setting.decide(&forged_later).await, allowed());
    setting.calls();
    harness.clock.advance_seconds(1);
    assert_eq!(setting.decide(&forged_later).await, denied("wrong_secret"));
    assert_eq!(setting.calls(), [""; 0]);

    // Two rotations in a row drop a leaked key at once.
    let (old, old_key) = setting
        .harness
        .system
        .setup_for("Authorizer")
        .unwrap()
        .token_keyring()
        .unwrap()
        .current()
        .await
        .unwrap();
    let claims = setting.of_key.claims(harness);
    let leaked = claims.seal(&environment("local"), (&old, &old_key), &binding).unwrap();
    let leaked = leaked.expose();
    assert_eq!(setting.decide(leaked).await, allowed());
    rotate_token_key(harness, "rotation-2").await;
    rotate_token_key(harness, "rotation-3").await;
    let fresh = harness.another_authorizer();
    let verdict: Verdict = fresh.answer(&SHAPE.bearer(leaked).to_string(), "i").await.into();
    assert_eq!(verdict, Verdict::Deny);
    assert_eq!(setting.decide(&setting.of_key.token(harness).await).await, allowed());
    assert_eq!(setting.decide(leaked).await, denied("wrong_secret"));
}

#[tokio::test]
async fn an_unknown_version_of_the_token_key_costs_one_call_in_ten_seconds() {
    let setting = Setting::start().await;
    let harness = &setting.harness;
    let binding = setting.of_key.binding(harness).await;
    let decide_version = async |version: &str| {
        let version = SecretVersion::parse(version).unwrap();
        let claims = setting.of_key.claims(harness);
        let key = another_token_key();
        let token = claims.seal(&environment("local"), (&version, &key), &binding).unwrap();
        assert_eq!(setting.decide(token.expose()).await, denied("wrong_secret"));
    };
    setting.calls();
    for number in 2..50 {
        decide_version(&format!("v{number}")).await;
    }
    assert_eq!(setting.calls(), ["GetSecretValue"]);
    harness.clock.advance_seconds(10);
    decide_version("v7").await;
    decide_version("v999999999").await;
    assert_eq!(setting.calls(), ["GetSecretValue"]);
}

#[tokio::test]
async fn requests_with_a_token_count_as_activity_of_its_grant() {
    let setting = Setting::start().await;
    let harness = &setting.harness;
    for parent in setting.parents() {
        let token = parent.narrow_token(harness, &["orgs.read"]).await;
        assert_eq!(setting.decide(&token).await, allowed());
        assert_eq!(harness.verdict(&SHAPE.request("GET", "/teams/7", &token)).await, Verdict::Deny);
        let store = harness.system.setup_for("Authorizer").unwrap().store().unwrap();
        let activity = store.grant_activity(parent.account, parent.grant.id()).await.unwrap();
        let counts = activity.series.last_24_hours(harness.clock.now());
        assert_eq!((counts.allowed(), counts.refused()), (1, 1), "{}", parent.grant);
        let recent = store.recent_requests(parent.account, parent.grant.id()).await.unwrap();
        assert_eq!(recent.refused[0].missing_permission.as_deref(), Some("GET /teams/7"));
        let routes = store.used_routes(parent.account, parent.grant.id()).await.unwrap();
        assert_eq!(routes.routes.len(), 1, "{routes:?}");
    }
    let store = harness.system.setup_for("Authorizer").unwrap().store().unwrap();
    let routes = store.account_routes(setting.of_key.account).await.unwrap();
    assert_eq!(routes.grants.len(), 1);
}

#[tokio::test]
async fn the_context_describes_the_token() {
    let setting = Setting::start().await;
    let harness = &setting.harness;
    let context = async |claims: &TokenClaims| {
        let token = seal(harness, claims).await;
        let answer = harness.authorize(&SHAPE.bearer(&token)).await.unwrap();
        serde_json::to_value(&answer).unwrap()["context"].clone()
    };
    let expires_at = |claims: &TokenClaims| claims.expires_at().to_string();
    let claims = setting.of_key.claims(harness);
    assert_eq!(
        context(&claims).await,
        json!({
            "principalType": "serviceAccount", "principalId": setting.account.id, "principalName": "reader",
            "keyId": setting.key.id, "tokenId": claims.id, "tokenExpiresAt": expires_at(&claims),
            "role": "ServiceAccountReader", "environment": "local",
        })
    );
    let own = setting.add_identity("platform", Some("orgs.read")).await;
    let mut claims = TokenClaims { request: None, ..setting.full_claims(&own) };
    claims.parents.truncate(3);
    let actors: Vec<_> = claims.parents.iter().map(ToString::to_string).collect();
    assert_eq!(
        context(&claims).await,
        json!({
            "principalType": "serviceAccount", "principalId": setting.identity_account.id,
            "principalName": "workload",
            "identityId": own.grant.to_string(), "tokenId": claims.id,
            "tokenExpiresAt": expires_at(&claims), "actors": actors.join(" "),
            "role": "ServiceAccountReader", "keyRole": "orgs.read",
            "tokenRoles": "orgs.read ServiceAccountReader", "environment": "local",
        })
    );
}

#[tokio::test]
async fn no_log_contains_a_token() {
    let setting = Setting::start().await;
    let harness = &setting.harness;
    let logs = Logs::capture(LevelFilter::TRACE);
    let mut tokens = Vec::new();
    for parent in setting.parents() {
        let token = parent.token(harness).await;
        harness.verdict(&SHAPE.bearer(&token)).await;
        harness.verdict(&SHAPE.request("GET", &format!("/teams/{token}"), &token)).await;
        harness.verdict(&SHAPE.bearer(&token[..token.len() - 1])).await;
        harness.wire.intercept(|_| tests::Action::Refuse);
        assert_eq!(
            setting.decide_quietly(&token).await,
            Verdict::Failed(authorizer::FunctionError::Unavailable)
        );
        harness.wire.pass_all();
        tokens.push(token);
    }
    let log = logs.take();
    assert!(log.contains("\"decision\"") && log.contains("[redacted]"), "{log}");
    for token in tokens {
        let contents = token.rsplit('_').next().unwrap();
        for window in 0..contents.len() - 24 {
            assert!(!log.contains(&contents[window..window + 24]), "a part of the token is logged");
        }
    }
}

impl Setting {
    /// Decides without a second capture of the log.
    async fn decide_quietly(&self, credential: &str) -> Verdict {
        self.harness.verdict(&SHAPE.bearer(credential)).await
    }
}
