//! The cost of a decision and of an exchange: `cargo bench -p tests --bench decision`.
//!
//! Each name has the number of calls to AWS per iteration. A bare `GetItem` through the same SDK is
//! the baseline for the whole authorizer.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "function/document.rs"]
mod document;
#[path = "function/event.rs"]
mod event;

use std::hint::black_box;
use std::sync::Arc;

use authorizer::Authorizer;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use document::document;
use event::event;
use exchange_token::ExchangeToken;
use serde_json::json;
use shared::config::Setup;
use shared::domain::{
    AccountId, ApiKey, BuiltInRole, Clock as _, Environment, GrantBinding, KeyId, KeySpec, OsEntropy, Pepper,
    RoutePrefix, SealedToken, SecretVersion, SystemClock, TokenClaims, TokenGrant, TokenId, TokenKey,
    Verifier,
};
use shared::http::{Invocable as _, Operation as _, respond};
use shared::openapi::Document;
use shared::policy::{Api, BuiltInRoles, Grant, GrantRoles, PathPrefix, Target, decide};
use shared::tools::{Selection, compile};
use tests::tokens::{Parent, add_identity, register_issuer};
use tests::{Harness, Key, workload};
use tokio::runtime::Runtime;

fn key_parts() -> (Environment, ApiKey, Pepper, KeySpec) {
    let environment = Environment::parse("prod").unwrap();
    let (account, id) = (AccountId::generate(&OsEntropy).unwrap(), KeyId::generate(&OsEntropy).unwrap());
    let key = ApiKey::generate(account, id, &OsEntropy).unwrap();
    let pepper = Pepper::new(&[b'p'; 64]).unwrap();
    let spec = KeySpec {
        expires_at: "2027-01-01T00:00:00Z".parse().unwrap(),
        role: None,
        cidrs: shared::domain::AllowedCidrs::default(),
    };
    (environment, key, pepper, spec)
}

/// The parts of a decision that need no I/O.
fn pure(criterion: &mut Criterion) {
    let (environment, key, pepper, spec) = key_parts();
    let text = key.display(&environment).expose().to_owned();
    criterion.bench_function("parse a key (0 calls)", |bencher| {
        bencher.iter(|| ApiKey::parse(black_box(&text), &environment).is_ok());
    });
    let stored = Verifier::compute(&pepper, &key, &spec);
    criterion.bench_function("verify a key (0 calls)", |bencher| {
        bencher.iter(|| Verifier::compute(&pepper, black_box(&key), &spec).matches(&stored));
    });
    let token_key = TokenKey::from(pepper);
    let binding = || GrantBinding::of_key(stored.clone(), &spec);
    let claims = TokenClaims {
        account: key.account,
        grant: TokenGrant::Key(key.id),
        id: TokenId::generate(&OsEntropy).unwrap(),
        issued_at: SystemClock.now(),
        lifetime_seconds: 900,
        roles: Vec::new(),
        parents: Vec::new(),
        request: None,
    };
    let version = SecretVersion::parse("v1").unwrap();
    let token = claims.seal(&environment, (&version, &token_key), &binding()).unwrap();
    criterion.bench_function("parse a token (0 calls)", |bencher| {
        bencher.iter(|| SealedToken::parse(black_box(token.expose()), &environment).is_ok());
    });
    criterion.bench_function("parse a token and check its tags (0 calls)", |bencher| {
        bencher.iter(|| {
            let sealed = SealedToken::parse(black_box(token.expose()), &environment).unwrap();
            sealed.open(&token_key).unwrap().matches(&binding())
        });
    });
    let roles = BuiltInRoles::new(&PathPrefix::parse_list("/organizations,/teams").unwrap());
    let role: &Arc<_> = roles.get(BuiltInRole::Reader);
    criterion.bench_function("decide a route (0 calls)", |bencher| {
        bencher.iter(|| {
            let target = Target::parse("GET", black_box("/teams/7/members")).unwrap();
            decide(Api::Business, Grant::ServiceAccount(GrantRoles::new(role)), &target).is_ok()
        });
    });
}

/// The tools of a document.
fn tools(criterion: &mut Criterion) {
    let text = document(100).to_string();
    let route_prefix = RoutePrefix::parse("").unwrap();
    let selection = Selection { include: None, exclude: &[], route_prefix: &route_prefix };
    let compile_all = || compile(&Document::read(black_box(&text)).unwrap(), &selection).unwrap();
    criterion.bench_function("compile a document with 100 operations (0 calls)", |bencher| {
        bencher.iter(compile_all);
    });
    let tool = compile_all().tools.swap_remove(0);
    let arguments = json!({ "id": "42", "from": "2026-01-01", "currency": "CHF" });
    let arguments = arguments.as_object().unwrap();
    criterion.bench_function("check arguments and make a request (0 calls)", |bencher| {
        bencher.iter(|| tool.request(black_box(arguments.clone())).is_ok());
    });
}

/// A system, one of the ten keys of an account, a token of this key, and a token of a federated
/// identity of another account.
async fn system() -> (Harness, Key, [String; 2]) {
    let harness = Harness::start().await;
    let account = harness.create_account("benchmark", "ServiceAccountReader").await;
    let mut key = None;
    for _ in 0..10 {
        key = Some(harness.issue_key(&account).await);
    }
    let key = key.unwrap();
    register_issuer(&harness, "platform").await;
    let other = harness.create_account("workload", "ServiceAccountReader").await;
    let identity = add_identity(&harness, &other, "platform", None).await;
    let tokens = [Parent::key(&key).token(&harness).await, identity.token(&harness).await];
    (harness, key, tokens)
}

/// An authorizer whose HTTP client is not wrapped by the harness.
fn plain_authorizer(harness: &Harness) -> Authorizer {
    let setup = harness.system.setup_for("Authorizer").unwrap();
    let http_client = local::services::http_client(harness.system.services().connector());
    Authorizer::new(&Setup { http_client, ..setup }).unwrap()
}

/// The whole authorizer against the embedded database.
fn whole(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let (harness, key, [of_key, of_identity]) = runtime.block_on(system());
    let authorizer = runtime.block_on(async {
        let authorizer = plain_authorizer(&harness);
        authorizer.warm().await;
        authorizer
    });
    let mistyped = format!("{}0", key.secret.get(..key.secret.len() - 1).unwrap());
    let mut group = criterion.benchmark_group("authorizer");
    for (name, credential) in [
        ("refuse a mistyped key", mistyped),
        ("allow a key", key.secret.clone()),
        ("allow a token of a key", of_key),
        ("allow a token of an identity", of_identity),
    ] {
        let event = event(&credential);
        let calls = runtime.block_on(async {
            // The first decision of an instance also fetches the keyring.
            let _ = harness.authorizer().answer(&event, "benchmark").await;
            harness.wire.take_calls();
            let _ = harness.authorizer().answer(&event, "benchmark").await;
            harness.wire.take_calls().len()
        });
        let id = BenchmarkId::new(name, format!("{calls} calls"));
        group.bench_function(id, |bencher| {
            bencher.to_async(&runtime).iter(|| authorizer.answer(&event, "benchmark"));
        });
    }
    group.bench_function(BenchmarkId::new("a bare GetItem", "1 calls"), |bencher| {
        let pk = aws_sdk_dynamodb::types::AttributeValue::S(format!("ACCOUNT#{}", key.account));
        let sk = aws_sdk_dynamodb::types::AttributeValue::S("ACCOUNT".to_owned());
        bencher.to_async(&runtime).iter(|| {
            let get = harness.table.client.get_item().table_name(&harness.table.name).consistent_read(true);
            let get = get.projection_expression("enabled").key("pk", pk.clone()).key("sk", sk.clone());
            async { get.send().await.is_ok() }
        });
    });
    group.finish();
}

/// The token endpoint against the embedded database. The keys of the issuer are inline.
fn exchange(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let (harness, identity) = runtime.block_on(workload::start());
    let key = runtime.block_on(harness.issue_key(&identity.account));
    let setup = harness.system.setup_for("ExchangeToken").unwrap();
    let http_client = local::services::http_client(harness.system.services().connector());
    let function = ExchangeToken::new(&Setup { http_client, ..setup }).unwrap();
    runtime.block_on(function.warm());
    let mut group = criterion.benchmark_group("token endpoint");
    let audience = identity.audience();
    let claims = workload::claims(&harness);
    for signing_key in workload::KEYS.iter() {
        let jwt = signing_key.sign(&signing_key.header(), &claims);
        let body = workload::form(&workload::jwt_exchange(&jwt, &audience));
        let id = BenchmarkId::new(format!("exchange a JWT ({})", signing_key.algorithm()), "2 calls");
        bench_exchange(&mut group, &runtime, &function, id, &body);
    }
    for (name, credential, calls) in
        [("exchange a key", key.secret.as_str(), "1 calls"), ("refuse a malformed key", "kwsa_x", "0 calls")]
    {
        let body = workload::form(&[
            ("grant_type", workload::TOKEN_EXCHANGE),
            ("subject_token", credential),
            ("subject_token_type", workload::KEY_TYPE),
        ]);
        bench_exchange(&mut group, &runtime, &function, BenchmarkId::new(name, calls), &body);
    }
    group.finish();
}

fn bench_exchange(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    function: &ExchangeToken,
    id: BenchmarkId,
    body: &str,
) {
    let event = workload::token_event(body, "192.0.2.1").to_string();
    group.bench_function(id, |bencher| {
        bencher.to_async(runtime).iter(|| async {
            let is_answered = respond(function, &event).await.is_ok();
            function.follow_up().await;
            is_answered
        });
    });
}

criterion_group!(benches, pure, tools, whole, exchange);
criterion_main!(benches);
