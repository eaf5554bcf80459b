//! The event that the benchmarks decide on.

use serde_json::json;

/// An event of an HTTP API (payload format 2.0) with this credential.
pub(crate) fn event(credential: &str) -> String {
    json!({
        "version": "2.0",
        "type": "REQUEST",
        "routeArn": "arn:aws:execute-api:eu-central-1:123456789012:abcdef1234/$default/GET/organizations/42",
        "identitySource": [format!("Bearer {credential}")],
        "routeKey": "GET /organizations/{id}",
        "rawPath": "/organizations/42",
        "rawQueryString": "",
        "headers": {
            "accept": "*/*", "authorization": format!("Bearer {credential}"), "host": "api.example.com",
            "user-agent": "curl/8.5.0", "x-amzn-trace-id": "Root=1-65f1c3a0-0123456789abcdef01234567",
            "x-forwarded-for": "203.0.113.7", "x-forwarded-port": "443", "x-forwarded-proto": "https",
        },
        "requestContext": {
            "accountId": "123456789012", "apiId": "abcdef1234", "domainName": "api.example.com",
            "domainPrefix": "api",
            "http": {
                "method": "GET", "path": "/organizations/42", "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7", "userAgent": "curl/8.5.0",
            },
            "requestId": "JKJaXmPLvHcESHA=", "routeKey": "GET /organizations/{id}", "stage": "$default",
            "time": "12/Mar/2026:19:03:58 +0000", "timeEpoch": 1_773_342_238_000_u64,
        },
        "pathParameters": { "id": "42" },
    })
    .to_string()
}
