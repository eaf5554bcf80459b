//! Every route has an authorizer, and a test that it refuses callers without the right
//! to use it.

use serde_json::{Value, json};
use tests::Harness;

use crate::support::activity::is_activity;
use crate::support::routes::{self, OPEN_ROUTES, ROUTES};

#[test]
fn every_route_in_the_template_has_the_authorizer_and_a_test() {
    let routes = local::template::Template::read().unwrap().routes().unwrap();
    let (open, routes): (Vec<_>, Vec<_>) =
        routes.into_iter().partition(|route| OPEN_ROUTES.iter().any(|(key, _)| *key == route.key()));
    let deployed: Vec<_> = routes.iter().map(|route| (route.key(), route.function.as_str())).collect();
    let tested: Vec<_> = ROUTES.iter().map(|route| (route.key(), route.function)).collect();
    assert_eq!(
        deployed, tested,
        "If you are here because this assertion failed, add the new route to \
         tests/it/support/routes.rs, so that its authorization is tested. DO NOT SKIP THIS."
    );
    for route in routes {
        assert_eq!(route.authorizer.as_deref(), Some("IamAuthorizer"), "{}", route.key());
    }
    let open: Vec<_> = open.iter().map(|route| (route.key(), route.function.as_str())).collect();
    assert_eq!(open, OPEN_ROUTES.map(|(key, function)| (key.to_owned(), function)), "the open routes");
}

#[tokio::test]
async fn every_route_refuses_callers_without_the_right_and_changes_nothing() {
    let harness = Harness::start().await;
    let mut keys = Vec::new();
    for role in ["ServiceAccountReader", "ServiceAccountWriter", "ServiceAccountAdmin"] {
        keys.push(harness.account_with_key(role, role).await.1);
    }
    let business_token = harness.system.facts().admin_api_token.as_str();
    let before = harness.table.dump().await;
    for route in &ROUTES {
        let refused = route.request(&harness, &keys[0]).send().await;
        assert_eq!((refused.status, refused.text.as_str()), (401, r#"{"message":"Unauthorized"}"#));
        let invalid = ["garbage", "a.b.c", business_token].map(|credential| (credential, 403));
        let for_keys = if route.is_for_keys { 200 } else { 403 };
        let keys_and_statuses = keys.iter().map(|key| (key.secret.as_str(), for_keys));
        for (credential, status) in invalid.into_iter().chain(keys_and_statuses) {
            let reply = route.request(&harness, &keys[0]).bearer(credential).send().await;
            assert_eq!(reply.status, status, "{} with {credential}", route.key());
            if status == 403 {
                assert_eq!(reply.text, r#"{"message":"Forbidden"}"#, "{}", route.key());
            }
        }
    }
    // The authorizer records the activity of the keys.
    let mut after = harness.table.dump().await;
    after.retain(|item| !is_activity(item));
    assert_eq!(before, after);
}

#[tokio::test]
async fn every_route_accepts_an_admin() {
    let harness = Harness::start().await;
    for route in &ROUTES {
        let (_, key) = routes::create_target(&harness, &route.key()).await;
        let reply = route.request(&harness, &key).admin().send().await;
        assert!((200..300).contains(&reply.status), "{}: {reply:?}", route.key());
    }
}

/// A function must refuse an event that has not passed the authorizer.
#[tokio::test]
async fn function_without_a_complete_authorizer_context_401() {
    let harness = Harness::start().await;
    let (_, key) = routes::create_target(&harness, "target").await;
    let mut contexts: Vec<Option<Value>> =
        vec![None, Some(json!({})), Some(json!({ "principalType": "root" }))];
    // Contexts in which one member is missing, empty or not a string.
    for complete in [routes::admin_context(), routes::key_context(&key)] {
        for member in complete.as_object().unwrap().keys() {
            for value in [Value::Null, "".into(), 1.into()] {
                let mut broken = complete.clone();
                broken[member] = value;
                contexts.push(Some(broken));
            }
            let mut broken = complete.clone();
            broken.as_object_mut().unwrap().remove(member);
            contexts.push(Some(broken));
        }
    }
    let before = harness.table.dump().await;
    for route in &ROUTES {
        for context in &contexts {
            let reply = harness.invoke(route.function, &route.event(&key, context.clone())).await;
            assert_eq!((reply.status, reply.code().as_str()), (401, "unauthenticated"), "{context:?}");
            assert_eq!(reply.headers["www-authenticate"], "Bearer");
        }
    }
    assert_eq!(before, harness.table.dump().await);
}

/// A function for admins must refuse a key even if the authorizer has allowed it.
#[tokio::test]
async fn function_for_admins_with_the_context_of_a_key_403() {
    let harness = Harness::start().await;
    let (_, key) = routes::create_target(&harness, "target").await;
    let before = harness.table.dump().await;
    for route in ROUTES.iter().filter(|route| !route.is_for_keys) {
        let event = route.event(&key, Some(routes::key_context(&key)));
        let reply = harness.invoke(route.function, &event).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "not_permitted"), "{}", route.key());
    }
    assert_eq!(before, harness.table.dump().await);
}

#[tokio::test]
async fn function_with_a_route_of_another_function_404() {
    let harness = Harness::start().await;
    let (_, key) = routes::create_target(&harness, "target").await;
    let before = harness.table.dump().await;
    for function in
        ["ListServiceAccounts", "IssueKey", "RevokeKey", "ManageApis", "ManageIssuers", "ManageRoles"]
    {
        for route in ROUTES.iter().filter(|route| route.function != function) {
            let event = route.event(&key, Some(routes::admin_context()));
            let reply = harness.invoke(function, &event).await;
            assert_eq!((reply.status, reply.code().as_str()), (404, "route_not_found"), "{}", route.key());
        }
    }
    assert_eq!(before, harness.table.dump().await);
}
