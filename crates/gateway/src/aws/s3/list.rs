//! ListObjects and ListObjectsV2.

use super::{
    Call,
    about::quoted,
    buckets::owner,
    error::invalid_argument,
    xml::{Xml, encoded, rooted, timestamp},
};
use crate::aws::{Error, Response};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use dayfly_objects::{Listing, Page};

/// Most keys of a page, AWS's.
pub const KEYS_MAX: usize = 1000;

pub async fn list_objects(call: &Call<'_>) -> Result<Response, Error> {
    let url = url_encoding(call)?;
    let page = page(call, call.parameter("marker").unwrap_or_default().to_owned())?;
    let listing = call.gateway.options.objects.list(&call.bucket, &page).await?;
    let mut xml = begin(call, &page, &listing, url);
    xml.text("Marker", encoded(&page.after, url));
    // Without a delimiter clients go on from the last key.
    let next = listing.next.as_ref().filter(|_| !page.delimiter.is_empty());
    xml.optional("NextMarker", next.map(|next| encoded(next, url)));
    entries(&mut xml, call, &listing, url, true);
    Ok(xml.answer())
}

pub async fn list_objects_v2(call: &Call<'_>) -> Result<Response, Error> {
    if call.parameter("list-type") != Some("2") {
        return Err(invalid_argument("Invalid List Type specified in Request"));
    }
    let url = url_encoding(call)?;
    let start_after = call.parameter("start-after").unwrap_or_default();
    let token = call.parameter("continuation-token");
    let after = match token {
        None => start_after.to_owned(),
        Some(token) => {
            let decoded = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            decoded.ok_or_else(|| invalid_argument("The continuation token provided is incorrect"))?
        }
    };
    let page = page(call, after)?;
    let listing = call.gateway.options.objects.list(&call.bucket, &page).await?;
    let mut xml = begin(call, &page, &listing, url);
    xml.text("KeyCount", listing.objects.len() + listing.prefixes.len());
    xml.optional("ContinuationToken", token);
    xml.optional("NextContinuationToken", listing.next.as_ref().map(|next| URL_SAFE_NO_PAD.encode(next)));
    if !start_after.is_empty() {
        xml.text("StartAfter", encoded(start_after, url));
    }
    entries(&mut xml, call, &listing, url, call.parameter("fetch-owner") == Some("true"));
    Ok(xml.answer())
}

/// Whether keys are to be percent-encoded.
pub fn url_encoding(call: &Call<'_>) -> Result<bool, Error> {
    match call.parameter("encoding-type") {
        None | Some("") => Ok(false),
        Some("url") => Ok(true),
        Some(_) => Err(invalid_argument("Invalid Encoding Method specified in Request")),
    }
}

fn page(call: &Call<'_>, after: String) -> Result<Page, Error> {
    Ok(Page {
        prefix: call.parameter("prefix").unwrap_or_default().to_owned(),
        delimiter: call.parameter("delimiter").unwrap_or_default().to_owned(),
        after,
        limit: call.number("max-keys", KEYS_MAX, KEYS_MAX)?,
    })
}

fn begin(call: &Call<'_>, page: &Page, listing: &Listing, url: bool) -> Xml {
    let mut xml = rooted("ListBucketResult");
    xml.text("Name", &call.bucket).text("Prefix", encoded(&page.prefix, url)).text("MaxKeys", page.limit);
    if !page.delimiter.is_empty() {
        xml.text("Delimiter", encoded(&page.delimiter, url));
    }
    xml.optional("EncodingType", url.then_some("url"));
    xml.text("IsTruncated", listing.next.is_some());
    xml
}

fn entries(xml: &mut Xml, call: &Call<'_>, listing: &Listing, url: bool, with_owner: bool) {
    for (key, object) in &listing.objects {
        xml.element("Contents", |xml| {
            xml.text("Key", encoded(key, url)).text("LastModified", timestamp(object.modified));
            xml.text("ETag", quoted(&object.etag));
            if let Some(checksum) = &object.checksum {
                xml.text("ChecksumAlgorithm", checksum.algorithm.name()).text("ChecksumType", checksum.kind.name());
            }
            xml.text("Size", object.size).text("StorageClass", "STANDARD");
            if with_owner {
                xml.element("Owner", |xml| owner(xml, call.principal.account().as_str()));
            }
        });
    }
    for prefix in &listing.prefixes {
        xml.element("CommonPrefixes", |xml| {
            xml.text("Prefix", encoded(prefix, url));
        });
    }
}
