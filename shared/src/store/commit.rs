//! Transactions: one change and its audit event, all or nothing.

use std::time::Duration;

use aws_sdk_dynamodb::error::{BuildError, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, ConditionCheck, Delete, Put, TransactWriteItem, Update};

use super::codec::Map;
use super::events::{self, Certainty};
use super::schema::{self, Key};
use super::{Store, StoreError};
use crate::domain::{Entropy, RoleName};
use crate::telemetry;

/// How often a change is tried when others change the same account.
const ATTEMPTS: u32 = 12;
/// The first pause between two attempts, at most. It doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause, at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What became of a transaction.
#[derive(Debug)]
pub(super) enum Outcome {
    /// All of it happened.
    Committed,
    /// Nothing happened: the conditions of the actions at these positions did
    /// not hold. What that means, the caller knows.
    Refused(Vec<usize>),
    /// Nothing happened: another transaction had the same item in hand.
    Conflict,
}

/// Counts attempts and waits between them.
pub(super) struct Backoff<'a> {
    entropy: &'a dyn Entropy,
    attempt: u32,
}

impl Backoff<'_> {
    /// Waits for a random part of a pause that doubles each time.
    ///
    /// # Errors
    /// When there have been enough attempts.
    pub(super) async fn pause(&mut self) -> Result<(), StoreError> {
        self.attempt += 1;
        if self.attempt >= ATTEMPTS {
            return Err(StoreError::Contention);
        }
        let most = FIRST_PAUSE.saturating_mul(1 << (self.attempt - 1)).min(LONGEST_PAUSE);
        let mut random = [0; 2];
        self.entropy.fill(&mut random)?;
        let part = u32::from(u16::from_be_bytes(random));
        tokio::time::sleep(most.saturating_mul(part) / u32::from(u16::MAX)).await;
        Ok(())
    }
}

impl Store {
    /// A new count of attempts.
    pub(super) fn backoff(&self) -> Backoff<'_> {
        Backoff { entropy: &*self.entropy, attempt: 0 }
    }

    /// Does all of `actions`, or none, and then logs the audit events among them,
    /// each on one line. No operation can forget to: what is logged is what is
    /// written.
    ///
    /// # Errors
    /// When the table cannot be reached, or refuses for another reason than a
    /// condition or a conflict.
    pub(super) async fn commit(&self, actions: Vec<TransactWriteItem>) -> Result<Outcome, StoreError> {
        let written = events::written(&actions)?;
        let (outcome, certainty) = self.transact(actions).await;
        for event in written {
            if let Some(certainty) = certainty {
                events::log(&event, certainty);
            }
        }
        outcome
    }

    /// What became of a transaction, and whether it has happened as far as that
    /// tells: nothing, if it has not.
    async fn transact(
        &self,
        actions: Vec<TransactWriteItem>,
    ) -> (Result<Outcome, StoreError>, Option<Certainty>) {
        let answer = self.client.transact_write_items().set_transact_items(Some(actions)).send().await;
        let Err(error) = answer else {
            return (Ok(Outcome::Committed), Some(Certainty::Committed));
        };
        match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                let reasons = cancelled.cancellation_reasons();
                let outcome = match outcome(reasons) {
                    Some(outcome) => Ok(outcome),
                    None if reasons.iter().any(is_throttle) => {
                        Err(StoreError::Throttled(telemetry::cause(&error)))
                    }
                    None => Err(StoreError::from_sdk(error)),
                };
                (outcome, None)
            }
            // An attempt before this one is under way, and may come to its end.
            Some(TransactWriteItemsError::TransactionInProgressException(_)) => {
                (Ok(Outcome::Conflict), Some(Certainty::Unknown))
            }
            _ => (Err(StoreError::from_sdk(error)), Some(Certainty::Unknown)),
        }
    }

    /// An action that puts `item` where no item is.
    pub(super) fn put_new(&self, key: Key, item: Map) -> Result<TransactWriteItem, StoreError> {
        let mut item = item;
        item.extend(key);
        let put = Put::builder()
            .table_name(&*self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#pk)")
            .expression_attribute_names("#pk", schema::PK);
        Ok(TransactWriteItem::builder().put(put.build().map_err(incomplete)?).build())
    }

    /// An action that puts `item` in place of the one that is there, if the
    /// conditions hold.
    pub(super) fn replace(
        &self,
        key: Key,
        item: Map,
        expression: Expression,
    ) -> Result<TransactWriteItem, StoreError> {
        let mut item = item;
        item.extend(key);
        let put = Put::builder()
            .table_name(&*self.table)
            .set_item(Some(item))
            .condition_expression(expression.conditions.join(" AND "))
            .set_expression_attribute_names(Some(expression.names))
            .set_expression_attribute_values(given(expression.values));
        Ok(TransactWriteItem::builder().put(put.build().map_err(incomplete)?).build())
    }

    /// Puts these items, whatever is there: what no rule and no event depends on.
    ///
    /// # Errors
    /// When the table cannot be reached, or others write the same items again
    /// and again.
    pub(super) async fn put_all(&self, items: Vec<(Key, Map)>) -> Result<(), StoreError> {
        let puts = items.into_iter().map(|(key, mut item)| {
            item.extend(key);
            let put = Put::builder().table_name(&*self.table).set_item(Some(item));
            Ok(TransactWriteItem::builder().put(put.build().map_err(incomplete)?).build())
        });
        let puts = puts.collect::<Result<Vec<_>, StoreError>>()?;
        let mut backoff = self.backoff();
        while !matches!(self.commit(puts.clone()).await?, Outcome::Committed) {
            backoff.pause().await?;
        }
        Ok(())
    }

    /// An action that checks that there is no item.
    pub(super) fn check_absent(&self, key: Key) -> Result<TransactWriteItem, StoreError> {
        self.check(key, "attribute_not_exists(#pk)")
    }

    /// An action that checks that a custom role exists. A built-in one always
    /// does.
    pub(super) fn check_role(&self, role: &RoleName) -> Result<Option<TransactWriteItem>, StoreError> {
        match role.built_in() {
            Some(_) => Ok(None),
            None => self.check(schema::role_key(role), "attribute_exists(#pk)").map(Some),
        }
    }

    fn check(&self, key: Key, condition: &str) -> Result<TransactWriteItem, StoreError> {
        let check = ConditionCheck::builder()
            .table_name(&*self.table)
            .set_key(Some(key))
            .condition_expression(condition)
            .expression_attribute_names("#pk", schema::PK);
        Ok(TransactWriteItem::builder().condition_check(check.build().map_err(incomplete)?).build())
    }

    /// An action that updates the item at `key` as `expression` says.
    pub(super) fn update(&self, key: Key, expression: Expression) -> Result<TransactWriteItem, StoreError> {
        let update = Update::builder()
            .table_name(&*self.table)
            .set_key(Some(key))
            .update_expression(expression.update())
            .condition_expression(expression.conditions.join(" AND "))
            .set_expression_attribute_names(Some(expression.names))
            .set_expression_attribute_values(given(expression.values));
        Ok(TransactWriteItem::builder().update(update.build().map_err(incomplete)?).build())
    }

    /// An action that deletes the item at `key` if the conditions hold.
    pub(super) fn delete(&self, key: Key, expression: Expression) -> Result<TransactWriteItem, StoreError> {
        let delete = Delete::builder()
            .table_name(&*self.table)
            .set_key(Some(key))
            .condition_expression(expression.conditions.join(" AND "))
            .set_expression_attribute_names(Some(expression.names))
            .set_expression_attribute_values(given(expression.values));
        Ok(TransactWriteItem::builder().delete(delete.build().map_err(incomplete)?).build())
    }
}

/// The values of an expression, if it has any: `DynamoDB` refuses an empty map.
fn given(values: Map) -> Option<Map> {
    Some(values).filter(|values| !values.is_empty())
}

/// An update and its conditions, with every name and value as a placeholder.
#[derive(Default)]
pub(super) struct Expression {
    sets: Vec<String>,
    removes: Vec<String>,
    conditions: Vec<String>,
    names: std::collections::HashMap<String, String>,
    values: Map,
}

impl Expression {
    /// The placeholder of an attribute's name (or of a map's member).
    pub(super) fn name(&mut self, name: impl ToString) -> String {
        let name = name.to_string();
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name);
        placeholder
    }

    /// The placeholder of a value.
    pub(super) fn value(&mut self, value: aws_sdk_dynamodb::types::AttributeValue) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }

    /// Sets an attribute.
    pub(super) fn set(&mut self, name: &str, value: aws_sdk_dynamodb::types::AttributeValue) {
        let (name, value) = (self.name(name), self.value(value));
        self.sets.push(format!("{name} = {value}"));
    }

    /// Sets what `path`, made of placeholders, points to.
    pub(super) fn set_path(&mut self, path: &str, value: aws_sdk_dynamodb::types::AttributeValue) {
        let value = self.value(value);
        self.sets.push(format!("{path} = {value}"));
    }

    /// Adds one to a number.
    pub(super) fn increment(&mut self, name: &str) {
        let (name, one) = (self.name(name), self.value(super::codec::n(1)));
        self.sets.push(format!("{name} = {name} + {one}"));
    }

    /// Removes what `path`, made of placeholders, points to.
    pub(super) fn remove_path(&mut self, path: String) {
        self.removes.push(path);
    }

    /// Adds a condition.
    pub(super) fn require(&mut self, condition: String) {
        self.conditions.push(condition);
    }

    /// Requires that an attribute has this value.
    pub(super) fn require_equal(&mut self, name: &str, value: aws_sdk_dynamodb::types::AttributeValue) {
        let (name, value) = (self.name(name), self.value(value));
        self.conditions.push(format!("{name} = {value}"));
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

/// The meaning of a cancellation. Nothing, if a reason is neither a condition
/// nor a conflict.
fn outcome(reasons: &[CancellationReason]) -> Option<Outcome> {
    let code = |reason: &CancellationReason| reason.code().unwrap_or("None").to_owned();
    let codes: Vec<String> = reasons.iter().map(code).collect();
    let known =
        |code: &String| matches!(code.as_str(), "None" | "ConditionalCheckFailed" | "TransactionConflict");
    if codes.is_empty() || !codes.iter().all(known) {
        return None;
    }
    // A conflict first: where there was one, the other conditions may have been
    // judged on a state that is about to change.
    if codes.iter().any(|code| code == "TransactionConflict") {
        return Some(Outcome::Conflict);
    }
    let failed = codes.iter().enumerate().filter(|(_, code)| *code == "ConditionalCheckFailed");
    let failed: Vec<usize> = failed.map(|(at, _)| at).collect();
    if failed.is_empty() { None } else { Some(Outcome::Refused(failed)) }
}

/// Whether a transaction was cancelled because the table takes no more of them
/// for now.
fn is_throttle(reason: &CancellationReason) -> bool {
    matches!(reason.code(), Some("ProvisionedThroughputExceeded" | "ThrottlingError"))
}

/// A request that lacks a member. It cannot happen: each builder above gets all
/// that it needs.
fn incomplete(error: BuildError) -> StoreError {
    StoreError::from_sdk(SdkError::<TransactWriteItemsError>::construction_failure(error))
}
