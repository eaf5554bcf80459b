//! Transactions: a change and its audit event are written together or not at all.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::error::{BuildError, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, ConditionCheck, Delete, Put, TransactWriteItem, Update,
};

use super::codec::{Map, n};
use super::events::{self, Confirmation};
use super::schema::{self, Key};
use super::{Store, StoreError};
use crate::domain::RoleName;
use crate::telemetry;

/// The maximum number of attempts at a change while others change the same account
/// or role.
const ATTEMPTS: u32 = 12;
/// The upper limit of the first pause between two attempts. Each pause doubles
/// the limit.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The upper limit of any pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The outcome of a transaction.
#[derive(Debug)]
pub(super) enum Outcome<C> {
    /// Everything was written.
    Committed,
    /// Nothing was written. Of the conditions that failed, this is the first in
    /// the order of `C`.
    Refused(C),
    /// Nothing was written: another transaction was changing one of the items.
    Conflict,
}

/// The outcome of one attempt at a change.
pub(super) enum Attempt<T> {
    /// The change is complete.
    Done(T),
    /// The items changed after they were read. Read them again and retry.
    Again,
}

impl Attempt<()> {
    /// Returns `value` if the change is complete.
    pub(super) fn with<T>(self, value: T) -> Attempt<T> {
        match self {
            Self::Done(()) => Attempt::Done(value),
            Self::Again => Attempt::Again,
        }
    }
}

impl Store {
    /// Repeats `attempt` until it is done. Between attempts, waits for a random time
    /// up to a limit that doubles each time. After [`ATTEMPTS`] attempts, fails with
    /// [`StoreError::Contention`].
    pub(super) async fn retry<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<Attempt<T>, StoreError>>,
    {
        let mut limit = FIRST_PAUSE;
        for count in 1..=ATTEMPTS {
            if let Attempt::Done(done) = attempt().await? {
                return Ok(done);
            }
            if count == ATTEMPTS {
                break;
            }
            tokio::time::sleep(self.random_part(limit)?).await;
            limit = limit.saturating_mul(2).min(LONGEST_PAUSE);
        }
        Err(StoreError::Contention)
    }

    /// A random part of `limit`.
    pub(super) fn random_part(&self, limit: Duration) -> Result<Duration, StoreError> {
        let mut random = [0; 2];
        self.entropy.fill(&mut random)?;
        let part = u32::from(u16::from_be_bytes(random));
        Ok(limit.saturating_mul(part) / u32::from(u16::MAX))
    }

    /// Commits `actions`, each paired with the name of its condition, and logs each
    /// audit event among them on one line. Logging here ensures that every event that
    /// is written is also logged.
    pub(super) async fn commit<C: Copy + Ord>(
        &self,
        actions: Vec<(C, TransactWriteItem)>,
    ) -> Result<Outcome<C>, StoreError> {
        let (conditions, actions): (Vec<C>, Vec<TransactWriteItem>) = actions.into_iter().unzip();
        let events = events::written(&actions)?;
        let (outcome, confirmation) = self.transact(&conditions, actions).await;
        for event in events {
            if let Some(confirmation) = confirmation {
                events::log(&event, confirmation);
            }
        }
        outcome
    }

    /// Commits `actions`. A failed condition of any of them means that the items
    /// changed after they were read.
    pub(super) async fn commit_unchanged(
        &self,
        actions: Vec<TransactWriteItem>,
    ) -> Result<Attempt<()>, StoreError> {
        let actions = actions.into_iter().map(|action| ((), action)).collect();
        Ok(match self.commit(actions).await? {
            Outcome::Committed => Attempt::Done(()),
            Outcome::Refused(()) | Outcome::Conflict => Attempt::Again,
        })
    }

    /// Sends a transaction. Also returns whether the writing of its events is
    /// confirmed, or `None` if they were certainly not written.
    async fn transact<C: Copy + Ord>(
        &self,
        conditions: &[C],
        actions: Vec<TransactWriteItem>,
    ) -> (Result<Outcome<C>, StoreError>, Option<Confirmation>) {
        let answer = self.client.transact_write_items().set_transact_items(Some(actions)).send().await;
        let Err(error) = answer else {
            return (Ok(Outcome::Committed), Some(Confirmation::Confirmed));
        };
        match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                let reasons = cancelled.cancellation_reasons();
                let outcome = match outcome(conditions, reasons) {
                    Some(outcome) => Ok(outcome),
                    None if reasons.iter().any(is_throttle) => {
                        Err(StoreError::Throttled(telemetry::cause(&error)))
                    }
                    None => Err(StoreError::from_sdk(error)),
                };
                (outcome, None)
            }
            // An earlier attempt of the SDK is still running and can still commit.
            Some(TransactWriteItemsError::TransactionInProgressException(_)) => {
                (Ok(Outcome::Conflict), Some(Confirmation::Unconfirmed))
            }
            _ => (Err(StoreError::from_sdk(error)), Some(Confirmation::Unconfirmed)),
        }
    }

    /// An action that creates `item`. Fails if an item with this key exists.
    pub(super) fn put_new(&self, key: Key, item: Map) -> Result<TransactWriteItem, StoreError> {
        self.put(key, item, Expression::absent())
    }

    /// An action that writes `item` if the conditions are met.
    pub(super) fn put(
        &self,
        key: Key,
        mut item: Map,
        conditions: Expression,
    ) -> Result<TransactWriteItem, StoreError> {
        item.extend(key);
        let put = Put::builder()
            .table_name(&*self.table)
            .set_item(Some(item))
            .condition_expression(conditions.condition())
            .set_expression_attribute_names(non_empty(conditions.names))
            .set_expression_attribute_values(non_empty(conditions.values));
        Ok(TransactWriteItem::builder().put(put.build().map_err(incomplete)?).build())
    }

    /// Writes items without conditions and without an audit event.
    pub(super) async fn put_all(&self, items: Vec<(Key, Map)>) -> Result<(), StoreError> {
        let puts = items.into_iter().map(|(key, mut item)| {
            item.extend(key);
            let put = Put::builder().table_name(&*self.table).set_item(Some(item));
            Ok(TransactWriteItem::builder().put(put.build().map_err(incomplete)?).build())
        });
        let puts = puts.collect::<Result<Vec<_>, StoreError>>()?;
        self.retry(|| self.commit_unchanged(puts.clone())).await
    }

    /// An action that checks that no item with this key exists.
    pub(super) fn check_absent(&self, key: Key) -> Result<TransactWriteItem, StoreError> {
        self.check(key, Expression::absent())
    }

    /// An action that checks that an item with this key exists.
    pub(super) fn check_exists(&self, key: Key) -> Result<TransactWriteItem, StoreError> {
        self.check(key, Expression::exists())
    }

    /// An action that checks that a custom role exists. Built-in roles need no
    /// check.
    pub(super) fn check_role(&self, role: &RoleName) -> Result<Option<TransactWriteItem>, StoreError> {
        match role.built_in() {
            Some(_) => Ok(None),
            None => self.check_exists(schema::role_key(role)).map(Some),
        }
    }

    /// An action that checks the conditions on the item at `key`.
    pub(super) fn check(&self, key: Key, conditions: Expression) -> Result<TransactWriteItem, StoreError> {
        let check = ConditionCheck::builder()
            .table_name(&*self.table)
            .set_key(Some(key))
            .condition_expression(conditions.condition())
            .set_expression_attribute_names(non_empty(conditions.names))
            .set_expression_attribute_values(non_empty(conditions.values));
        Ok(TransactWriteItem::builder().condition_check(check.build().map_err(incomplete)?).build())
    }

    /// An action that makes the updates of `expression` to the item at `key` if its
    /// conditions are met.
    pub(super) fn update(&self, key: Key, expression: Expression) -> Result<TransactWriteItem, StoreError> {
        let update = Update::builder()
            .table_name(&*self.table)
            .set_key(Some(key))
            .update_expression(expression.update())
            .condition_expression(expression.condition())
            .set_expression_attribute_names(non_empty(expression.names))
            .set_expression_attribute_values(non_empty(expression.values));
        Ok(TransactWriteItem::builder().update(update.build().map_err(incomplete)?).build())
    }

    /// An action that deletes the item at `key` if the conditions are met.
    pub(super) fn delete(&self, key: Key, conditions: Expression) -> Result<TransactWriteItem, StoreError> {
        let delete = Delete::builder()
            .table_name(&*self.table)
            .set_key(Some(key))
            .condition_expression(conditions.condition())
            .set_expression_attribute_names(non_empty(conditions.names))
            .set_expression_attribute_values(non_empty(conditions.values));
        Ok(TransactWriteItem::builder().delete(delete.build().map_err(incomplete)?).build())
    }
}

/// The names or values of an expression, or `None` if there are none: DynamoDB refuses
/// an empty map.
fn non_empty<V>(map: HashMap<String, V>) -> Option<HashMap<String, V>> {
    Some(map).filter(|map| !map.is_empty())
}

/// The updates and conditions of an action. They use placeholders for names and
/// values.
#[derive(Default)]
pub(super) struct Expression {
    sets: Vec<String>,
    removes: Vec<String>,
    conditions: Vec<String>,
    names: HashMap<String, String>,
    values: Map,
}

impl Expression {
    /// The condition that the item exists.
    pub(super) fn exists() -> Self {
        let mut expression = Self::default();
        let pk = expression.name(schema::PK);
        expression.require(format!("attribute_exists({pk})"));
        expression
    }

    /// The condition that the item does not exist.
    pub(super) fn absent() -> Self {
        let mut expression = Self::default();
        let pk = expression.name(schema::PK);
        expression.require(format!("attribute_not_exists({pk})"));
        expression
    }

    /// The condition that the attribute `name` has this value.
    pub(super) fn equal(name: &str, value: AttributeValue) -> Self {
        let mut expression = Self::default();
        expression.require_equal(name, value);
        expression
    }

    /// Returns the placeholder of an attribute's name, or of a map member's name.
    pub(super) fn name(&mut self, name: impl ToString) -> String {
        let name = name.to_string();
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name);
        placeholder
    }

    /// Returns the placeholder of a value.
    pub(super) fn value(&mut self, value: AttributeValue) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }

    pub(super) fn set(&mut self, name: &str, value: AttributeValue) {
        let (name, value) = (self.name(name), self.value(value));
        self.sets.push(format!("{name} = {value}"));
    }

    /// Sets the attribute at `path`, which is made of placeholders.
    pub(super) fn set_path(&mut self, path: &str, value: AttributeValue) {
        let value = self.value(value);
        self.sets.push(format!("{path} = {value}"));
    }

    /// Adds one to a number.
    pub(super) fn increment(&mut self, name: &str) {
        let (name, one) = (self.name(name), self.value(n(1)));
        self.sets.push(format!("{name} = {name} + {one}"));
    }

    /// Removes the attribute at `path`, which is made of placeholders.
    pub(super) fn remove_path(&mut self, path: String) {
        self.removes.push(path);
    }

    pub(super) fn require(&mut self, condition: String) {
        self.conditions.push(condition);
    }

    pub(super) fn require_equal(&mut self, name: &str, value: AttributeValue) {
        let (name, value) = (self.name(name), self.value(value));
        self.conditions.push(format!("{name} = {value}"));
    }

    /// All conditions together. Without conditions, the text is empty, and DynamoDB
    /// refuses the action. So a forgotten condition cannot make a write unconditional.
    fn condition(&self) -> String {
        self.conditions.join(" AND ")
    }

    fn update(&self) -> String {
        let mut text = format!("SET {}", self.sets.join(", "));
        if !self.removes.is_empty() {
            text.push_str(" REMOVE ");
            text.push_str(&self.removes.join(", "));
        }
        text
    }
}

/// Interprets the reasons of a cancellation. Returns `None` if a reason is neither a
/// failed condition nor a conflict.
fn outcome<C: Copy + Ord>(conditions: &[C], reasons: &[CancellationReason]) -> Option<Outcome<C>> {
    let codes = || reasons.iter().map(|reason| reason.code().unwrap_or("None"));
    if !codes().all(|code| matches!(code, "None" | "ConditionalCheckFailed" | "TransactionConflict")) {
        return None;
    }
    // A conflict takes precedence: the other conditions may have been checked on a
    // state that is about to change.
    if codes().any(|code| code == "TransactionConflict") {
        return Some(Outcome::Conflict);
    }
    // DynamoDB lists the reasons in the order of the actions.
    let failed = conditions.iter().zip(codes()).filter(|(_, code)| *code == "ConditionalCheckFailed");
    failed.map(|(condition, _)| *condition).min().map(Outcome::Refused)
}

/// Whether a transaction was cancelled because the table is throttled.
fn is_throttle(reason: &CancellationReason) -> bool {
    matches!(reason.code(), Some("ProvisionedThroughputExceeded" | "ThrottlingError"))
}

/// The error for a request that lacks a required member. The methods above set all
/// of them, so this error does not occur.
fn incomplete(error: BuildError) -> StoreError {
    StoreError::from_sdk(SdkError::<TransactWriteItemsError>::construction_failure(error))
}
