//! Objects over a real store: what is collected, what lists say, what races end in.

use super::*;
use crate::checksum::{Algorithm, Kind};
use bytes::Bytes;
use dayfly_store::embedded;
use dayfly_types::{AccountId, SystemClock};
use std::{collections::BTreeSet, path::Path, time::Duration};

struct World {
    objects: Objects,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let objects = Self::open(folder.path());
        objects.create_bucket("bucket", &AccountId::default(), &"us-east-1".parse().unwrap()).await.unwrap();
        Self { objects, folder }
    }

    fn open(folder: &Path) -> Objects {
        Objects::start(embedded::open(folder).unwrap(), Arc::new(SystemClock))
    }

    async fn put(&self, key: &str, content: &[u8]) -> Object {
        self.objects.put("bucket", key, self.received(content).await, About::default(), Condition::None).await.unwrap()
    }

    async fn received(&self, content: &[u8]) -> Received {
        let mut new = self.objects.receive(&[Algorithm::Crc32], 1 << 30);
        for piece in content.chunks(70_000) {
            new.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        new.finish().await.unwrap()
    }

    async fn part(&self, id: &str, number: u16, content: &[u8]) -> PartReference {
        let mut new = self.objects.receive_part(&[Algorithm::Crc64nvme], 1 << 30);
        new.write(Bytes::copy_from_slice(content)).await.unwrap();
        let part = self.objects.put_part("bucket", "k", id, number, new.finish().await.unwrap()).await.unwrap();
        PartReference { number, etag: part.etag, checksum: None }
    }

    async fn get(&self, key: &str) -> Vec<u8> {
        self.objects.open("bucket", key).await.unwrap().1.whole().await.unwrap().to_vec()
    }

    async fn keys(&self, page: Page) -> (Vec<String>, Vec<String>, Option<String>) {
        let listing = self.objects.list("bucket", &page).await.unwrap();
        (listing.objects.into_iter().map(|(key, _)| key).collect(), listing.prefixes, listing.next)
    }

    /// Files under the store's blobs, once everything is collected that can be: the collector is at work as well.
    async fn blobs(&self) -> usize {
        let tables = &self.objects.inner.store.tables;
        for _ in 0..100 {
            self.objects.collect().await.unwrap();
            let garbage = tables.scan(rows::GARBAGE, &[], &[0xff; 17], 1, false).await.unwrap();
            let marks = tables.scan("blob_marks", &[], &[0xff], 1, false).await.unwrap();
            if garbage.is_empty() && marks.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        files(&self.folder.path().join("blobs"))
    }
}

fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

fn content(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes).map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

#[tokio::test]
async fn blobs_stay_as_long_as_anything_names_them() {
    let world = World::new().await;
    let large = content(600_000, 1);
    world.put("a", &large).await;
    world.put("b", &large).await;
    world.put("small", b"small").await;
    assert_eq!(world.blobs().await, 1);
    let (source, reader) = world.objects.open("bucket", "a").await.unwrap();
    let about = About::default();
    world.objects.copy(&source, reader, ("bucket", "c"), about, None, Condition::None).await.unwrap();
    world.put("a", b"other").await;
    world.objects.delete("bucket", "b", Condition::None).await.unwrap();
    assert_eq!((world.blobs().await, world.get("c").await), (1, large.clone()));
    // Who reads keeps what is read.
    let (_, reader) = world.objects.open("bucket", "c").await.unwrap();
    world.objects.delete("bucket", "c", Condition::None).await.unwrap();
    assert_eq!(world.blobs().await, 1);
    assert_eq!(reader.whole().await.unwrap(), large);
    assert_eq!(world.blobs().await, 0);
    // Content that came to nothing leaves nothing.
    let received = world.received(&large).await;
    let refused = world.objects.put("bucket", "a", received, About::default(), Condition::Absent).await;
    assert!(matches!(refused, Err(Error::ConditionFailed)));
    drop(world.received(&large).await);
    let mut unfinished = world.objects.receive(&[], 1 << 30);
    unfinished.write(large.into()).await.unwrap();
    drop(unfinished);
    assert_eq!(world.blobs().await, 0);
}

#[tokio::test]
async fn a_copy_may_have_another_checksum_and_the_same_blob_many_times() {
    let world = World::new().await;
    world.put("small", b"small").await;
    let id = world.objects.begin_upload("bucket", "k", About::default(), None).await.unwrap();
    let same = content(5 << 20, 3);
    let wanted =
        vec![world.part(&id, 1, &same).await, world.part(&id, 2, &same).await, world.part(&id, 3, b"end").await];
    world.objects.complete_upload("bucket", "k", &id, wanted, None, Condition::None).await.unwrap();
    let whole = [&same[..], &same, b"end"].concat();
    for (key, expected) in [("small", b"small".to_vec()), ("k", whole)] {
        let (source, reader) = world.objects.open("bucket", key).await.unwrap();
        let (about, to) = (source.about.clone(), ("bucket", "copy"));
        let algorithm = Some(Algorithm::Sha256);
        let copy = world.objects.copy(&source, reader, to, about, algorithm, Condition::None).await.unwrap();
        assert_eq!(copy.checksum, Some(checksum::of(Algorithm::Sha256, &expected)));
        assert!(world.get("copy").await == expected, "{key}");
    }
    for key in ["k", "copy"] {
        world.objects.delete("bucket", key, Condition::None).await.unwrap();
    }
    assert_eq!(world.blobs().await, 0);
}

#[tokio::test]
async fn a_restart_collects_what_a_crash_left() {
    let world = World::new().await;
    world.put("a", &content(100_000, 1)).await;
    let id = world.objects.begin_upload("bucket", "k", About::default(), None).await.unwrap();
    world.part(&id, 1, b"one").await;
    let World { objects, folder } = world;
    // As if the server had died between the commit and the collection.
    let content_id = objects.find("bucket", "a").await.unwrap().unwrap().object.content;
    let batch = dayfly_store::Batch::new().delete(rows::OBJECTS, rows::object_key("bucket", "a")).put(
        rows::GARBAGE,
        rows::id_key(content_id),
        Bytes::new(),
    );
    objects.inner.store.tables.commit(batch).await.unwrap();
    objects.inner.store.close().await;
    drop(objects);
    // The engine lets go of its file when its thread has ended.
    let objects = loop {
        match embedded::open(folder.path()) {
            Ok(store) => break Objects::start(store, Arc::new(SystemClock)),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let world = World { objects, folder };
    assert_eq!(world.blobs().await, 1, "the part's");
    world.objects.abort_upload("bucket", "k", &id).await.unwrap();
    assert_eq!(world.blobs().await, 0);
}

#[tokio::test]
async fn parts_become_an_object_without_being_copied() {
    let world = World::new().await;
    let id = world.objects.begin_upload("bucket", "k", About::default(), None).await.unwrap();
    let (first, second) = (content(5 << 20, 1), content(70_000, 2));
    let wanted = vec![world.part(&id, 2, &first).await, world.part(&id, 9, &second).await];
    world.part(&id, 10, b"not wanted").await;
    assert_eq!(world.blobs().await, 3);
    let crc = checksum::of(Algorithm::Crc64nvme, &[&first[..], &second].concat());
    let complete =
        |whole| world.objects.complete_upload("bucket", "k", &id, wanted.clone(), Some(whole), Condition::None);
    let wrong = checksum::of(Algorithm::Crc64nvme, b"wrong");
    assert!(matches!(complete(wrong).await, Err(Error::BadDigest("CRC64NVME"))));
    let object = complete(crc.clone()).await.unwrap();
    assert_eq!((object.checksum, object.parts), (Some(crc), 2));
    assert_eq!(world.blobs().await, 2);
    assert_eq!(world.get("k").await, [&first[..], &second].concat());
    let (_, mut reader) = world.objects.open("bucket", "k").await.unwrap();
    assert_eq!(
        reader.parts().iter().map(|part| (part.number, part.size)).collect::<Vec<_>>(),
        [(2, 5 << 20), (9, 70_000)]
    );
    reader.seek((5 << 20) - 1, 2);
    assert_eq!(reader.whole().await.unwrap()[..], [first[first.len() - 1], second[0]]);
    assert!(matches!(world.objects.upload("bucket", "k", &id).await, Err(Error::NoSuchUpload)));
    world.objects.delete("bucket", "k", Condition::None).await.unwrap();
    assert_eq!(world.blobs().await, 0);
}

#[tokio::test]
async fn a_bucket_goes_with_its_uploads_but_not_with_objects() {
    let world = World::new().await;
    let chosen = Some((Algorithm::Sha256, Kind::Composite));
    let id = world.objects.begin_upload("bucket", "k", About::default(), chosen).await.unwrap();
    world.part(&id, 1, b"one").await;
    world.put("a", b"1").await;
    assert!(matches!(world.objects.delete_bucket("bucket").await, Err(Error::BucketNotEmpty)));
    world.objects.delete("bucket", "a", Condition::None).await.unwrap();
    world.objects.delete_bucket("bucket").await.unwrap();
    assert!(matches!(world.objects.delete_bucket("bucket").await, Err(Error::NoSuchBucket)));
    assert_eq!(world.blobs().await, 0);
    let received = world.received(b"1").await;
    let refused = world.objects.put("bucket", "a", received, About::default(), Condition::None).await;
    assert!(matches!(refused, Err(Error::NoSuchBucket)));
}

#[tokio::test]
async fn pages_of_any_size_give_every_key_once() {
    let world = World::new().await;
    let keys = ["", "a", "a/", "a/b", "a/b/c", "a0", "b/\u{10ffff}", "b/é", "é", "z\0", "z\0/1"];
    for key in &keys[1..] {
        world.put(key, b"").await;
    }
    for (prefix, delimiter) in [("", ""), ("", "/"), ("a", "/"), ("a/", "/"), ("b/", ""), ("", "b/"), ("none", "/")] {
        let everything = Page { prefix: prefix.into(), delimiter: delimiter.into(), after: String::new(), limit: 1000 };
        let (objects, prefixes, next) = world.keys(everything.clone()).await;
        assert_eq!(next, None);
        let mut expected = BTreeSet::new();
        let mut common = BTreeSet::new();
        for key in keys[1..].iter().filter(|key| key.starts_with(prefix)) {
            match key[prefix.len()..].find(delimiter).filter(|_| !delimiter.is_empty()) {
                Some(at) => drop(common.insert(key[..prefix.len() + at + delimiter.len()].to_owned())),
                None => drop(expected.insert((*key).to_owned())),
            }
        }
        assert_eq!(objects, expected.iter().cloned().collect::<Vec<_>>(), "{prefix:?} {delimiter:?}");
        assert_eq!(prefixes, common.iter().cloned().collect::<Vec<_>>(), "{prefix:?} {delimiter:?}");
        for limit in 1..5 {
            let mut found = Vec::new();
            let mut after = String::new();
            loop {
                let page = Page { after: after.clone(), limit, ..everything.clone() };
                let (objects, prefixes, next) = world.keys(page).await;
                assert!(objects.len() + prefixes.len() <= limit);
                found.extend(objects.into_iter().chain(prefixes));
                match next {
                    Some(next) => after = next,
                    None => break,
                }
            }
            found.sort();
            let mut all: Vec<String> = expected.iter().chain(&common).cloned().collect();
            all.sort();
            assert_eq!(found, all, "{prefix:?} {delimiter:?} {limit}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_create_a_key_one_wins() {
    let world = Arc::new(World::new().await);
    let mut tasks = tokio::task::JoinSet::new();
    for seed in 0..16 {
        let world = world.clone();
        tasks.spawn(async move {
            let received = world.received(&content(40_000, seed)).await;
            world.objects.put("bucket", "k", received, About::default(), Condition::Absent).await.is_ok()
        });
    }
    let won = tasks.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
    assert_eq!(world.blobs().await, 1, "the losers' contents are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_put_and_deleted_at_once_is_never_lost() {
    let world = Arc::new(World::new().await);
    let large = content(50_000, 7);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let (world, large) = (world.clone(), large.clone());
        tasks.spawn(async move {
            for _ in 0..10 {
                let key = format!("k{task}");
                world.put(&key, &large).await;
                assert_eq!(world.get(&key).await, large);
                world.objects.delete("bucket", &key, Condition::None).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(world.blobs().await, 0);
}
