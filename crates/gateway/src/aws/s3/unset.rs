//! Answers to questions about settings that a bucket has not: clients ask them before they do anything else.

use super::{
    Call,
    buckets::owner,
    error::not_implemented,
    xml::{Xml, rooted},
};
use crate::aws::{Error, Response, response};
use http::StatusCode;

/// AWS's error for a setting that was never set.
pub fn never_set(code: &'static str) -> Error {
    Error::new(StatusCode::NOT_FOUND, code, "The specified configuration does not exist.")
}

/// The answer of a bucket, or object, that was never configured.
pub async fn answer(call: &Call<'_>, operation: &str) -> Result<Response, Error> {
    let xml = match operation {
        // There never is one.
        "DeletePublicAccessBlock" => return Ok(response::empty(StatusCode::NO_CONTENT)),
        "GetBucketVersioning" => rooted("VersioningConfiguration"),
        "GetBucketLogging" => rooted("BucketLoggingStatus"),
        "GetBucketAccelerateConfiguration" => rooted("AccelerateConfiguration"),
        "GetBucketRequestPayment" => {
            let mut xml = rooted("RequestPaymentConfiguration");
            xml.text("Payer", "BucketOwner");
            xml
        }
        "GetBucketAcl" => acl(call),
        "GetObjectAcl" => {
            call.gateway.options.objects.object(&call.bucket, &call.key).await?;
            acl(call)
        }
        other => return Err(not_implemented(other)),
    };
    Ok(xml.answer())
}

/// The owner may do everything, and nobody else anything.
fn acl(call: &Call<'_>) -> Xml {
    let account = call.principal.account().as_str();
    let mut xml = rooted("AccessControlPolicy");
    xml.element("Owner", |xml| owner(xml, account));
    xml.element("AccessControlList", |xml| {
        xml.element("Grant", |xml| {
            xml.raw("<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\">");
            owner(xml, account);
            xml.raw("</Grantee>").text("Permission", "FULL_CONTROL");
        });
    });
    xml
}
