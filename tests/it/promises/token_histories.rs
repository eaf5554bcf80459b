//! Tokens end with what they were made from: once the client has the response that confirms
//! the end of a key, a federated identity, an issuer or an account, every instance of the
//! authorizer refuses every token that was made from it, and the token endpoint makes no
//! more. These tests exchange credentials, check tokens and end grants concurrently, with
//! random delays on the calls to AWS, and compare each history with a model.

use std::sync::Mutex;
use std::time::Duration;

use authorizer::Authorizer;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use shared::domain::Clock as _;
use tests::{Account, Harness, Key};

use super::revocation_histories::AuthorizerProcess;
use crate::support::Verdict;
use crate::support::faults::delay_calls;
use crate::support::model::{
    Check, History, Revocation, Span, Summary, Timeline, check_count, history_count, start_authorizers,
};

/// A custom role that does not permit the checked request.
const OTHER_ROLE: &str = "SomethingElse";

/// The audience of the JWTs.
const AUDIENCE: &str = "https://keyward.example";

/// What a credential can depend on, besides its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Key(usize),
    Identity(usize),
    /// The issuer with this number. Identity 0 has issuer 0, and the others have issuer 1.
    Issuer(usize),
}

/// An operation that ends the access of some or all credentials of an account.
#[derive(Clone, Copy, Debug)]
enum Operation {
    End(Part),
    EndAllGrants,
    DisableAccount,
    DeleteAccount,
    /// Gives the account a role that does not permit the checked request. Exchanges still
    /// succeed.
    ChangeRole,
    /// Advances the clock by a day.
    Expire,
}

/// The account of a history, with two keys and three federated identities of two issuers.
struct Setting {
    account: Account,
    keys: [Key; 2],
    identities: [String; 3],
    issuers: [String; 2],
}

/// A credential from which a token can be made.
#[derive(Clone)]
enum Source {
    Key(usize),
    Identity(usize),
    Token(String),
}

/// A token, and what it depends on.
#[derive(Clone)]
struct MadeToken {
    text: String,
    depends_on: Vec<Part>,
    /// The span of the exchange that made the token. `None` for a token at the start.
    made: Option<Span>,
}

/// An operation that an admin performed.
#[derive(Clone, Copy)]
struct Performed {
    operation: Operation,
    span: Span,
    succeeded: bool,
}

/// How a day that passes affects a credential.
#[derive(Clone, Copy)]
enum Lifetime {
    /// A key, and a token that was made from one: both have expired after the day.
    Key,
    /// A token that was made from a federated identity in this span, or at the start.
    Token(Option<Span>),
    /// A federated identity, which does not expire. A program signs a new JWT for each
    /// exchange.
    Identity,
}

impl Performed {
    /// The operation as the end of a credential that depends on `parts`. `None` if the
    /// operation does not end the credential.
    fn end_of(self, parts: &[Part], lifetime: Lifetime, is_exchange: bool) -> Option<Revocation> {
        let Self { operation, span, succeeded } = self;
        let is_certain = match operation {
            Operation::End(part) if !parts.contains(&part) => return None,
            Operation::ChangeRole if is_exchange => return None,
            Operation::Expire => match lifetime {
                Lifetime::Key | Lifetime::Token(None) => true,
                Lifetime::Token(Some(made)) if span.is_before(made) => return None,
                Lifetime::Token(Some(made)) => made.is_before(span),
                // A JWT that a program signed just before the day passes has expired after it.
                Lifetime::Identity => false,
            },
            Operation::End(_)
            | Operation::EndAllGrants
            | Operation::DisableAccount
            | Operation::DeleteAccount
            | Operation::ChangeRole => true,
        };
        let operation = format!("{operation:?}");
        Some(Revocation { operation, key: None, span, succeeded: succeeded && is_certain })
    }
}

impl Setting {
    async fn create(harness: &Harness, seed: &str) -> Self {
        let account = harness.create_account(&format!("tokens-{seed}"), "ServiceAccountReader").await;
        let key = async |name: &str| {
            harness.issue_key_with(&account, &json!({ "name": name, "expiresInDays": 1 })).await
        };
        let keys = [key("first").await, key("second").await];
        let issuers = ["a", "b"].map(|letter| format!("issuer-{seed}-{letter}"));
        let jwks = harness.client.get(harness.system.issuer().jwks_uri()).send().await;
        let jwks: Value = jwks.unwrap().json().await.unwrap();
        for name in &issuers {
            let body = json!({ "issuer": url(name), "jwks": jwks });
            let put = harness
                .request("PUT", &format!("/iam/v1/issuers/{name}"))
                .admin()
                .json(&body)
                .send()
                .await
                .expect(201);
            assert_eq!(put.status, 201);
        }
        let add = async |number: usize| {
            let body = json!({
                "name": format!("identity {number}"),
                "issuer": issuers[issuer_of(number)],
                "audience": AUDIENCE,
                "claims": { "sub": format!("workload-{number}") },
            });
            let path = format!("{}/federated-identities", account.path());
            let added = harness.request("POST", &path).admin().json(&body).send().await.expect(201);
            added.json()["id"].as_str().unwrap().to_owned()
        };
        let identities = [add(0).await, add(1).await, add(2).await];
        Self { account, keys, identities, issuers }
    }

    /// The form that exchanges `source` for a token.
    fn form(&self, harness: &Harness, source: &Source) -> Vec<(&'static str, String)> {
        let exchange = |subject: String, kind: &str| {
            vec![
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange".to_owned()),
                ("subject_token", subject),
                ("subject_token_type", kind.to_owned()),
            ]
        };
        match source {
            Source::Key(number) => exchange(self.keys[*number].secret.clone(), "urn:keyward:token-type:key"),
            Source::Token(token) => exchange(token.clone(), "urn:ietf:params:oauth:token-type:access_token"),
            Source::Identity(number) => {
                let now = harness.clock.now().as_second();
                let claims = json!({
                    "iss": url(&self.issuers[issuer_of(*number)]),
                    "aud": AUDIENCE,
                    "sub": format!("workload-{number}"),
                    "iat": now,
                    "exp": now + 300,
                });
                let header = harness.system.issuer().header();
                let mut form =
                    exchange(harness.sign(&header, &claims), "urn:ietf:params:oauth:token-type:jwt");
                let identity = format!("{}/{}", self.account.id, self.identities[*number]);
                form.push(("audience", identity));
                form
            }
        }
    }

    /// Exchanges `source` for a token. `Err` is the verdict without one.
    async fn exchange(&self, harness: &Harness, source: &Source) -> Result<String, Verdict> {
        let url = format!("{}/iam/v1/token", harness.system.facts().api);
        let response = harness.client.post(url).form(&self.form(harness, source)).send().await.unwrap();
        match response.status().as_u16() {
            200 => {
                let token: Value = response.json().await.unwrap();
                Ok(token["access_token"].as_str().unwrap().to_owned())
            }
            400 => Err(Verdict::Refused),
            status => {
                assert!([500, 503].contains(&status), "{response:?}");
                Err(Verdict::Outage)
            }
        }
    }

    /// Performs `operation`. Returns whether it succeeded.
    async fn perform(&self, harness: &Harness, operation: Operation) -> bool {
        let path = self.account.path();
        let send = async |method: &str, path: String, body: Option<Value>| {
            let request = harness.request(method, &path).admin();
            let request = if let Some(body) = body { request.json(&body) } else { request };
            let reply = request.send().await;
            // Another admin may have ended the same thing, the admin's token may have expired
            // with the day, or the request timed out.
            assert!([200, 204, 403, 404, 409, 500, 503].contains(&reply.status), "{reply:?}");
            reply.status < 300
        };
        match operation {
            Operation::End(Part::Key(number)) => send("DELETE", self.keys[number].path(), None).await,
            Operation::End(Part::Identity(number)) => {
                let identity = &self.identities[number];
                send("DELETE", format!("{path}/federated-identities/{identity}"), None).await
            }
            Operation::End(Part::Issuer(number)) => {
                send("DELETE", format!("/iam/v1/issuers/{}", self.issuers[number]), None).await
            }
            Operation::EndAllGrants => send("DELETE", format!("{path}/keys"), None).await,
            Operation::DisableAccount => send("PATCH", path, Some(json!({ "enabled": false }))).await,
            Operation::ChangeRole => send("PATCH", path, Some(json!({ "role": OTHER_ROLE }))).await,
            Operation::DeleteAccount => send("DELETE", path, None).await,
            Operation::Expire => {
                harness.clock.advance_days(1);
                true
            }
        }
    }
}

fn url(issuer: &str) -> String {
    format!("https://{issuer}.example")
}

fn issuer_of(identity: usize) -> usize {
    usize::from(identity > 0)
}

/// What `source` depends on, and its lifetime.
fn describe(source: &Source, tokens: &[MadeToken]) -> (Vec<Part>, Lifetime) {
    match source {
        Source::Key(number) => (vec![Part::Key(*number)], Lifetime::Key),
        Source::Identity(number) => {
            (vec![Part::Identity(*number), Part::Issuer(issuer_of(*number))], Lifetime::Identity)
        }
        Source::Token(text) => {
            let parent = tokens.iter().find(|token| token.text == *text).unwrap();
            (parent.depends_on.clone(), parent.lifetime())
        }
    }
}

impl MadeToken {
    fn lifetime(&self) -> Lifetime {
        let is_of_key = self.depends_on.iter().any(|part| matches!(part, Part::Key(_)));
        if is_of_key { Lifetime::Key } else { Lifetime::Token(self.made) }
    }
}

/// The sources from which a history makes tokens: its keys, its identities and, from the
/// second generation on, its tokens.
const SOURCES: [Source; 5] =
    [Source::Key(0), Source::Key(1), Source::Identity(0), Source::Identity(1), Source::Identity(2)];

/// A random pause of up to 12 ms.
fn pause(random: &mut StdRng) -> Duration {
    Duration::from_micros(random.random_range(0..12_000))
}

/// The checks and exchanges of one history. The violations are those of each credential.
struct TokenHistory {
    checks: Vec<Check>,
    exchanges: usize,
    violations: Vec<String>,
}

/// Records one history: two admins end grants, issuers or the account while two programs make
/// tokens from keys, from JWTs and from tokens, and the authorizers check all tokens.
#[expect(clippy::too_many_lines, reason = "the parts of a history share its state")]
async fn token_history(harness: &Harness, authorizers: &[Authorizer], seed: u64) -> TokenHistory {
    let mut random = StdRng::seed_from_u64(seed);
    let setting = Setting::create(harness, &seed.to_string()).await;
    let tokens: Mutex<Vec<MadeToken>> = Mutex::default();
    // The tokens at the start: one of each key and identity, and a child of each.
    for source in SOURCES {
        for source in [Some(source), None] {
            let source =
                source.unwrap_or_else(|| Source::Token(tokens.lock().unwrap().last().unwrap().text.clone()));
            let text = setting.exchange(harness, &source).await.expect("the first exchange succeeds");
            let (depends_on, _) = describe(&source, &tokens.lock().unwrap());
            tokens.lock().unwrap().push(MadeToken { text, depends_on, made: None });
        }
    }
    let all = [
        Operation::EndAllGrants,
        Operation::DisableAccount,
        Operation::ChangeRole,
        Operation::DeleteAccount,
        Operation::Expire,
    ];
    let mut operations = [
        Operation::End(Part::Key(0)),
        Operation::End(Part::Identity(1)),
        Operation::End(Part::Issuer(random.random_range(0..2))),
        *all.choose(&mut random).unwrap(),
    ];
    operations.shuffle(&mut random);

    // With more checks, everything else takes longer too.
    let scale = check_count().div_ceil(16);
    let timeline = Timeline::default();
    let (first, second) = operations.split_at(operations.len() / 2);
    let admins = [first, second].map(|operations| {
        let plan: Vec<_> = operations.iter().map(|operation| (*operation, pause(&mut random))).collect();
        let (timeline, setting) = (&timeline, &setting);
        async move {
            let mut performed = Vec::new();
            for (operation, pause) in plan {
                tokio::time::sleep(pause * scale).await;
                let (succeeded, span) = timeline.record(setting.perform(harness, operation)).await;
                performed.push(Performed { operation, span, succeeded });
            }
            performed
        }
    });
    let programs = [0, 1].map(|_| {
        let plan: Vec<_> = (0..8)
            .map(|_| {
                (
                    random.random_range(0..SOURCES.len() + 3),
                    random.random_range(0..usize::MAX),
                    pause(&mut random),
                )
            })
            .collect();
        let (timeline, setting, tokens) = (&timeline, &setting, &tokens);
        async move {
            let mut exchanges = Vec::new();
            for (which, token, pause) in plan {
                tokio::time::sleep(pause * scale / 2).await;
                let source = SOURCES.get(which).cloned().unwrap_or_else(|| {
                    // A token of the first two generations: their children are within the
                    // maximum depth.
                    Source::Token(tokens.lock().unwrap()[token % (2 * SOURCES.len())].text.clone())
                });
                let (depends_on, lifetime) = describe(&source, &tokens.lock().unwrap());
                let (made, span) = timeline.record(setting.exchange(harness, &source)).await;
                let verdict = match made {
                    Ok(text) => {
                        let depends_on = depends_on.clone();
                        tokens.lock().unwrap().push(MadeToken { text, depends_on, made: Some(span) });
                        Verdict::Allowed
                    }
                    Err(verdict) => verdict,
                };
                exchanges.push((depends_on, lifetime, Check { key: 0, span, verdict }));
            }
            exchanges
        }
    });
    let checkers = authorizers.iter().map(|authorizer| {
        let plan: Vec<_> = (0..check_count())
            .map(|_| (random.random_range(0..usize::MAX), pause(&mut random) / 4))
            .collect();
        let (timeline, tokens) = (&timeline, &tokens);
        async move {
            let mut checks = Vec::new();
            for (which, pause) in plan {
                tokio::time::sleep(pause).await;
                let (number, token) = {
                    let tokens = tokens.lock().unwrap();
                    let number = which % tokens.len();
                    (number, tokens[number].clone())
                };
                checks.push(timeline.check(authorizer, number, &token.text).await);
            }
            checks
        }
    });
    let (performed, exchanges, checks) =
        tokio::join!(join_all(admins), join_all(programs), join_all(checkers));
    let (performed, exchanges, mut checks) = (performed.concat(), exchanges.concat(), checks.concat());
    let tokens = tokens.into_inner().unwrap();
    for authorizer in authorizers {
        for (number, token) in tokens.iter().enumerate() {
            checks.push(timeline.check(authorizer, number, &token.text).await);
        }
    }
    // Issuers are limited in number.
    for number in [0, 1] {
        setting.perform(harness, Operation::End(Part::Issuer(number))).await;
    }

    let revocations = |parts: &[Part], lifetime, is_exchange| -> Vec<Revocation> {
        performed.iter().filter_map(|performed| performed.end_of(parts, lifetime, is_exchange)).collect()
    };
    let mut violations = Vec::new();
    for (number, token) in tokens.iter().enumerate() {
        let of_token = checks.iter().filter(|check| check.key == number).copied().collect();
        let revocations = revocations(&token.depends_on, token.lifetime(), false);
        violations.extend(History { checks: of_token, revocations }.violations());
    }
    for (depends_on, lifetime, exchange) in &exchanges {
        let revocations = revocations(depends_on, *lifetime, true);
        let history = History { checks: vec![*exchange], revocations };
        violations.extend(history.violations().into_iter().map(|text| format!("exchange: {text}")));
    }
    TokenHistory { checks, exchanges: exchanges.len(), violations }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn token_is_denied_once_what_it_was_made_from_has_ended() {
    let harness = Harness::start().await;
    harness.put_role(OTHER_ROLE, &["GET /elsewhere"]).await;
    // Most of a check's time is delays, so more authorizers use all processors.
    let more = if check_count() > 16 { 4 } else { 1 };
    let authorizers: Vec<_> = (0..more).flat_map(|_| start_authorizers(&harness)).collect();
    delay_calls(&harness, 5);
    let (mut summary, mut exchanges, mut allowed, mut outages) = (Summary::default(), 0, 0, 0);
    for seed in 0..history_count() {
        let history = token_history(&harness, &authorizers, seed).await;
        let count = |verdict| history.checks.iter().filter(|check| check.verdict == verdict).count();
        exchanges += history.exchanges;
        allowed += count(Verdict::Allowed);
        outages += count(Verdict::Outage);
        summary.add(&history.checks, history.violations);
    }
    summary.assert_no_violations(&format!(
        "histories of tokens, with {exchanges} exchanges and {allowed} allowed checks"
    ));
    assert!(allowed > 0, "no token was allowed");
    let checks = summary.checks;
    assert!(outages < checks / 2, "{outages} of {checks} checks timed out: this machine is too busy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn token_is_denied_in_another_process_once_what_it_was_made_from_has_ended() {
    let harness = Harness::start().await;
    harness.put_role(OTHER_ROLE, &["GET /elsewhere"]).await;
    let mut processes = AuthorizerProcess::start_several(&harness, 2).await;
    let mut summary = Summary::default();
    let cases = [
        (Source::Key(0), Operation::End(Part::Key(0))),
        (Source::Identity(0), Operation::End(Part::Identity(0))),
        (Source::Identity(1), Operation::End(Part::Issuer(1))),
        (Source::Identity(2), Operation::EndAllGrants),
        (Source::Key(1), Operation::DisableAccount),
        (Source::Identity(0), Operation::ChangeRole),
        (Source::Identity(0), Operation::DeleteAccount),
    ];
    for (number, (source, operation)) in cases.into_iter().enumerate() {
        let setting = Setting::create(&harness, &format!("process-{number}")).await;
        let parent = setting.exchange(&harness, &source).await.unwrap();
        let child = setting.exchange(&harness, &Source::Token(parent.clone())).await.unwrap();
        let tokens = [parent, child];
        let timeline = Timeline::default();
        for process in &mut processes {
            for token in &tokens {
                assert_eq!(process.check(token).await, Verdict::Allowed);
            }
        }
        let admin = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let (succeeded, span) = timeline.record(setting.perform(&harness, operation)).await;
            Revocation { operation: format!("{operation:?}"), key: None, span, succeeded }
        };
        // Each process checks the tokens until it has refused them six times.
        let checkers = processes.iter_mut().map(|process| async {
            let mut checks = Vec::new();
            while checks.iter().filter(|check: &&Check| check.verdict == Verdict::Refused).count() < 6 {
                for (key, token) in tokens.iter().enumerate() {
                    let (verdict, span) = timeline.record(process.check(token)).await;
                    checks.push(Check { key, span, verdict });
                }
                assert!(checks.len() < 10_000, "the process does not refuse the tokens");
            }
            checks
        });
        let (revocation, checks) = tokio::join!(admin, join_all(checkers));
        assert!(revocation.succeeded, "{operation:?} failed");
        let history = History { checks: checks.concat(), revocations: vec![revocation] };
        summary.add(&history.checks, history.violations());
    }
    summary.assert_no_violations("histories of tokens in 2 processes");
}
