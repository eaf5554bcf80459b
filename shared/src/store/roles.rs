//! Roles: the custom roles in the table and the built-in roles.

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::codec::{self, Attribute, Attributes, MalformedItem, Map, Reader, n, s, seconds};
use super::commit::{Attempt, Expression};
use super::events::NewEvent;
use super::get_item::{FromItem, GetItem};
use super::list::{AccountCursor, Page, PageRequest, RoleCursor};
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{
    Actor, BuiltInRole, ChangeRequest, CustomRoleName, Description, Entropy, EventType, FieldChange, RoleName,
};
use crate::policy::{BuiltInRoles, MAX_PERMISSIONS, Permission, Permissions, Role};

/// The attributes of a custom role.
const READ: [&str; 8] = [
    attribute::DESCRIPTION,
    attribute::PERMISSIONS,
    attribute::VERSION,
    attribute::CREATED_AT,
    attribute::CREATED_BY,
    attribute::UPDATED_AT,
    attribute::UPDATED_BY,
    schema::PK,
];

/// A custom role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomRole {
    /// The name and the permissions.
    pub role: Role,
    /// The description.
    pub description: Description,
    /// Increases with every change. The first version is random, so that it differs
    /// from the versions of an earlier role with the same name.
    pub version: u64,
    /// When the role was created.
    pub created_at: Timestamp,
    /// Who created the role.
    pub created_by: Actor,
    /// When the role was last changed.
    pub updated_at: Timestamp,
    /// Who last changed the role.
    pub updated_by: Actor,
}

/// A custom role to create or replace.
#[derive(Clone, Debug)]
pub struct NewRole {
    /// The name.
    pub name: CustomRoleName,
    /// The description.
    pub description: Description,
    /// The permissions.
    pub permissions: Permissions,
}

/// The precondition of a write of a role or a trusted issuer (RFC 9110, section 13.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// No precondition.
    None,
    /// The resource exists.
    Exists,
    /// The resource does not exist.
    Absent,
    /// The resource has this version.
    Version(u64),
}

impl Precondition {
    /// Checks the precondition for a resource that has `version`, if it has one.
    pub(super) fn check(self, exists: bool, version: Option<u64>) -> Result<(), StoreError> {
        let is_met = match self {
            Self::None => true,
            Self::Exists => exists,
            Self::Absent => !exists,
            Self::Version(wanted) => version == Some(wanted),
        };
        if is_met { Ok(()) } else { Err(StoreError::Stale) }
    }
}

/// The item of a custom role, or none.
enum StoredRole {
    Missing,
    Role(CustomRole),
    /// A malformed item, which an operator wrote by hand. The role permits nothing and
    /// cannot be shown. Admins can replace and delete it without access to the table.
    Malformed {
        /// The item's version attribute, which may be malformed too.
        version: Option<AttributeValue>,
    },
}

impl StoredRole {
    fn check(&self, precondition: Precondition) -> Result<(), StoreError> {
        let exists = !matches!(self, Self::Missing);
        precondition.check(exists, self.role().map(|role| role.version))
    }

    fn role(&self) -> Option<&CustomRole> {
        match self {
            Self::Role(role) => Some(role),
            Self::Missing | Self::Malformed { .. } => None,
        }
    }

    /// The condition that the item exists and has not changed since it was read.
    fn unchanged(&self) -> Expression {
        let version = match self {
            Self::Role(role) => Some(n(role.version)),
            Self::Malformed { version } => version.clone(),
            Self::Missing => None,
        };
        if let Some(version) = version {
            return Expression::equal(attribute::VERSION, version);
        }
        let mut unchanged = Expression::exists();
        let version = unchanged.name(attribute::VERSION);
        unchanged.require(format!("attribute_not_exists({version})"));
        unchanged
    }
}

/// The result of putting a role.
#[derive(Debug)]
pub struct PutRole {
    /// The current state of the role.
    pub role: CustomRole,
    /// Whether the role is new.
    pub created: bool,
}

/// A role in a list.
#[derive(Clone, Debug)]
pub enum ListedRole {
    /// A built-in role with its permissions in this deployment.
    BuiltIn(BuiltInRole, Arc<Role>),
    /// A custom role.
    Custom(CustomRole),
}

impl ListedRole {
    fn name(&self) -> &RoleName {
        match self {
            Self::BuiltIn(_, role) => &role.name,
            Self::Custom(custom) => &custom.role.name,
        }
    }
}

/// The built-in and custom roles of a deployment. Nothing is cached: a change of a
/// role takes effect with the next call.
#[derive(Clone)]
pub struct Roles {
    store: Store,
    built_in: BuiltInRoles,
}

impl Roles {
    #[must_use]
    pub fn new(store: Store, built_in: BuiltInRoles) -> Self {
        Self { store, built_in }
    }

    /// Finds a role by its name. A custom role costs one consistent read.
    pub async fn find(&self, name: &RoleName) -> Result<Option<Arc<Role>>, StoreError> {
        match name.built_in() {
            Some(role) => Ok(Some(Arc::clone(self.built_in.get(role)))),
            None => Ok(self.store.find_role(name).await?.map(Arc::new)),
        }
    }

    /// Reads a role by its name. A missing role permits nothing.
    pub async fn get(&self, name: &RoleName) -> Result<Arc<Role>, StoreError> {
        let role = self.find(name).await?;
        Ok(role.unwrap_or_else(|| Arc::new(Role::empty(name.clone()))))
    }

    #[must_use]
    pub fn built_in(&self, role: BuiltInRole) -> &Role {
        self.built_in.get(role)
    }

    /// Lists all roles in the byte order of their names, so capital letters sort before
    /// small letters. This reads the index, which can lag behind the table.
    pub async fn list(
        &self,
        page: &PageRequest<RoleCursor>,
    ) -> Result<Page<ListedRole, RoleCursor>, StoreError> {
        let after = page.cursor.as_ref().map(|cursor| &cursor.0);
        let built_in = BuiltInRole::ALL
            .map(|role| ListedRole::BuiltIn(role, Arc::clone(self.built_in.get(role))))
            .into_iter()
            .filter(|role| after.is_none_or(|after| role.name() > after));
        let custom = self.store.query_roles(after, page.limit.saturating_add(1)).await?;
        let mut roles: Vec<ListedRole> = custom.into_iter().map(ListedRole::Custom).chain(built_in).collect();
        roles.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(Page::cut(roles, page.limit, |role| RoleCursor(role.name().clone())))
    }
}

impl Store {
    /// Finds the permissions of a custom role with a consistent read.
    pub async fn find_role(&self, name: &RoleName) -> Result<Option<Role>, StoreError> {
        let request = GetItem {
            table: &self.table,
            pk: &schema::role_partition(name),
            sk: schema::ROLE,
            // The primary key, so that an item without permissions is not a missing item.
            projection: "#pk,#permissions",
            names: &[("#pk", schema::PK), ("#permissions", attribute::PERMISSIONS)],
        };
        self.get_item(&request, name, name).await
    }

    /// Reads a custom role consistently.
    ///
    /// # Errors
    /// [`StoreError::RoleNotFound`].
    pub async fn get_role(&self, name: &RoleName) -> Result<CustomRole, StoreError> {
        let item = self.read_role(name, &READ).await?;
        let item = item.ok_or_else(|| StoreError::RoleNotFound(name.clone()))?;
        custom_role(name, &item).map_err(|error| error.in_item(name))
    }

    /// Reads the item of a custom role consistently.
    async fn stored_role(&self, name: &RoleName) -> Result<StoredRole, StoreError> {
        let Some(item) = self.read_role(name, &READ).await? else {
            return Ok(StoredRole::Missing);
        };
        Ok(custom_role(name, &item).map_or_else(
            |error| {
                tracing::warn!(cause = %error.in_item(name), "changing a malformed role");
                StoredRole::Malformed { version: item.get(attribute::VERSION).cloned() }
            },
            StoredRole::Role,
        ))
    }

    async fn read_role(&self, name: &RoleName, attributes: &[&str]) -> Result<Option<Map>, StoreError> {
        self.read(schema::role_key(name), attributes).await
    }

    /// Queries at least `most` custom roles after `after`, or all remaining ones.
    async fn query_roles(&self, after: Option<&RoleName>, most: i32) -> Result<Vec<CustomRole>, StoreError> {
        let wanted = usize::try_from(most).unwrap_or(0);
        let (mut roles, mut start) = (Vec::new(), None);
        // A query reads at most 1 MB, or about forty roles of the maximum size.
        loop {
            let mut query = self
                .client
                .query()
                .table_name(&*self.table)
                .index_name(schema::INDEX)
                .key_condition_expression(if after.is_some() {
                    "#pk = :pk AND #sk > :sk"
                } else {
                    "#pk = :pk"
                })
                .expression_attribute_names("#pk", schema::INDEX_PK)
                .expression_attribute_values(":pk", s(schema::INDEX_ROLES))
                .limit(most)
                .set_exclusive_start_key(start);
            if let Some(after) = after {
                query = query
                    .expression_attribute_names("#sk", schema::INDEX_SK)
                    .expression_attribute_values(":sk", s(after));
            }
            let answer = query.send().await.map_err(StoreError::from_sdk)?;
            for item in answer.items() {
                let name =
                    Reader(item).parse(schema::PK, role_name).map_err(|error| error.in_item("a role"))?;
                roles.push(custom_role(&name, item).map_err(|error| error.in_item(&name))?);
            }
            start = answer.last_evaluated_key;
            if start.is_none() || roles.len() >= wanted {
                return Ok(roles);
            }
        }
    }

    /// Creates or replaces a custom role. If nothing changes, writes nothing and records
    /// no event. Replaces a malformed item as a whole.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if `precondition` is not met, or
    /// [`StoreError::Contention`].
    pub async fn put_role(
        &self,
        new: &NewRole,
        precondition: Precondition,
        request: &ChangeRequest,
    ) -> Result<PutRole, StoreError> {
        let name = new.name.name();
        self.retry(|| async {
            let stored = self.stored_role(name).await?;
            stored.check(precondition)?;
            let role = self.changed_role(new, stored.role(), request)?;
            let changes = changes(stored.role(), Some(&role));
            let key = schema::role_key(name);
            let (event_type, write) = match stored {
                StoredRole::Role(role) if changes.is_empty() => {
                    return Ok(Attempt::Done(PutRole { role, created: false }));
                }
                StoredRole::Role(_) | StoredRole::Malformed { .. } => {
                    (EventType::RoleUpdated, self.put(key, item(&role), stored.unchanged())?)
                }
                StoredRole::Missing => (EventType::RoleCreated, self.put_new(key, item(&role))?),
            };
            let event = NewEvent::role(event_type, name, changes);
            let event = self.record(event, request, role.updated_at)?;
            let created = event_type == EventType::RoleCreated;
            Ok(self.commit_unchanged(vec![write, event]).await?.with(PutRole { role, created }))
        })
        .await
    }

    /// The role that results from putting `new` in place of `before`.
    fn changed_role(
        &self,
        new: &NewRole,
        before: Option<&CustomRole>,
        request: &ChangeRequest,
    ) -> Result<CustomRole, StoreError> {
        let now = self.clock.now();
        Ok(CustomRole {
            role: Role { name: new.name.name().clone(), permissions: new.permissions.clone().into_vec() },
            description: new.description.clone(),
            version: match before {
                Some(before) => before.version.saturating_add(1),
                None => first_version(&*self.entropy)?,
            },
            created_at: before.map_or(now, |before| before.created_at),
            created_by: before.map_or(&request.actor, |before| &before.created_by).clone(),
            updated_at: now,
            updated_by: request.actor.clone(),
        })
    }

    /// Deletes a custom role that no account and no live grant has, or a malformed item.
    /// Checks the accounts after `after` in the index, which can lag behind the table.
    /// If the check finds no user of the role but does not reach the last account in
    /// time, deletes nothing, and the error has the position to continue from.
    ///
    /// An account or grant that gets the role during the check keeps the role's name,
    /// which permits nothing while the role is missing. The same is true of an account
    /// that a caller skips with a forged `after`.
    ///
    /// # Errors
    /// [`StoreError::RoleNotFound`], [`StoreError::Stale`] if the role does not have
    /// `version`, [`StoreError::RoleInUse`], [`StoreError::RoleCheckIncomplete`] or
    /// [`StoreError::Contention`].
    pub async fn delete_role(
        &self,
        name: &CustomRoleName,
        version: Option<u64>,
        after: Option<&AccountCursor>,
        request: &ChangeRequest,
    ) -> Result<(), StoreError> {
        let name = name.name();
        let until = self.end_of_check();
        self.retry(|| async {
            let stored = self.stored_role(name).await?;
            if matches!(stored, StoredRole::Missing) {
                return Err(StoreError::RoleNotFound(name.clone()));
            }
            stored.check(version.map_or(Precondition::None, Precondition::Version))?;
            let users = self.users_of(name, after, until).await?;
            if users.count > 0 {
                return Err(StoreError::RoleInUse(name.clone(), Box::new(users)));
            }
            if let Some(next) = users.stopped_at {
                return Err(StoreError::RoleCheckIncomplete { checked: users.checked, next });
            }
            let event = NewEvent::role(EventType::RoleDeleted, name, changes(stored.role(), None));
            let event = self.record(event, request, self.clock.now())?;
            let delete = self.delete(schema::role_key(name), stored.unchanged())?;
            self.commit_unchanged(vec![delete, event]).await
        })
        .await
    }
}

/// A random version of 48 bits.
pub(super) fn first_version(entropy: &dyn Entropy) -> Result<u64, StoreError> {
    let mut random = [0; 8];
    entropy.fill(&mut random)?;
    Ok(u64::from_be_bytes(random) >> 16)
}

/// The changed fields of a role: its description, and each removed or added
/// permission. `None` is a missing role.
fn changes(before: Option<&CustomRole>, after: Option<&CustomRole>) -> Vec<FieldChange> {
    let description =
        |role: Option<&CustomRole>| role.map(|role| role.description.to_string()).unwrap_or_default();
    let permissions = |role: Option<&CustomRole>| -> Vec<String> {
        role.iter().flat_map(|role| &role.role.permissions).map(ToString::to_string).collect()
    };
    let (old, new) = (permissions(before), permissions(after));
    let removed = old.iter().filter(|text| !new.contains(text)).map(|text| (text.as_str(), ""));
    let added = new.iter().filter(|text| !old.contains(text)).map(|text| ("", text.as_str()));
    let permissions = removed.chain(added).map(|(from, to)| FieldChange {
        field: attribute::PERMISSIONS.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
    });
    let description =
        FieldChange::between(attribute::DESCRIPTION, &description(before), Some(&description(after)));
    description.into_iter().chain(permissions).collect()
}

fn item(role: &CustomRole) -> Map {
    let permissions = role.role.permissions.iter().map(s).collect();
    codec::map([
        (attribute::DESCRIPTION, s(&role.description)),
        (attribute::PERMISSIONS, AttributeValue::L(permissions)),
        (attribute::VERSION, n(role.version)),
        (attribute::CREATED_AT, seconds(role.created_at)),
        (attribute::CREATED_BY, codec::actor(&role.created_by)),
        (attribute::UPDATED_AT, seconds(role.updated_at)),
        (attribute::UPDATED_BY, codec::actor(&role.updated_by)),
        (schema::INDEX_PK, s(schema::INDEX_ROLES)),
        (schema::INDEX_SK, s(&role.role.name)),
    ])
}

fn custom_role(name: &RoleName, item: &Map) -> Result<CustomRole, MalformedItem> {
    let reader = Reader(item);
    Ok(CustomRole {
        role: Role::from_item(reader, name)?,
        description: reader.parse(attribute::DESCRIPTION, Description::from_stored)?,
        version: reader.version()?,
        created_at: reader.seconds(attribute::CREATED_AT)?,
        created_by: reader.actor(attribute::CREATED_BY)?,
        updated_at: reader.seconds(attribute::UPDATED_AT)?,
        updated_by: reader.actor(attribute::UPDATED_BY)?,
    })
}

impl FromItem<&RoleName> for Role {
    fn from_item<M: Attributes>(role: Reader<'_, M>, name: &RoleName) -> Result<Self, MalformedItem> {
        let permissions = role.get(attribute::PERMISSIONS, |value| {
            let texts = value.list().filter(|texts| texts.len() <= MAX_PERMISSIONS)?;
            let texts = texts.iter().map(Attribute::text).collect::<Option<Vec<_>>>()?;
            Permission::parse_all(&texts).ok()
        })?;
        Ok(Self { name: name.clone(), permissions })
    }
}

fn role_name(partition: &str) -> Result<RoleName, crate::domain::InvalidRoleName> {
    partition.strip_prefix(schema::partition::ROLE).unwrap_or_default().parse()
}
