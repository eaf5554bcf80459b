//! No route without an authorizer, and none without a test that it refuses
//! whom it must refuse.

use serde_json::{Value, json};
use tests::{Harness, Key};

use crate::support::routes::{self, ROUTES};

#[test]
fn every_route_of_the_template_is_tested_here_and_has_the_authorizer() {
    let routes = local::template::Template::read().unwrap().routes().unwrap();
    let deployed: Vec<_> = routes.iter().map(|route| (route.key(), route.function.as_str())).collect();
    let tested: Vec<_> = ROUTES.iter().map(|route| (route.key(), route.function)).collect();
    assert_eq!(deployed, tested, "the template's routes, and those of routes.rs");
    for route in routes {
        assert_eq!(route.authorizer.as_deref(), Some("IamAuthorizer"), "{}", route.key());
    }
}

/// A key of an account with this built-in role.
async fn key_of(harness: &Harness, role: &str) -> Key {
    let account = harness.create_account(role, role).await;
    harness.issue_key(&account).await
}

#[tokio::test]
async fn no_route_lets_in_whom_it_must_refuse_and_nothing_changes() {
    let harness = Harness::start().await;
    let reader = key_of(&harness, "ServiceAccountReader").await;
    let writer = key_of(&harness, "ServiceAccountWriter").await;
    let admin = key_of(&harness, "ServiceAccountAdmin").await;
    let api_token = harness.system.facts().admin_api_token.clone();
    let before = harness.table.dump().await;
    for route in &ROUTES {
        let refused = route.request(&harness, &admin).send().await;
        assert_eq!((refused.status, refused.text.as_str()), (401, r#"{"message":"Unauthorized"}"#));
        let for_keys = if route.is_for_keys { 200 } else { 403 };
        let credentials = [
            ("garbage", 403),
            ("a.b.c", 403),
            (&reader.secret, for_keys),
            (&writer.secret, for_keys),
            (&admin.secret, for_keys),
            (&api_token, 403),
        ];
        for (credential, status) in credentials {
            let reply = route.request(&harness, &admin).bearer(credential).send().await;
            assert_eq!(reply.status, status, "{} with {credential}", route.key());
            if status == 403 {
                assert_eq!(reply.text, r#"{"message":"Forbidden"}"#, "{}", route.key());
            }
        }
    }
    // But for the use of the keys that asked who they are.
    let mut after = harness.table.dump().await;
    after.retain(|item| !item["pk"].as_s().unwrap().starts_with("USAGE#"));
    assert_eq!(before, after);
}

#[tokio::test]
async fn every_route_lets_an_admin_in() {
    let harness = Harness::start().await;
    for route in &ROUTES {
        let (_, key) = routes::victim(&harness, &route.key()).await;
        let reply = route.request(&harness, &key).admin().send().await;
        assert!((200..300).contains(&reply.status), "{}: {reply:?}", route.key());
    }
}

#[tokio::test]
async fn a_function_without_an_authorizer_in_front_of_it_refuses_401() {
    let harness = Harness::start().await;
    let (_, key) = routes::victim(&harness, "victim").await;
    let whole = [routes::admin_context(), routes::key_context(&key)];
    let mut nobody: Vec<Option<Value>> =
        vec![None, Some(json!({})), Some(json!({ "principalType": "root" }))];
    // A context that lacks any one member, or has it empty or as no text.
    for context in whole {
        for member in context.as_object().unwrap().keys() {
            for value in [Value::Null, "".into(), 1.into()] {
                let mut broken = context.clone();
                broken[member] = value;
                nobody.push(Some(broken));
            }
            let mut broken = context.clone();
            broken.as_object_mut().unwrap().remove(member);
            nobody.push(Some(broken));
        }
    }
    let before = harness.table.dump().await;
    for route in &ROUTES {
        for context in &nobody {
            let reply = harness.invoke(route.function, &route.event(&key, context.clone())).await;
            assert_eq!((reply.status, reply.code().as_str()), (401, "unauthenticated"), "{context:?}");
            assert_eq!(reply.headers["www-authenticate"], "Bearer");
        }
    }
    assert_eq!(before, harness.table.dump().await);
}

#[tokio::test]
async fn a_function_that_a_key_was_let_into_by_mistake_refuses_403() {
    let harness = Harness::start().await;
    let (_, key) = routes::victim(&harness, "victim").await;
    let before = harness.table.dump().await;
    for route in ROUTES.iter().filter(|route| !route.is_for_keys) {
        let event = route.event(&key, Some(routes::key_context(&key)));
        let reply = harness.invoke(route.function, &event).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "not_permitted"), "{}", route.key());
    }
    assert_eq!(before, harness.table.dump().await);
}

#[tokio::test]
async fn a_function_answers_no_other_route_than_its_own_404() {
    let harness = Harness::start().await;
    let (_, key) = routes::victim(&harness, "victim").await;
    let before = harness.table.dump().await;
    for function in ["ListServiceAccounts", "IssueKey", "RevokeKey", "ManageRoles"] {
        for route in ROUTES.iter().filter(|route| route.function != function) {
            let event = route.event(&key, Some(routes::admin_context()));
            let reply = harness.invoke(function, &event).await;
            assert_eq!((reply.status, reply.code().as_str()), (404, "route_not_found"), "{}", route.key());
        }
    }
    assert_eq!(before, harness.table.dump().await);
}
