//! Queries and scans of tables and indexes, page by page.

use crate::{
    Definition, Error, Index, Item, KeyAttribute, KeySchema, Projection, Table, Tables, Value,
    expression::{Comparison, Condition, Function, Operand, Path},
    invalid,
    rows::{END, ITEMS, after_all, escaped, index_key, item_key, item_of_row, partition, place, sort_bytes},
    tables::{no_table, rows_of},
    value::item_size,
};
use dayfly_store::{Error as StoreError, Row};

/// Bytes after which a page ends, AWS's.
const PAGE_BYTES: usize = 1 << 20;
/// Rows of the first read of a page, and most of a later one.
const ROWS_FIRST: usize = 16;
const ROWS_MAX: usize = 1000;

/// What to read.
#[derive(Debug, Clone)]
pub struct Read {
    /// The index, if not the table itself.
    pub index: Option<String>,
    /// Which items.
    pub span: Span,
    /// Which of those are returned.
    pub filter: Option<Condition>,
    /// Most items that are looked at.
    pub limit: Option<usize>,
    /// The last key of the page before.
    pub start: Option<Item>,
    /// Last ones first.
    pub backwards: bool,
    /// Whether attributes are wanted that a local index does not hold.
    pub whole: bool,
    /// Whether the items themselves are wanted, or just their number.
    pub items: bool,
}

/// Which items to read.
#[derive(Debug, Clone)]
pub enum Span {
    /// Those of a KeyConditionExpression.
    Query(Condition),
    /// A part of all: the `number`th of `of`, from 0.
    Segment {
        /// Which.
        number: u32,
        /// Of how many.
        of: u32,
    },
}

/// A page of items.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The items that the filter let through, if they were wanted.
    pub items: Vec<Item>,
    /// How many the filter let through.
    pub count: usize,
    /// How many were looked at.
    pub scanned: usize,
    /// Where the next page begins; `None` when this is the last.
    pub last: Option<Item>,
    /// Size of what was looked at.
    pub bytes: usize,
}

impl Tables {
    /// A page of items, as they are on disk.
    pub async fn read(&self, table: &Table, read: &Read) -> Result<Page, Error> {
        let life = table.life.read().await;
        let definition = life.as_ref().ok_or_else(no_table)?;
        let index = match &read.index {
            None => None,
            Some(name) => Some(definition.index(name).ok_or_else(|| {
                invalid(format!(
                    "The table does not have the specified index: {}",
                    name.chars().take(255).collect::<String>()
                ))
            })?),
        };
        let (mut from, mut to) = range(definition, index, read)?;
        if let Some(start) = &read.start {
            let at = start_key(definition, index, start)?;
            if at < from || at >= to {
                return Err(invalid(
                    "The provided starting key is outside query boundaries based on provided conditions",
                ));
            }
            if read.backwards {
                to = at;
            } else {
                from = [at, vec![0]].concat();
            }
        }
        let fetch = index.is_some_and(|index| index.local && index.projection != Projection::All) && read.whole;
        let mut page = Page::default();
        let mut rows_wanted = ROWS_FIRST;
        loop {
            let left = read.limit.map_or(usize::MAX, |limit| limit - page.scanned);
            let wanted = rows_wanted.min(left);
            let rows = self.inner.store.tables.scan(rows_of(index), &from, &to, wanted, read.backwards).await?;
            for row in &rows {
                let mut item = item_of_row(&row.value)?;
                page.scanned += 1;
                page.bytes += item_size(&item);
                let key = last_key(definition, index, &item);
                if fetch {
                    let whole = item_key(definition, &place(&definition.key, &key));
                    if let Some(row) = self.inner.store.tables.get(ITEMS, &whole).await? {
                        item = item_of_row(&row.value)?;
                    }
                }
                if read.filter.as_ref().is_none_or(|filter| filter.holds(&item)) {
                    page.count += 1;
                    if read.items {
                        page.items.push(item);
                    }
                }
                if page.bytes >= PAGE_BYTES || read.limit == Some(page.scanned) {
                    page.last = Some(key);
                    return Ok(page);
                }
            }
            match rows.last() {
                Some(last) if rows.len() == wanted => {
                    if read.backwards {
                        to = last.key.to_vec();
                    } else {
                        from = dayfly_store::after(&last.key);
                    }
                }
                _ => return Ok(page),
            }
            // As many as the page may still take, if the others are as large as these were.
            let average = (page.bytes / page.scanned).max(1);
            rows_wanted = ((PAGE_BYTES - page.bytes) / average + 1).min(ROWS_MAX);
        }
    }
}

/// Bytes that DynamoDB counts for the item in this row.
pub(crate) fn scan_size(row: &Row) -> Result<usize, StoreError> {
    Ok(item_size(&item_of_row(&row.value)?))
}

fn range(definition: &Definition, index: Option<&Index>, read: &Read) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let id = index.map_or(definition.id, |index| index.id);
    let schema = index.map_or(&definition.key, |index| &index.key);
    match &read.span {
        Span::Segment { number, of } => {
            // Partitions' hashes are spread evenly.
            let edge = |number: u32| (u128::from(number) << 64) / u128::from((*of).max(1));
            let key = |edge: u128| match u64::try_from(edge) {
                Ok(edge) => [id.as_bytes(), &edge.to_be_bytes()[..]].concat(),
                Err(_) => after_all(id.as_bytes()),
            };
            Ok((key(edge(*number)), key(edge(number.saturating_add(1)))))
        }
        Span::Query(condition) => {
            if let Some(filter) = &read.filter
                && let Some(path) = filter.paths().into_iter().find(|path| schema.has(&path.name))
            {
                return Err(invalid(format!(
                    "Filter Expression can only contain non-primary key attributes: Primary key attribute: {}",
                    path.name
                )));
            }
            let (hash, sort) = key_conditions(schema, condition)?;
            let prefix = [id.as_bytes(), &partition(hash)[..]].concat();
            Ok(sort.map_or_else(|| (prefix.clone(), after_all(&prefix)), |sort| sort.range(&prefix, index.is_some())))
        }
    }
}

/// What is asked of a sort key.
enum SortCondition<'a> {
    Compare(Comparison, &'a Value),
    Between(&'a Value, &'a Value),
    BeginsWith(&'a Value),
}

impl SortCondition<'_> {
    /// The keys that begin with `prefix` and meet it.
    fn range(&self, prefix: &[u8], in_index: bool) -> (Vec<u8>, Vec<u8>) {
        let low = |value: &Value| match in_index {
            true => [prefix, &escaped(&sort_bytes(value)), &END].concat(),
            false => [prefix, &sort_bytes(value)].concat(),
        };
        // After all rows of this value: in an index, the item's place follows it.
        let high = |value: &Value| if in_index { after_all(&low(value)) } else { [low(value), vec![0]].concat() };
        let (first, end) = (prefix.to_vec(), after_all(prefix));
        match self {
            Self::Compare(Comparison::Less, value) => (first, low(value)),
            Self::Compare(Comparison::LessOrEqual, value) => (first, high(value)),
            Self::Compare(Comparison::Greater, value) => (high(value), end),
            Self::Compare(Comparison::GreaterOrEqual, value) => (low(value), end),
            Self::Compare(_, value) => (low(value), high(value)),
            Self::Between(a, b) => (low(a), high(b)),
            Self::BeginsWith(value) => {
                let bytes = sort_bytes(value);
                let beginning = [prefix, &if in_index { escaped(&bytes) } else { bytes }].concat();
                (beginning.clone(), after_all(&beginning))
            }
        }
    }
}

/// The partition key's value and the condition of the sort key.
fn key_conditions<'a>(
    schema: &KeySchema,
    condition: &'a Condition,
) -> Result<(&'a Value, Option<SortCondition<'a>>), Error> {
    let unsupported = || invalid("Query key condition not supported");
    let mut parts = Vec::new();
    let mut ahead = vec![condition];
    while let Some(condition) = ahead.pop() {
        match condition {
            Condition::And(a, b) => ahead.extend([&**a, &**b]),
            other => parts.push(other),
        }
    }
    if parts.len() > 2 {
        return Err(invalid("Conditions can be of length 1 or 2 only"));
    }
    let (mut hash, mut sort) = (None, None);
    for part in parts {
        let (path, condition, values) = match part {
            Condition::Compare(Operand::Path(path), comparison, Operand::Value(value))
                if *comparison != Comparison::NotEqual =>
            {
                (path, SortCondition::Compare(*comparison, value), vec![value])
            }
            Condition::Between(Operand::Path(path), Operand::Value(a), Operand::Value(b)) => {
                (path, SortCondition::Between(a, b), vec![a, b])
            }
            Condition::Function(Function::BeginsWith, Operand::Path(path), Operand::Value(value)) => {
                (path, SortCondition::BeginsWith(value), vec![value])
            }
            _ => return Err(invalid("Invalid operator used in KeyConditionExpression")),
        };
        let attribute = attribute(schema, path)?;
        for value in values {
            if value.type_name() != attribute.kind.name() {
                return Err(invalid(
                    "One or more parameter values were invalid: Condition parameter type does not match schema type",
                ));
            }
            if matches!(value, Value::S(text) if text.is_empty()) {
                return Err(invalid(format!(
                    "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty \
                     string value. Key: {}",
                    attribute.name
                )));
            }
        }
        if matches!(condition, SortCondition::BeginsWith(Value::N(_))) {
            return Err(unsupported());
        }
        if attribute.name == schema.hash.name {
            let SortCondition::Compare(Comparison::Equal, value) = condition else { return Err(unsupported()) };
            if hash.replace(value).is_some() {
                return Err(invalid("KeyConditionExpressions must only contain one condition per key"));
            }
        } else if sort.replace(condition).is_some() {
            return Err(invalid("KeyConditionExpressions must only contain one condition per key"));
        }
    }
    Ok((hash.ok_or_else(|| missed(&schema.hash))?, sort))
}

fn attribute<'a>(schema: &'a KeySchema, path: &Path) -> Result<&'a KeyAttribute, Error> {
    if !path.rest.is_empty() {
        return Err(invalid(
            "Invalid KeyConditionExpression: KeyConditionExpressions cannot have conditions on nested attributes",
        ));
    }
    let found = schema.attributes().find(|attribute| attribute.name == path.name);
    found.ok_or_else(|| missed(schema.range.as_ref().unwrap_or(&schema.hash)))
}

fn missed(attribute: &KeyAttribute) -> Error {
    invalid(format!("Query condition missed key schema element: {}", attribute.name))
}

fn last_key(definition: &Definition, index: Option<&Index>, item: &Item) -> Item {
    let mut key = definition.key.of(item);
    if let Some(index) = index {
        key.extend(index.key.of(item));
    }
    key
}

/// The row's key that a page's last key stands for.
fn start_key(definition: &Definition, index: Option<&Index>, start: &Item) -> Result<Vec<u8>, Error> {
    let bad = || invalid("The provided starting key is invalid: The provided key element does not match the schema");
    let own = definition.key.of(start);
    definition.key.check_key(&own).map_err(|_| bad())?;
    let place = place(&definition.key, &own);
    if *start != last_key(definition, index, start) {
        return Err(bad());
    }
    match index {
        None => Ok(item_key(definition, &place)),
        Some(index) => {
            index.key.check_key(&index.key.of(start)).map_err(|_| bad())?;
            index_key(index, start, &place).ok_or_else(bad)
        }
    }
}
