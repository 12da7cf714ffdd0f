//! Multipart uploads: CreateMultipartUpload, UploadPart, CompleteMultipartUpload, AbortMultipartUpload, ListParts,
//! ListMultipartUploads.

use super::{
    Call, about,
    about::quoted,
    buckets::owner,
    error::{invalid_argument, invalid_request, malformed_xml},
    list::{KEYS_MAX, url_encoding},
    payload::{OBJECT_BYTES_MAX, Payload, header_name},
    put_object::{checksum, etag},
    xml::{encoded, parse, rooted, timestamp},
};
use crate::aws::{Error, Response, response};
use dayfly_objects::{
    ListedUpload, PARTS_MAX, PartReference, Upload,
    checksum::{ALGORITHMS, Algorithm, Checksum, Kind},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Complete {
    #[serde(default, rename = "Part")]
    parts: Vec<CompletedPart>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CompletedPart {
    part_number: u16,
    #[serde(rename = "ETag")]
    etag: String,
    #[serde(rename = "ChecksumCRC32")]
    crc32: Option<String>,
    #[serde(rename = "ChecksumCRC32C")]
    crc32c: Option<String>,
    #[serde(rename = "ChecksumCRC64NVME")]
    crc64nvme: Option<String>,
    #[serde(rename = "ChecksumSHA1")]
    sha1: Option<String>,
    #[serde(rename = "ChecksumSHA256")]
    sha256: Option<String>,
}

pub async fn create_multipart_upload(call: &Call<'_>) -> Result<Response, Error> {
    let about = about::of_headers(&call.parts.headers)?;
    let chosen = chosen(call.header("x-amz-checksum-algorithm"), call.header("x-amz-checksum-type"))?;
    let id = call.gateway.options.objects.begin_upload(&call.bucket, &call.key, about, chosen).await?;
    let mut xml = rooted("InitiateMultipartUploadResult");
    xml.text("Bucket", &call.bucket).text("Key", &call.key).text("UploadId", id);
    let mut response = xml.answer();
    if let Some((algorithm, kind)) = chosen {
        put_algorithm(algorithm, kind, response.headers_mut());
    }
    Ok(response)
}

pub async fn upload_part(call: &mut Call<'_>) -> Result<Response, Error> {
    let (id, number) = part_of(call)?;
    let objects = &call.gateway.options.objects;
    let upload = objects.upload(&call.bucket, &call.key, &id).await?;
    let payload = call.take_payload()?;
    let algorithm = payload.algorithm();
    if let Some(algorithm) = algorithm
        && upload.chosen
        && algorithm != upload.algorithm
    {
        return Err(invalid_request(format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            upload.algorithm.name().to_ascii_lowercase(),
            algorithm.name().to_ascii_lowercase()
        )));
    }
    let begin = |algorithms: &[Algorithm]| {
        // The upload's own first: it is what the whole is computed from.
        let ordered: Vec<Algorithm> = [upload.algorithm].into_iter().chain(algorithms.iter().copied()).collect();
        objects.receive_part(&ordered, OBJECT_BYTES_MAX)
    };
    let received = payload.receive(call.memory, &call.gateway.patience, &[], begin).await?;
    let part = objects.put_part(&call.bucket, &call.key, &id, number, received).await?;
    let mut response = response::empty(StatusCode::OK);
    let headers = response.headers_mut();
    etag(&part.etag, headers);
    let algorithm = algorithm.unwrap_or(upload.algorithm);
    checksum(part.checksums.iter().find(|checksum| checksum.algorithm == algorithm), headers);
    headers.remove("x-amz-checksum-type");
    Ok(response)
}

pub async fn complete_multipart_upload(call: &mut Call<'_>) -> Result<Response, Error> {
    let id = upload_id(call)?;
    let condition = about::condition(&call.parts.headers)?;
    // The checksum in the headers is the object's.
    call.payload = call.payload.take().map(Payload::without_checksum);
    let document = call.document().await?;
    let complete: Complete = parse(&document)?;
    if complete.parts.is_empty() || complete.parts.len() > PARTS_MAX.into() {
        return Err(malformed_xml());
    }
    let objects = call.objects();
    let upload = objects.upload(&call.bucket, &call.key, &id).await?;
    let whole = whole(&call.parts.headers, &upload)?;
    let parts = complete.parts.into_iter().map(|part| part.reference()).collect();
    let object = objects.complete_upload(&call.bucket, &call.key, &id, parts, whole, condition).await?;
    let mut xml = rooted("CompleteMultipartUploadResult");
    xml.text("Location", format!("/{}/{}", call.bucket, encoded(&call.key, true)));
    xml.text("Bucket", &call.bucket).text("Key", &call.key).text("ETag", quoted(&object.etag));
    if let Some(checksum) = &object.checksum {
        xml.text(&format!("Checksum{}", checksum.algorithm.name()), &checksum.value);
        xml.text("ChecksumType", checksum.kind.name());
    }
    Ok(xml.answer())
}

pub async fn abort_multipart_upload(call: &Call<'_>) -> Result<Response, Error> {
    call.gateway.options.objects.abort_upload(&call.bucket, &call.key, &upload_id(call)?).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub async fn list_parts(call: &Call<'_>) -> Result<Response, Error> {
    let id = upload_id(call)?;
    let url = url_encoding(call)?;
    let most = call.number("max-parts", KEYS_MAX, KEYS_MAX)?;
    let after = u16::try_from(call.number("part-number-marker", 0, PARTS_MAX.into())?).unwrap_or(PARTS_MAX);
    let objects = &call.gateway.options.objects;
    let upload = objects.upload(&call.bucket, &call.key, &id).await?;
    let mut parts = objects.parts(&call.bucket, &call.key, &id, after, most + 1).await?;
    let more = parts.len() > most;
    parts.truncate(most);
    let account = call.principal.account().as_str();
    let mut xml = rooted("ListPartsResult");
    xml.text("Bucket", &call.bucket).text("Key", encoded(&call.key, url)).text("UploadId", &id);
    xml.element("Initiator", |xml| owner(xml, account)).element("Owner", |xml| owner(xml, account));
    xml.text("StorageClass", "STANDARD").text("PartNumberMarker", after);
    xml.optional("NextPartNumberMarker", parts.last().map(|(number, _)| number));
    xml.text("MaxParts", most).text("IsTruncated", more);
    xml.optional("EncodingType", url.then_some("url"));
    if upload.chosen {
        xml.text("ChecksumAlgorithm", upload.algorithm.name()).text("ChecksumType", upload.kind.name());
    }
    for (number, part) in &parts {
        xml.element("Part", |xml| {
            xml.text("PartNumber", number).text("LastModified", timestamp(part.modified));
            xml.text("ETag", quoted(&part.etag)).text("Size", part.size);
            if let Some(checksum) = part.checksums.first() {
                xml.text(&format!("Checksum{}", checksum.algorithm.name()), &checksum.value);
            }
        });
    }
    Ok(xml.answer())
}

pub async fn list_multipart_uploads(call: &Call<'_>) -> Result<Response, Error> {
    let url = url_encoding(call)?;
    let most = call.number("max-uploads", KEYS_MAX, KEYS_MAX)?;
    let prefix = call.parameter("prefix").unwrap_or_default();
    let delimiter = call.parameter("delimiter").unwrap_or_default();
    let key_marker = call.parameter("key-marker").unwrap_or_default();
    let id_marker = call.parameter("upload-id-marker").unwrap_or_default();
    if !delimiter.is_empty() {
        return Err(super::error::not_implemented("a delimiter in ListMultipartUploads"));
    }
    let after = (!key_marker.is_empty()).then_some((key_marker, id_marker));
    let mut uploads = call.gateway.options.objects.uploads(&call.bucket, prefix, after, most + 1).await?;
    let more = uploads.len() > most;
    uploads.truncate(most);
    let account = call.principal.account().as_str();
    let mut xml = rooted("ListMultipartUploadsResult");
    xml.text("Bucket", &call.bucket).text("KeyMarker", encoded(key_marker, url)).text("UploadIdMarker", id_marker);
    if let Some(last) = uploads.last().filter(|_| more) {
        xml.text("NextKeyMarker", encoded(&last.key, url)).text("NextUploadIdMarker", &last.id);
    }
    xml.text("Prefix", encoded(prefix, url)).text("MaxUploads", most).text("IsTruncated", more);
    xml.optional("EncodingType", url.then_some("url"));
    for ListedUpload { key, id, upload } in &uploads {
        xml.element("Upload", |xml| {
            xml.text("Key", encoded(key, url)).text("UploadId", id);
            xml.element("Initiator", |xml| owner(xml, account)).element("Owner", |xml| owner(xml, account));
            xml.text("StorageClass", "STANDARD").text("Initiated", timestamp(upload.begun));
            if upload.chosen {
                xml.text("ChecksumAlgorithm", upload.algorithm.name()).text("ChecksumType", upload.kind.name());
            }
        });
    }
    Ok(xml.answer())
}

/// The upload and the number of the part that a request is about.
pub fn part_of(call: &Call<'_>) -> Result<(String, u16), Error> {
    let number = call.parameter("partNumber").and_then(|text| text.parse().ok());
    let number = number.filter(|number| (1..=PARTS_MAX).contains(number)).ok_or_else(|| {
        invalid_argument(format!("Part number must be an integer between 1 and {PARTS_MAX}, inclusive"))
    })?;
    Ok((upload_id(call)?, number))
}

fn upload_id(call: &Call<'_>) -> Result<String, Error> {
    call.parameter("uploadId").map(str::to_owned).ok_or_else(|| invalid_argument("This operation needs an uploadId"))
}

impl CompletedPart {
    fn reference(self) -> PartReference {
        let values = [self.crc32, self.crc32c, self.crc64nvme, self.sha1, self.sha256];
        let checksum = ALGORITHMS
            .into_iter()
            .zip(values)
            .find_map(|(algorithm, value)| Some(Checksum { algorithm, kind: Kind::FullObject, value: value? }));
        PartReference { number: self.part_number, etag: self.etag.trim().trim_matches('"').to_owned(), checksum }
    }
}

/// The checksum that a client chose for an upload.
fn chosen(algorithm: Option<&str>, kind: Option<&str>) -> Result<Option<(Algorithm, Kind)>, Error> {
    let Some(name) = algorithm else {
        return match kind {
            None => Ok(None),
            Some(_) => Err(invalid_request("The x-amz-checksum-type header needs an x-amz-checksum-algorithm")),
        };
    };
    let algorithm = Algorithm::of_name(name)
        .ok_or_else(|| invalid_request("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"))?;
    let default = if algorithm == Algorithm::Crc64nvme { Kind::FullObject } else { Kind::Composite };
    let kind = match kind {
        None => default,
        Some("FULL_OBJECT") => Kind::FullObject,
        Some("COMPOSITE") => Kind::Composite,
        Some(_) => return Err(invalid_request("Value for x-amz-checksum-type header is invalid.")),
    };
    let is_sha = matches!(algorithm, Algorithm::Sha1 | Algorithm::Sha256);
    if (kind == Kind::FullObject && is_sha) || (kind == Kind::Composite && algorithm == Algorithm::Crc64nvme) {
        let (kind, name) = (kind.name(), algorithm.name().to_ascii_lowercase());
        return Err(invalid_request(format!(
            "The {kind} checksum type cannot be used with the {name} checksum algorithm."
        )));
    }
    Ok(Some((algorithm, kind)))
}

/// What the client takes for the checksum of the whole.
fn whole(headers: &HeaderMap, upload: &Upload) -> Result<Option<Checksum>, Error> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(kind) = header("x-amz-checksum-type")
        && kind != upload.kind.name()
    {
        return Err(invalid_request("The checksum type is not that of the upload."));
    }
    let value = header(&header_name(upload.algorithm));
    Ok(value.map(|value| Checksum { algorithm: upload.algorithm, kind: upload.kind, value: value.to_owned() }))
}

fn put_algorithm(algorithm: Algorithm, kind: Kind, headers: &mut HeaderMap) {
    let mut put = |name, value| headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    put("x-amz-checksum-algorithm", algorithm.name());
    put("x-amz-checksum-type", kind.name());
}
