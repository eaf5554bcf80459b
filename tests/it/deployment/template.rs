//! Rules for `infra/template.yaml`. Each rule is a function that returns its violations.
//! Planted violations show that each rule works.

use std::collections::{BTreeMap, BTreeSet};

use local::template::{Route, TEXT, Template};
use serde_norway::Value;
use shared::config::Setup;
use shared::store::schema;
use tests::Harness;

use crate::support::routes::OPEN_ROUTES;
use crate::support::yaml::{expect, expect_all, get};

/// The block of the pepper and of the token key in the template. It must never change: see
/// the comments there.
const GENERATED: &str = r#"      GenerateSecretString:
        SecretStringTemplate: '{"current":"v1"}'
        GenerateStringKey: v1
        PasswordLength: 64
        ExcludePunctuation: true
"#;

/// Returns the violations of a rule in the template `text`.
type Rule = fn(text: &str) -> Vec<String>;

const RULES: [Rule; 17] = [
    table_names,
    retention,
    generated_secrets,
    rotation,
    authorizer,
    routes,
    open_functions,
    entry_points,
    admins,
    boundary,
    console,
    mcp,
    clients,
    throttles,
    log_groups,
    access_logs,
    notices,
];

/// The variables that are allowed in access logs. None has a header, the query or the path,
/// because these can contain a credential:
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging-variables.html>.
const ACCESS_LOG_VARIABLES: [&str; 11] = [
    "authorizer.error",
    "authorizer.principalId",
    "error.message",
    "httpMethod",
    "identity.sourceIp",
    "integrationErrorMessage",
    "requestId",
    "requestTimeEpoch",
    "responseLatency",
    "routeKey",
    "status",
];

fn parse(text: &str) -> (Template, Value) {
    (Template::parse(text).unwrap(), serde_norway::from_str(text).unwrap())
}

/// The table has the attribute and index names of the schema.
fn table_names(text: &str) -> Vec<String> {
    let (template, _) = parse(text);
    let table = template.properties("Table").unwrap();
    let key = |partition: &str, sort: &str| {
        format!(
            "[{{ AttributeName: {partition}, KeyType: HASH }}, {{ AttributeName: {sort}, KeyType: RANGE }}]"
        )
    };
    let texts = [
        schema::PK,
        schema::SK,
        schema::INDEX_PK,
        schema::INDEX_SK,
        schema::DIRECTORY_PK,
        schema::DIRECTORY_SK,
    ];
    let definitions = texts.map(|name| format!("{{ AttributeName: {name}, AttributeType: S }}")).join(", ");
    let mut problems = expect_all(
        table,
        &[
            ("AttributeDefinitions", &format!("[{definitions}]")),
            ("KeySchema", &key(schema::PK, schema::SK)),
            ("TimeToLiveSpecification", &format!("{{ AttributeName: {}, Enabled: true }}", schema::TTL)),
            ("GlobalSecondaryIndexes.0.IndexName", schema::INDEX),
            ("GlobalSecondaryIndexes.0.KeySchema", &key(schema::INDEX_PK, schema::INDEX_SK)),
            ("GlobalSecondaryIndexes.0.Projection.ProjectionType", "INCLUDE"),
            ("GlobalSecondaryIndexes.1.IndexName", schema::DIRECTORY),
            ("GlobalSecondaryIndexes.1.KeySchema", &key(schema::DIRECTORY_PK, schema::DIRECTORY_SK)),
            ("GlobalSecondaryIndexes.1.Projection.ProjectionType", "INCLUDE"),
            ("GlobalSecondaryIndexes.2", "null"),
            ("LocalSecondaryIndexes", "null"),
        ],
    );
    for (at, expected) in [schema::INDEX_PROJECTION, schema::DIRECTORY_PROJECTION].iter().enumerate() {
        let path = format!("GlobalSecondaryIndexes.{at}.Projection.NonKeyAttributes");
        let projected = get(table, &path).as_sequence().unwrap();
        let projected: Vec<&str> = projected.iter().map(|name| name.as_str().unwrap()).collect();
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        if set(&projected) != set(expected) {
            problems.push(format!("index {at} does not project the attributes of its schema"));
        }
        if projected.len() > 20 {
            problems.push(format!("index {at} projects {} attributes. DynamoDB allows 20", projected.len()));
        }
        if projected.iter().any(|name| name.starts_with(schema::attribute::VERIFIER)) {
            problems.push(format!("index {at} projects verifiers"));
        }
    }
    problems
}

/// The table and the secrets cannot be created again, so they outlive the stack, and the
/// table is protected against deletion.
fn retention(text: &str) -> Vec<String> {
    let (_, template) = parse(text);
    let mut problems = expect_all(
        &template,
        &[
            ("Resources.Table.Properties.DeletionProtectionEnabled", "true"),
            (
                "Resources.Table.Properties.PointInTimeRecoverySpecification",
                "{ PointInTimeRecoveryEnabled: true }",
            ),
            // This would encrypt with a KMS key that the functions are not allowed to use.
            ("Resources.Table.Properties.SSESpecification", "null"),
            ("Resources.Table.Properties.BillingMode", "PAY_PER_REQUEST"),
        ],
    );
    for resource in ["Table", "Pepper", "TokenKey"] {
        for policy in ["DeletionPolicy", "UpdateReplacePolicy"] {
            problems.extend(expect(&template, &format!("Resources.{resource}.{policy}"), "Retain"));
        }
    }
    problems
}

/// If a block changes, CloudFormation generates a new secret.
fn generated_secrets(text: &str) -> Vec<String> {
    // The third `GenerateSecretString` is the console's, which is allowed to change.
    let is_frozen =
        text.matches(GENERATED).count() == 2 && text.matches("GenerateSecretString:").count() == 3;
    if is_frozen {
        Vec::new()
    } else {
        vec!["the block of a secret has changed, which would invalidate every key or token".to_owned()]
    }
}

/// Only Secrets Manager can call the rotation function, and only for this account's pepper and
/// token key. Scheduled rotation is off by default.
fn rotation(text: &str) -> Vec<String> {
    let (_, template) = parse(text);
    let mut problems = Vec::new();
    for secret in ["Pepper", "TokenKey"] {
        let permission = format!("Resources.{secret}RotationPermission.Properties");
        let schedule = format!("Resources.{secret}Rotation");
        let (secret_ref, condition) = (format!("!Ref {secret}"), format!("Rotates{secret}"));
        let (depends, days) = (format!("{secret}RotationPermission"), format!("{secret}RotationDays"));
        let is_on = format!("!Not [!Equals [!Ref {days}, \"0\"]]");
        let expected = [
            (format!("{permission}.Action"), "lambda:InvokeFunction"),
            (format!("{permission}.FunctionName"), "!GetAtt RotateSecret.Arn"),
            (format!("{permission}.Principal"), "secretsmanager.amazonaws.com"),
            (format!("{permission}.SourceAccount"), "!Ref AWS::AccountId"),
            (format!("{permission}.SourceArn"), &secret_ref),
            (format!("{schedule}.Condition"), &condition),
            (format!("{schedule}.DependsOn"), &depends),
            (format!("{schedule}.Properties.SecretId"), &secret_ref),
            (format!("{schedule}.Properties.RotationLambdaARN"), "!GetAtt RotateSecret.Arn"),
            (format!("Conditions.{condition}"), &is_on),
            (format!("Parameters.{days}.Default"), "0"),
        ];
        problems.extend(expected.iter().filter_map(|(at, expected)| expect(&template, at, expected)));
    }
    problems
}

/// The API uses IAM policy responses and does not cache them.
fn authorizer(text: &str) -> Vec<String> {
    let (template, _) = parse(text);
    let api = template.properties("Api").unwrap();
    let mut problems = expect_all(
        api,
        &[
            ("Auth.DefaultAuthorizer", "Keyward"),
            ("Auth.Authorizers.Keyward.AuthorizerPayloadFormatVersion", "\"2.0\""),
            ("Auth.Authorizers.Keyward.EnableSimpleResponses", "false"),
            // Without this, API Gateway cannot call the authorizer and refuses every request.
            ("Auth.Authorizers.Keyward.EnableFunctionDefaultPermissions", "true"),
            ("Auth.Authorizers.Keyward.Identity", "{ Headers: [Authorization], ReauthorizeEvery: 0 }"),
        ],
    );
    if get(api, "Auth.Authorizers").as_mapping().unwrap().len() != 1 {
        problems.push("the API does not have exactly one authorizer".to_owned());
    }
    problems
}

/// Every route has one method and no greedy parameter, is below `/iam/v1/`, and uses the
/// authorizer. Only the routes in [`OPEN_ROUTES`] have no authorizer.
fn routes(text: &str) -> Vec<String> {
    let (template, _) = parse(text);
    let mut problems = Vec::new();
    for route in template.routes().unwrap() {
        let is_open = OPEN_ROUTES.contains(&(route.key().as_str(), route.function.as_str()));
        if !is_open && route.authorizer.as_deref() != Some("IamAuthorizer") {
            problems.push(format!("{} has no IAM authorizer", route.key()));
        }
        let is_exact = route.method != "ANY" && !route.path.contains("+}");
        if !is_exact || !(is_open || route.path.starts_with("/iam/v1/")) {
            problems.push(format!("{} is too wide", route.key()));
        }
    }
    problems
}

/// The functions are reachable only through the API's routes and those of the console and of the
/// MCP server.
fn entry_points(text: &str) -> Vec<String> {
    let (template, whole) = parse(text);
    let mut problems = Vec::new();
    for (name, function) in template.resources("AWS::Serverless::Function") {
        if !get(function, "FunctionUrlConfig").is_null() {
            problems.push(format!("{name} has a URL"));
        }
        for (event, value) in get(function, "Events").as_mapping().into_iter().flatten() {
            let kind = get(value, "Type").as_str();
            let is_sweep = name == "SweepKeys" && kind == Some("Schedule");
            if kind != Some("HttpApi") && !is_sweep {
                problems
                    .push(format!("{name} has the event {}, which is not a route", event.as_str().unwrap()));
            }
        }
    }
    for (name, resource) in get(&whole, "Resources").as_mapping().unwrap() {
        let kind = get(resource, "Type").as_str().unwrap();
        // The rules `console`, `mcp` and `rotation` check these.
        let checked = [
            "ConsolePermission",
            "ConsoleRoute",
            "McpPermission",
            "PepperRotationPermission",
            "TokenKeyRotationPermission",
        ];
        let name = name.as_str().unwrap();
        if checked.contains(&name) || MCP_ROUTES.iter().any(|(route, _)| *route == name) {
            continue;
        }
        if ["AWS::Lambda::Url", "AWS::Lambda::Permission", "AWS::Serverless::Api", "AWS::ApiGatewayV2::Route"]
            .contains(&kind)
        {
            problems.push(format!("{name} is a {kind}"));
        }
    }
    problems
}

/// Only admins create users, MFA is configured, and a user name is an email address.
fn admins(text: &str) -> Vec<String> {
    let (_, template) = parse(text);
    expect_all(
        &template,
        &[
            ("Resources.UserPool.Properties.AdminCreateUserConfig.AllowAdminCreateUserOnly", "true"),
            ("Resources.UserPool.Properties.MfaConfiguration", "!Ref AdminMfa"),
            ("Resources.UserPool.Properties.EnabledMfas", "[SOFTWARE_TOKEN_MFA]"),
            // Without quotation marks, YAML 1.1 reads a boolean.
            ("Parameters.AdminMfa.Default", "\"ON\""),
            ("Parameters.AdminMfa.AllowedValues", "[\"ON\", OPTIONAL]"),
            // If AdminEmail changes, the previous admin stays an admin.
            ("Resources.FirstAdmin.UpdateReplacePolicy", "Retain"),
            ("Resources.FirstAdminMembership.UpdateReplacePolicy", "Retain"),
            // With AliasAttributes, Cognito refuses email addresses as user names. With
            // UsernameAttributes, Cognito generates the user names.
            ("Resources.UserPool.Properties.AliasAttributes", "null"),
            ("Resources.UserPool.Properties.UsernameAttributes", "null"),
            ("Resources.FirstAdmin.Properties.Username", "!Ref AdminEmail"),
            ("Resources.FirstAdminMembership.Properties.Username", "!Ref FirstAdmin"),
            ("Resources.FirstAdminMembership.Properties.GroupName", "!Ref AdminUserGroup"),
        ],
    )
}

/// No token can change an admin's email address, and no token that a business API receives can
/// change the user.
fn clients(text: &str) -> Vec<String> {
    let (template, whole) = parse(text);
    let mut problems = Vec::new();
    for (name, client) in template.resources("AWS::Cognito::UserPoolClient") {
        if client.get("WriteAttributes") != Some(&serde_norway::from_str("[locale]").unwrap()) {
            problems.push(format!("{name} is allowed to write other attributes than locale"));
        }
        if client.get("AllowedOAuthFlows") != Some(&serde_norway::from_str("[code]").unwrap()) {
            problems.push(format!("{name} has other flows than the code flow"));
        }
    }
    let (api, iam) = ("Resources.ApiClient.Properties", "Resources.IamClient.Properties");
    // infra/sign-in.py listens at this address.
    let callback = "[\"http://localhost:8400/callback\"]";
    let expected = [
        (format!("{api}.ExplicitAuthFlows"), "[ALLOW_REFRESH_TOKEN_AUTH]"),
        (format!("{api}.AllowedOAuthScopes"), "[keyward/api]"),
        (format!("{api}.CallbackURLs"), callback),
        (format!("{api}.GenerateSecret"), "null"),
        (format!("{iam}.ExplicitAuthFlows"), "[ALLOW_ADMIN_USER_PASSWORD_AUTH, ALLOW_REFRESH_TOKEN_AUTH]"),
        (format!("{iam}.AllowedOAuthScopes"), "[keyward/iam]"),
        (format!("{iam}.CallbackURLs"), callback),
        ("Resources.ApiClient.DependsOn".to_owned(), "TokenScopes"),
        ("Resources.IamClient.DependsOn".to_owned(), "TokenScopes"),
        ("Resources.TokenScopes.Properties.Identifier".to_owned(), "keyward"),
        ("Resources.TokenScopes.Properties.Scopes.0.ScopeName".to_owned(), "api"),
        ("Resources.TokenScopes.Properties.Scopes.1.ScopeName".to_owned(), "iam"),
    ];
    problems.extend(expected.iter().filter_map(|(at, expected)| expect(&whole, at, expected)));
    problems
}

/// The functions behind open routes can use only the concurrency that is reserved for them. By
/// default, requests of agents cannot use up that of the token endpoint.
fn open_functions(text: &str) -> Vec<String> {
    let (_, template) = parse(text);
    let behind: BTreeSet<&str> = OPEN_ROUTES.iter().map(|(_, function)| *function).collect();
    let mut problems = Vec::new();
    if behind != BTreeSet::from(["ExchangeToken"]) {
        problems.push(format!("the open routes belong to {behind:?}"));
    }
    for (function, kind) in [("ExchangeToken", "Token"), ("Mcp", "Mcp")] {
        let parameter = format!("{kind}Concurrency");
        let reserved = format!("!If [Caps{parameter}, !Ref {parameter}, !Ref \"AWS::NoValue\"]");
        let at = format!("Resources.{function}.Properties.ReservedConcurrentExecutions");
        problems.extend(expect(&template, &at, &reserved));
        let is_on = format!("!Not [!Equals [!Ref {parameter}, \"0\"]]");
        problems.extend(expect(&template, &format!("Conditions.Caps{parameter}"), &is_on));
    }
    let default = |name: &str| get(&template, &format!("Parameters.{name}.Default")).as_u64().unwrap();
    if default("McpConcurrency") >= default("TokenConcurrency") {
        problems.push("agents can use up the concurrency of the token endpoint".to_owned());
    }
    problems
}

/// The routes that remove access have their own limits, far above those of the other routes.
/// The token endpoint has its own limits too.
fn throttles(text: &str) -> Vec<String> {
    let (template, _) = parse(text);
    let api = template.properties("Api").unwrap();
    let limit = |settings: &Value, name: &str| settings.get(name).and_then(Value::as_u64).unwrap_or(0);
    let settings = get(api, "RouteSettings");
    let removes_access = |route: &&Route| {
        route.function == "RevokeKey"
            || [
                "DELETE /iam/v1/apis/{name}",
                "DELETE /iam/v1/issuers/{name}",
                "PATCH /iam/v1/service-accounts/{id}",
                "PUT /iam/v1/roles/{name}",
            ]
            .contains(&route.key().as_str())
    };
    let mut expected = BTreeSet::new();
    let mut problems = Vec::new();
    for route in template.routes().unwrap().iter().filter(removes_access) {
        for name in ["ThrottlingRateLimit", "ThrottlingBurstLimit"] {
            let own = settings.get(route.key()).map_or(0, |settings| limit(settings, name));
            if own < 20 * limit(get(api, "DefaultRouteSettings"), name).max(1) {
                problems.push(format!("{} has no {name} far above the default", route.key()));
            }
        }
        expected.insert(route.key());
    }
    for (key, _) in settings.as_mapping().into_iter().flatten() {
        let is_known = expected.contains(key.as_str().unwrap()) || key == "POST /iam/v1/token";
        if !is_known {
            problems.push(format!("{} has its own limits but removes no access", key.as_str().unwrap()));
        }
    }
    if limit(&settings["POST /iam/v1/token"], "ThrottlingRateLimit") == 0 {
        problems.push("the token endpoint has no limits of its own".to_owned());
    }
    problems
}

/// Every log group outlives the stack, keeps its lines for 90 days, and has a name that a
/// later stack with the same name does not use.
fn log_groups(text: &str) -> Vec<String> {
    let (template, whole) = parse(text);
    let id = "{ Id: !Select [2, !Split [\"/\", !Ref \"AWS::StackId\"]] }";
    let mut problems = Vec::new();
    for (name, group) in template.resources("AWS::Logs::LogGroup") {
        let name_pattern = get(group, "LogGroupName.0").as_str().unwrap_or_default();
        let is_own = ["/aws/lambda/", "/aws/vendedlogs/"]
            .iter()
            .any(|prefix| name_pattern.starts_with(&format!("{prefix}${{AWS::StackName}}/${{Id}}/")));
        if !is_own || expect(group, "LogGroupName.1", id).is_some() {
            problems.push(format!("{name} can have the name of another stack's group"));
        }
        problems.extend(expect(group, "RetentionInDays", "90").map(|problem| format!("{name}: {problem}")));
        for (policy, value) in [("DeletionPolicy", "RetainExceptOnCreate"), ("UpdateReplacePolicy", "Retain")]
        {
            problems.extend(expect(&whole, &format!("Resources.{name}.{policy}"), value));
        }
    }
    problems
}

/// Each API logs each request without its headers, query and path.
fn access_logs(text: &str) -> Vec<String> {
    let (_, whole) = parse(text);
    let mut problems = Vec::new();
    let api = ["authorizer.error", "integrationErrorMessage", "httpMethod", "identity.sourceIp"];
    for (stage, group, wanted) in [
        ("Api", "ApiAccessLogs", &api[..]),
        ("ConsoleStage", "ConsoleAccessLogs", &api[1..]),
        ("McpStage", "McpAccessLogs", &api[1..]),
    ] {
        let settings = get(&whole, &format!("Resources.{stage}.Properties.AccessLogSettings"));
        let arn = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:";
        problems.extend(expect(settings, "DestinationArn", &format!("!Sub \"{arn}${{{group}}}\"")));
        let format = get(settings, "Format").as_str().unwrap_or_default();
        let line: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(format).ok();
        let Some(line) = line else {
            problems.push(format!("{stage}'s access log is not JSON"));
            continue;
        };
        let logged: Vec<&str> =
            line.values().map(|value| value.as_str().unwrap().trim_start_matches("$context.")).collect();
        problems.extend(
            logged
                .iter()
                .filter(|name| !ACCESS_LOG_VARIABLES.contains(name))
                .map(|name| format!("{stage} logs {name}")),
        );
        let missing = wanted.iter().filter(|name| !logged.contains(name));
        problems.extend(missing.map(|name| format!("{stage} does not log {name}")));
    }
    problems
}

/// Notices reach the topic. `EventBridge` supports no condition in the topic's policy:
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sns-permissions>.
fn notices(text: &str) -> Vec<String> {
    let (_, whole) = parse(text);
    let statement = "{ Effect: Allow, Principal: { Service: events.amazonaws.com }, Action: sns:Publish, Resource: !Ref AlarmTopic }";
    expect_all(
        &whole,
        &[
            ("Resources.AlarmTopicPolicy.Properties.PolicyDocument.Statement.1", statement),
            ("Resources.NoticeRule.Properties.Targets.0.RoleArn", "null"),
            ("Resources.NoticeFailedAlarm.Properties.Namespace", "AWS/Events"),
            ("Resources.NoticeFailedAlarm.Properties.MetricName", "FailedInvocations"),
            (
                "Resources.NoticeFailedAlarm.Properties.Dimensions",
                "[{ Name: RuleName, Value: !Ref NoticeRule }]",
            ),
            ("Resources.NoticeFailedAlarm.Properties.AlarmActions", "[!Ref AlarmTopic]"),
        ],
    )
}

/// Every function's role has the permissions boundary, whose statements `least_privilege`
/// checks.
fn boundary(text: &str) -> Vec<String> {
    let (template, whole) = parse(text);
    let mut problems =
        expect_all(&whole, &[("Globals.Function.PermissionsBoundary", "!Ref FunctionBoundary")]);
    for (name, function) in template.resources("AWS::Serverless::Function") {
        if !get(function, "PermissionsBoundary").is_null() || !get(function, "Role").is_null() {
            problems.push(format!("{name} has its own boundary or role"));
        }
    }
    problems
}

/// The console has its own API, and a Cognito client with a secret.
fn console(text: &str) -> Vec<String> {
    let (_, template) = parse(text);
    // The function, the Cognito client and the output use the same address.
    let host = "!If [HasConsoleDomain, !Ref ConsoleDomain, !Sub \"${ConsoleApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}\"]";
    let at = |path: &str| format!("!Sub [\"https://${{Host}}{path}\", {{Host: {host}}}]");
    let mcp_url = at("/mcp").replace("Console", "Mcp");
    expect_all(
        &template,
        &[
            ("Resources.ConsoleRoute.Properties.ApiId", "!Ref ConsoleApi"),
            ("Resources.ConsoleRoute.Properties.Target", "!Sub \"integrations/${ConsoleIntegration}\""),
            ("Resources.ConsoleIntegration.Properties.ApiId", "!Ref ConsoleApi"),
            ("Resources.ConsoleIntegration.Properties.IntegrationUri", "!GetAtt Console.Arn"),
            ("Resources.ConsolePermission.Properties.FunctionName", "!Ref Console"),
            ("Resources.ConsolePermission.Properties.Principal", "apigateway.amazonaws.com"),
            (
                "Resources.ConsolePermission.Properties.SourceArn",
                "!Sub \"arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${ConsoleApi}/*\"",
            ),
            ("Resources.Console.Properties.Events", "null"),
            ("Resources.Console.Properties.Environment.Variables.KEYWARD_CONSOLE_URL", &at("")),
            ("Resources.Console.Properties.Environment.Variables.KEYWARD_MCP_URL", &mcp_url),
            ("Outputs.McpUrl.Value", &mcp_url),
            ("Resources.ConsoleClient.Properties.CallbackURLs", &format!("[{}]", at("/callback"))),
            ("Resources.ConsoleClient.Properties.LogoutURLs", &format!("[{}]", at("/signed-out"))),
            ("Outputs.ConsoleUrl.Value", &at("")),
            (
                "Resources.ConsoleApi.Properties.DisableExecuteApiEndpoint",
                "!If [HasConsoleDomain, true, false]",
            ),
            ("Resources.ConsoleMapping.Properties.ApiId", "!Ref ConsoleApi"),
            ("Resources.ConsoleMapping.Properties.Stage", "!Ref ConsoleStage"),
            ("Resources.ConsoleClient.Properties.GenerateSecret", "true"),
            ("Resources.ConsoleClient.Properties.AllowedOAuthFlows", "[code]"),
            ("Resources.ConsoleClient.Properties.AllowedOAuthScopes", "[openid]"),
            ("Resources.ConsoleClient.Properties.ExplicitAuthFlows", "[ALLOW_REFRESH_TOKEN_AUTH]"),
        ],
    )
}

/// The routes of the MCP server.
const MCP_ROUTES: [(&str, &str); 5] = [
    ("McpPostRoute", "POST /mcp/{name}"),
    ("McpGetRoute", "GET /mcp/{name}"),
    ("McpDeleteRoute", "DELETE /mcp/{name}"),
    ("McpMetadataRoute", "GET /.well-known/oauth-protected-resource"),
    ("McpApiMetadataRoute", "GET /.well-known/oauth-protected-resource/mcp/{name}"),
];

/// The MCP server has its own API with exactly these routes, one address, and the default stage.
/// Its function is reachable only through this API.
fn mcp(text: &str) -> Vec<String> {
    let (template, whole) = parse(text);
    let host =
        "!If [HasMcpDomain, !Ref McpDomain, !Sub \"${McpApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}\"]";
    let url = format!("!Sub [\"https://${{Host}}/mcp\", {{Host: {host}}}]");
    let function = "Resources.Mcp.Properties";
    let mut problems = expect_all(
        &whole,
        &[
            ("Resources.McpIntegration.Properties.ApiId", "!Ref McpApi"),
            ("Resources.McpIntegration.Properties.IntegrationUri", "!GetAtt Mcp.Arn"),
            ("Resources.McpPermission.Properties.FunctionName", "!Ref Mcp"),
            ("Resources.McpPermission.Properties.Principal", "apigateway.amazonaws.com"),
            (
                "Resources.McpPermission.Properties.SourceArn",
                "!Sub \"arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${McpApi}/*\"",
            ),
            ("Resources.McpStage.Properties.ApiId", "!Ref McpApi"),
            // A stage would be part of the path, and well-known URIs begin at the host.
            ("Resources.McpStage.Properties.StageName", "$default"),
            ("Resources.McpMapping.Properties.ApiId", "!Ref McpApi"),
            ("Resources.McpMapping.Properties.Stage", "!Ref McpStage"),
            ("Resources.McpMapping.Properties.ApiMappingKey", "null"),
            ("Resources.McpApi.Properties.DisableExecuteApiEndpoint", "!If [HasMcpDomain, true, false]"),
            (&format!("{function}.Events"), "null"),
            (&format!("{function}.Environment.Variables.KEYWARD_MCP_HOSTS"), host),
            (&format!("{function}.Environment.Variables.KEYWARD_EXCHANGE_FUNCTION"), "!Ref ExchangeToken"),
            ("Outputs.McpUrl.Value", &url),
            ("Resources.Console.Properties.Environment.Variables.KEYWARD_MCP_URL", &url),
        ],
    );
    for name in ["ThrottlingRateLimit", "ThrottlingBurstLimit"] {
        let limit = get(&whole, &format!("Resources.McpStage.Properties.DefaultRouteSettings.{name}"));
        if limit.as_u64().unwrap_or(0) == 0 {
            problems.push(format!("McpStage has no {name}"));
        }
    }
    for (name, key) in MCP_ROUTES {
        let route = format!("Resources.{name}.Properties");
        let key = format!("\"{key}\"");
        problems.extend(expect(&whole, &format!("{route}.RouteKey"), &key));
        problems.extend(expect(&whole, &format!("{route}.ApiId"), "!Ref McpApi"));
        let target = "!Sub \"integrations/${McpIntegration}\"";
        problems.extend(expect(&whole, &format!("{route}.Target"), target));
    }
    let routes = template.resources("AWS::ApiGatewayV2::Route");
    let others =
        routes.filter(|(name, _)| *name != "ConsoleRoute" && MCP_ROUTES.iter().all(|(own, _)| own != name));
    problems.extend(others.map(|(name, _)| format!("{name} is a route that no rule knows")));
    problems
}

#[test]
fn the_template_follows_every_rule() {
    let problems: Vec<String> = RULES.iter().flat_map(|rule| rule(TEXT)).collect();
    assert_eq!(problems, [""; 0]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "the function is a table of violations")]
fn a_violation_of_any_rule_is_reported() {
    let whoami = "Properties: { ApiId: !Ref Api, Method: GET, Path: /iam/v1/whoami }";
    let violations = [
        ("AttributeName: ttl", "AttributeName: expires", "TimeToLiveSpecification is"),
        ("IndexName: gsi1", "IndexName: other", "IndexName is"),
        ("IndexName: gsi2", "IndexName: other", "IndexName is"),
        ("[at, hint, labels, ", "[at, hint, ", "index 1 does not project the attributes"),
        ("[at, hint, labels, ", "[at, hint, labels, verifier, ", "index 1 projects verifiers"),
        ("{ AttributeName: gsi1pk, KeyType: HASH }", "{ AttributeName: pk, KeyType: HASH }", "KeySchema is"),
        ("ProjectionType: INCLUDE", "ProjectionType: ALL", "ProjectionType is"),
        ("              - version\n", "", "index 0 does not project the attributes"),
        ("              - version\n", "              - verifiers\n", "index 0 projects verifiers"),
        (
            "              - version\n",
            "              - version\n              - more\n",
            "projects 21 attributes",
        ),
        ("DeletionPolicy: Retain", "DeletionPolicy: Delete", "Resources.Table.DeletionPolicy is"),
        (
            "DeletionProtectionEnabled: true",
            "DeletionProtectionEnabled: false",
            "DeletionProtectionEnabled is",
        ),
        ("UpdateReplacePolicy: Retain", "UpdateReplacePolicy: Snapshot", "UpdateReplacePolicy is"),
        ("PasswordLength: 64", "PasswordLength: 65", "would invalidate every key or token"),
        ("GenerateStringKey: v1", "GenerateStringKey: v2", "would invalidate every key or token"),
        ("Principal: secretsmanager.amazonaws.com", "Principal: \"*\"", "Properties.Principal is"),
        ("      SourceAccount: !Ref AWS::AccountId\n", "", "Properties.SourceAccount is"),
        ("      SourceArn: !Ref Pepper\n", "", "Properties.SourceArn is"),
        ("    Condition: RotatesPepper\n", "", "PepperRotation.Condition is"),
        ("      SourceArn: !Ref TokenKey\n", "", "TokenKeyRotationPermission.Properties.SourceArn is"),
        ("    Condition: RotatesTokenKey\n", "", "TokenKeyRotation.Condition is"),
        (
            "  TokenKey:\n    Type: AWS::SecretsManager::Secret\n    DeletionPolicy: Retain\n",
            "  TokenKey:\n    Type: AWS::SecretsManager::Secret\n",
            "Resources.TokenKey.DeletionPolicy is",
        ),
        ("EnableSimpleResponses: false", "EnableSimpleResponses: true", "EnableSimpleResponses is"),
        (
            "EnableFunctionDefaultPermissions: true",
            "EnableFunctionDefaultPermissions: false",
            "EnableFunctionDefaultPermissions is",
        ),
        ("AllowAdminCreateUserOnly: true", "AllowAdminCreateUserOnly: false", "AllowAdminCreateUserOnly is"),
        (
            "      AutoVerifiedAttributes",
            "      AliasAttributes: [email]\n      AutoVerifiedAttributes",
            "AliasAttributes is",
        ),
        (
            "      AutoVerifiedAttributes",
            "      UsernameAttributes: [email]\n      AutoVerifiedAttributes",
            "UsernameAttributes is",
        ),
        ("Username: !Ref AdminEmail", "Username: admin", "FirstAdmin.Properties.Username is"),
        ("    PermissionsBoundary: !Ref FunctionBoundary\n", "", "PermissionsBoundary is"),
        (
            "      CodeUri: ../functions/whoami\n",
            "      CodeUri: ../functions/whoami\n      Role: !GetAtt Other.Arn\n",
            "Whoami has its own boundary or role",
        ),
        ("ReauthorizeEvery: 0", "ReauthorizeEvery: 300", "Auth.Authorizers.Keyward.Identity is"),
        ("DefaultAuthorizer: Keyward", "FailOnWarnings: true", "GET /iam/v1/whoami has no IAM authorizer"),
        (
            whoami,
            "Properties: { ApiId: !Ref Api, Method: GET, Path: /iam/v1/whoami, Auth: { Authorizer: NONE } }",
            "GET /iam/v1/whoami has no IAM authorizer",
        ),
        (
            "Properties: { ApiId: !Ref Api, Method: POST, Path: /iam/v1/token, Auth",
            "Properties: { ApiId: !Ref Api, Method: PUT, Path: /iam/v1/token, Auth",
            "PUT /iam/v1/token has no IAM authorizer",
        ),
        (
            "Path: /.well-known/oauth-authorization-server\n",
            "Path: /.well-known/other\n",
            "GET /.well-known/other has no IAM authorizer",
        ),
        (
            "      ReservedConcurrentExecutions: !If [CapsTokenConcurrency, !Ref TokenConcurrency, !Ref \"AWS::NoValue\"]\n",
            "",
            "ExchangeToken.Properties.ReservedConcurrentExecutions is",
        ),
        (
            "        \"POST /iam/v1/token\": { ThrottlingRateLimit: 100, ThrottlingBurstLimit: 200 }\n",
            "",
            "the token endpoint has no limits of its own",
        ),
        (whoami, "Properties: { ApiId: !Ref Api, Method: ANY, Path: /iam/v1/whoami }", "is too wide"),
        (whoami, "Properties: { ApiId: !Ref Api, Method: GET, Path: \"/iam/v1/{proxy+}\" }", "is too wide"),
        (whoami, "Properties: { ApiId: !Ref Api, Method: GET, Path: /whoami }", "is too wide"),
        (
            "      CodeUri: ../functions/issue-key\n",
            "      CodeUri: ../functions/issue-key\n      FunctionUrlConfig: { AuthType: NONE }\n",
            "IssueKey has a URL",
        ),
        (
            "Type: HttpApi\n          Properties: { ApiId: !Ref Api, Method: POST",
            "Type: Api\n          Properties: { ApiId: !Ref Api, Method: POST",
            "which is not a route",
        ),
        (
            "Type: HttpApi\n          Properties: { ApiId: !Ref Api, Method: PATCH",
            "Type: Schedule\n          Properties: { ApiId: !Ref Api, Method: PATCH",
            "UpdateServiceAccount has the event",
        ),
        (
            "  WhoamiLogs:\n    Type: AWS::Logs::LogGroup",
            "  WhoamiLogs:\n    Type: AWS::Lambda::Url",
            "WhoamiLogs is a",
        ),
        ("AllowedOAuthFlows: [code]", "AllowedOAuthFlows: [implicit]", "has other flows than the code flow"),
        ("GenerateSecret: true", "GenerateSecret: false", "GenerateSecret is"),
        (
            "{ ApiId: !Ref ConsoleApi, RouteKey",
            "{ ApiId: !Ref Api, RouteKey",
            "ConsoleRoute.Properties.ApiId is",
        ),
        (
            "      FunctionName: !Ref Console\n",
            "      FunctionName: !Ref IssueKey\n",
            "ConsolePermission.Properties.FunctionName is",
        ),
    ];
    assert_reported(&violations);
}

#[test]
fn a_violation_of_a_rule_about_tokens_limits_or_logs_is_reported() {
    assert_reported(&[
        ("MfaConfiguration: !Ref AdminMfa", "MfaConfiguration: OPTIONAL", "MfaConfiguration is"),
        ("Default: \"ON\"", "Default: OPTIONAL", "AdminMfa.Default is"),
        (
            "    DeletionPolicy: Delete\n    UpdateReplacePolicy: Retain\n",
            "    DeletionPolicy: Delete\n",
            "FirstAdmin.UpdateReplacePolicy is",
        ),
        (
            "      TimeToLiveSpecification",
            "      SSESpecification: { SSEEnabled: true }\n      TimeToLiveSpecification",
            "SSESpecification is",
        ),
        (
            "WriteAttributes: [locale]",
            "WriteAttributes: [locale, email]",
            "is allowed to write other attributes",
        ),
        ("      WriteAttributes: [locale]\n", "", "IamClient is allowed to write other attributes"),
        (
            "ExplicitAuthFlows: [ALLOW_ADMIN_USER_PASSWORD_AUTH, ALLOW_REFRESH_TOKEN_AUTH]",
            "ExplicitAuthFlows: [ALLOW_USER_SRP_AUTH]",
            "IamClient.Properties.ExplicitAuthFlows is",
        ),
        (
            "      # Without this list, Cognito would also allow sign-in with SRP.\n      ExplicitAuthFlows: [ALLOW_REFRESH_TOKEN_AUTH]\n",
            "",
            "ApiClient.Properties.ExplicitAuthFlows is",
        ),
        (
            "AllowedOAuthScopes: [keyward/api]",
            "AllowedOAuthScopes: [keyward/api, aws.cognito.signin.user.admin]",
            "ApiClient.Properties.AllowedOAuthScopes is",
        ),
        (
            "        \"DELETE /iam/v1/service-accounts/{id}/keys\": { ThrottlingRateLimit: 1000, ThrottlingBurstLimit: 2000 }\n",
            "",
            "DELETE /iam/v1/service-accounts/{id}/keys has no ThrottlingRateLimit far above the default",
        ),
        (
            "\"PATCH /iam/v1/service-accounts/{id}\": { ThrottlingRateLimit: 1000",
            "\"PATCH /iam/v1/service-accounts/{id}\": { ThrottlingRateLimit: 50",
            "PATCH /iam/v1/service-accounts/{id} has no ThrottlingRateLimit far above the default",
        ),
        (
            "\"PATCH /iam/v1/service-accounts/{id}\": {",
            "\"PATCH /iam/v1/other\": {",
            "PATCH /iam/v1/other has its own limits but removes no access",
        ),
        (
            "StageName: $default\n      AutoDeploy: true\n      DefaultRouteSettings: { ThrottlingRateLimit: 50, ThrottlingBurstLimit: 100 }\n      AccessLogSettings:\n        DestinationArn: !Sub \"arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:${McpAccessLogs}",
            "StageName: v1\n      AccessLogSettings:\n        DestinationArn: !Sub \"arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:${McpAccessLogs}",
            "McpStage.Properties.StageName is",
        ),
        ("log-group:${McpAccessLogs}", "log-group:${McpLogs}", "DestinationArn is"),
        (
            "RouteKey: \"POST /mcp/{name}\"",
            "RouteKey: \"ANY /mcp/{name}\"",
            "McpPostRoute.Properties.RouteKey is",
        ),
        ("Default: 8\n", "Default: 10\n", "agents can use up the concurrency of the token endpoint"),
        (
            "      ReservedConcurrentExecutions: !If [CapsMcpConcurrency, !Ref McpConcurrency, !Ref \"AWS::NoValue\"]\n",
            "",
            "Mcp.Properties.ReservedConcurrentExecutions is",
        ),
        (
            "      FunctionName: !Ref Mcp\n",
            "      FunctionName: !Ref Authorizer\n",
            "McpPermission.Properties.FunctionName is",
        ),
        (
            "          KEYWARD_EXCHANGE_FUNCTION: !Ref ExchangeToken\n",
            "          KEYWARD_EXCHANGE_FUNCTION: !Ref IssueKey\n",
            "KEYWARD_EXCHANGE_FUNCTION is",
        ),
        ("DeletionPolicy: RetainExceptOnCreate", "DeletionPolicy: Delete", "Logs.DeletionPolicy is"),
        ("RetentionInDays: 90", "RetentionInDays: 7", "RetentionInDays is"),
        (
            "/aws/lambda/${AWS::StackName}/${Id}/revoke-key",
            "/aws/lambda/${AWS::StackName}/revoke-key",
            "RevokeKeyLogs can have the name of another stack's group",
        ),
        ("$context.routeKey", "$context.path", "Api logs path"),
        ("$context.routeKey", "$request.header.authorization", "Api logs $request"),
        ("\"$context.authorizer.error\"", "\"$context.status\"", "Api does not log authorizer.error"),
        ("log-group:${ConsoleAccessLogs}", "log-group:${ConsoleLogs}", "DestinationArn is"),
        (
            "            Action: sns:Publish\n            Resource: !Ref AlarmTopic\n\n",
            "            Action: sns:Publish\n            Resource: !Ref AlarmTopic\n            Condition: { ArnEquals: { \"aws:SourceArn\": !GetAtt NoticeRule.Arn } }\n\n",
            "PolicyDocument.Statement.1 is",
        ),
        (
            "MetricName: FailedInvocations",
            "MetricName: Invocations",
            "NoticeFailedAlarm.Properties.MetricName is",
        ),
    ]);
}

/// Replaces the first text of each violation by the second. Fails unless a rule reports the
/// third.
fn assert_reported(violations: &[(&str, &str, &str)]) {
    for (from, to, expected) in violations {
        assert!(TEXT.contains(from), "the template does not contain {from}");
        let violated = TEXT.replacen(from, to, 1);
        let problems: Vec<String> = RULES.iter().flat_map(|rule| rule(&violated)).collect();
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{from} → {to}: {problems:?}");
    }
}

#[tokio::test]
async fn every_function_needs_each_of_its_variables() {
    let harness = Harness::start().await;
    for function in Template::read().unwrap().functions() {
        let setup = harness.system.setup_for(&function.name).unwrap();
        tests::construct(&function.name, &setup).unwrap();
        for removed in function.variables.keys() {
            let rest = setup.variables.iter().filter(|(name, _)| name != removed);
            let setup = Setup { variables: rest.collect(), ..setup.clone() };
            let error = tests::construct(&function.name, &setup).unwrap_err().to_string();
            assert_eq!(error, format!("the environment variable {removed} is not set"), "{}", function.name);
        }
    }
}

/// For each variable of a function, its line and the template without it.
fn without_each_variable() -> Vec<(String, Template)> {
    let lines: Vec<&str> = TEXT.split_inclusive('\n').collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let starts = lines.iter().enumerate().filter(|(_, line)| line.trim_start().starts_with("KEYWARD_"));
    let without = |(at, line): (usize, &&str)| {
        let rest = &lines[at + 1..];
        let end = rest.iter().position(|next| indent(next) <= indent(line)).unwrap();
        let text = lines[..at].concat() + &rest[end..].concat();
        (line.trim().to_owned(), Template::parse(&text).unwrap())
    };
    starts.map(without).collect()
}

#[tokio::test]
async fn the_template_sets_no_unused_variable() {
    let harness = Harness::start().await;
    let all = without_each_variable();
    assert!(all.len() > 15, "found only {} variables", all.len());
    for (removed, template) in all {
        let fails = |function: &local::template::Function| {
            let setup = harness.system.setup_for(&function.name).unwrap();
            let is_kept = |name: &str| !name.starts_with("KEYWARD_") || function.variables.contains_key(name);
            let kept = setup.variables.iter().filter(|(name, _)| is_kept(name));
            tests::construct(&function.name, &Setup { variables: kept.collect(), ..setup.clone() }).is_err()
        };
        assert!(template.functions().iter().any(fails), "nothing needs {removed}");
    }
}

/// Whether a condition of a CloudFormation rule is true with these parameters:
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-rules.html>.
fn is_true(condition: &Value, parameters: &BTreeMap<&str, &str>) -> bool {
    let Value::Tagged(tagged) = condition else { panic!("not a function: {condition:?}") };
    let parts = tagged.value.as_sequence().unwrap();
    let text = |part: &Value| {
        if let Value::Tagged(reference) = part {
            assert_eq!(reference.tag, "Ref");
            return parameters[reference.value.as_str().unwrap()].to_owned();
        }
        part.as_str().unwrap().to_owned()
    };
    match tagged.tag.to_string().as_str() {
        "!Equals" => text(&parts[0]) == text(&parts[1]),
        "!Not" => !is_true(&parts[0], parameters),
        "!And" => parts.iter().all(|part| is_true(part, parameters)),
        other => panic!("unsupported function {other}"),
    }
}

/// The errors of CloudFormation's rules with these parameters and the defaults of the others.
fn rule_errors(given: &[(&str, &str)]) -> Vec<String> {
    let (_, whole) = parse(TEXT);
    let defaults = get(&whole, "Parameters").as_mapping().unwrap().iter();
    let mut parameters: BTreeMap<&str, &str> = defaults
        .map(|(name, parameter)| {
            (name.as_str().unwrap(), get(parameter, "Default").as_str().unwrap_or_default())
        })
        .collect();
    for (name, value) in given {
        assert!(parameters.insert(name, value).is_some(), "the template has no parameter {name}");
    }
    let rules = get(&whole, "Rules").as_mapping().unwrap().values();
    let rules = rules.filter(|rule| is_true(get(rule, "RuleCondition"), &parameters));
    let assertions = rules.flat_map(|rule| get(rule, "Assertions").as_sequence().unwrap());
    let failed = assertions.filter(|assertion| !is_true(get(assertion, "Assert"), &parameters));
    failed.map(|assertion| get(assertion, "AssertDescription").as_str().unwrap().to_owned()).collect()
}

/// All parameters of another identity provider.
const OIDC: [(&str, &str); 7] = [
    ("OidcIssuer", "https://id.example.com"),
    ("OidcJwksUri", "https://id.example.com/jwks"),
    ("OidcIamClientIds", "command-line"),
    ("OidcIamAudience", "https://keyward.example.com/iam"),
    ("OidcApiAudience", "https://api.example.com"),
    ("OidcConsoleClientId", "console"),
    ("OidcConsoleClientSecret", "secret"),
];

#[test]
fn another_issuer_requires_all_its_parameters_and_two_audiences() {
    assert_eq!(rule_errors(&OIDC), [""; 0]);
    for (left_out, (name, _)) in OIDC.iter().enumerate().skip(1) {
        let mut rest = OIDC.to_vec();
        rest.remove(left_out);
        let errors = rule_errors(&rest);
        assert!(errors.iter().any(|error| error.contains(name)), "without {name}: {errors:?}");
    }
    let mut same = OIDC;
    same[4].1 = OIDC[3].1;
    assert_eq!(rule_errors(&same), ["OidcIamAudience and OidcApiAudience must differ"]);
}

#[test]
fn parameters_of_another_issuer_are_refused_with_cognito() {
    let admin = ("AdminEmail", "ada@example.com");
    assert_eq!(rule_errors(&[admin]), [""; 0]);
    for given in &OIDC[1..] {
        let errors = rule_errors(&[admin, *given]);
        assert!(errors.iter().any(|error| error.contains("require OidcIssuer")), "{given:?}: {errors:?}");
    }
    assert_eq!(rule_errors(&[]), ["AdminEmail is required unless OidcIssuer is set"]);
}

/// CloudWatch charges for each metric that an alarm watches.
#[test]
fn the_guide_states_the_number_of_alarm_metrics() {
    let (template, _) = parse(TEXT);
    let metrics = template.resources("AWS::CloudWatch::Alarm").map(|(_, alarm)| {
        let metrics = get(alarm, "Metrics").as_sequence();
        metrics.map_or(1, |all| all.iter().filter(|metric| metric.get("MetricStat").is_some()).count())
    });
    let count: usize = metrics.sum();
    let guide = include_str!("../../../infra/operate.md");
    assert!(guide.contains(&format!("alarms on {count} metrics")), "the alarms watch {count} metrics");
}
