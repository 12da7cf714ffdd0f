//! CopyObject and UploadPartCopy.

use super::{
    Call, about,
    about::quoted,
    conditions::{Names, Verdict, check, range},
    error::{invalid_argument, invalid_request},
    multipart::part_of,
    payload::OBJECT_BYTES_MAX,
    xml::{rooted, timestamp},
};
use crate::{
    aws::{Error, Response},
    sigv4::percent_decode,
};
use dayfly_objects::{
    Object, Reader,
    checksum::{Algorithm, Checksum},
    valid_bucket_name,
};
use dayfly_types::Timestamp;

const OF_SOURCE: Names = Names {
    matches: "x-amz-copy-source-if-match",
    none_match: "x-amz-copy-source-if-none-match",
    modified: "x-amz-copy-source-if-modified-since",
    unmodified: "x-amz-copy-source-if-unmodified-since",
};

pub async fn copy_object(call: &Call<'_>) -> Result<Response, Error> {
    let headers = &call.parts.headers;
    let given = about::of_headers(headers)?;
    let condition = about::condition(headers)?;
    let new_metadata = about::replaces(headers, "x-amz-metadata-directive")?;
    let new_tags = about::replaces(headers, "x-amz-tagging-directive")?;
    let algorithm = match call.header("x-amz-checksum-algorithm") {
        None => None,
        Some(name) => Some(
            Algorithm::of_name(name).ok_or_else(|| invalid_request("Checksum algorithm provided is unsupported."))?,
        ),
    };
    let source = source(call).await?;
    if source.same && !new_metadata && !new_tags && algorithm.is_none() {
        return Err(invalid_request(
            "This copy request is illegal because it is trying to copy an object to itself without changing the \
             object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    if source.object.size > OBJECT_BYTES_MAX {
        return Err(invalid_request(
            "The specified copy source is larger than the maximum allowable size for a copy source",
        ));
    }
    let mut about = if new_metadata { given.clone() } else { source.object.about.clone() };
    about.tags = if new_tags { given.tags } else { source.object.about.tags.clone() };
    let objects = call.objects();
    let to = (call.bucket.as_str(), call.key.as_str());
    let object = objects.copy(&source.object, source.reader, to, about, algorithm, condition).await?;
    Ok(result("CopyObjectResult", &object.etag, object.modified, object.checksum.as_ref()))
}

pub async fn upload_part_copy(call: &Call<'_>) -> Result<Response, Error> {
    let (id, number) = part_of(call)?;
    let source = source(call).await?;
    let size = source.object.size;
    let part = match call.header("x-amz-copy-source-range") {
        None => (0, size),
        Some(text) => {
            let inside = |(from, length): &(u64, u64)| text.ends_with(&format!("-{}", from + length - 1));
            let found = range(Some(text), size)?.filter(inside);
            found.ok_or_else(|| {
                invalid_argument(
                    "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are \
                     the zero-based offsets of the first and last bytes to copy",
                )
            })?
        }
    };
    if part.1 > OBJECT_BYTES_MAX {
        return Err(invalid_request(
            "The specified copy source is larger than the maximum allowable size for a copy source",
        ));
    }
    let objects = &call.gateway.options.objects;
    let to = (call.bucket.as_str(), call.key.as_str(), id.as_str());
    let part = objects.copy_part(source.reader, part, to, number).await?;
    Ok(result("CopyPartResult", &part.etag, part.modified, part.checksums.first()))
}

fn result(root: &'static str, etag: &str, modified: Timestamp, checksum: Option<&Checksum>) -> Response {
    let mut xml = rooted(root);
    xml.text("LastModified", timestamp(modified)).text("ETag", quoted(etag));
    if let Some(checksum) = checksum {
        xml.text(&format!("Checksum{}", checksum.algorithm.name()), &checksum.value);
        xml.text("ChecksumType", checksum.kind.name());
    }
    xml.answer()
}

/// What is copied.
struct Source {
    object: Object,
    reader: Reader,
    /// Whether it is the destination.
    same: bool,
}

/// The object that `x-amz-copy-source` names, once the request may read it and its conditions hold.
async fn source(call: &Call<'_>) -> Result<Source, Error> {
    let text = call.header("x-amz-copy-source").unwrap_or_default();
    let (path, version) = text.split_once("?versionId=").unwrap_or((text, "null"));
    if version != "null" {
        return Err(invalid_argument("Invalid version id specified"));
    }
    let wrong = || invalid_argument("Copy Source must mention the source bucket and key: sourcebucket/sourcekey");
    let decoded = String::from_utf8(percent_decode(path, false).into_owned()).map_err(|_| wrong())?;
    let (bucket, key) = decoded.strip_prefix('/').unwrap_or(&decoded).split_once('/').ok_or_else(wrong)?;
    if !valid_bucket_name(bucket) || key.is_empty() {
        return Err(wrong());
    }
    let objects = &call.gateway.options.objects;
    call.authorise("s3:GetObject", &objects.bucket(bucket).await?, key)?;
    let (object, reader) = objects.open(bucket, key).await?;
    match check(&call.parts.headers, &OF_SOURCE, &object) {
        Verdict::Go => {}
        Verdict::NotModified | Verdict::Failed => return Err(dayfly_objects::Error::ConditionFailed.into()),
    }
    let same = bucket == call.bucket && key == call.key;
    Ok(Source { object, reader, same })
}
