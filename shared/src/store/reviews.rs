//! Access reviews of accounts.
//!
//! Each review is an item, and a copy of the account's latest review is a second one. The
//! first makes a retry with the same `Idempotency-Key` safe, and the second is what the list
//! of accounts to review reads. Both are kept as long as the records of retired keys. Audit
//! events are kept forever.

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use super::codec::{self, MalformedItem, Map, Reader, b, n, s, seconds};
use super::commit::{Attempt, Expression, Outcome};
use super::events::NewEvent;
use super::list::{AccountCursor, AccountFilter, MAX_LIMIT, Page, PageRequest};
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{
    Account, AccountId, ChangeRequest, EventType, FieldChange, Fingerprint, NewReview, Review,
    ReviewDecision, ReviewNote,
};

/// The maximum number of reviews that are read in parallel.
const READS_AT_A_TIME: usize = 16;

/// The maximum number of pages of [`MAX_LIMIT`] accounts that are checked for one response.
const MAX_PAGES: usize = 5;

/// The attributes of a review, except its fingerprint.
const READ: [&str; 5] =
    [attribute::ID, attribute::AT, attribute::ACTOR, attribute::DECISION, attribute::NOTE];

/// An account and its latest review.
#[derive(Clone, Debug)]
pub struct ReviewedAccount {
    pub account: Account,
    pub review: Option<Review>,
}

/// The conditions of a review, in order of precedence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ReviewCondition {
    ReviewIsNew,
    AccountExists,
    NoLaterReview,
    EventIsNew,
}

impl Store {
    /// Records a review of an account's access.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::IdempotencyKeyReused`] or
    /// [`StoreError::Contention`].
    pub async fn review_account(
        &self,
        account: AccountId,
        new: &NewReview,
        fingerprint: Fingerprint,
        request: &ChangeRequest,
    ) -> Result<Review, StoreError> {
        let id = request.new_review_id(account, &*self.entropy)?;
        self.retry(|| async {
            let reviewed = self.get_account(account).await?;
            let review = Review {
                id,
                at: self.clock.now(),
                by: request.actor.clone(),
                decision: new.decision,
                note: new.note.clone(),
            };
            let mut event = NewEvent::account(EventType::ServiceAccountReviewed, &reviewed);
            event.changes = changes(new);
            let mut marked = item(&review);
            marked.insert(attribute::FINGERPRINT.to_owned(), b(fingerprint.as_bytes()));
            let actions = vec![
                (ReviewCondition::ReviewIsNew, self.put_new(schema::review_key(account, id), marked)?),
                (ReviewCondition::AccountExists, self.check_exists(schema::account_key(account))?),
                (
                    ReviewCondition::NoLaterReview,
                    self.put(schema::latest_review_key(account), item(&review), no_later(review.at))?,
                ),
                (ReviewCondition::EventIsNew, self.record(event, request, review.at)?),
            ];
            match self.commit(actions).await? {
                Outcome::Committed => Ok(Attempt::Done(review)),
                Outcome::Refused(ReviewCondition::ReviewIsNew) => {
                    let more = [attribute::FINGERPRINT];
                    let item =
                        self.read(schema::review_key(account, id), &[&READ[..], &more].concat()).await?;
                    let Some(item) = item else { return Ok(Attempt::Again) };
                    let earlier = review_from(&item)?;
                    let first = Reader(&item).fingerprint().map_err(|error| error.in_item("a review"))?;
                    if first == fingerprint {
                        Ok(Attempt::Done(earlier))
                    } else {
                        Err(StoreError::IdempotencyKeyReused)
                    }
                }
                Outcome::Refused(ReviewCondition::AccountExists) => Err(StoreError::AccountNotFound(account)),
                Outcome::Refused(ReviewCondition::NoLaterReview | ReviewCondition::EventIsNew)
                | Outcome::Conflict => Ok(Attempt::Again),
            }
        })
        .await
    }

    /// Lists accounts with their latest reviews, in the order of the accounts' folded names.
    /// With `reviewed_before`, lists only accounts without a review since that instant, and
    /// checks at most [`MAX_PAGES`] × [`MAX_LIMIT`] accounts: a page can be short and still
    /// have a cursor.
    ///
    /// This reads the index, which can lag behind the table. Reviews are read consistently.
    pub async fn list_reviewed_accounts(
        &self,
        reviewed_before: Option<Timestamp>,
        page: &PageRequest<AccountCursor>,
    ) -> Result<Page<ReviewedAccount, AccountCursor>, StoreError> {
        let wanted = usize::try_from(page.limit).unwrap_or(0);
        let limit = reviewed_before.map_or(page.limit, |_| MAX_LIMIT.into());
        let (mut found, mut cursor) = (Vec::new(), page.cursor.clone());
        for _ in 0..MAX_PAGES {
            let request = PageRequest { limit, cursor };
            let accounts = self.list_accounts(&AccountFilter::default(), &request).await?.page;
            for reviewed in self.latest_reviews(accounts.items).await? {
                let is_due = |before| reviewed.review.as_ref().is_none_or(|review| review.at < before);
                if reviewed_before.is_none_or(is_due) {
                    found.push(reviewed);
                }
            }
            if found.len() > wanted {
                let cursor = |last: &ReviewedAccount| AccountCursor::after(&last.account);
                return Ok(Page::cut(found, page.limit, cursor));
            }
            cursor = accounts.next;
            if cursor.is_none() || found.len() == wanted {
                break;
            }
        }
        Ok(Page { items: found, next: cursor })
    }

    /// Reads the latest review of each account.
    async fn latest_reviews(&self, accounts: Vec<Account>) -> Result<Vec<ReviewedAccount>, StoreError> {
        let read = |account: Account| async {
            let item = self.read(schema::latest_review_key(account.id), &READ).await?;
            let review = item.map(|item| review_from(&item)).transpose()?;
            Ok(ReviewedAccount { account, review })
        };
        futures::stream::iter(accounts).map(read).buffered(READS_AT_A_TIME).try_collect().await
    }
}

/// The condition that no review after `at` is stored.
fn no_later(at: Timestamp) -> Expression {
    let mut condition = Expression::default();
    let (name, value) = (condition.name(attribute::AT), condition.value(n(at.as_millisecond())));
    condition.require(format!("(attribute_not_exists({name}) OR {name} <= {value})"));
    condition
}

/// The content of a review as changes in its event.
fn changes(new: &NewReview) -> Vec<FieldChange> {
    let change = |field: &str, to: &str| FieldChange {
        field: field.to_owned(),
        from: String::new(),
        to: to.to_owned(),
    };
    let note = Some(new.note.as_str()).filter(|note| !note.is_empty());
    let decision = change(attribute::DECISION, new.decision.name());
    [Some(decision), note.map(|note| change(attribute::NOTE, note))].into_iter().flatten().collect()
}

fn item(review: &Review) -> Map {
    codec::map([
        (attribute::ID, s(review.id)),
        (attribute::AT, n(review.at.as_millisecond())),
        (attribute::ACTOR, codec::actor(&review.by)),
        (attribute::DECISION, s(review.decision.name())),
        (attribute::NOTE, s(&review.note)),
        (schema::TTL, seconds(schema::kept_until(review.at))),
    ])
}

fn review_from(item: &Map) -> Result<Review, StoreError> {
    let reader = Reader(item);
    let read = || -> Result<Review, MalformedItem> {
        Ok(Review {
            id: reader.parse(attribute::ID, str::parse)?,
            at: reader.milliseconds(attribute::AT)?,
            by: reader.actor(attribute::ACTOR)?,
            decision: reader.get(attribute::DECISION, |value| ReviewDecision::parse(codec::text(value)?))?,
            note: reader.parse(attribute::NOTE, ReviewNote::from_stored)?,
        })
    };
    read().map_err(|error| error.in_item("a review"))
}
