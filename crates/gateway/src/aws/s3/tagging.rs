//! GetObjectTagging, PutObjectTagging, DeleteObjectTagging.

use super::{
    Call, about,
    xml::{parse, rooted},
};
use crate::aws::{Error, Response, response};
use http::StatusCode;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tagging {
    tag_set: TagSet,
}

#[derive(Debug, Deserialize)]
struct TagSet {
    #[serde(default, rename = "Tag")]
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

pub async fn get_object_tagging(call: &Call<'_>) -> Result<Response, Error> {
    let object = call.gateway.options.objects.object(&call.bucket, &call.key).await?;
    let mut xml = rooted("Tagging");
    xml.element("TagSet", |xml| {
        for (key, value) in &object.about.tags {
            xml.element("Tag", |xml| {
                xml.text("Key", key).text("Value", value);
            });
        }
    });
    Ok(xml.answer())
}

pub async fn put_object_tagging(call: &mut Call<'_>) -> Result<Response, Error> {
    let tagging: Tagging = parse(&call.document().await?)?;
    let tags = about::tags_of(tagging.tag_set.tags.into_iter().map(|tag| (tag.key, tag.value)).collect())?;
    call.gateway.options.objects.set_tags(&call.bucket, &call.key, tags).await?;
    Ok(response::empty(StatusCode::OK))
}

pub async fn delete_object_tagging(call: &Call<'_>) -> Result<Response, Error> {
    call.gateway.options.objects.set_tags(&call.bucket, &call.key, BTreeMap::new()).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}
