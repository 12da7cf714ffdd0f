//! Code packages: in the request (base64 in JSON, decoded while it is parsed, so that a package is in memory once and not
//! three times), or as an object of S3.

use super::{dto::CodeRequest, error::invalid_parameter};
use crate::{
    Gateway,
    authorise::authorise,
    aws::{Error, Request},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, de};
use std::fmt;

/// The package's bytes.
#[derive(Debug, Clone)]
pub struct ZipFile(pub Bytes);

impl<'de> Deserialize<'de> for ZipFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Base64)
    }
}

impl CodeRequest {
    /// The package.
    pub async fn package(self, gateway: &Gateway, request: &Request) -> Result<Bytes, Error> {
        match self {
            Self { image_uri: Some(_), .. } => Err(invalid_parameter(
                "Dayfly does not support container images yet: give the package as ZipFile or as an object of S3",
            )),
            Self { s3_object_version: Some(version), .. } if version != "null" => Err(invalid_parameter(
                "Dayfly does not support versions of objects yet: S3ObjectVersion cannot be given",
            )),
            Self { zip_file: Some(zip), s3_bucket: None, s3_key: None, .. } => Ok(zip.0),
            Self { zip_file: None, s3_bucket: Some(bucket), s3_key: Some(key), .. } => {
                from_s3(gateway, request, &bucket, &key).await
            }
            Self { zip_file: None, s3_bucket: None, s3_key: None, .. } => {
                Err(invalid_parameter("Please provide a source for function code."))
            }
            Self { .. } => Err(invalid_parameter(
                "Please do not provide other FunctionCode parameters when providing a ZipFile, and give S3Bucket and \
                 S3Key together.",
            )),
        }
    }
}

async fn from_s3(gateway: &Gateway, request: &Request, bucket: &str, key: &str) -> Result<Bytes, Error> {
    let objects = &gateway.options.objects;
    let failed = |error: dayfly_objects::Error| match error {
        dayfly_objects::Error::Store(error) => Error::internal(error),
        error => invalid_parameter(format!(
            "Error occurred while GetObject. S3 Error Code: {}. S3 Error Message: {error}",
            if matches!(error, dayfly_objects::Error::NoSuchBucket) { "NoSuchBucket" } else { "NoSuchKey" }
        )),
    };
    let owner = objects.bucket(bucket).await.map_err(failed)?.account;
    authorise(&request.principal, "s3:GetObject", &format!("arn:aws:s3:::{bucket}/{key}"), &owner)?;
    let (object, reader) = objects.open(bucket, key).await.map_err(failed)?;
    let limit = gateway.options.limits.code_zip_bytes;
    if object.size > limit {
        let message = format!("The package has {} bytes, more than {limit}", object.size);
        return Err(Error::bad_request("CodeStorageExceededException", message));
    }
    reader.whole().await.map_err(failed)
}

struct Base64;

impl de::Visitor<'_> for Base64 {
    type Value = ZipFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("base64")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ZipFile, E> {
        STANDARD.decode(text).map(|bytes| ZipFile(bytes.into())).map_err(|_| E::custom("ZipFile is not valid base64"))
    }
}
