//! `GET /iam/v1/attention`: lists the keys and service accounts that need attention.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use shared::api::{
    AccountSummary, Attention, AttentionCounts, AttentionItem, AttentionReason, EndReason, IdentitySummary,
    KeySummary, MinimumCount,
};
use shared::domain::{Account, AccountId, FoldedName, GrantId, Owner};
use shared::http::{Failure, Paging, Reply, Request, query_parameter};
use shared::store::{
    DirectoryAccount, DirectoryCursor, DirectoryIdentity, DirectoryKey, DirectoryList, DirectoryPage,
    EndedKey, InvalidCursor, KeyAt, MAX_LIMIT, StoreError, UnusedKey,
};
use utoipa::IntoParams;

use crate::ListServiceAccounts;

/// Days for which a use of a key after its end needs attention.
const USED_AFTER_END_DAYS: i64 = 30;
/// Days before its expiry from which a key or federated identity needs attention, unless the
/// request has another number.
const EXPIRING_DAYS: i64 = 30;
/// Days before its expiry from which a key or federated identity needs attention soon.
const SOON_DAYS: i64 = 7;
/// The maximum of `withinDays`.
const MAX_WITHIN_DAYS: i64 = 90;
/// Days after which the result of a sweep no longer counts. The table keeps it as long.
const SWEEP_COUNTS_DAYS: i64 = 3;

/// The filters, and the fields of [`Paging`].
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
struct AttentionQuery {
    /// Only items with this reason: `usedAfterEnd`, `expiring`, `unused` or
    /// `disabled`. Without a reason, the response has the most urgent items of all
    /// reasons, and no `nextCursor`.
    #[param(example = "expiring")]
    reason: Option<String>,
    /// Only keys and federated identities that expire within this number of days. Only with
    /// the reason `expiring`.
    #[param(value_type = Option<u8>, minimum = 1, maximum = 90, default = 30)]
    within_days: Option<String>,
    /// Only items of service accounts whose owner contains this text, ignoring case.
    /// At most 128 characters. The counts do not depend on the owner.
    #[param(max_length = 128, example = "data-team")]
    owner: Option<String>,
    #[param(ignore)]
    cursor: Option<String>,
    #[param(ignore)]
    limit: Option<String>,
}

/// A valid query.
struct Filter {
    reason: Option<AttentionReason>,
    within_days: i64,
    owner: Option<FoldedName>,
    limit: usize,
    cursor: Option<DirectoryCursor>,
}

impl AttentionQuery {
    fn validate(self) -> Result<Filter, Failure> {
        let reason = query_parameter("reason", self.reason.as_deref(), |name| {
            AttentionReason::parse(name).ok_or_else(|| {
                let known: Vec<_> = AttentionReason::ALL.iter().map(|known| known.name()).collect();
                format!("must be one of {}", known.join(", "))
            })
        })?;
        let within_days = query_parameter("withinDays", self.within_days.as_deref(), |text| {
            if reason != Some(AttentionReason::Expiring) {
                return Err("is allowed only with the reason `expiring`".to_owned());
            }
            let number = text.parse().ok().filter(|number: &i64| number.to_string() == text);
            let number = number.filter(|number| (1..=MAX_WITHIN_DAYS).contains(number));
            number.ok_or_else(|| format!("must be a whole number from 1 to {MAX_WITHIN_DAYS}"))
        })?;
        let owner = query_parameter("owner", self.owner.as_deref(), |text| match text.trim() {
            "" => Err("must not be empty".to_owned()),
            owner if owner.chars().count() > Owner::MAX_CHARS => {
                Err(format!("must be at most {} characters", Owner::MAX_CHARS))
            }
            owner => Ok(FoldedName::new(owner)),
        })?;
        if reason.is_none() && self.cursor.is_some() {
            return Err(Failure::invalid_parameter("cursor", "is allowed only with `reason`"));
        }
        let page = Paging { cursor: self.cursor, limit: self.limit }.page(|text| match reason {
            Some(reason) => DirectoryCursor::decode(list_of(reason), text),
            None => Err(InvalidCursor),
        })?;
        Ok(Filter {
            reason,
            within_days: within_days.unwrap_or(EXPIRING_DAYS),
            owner,
            limit: usize::try_from(page.limit).unwrap_or(0),
            cursor: page.cursor,
        })
    }
}

/// The list of the directory from which items with this reason come.
fn list_of(reason: AttentionReason) -> DirectoryList {
    match reason {
        AttentionReason::UsedAfterEnd => DirectoryList::UsedAfterEnd,
        AttentionReason::Expiring => DirectoryList::Expiring,
        AttentionReason::Unused => DirectoryList::Unused,
        AttentionReason::Disabled => DirectoryList::Disabled,
    }
}

/// Get what needs attention
///
/// Returns the keys, federated identities and service accounts that need attention, most
/// urgent first: keys that were used after their end, keys and identities that expire soon,
/// keys that have not been used for 90 days, and disabled service accounts. The items of one
/// reason are sorted: keys used after their end by their last use, latest first; expiring keys
/// and identities by account, the account with the earliest expiry first; and unused keys, the
/// longest unused first.
///
/// The response also has the number of items in the whole deployment. Changes may take a
/// moment to appear. Only the daily sweep finds unused keys: `unusedCountedAt` says when.
/// A key that was used, revoked or rotated since then is still counted, but not listed.
/// The keys and identities of a disabled service account count neither as expiring nor as
/// unused.
#[utoipa::path(
    get,
    path = "/iam/v1/attention",
    operation_id = "getAttention",
    tag = "Service accounts",
    params(AttentionQuery, Paging),
    responses(
        (status = 200, description = "What needs attention.", body = Attention),
        (status = 400, description = "malformed_request"),
    )
)]
pub async fn get_attention(function: &ListServiceAccounts, request: &Request) -> Result<Reply, Failure> {
    let filter = request.query::<AttentionQuery>()?.validate()?;
    let overview = Box::pin(Overview::read(function)).await?;
    let list = List { function, filter, overview };
    let (mut items, next) = match list.filter.reason {
        Some(reason) => Box::pin(list.page(reason)).await?,
        None => (Box::pin(list.most_urgent()).await?, None),
    };
    list.add_last_uses(&mut items).await?;
    Ok(Reply::ok(&Attention {
        counts: list.overview.counts(),
        unused_counted_at: list.overview.swept.map(|swept| swept.ended_at),
        items,
        next_cursor: next.map(|next| next.to_string()),
    }))
}

/// What the counts need: at most 1 MB of each list.
struct Overview {
    now: Timestamp,
    used_after_end: DirectoryPage<KeyAt>,
    expiring: DirectoryPage<DirectoryAccount>,
    unused: DirectoryPage<KeyAt>,
    disabled: DirectoryPage<DirectoryAccount>,
    /// The last complete sweep, if it counts.
    swept: Option<shared::store::CompletedSweep>,
}

impl Overview {
    async fn read(function: &ListServiceAccounts) -> Result<Self, StoreError> {
        let (store, now) = (&function.store, function.clock.now());
        let unused = async {
            let completed = store.sweep_state().await?.completed;
            let swept = completed.filter(|swept| swept.ended_at > days_before(now, SWEEP_COUNTS_DAYS));
            let unused = match swept {
                Some(swept) => store.unused_keys(swept.started_at, None, None).await?,
                None => DirectoryPage { items: Vec::new(), next: None },
            };
            Ok((swept, unused))
        };
        let (used_after_end, expiring, (swept, unused), disabled) = tokio::try_join!(
            store.keys_used_after_end(days_before(now, USED_AFTER_END_DAYS), None, None),
            store.expiring_accounts(days_after(now, EXPIRING_DAYS), None, None),
            unused,
            store.disabled_accounts(None, None),
        )?;
        Ok(Self { now, used_after_end, expiring, unused, disabled, swept })
    }

    fn counts(&self) -> AttentionCounts {
        let expiring = |days| {
            let until = days_after(self.now, days);
            let accounts = self.expiring.items.iter().map(|(account, _)| account);
            let count = accounts.map(|account| expiring_grants(account, self.now, until).len()).sum();
            let last = self.expiring.items.last();
            let is_complete = last.is_some_and(|(account, _)| account.first_expiry > until);
            MinimumCount { count, is_minimum: self.expiring.next.is_some() && !is_complete }
        };
        AttentionCounts {
            used_after_end: count(&self.used_after_end),
            expiring_in_7_days: expiring(SOON_DAYS),
            expiring_in_30_days: expiring(EXPIRING_DAYS),
            unused: MinimumCount {
                is_minimum: self.swept.is_none() || self.unused.next.is_some(),
                ..count(&self.unused)
            },
            disabled_accounts: count(&self.disabled),
        }
    }
}

fn count<T>(page: &DirectoryPage<T>) -> MinimumCount {
    MinimumCount { count: page.items.len(), is_minimum: page.next.is_some() }
}

/// The items of a response.
struct List<'a> {
    function: &'a ListServiceAccounts,
    filter: Filter,
    overview: Overview,
}

type Items = (Vec<AttentionItem>, Option<DirectoryCursor>);

impl List<'_> {
    /// The most urgent items of all reasons.
    async fn most_urgent(&self) -> Result<Vec<AttentionItem>, StoreError> {
        let (limit, overview) = (self.filter.limit, &self.overview);
        // With an owner, most keys can be those of others.
        let checked = if self.filter.owner.is_some() { usize::from(MAX_LIMIT) } else { limit };
        let mut items = Vec::new();
        self.add(&mut items, self.used_after_end(overview.used_after_end.items.iter(), checked).await?);
        let until = days_after(overview.now, EXPIRING_DAYS);
        let accounts = overview.expiring.items.iter().map(|(account, _)| account);
        let mut expiring: Vec<_> = accounts
            .flat_map(|account| {
                let grants = expiring_grants(account, overview.now, until);
                grants.into_iter().map(move |grant| (account, grant))
            })
            .collect();
        expiring.sort_by_key(|(_, grant)| (grant.expires_at, grant.id()));
        self.add(&mut items, expiring.into_iter().map(|(account, grant)| expiring_item(account, &grant)));
        if items.len() < limit {
            self.add(&mut items, self.unused(overview.unused.items.iter(), checked).await?);
        }
        self.add(&mut items, overview.disabled.items.iter().map(|(account, _)| disabled_item(account)));
        Ok(items)
    }

    /// Adds items up to the limit. A key is listed only once, with its most urgent reason.
    fn add(&self, items: &mut Vec<AttentionItem>, more: impl IntoIterator<Item = AttentionItem>) {
        let mut listed: HashSet<_> =
            items.iter().filter_map(|item| item.key.as_ref()).map(|key| key.id).collect();
        let is_new = |item: &AttentionItem| item.key.as_ref().is_none_or(|key| listed.insert(key.id));
        let more = more.into_iter().filter(|item| self.has_owner(&item.account.owner)).filter(is_new);
        let room = self.filter.limit.saturating_sub(items.len());
        items.extend(more.take(room));
    }

    /// One page of the items with this reason.
    async fn page(&self, reason: AttentionReason) -> Result<Items, StoreError> {
        let (store, now) = (&self.function.store, self.overview.now);
        let cursor = self.filter.cursor.as_ref();
        let limit = i32::try_from(self.filter.limit).ok();
        // With an owner, most accounts can be those of others.
        let account_limit = limit.filter(|_| self.filter.owner.is_none());
        match reason {
            AttentionReason::UsedAfterEnd => {
                let since = days_before(now, USED_AFTER_END_DAYS);
                // The query also returns the position of the cursor.
                let limit = limit.map(|limit| limit.saturating_add(i32::from(cursor.is_some())));
                let mut page = store.keys_used_after_end(since, cursor, limit).await?;
                // If the key at the cursor was used again, the query returned another key in
                // its place.
                if page.items.len() > self.filter.limit {
                    page.items.truncate(self.filter.limit);
                    page.next = page.items.last().map(|(_, position)| position.clone());
                }
                let items = self.used_after_end(page.items.iter(), usize::MAX).await?;
                Ok((self.of_owner(items), page.next))
            }
            AttentionReason::Expiring => {
                let until = days_after(now, self.filter.within_days);
                Ok(self.cut_grants(store.expiring_accounts(until, cursor, account_limit).await?, until))
            }
            AttentionReason::Unused => {
                let Some(swept) = self.overview.swept else { return Ok((Vec::new(), None)) };
                let page = store.unused_keys(swept.started_at, cursor, limit).await?;
                let items = self.unused(page.items.iter(), usize::MAX).await?;
                Ok((self.of_owner(items), page.next))
            }
            AttentionReason::Disabled => {
                Ok(self.cut_accounts(store.disabled_accounts(cursor, account_limit).await?))
            }
        }
    }

    /// The expiring grants of a page of accounts, up to the limit.
    fn cut_grants(&self, page: DirectoryPage<DirectoryAccount>, until: Timestamp) -> Items {
        let (mut items, mut last) = (Vec::new(), None);
        let resumed = self.filter.cursor.as_ref().and_then(DirectoryCursor::grant);
        for (account, position) in page.items.iter().filter(|(account, _)| self.has_owner(&account.owner)) {
            let grants = expiring_grants(account, self.overview.now, until);
            // The previous page ended after this grant.
            let shown = grants.iter().position(|grant| Some(grant.id()) == resumed).map_or(0, |at| at + 1);
            for grant in grants.into_iter().skip(shown) {
                if items.len() == self.filter.limit {
                    return (items, last);
                }
                items.push(expiring_item(account, &grant));
                last = Some(position.within(grant.id()));
            }
        }
        (items, page.next)
    }

    /// The accounts of a page, up to the limit.
    fn cut_accounts(&self, page: DirectoryPage<DirectoryAccount>) -> Items {
        let (mut items, mut last) = (Vec::new(), None);
        for (account, position) in page.items.iter().filter(|(account, _)| self.has_owner(&account.owner)) {
            if items.len() == self.filter.limit {
                return (items, last);
            }
            items.push(disabled_item(account));
            last = Some(position.clone());
        }
        (items, page.next)
    }

    fn of_owner(&self, mut items: Vec<AttentionItem>) -> Vec<AttentionItem> {
        items.retain(|item| self.has_owner(&item.account.owner));
        items
    }

    fn has_owner(&self, owner: &str) -> bool {
        let wanted = self.filter.owner.as_ref();
        wanted.is_none_or(|wanted| FoldedName::new(owner).as_str().contains(wanted.as_str()))
    }

    /// The items of the first `limit` keys that were used after their end. Reads the account
    /// and the record of each key.
    async fn used_after_end(
        &self,
        keys: impl Iterator<Item = &(KeyAt, DirectoryCursor)>,
        limit: usize,
    ) -> Result<Vec<AttentionItem>, StoreError> {
        let keys: Vec<_> = keys.map(|(key, _)| *key).take(limit).collect();
        let ended = self.function.store.find_ended_keys(&keys).await?;
        let ended = keys.iter().zip(ended).filter_map(|(key, ended)| Some((key, ended?)));
        Ok(ended.map(|(key, ended)| used_after_end_item(key, ended)).collect())
    }

    /// The items of the first `limit` keys that are still unused. Reads the account and the
    /// last use of each key.
    async fn unused(
        &self,
        keys: impl Iterator<Item = &(KeyAt, DirectoryCursor)>,
        limit: usize,
    ) -> Result<Vec<AttentionItem>, StoreError> {
        let keys: Vec<_> = keys.map(|(key, _)| *key).take(limit).collect();
        let unused = self.function.store.find_unused_keys(&keys).await?;
        Ok(unused.into_iter().flatten().map(unused_item).collect())
    }

    /// Adds the last use of each key that has none yet.
    async fn add_last_uses(&self, items: &mut [AttentionItem]) -> Result<(), StoreError> {
        let is_needed = |item: &&AttentionItem| match item.reason {
            AttentionReason::UsedAfterEnd | AttentionReason::Expiring => true,
            AttentionReason::Unused | AttentionReason::Disabled => false,
        };
        let accounts: HashSet<AccountId> =
            items.iter().filter(is_needed).map(|item| item.account.id).collect();
        let accounts: Vec<AccountId> = accounts.into_iter().collect();
        let last_uses = self.function.store.readable_last_uses(&accounts).await?;
        let last_uses: HashMap<_, _> = accounts.into_iter().zip(last_uses).collect();
        for item in items {
            let last_uses = last_uses.get(&item.account.id);
            let key = item.key.as_ref().map(|key| GrantId::from(key.id));
            let grant = key.or(item.identity.as_ref().map(|identity| identity.id.into()));
            let last_use = last_uses.zip(grant).and_then(|(uses, grant)| uses.get(&grant));
            item.last_used_at = item.last_used_at.or(last_use.and_then(|last_use| last_use.last_used_at));
        }
        Ok(())
    }
}

/// A key or federated identity that expires soon.
struct ExpiringGrant<'a> {
    grant: DirectoryGrant<'a>,
    expires_at: Timestamp,
}

enum DirectoryGrant<'a> {
    Key(&'a DirectoryKey),
    Identity(&'a DirectoryIdentity),
}

impl ExpiringGrant<'_> {
    fn id(&self) -> GrantId {
        match self.grant {
            DirectoryGrant::Key(key) => key.id.into(),
            DirectoryGrant::Identity(identity) => identity.id.into(),
        }
    }
}

/// The grants that work and expire until `until`, in this order. A successor replaces a
/// rotated key, so a rotated key does not count.
fn expiring_grants(account: &DirectoryAccount, now: Timestamp, until: Timestamp) -> Vec<ExpiringGrant<'_>> {
    let keys = account.keys.iter().filter(|key| key.retires_at.is_none() && key.ended(now).is_none());
    let keys = keys.map(|key| ExpiringGrant { grant: DirectoryGrant::Key(key), expires_at: key.expires_at });
    let identities = account.identities.iter().filter(|identity| identity.ended(now).is_none());
    let identities = identities.filter_map(|identity| {
        Some(ExpiringGrant { grant: DirectoryGrant::Identity(identity), expires_at: identity.expires_at? })
    });
    let mut grants: Vec<_> = keys.chain(identities).filter(|grant| grant.expires_at <= until).collect();
    grants.sort_by_key(|grant| (grant.expires_at, grant.id()));
    grants
}

fn expiring_item(account: &DirectoryAccount, expiring: &ExpiringGrant<'_>) -> AttentionItem {
    let (key, identity) = match expiring.grant {
        DirectoryGrant::Key(key) => (
            Some(KeySummary { id: key.id, name: Some(key.name.clone()), hint: Some(key.hint.clone()) }),
            None,
        ),
        DirectoryGrant::Identity(identity) => {
            (None, Some(IdentitySummary { id: identity.id, name: identity.name.clone() }))
        }
    };
    AttentionItem {
        reason: AttentionReason::Expiring,
        account: listed(account),
        key,
        identity,
        at: Some(expiring.expires_at),
        last_used_at: None,
        end_reason: None,
    }
}

fn disabled_item(account: &DirectoryAccount) -> AttentionItem {
    AttentionItem {
        reason: AttentionReason::Disabled,
        account: listed(account),
        key: None,
        identity: None,
        at: None,
        last_used_at: None,
        end_reason: None,
    }
}

fn used_after_end_item(key: &KeyAt, ended: EndedKey) -> AttentionItem {
    let account = match &ended.account {
        Ok(account) => summary(account),
        Err(deleted) => AccountSummary {
            id: key.account,
            name: deleted.name.clone(),
            owner: String::new(),
            enabled: false,
            deleted_at: Some(deleted.deleted_at),
        },
    };
    AttentionItem {
        reason: AttentionReason::UsedAfterEnd,
        account,
        key: Some(KeySummary { id: key.key, name: ended.name, hint: ended.hint }),
        identity: None,
        at: Some(key.at),
        last_used_at: None,
        end_reason: Some(ended.reason.map_or(EndReason::AccountDeleted, EndReason::from)),
    }
}

fn unused_item(unused: UnusedKey) -> AttentionItem {
    let UnusedKey { account, key, since, last_used_at } = unused;
    AttentionItem {
        reason: AttentionReason::Unused,
        account: summary(&account),
        key: Some(KeySummary { id: key.id, name: Some(key.name.to_string()), hint: Some(key.hint) }),
        identity: None,
        at: Some(since),
        last_used_at,
        end_reason: None,
    }
}

fn listed(account: &DirectoryAccount) -> AccountSummary {
    AccountSummary {
        id: account.id,
        name: account.name.clone(),
        owner: account.owner.clone(),
        enabled: account.enabled,
        deleted_at: None,
    }
}

fn summary(account: &Account) -> AccountSummary {
    AccountSummary {
        id: account.id,
        name: account.name.to_string(),
        owner: account.owner.to_string(),
        enabled: account.enabled,
        deleted_at: None,
    }
}

fn days_before(now: Timestamp, days: i64) -> Timestamp {
    now.saturating_sub(SignedDuration::from_hours(24 * days)).unwrap_or(Timestamp::MIN)
}

fn days_after(now: Timestamp, days: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_hours(24 * days)).unwrap_or(Timestamp::MAX)
}
