//! The engine on a real store, with a clock that the tests move.

use super::*;
use crate::rows::{EXPIRY, INDEXES, ITEMS, LEFT, TOKENS};
use dayfly_types::{AccountId, ManualClock, Timestamp};
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

struct World {
    tables: Tables,
    table: Arc<Table>,
    clock: ManualClock,
    store: Store,
    _folder: tempfile::TempDir,
}

impl World {
    /// A table with a partition key, an index over `g` and items that expire `at` some time.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap());
        let store = dayfly_store::embedded::open(folder.path()).unwrap();
        let tables = Tables::start(store.clone(), Arc::new(clock.clone())).await.unwrap();
        let text =
            |name: &str| KeySchema { hash: KeyAttribute { name: name.to_owned(), kind: KeyKind::S }, range: None };
        let index = Index {
            id: Uuid::new_v4(),
            name: "by-g".to_owned(),
            local: false,
            key: text("g"),
            projection: Projection::KeysOnly,
            other: BTreeMap::new(),
        };
        let name = name();
        let definition = Definition {
            id: Uuid::new_v4(),
            name: name.clone(),
            created: clock.now(),
            key: text("pk"),
            indexes: vec![index],
            expiry: Some("at".to_owned()),
            tags: BTreeMap::new(),
            other: BTreeMap::new(),
        };
        tables.create(definition).await.unwrap();
        let table = tables.get(&name).unwrap();
        Self { tables, table, clock, store, _folder: folder }
    }

    fn put(&self, item: serde_json::Value) -> (Arc<Table>, Write) {
        (self.table.clone(), Write::new(Change::Put(item_from_json(item).unwrap())))
    }

    async fn rows(&self, table: &str) -> usize {
        self.store.tables.scan(table, &[], &[0xff; 32], 10_000, false).await.unwrap().len()
    }
}

fn name() -> TableName {
    TableName { account: AccountId::default(), region: "us-east-1".parse().unwrap(), name: "table".to_owned() }
}

fn token(text: &str, request: u8) -> Token {
    Token { account: AccountId::default(), text: text.to_owned(), request: [request; 32] }
}

#[tokio::test]
async fn expired_items_go_with_all_that_is_derived_of_them() {
    let world = World::new().await;
    for number in 0..250 {
        let at = json!({"N": (1_800_000_000 + number % 2 * 1000).to_string()});
        let item = json!({"pk": {"S": number.to_string()}, "g": {"S": "one"}, "at": at});
        world.tables.write_batch(&[world.put(item)]).await.unwrap();
    }
    world.tables.sweep().await.unwrap();
    assert_eq!((world.rows(ITEMS).await, world.rows(INDEXES).await, world.rows(EXPIRY).await), (125, 125, 125));
    world.clock.advance(Duration::from_secs(1000));
    world.tables.sweep().await.unwrap();
    assert_eq!((world.rows(ITEMS).await, world.rows(INDEXES).await, world.rows(EXPIRY).await), (0, 0, 0));
}

#[tokio::test]
async fn nothing_is_left_of_a_deleted_table() {
    let world = World::new().await;
    for number in 0..250 {
        let item = json!({"pk": {"S": number.to_string()}, "g": {"S": "one"}, "at": {"N": "1900000000"}});
        world.tables.write_batch(&[world.put(item)]).await.unwrap();
    }
    world.tables.delete(&name()).await.unwrap();
    assert!(matches!(world.tables.item(&world.table, &Item::new()).await, Err(Error::NotFound(_))));
    let write = world.put(json!({"pk": {"S": "late"}}));
    assert!(matches!(world.tables.write_batch(&[write]).await, Err(Error::NotFound(_))));
    // The sweeper in the background may have begun.
    world.tables.sweep().await.unwrap();
    for table in [ITEMS, INDEXES, EXPIRY, LEFT] {
        assert_eq!(world.rows(table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn a_transaction_is_done_once_for_each_token_until_it_is_forgotten() {
    let world = World::new().await;
    let add = || {
        let values = item_from_json(json!({":one": {"N": "1"}})).unwrap();
        let update = expression::update("ADD n :one", &expression::Placeholders::new(None, Some(values)).unwrap());
        let key = item_from_json(json!({"pk": {"S": "a"}})).unwrap();
        (world.table.clone(), Write::new(Change::Update(key, update.unwrap())))
    };
    for _ in 0..3 {
        world.tables.transact(&[add()], Some(&token("t", 1))).await.unwrap();
    }
    let other = world.tables.transact(&[add()], Some(&token("t", 2))).await;
    assert!(matches!(other, Err(Error::OtherTransaction)));
    world.clock.advance(Duration::from_secs(601));
    world.tables.transact(&[add()], Some(&token("t", 2))).await.unwrap();
    let key = item_from_json(json!({"pk": {"S": "a"}})).unwrap();
    let item = world.tables.item(&world.table, &key).await.unwrap().unwrap();
    assert_eq!(item["n"], Value::N("2".parse().unwrap()));
    world.clock.advance(Duration::from_secs(601));
    world.tables.sweep().await.unwrap();
    assert_eq!(world.rows(TOKENS).await, 0);
}

#[tokio::test]
async fn a_failed_check_leaves_no_trace() {
    let world = World::new().await;
    let check = Write {
        change: Change::Check(item_from_json(json!({"pk": {"S": "none"}})).unwrap()),
        condition: Some(
            expression::condition("ConditionExpression", "attribute_exists(pk)", &expression::Placeholders::default())
                .unwrap(),
        ),
        tell_on_failure: false,
    };
    let writes = [world.put(json!({"pk": {"S": "a"}, "g": {"S": "b"}})), (world.table.clone(), check)];
    let Err(Error::Cancelled(reasons)) = world.tables.transact(&writes, Some(&token("t", 1))).await else {
        panic!("it was not cancelled");
    };
    assert!(matches!(reasons[..], [None, Some(Error::Condition(None))]));
    for table in [ITEMS, INDEXES, TOKENS] {
        assert_eq!(world.rows(table).await, 0, "{table}");
    }
}
