//! Host names of one's own: which stage a path below one of them leads to.

use crate::{
    Gateway,
    host::{self, Named},
    http_api::{DOMAINS, Domain, Mapping},
};
use http::request::Parts;
use std::net::IpAddr;

/// A stage of an API of either kind, and the path below the mapping.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    pub api: String,
    pub stage: String,
    pub path: String,
}

/// Where the host name of a request leads, if somebody made it; `Some(None)` when it has no mapping for the path.
pub async fn target(gateway: &Gateway, parts: &Parts) -> Option<Option<Target>> {
    // Names that say what they are, addresses and the usual name of this machine are nobody's.
    if matches!(host::named(parts), Some(Named::Api(_) | Named::FunctionUrl(_))) {
        return None;
    }
    let host = host::host(parts)?;
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_end_matches('.');
    if name == "localhost" || name.ends_with(']') || name.parse::<IpAddr>().is_ok() {
        return None;
    }
    let domain = DOMAINS.get::<Domain>(&gateway.options.store, &name.to_ascii_lowercase()).await.ok()??;
    Some(choose(domain.value.mappings.values(), parts.uri.path()))
}

/// The mapping with the longest key that the path begins with.
fn choose<'a>(mappings: impl Iterator<Item = &'a Mapping>, path: &str) -> Option<Target> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let below = |key: &str| match key {
        "" => Some(path),
        key => match path.strip_prefix(key)? {
            "" => Some(""),
            rest => rest.strip_prefix('/'),
        },
    };
    let found = mappings.filter_map(|mapping| Some((mapping, below(&mapping.api_mapping_key)?)));
    let (mapping, rest) = found.max_by_key(|(mapping, _)| mapping.api_mapping_key.len())?;
    Some(Target { api: mapping.api_id.clone(), stage: mapping.stage.clone(), path: format!("/{rest}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_key_is_taken() {
        let keys = ["", "shop", "shop/v2"];
        let mappings = keys.map(|key| Mapping {
            api_mapping_id: key.to_owned(),
            api_id: format!("api of {key}"),
            stage: "$default".to_owned(),
            api_mapping_key: key.to_owned(),
        });
        let at = |path: &str| choose(mappings.iter(), path).map(|target| (target.api, target.path)).unwrap();
        for (path, key, rest) in [
            ("/", "", "/"),
            ("/shops/1", "", "/shops/1"),
            ("/shop", "shop", "/"),
            ("/shop/1", "shop", "/1"),
            ("/shop/v2/1", "shop/v2", "/1"),
            ("/shop/v22", "shop", "/v22"),
        ] {
            assert_eq!(at(path), (format!("api of {key}"), rest.to_owned()), "{path}");
        }
        assert_eq!(choose(mappings[1..].iter(), "/other"), None);
    }
}
