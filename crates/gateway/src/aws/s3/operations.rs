//! Which operation a method, a path and a query name.

use http::Method;

/// What the path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Nothing.
    Service,
    /// A bucket.
    Bucket,
    /// A key in a bucket.
    Object,
}

/// An operation that is served.
#[derive(Debug)]
pub struct Operation {
    level: Level,
    method: Method,
    /// A parameter of the query that must be there; empty for none.
    query: &'static str,
    /// AWS's name.
    pub name: &'static str,
    /// The action that policies know it by.
    pub action: &'static str,
}

const fn operation(
    level: Level,
    method: Method,
    query: &'static str,
    name: &'static str,
    action: &'static str,
) -> Operation {
    Operation { level, method, query, name, action }
}

/// Every operation that is served; the more special first.
static OPERATIONS: [Operation; 38] = [
    operation(Level::Service, Method::GET, "", "ListBuckets", "s3:ListAllMyBuckets"),
    operation(Level::Bucket, Method::GET, "location", "GetBucketLocation", "s3:GetBucketLocation"),
    operation(Level::Bucket, Method::GET, "uploads", "ListMultipartUploads", "s3:ListBucketMultipartUploads"),
    operation(
        Level::Bucket,
        Method::GET,
        "notification",
        "GetBucketNotificationConfiguration",
        "s3:GetBucketNotification",
    ),
    operation(
        Level::Bucket,
        Method::PUT,
        "notification",
        "PutBucketNotificationConfiguration",
        "s3:PutBucketNotification",
    ),
    operation(Level::Bucket, Method::GET, "website", "GetBucketWebsite", "s3:GetBucketWebsite"),
    operation(Level::Bucket, Method::PUT, "website", "PutBucketWebsite", "s3:PutBucketWebsite"),
    operation(Level::Bucket, Method::DELETE, "website", "DeleteBucketWebsite", "s3:DeleteBucketWebsite"),
    operation(Level::Bucket, Method::GET, "policy", "GetBucketPolicy", "s3:GetBucketPolicy"),
    operation(Level::Bucket, Method::PUT, "policy", "PutBucketPolicy", "s3:PutBucketPolicy"),
    operation(Level::Bucket, Method::DELETE, "policy", "DeleteBucketPolicy", "s3:DeleteBucketPolicy"),
    operation(
        Level::Bucket,
        Method::DELETE,
        "publicAccessBlock",
        "DeletePublicAccessBlock",
        "s3:PutBucketPublicAccessBlock",
    ),
    operation(Level::Bucket, Method::GET, "list-type", "ListObjectsV2", "s3:ListBucket"),
    operation(Level::Bucket, Method::GET, "", "ListObjects", "s3:ListBucket"),
    operation(Level::Bucket, Method::HEAD, "", "HeadBucket", "s3:ListBucket"),
    operation(Level::Bucket, Method::PUT, "", "CreateBucket", "s3:CreateBucket"),
    operation(Level::Bucket, Method::DELETE, "", "DeleteBucket", "s3:DeleteBucket"),
    operation(Level::Bucket, Method::POST, "delete", "DeleteObjects", "s3:DeleteObject"),
    operation(Level::Object, Method::GET, "uploadId", "ListParts", "s3:ListMultipartUploadParts"),
    operation(Level::Object, Method::GET, "tagging", "GetObjectTagging", "s3:GetObjectTagging"),
    operation(Level::Object, Method::GET, "attributes", "GetObjectAttributes", "s3:GetObjectAttributes"),
    operation(Level::Object, Method::GET, "acl", "GetObjectAcl", "s3:GetObjectAcl"),
    operation(Level::Object, Method::GET, "", "GetObject", "s3:GetObject"),
    operation(Level::Object, Method::HEAD, "", "HeadObject", "s3:GetObject"),
    operation(Level::Object, Method::PUT, "uploadId", "UploadPart", "s3:PutObject"),
    operation(Level::Object, Method::PUT, "tagging", "PutObjectTagging", "s3:PutObjectTagging"),
    operation(Level::Object, Method::PUT, "", "PutObject", "s3:PutObject"),
    operation(Level::Object, Method::POST, "uploads", "CreateMultipartUpload", "s3:PutObject"),
    operation(Level::Object, Method::POST, "uploadId", "CompleteMultipartUpload", "s3:PutObject"),
    operation(Level::Object, Method::DELETE, "uploadId", "AbortMultipartUpload", "s3:AbortMultipartUpload"),
    operation(Level::Object, Method::DELETE, "tagging", "DeleteObjectTagging", "s3:DeleteObjectTagging"),
    operation(Level::Object, Method::DELETE, "", "DeleteObject", "s3:DeleteObject"),
    // Questions about what a bucket has not, which clients ask before they do anything else.
    operation(Level::Bucket, Method::GET, "versioning", "GetBucketVersioning", "s3:GetBucketVersioning"),
    operation(Level::Bucket, Method::GET, "acl", "GetBucketAcl", "s3:GetBucketAcl"),
    operation(Level::Bucket, Method::GET, "policyStatus", "GetBucketPolicyStatus", "s3:GetBucketPolicyStatus"),
    operation(Level::Bucket, Method::GET, "requestPayment", "GetBucketRequestPayment", "s3:GetBucketRequestPayment"),
    operation(Level::Bucket, Method::GET, "logging", "GetBucketLogging", "s3:GetBucketLogging"),
    operation(
        Level::Bucket,
        Method::GET,
        "accelerate",
        "GetBucketAccelerateConfiguration",
        "s3:GetAccelerateConfiguration",
    ),
];

/// Parameters that make another operation of a request: what they are about, and the error for one that was never set.
/// They must never fall through to the operation without them: `PUT /bucket?policy` does not make a bucket.
const SUBRESOURCES: [(&str, &str, &str); 35] = [
    ("abac", "BucketAbac", ""),
    ("accelerate", "BucketAccelerateConfiguration", ""),
    ("acl", "Acl", ""),
    ("analytics", "BucketAnalyticsConfiguration", ""),
    ("annotation", "ObjectAnnotation", ""),
    ("attributes", "ObjectAttributes", ""),
    ("cors", "BucketCors", "NoSuchCORSConfiguration"),
    ("encryption", "BucketEncryption", "ServerSideEncryptionConfigurationNotFoundError"),
    ("intelligent-tiering", "BucketIntelligentTieringConfiguration", ""),
    ("inventory", "BucketInventoryConfiguration", ""),
    ("legal-hold", "ObjectLegalHold", "NoSuchObjectLockConfiguration"),
    ("lifecycle", "BucketLifecycleConfiguration", "NoSuchLifecycleConfiguration"),
    ("logging", "BucketLogging", ""),
    ("metadataAnnotationTable", "BucketMetadataAnnotationTableConfiguration", ""),
    ("metadataConfiguration", "BucketMetadataConfiguration", ""),
    ("metadataInventoryTable", "BucketMetadataInventoryTableConfiguration", ""),
    ("metadataJournalTable", "BucketMetadataJournalTableConfiguration", ""),
    ("metadataTable", "BucketMetadataTableConfiguration", ""),
    ("metrics", "BucketMetricsConfiguration", ""),
    ("notification", "BucketNotificationConfiguration", ""),
    ("object-lock", "ObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"),
    ("ownershipControls", "BucketOwnershipControls", "OwnershipControlsNotFoundError"),
    ("policy", "BucketPolicy", "NoSuchBucketPolicy"),
    ("policyStatus", "BucketPolicyStatus", "NoSuchBucketPolicy"),
    ("publicAccessBlock", "PublicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
    ("renameObject", "RenameObject", ""),
    ("replication", "BucketReplication", "ReplicationConfigurationNotFoundError"),
    ("requestPayment", "BucketRequestPayment", ""),
    ("restore", "RestoreObject", ""),
    ("retention", "ObjectRetention", "NoSuchObjectLockConfiguration"),
    ("select", "SelectObjectContent", ""),
    ("session", "Session", ""),
    ("tagging", "Tagging", "NoSuchTagSet"),
    ("torrent", "ObjectTorrent", ""),
    ("website", "BucketWebsite", "NoSuchWebsiteConfiguration"),
];

/// What a request asks for.
#[derive(Debug)]
pub enum Asked {
    /// An operation that is served.
    Served(&'static Operation),
    /// A setting that no bucket and no object has: AWS's error for that.
    NeverSet(&'static str),
    /// Another operation of S3, by its name.
    NotServed(String),
}

/// What method, level and the names of the query's parameters ask for.
pub fn asked(method: &Method, level: Level, query: &[(String, String)]) -> Asked {
    let has = |name: &str| query.iter().any(|(key, _)| key == name);
    let found = OPERATIONS.iter().find(|operation| {
        operation.level == level && operation.method == *method && !operation.query.is_empty() && has(operation.query)
    });
    if let Some(operation) = found {
        return Asked::Served(operation);
    }
    let versions = level == Level::Bucket && *method == Method::GET && has("versions");
    let versioning = level == Level::Bucket && has("versioning");
    let subresource = SUBRESOURCES.iter().find(|(name, ..)| level != Level::Service && has(name));
    match (subresource, method) {
        _ if versions => Asked::NotServed("ListObjectVersions".to_owned()),
        _ if versioning => Asked::NotServed("PutBucketVersioning".to_owned()),
        (Some((_, _, never_set)), &Method::GET) if !never_set.is_empty() => Asked::NeverSet(never_set),
        (Some((_, what, _)), _) => Asked::NotServed(format!("{}{what}", verb(method))),
        (None, _) => {
            let plain = |operation: &&Operation| {
                operation.query.is_empty() && operation.level == level && operation.method == *method
            };
            let post =
                || Asked::NotServed(if level == Level::Bucket { "PostObject" } else { "this method" }.to_owned());
            OPERATIONS.iter().find(plain).map_or_else(post, Asked::Served)
        }
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "Get",
        Method::DELETE => "Delete",
        Method::POST => "",
        _ => "Put",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subresource_never_falls_through() {
        let ask = |method: Method, level, query: &str| match asked(&method, level, &crate::sigv4::query_pairs(query)) {
            Asked::Served(operation) => operation.name.to_owned(),
            Asked::NeverSet(code) => code.to_owned(),
            Asked::NotServed(name) => format!("no {name}"),
        };
        assert_eq!(ask(Method::PUT, Level::Bucket, ""), "CreateBucket");
        assert_eq!(ask(Method::PUT, Level::Bucket, "policy"), "PutBucketPolicy");
        assert_eq!(
            ask(Method::PUT, Level::Bucket, "metadataJournalTable"),
            "no PutBucketMetadataJournalTableConfiguration"
        );
        assert_eq!(ask(Method::PUT, Level::Bucket, "versioning"), "no PutBucketVersioning");
        assert_eq!(ask(Method::DELETE, Level::Bucket, "website"), "DeleteBucketWebsite");
        assert_eq!(ask(Method::GET, Level::Bucket, "cors"), "NoSuchCORSConfiguration");
        assert_eq!(ask(Method::GET, Level::Bucket, "versions&prefix=a"), "no ListObjectVersions");
        assert_eq!(ask(Method::GET, Level::Bucket, "versioning"), "GetBucketVersioning");
        assert_eq!(ask(Method::GET, Level::Bucket, "list-type=2"), "ListObjectsV2");
        assert_eq!(ask(Method::GET, Level::Bucket, "prefix=acl"), "ListObjects");
        assert_eq!(ask(Method::POST, Level::Bucket, ""), "no PostObject");
        assert_eq!(ask(Method::PUT, Level::Object, "partNumber=1&uploadId=2"), "UploadPart");
        assert_eq!(ask(Method::PUT, Level::Object, "acl"), "no PutAcl");
        assert_eq!(ask(Method::PUT, Level::Object, "x-id=PutObject"), "PutObject");
        assert_eq!(ask(Method::POST, Level::Object, "select&select-type=2"), "no SelectObjectContent");
        assert_eq!(ask(Method::POST, Level::Object, "restore"), "no RestoreObject");
        assert_eq!(ask(Method::GET, Level::Service, "acl"), "ListBuckets");
    }
}
