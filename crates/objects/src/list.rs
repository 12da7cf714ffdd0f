//! Lists of objects, with keys gathered under common prefixes.

use crate::{
    Error, Object, Objects,
    rows::{OBJECTS, after_all, from_json, object_key},
};

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Keys that begin with this.
    pub prefix: String,
    /// Gathers keys that have this after the prefix; empty for none.
    pub delimiter: String,
    /// Only what comes after this key, or after everything under this common prefix.
    pub after: String,
    /// Most keys and common prefixes together.
    pub limit: usize,
}

/// A page of a list.
#[derive(Debug, Default)]
pub struct Listing {
    /// Keys in the order of their bytes.
    pub objects: Vec<(String, Object)>,
    /// Common prefixes, in the same order.
    pub prefixes: Vec<String>,
    /// What the next page comes after; `None` at the end.
    pub next: Option<String>,
}

/// Fewest and most rows read at a time: few where a common prefix may make the rest useless.
const ROWS_MIN: usize = 8;
const ROWS_MAX: usize = 256;

impl Objects {
    /// A page of the objects of a bucket.
    pub async fn list(&self, bucket: &str, page: &Page) -> Result<Listing, Error> {
        self.bucket(bucket).await?;
        let start = object_key(bucket, "");
        let end = after_all(&object_key(bucket, &page.prefix));
        let mut from = object_key(bucket, &page.prefix);
        if !page.after.is_empty() {
            let after = object_key(bucket, &page.after);
            let is_common = common_prefix(&page.after, page).is_some_and(|common| common.len() == page.after.len());
            from = from.max(if is_common { after_all(&after) } else { dayfly_store::after(&after) });
        }
        let mut listing = Listing::default();
        let mut last = String::new();
        if page.limit == 0 {
            return Ok(listing);
        }
        let mut rows_max = if page.delimiter.is_empty() { ROWS_MAX } else { ROWS_MIN };
        'rows: loop {
            // Reading does not wait for anything, so that others must be let in between.
            tokio::task::yield_now().await;
            let wanted = page.limit - listing.objects.len() - listing.prefixes.len() + 1;
            let limit = wanted.min(rows_max);
            let rows = self.inner.store.tables.scan(OBJECTS, &from, &end, limit, false).await?;
            for row in &rows {
                let key = String::from_utf8_lossy(&row.key[start.len()..]);
                if listing.objects.len() + listing.prefixes.len() == page.limit {
                    listing.next = Some(last);
                    return Ok(listing);
                }
                if let Some(common) = common_prefix(&key, page) {
                    common.clone_into(&mut last);
                    listing.prefixes.push(last.clone());
                    // The rest under it need not be read.
                    from = after_all(&object_key(bucket, &last));
                    rows_max = ROWS_MIN;
                    continue 'rows;
                }
                last = key.into_owned();
                listing.objects.push((last.clone(), from_json(OBJECTS, &row.value)?));
            }
            rows_max = (2 * rows_max).min(ROWS_MAX);
            match rows.last() {
                Some(row) if rows.len() == limit => from = dayfly_store::after(&row.key),
                _ => return Ok(listing),
            }
        }
    }
}

/// The common prefix that `key` is gathered under.
fn common_prefix<'a>(key: &'a str, page: &Page) -> Option<&'a str> {
    if page.delimiter.is_empty() {
        return None;
    }
    let rest = key.strip_prefix(&page.prefix)?;
    let at = rest.find(&page.delimiter)?;
    Some(&key[..page.prefix.len() + at + page.delimiter.len()])
}
