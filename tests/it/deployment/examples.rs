//! Rules for the example stacks: an authorizer on every route, the permission to call it, and
//! no cache. Removing any of these parts fails a rule.

use insta::assert_json_snapshot;
use serde_norway::Value;
use tests::{Harness, Shape};

use crate::support::yaml::{expect_all, get};

const HTTP_API: &str = include_str!("../../../infra/examples/http-api.yaml");
const REST_API: &str = include_str!("../../../infra/examples/rest-api.yaml");

const INVOCATION: &str = "!Sub \"arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${AuthorizerArn}/invocations\"";

fn parse(text: &str) -> Value {
    serde_norway::from_str(text).unwrap()
}

/// API Gateway can call the authorizer and the backend, for this API only.
fn permissions(template: &Value) -> Vec<String> {
    let source = "!Sub \"arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}";
    let permission = |function: &str, of: &str| {
        format!(
            "{{ Action: lambda:InvokeFunction, FunctionName: !Ref {function}, Principal: apigateway.amazonaws.com, SourceArn: {source}/{of}\" }}"
        )
    };
    expect_all(
        template,
        &[
            ("Resources.KeywardPermission.Type", "AWS::Lambda::Permission"),
            ("Resources.KeywardPermission.Properties", &permission("AuthorizerArn", "authorizers/*")),
            ("Resources.BackendPermission.Type", "AWS::Lambda::Permission"),
            ("Resources.BackendPermission.Properties", &permission("Backend", "*")),
        ],
    )
}

fn http_api(text: &str) -> Vec<String> {
    let template = parse(text);
    let mut problems = permissions(&template);
    problems.extend(expect_all(
        get(&template, "Resources.Keyward.Properties"),
        &[
            ("AuthorizerType", "REQUEST"),
            ("AuthorizerUri", INVOCATION),
            ("AuthorizerPayloadFormatVersion", "\"2.0\""),
            ("EnableSimpleResponses", "false"),
            ("AuthorizerResultTtlInSeconds", "0"),
            ("IdentitySource", "[\"$request.header.Authorization\"]"),
        ],
    ));
    for (name, resource) in get(&template, "Resources").as_mapping().unwrap() {
        if get(resource, "Type").as_str() == Some("AWS::ApiGatewayV2::Route") {
            let route = get(resource, "Properties");
            let secured = [("AuthorizationType", "CUSTOM"), ("AuthorizerId", "!Ref Keyward")];
            let missing = expect_all(route, &secured).into_iter();
            problems.extend(missing.map(|problem| format!("{}: {problem}", name.as_str().unwrap())));
            let key = get(route, "RouteKey").as_str().unwrap();
            if key.starts_with("ANY") || key.contains('$') || key.contains('+') {
                problems.push(format!("{key} is too wide"));
            }
        }
    }
    problems
}

fn rest_api(text: &str) -> Vec<String> {
    let template = parse(text);
    let mut problems = permissions(&template);
    let body = get(&template, "Resources.Api.Properties.DefinitionBody");
    let authorizer = "components.securitySchemes.keyward.x-amazon-apigateway-authorizer";
    problems.extend(expect_all(
        body,
        &[
            ("components.securitySchemes.keyward.type", "apiKey"),
            ("components.securitySchemes.keyward.x-amazon-apigateway-authtype", "custom"),
            (
                authorizer,
                &format!("{{ type: request, authorizerUri: {INVOCATION}, authorizerResultTtlInSeconds: 0 }}"),
            ),
        ],
    ));
    // An outage is a 503, whichever of these two errors API Gateway maps it to:
    // <https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html>.
    for kind in ["AUTHORIZER_CONFIGURATION_ERROR", "AUTHORIZER_FAILURE"] {
        let response = get(get(body, "x-amazon-apigateway-gateway-responses"), kind);
        let retry_after = response
            .get("responseParameters")
            .and_then(|parameters| parameters.get("gatewayresponse.header.Retry-After"));
        if get(response, "statusCode").as_str() != Some("503") || retry_after.is_none() {
            problems.push(format!("{kind} is not a 503 with Retry-After"));
        }
    }
    for (path, operations) in get(body, "paths").as_mapping().unwrap() {
        for (method, operation) in operations.as_mapping().unwrap() {
            let (path, method) = (path.as_str().unwrap(), method.as_str().unwrap());
            let missing = expect_all(operation, &[("security", "[{ keyward: [] }]")]).into_iter();
            problems.extend(missing.map(|problem| format!("{method} {path}: {problem}")));
            // The backend receives only what the mapping template names, so no credential.
            let integration = get(operation, "x-amazon-apigateway-integration");
            problems.extend(expect_all(integration, &[("type", "aws"), ("passthroughBehavior", "never")]));
            if path.contains('+') || method.starts_with("x-") {
                problems.push(format!("{method} {path} is too wide"));
            }
        }
    }
    problems
}

/// The body of the REST example's gateway response, rendered as AWS documents it: only
/// variables are replaced. `absent` is the text for a variable without a value, which AWS does
/// not document. Fails unless the body is JSON.
fn gateway_response(kind: &str, context: &serde_json::Value, absent: &str) -> serde_json::Value {
    let template = parse(REST_API);
    let body = get(&template, "Resources.Api.Properties.DefinitionBody");
    let response = get(get(body, "x-amazon-apigateway-gateway-responses"), kind);
    let text = get(response, "responseTemplates").get("application/json").unwrap().as_str().unwrap();
    let variable = regex::Regex::new(r"\$context\.([A-Za-z.]+)").unwrap();
    let rendered = variable.replace_all(text, |found: &regex::Captures<'_>| match &found[1] {
        "requestId" => "request-1".to_owned(),
        name => {
            let name = name.strip_prefix("authorizer.").unwrap();
            let value = context.get(name).map(|value| value.as_str().unwrap());
            value.unwrap_or(if absent == "$" { &found[0] } else { absent }).to_owned()
        }
    });
    serde_json::from_str(&rendered).unwrap_or_else(|error| panic!("{error}: {rendered}"))
}

#[tokio::test]
async fn a_rest_api_says_why_a_valid_key_is_refused() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let elsewhere = serde_json::json!({ "name": "elsewhere", "allowedCidrs": ["192.0.2.0/24"] });
    let elsewhere = harness.issue_key_with(&account, &elsewhere).await;
    let mut bodies = Vec::new();
    for (method, path, secret) in [
        ("POST", "/organizations", &key.secret),
        ("PUT", "/organizations/\"'&\u{e9}/members", &key.secret),
        ("GET", "/organizations", &elsewhere.secret),
        ("GET", "/organizations//42", &key.secret),
    ] {
        let response = harness.authorize(&Shape::RestRequest.request(method, path, secret)).await.unwrap();
        let response = serde_json::to_value(response).unwrap();
        bodies.push(gateway_response("ACCESS_DENIED", &response["context"], ""));
    }
    assert_json_snapshot!(bodies);
    // Whatever API Gateway writes for a variable without a value.
    for absent in ["", "null", "-", "$"] {
        for kind in ["UNAUTHORIZED", "ACCESS_DENIED", "AUTHORIZER_CONFIGURATION_ERROR", "AUTHORIZER_FAILURE"]
        {
            let body = gateway_response(kind, &serde_json::Value::Null, absent);
            assert_eq!(body["requestId"], "request-1", "{kind}");
        }
    }
}

#[test]
fn the_examples_follow_every_rule() {
    assert_eq!(http_api(HTTP_API), [""; 0]);
    assert_eq!(rest_api(REST_API), [""; 0]);
}

/// `text` without the `nth` line that starts with `start` and the deeper indented lines below.
fn without(text: &str, start: &str, nth: usize) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let at = lines.iter().enumerate().filter(|(_, line)| line.trim_start().starts_with(start)).nth(nth);
    let (at, line) = at.unwrap_or_else(|| panic!("the example does not contain {start}"));
    let indent = |line: &str| line.len() - line.trim_start().len();
    let is_inside = |next: &&&str| next.trim().is_empty() || indent(next) > indent(line);
    let inside = lines[at + 1..].iter().take_while(is_inside).count();
    lines[..at].concat() + &lines[at + 1 + inside..].concat()
}

#[test]
fn removing_any_part_is_reported() {
    let routes = HTTP_API.matches("AWS::ApiGatewayV2::Route\n").count();
    assert!(routes > 2);
    for route in 0..routes {
        for secured in ["AuthorizationType:", "AuthorizerId:"] {
            assert_ne!(http_api(&without(HTTP_API, secured, route)), [""; 0], "{secured} of route {route}");
        }
    }
    for part in [
        "AuthorizerUri:",
        "AuthorizerResultTtlInSeconds:",
        "EnableSimpleResponses:",
        "IdentitySource:",
        "KeywardPermission:",
        "BackendPermission:",
    ] {
        assert_ne!(http_api(&without(HTTP_API, part, 0)), [""; 0], "{part}");
    }
    for part in [
        "security:",
        "x-amazon-apigateway-authtype:",
        "x-amazon-apigateway-authorizer:",
        "authorizerResultTtlInSeconds:",
        "passthroughBehavior:",
        "AUTHORIZER_FAILURE:",
        "KeywardPermission:",
        "BackendPermission:",
    ] {
        assert_ne!(rest_api(&without(REST_API, part, 0)), [""; 0], "{part}");
    }
    for (from, to) in [
        ("get: *operation", "get: { responses: {} }"),
        ("post: *operation", "post: {}"),
        ("AUTHORIZER_CONFIGURATION_ERROR:", "AUTHORIZER_UNKNOWN:"),
        ("statusCode: \"503\"", "statusCode: \"500\""),
    ] {
        assert_ne!(rest_api(&REST_API.replacen(from, to, 1)), [""; 0], "{to}");
    }
    for text in [HTTP_API, REST_API] {
        let wider = text.replace("/authorizers/*", "/*");
        assert_ne!(permissions(&parse(&wider)), [""; 0], "with a permission that is too wide");
    }
}
