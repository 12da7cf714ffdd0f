//! Query and Scan.

use super::{
    Call,
    capacity::{Asked, read_units},
    dto::ReadRequest,
    error::{Failure, constraint, invalid},
    item,
};
use dayfly_tables::{
    Definition, Projection, Read, Span,
    expression::{self, Path, Placeholders, project},
};
use serde_json::{Value, json};

/// Most segments of a scan, AWS's.
const SEGMENTS_MAX: i64 = 1_000_000;

pub async fn query(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: ReadRequest = call.input()?;
    if dto.key_condition_expression.is_none() {
        let message = "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.";
        return Err(invalid(message).into());
    }
    read(call, dto).await
}

pub async fn scan(call: &Call<'_>) -> Result<Value, Failure> {
    let dto: ReadRequest = call.input()?;
    read(call, ReadRequest { key_condition_expression: None, scan_index_forward: None, ..dto }).await
}

async fn read(call: &Call<'_>, mut dto: ReadRequest) -> Result<Value, Failure> {
    let table = call.table_for(call.operation, dto.table_name.as_deref(), dto.index_name.as_deref())?;
    let asked = Asked::of(dto.return_consumed_capacity.as_deref())?;
    let consistent = dto.consistent_read.unwrap_or(false);
    let definition = table.definition().await?;
    let (read, paths) = understood(&mut dto, &definition)?;
    let page = call.gateway.options.tables.read(&table, &read).await?;
    let mut answer = json!({"Count": page.count, "ScannedCount": page.scanned});
    if read.items {
        answer["Items"] = match paths {
            Some(paths) => page.items.iter().map(|item| json!(project(item, &paths))).collect(),
            None => json!(page.items),
        };
    }
    if let Some(last) = page.last {
        answer["LastEvaluatedKey"] = json!(last);
    }
    asked.tell(&mut answer, &table.name().name, read_units(page.bytes, consistent));
    Ok(answer)
}

/// What to read, and which paths of what is found to return.
fn understood(dto: &mut ReadRequest, definition: &Definition) -> Result<(Read, Option<Vec<Path>>), Failure> {
    let values = dto.expression_attribute_values.take();
    let values = values.map(|values| item("expressionAttributeValues", Some(values))).transpose()?;
    let placeholders = Placeholders::new(dto.expression_attribute_names.take(), values)?;
    let condition = |kind, text: &Option<String>| {
        text.as_deref().map(|text| expression::condition(kind, text, &placeholders)).transpose()
    };
    let key_condition = condition("KeyConditionExpression", &dto.key_condition_expression)?;
    let filter = condition("FilterExpression", &dto.filter_expression)?;
    let paths = dto.projection_expression.as_deref();
    let paths = paths.map(|text| expression::projection(text, &placeholders)).transpose()?;
    placeholders.all_used(key_condition.is_some() || filter.is_some() || paths.is_some())?;
    let whole = select(dto, paths.is_some(), definition)?;
    let limit = match dto.limit {
        None => None,
        Some(limit) => Some(usize::try_from(limit).ok().filter(|limit| *limit > 0).ok_or_else(|| {
            constraint(Some(&limit.to_string()), "limit", "Member must have value greater than or equal to 1")
        })?),
    };
    let read = Read {
        index: dto.index_name.take(),
        span: match key_condition {
            Some(condition) => Span::Query(condition),
            None => segment(dto)?,
        },
        filter,
        limit,
        start: dto.exclusive_start_key.take().map(|key| item("exclusiveStartKey", Some(key))).transpose()?,
        backwards: dto.scan_index_forward == Some(false),
        whole,
        items: dto.select.as_deref() != Some("COUNT"),
    };
    Ok((read, paths))
}

/// Checks Select and ConsistentRead. Returns whether attributes are wanted that a local index may not hold.
fn select(dto: &ReadRequest, projected: bool, definition: &Definition) -> Result<bool, Failure> {
    let index = dto.index_name.as_deref().and_then(|name| definition.index(name));
    if index.is_some_and(|index| !index.local) && dto.consistent_read == Some(true) {
        return Err(invalid("Consistent reads are not supported on global secondary indexes").into());
    }
    match dto.select.as_deref() {
        None => Ok(projected),
        Some("COUNT") if projected => {
            Err(invalid("Cannot specify the ProjectionExpression when choosing to get only the Count").into())
        }
        Some("COUNT") => Ok(false),
        Some("SPECIFIC_ATTRIBUTES") if projected => Ok(true),
        Some("SPECIFIC_ATTRIBUTES") => {
            Err(invalid("Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES").into())
        }
        Some(kind @ ("ALL_ATTRIBUTES" | "ALL_PROJECTED_ATTRIBUTES")) if projected => {
            Err(invalid(format!("Cannot specify the ProjectionExpression when choosing to get {kind}")).into())
        }
        Some("ALL_PROJECTED_ATTRIBUTES") if dto.index_name.is_none() => {
            Err(invalid("ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName").into())
        }
        Some("ALL_PROJECTED_ATTRIBUTES") => Ok(false),
        Some("ALL_ATTRIBUTES") => match index {
            Some(index) if !index.local && index.projection != Projection::All => Err(invalid(format!(
                "One or more parameter values were invalid: Select type ALL_ATTRIBUTES is not supported for global secondary \
                 index {} because its projection type is not ALL",
                index.name
            ))
            .into()),
            _ => Ok(true),
        },
        Some(other) => {
            let enumerated =
                "Member must satisfy enum value set: [SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, ALL_PROJECTED_ATTRIBUTES]";
            Err(constraint(Some(other), "select", enumerated).into())
        }
    }
}

fn segment(dto: &ReadRequest) -> Result<Span, Failure> {
    match (dto.segment, dto.total_segments) {
        (None, None) => Ok(Span::Segment { number: 0, of: 1 }),
        (Some(_), None) => {
            Err(invalid("The TotalSegments parameter is required but was not present in the request when Segment parameter is present").into())
        }
        (None, Some(_)) => {
            Err(invalid("The Segment parameter is required but was not present in the request when parameter TotalSegments is present").into())
        }
        (Some(number), Some(of)) => {
            if !(1..=SEGMENTS_MAX).contains(&of) {
                let range = "Member must have value from 1 to 1000000";
                return Err(constraint(Some(&of.to_string()), "totalSegments", range).into());
            }
            let both = u32::try_from(number).ok().zip(u32::try_from(of).ok()).filter(|(number, of)| number < of);
            let (number, of) = both.ok_or_else(|| {
                invalid(format!(
                    "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: {number} is not \
                     less than TotalSegments: {of}"
                ))
            })?;
            Ok(Span::Segment { number, of })
        }
    }
}
