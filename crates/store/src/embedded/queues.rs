//! Queues over redb: one redb table per queue, ordered by visibility, so that a lease reads only what it takes.

use super::{
    engine::{Engine, rows},
    format::{MessageKey, QUEUES, decode_number, engine, queue_name},
    writer::{Taken, Work},
};
use crate::{Batch, Error, Lease, Queues};
use async_trait::async_trait;
use bytes::Bytes;
use dayfly_types::Timestamp;
use redb::ReadableTable;

#[async_trait]
impl Queues for Engine {
    async fn enqueue(&self, queue: &str, body: Bytes, visible_at: Timestamp, capacity: u64) -> Result<(), Error> {
        let visible_us = visible_at.as_microsecond();
        self.write(Work::Enqueue { queue: queue.to_owned(), body, visible_us, capacity }).await
    }

    async fn lease(&self, queue: &str, now: Timestamp, until: Timestamp, limit: usize) -> Result<Vec<Lease>, Error> {
        let (now_us, until_us) = (now.as_microsecond(), until.as_microsecond());
        // The snapshot is taken under the lock: a message added after it lowers the floor after us, so none is missed.
        let mut leases = self.shared.leases();
        let snapshot = self.shared.read()?;
        let Some(messages) = rows(&snapshot, &queue_name(queue))? else { return Ok(Vec::new()) };
        let mut taken = Vec::new();
        leases.queue(queue).expire(now_us);
        let mut floor = leases.queue(queue).floor;
        for entry in messages.range(floor.encode().as_slice()..).map_err(engine)? {
            let (key, body) = entry.map_err(engine)?;
            let key = MessageKey::decode(key.value())?;
            floor = key;
            if key.visible_us > now_us {
                break;
            }
            if leases.queue(queue).is_held(key.id) {
                continue;
            }
            if taken.len() >= limit {
                break;
            }
            let generation = leases.next_generation();
            leases.queue(queue).hold(key, until_us, generation);
            taken.push(Lease {
                queue: queue.to_owned(),
                id: key.id,
                generation,
                body: Bytes::copy_from_slice(body.value()),
            });
        }
        leases.queue(queue).floor = floor;
        Ok(taken)
    }

    async fn next_visible(&self, queue: &str) -> Result<Option<Timestamp>, Error> {
        let mut leases = self.shared.leases();
        let snapshot = self.shared.read()?;
        let Some(messages) = rows(&snapshot, &queue_name(queue))? else { return Ok(None) };
        let leases = leases.queue(queue);
        let mut earliest_us = leases.first_end_us();
        for entry in messages.range(leases.floor.encode().as_slice()..).map_err(engine)? {
            let key = MessageKey::decode(entry.map_err(engine)?.0.value())?;
            if !leases.is_held(key.id) {
                earliest_us = Some(earliest_us.map_or(key.visible_us, |other| other.min(key.visible_us)));
                break;
            }
        }
        Ok(earliest_us.map(|visible_us| MessageKey { visible_us, id: 0 }.visible_at()))
    }

    async fn acknowledge(&self, lease: &Lease, batch: Batch) -> Result<(), Error> {
        self.write(Work::Acknowledge { taken: Taken::from(lease), batch }).await
    }

    async fn put_back(&self, lease: &Lease, body: Bytes, visible_at: Timestamp, batch: Batch) -> Result<(), Error> {
        let visible_us = visible_at.as_microsecond();
        self.write(Work::PutBack { taken: Taken::from(lease), body, visible_us, batch }).await
    }

    async fn names(&self) -> Result<Vec<String>, Error> {
        let table = self.shared.read()?.open_table(QUEUES).map_err(engine)?;
        let mut names = Vec::new();
        for entry in table.iter().map_err(engine)? {
            names.push(String::from_utf8_lossy(entry.map_err(engine)?.0.value()).into_owned());
        }
        Ok(names)
    }

    async fn len(&self, queue: &str) -> Result<u64, Error> {
        let table = self.shared.read()?.open_table(QUEUES).map_err(engine)?;
        table.get(queue.as_bytes()).map_err(engine)?.map_or(Ok(0), |length| decode_number(length.value()))
    }

    async fn purge(&self, queue: &str) -> Result<(), Error> {
        self.write(Work::Purge { queue: queue.to_owned() }).await
    }
}
