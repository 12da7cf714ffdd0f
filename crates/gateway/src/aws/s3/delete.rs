//! DeleteObject and DeleteObjects.

use super::{
    Call, about,
    error::malformed_xml,
    xml::{Xml, parse, rooted},
};
use crate::aws::{Error, Response, response};
use dayfly_objects::KEY_BYTES_MAX;
use http::StatusCode;
use serde::Deserialize;

/// Most keys of one request, AWS's.
const KEYS_MAX: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Delete {
    #[serde(default, rename = "Object")]
    objects: Vec<Identifier>,
    #[serde(default)]
    quiet: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Identifier {
    key: String,
    version_id: Option<String>,
}

pub async fn delete_object(call: &Call<'_>) -> Result<Response, Error> {
    let condition = about::condition(&call.parts.headers)?;
    call.objects().delete(&call.bucket, &call.key, condition).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub async fn delete_objects(call: &mut Call<'_>) -> Result<Response, Error> {
    let document = call.document().await?;
    let delete: Delete = parse(&document)?;
    if delete.objects.is_empty() || delete.objects.len() > KEYS_MAX {
        return Err(malformed_xml());
    }
    let bucket = call.gateway.options.objects.bucket(&call.bucket).await?;
    let mut xml = rooted("DeleteResult");
    let failed = |xml: &mut Xml, key: &str, code: &str, message: &str| {
        xml.element("Error", |xml| {
            xml.text("Key", key).text("Code", code).text("Message", message);
        });
    };
    let mut keys = Vec::with_capacity(delete.objects.len());
    for Identifier { key, version_id } in delete.objects {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            failed(&mut xml, &key, "KeyTooLongError", "Your key is too long");
        } else if version_id.is_some_and(|version| !version.is_empty() && version != "null") {
            failed(&mut xml, &key, "NoSuchVersion", "The specified version does not exist.");
        } else if let Err(error) = call.authorise("s3:DeleteObject", &bucket, &key) {
            failed(&mut xml, &key, &error.code, &error.message);
        } else {
            keys.push(key);
        }
    }
    for (key, result) in call.objects().delete_many(&call.bucket, keys).await {
        match result.map_err(Error::from) {
            Ok(()) if delete.quiet => {}
            Ok(()) => {
                xml.element("Deleted", |xml| {
                    xml.text("Key", key);
                });
            }
            Err(error) => failed(&mut xml, &key, &error.code, &error.message),
        }
    }
    Ok(xml.answer())
}
