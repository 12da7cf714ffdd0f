//! PutObject.

use super::{
    Call,
    about::{self, quoted},
    payload::{OBJECT_BYTES_MAX, header_name},
};
use crate::aws::{Error, Response, response};
use dayfly_objects::checksum::{Algorithm, Checksum};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::ETAG};

pub async fn put_object(call: &mut Call<'_>) -> Result<Response, Error> {
    let about = about::of_headers(&call.parts.headers)?;
    let condition = about::condition(&call.parts.headers)?;
    let objects = call.objects();
    let payload = call.take_payload()?;
    // AWS gives every object a checksum: this one when the client has none.
    let also: &[Algorithm] = if payload.algorithm().is_some() { &[] } else { &[Algorithm::Crc64nvme] };
    let received = payload
        .receive(call.memory, &call.gateway.patience, also, |algorithms| objects.receive(algorithms, OBJECT_BYTES_MAX))
        .await?;
    let object = objects.put(&call.bucket, &call.key, received, about, condition).await?;
    let mut response = response::empty(StatusCode::OK);
    let headers = response.headers_mut();
    etag(&object.etag, headers);
    checksum(object.checksum.as_ref(), headers);
    Ok(response)
}

/// The entity tag's header.
pub fn etag(etag: &str, headers: &mut HeaderMap) {
    if let Ok(value) = HeaderValue::from_str(&quoted(etag)) {
        headers.insert(ETAG, value);
    }
}

/// The headers of a checksum.
pub fn checksum(checksum: Option<&Checksum>, headers: &mut HeaderMap) {
    let Some(checksum) = checksum else { return };
    if let (Ok(name), Ok(value)) =
        (HeaderName::try_from(header_name(checksum.algorithm)), HeaderValue::from_str(&checksum.value))
    {
        headers.insert(name, value);
        let kind = HeaderValue::from_static(checksum.kind.name());
        headers.insert(HeaderName::from_static("x-amz-checksum-type"), kind);
    }
}
