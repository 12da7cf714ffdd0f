//! Amazon S3: buckets, objects and multipart uploads, in path style and with the bucket in the host name.
//!
//! The life of a request: `mod` (which bucket and key, who) → `operations` (which operation) → its file; bodies come
//! through `payload`. Bodies stream both ways, so S3 reads its own, unlike the other services.

mod about;
mod buckets;
mod chunked;
mod conditions;
mod copy_object;
mod delete;
mod error;
mod get_object;
mod legacy;
mod list;
mod multipart;
mod notification;
mod notify;
mod operations;
mod payload;
mod policy;
mod put_object;
pub mod site;
mod tagging;
mod unset;
mod website;
mod xml;

use super::{Error, Protocol, Response};
pub use notify::Notifier;

use crate::{
    Gateway,
    authorise::{Caller, More, authorise, authorise_with},
    body,
    host::{self, Named},
    sender::Sender,
    server::Peer,
    signer::{Refused, Signer},
    sigv4::{self, Claim, Hashed, UNSIGNED_PAYLOAD, percent_decode, query_pairs},
};
use bytes::Bytes;
use chunked::Chain;
use dayfly_objects::{Bucket, KEY_BYTES_MAX, Objects, Origin, valid_bucket_name};
use dayfly_types::{Region, RequestId};
use error::{access_denied, invalid_request};
use http::{HeaderName, HeaderValue, Method, request::Parts};
use hyper::body::Incoming;
use operations::{Asked, Level, asked};
use payload::{Payload, Said, Signing};

/// Makes a copy of a put.
const COPY_SOURCE: &str = "x-amz-copy-source";

/// An authenticated request to S3.
pub struct Call<'a> {
    gateway: &'a Gateway,
    memory: &'a body::Memory,
    id: RequestId,
    peer: Peer,
    parts: Parts,
    query: Vec<(String, String)>,
    bucket: String,
    key: String,
    region: Region,
    principal: Caller,
    /// Until the operation takes it.
    payload: Option<Payload>,
}

/// Whether an unsigned request, or one with an old signature, is for S3. Paths of the other services begin with a version
/// of their interface, or are `/jobs`.
pub fn is_meant(parts: &Parts) -> bool {
    let first = parts.uri.path().split('/').nth(1).unwrap_or_default();
    let is_version =
        first.len() == 10 && first.starts_with("20") && first.bytes().filter(|byte| *byte == b'-').count() == 2;
    let of_others = first.is_empty() || first == "jobs" || is_version;
    host::named(parts).and_then(Named::bucket).is_some() || legacy::is_presigned(parts) || !of_others
}

/// Answers a request. `claim` is what it says of its signature; `owner` is set when it needs none.
pub async fn answer(
    gateway: &Gateway,
    memory: &body::Memory,
    owner: Option<Sender>,
    claim: Result<Claim, sigv4::Error>,
    (id, peer): (RequestId, Peer),
    parts: Parts,
    body: Incoming,
) -> Result<Response, Error> {
    let (level, bucket, key) = match target(&parts) {
        Ok(target) => target,
        Err(error) => return refuse(gateway, body, error).await,
    };
    let authenticated = match authenticate(gateway, peer, owner, claim, &parts).await {
        Ok(authenticated) => authenticated,
        Err(error) => return refuse(gateway, body, error).await,
    };
    let Authenticated { principal, region, said, signing, chain } = authenticated;
    let query = query_pairs(parts.uri.query().unwrap_or_default());
    let payload = match Said::of(&parts.headers, &said, signing) {
        Ok(said) => Payload::new(body, said, chain),
        Err(error) => return refuse(gateway, body, error).await,
    };
    let payload = Some(payload);
    let mut call = Call { gateway, memory, id, peer, parts, query, bucket, key, region, principal, payload };
    let result = dispatch(&mut call, level).await;
    if let (Err(_), Some(payload)) = (&result, call.payload.take()) {
        payload.discard(&gateway.patience).await;
    }
    result.map(|mut response| {
        if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
            response.headers_mut().insert(HeaderName::from_static("x-amz-request-id"), value);
        }
        response
    })
}

async fn dispatch(call: &mut Call<'_>, level: Level) -> Result<Response, Error> {
    let operation = match asked(&call.parts.method, level, &call.query) {
        Asked::Served(operation) => operation,
        Asked::NeverSet(code) => {
            call.bucket_for("s3:GetBucketConfiguration").await?;
            return Err(unset::never_set(code));
        }
        Asked::NotServed(name) => return Err(error::not_implemented(&name)),
    };
    let action = operation.action;
    match operation.name {
        "ListBuckets" => buckets::list_buckets(call, action).await,
        "CreateBucket" => buckets::create_bucket(call, action).await,
        // Each of its keys is asked for.
        "DeleteObjects" => delete::delete_objects(call).await,
        name => {
            call.bucket_for(action).await?;
            call.check_version()?;
            match name {
                "HeadBucket" => buckets::head_bucket(call).await,
                "DeleteBucket" => buckets::delete_bucket(call).await,
                "PutBucketNotificationConfiguration" => notification::put_bucket_notification_configuration(call).await,
                "GetBucketNotificationConfiguration" => notification::get_bucket_notification_configuration(call).await,
                "PutBucketPolicy" => policy::put_bucket_policy(call).await,
                "GetBucketPolicy" => policy::get_bucket_policy(call).await,
                "DeleteBucketPolicy" => policy::delete_bucket_policy(call).await,
                "GetBucketPolicyStatus" => policy::get_bucket_policy_status(call).await,
                "PutBucketWebsite" => website::put_bucket_website(call).await,
                "GetBucketWebsite" => website::get_bucket_website(call).await,
                "DeleteBucketWebsite" => website::delete_bucket_website(call).await,
                "GetBucketLocation" => buckets::get_bucket_location(call).await,
                "ListObjects" => list::list_objects(call).await,
                "ListObjectsV2" => list::list_objects_v2(call).await,
                "DeleteObject" => delete::delete_object(call).await,
                "PutObject" if call.header(COPY_SOURCE).is_some() => copy_object::copy_object(call).await,
                "PutObject" => put_object::put_object(call).await,
                "CreateMultipartUpload" => multipart::create_multipart_upload(call).await,
                "UploadPart" if call.header(COPY_SOURCE).is_some() => copy_object::upload_part_copy(call).await,
                "UploadPart" => multipart::upload_part(call).await,
                "CompleteMultipartUpload" => multipart::complete_multipart_upload(call).await,
                "AbortMultipartUpload" => multipart::abort_multipart_upload(call).await,
                "ListParts" => multipart::list_parts(call).await,
                "ListMultipartUploads" => multipart::list_multipart_uploads(call).await,
                "GetObject" | "HeadObject" => get_object::get_object(call).await,
                "GetObjectAttributes" => get_object::get_object_attributes(call).await,
                "GetObjectTagging" => tagging::get_object_tagging(call).await,
                "PutObjectTagging" => tagging::put_object_tagging(call).await,
                "DeleteObjectTagging" => tagging::delete_object_tagging(call).await,
                other => unset::answer(call, other).await,
            }
        }
    }
}

impl Call<'_> {
    /// The first value of a parameter of the query.
    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A number of the query, within bounds.
    fn number(&self, name: &str, default: usize, most: usize) -> Result<usize, Error> {
        match self.parameter(name).filter(|text| !text.is_empty()) {
            None => Ok(default),
            Some(text) => text.parse().map(|number: usize| number.min(most)).map_err(|_| {
                error::invalid_argument(format!("Provided {name} not an integer or within integer range"))
            }),
        }
    }

    /// A header, when it is there and is text.
    fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The bucket, once the request may do `action` in it.
    async fn bucket_for(&self, action: &str) -> Result<Bucket, Error> {
        if !valid_bucket_name(&self.bucket) {
            return Err(Error::bad_request("InvalidBucketName", "The specified bucket is not valid."));
        }
        let bucket = self.gateway.options.objects.bucket(&self.bucket).await?;
        self.authorise(action, &bucket, &self.key)?;
        Ok(bucket)
    }

    /// The objects, for changes that this request asks for.
    fn objects(&self) -> Objects {
        self.gateway.options.objects.asked_by(Origin {
            requester: self.principal.arn(),
            address: self.peer.source_ip(),
            request_id: self.id.to_string(),
            trace: self.header("x-amzn-trace-id").map(str::to_owned),
        })
    }

    fn authorise(&self, action: &str, bucket: &Bucket, key: &str) -> Result<(), Error> {
        let separator = if key.is_empty() { "" } else { "/" };
        let arn = format!("arn:aws:s3:::{}{separator}{key}", bucket.name);
        if self.principal.is_unbounded() {
            return authorise(&self.principal, action, &arn, &bucket.account)
                .map_err(|denied| access_denied(&denied.0));
        }
        let policy = policy::of_bucket(bucket);
        let mut context = Vec::new();
        for (key, name) in [("s3:prefix", "prefix"), ("s3:delimiter", "delimiter"), ("s3:max-keys", "max-keys")] {
            context.extend(self.parameter(name).map(|value| (key, value)));
        }
        // AWS knows an absent prefix as an empty one.
        if action == "s3:ListBucket" && self.parameter("prefix").is_none() {
            context.push(("s3:prefix", ""));
        }
        let more = More { policy: policy.as_ref(), context: &context };
        authorise_with(&self.principal, action, &arn, &bucket.account, more).map_err(|denied| access_denied(&denied.0))
    }

    /// There is one version of each object: the one that AWS calls null.
    fn check_version(&self) -> Result<(), Error> {
        match self.parameter("versionId") {
            None | Some("null") => Ok(()),
            Some(_) => Err(error::invalid_argument("Invalid version id specified")),
        }
    }

    fn take_payload(&mut self) -> Result<Payload, Error> {
        self.payload.take().ok_or_else(|| error::internal("the body was taken twice"))
    }

    /// The whole of a small body.
    async fn document(&mut self) -> Result<Bytes, Error> {
        self.take_payload()?.document(self.memory, &self.gateway.patience).await
    }
}

async fn refuse(gateway: &Gateway, body: Incoming, error: Error) -> Result<Response, Error> {
    body::discard(body, &gateway.patience).await;
    Err(error)
}

/// Bucket and key, from the host name and the path.
fn target(parts: &Parts) -> Result<(Level, String, String), Error> {
    let path = percent_decode(parts.uri.path(), false).into_owned();
    let path =
        String::from_utf8(path).map_err(|_| Error::bad_request("InvalidURI", "Couldn't parse the specified URI."))?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    let (bucket, key) = match host::named(parts) {
        Some(Named::Bucket(bucket)) => (bucket, path.to_owned()),
        _ => {
            let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
            (bucket.to_owned(), key.to_owned())
        }
    };
    if key.len() > KEY_BYTES_MAX {
        return Err(Error::bad_request("KeyTooLongError", "Your key is too long"));
    }
    let level = match (bucket.is_empty(), key.is_empty()) {
        (true, true) => Level::Service,
        (true, false) => return Err(Error::bad_request("InvalidBucketName", "The specified bucket is not valid.")),
        (false, true) => Level::Bucket,
        (false, false) => Level::Object,
    };
    Ok((level, bucket, key))
}

/// Who signed a request, and what the signature says of the body.
struct Authenticated {
    principal: Caller,
    region: Region,
    said: String,
    signing: Signing,
    chain: Option<Chain>,
}

async fn authenticate(
    gateway: &Gateway,
    peer: Peer,
    owner: Option<Sender>,
    claim: Result<Claim, sigv4::Error>,
    parts: &Parts,
) -> Result<Authenticated, Error> {
    let of_refused = |refused: &Refused| Error::of_signer(refused, Protocol::RestXml);
    let expired = |refused: Refused| match refused {
        Refused::Signature(sigv4::Error::Expired(_)) => access_denied("Request has expired"),
        refused => of_refused(&refused),
    };
    if let Some(Sender { principal, region, .. }) = owner {
        let said = UNSIGNED_PAYLOAD.to_owned();
        return Ok(Authenticated { principal, region, said, signing: Signing::Unsigned, chain: None });
    }
    if claim.is_err() && legacy::is_presigned(parts) {
        let bucket = host::named(parts).and_then(Named::bucket);
        let principal = legacy::verify(gateway, parts, bucket.as_deref(), peer).await.map_err(expired)?;
        let region = "us-east-1".parse().map_err(|_| error::internal("us-east-1 is a region"))?;
        return Ok(Authenticated {
            principal,
            region,
            said: UNSIGNED_PAYLOAD.to_owned(),
            signing: Signing::Unsigned,
            chain: None,
        });
    }
    let claim = claim.map_err(|error| of_refused(&error.into()))?;
    let presigned = claim.is_presigned();
    let signer = Signer::of(gateway, claim, parts, peer)
        .await
        .map_err(|refused| if presigned { expired(refused) } else { of_refused(&refused) })?;
    let header = parts.headers.get("x-amz-content-sha256").and_then(|value| value.to_str().ok());
    let query = query_pairs(parts.uri.query().unwrap_or_default());
    let in_query = query.iter().find(|(key, _)| key == "X-Amz-Content-Sha256").map(|(_, value)| value.as_str());
    let said = match header.or(in_query) {
        Some(said) => said.to_owned(),
        None if presigned => UNSIGNED_PAYLOAD.to_owned(),
        None => return Err(invalid_request("Missing required header for this request: x-amz-content-sha256")),
    };
    let signing = Signing::of(&said)?;
    let Signer { claim, secret, principal, region } = signer;
    claim.verify(&secret, parts, Hashed::Said(&said)).map_err(|error| of_refused(&error.into()))?;
    refuse_unsigned(&claim, parts)?;
    let chain = matches!(signing, Signing::Chunks { signed: true, .. }).then(|| Chain::new(claim, secret));
    Ok(Authenticated { principal, region, said, signing, chain })
}

/// S3 wants every header of its own signed: who has a presigned URL must not add to what it does.
fn refuse_unsigned(claim: &Claim, parts: &Parts) -> Result<(), Error> {
    let mut own = parts.headers.keys().map(HeaderName::as_str).filter(|name| name.starts_with("x-amz-"));
    match own.find(|name| !claim.covers(name) && *name != "x-amz-content-sha256") {
        Some(_) => Err(access_denied("There were headers present in the request which were not signed")),
        None => Ok(()),
    }
}

/// Whether the request wants the head of the answer only.
/// An object for a request that is not S3's own: with its method, conditions and range, and nothing else of it. Who may
/// read it is for the caller to know.
pub async fn read_object(
    gateway: &Gateway,
    memory: &body::Memory,
    (id, peer): (RequestId, Peer),
    request: &Parts,
    bucket: &str,
    key: String,
) -> Result<Response, Error> {
    let mut parts = http::Request::new(()).into_parts().0;
    parts.method = request.method.clone();
    for name in ["range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"] {
        if let Some(value) = request.headers.get(name) {
            parts.headers.insert(name, value.clone());
        }
    }
    let principal = Caller::root(gateway.options.account.clone());
    let region = gateway.options.region.clone();
    let bucket = bucket.to_owned();
    let query = Vec::new();
    let call = Call { gateway, memory, id, peer, parts, query, bucket, key, region, principal, payload: None };
    get_object::get_object(&call).await
}

fn is_head(parts: &Parts) -> bool {
    parts.method == Method::HEAD
}
