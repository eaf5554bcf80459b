//! Direct access to the table, to read stored items and to write items that Keyward would never
//! write.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};

use crate::Key;

/// An item of the table.
pub type Item = HashMap<String, AttributeValue>;

/// The table of one test.
#[derive(Clone)]
pub struct Table {
    /// A client whose calls are not recorded or changed by [`crate::Wire`].
    pub client: Client,
    /// The table's name.
    pub name: String,
}

impl Table {
    /// All items, sorted by key.
    pub async fn dump(&self) -> Vec<Item> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let page = self
                .client
                .scan()
                .table_name(&self.name)
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .send()
                .await
                .unwrap();
            items.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() {
                items.sort_by_key(|item: &Item| ["pk", "sk"].map(|name| item[name].as_s().unwrap().clone()));
                return items;
            }
        }
    }

    /// The items whose partition key starts with `prefix`.
    pub async fn items(&self, prefix: &str) -> Vec<Item> {
        let mut items = self.dump().await;
        items.retain(|item| item["pk"].as_s().unwrap().starts_with(prefix));
        items
    }

    /// The item with this key.
    pub async fn get(&self, pk: &str, sk: &str) -> Option<Item> {
        let get = self.client.get_item().table_name(&self.name).consistent_read(true);
        let get = get.key("pk", AttributeValue::S(pk.to_owned())).key("sk", AttributeValue::S(sk.to_owned()));
        get.send().await.unwrap().item
    }

    /// The item of this account.
    pub async fn account(&self, account: &str) -> Item {
        self.get(&format!("ACCOUNT#{account}"), "ACCOUNT").await.unwrap()
    }

    /// The item of this key among the retired keys, if there is one.
    pub async fn retired_key(&self, key: &Key) -> Option<Item> {
        self.get(&format!("RETIRED#{}", key.account), &key.id).await
    }

    /// Writes an item unconditionally.
    pub async fn put(&self, item: Item) {
        self.client.put_item().table_name(&self.name).set_item(Some(item)).send().await.unwrap();
    }

    /// Writes these items in batches, unconditionally.
    pub async fn put_all(&self, items: &[Item]) {
        // The limit of `BatchWriteItem` is 25 items.
        for batch in items.chunks(25) {
            let puts = batch.iter().map(|item| {
                let put = PutRequest::builder().set_item(Some(item.clone())).build().unwrap();
                WriteRequest::builder().put_request(put).build()
            });
            let write = self.client.batch_write_item().request_items(&self.name, puts.collect());
            let unprocessed = write.send().await.unwrap().unprocessed_items.unwrap_or_default();
            assert!(unprocessed.is_empty(), "every item is written");
        }
    }

    /// Changes an account's item with `change`.
    pub async fn tamper(&self, account: &str, change: impl FnOnce(&mut Item)) {
        let mut item = self.account(account).await;
        change(&mut item);
        self.put(item).await;
    }

    /// Changes a role's item with `change`.
    pub async fn tamper_role(&self, role: &str, change: impl FnOnce(&mut Item)) {
        let mut item = self.get(&format!("ROLE#{role}"), "ROLE").await.unwrap();
        change(&mut item);
        self.put(item).await;
    }

    /// Sets an attribute of an account's item.
    pub async fn set(&self, account: &str, name: &str, value: AttributeValue) {
        self.tamper(account, |item| drop(item.insert(name.to_owned(), value))).await;
    }

    /// Deletes an item unconditionally.
    pub async fn delete(&self, pk: &str, sk: &str) {
        let delete = self.client.delete_item().table_name(&self.name);
        let delete = delete.key("pk", AttributeValue::S(pk.to_owned()));
        delete.key("sk", AttributeValue::S(sk.to_owned())).send().await.unwrap();
    }
}
