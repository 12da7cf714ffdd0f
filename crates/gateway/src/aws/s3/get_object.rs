//! GetObject, HeadObject, GetObjectAttributes.

use super::{
    Call,
    about::into_headers,
    conditions::{self, OF_READ, Verdict, check, http_date},
    error::{invalid_argument, invalid_request},
    is_head,
    put_object::{checksum, etag},
    xml::rooted,
};
use crate::{
    aws::{
        Error, Response,
        response::{self, Body},
    },
    body,
};
use dayfly_objects::{Object, Reader, checksum::Checksum};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, LAST_MODIFIED},
};
use http_body_util::Full;
use std::io;
use tokio::sync::mpsc;

/// Memory of one answer that streams.
const STREAM_BYTES: u64 = 1 << 20;
/// Parameters of the query that replace a header of the answer.
const REPLACED: [(&str, &str); 6] = [
    ("response-cache-control", "cache-control"),
    ("response-content-disposition", "content-disposition"),
    ("response-content-encoding", "content-encoding"),
    ("response-content-language", "content-language"),
    ("response-content-type", "content-type"),
    ("response-expires", "expires"),
];

pub async fn get_object(call: &Call<'_>) -> Result<Response, Error> {
    let objects = &call.gateway.options.objects;
    let head = is_head(&call.parts);
    let by_part = call.parameter("partNumber").is_some();
    let (object, reader) = if head && !by_part {
        (objects.object(&call.bucket, &call.key).await?, None)
    } else {
        let (object, reader) = objects.open(&call.bucket, &call.key).await?;
        (object, Some(reader))
    };
    match check(&call.parts.headers, &OF_READ, &object) {
        Verdict::Go => {}
        Verdict::NotModified => return Ok(not_modified(&object)),
        Verdict::Failed => return Err(dayfly_objects::Error::ConditionFailed.into()),
    }
    let part = match (call.parameter("partNumber"), &reader) {
        (Some(number), Some(reader)) => Some(part(number, call.header("range"), &object, reader)?),
        _ => None,
    };
    let range = match &part {
        // A part is a range, also when it is the only one.
        Some(part) => Some((part.offset, part.size)),
        None => conditions::range(call.header("range"), object.size)?,
    };
    let (offset, length) = range.unwrap_or((0, object.size));
    let mut response = Response::default();
    let is_range = range.is_some() && object.size > 0;
    *response.status_mut() = if is_range { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let whole = (offset, length) == (0, object.size);
    describe(call, &object, part.as_ref(), whole, &mut response);
    if is_range
        && let Ok(value) = HeaderValue::from_str(&format!("bytes {offset}-{}/{}", offset + length - 1, object.size))
    {
        response.headers_mut().insert(CONTENT_RANGE, value);
    }
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    if let (false, Some(reader)) = (head, reader) {
        *response.body_mut() = send(call, reader, offset, length).await?;
    }
    Ok(response)
}

/// The headers of an answer.
fn describe(call: &Call<'_>, object: &Object, part: Option<&Part>, whole: bool, response: &mut Response) {
    let headers = response.headers_mut();
    into_headers(&object.about, headers);
    for (parameter, name) in REPLACED {
        if let Some(value) = call.parameter(parameter)
            && let Ok(value) = HeaderValue::from_str(value)
        {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    etag(&object.etag, headers);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(value) = HeaderValue::from_str(&http_date(object.modified)) {
        headers.insert(LAST_MODIFIED, value);
    }
    if call.header("x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("enabled")) {
        match part {
            Some(part) => checksum(part.checksum.as_ref(), headers),
            None if whole => checksum(object.checksum.as_ref(), headers),
            None => {}
        }
    }
    if part.is_some() && object.parts > 0 {
        headers.insert(HeaderName::from_static("x-amz-mp-parts-count"), object.parts.into());
    }
}

fn not_modified(object: &Object) -> Response {
    let mut response = response::empty(StatusCode::NOT_MODIFIED);
    let headers = response.headers_mut();
    etag(&object.etag, headers);
    if let Ok(value) = HeaderValue::from_str(&http_date(object.modified)) {
        headers.insert(LAST_MODIFIED, value);
    }
    response
}

/// A part of an object, as a range.
struct Part {
    offset: u64,
    size: u64,
    checksum: Option<Checksum>,
}

fn part(number: &str, range: Option<&str>, object: &Object, reader: &Reader) -> Result<Part, Error> {
    if range.is_some() {
        return Err(invalid_request("Cannot specify both Range header and partNumber query parameter"));
    }
    let number: u16 = number.parse().map_err(|_| invalid_argument("Part number must be an integer"))?;
    let not_there = || {
        Error::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "InvalidPartNumber",
            "The requested partnumber is not satisfiable",
        )
    };
    if object.parts == 0 {
        let whole = Part { offset: 0, size: object.size, checksum: object.checksum.clone() };
        return if number == 1 { Ok(whole) } else { Err(not_there()) };
    }
    // The parts of a finished object are counted anew from 1.
    let index = usize::from(number).checked_sub(1).ok_or_else(not_there)?;
    let found = reader.parts().get(index).ok_or_else(not_there)?;
    let offset = reader.parts()[..index].iter().map(|part| part.size).sum();
    Ok(Part { offset, size: found.size, checksum: found.checksum.clone() })
}

/// The body: at once when it is small, else as the client takes it.
async fn send(call: &Call<'_>, mut reader: Reader, offset: u64, length: u64) -> Result<Body, Error> {
    reader.seek(offset, length);
    let Some(first) = reader.next().await? else { return Ok(Body::default()) };
    if first.len() as u64 == length {
        return Ok(Body::Whole(Full::new(first)));
    }
    let memory = call.memory.take(STREAM_BYTES).await.map_err(|_: body::Error| super::payload::busy())?;
    let (pieces, answer) = mpsc::channel(1);
    tokio::spawn(async move {
        let _memory = memory;
        let mut next = Ok(Some(first));
        loop {
            let piece = match next {
                Ok(None) => return,
                Ok(Some(piece)) => Ok(piece),
                Err(error) => {
                    tracing::error!(%error, "an object broke off while it was read");
                    Err(io::Error::other("the object cannot be read"))
                }
            };
            let broken = piece.is_err();
            // A client that went away closes the channel.
            if pieces.send(piece).await.is_err() || broken {
                return;
            }
            next = reader.next().await;
        }
    });
    Ok(Body::Pieces(answer))
}

pub async fn get_object_attributes(call: &Call<'_>) -> Result<Response, Error> {
    let wanted = call.header("x-amz-object-attributes").unwrap_or_default().to_owned();
    let wants = |name: &str| wanted.split(',').any(|attribute| attribute.trim() == name);
    let (object, reader) = call.gateway.options.objects.open(&call.bucket, &call.key).await?;
    let mut xml = rooted("GetObjectAttributesResponse");
    if wants("ETag") {
        xml.text("ETag", &object.etag);
    }
    if let Some(checksum) = object.checksum.as_ref().filter(|_| wants("Checksum")) {
        xml.element("Checksum", |xml| {
            xml.text(&format!("Checksum{}", checksum.algorithm.name()), &checksum.value);
            xml.text("ChecksumType", checksum.kind.name());
        });
    }
    if wants("ObjectParts") && object.parts > 0 {
        xml.element("ObjectParts", |xml| {
            xml.text("PartsCount", object.parts);
            for part in reader.parts() {
                xml.element("Part", |xml| {
                    xml.text("PartNumber", part.number).text("Size", part.size);
                    if let Some(checksum) = &part.checksum {
                        xml.text(&format!("Checksum{}", checksum.algorithm.name()), &checksum.value);
                    }
                });
            }
        });
    }
    if wants("StorageClass") {
        xml.text("StorageClass", "STANDARD");
    }
    if wants("ObjectSize") {
        xml.text("ObjectSize", object.size);
    }
    let mut response = xml.answer();
    if let Ok(value) = HeaderValue::from_str(&http_date(object.modified)) {
        response.headers_mut().insert(LAST_MODIFIED, value);
    }
    Ok(response)
}
