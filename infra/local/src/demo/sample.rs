//! The business API of the demo: invoices, organizations and teams that exist only in their
//! responses. The same request always has the same response, and nothing is stored.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

/// The names of organizations and teams.
const NAMES: [&str; 8] = ["Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Gingko", "Hazel"];
/// The highest number of an invoice, an organization or a team.
const LAST: u64 = 1400;
/// The number of items in a list, unless the query has another limit.
const PAGE: u64 = 5;

/// A status and, unless it is 204, a JSON body.
pub(crate) type Answer = (StatusCode, Option<Value>);

/// Answers a request. `None` if the demo has no such route.
pub(crate) fn answer(method: &str, path: &str, query: &str, body: &[u8]) -> Option<Answer> {
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let ok = |value| Some((StatusCode::OK, Some(value)));
    match (method, segments.as_slice()) {
        ("GET", ["invoices"]) => ok(invoices(query)),
        ("GET", ["organizations"]) => ok(list(query, organization)),
        ("GET", ["teams"]) => ok(list(query, team)),
        ("GET", ["invoices", id]) => Some(found(id, invoice)),
        ("GET", ["organizations", id]) => Some(found(id, organization)),
        ("GET", ["teams", id]) => Some(found(id, team)),
        ("PATCH", ["invoices", id]) => Some(found(id, |number| changed(invoice(number), body))),
        ("PATCH", ["organizations", id]) => Some(found(id, |number| changed(organization(number), body))),
        ("POST", ["invoices", id, "reminders"]) => {
            let reminder = |number| json!({ "invoiceId": number, "recipient": contact(number) });
            let (status, value) = found(id, reminder);
            Some((if status == StatusCode::OK { StatusCode::ACCEPTED } else { status }, value))
        }
        ("POST", ["refunds" | "teams"]) => {
            Some((StatusCode::CREATED, Some(changed(json!({ "id": LAST }), body))))
        }
        ("DELETE", ["teams", id]) => {
            let (status, value) = found(id, team);
            Some(if status == StatusCode::OK { (StatusCode::NO_CONTENT, None) } else { (status, value) })
        }
        _ => None,
    }
}

/// The item with this number, or 404.
fn found(id: &str, item: impl Fn(u64) -> Value) -> Answer {
    match id.parse() {
        Ok(number) if (1..=LAST).contains(&number) => (StatusCode::OK, Some(item(number))),
        Ok(_) | Err(_) => {
            let message = format!("The number {id} does not exist. Numbers go from 1 to {LAST}.");
            (StatusCode::NOT_FOUND, Some(json!({ "message": message })))
        }
    }
}

fn invoice(number: u64) -> Value {
    let (month, day) = (1 + number % 12, 1 + number % 28);
    json!({
        "id": number,
        "organizationId": 1 + number % 40,
        "amount": 100 + number * 37 % 900,
        "status": if number.is_multiple_of(3) { "open" } else { "paid" },
        "dueOn": format!("2026-{month:02}-{day:02}"),
    })
}

fn organization(number: u64) -> Value {
    json!({ "id": number, "name": format!("{} Ltd", name(number)), "billingContact": contact(number) })
}

fn team(number: u64) -> Value {
    json!({ "id": number, "name": format!("{} team", name(number)), "organizationId": 1 + number % 40 })
}

fn name(number: u64) -> &'static str {
    let index = usize::try_from(number).unwrap_or_default() % NAMES.len();
    NAMES.get(index).copied().unwrap_or_default()
}

fn contact(number: u64) -> String {
    format!("accounts@{}.example", name(number).to_lowercase())
}

fn invoices(query: &str) -> Value {
    let status = parameter(query, "status");
    let items = (1..=LAST).rev().map(invoice);
    let items = items.filter(|item| status.is_none_or(|status| item.get("status") == Some(&status.into())));
    page(query, items)
}

fn list(query: &str, item: impl Fn(u64) -> Value) -> Value {
    page(query, (1..=LAST).map(item))
}

fn page(query: &str, items: impl Iterator<Item = Value>) -> Value {
    let limit = parameter(query, "limit").and_then(|limit| limit.parse().ok()).unwrap_or(PAGE);
    let limit = usize::try_from(limit.min(20)).unwrap_or_default();
    json!({ "items": items.take(limit).collect::<Vec<_>>() })
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// `item` with the members of the body.
fn changed(mut item: Value, body: &[u8]) -> Value {
    let changes: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    if let Some(item) = item.as_object_mut() {
        item.extend(changes);
    }
    item
}
