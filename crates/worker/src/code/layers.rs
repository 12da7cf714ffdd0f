//! What is at `/opt`: a function's layers, each unpacked once, put together by hard links. One mount, whatever the number of
//! layers, and no copy. Called by the worker when a function is published.

use super::{Cache, Error};
use crate::{builder::Builder, interpreters::Interpreter, tree};
use dayfly_types::{Layer, LayerContent, Runtime};
use sha2::{Digest, Sha256};
use std::{fs, io, path::PathBuf, sync::Arc};

/// Where a function sees its layers.
pub const ROOT: &str = "/opt";

/// A layer with the file of its zip, if it is one.
pub type LayerSource = (LayerContent, Option<PathBuf>);

impl Cache {
    /// Unpacks, builds and puts together what is not there yet.
    ///
    /// # Errors
    /// As `publish`; what keeps an environment from being built.
    pub async fn publish_layers(
        &self,
        layers: &[LayerSource],
        interpreter: &Interpreter,
        builder: &Builder,
    ) -> Result<(), Error> {
        let contents = layers.iter().map(|(content, _)| content);
        let Some(path) = self.layers_place(contents, &interpreter.cache_tag) else { return Ok(()) };
        let name = path.display().to_string();
        let _alone = self.lock(&name).lock_owned().await;
        if path.is_dir() {
            return Ok(());
        }
        let tag = layer_tag(&interpreter.cache_tag);
        let mut trees = Vec::new();
        let mut leases = Vec::new();
        for (content, zip) in layers {
            match content {
                LayerContent::Zip { code, .. } => {
                    let zip = zip.as_deref().ok_or_else(|| io::Error::other("a layer's zip is missing"))?;
                    let tree = self.publish_at(&code.sha256, zip, interpreter, &tag, ROOT).await?;
                    trees.push((tree, PathBuf::new()));
                }
                LayerContent::Environment { source, .. } => {
                    let built = builder.build(source, None, Arc::new(|_| {})).await?;
                    let lease = builder.lease(&built.id).ok_or_else(|| io::Error::other("an environment went away"))?;
                    let python = source.runtime.to_string();
                    trees.push((lease.packages(), PathBuf::from(format!("python/lib/{python}/site-packages"))));
                    leases.push(lease);
                }
            }
        }
        let shared = self.0.clone();
        let merged = tokio::task::spawn_blocking(move || {
            let _leases = leases;
            let temporary = shared.temporary()?;
            let together = temporary.path().join("tree");
            for (tree, at) in trees {
                let onto = together.join(at);
                fs::create_dir_all(&onto)?;
                tree::lay_over(&tree, &onto)?;
            }
            tree::survey(&together, 1)?;
            fs::set_permissions(&together, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
            shared.put(&together, &path)
        });
        Ok(merged.await.map_err(io::Error::other)??)
    }

    /// What a function sees at `/opt`; `None` when it has no layers.
    ///
    /// # Errors
    /// When they are not published here.
    pub fn layers_path_of(&self, layers: &[Layer], runtime: Runtime) -> io::Result<Option<PathBuf>> {
        let place = self.layers_place(layers.iter().map(|layer| &layer.content), &runtime.code_tag());
        match place {
            Some(path) if !path.is_dir() => Err(io::ErrorKind::NotFound.into()),
            place => Ok(place),
        }
    }

    /// `None` when there are no layers. The name stands for all of them, in their order.
    fn layers_place<'a>(&self, layers: impl Iterator<Item = &'a LayerContent>, cache_tag: &str) -> Option<PathBuf> {
        let ids: Vec<String> = layers.map(LayerContent::sha256).collect();
        let name = hex::encode(Sha256::digest(ids.join("\n")));
        (!ids.is_empty()).then(|| self.0.folder.join(format!("layers-{name}-{cache_tag}")))
    }
}

/// The same zip may be a function's package too, whose bytecode says another place.
fn layer_tag(cache_tag: &str) -> String {
    format!("layer-{cache_tag}")
}
