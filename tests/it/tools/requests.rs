//! The requests of tools.

use percent_encoding::percent_decode_str;
use proptest::prelude::*;
use serde_json::{Value, json};
use shared::domain::RoutePrefix;
use shared::policy::Target;
use shared::tools::{Tool, ToolRequest};

use super::{only_tool, request, tool_with};

/// A tool whose path has a variable `id` and, at the end, a variable `rest` for several segments.
fn path_tool() -> Tool {
    only_tool(&json!({ "/teams/{id}/files/{rest+}": { "get": {} } }))
}

/// The text of the first sentence about invalid arguments.
fn refusal(tool: &Tool, values: &Value) -> String {
    let sentences = request(tool, values).unwrap_err().sentences;
    assert!((1..=5).contains(&sentences.len()), "{sentences:?}");
    sentences.join(" ")
}

fn sent(tool: &Tool, values: &Value) -> ToolRequest {
    request(tool, values).unwrap_or_else(|error| panic!("{values}: {error}"))
}

fn body(request: ToolRequest) -> (String, String) {
    let body = request.body.unwrap();
    (body.content_type, String::from_utf8(body.bytes).unwrap())
}

#[test]
fn values_that_could_change_the_path_are_refused() {
    let tool = path_tool();
    for (value, problem) in [
        ("", "must not be empty"),
        (".", "must not be `.` or `..`"),
        ("..", "must not be `.` or `..`"),
        ("../iam", "must not contain `/`"),
        ("a/b", "must not contain `/`"),
        ("/", "must not contain `/`"),
        ("a\\b", "must not contain `\\`"),
        ("%2F", "must not contain `%`"),
        ("%2e%2e", "must not contain `%`"),
        ("%", "must not contain `%`"),
        ("a?b=c", "must not contain `?`"),
        ("a#b", "must not contain `#`"),
        ("..;", "must not contain `;`"),
        (";a=b", "must not contain `;`"),
        ("*", "must not contain `*`"),
        ("${x}", "must not contain `$`"),
        ("a\r\nHost: evil", "must not contain control characters"),
        ("a\n", "must not contain control characters"),
        ("a\0", "must not contain control characters"),
        ("a\u{85}b", "must not contain control characters"),
        ("a\u{2028}b", "must not contain control characters"),
        (&"x".repeat(513), "must be at most 512 bytes"),
        (&"é".repeat(257), "must be at most 512 bytes"),
    ] {
        let refused = refusal(&tool, &json!({ "id": value, "rest": "a" }));
        assert!(refused.starts_with(&format!("id {problem}")), "{value:?}: {refused}");
        if !value.is_empty() && !value.contains('/') {
            let refused = refusal(&tool, &json!({ "id": "a", "rest": format!("b/{value}") }));
            assert!(refused.starts_with(&format!("rest {problem}")), "{value:?}: {refused}");
        }
    }
    for (value, problem) in [
        ("a//b", "must not start or end with `/` or contain `//`"),
        ("/a", "must not start or end with `/` or contain `//`"),
        ("a/", "must not start or end with `/` or contain `//`"),
        ("a/../b", "must not be `.` or `..`"),
        ("./a", "must not be `.` or `..`"),
        ("", "must not be empty"),
    ] {
        let refused = refusal(&tool, &json!({ "id": "a", "rest": value }));
        assert!(refused.starts_with(&format!("rest {problem}")), "{value:?}: {refused}");
    }
    let long = vec!["x".repeat(400); 6].join("/");
    let refused = refusal(&tool, &json!({ "id": "a", "rest": long }));
    assert_eq!(refused, "rest makes the path longer than 2048 bytes.");
    for value in [json!(null), json!({}), json!([]), json!([["a"]]), json!(["a,b"]), json!([".."])] {
        let tool = tool_with("/{id}", &json!([{ "name": "id", "in": "path", "schema": {} }]), &Value::Null);
        assert!(refusal(&tool, &json!({ "id": value })).starts_with("id "), "{value}");
    }
}

#[test]
fn values_in_the_path_are_escaped() {
    let tool = path_tool();
    for (value, escaped) in [
        ("42", "42"),
        ("a b", "a%20b"),
        ("é", "%C3%A9"),
        ("a\u{2215}b", "a%E2%88%95b"),
        ("\u{ff0f}", "%EF%BC%8F"),
        ("…", "%E2%80%A6"),
        ("...", "..."),
        ("..a", "..a"),
        ("a+b", "a%2Bb"),
        ("-._~!&'(),=:@", "-._~!&'(),=:@"),
        ("{id}", "%7Bid%7D"),
        ("<\"|^`>", "%3C%22%7C%5E%60%3E"),
        ("//evil".trim_start_matches('/'), "evil"),
    ] {
        assert_eq!(
            sent(&tool, &json!({ "id": value, "rest": format!("{value}/x") })).path,
            format!("/teams/{escaped}/files/{escaped}/x")
        );
    }
    let list = tool_with(
        "/{id}",
        &json!([{ "name": "id", "in": "path", "schema": { "type": "array", "items": { "type": "integer" } } }]),
        &Value::Null,
    );
    assert_eq!(sent(&list, &json!({ "id": [1, "2", 3.0] })).path, "/1,2,3");
}

/// Texts of all of Unicode, with many characters that parsers treat specially.
fn value() -> impl Strategy<Value = String> {
    let special = prop::sample::select(vec![
        "/", "..", ".", "%", "%2F", "%2e", "\\", "?", "#", ";", "\r\n", "\0", "*", "$", "{", "}", "+", ",",
        " ", "\u{2215}", "\u{ff0f}", "\u{202e}", "\u{85}", "iam", "a", "é", "😀",
    ]);
    let part =
        prop_oneof![special.prop_map(str::to_owned), any::<char>().prop_map(String::from), "\\PC{0,3}"];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

fn template() -> impl Strategy<Value = Vec<&'static str>> {
    let segment = prop::sample::select(vec!["teams", "a.b", "~x,y", "{v}"]);
    let end = prop::sample::select(vec!["x", "{v}", "{v+}", ""]);
    (prop::collection::vec(segment, 0..4), end).prop_map(|(mut segments, end)| {
        segments.push(end);
        segments
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn no_value_changes_the_route(segments in template(), values in prop::collection::vec(value(), 4)) {
        // Each variable has its own name.
        let numbered: Vec<_> =
            segments.iter().enumerate().map(|(at, text)| text.replace("{v", &format!("{{v{at}"))).collect();
        let tool = only_tool(&json!({ format!("/{}", numbered.join("/")): { "get": {} } }));
        let mut given = values.iter().cycle();
        let mut arguments = serde_json::Map::new();
        for (at, text) in segments.iter().enumerate().filter(|(_, text)| text.starts_with('{')) {
            let _ = text;
            arguments.insert(format!("v{at}"), json!(given.next().unwrap()));
        }
        let Ok(request) = tool.request(arguments.clone()) else { return Ok(()) };
        prop_assert!(request.path.is_ascii());
        let target = Target::parse("GET", &request.path).unwrap();
        prop_assert!(tool.permission(&RoutePrefix::default()).unwrap().covers(&target));
        prop_assert_eq!(request.query, "");
        let mut actual = request.path.strip_prefix('/').unwrap().split('/');
        for (at, text) in segments.iter().enumerate() {
            let decode = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
            let value = arguments.get(&format!("v{at}")).and_then(Value::as_str);
            match *text {
                "{v}" => prop_assert_eq!(decode(actual.next().unwrap()), value.unwrap()),
                "{v+}" => {
                    let rest: Vec<_> = actual.by_ref().map(decode).collect();
                    prop_assert_eq!(rest.join("/"), value.unwrap());
                }
                literal => prop_assert_eq!(actual.next().unwrap(), literal),
            }
        }
        prop_assert_eq!(actual.next(), None);
    }

    #[test]
    fn no_value_adds_a_query_parameter_or_a_header(name in value(), text in value()) {
        prop_assume!(!name.is_empty());
        let tool = tool_with("/x", &json!([
            { "name": name, "in": "query", "required": true, "schema": { "type": "string" } },
            { "name": "X-Note", "in": "header", "schema": { "type": "string" } },
        ]), &Value::Null);
        let property = tool.input_schema["required"][0].as_str().unwrap().to_owned();
        let request = tool.request([(property.clone(), json!(text))].into_iter().collect()).unwrap();
        let (escaped_name, escaped) = request.query.split_once('=').unwrap();
        let decode = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        prop_assert_eq!((decode(escaped_name), decode(escaped)), (name, text.clone()));
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~%".contains(&b);
        prop_assert!(escaped_name.bytes().chain(escaped.bytes()).all(plain));
        let arguments = [(property, json!("")), ("X-Note".to_owned(), json!(text))].into_iter().collect();
        if let Ok(request) = tool.request(arguments) {
            prop_assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)));
            prop_assert_eq!(request.headers, vec![("x-note".to_owned(), text)]);
        }
    }
}

#[test]
fn scalars_become_the_type_of_the_schema_if_nothing_is_lost() {
    let parameters = json!([
        { "name": "text", "in": "query", "schema": { "type": "string" } },
        { "name": "whole", "in": "query", "schema": { "type": "integer" } },
        { "name": "number", "in": "query", "schema": { "type": ["number", "null"] } },
        { "name": "flag", "in": "query", "schema": { "allOf": [{ "type": "boolean" }] } },
        { "name": "list", "in": "query", "schema": { "type": "array", "items": { "enum": [1, 2] } } },
        { "name": "any", "in": "query", "schema": {} },
        { "name": "either", "in": "query", "schema": { "oneOf": [{ "type": "integer" }, { "type": "string", "maxLength": 3 }] } },
    ]);
    let body = json!({ "content": { "application/json": { "schema": { "type": "object", "properties": { "n": { "type": "integer" } } } } } });
    let tool = tool_with("/x", &parameters, &body);
    for (arguments, query) in [
        (json!({ "text": 42 }), "text=42"),
        (json!({ "text": true }), "text=true"),
        (json!({ "text": 1.5 }), "text=1.5"),
        (json!({ "text": 7.0 }), "text=7"),
        (json!({ "text": "007" }), "text=007"),
        (json!({ "whole": "42" }), "whole=42"),
        (json!({ "whole": "-1" }), "whole=-1"),
        (json!({ "whole": 3.0 }), "whole=3"),
        (json!({ "whole": 9_007_199_254_740_993_u64 }), "whole=9007199254740993"),
        (json!({ "number": "1.5" }), "number=1.5"),
        (json!({ "number": null }), ""),
        (json!({ "flag": "true" }), "flag=true"),
        (json!({ "list": ["1", 2] }), "list=1&list=2"),
        (json!({ "list": [] }), ""),
        (json!({ "list": null }), ""),
        (json!({ "any": "1" }), "any=1"),
        (json!({ "any": false }), "any=false"),
        (json!({ "either": "abc" }), "either=abc"),
        (json!({ "either": 12345 }), "either=12345"),
    ] {
        assert_eq!(sent(&tool, &arguments).query, query, "{arguments}");
    }
    for (arguments, sentence) in [
        (json!({ "whole": "ten" }), "whole: the value is not of type \"integer\"."),
        (json!({ "whole": "042" }), "whole: the value is not of type \"integer\"."),
        (json!({ "whole": "1e3" }), "whole: the value is not of type \"integer\"."),
        (json!({ "whole": 1.5 }), "whole: the value is not of type \"integer\"."),
        (json!({ "number": "1.50" }), "number: the value is not of types"),
        (json!({ "flag": "yes" }), "flag: the value is not of type \"boolean\"."),
        (json!({ "text": ["a"] }), "text: the value is not of type \"string\"."),
        // The body is JSON, so its types matter.
        (json!({ "body": { "n": "1" } }), "body.n: the value is not of type \"integer\"."),
    ] {
        let refused = refusal(&tool, &arguments);
        assert!(refused.starts_with(sentence), "{arguments}: {refused}");
    }
}

#[test]
fn arguments_that_do_not_match_are_refused_in_at_most_five_sentences_without_their_values() {
    let parameters = json!([
        { "name": "id", "in": "path", "schema": { "type": "string", "pattern": "^[a-z]+$" } },
        { "name": "limit", "in": "query", "schema": { "type": "integer", "maximum": 10 } },
        { "name": "kind", "in": "query", "schema": { "enum": ["open", "closed"] } },
    ]);
    let members = json!({ "type": "object", "required": ["name"], "properties": { "name": { "type": "string", "maxLength": 3 } }, "additionalProperties": false });
    let body = json!({ "required": true, "content": { "application/json": { "schema": { "type": "array", "items": members } } } });
    let tool = tool_with("/teams/{id}", &parameters, &body);
    let secret = format!("kwsa_{}", "x".repeat(80));
    let refused = |arguments: Value| {
        let sentences = request(&tool, &arguments).unwrap_err().sentences;
        assert!(!sentences.join(" ").contains(&secret), "{sentences:?}");
        sentences
    };
    assert_eq!(refused(json!({})), ["id is required.", "body is required."]);
    assert_eq!(
        refused(json!({ "id": secret, "limit": 11, "kind": secret, "body": [], "other": 1 })),
        [
            "id: the value does not match \"^[a-z]+$\".",
            "kind: the value is not one of \"open\" or \"closed\".",
            "limit: the value is greater than the maximum of 10.",
            "These arguments are unknown: other.",
        ]
    );
    assert_eq!(
        refused(json!({ "id": "a", "body": [{ "name": "abcd" }, {}, { "name": "a", "b/c": 1 }] })),
        [
            "body.0.name: the value is longer than 3 characters.",
            "body.1.name is required.",
            "These arguments are unknown: body.2.b/c."
        ]
    );
    assert_eq!(refused(json!({ "id": "a", "body": vec![1; 100] })).len(), 5);
    assert_eq!(refused(json!({ "id": "a", "body": null })), ["body: the value is not of type \"array\"."]);
    // The validator would collect an error and a copy for each of many items.
    assert_eq!(
        refused(json!({ "id": "a", "body": vec![json!({}); 300_000] })),
        [
            "The arguments do not match the input schema, and are too long for an explanation of what is wrong."
        ]
    );
    let long = refused(json!({ "id": "a", "body": [], "x".repeat(5_000): 1 }));
    assert!(long[0].chars().count() <= 300, "{long:?}");
}

#[test]
fn parameters_of_queries_have_the_styles_of_the_document() {
    let list = json!({ "type": "array" });
    let object = json!({ "type": "object" });
    let parameter = |style: &str, explode: Option<bool>, schema: &Value| {
        let mut parameter = json!({ "name": "a[]", "in": "query", "schema": schema });
        if !style.is_empty() {
            parameter["style"] = json!(style);
        }
        if let Some(explode) = explode {
            parameter["explode"] = json!(explode);
        }
        tool_with("/x", &json!([parameter]), &Value::Null)
    };
    let (values, members) = (json!(["x,y", "b c", 1]), json!({ "k&": "x,y", "l": true }));
    for (style, explode, schema, value, query) in [
        ("", None, &list, &values, "a%5B%5D=x%2Cy&a%5B%5D=b%20c&a%5B%5D=1"),
        ("form", Some(false), &list, &values, "a%5B%5D=x%2Cy,b%20c,1"),
        ("spaceDelimited", None, &list, &values, "a%5B%5D=x%2Cy%20b%20c%201"),
        ("pipeDelimited", Some(false), &list, &values, "a%5B%5D=x%2Cy%7Cb%20c%7C1"),
        ("pipeDelimited", Some(true), &list, &values, "a%5B%5D=x%2Cy&a%5B%5D=b%20c&a%5B%5D=1"),
        ("", None, &object, &members, "k%26=x%2Cy&l=true"),
        ("form", Some(false), &object, &members, "a%5B%5D=k%26,x%2Cy,l,true"),
        ("deepObject", None, &object, &members, "a%5B%5D%5Bk%26%5D=x%2Cy&a%5B%5D%5Bl%5D=true"),
    ] {
        let tool = parameter(style, explode, schema);
        assert_eq!(sent(&tool, &json!({ "a": value })).query, query, "{style} {explode:?}");
        let nested = json!({ "a": if value.is_array() { json!([[1]]) } else { json!({ "k": {} }) } });
        let refused = refusal(&tool, &nested);
        assert!(refused.starts_with("a must contain only strings, numbers and booleans"), "{refused}");
    }
    let content = json!([{ "name": "q", "in": "query", "content": { "application/json": { "schema": { "type": "object" } } } }]);
    let tool = tool_with("/x", &content, &Value::Null);
    assert_eq!(sent(&tool, &json!({ "q": { "a": [1, null] } })).query, "q=%7B%22a%22%3A%5B1%2Cnull%5D%7D");
    let refused = refusal(&tool, &json!({ "q": { "a": "é".repeat(1_000) } }));
    assert_eq!(refused, "The arguments are too long: the query has more than 4096 bytes.");
}

#[test]
fn arguments_set_no_header_that_frames_routes_or_identifies_the_request() {
    let refused = [
        "Accept",
        "Accept-Encoding",
        "authorization",
        "AUTHORIZATION",
        "Connection",
        "Content-Length",
        "Content-Type",
        "Cookie",
        "Date",
        "Expect",
        "Forwarded",
        "Host",
        "HOST",
        "Keep-Alive",
        "MCP-Session-Id",
        "Origin",
        "Proxy-Authorization",
        "Range",
        "Referer",
        "Sec-Fetch-Site",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "User-Agent",
        "Via",
        "X-Amz-Date",
        "x-amzn-trace-id",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "X-Real-IP",
        "X-Request-Id",
        "X-Keyward-Role",
        "X_Keyward_Role",
        "x-keyward-principal-id",
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X-Original-URL",
        "X-Rewrite-URL",
        "",
        "X Y",
        "X:Y",
        "X\r\nHost",
        "X\u{e9}",
    ];
    for name in refused {
        let parameters = |required: bool| json!([{ "name": name, "in": "header", "required": required, "schema": { "type": "string" } }]);
        let tool = tool_with("/x", &parameters(false), &Value::Null);
        assert_eq!(tool.input_schema["properties"], json!({}), "{name}");
    }
    let allowed = json!([
        { "name": "If-Match", "in": "header", "schema": { "type": "string" } },
        { "name": "x-a", "in": "header", "schema": { "type": "array" } },
        { "name": "X-A", "in": "header", "schema": { "type": "integer" } },
        { "name": "X-Number", "in": "header", "schema": { "type": "number" } },
    ]);
    let tool = tool_with("/x", &allowed, &Value::Null);
    let request = sent(&tool, &json!({ "If-Match": "\"1 2\"", "x-a": ["p", 1], "X-Number": "2" }));
    let expected = [("if-match", "\"1 2\""), ("x-a", "p,1"), ("x-number", "2")];
    assert_eq!(request.headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for value in ["", " a", "a ", "a\r\nHost: evil", "a\nb", "a\0", "a\tb", "é", "\u{7f}", &"x".repeat(1_025)]
    {
        let refused = refusal(&tool, &json!({ "If-Match": value }));
        assert!(refused.starts_with("If-Match must "), "{value:?}: {refused}");
    }
    assert!(
        refusal(&tool, &json!({ "x-a": ["p,q"] })).starts_with("x-a must be a list of values without commas")
    );
}

#[test]
fn bodies_are_json_forms_or_text() {
    let content =
        |media: &str, schema: Value| json!({ "content": { "text/xml": {}, media: { "schema": schema } } });
    let tool = |media: &str, schema: Value| tool_with("/x", &json!([]), &content(media, schema));
    let value = json!({ "a": [1, { "b": "é" }], "c": "x y&z", "d": null, "e": 2.0, "f": { "g": [] } });
    let json_body = value.to_string();
    for (media, content_type, bytes) in [
        ("application/json", "application/json", &*json_body),
        ("Application/JSON; charset=utf-8", "application/json", &json_body),
        ("application/merge-patch+json", "application/merge-patch+json", &json_body),
        ("*/*", "application/json", &json_body),
        (
            "application/x-www-form-urlencoded",
            "application/x-www-form-urlencoded",
            "a=1&a=%7B%22b%22%3A%22%C3%A9%22%7D&c=x%20y%26z&e=2&f=%7B%22g%22%3A%5B%5D%7D",
        ),
    ] {
        let request = sent(&tool(media, json!({ "type": "object" })), &json!({ "body": value }));
        assert_eq!(body(request), (content_type.to_owned(), bytes.to_owned()), "{media}");
    }
    let text = tool("text/plain", json!({ "type": "integer" }));
    assert_eq!(
        body(sent(&text, &json!({ "body": "a\r\nb" }))),
        ("text/plain; charset=utf-8".to_owned(), "a\r\nb".to_owned())
    );
    assert_eq!(sent(&text, &json!({})).body, None);
    assert_eq!(sent(&text, &json!({ "body": null })).body, None);
    let any = tool("application/json", json!({}));
    assert_eq!(body(sent(&any, &json!({ "body": [1] }))).1, "[1]");
    assert!(
        refusal(&any, &json!({ "body": "x".repeat(1_000_001) }))
            .starts_with("body must be at most 1000000 bytes")
    );
    let form = tool("application/x-www-form-urlencoded", json!({}));
    assert!(
        refusal(&form, &json!({ "body": [1] })).starts_with("body must be an object, because it is a form")
    );
}

#[test]
fn properties_have_plain_names_and_the_request_has_those_of_the_document() {
    let long = "p".repeat(70);
    let tool = tool_with(
        "/{id}/{body}",
        &json!([
            { "name": "id", "in": "query", "schema": { "type": "string" } },
            { "name": "id", "in": "header", "schema": { "type": "string" } },
            { "name": "Date>", "in": "query", "schema": { "type": "string" } },
            { "name": "Date<", "in": "query", "schema": { "type": "string" } },
            { "name": "Date=", "in": "query", "schema": { "type": "string" } },
            { "name": "$é", "in": "query", "schema": { "type": "string" } },
            { "name": long, "in": "query", "schema": { "type": "string" } },
        ]),
        &json!({ "content": { "application/json": {} } }),
    );
    let names: Vec<_> = tool.input_schema["properties"].as_object().unwrap().keys().cloned().collect();
    let short = "p".repeat(64);
    assert_eq!(
        names,
        [
            "Date",
            "Date_2",
            "Date_query",
            "body",
            "body_path",
            "id",
            "id_header",
            "id_query",
            "parameter",
            &short
        ]
    );
    let mut arguments: serde_json::Map<_, _> = names.iter().map(|name| (name.clone(), json!(name))).collect();
    let request = tool.request(std::mem::take(&mut arguments)).unwrap();
    assert_eq!(request.path, "/id/body_path");
    assert_eq!(
        request.query,
        format!(
            "id=id_query&Date%3E=Date&Date%3C=Date_query&Date%3D=Date_2&%24%C3%A9=parameter&{long}={short}"
        )
    );
    assert_eq!(request.headers, [("id".to_owned(), "id_header".to_owned())]);
    assert_eq!(request.body.unwrap().bytes, b"\"body\"");
}
