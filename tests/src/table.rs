//! The table itself, for what no public face can do: reading what is stored,
//! and writing what must never be there.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};

/// An item.
pub type Item = HashMap<String, AttributeValue>;

/// The table of one test.
#[derive(Clone)]
pub struct Table {
    /// A client that no wire disturbs.
    pub client: Client,
    /// The table's name.
    pub name: String,
}

impl Table {
    /// Every item, in the order of the keys.
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

    /// The items whose partition key begins with `prefix`.
    pub async fn items(&self, prefix: &str) -> Vec<Item> {
        let mut items = self.dump().await;
        items.retain(|item| item["pk"].as_s().unwrap().starts_with(prefix));
        items
    }

    /// The item at these keys.
    pub async fn get(&self, pk: &str, sk: &str) -> Option<Item> {
        let get = self.client.get_item().table_name(&self.name).consistent_read(true);
        let get = get.key("pk", AttributeValue::S(pk.to_owned())).key("sk", AttributeValue::S(sk.to_owned()));
        get.send().await.unwrap().item
    }

    /// Writes an item, whatever is there.
    pub async fn put(&self, item: Item) {
        self.client.put_item().table_name(&self.name).set_item(Some(item)).send().await.unwrap();
    }

    /// Writes these items in batches, and replaces existing ones.
    pub async fn put_all(&self, items: &[Item]) {
        // A batch has at most 25.
        for batch in items.chunks(25) {
            let puts = batch.iter().map(|item| {
                let put = PutRequest::builder().set_item(Some(item.clone())).build().unwrap();
                WriteRequest::builder().put_request(put).build()
            });
            let write = self.client.batch_write_item().request_items(&self.name, puts.collect());
            let unprocessed = write.send().await.unwrap().unprocessed_items.unwrap_or_default();
            assert!(unprocessed.is_empty(), "the engine has taken all of them");
        }
    }

    /// Changes an account's item by `change`.
    pub async fn tamper(&self, account: &str, change: impl FnOnce(&mut Item)) {
        let mut item = self.get(&format!("ACCOUNT#{account}"), "ACCOUNT").await.unwrap();
        change(&mut item);
        self.put(item).await;
    }

    /// Takes an item away.
    pub async fn delete(&self, pk: &str, sk: &str) {
        let delete = self.client.delete_item().table_name(&self.name);
        let delete = delete.key("pk", AttributeValue::S(pk.to_owned()));
        delete.key("sk", AttributeValue::S(sk.to_owned())).send().await.unwrap();
    }
}
