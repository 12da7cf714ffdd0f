//! CreateBucket, HeadBucket, DeleteBucket, ListBuckets, GetBucketLocation.

use super::{
    Call,
    error::{access_denied, invalid_argument, not_implemented},
    xml::{Xml, encoded, parse, rooted, timestamp},
};
use crate::{
    authorise::authorise,
    aws::{Error, Response, response},
};
use dayfly_objects::{Bucket, Error as ObjectsError, valid_bucket_name};
use dayfly_types::Region;
use http::{HeaderName, HeaderValue, StatusCode, header::LOCATION};
use serde::Deserialize;

/// The region whose buckets have no location, and which takes a second creation for the first.
const FIRST_REGION: &str = "us-east-1";

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct CreateBucketConfiguration {
    location_constraint: Option<String>,
    location: Option<serde::de::IgnoredAny>,
    bucket: Option<serde::de::IgnoredAny>,
}

pub async fn create_bucket(call: &mut Call<'_>, action: &str) -> Result<Response, Error> {
    if !valid_bucket_name(&call.bucket) {
        return Err(Error::bad_request("InvalidBucketName", "The specified bucket is not valid."));
    }
    let account = call.principal.account().clone();
    let arn = format!("arn:aws:s3:::{}", call.bucket);
    authorise(&call.principal, action, &arn, &account).map_err(|denied| access_denied(&denied.0))?;
    super::about::refuse_acl(&call.parts.headers)?;
    if call.header("x-amz-bucket-object-lock-enabled").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(not_implemented("object lock"));
    }
    let document = call.document().await?;
    let configuration: CreateBucketConfiguration =
        if document.is_empty() { Default::default() } else { parse(&document)? };
    if configuration.location.is_some() || configuration.bucket.is_some() {
        return Err(not_implemented("directory buckets"));
    }
    let region: Region = match configuration.location_constraint.as_deref().map(str::trim) {
        None | Some("") => call.region.clone(),
        Some(text) => text.parse().map_err(|_| {
            Error::bad_request("InvalidLocationConstraint", "The specified location-constraint is not valid")
        })?,
    };
    match call.gateway.options.objects.create_bucket(&call.bucket, &account, &region).await {
        Ok(_) => {}
        Err(ObjectsError::BucketExists(bucket)) if bucket.account == account => {
            if bucket.region.as_str() != FIRST_REGION || region.as_str() != FIRST_REGION {
                return Err(Error::new(
                    StatusCode::CONFLICT,
                    "BucketAlreadyOwnedByYou",
                    "Your previous request to create the named bucket succeeded and you already own it.",
                ));
            }
        }
        Err(error) => return Err(error.into()),
    }
    let mut response = response::empty(StatusCode::OK);
    if let Ok(location) = HeaderValue::from_str(&format!("/{}", call.bucket)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

pub async fn head_bucket(call: &Call<'_>) -> Result<Response, Error> {
    let bucket = call.gateway.options.objects.bucket(&call.bucket).await?;
    let mut response = response::empty(StatusCode::OK);
    if let Ok(region) = HeaderValue::from_str(bucket.region.as_str()) {
        response.headers_mut().insert(HeaderName::from_static("x-amz-bucket-region"), region);
    }
    Ok(response)
}

pub async fn delete_bucket(call: &Call<'_>) -> Result<Response, Error> {
    call.gateway.options.objects.delete_bucket(&call.bucket).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub async fn get_bucket_location(call: &Call<'_>) -> Result<Response, Error> {
    let bucket = call.gateway.options.objects.bucket(&call.bucket).await?;
    let mut xml = rooted("LocationConstraint");
    if bucket.region.as_str() != FIRST_REGION {
        xml.raw(bucket.region.as_str());
    }
    Ok(xml.answer())
}

pub async fn list_buckets(call: &Call<'_>, action: &str) -> Result<Response, Error> {
    let account = call.principal.account();
    authorise(&call.principal, action, "*", account).map_err(|denied| access_denied(&denied.0))?;
    let most = call.number("max-buckets", 10_000, 10_000)?;
    if most == 0 {
        return Err(invalid_argument("max-buckets must be between 1 and 10000"));
    }
    let prefix = call.parameter("prefix").unwrap_or_default();
    let after = call.parameter("continuation-token").unwrap_or_default();
    let mut buckets = call.gateway.options.objects.buckets(prefix, after, most + 1).await?;
    let more = buckets.len() > most;
    buckets.truncate(most);
    let next = buckets.last().filter(|_| more).map(|bucket| bucket.name.clone());
    let region = call.parameter("bucket-region");
    let shown =
        |bucket: &&Bucket| bucket.account == *account && region.is_none_or(|region| region == bucket.region.as_str());
    let mut xml = rooted("ListAllMyBucketsResult");
    xml.element("Owner", |xml| owner(xml, account.as_str()));
    xml.element("Buckets", |xml| {
        for bucket in buckets.iter().filter(shown) {
            xml.element("Bucket", |xml| {
                xml.text("Name", &bucket.name).text("CreationDate", timestamp(bucket.created));
                xml.text("BucketRegion", bucket.region.as_str());
            });
        }
    });
    xml.optional("Prefix", call.parameter("prefix").map(|prefix| encoded(prefix, false)));
    xml.optional("ContinuationToken", next);
    Ok(xml.answer())
}

/// The members of an owner.
pub fn owner(xml: &mut Xml, account: &str) {
    xml.text("ID", account).text("DisplayName", account);
}
