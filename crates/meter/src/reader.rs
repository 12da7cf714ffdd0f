//! Pages of log events, over streams, in order of time, forwards and backwards.
//!
//! Rows are chunks, ordered by their first line; a chunk's later lines may fall behind the next chunk's first. So events
//! are held back until no unread row can have one before them, which needs no more than [`SPAN_US`] of the log at once.

use crate::{
    Error, EventPage, EventQuery, LogEvent,
    keys::{self, LOG},
    logs::{self, Place, SPAN_US},
    pattern::Pattern,
};
use dayfly_store::Tables;
use dayfly_types::Timestamp;
use std::collections::BTreeMap;

/// Rows read at once.
const PAGE_ROWS: usize = 256;
/// Rows that one query looks at before it hands out a page and a token, however few events matched.
const QUERY_ROWS_MAX: usize = 20_000;
/// Most events in a page, as CloudWatch has it.
const EVENTS_MAX: usize = 10_000;

/// What a page reads, and in which direction.
struct Search<'a> {
    group: &'a [u8],
    streams: &'a [String],
    pattern: Option<Pattern>,
    /// First and last time an event may have.
    times: (i64, i64),
    /// Events after this place only.
    after: Option<Place>,
    /// Events before this place only.
    before: Option<Place>,
    backwards: bool,
    limit: usize,
}

/// One page. `window` bounds the times of what is searched, when that is known.
pub(crate) async fn page(
    tables: &dyn Tables,
    group: &[u8],
    query: &EventQuery,
    window: (i64, i64),
) -> Result<EventPage, Error> {
    let pattern = query.pattern.as_deref().map(Pattern::parse).transpose()?;
    let from = query.from.map_or(i64::MIN, first_us).max(window.0);
    let to = query.to.map_or(i64::MAX, |to| first_us(to).saturating_sub(1)).min(window.1);
    let mut search = Search {
        group,
        streams: &query.streams,
        pattern,
        times: (from, to),
        after: None,
        before: None,
        backwards: query.newest_first,
        limit: query.limit.clamp(1, EVENTS_MAX),
    };
    if let Some(token) = &query.token {
        let (direction, place) = token.split_once('/').ok_or(Error::Token)?;
        let place = Place::parse(place).ok_or(Error::Token)?;
        match direction {
            "f" => search.after = Some(place),
            "b" => search.before = Some(place),
            _ => return Err(Error::Token),
        }
        search.backwards = direction == "b";
    }
    search.run(tables).await
}

impl Search<'_> {
    async fn run(&self, tables: &dyn Tables) -> Result<EventPage, Error> {
        let (mut from, mut to) = self.keys();
        let mut held: BTreeMap<Place, LogEvent> = BTreeMap::new();
        let mut found: Vec<(Place, LogEvent)> = Vec::new();
        let mut seen = 0;
        // One more than asked for tells whether there is more.
        while found.len() <= self.limit {
            let rows = tables.scan(LOG, &from, &to, PAGE_ROWS, self.backwards).await?;
            for row in &rows {
                let Some(time_us) = logs::chunk_time(&row.key, self.group.len()) else { continue };
                self.release(&mut held, &mut found, Some(time_us));
                let stream = logs::chunk_stream(&row.key, self.group.len()).map_or("", |(stream, _)| stream);
                if !self.streams.is_empty() && !self.streams.iter().any(|wanted| wanted == stream) {
                    continue;
                }
                let events = logs::events(row, self.group.len())
                    .ok_or_else(|| dayfly_store::Error::Engine("a log row cannot be read".to_owned()))?;
                held.extend(events.into_iter().filter(|(place, event)| self.wants(place, event)));
            }
            let Some(last) = rows.last().filter(|_| rows.len() == PAGE_ROWS) else {
                self.release(&mut held, &mut found, None);
                break;
            };
            seen += rows.len();
            if seen >= QUERY_ROWS_MAX && found.len() <= self.limit {
                let stopped_us = logs::chunk_time(&last.key, self.group.len()).unwrap_or_default();
                return Ok(self.page(found, Some(stopped_us)));
            }
            if self.backwards {
                to = last.key.to_vec();
            } else {
                from = dayfly_store::after(&last.key);
            }
            tokio::task::yield_now().await;
        }
        Ok(self.page(found, None))
    }

    /// The rows that can have events of this search.
    fn keys(&self) -> (Vec<u8>, Vec<u8>) {
        let first = self.times.0.max(self.after.map_or(i64::MIN, |place| place.at_us));
        let last = self.times.1.min(self.before.map_or(i64::MAX, |place| place.at_us));
        let from = [self.group, &keys::time(first.saturating_sub(SPAN_US))].concat();
        let to = match last.checked_add(1) {
            Some(end) => [self.group, &keys::time(end)].concat(),
            None => keys::after_prefix(self.group),
        };
        (from, to)
    }

    fn wants(&self, place: &Place, event: &LogEvent) -> bool {
        (self.times.0..=self.times.1).contains(&place.at_us)
            && self.after.is_none_or(|after| *place > after)
            && self.before.is_none_or(|before| *place < before)
            && self.pattern.as_ref().is_none_or(|pattern| pattern.matches(event.message.trim_end_matches('\n')))
    }

    /// Moves the events to `found` that no row from the one at `time_us` on can precede; all when there is none.
    fn release(&self, held: &mut BTreeMap<Place, LogEvent>, found: &mut Vec<(Place, LogEvent)>, time_us: Option<i64>) {
        while found.len() <= self.limit {
            let next = if self.backwards { held.last_entry() } else { held.first_entry() };
            let Some(next) = next else { return };
            let at_us = next.key().at_us;
            let ready = time_us.is_none_or(|time_us| {
                if self.backwards { at_us > time_us.saturating_add(SPAN_US) } else { at_us < time_us }
            });
            if !ready {
                return;
            }
            found.push(next.remove_entry());
        }
    }

    /// `stopped_us` is the time of the row at which the search gave up for this page.
    fn page(&self, mut found: Vec<(Place, LogEvent)>, stopped_us: Option<i64>) -> EventPage {
        let more = found.len() > self.limit || stopped_us.is_some();
        found.truncate(self.limit);
        if self.backwards {
            found.reverse();
        }
        let start = self.after.or(self.before).unwrap_or(Place { at_us: self.times.0, ..Place::FIRST });
        let mut forward = found.last().map_or(start, |(place, _)| *place);
        let mut backward = found.first().map_or(start, |(place, _)| *place);
        match stopped_us {
            // No event has sequence 0, so this place is before all events of its time.
            Some(at_us) if self.backwards => {
                backward = Place { at_us: at_us.saturating_add(SPAN_US + 1), ..Place::FIRST };
            }
            Some(at_us) => forward = Place { at_us, ..Place::FIRST },
            None => {}
        }
        EventPage {
            events: found.into_iter().map(|(_, event)| event).collect(),
            forward: format!("f/{}", forward.id()),
            backward: format!("b/{}", backward.id()),
            more,
        }
    }
}

/// The first microsecond at or after `time`.
fn first_us(time: Timestamp) -> i64 {
    time.as_microsecond() + i64::from(time.subsec_nanosecond().rem_euclid(1_000) != 0)
}
