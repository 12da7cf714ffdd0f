//! The store on a disk that fails: writes are torn, reordered or lost when the power goes, or refused because the disk is
//! full. What was acknowledged must survive, and the rest must fail with an error, at once.

use super::open_over;
use crate::{Batch, Error, Store};
use dayfly_types::Timestamp;
use redb::StorageBackend;
use std::{
    collections::BTreeSet,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// A disk with a cache: writes reach the platter when synced, or by chance, each page for itself.
#[derive(Debug, Default)]
struct Disk {
    /// What a reader sees.
    cached: Vec<u8>,
    /// What survives.
    platter: Vec<u8>,
    /// Ranges written since the last sync.
    unsynced: Vec<(usize, usize)>,
    /// Operations until the power goes, or the disk is full.
    operations_left: Option<u64>,
    fail_sync: bool,
    random: u64,
}

#[derive(Debug, Clone, Default)]
struct Backend(Arc<Mutex<Disk>>);

/// What the smallest write that a disk does at once.
const SECTOR: usize = 512;

impl Disk {
    fn next_random(&mut self) -> u64 {
        // xorshift64*: good enough to tear writes, and repeatable.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn operate(&mut self) -> io::Result<()> {
        match &mut self.operations_left {
            Some(0) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The power goes: of what was not synced, each sector reached the platter or did not.
    fn lose_power(&mut self) {
        self.platter.resize(self.cached.len(), 0);
        for (start, end) in std::mem::take(&mut self.unsynced) {
            for sector in (start / SECTOR)..end.div_ceil(SECTOR) {
                let range = (sector * SECTOR).max(start)..((sector + 1) * SECTOR).min(end).min(self.cached.len());
                if !range.is_empty() && self.next_random().is_multiple_of(2) {
                    self.platter[range.clone()].copy_from_slice(&self.cached[range]);
                }
            }
        }
        self.cached = self.platter.clone();
        self.operations_left = None;
    }
}

impl Backend {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    fn open(&self, dir: &Path) -> Result<Store, Error> {
        let backend = self.clone();
        open_over(Box::new(move || Ok(Box::new(backend.clone()))), dir)
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.disk();
        let start = offset as usize;
        let from = disk.cached.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(from);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operate()?;
        disk.cached.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operate()?;
        if disk.fail_sync {
            return Err(io::Error::other("the disk is ill"));
        }
        disk.platter = disk.cached.clone();
        disk.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        let start = offset as usize;
        let written = match disk.operate() {
            Ok(()) => data.len(),
            // The last write before the power goes is torn.
            Err(_) => (disk.next_random() as usize) % (data.len() + 1),
        };
        disk.cached[start..start + written].copy_from_slice(&data[..written]);
        disk.unsynced.push((start, start + written));
        if written == data.len() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }
}

/// Writes from several tasks until the store fails; gives what was acknowledged.
async fn write_until_it_fails(store: &Store, round: u64) -> (BTreeSet<String>, Vec<Error>) {
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut acknowledged = BTreeSet::new();
            for i in 0..10_000 {
                let name = format!("{round}-{task}-{i}");
                let batch =
                    Batch::new().put("t", format!("{name} 1"), vec![b'x'; 700]).put("u", format!("{name} 2"), "");
                if let Err(error) = store.tables.commit(batch).await {
                    return (acknowledged, error);
                }
                acknowledged.insert(format!("row {name}"));
                if let Err(error) = store.queues.enqueue("q", name.clone().into(), Timestamp::UNIX_EPOCH, 100_000).await
                {
                    return (acknowledged, error);
                }
                acknowledged.insert(format!("message {name}"));
            }
            panic!("the disk never failed");
        });
    }
    let (mut all, mut errors) = (BTreeSet::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        let (acknowledged, error) = done.unwrap();
        all.extend(acknowledged);
        errors.push(error);
    }
    (all, errors)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_loss_of_power() {
    let dir = tempfile::tempdir().unwrap();
    let seed = u64::from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos()) | 1;
    println!("seed {seed}");
    let backend = Backend::default();
    backend.disk().random = seed;
    // A file gets its name only when it is whole, so there is no crash before this.
    drop(backend.open(dir.path()).unwrap());
    let mut acknowledged = BTreeSet::new();
    for round in 0..40 {
        // The power may also go while the store opens and repairs itself.
        let until = backend.disk().next_random() % 400;
        backend.disk().operations_left = Some(until);
        if let Ok(store) = backend.open(dir.path()) {
            let (more, errors) =
                tokio::time::timeout(Duration::from_secs(60), write_until_it_fails(&store, round)).await.unwrap();
            acknowledged.extend(more);
            for error in errors {
                assert!(matches!(error, Error::Engine(_)), "{error:?}");
            }
        }
        backend.disk().lose_power();
    }
    assert!(acknowledged.len() > 100, "only {} writes were acknowledged", acknowledged.len());
    let store = backend.open(dir.path()).unwrap();
    let until = Timestamp::from_second(60).unwrap();
    let leases = store.queues.lease("q", Timestamp::UNIX_EPOCH, until, usize::MAX).await.unwrap();
    assert_eq!(leases.len() as u64, store.queues.len("q").await.unwrap());
    let messages: BTreeSet<_> =
        leases.into_iter().map(|lease| String::from_utf8(lease.body.to_vec()).unwrap()).collect();
    for name in &acknowledged {
        let (what, name) = name.split_once(' ').unwrap();
        if what == "message" {
            assert!(messages.contains(name), "message {name} is lost");
        } else {
            let first = store.tables.get("t", format!("{name} 1").as_bytes()).await.unwrap();
            assert_eq!(first.map(|row| row.value.len()), Some(700), "row {name} is lost");
            assert!(store.tables.get("u", format!("{name} 2").as_bytes()).await.unwrap().is_some());
        }
    }
    // And no batch is there by half, whether or not it was acknowledged.
    let firsts = store.tables.scan("t", b"", b"~", usize::MAX, false).await.unwrap();
    let seconds = store.tables.scan("u", b"", b"~", usize::MAX, false).await.unwrap();
    let name = |row: &crate::Row| String::from_utf8_lossy(&row.key).split(' ').next().unwrap().to_owned();
    assert_eq!(firsts.iter().map(name).collect::<Vec<_>>(), seconds.iter().map(name).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_an_error_until_there_is_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Backend::default();
    backend.disk().random = 7;
    let store = backend.open(dir.path()).unwrap();
    store.tables.commit(Batch::new().put("t", "before", "1")).await.unwrap();
    store.queues.enqueue("q", "m".into(), Timestamp::UNIX_EPOCH, 9).await.unwrap();
    let until = Timestamp::from_second(60).unwrap();
    let lease = store.queues.lease("q", Timestamp::UNIX_EPOCH, until, 1).await.unwrap().remove(0);
    backend.disk().operations_left = Some(0);
    for _ in 0..3 {
        backend.disk().operations_left = Some(0);
        let answer =
            tokio::time::timeout(Duration::from_secs(10), store.tables.commit(Batch::new().put("t", "during", "1")));
        assert!(matches!(answer.await.unwrap(), Err(Error::Engine(_))));
        assert!(matches!(store.queues.acknowledge(&lease, Batch::new()).await, Err(Error::Engine(_))));
    }
    backend.disk().operations_left = None;
    let room = Instant::now();
    while store.tables.commit(Batch::new().put("t", "after", "1")).await.is_err() {
        assert!(room.elapsed() < Duration::from_secs(10), "the store never worked again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    store.queues.acknowledge(&lease, Batch::new()).await.unwrap();
    assert!(store.tables.get("t", b"during").await.unwrap().is_none());
    for key in ["before", "after"] {
        assert!(store.tables.get("t", key.as_bytes()).await.unwrap().is_some(), "{key}");
    }
    assert_eq!(store.queues.len("q").await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_sync_nothing_is_written_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Backend::default();
    let store = backend.open(dir.path()).unwrap();
    backend.disk().fail_sync = true;
    assert!(matches!(store.tables.commit(Batch::new().put("t", "a", "1")).await, Err(Error::Engine(_))));
    backend.disk().fail_sync = false;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert!(matches!(store.tables.commit(Batch::new().put("t", "a", "1")).await, Err(Error::Engine(_))));
}
