//! PutBucketWebsite, GetBucketWebsite, DeleteBucketWebsite: how a bucket's website is configured. `site` serves it.

use super::{
    Call,
    error::{invalid_argument, malformed_xml},
    unset::never_set,
    xml::{parse, rooted},
};
use crate::aws::{Error, Response, response};
use dayfly_objects::Bucket;
use http::StatusCode;
use serde::{Deserialize, Serialize};

/// Name of the setting of a bucket that holds its website.
const SETTING: &str = "website";
/// Most routing rules, AWS's.
const RULES_MAX: usize = 50;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Website {
    pub redirect_all_requests_to: Option<RedirectAll>,
    pub index_document: Option<IndexDocument>,
    pub error_document: Option<ErrorDocument>,
    pub routing_rules: RoutingRules,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RedirectAll {
    pub host_name: String,
    pub protocol: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IndexDocument {
    pub suffix: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ErrorDocument {
    pub key: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RoutingRules {
    pub routing_rule: Vec<RoutingRule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RoutingRule {
    #[serde(default)]
    pub condition: Option<Condition>,
    pub redirect: Redirect,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Condition {
    pub key_prefix_equals: Option<String>,
    pub http_error_code_returned_equals: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Redirect {
    pub protocol: Option<String>,
    pub host_name: Option<String>,
    pub replace_key_prefix_with: Option<String>,
    pub replace_key_with: Option<String>,
    pub http_redirect_code: Option<String>,
}

/// The website of a bucket, if it is one.
pub fn of_bucket(bucket: &Bucket) -> Option<Website> {
    bucket.settings.get(SETTING).and_then(|text| serde_json::from_str(text).ok())
}

pub async fn put_bucket_website(call: &mut Call<'_>) -> Result<Response, Error> {
    let website: Website = parse(&call.document().await?)?;
    check(&website)?;
    let text = serde_json::to_string(&website).map_err(super::error::internal)?;
    call.gateway.options.objects.set(&call.bucket, SETTING, Some(text)).await?;
    Ok(response::empty(StatusCode::OK))
}

pub async fn get_bucket_website(call: &Call<'_>) -> Result<Response, Error> {
    let bucket = call.gateway.options.objects.bucket(&call.bucket).await?;
    let website = of_bucket(&bucket).ok_or_else(no_website)?;
    let mut xml = rooted("WebsiteConfiguration");
    if let Some(all) = &website.redirect_all_requests_to {
        xml.element("RedirectAllRequestsTo", |xml| {
            xml.text("HostName", &all.host_name).optional("Protocol", all.protocol.as_ref());
        });
    }
    if let Some(index) = &website.index_document {
        xml.element("IndexDocument", |xml| {
            xml.text("Suffix", &index.suffix);
        });
    }
    if let Some(error) = &website.error_document {
        xml.element("ErrorDocument", |xml| {
            xml.text("Key", &error.key);
        });
    }
    if !website.routing_rules.routing_rule.is_empty() {
        xml.element("RoutingRules", |xml| {
            for RoutingRule { condition, redirect } in &website.routing_rules.routing_rule {
                xml.element("RoutingRule", |xml| {
                    if let Some(condition) = condition {
                        xml.element("Condition", |xml| {
                            xml.optional("KeyPrefixEquals", condition.key_prefix_equals.as_ref());
                            let code = condition.http_error_code_returned_equals.as_ref();
                            xml.optional("HttpErrorCodeReturnedEquals", code);
                        });
                    }
                    xml.element("Redirect", |xml| {
                        xml.optional("Protocol", redirect.protocol.as_ref());
                        xml.optional("HostName", redirect.host_name.as_ref());
                        xml.optional("ReplaceKeyPrefixWith", redirect.replace_key_prefix_with.as_ref());
                        xml.optional("ReplaceKeyWith", redirect.replace_key_with.as_ref());
                        xml.optional("HttpRedirectCode", redirect.http_redirect_code.as_ref());
                    });
                });
            }
        });
    }
    Ok(xml.answer())
}

pub async fn delete_bucket_website(call: &Call<'_>) -> Result<Response, Error> {
    call.gateway.options.objects.set(&call.bucket, SETTING, None).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

/// AWS's error for a bucket that is no website.
pub fn no_website() -> Error {
    let mut error = never_set("NoSuchWebsiteConfiguration");
    "The specified bucket does not have a website configuration".clone_into(&mut error.message);
    error
}

fn check(website: &Website) -> Result<(), Error> {
    let protocol = |protocol: &Option<String>| match protocol.as_deref() {
        None | Some("http" | "https") => Ok(()),
        Some(_) => Err(invalid_argument(
            "Invalid protocol, protocol can be http or https. If not defined, the protocol will be selected automatically.",
        )),
    };
    let others = website.index_document.is_some()
        || website.error_document.is_some()
        || !website.routing_rules.routing_rule.is_empty();
    match (&website.redirect_all_requests_to, &website.index_document) {
        (Some(all), _) if others || all.host_name.is_empty() => return Err(malformed_xml()),
        (Some(all), _) => return protocol(&all.protocol),
        (None, None) => {
            return Err(invalid_argument(
                "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty",
            ));
        }
        (None, Some(index)) if index.suffix.is_empty() || index.suffix.contains('/') => {
            return Err(invalid_argument("The IndexDocument Suffix is not well formed"));
        }
        (None, Some(_)) => {}
    }
    if website.error_document.as_ref().is_some_and(|error| error.key.is_empty()) {
        return Err(malformed_xml());
    }
    if website.routing_rules.routing_rule.len() > RULES_MAX {
        return Err(invalid_argument(format!("The number of routing rules must not exceed {RULES_MAX}")));
    }
    for RoutingRule { condition, redirect } in &website.routing_rules.routing_rule {
        protocol(&redirect.protocol)?;
        if redirect.replace_key_with.is_some() && redirect.replace_key_prefix_with.is_some() {
            return Err(invalid_argument("You can only define ReplaceKeyPrefix or ReplaceKey but not both."));
        }
        let code = |code: &Option<String>, range: std::ops::RangeInclusive<u16>| {
            code.as_ref().is_none_or(|code| code.parse().is_ok_and(|code: u16| range.contains(&code)))
        };
        if !code(&redirect.http_redirect_code, 301..=308) {
            return Err(invalid_argument(
                "The provided HTTP redirect code is not valid. Valid codes are 3XX except 300.",
            ));
        }
        let condition = condition.as_ref();
        if condition.is_some_and(|condition| !code(&condition.http_error_code_returned_equals, 400..=599)) {
            return Err(invalid_argument("The provided HTTP error code is not valid. Valid codes are 4XX or 5XX."));
        }
    }
    Ok(())
}
